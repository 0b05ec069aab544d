//! `p2pbench explain`: one pair of storage and peer memory, and everything that decides about it.

mod json;
mod text;

use std::path::Path;

use p2pdma::{
    Error, Refusal,
    machine::Machine,
    pci::Address,
    storage::Source,
    topology::Topology,
    verdict::{Answer, Verdict},
};

use crate::{cli::ExplainOptions, failure::Failure, output::Output};
use json::Document;

/// A verdict with all that it is about.
struct Explained<'a> {
    machine: &'a Machine,
    topology: &'a Topology,
    source: &'a Source,
    verdict: &'a Verdict,
}

/// Prints the verdict and ends with its exit code.
pub(crate) fn command(
    machine: &Machine,
    options: &ExplainOptions,
    output: &mut Output,
    json: bool,
) -> Result<(), Failure> {
    let source = source(machine, &options.source)?;
    let topology = Topology::scan(machine)?;
    known(&topology, options.peer)?;
    let verdict = Verdict::judge(&topology, &source, options.peer)?.and_memory(&source);
    let explained = Explained { machine, topology: &topology, source: &source, verdict: &verdict };
    if json {
        output.json(&Document::new(&explained))?;
    } else {
        output.text(&text::text(&explained))?;
    }
    match verdict.answer() {
        Answer::Yes => Ok(()),
        Answer::No => Err(Failure::Said(1)),
        Answer::Unknown => Err(Failure::Said(3)),
    }
}

/// Asks the machine what an explanation of this source with any provider asks.
pub(crate) fn look(machine: &Machine, topology: &Topology, source: &Source) -> Result<(), Failure> {
    for provider in topology.providers() {
        let verdict = Verdict::judge(topology, source, provider.address)?.and_memory(source);
        let explained = Explained { machine, topology, source, verdict: &verdict };
        let _ = (Document::new(&explained), text::text(&explained));
    }
    Ok(())
}

/// An address, or else a path. Of a block device facts alone tell, so that nobody needs to be allowed to open it.
pub(crate) fn source(machine: &Machine, source: &Path) -> Result<Source, Failure> {
    let name = source.to_string_lossy();
    if let Ok(function) = name.parse::<Address>() {
        return Ok(Source::of_function(machine, function)?);
    }
    // A recording knows files by their whole paths.
    let path = std::path::absolute(source)?;
    match Source::of_block_device(machine, &path.to_string_lossy()) {
        Ok(device) => Ok(device),
        Err(_) => Ok(Source::of_file(machine, path)?),
    }
}

/// Asked before the verdict, which would not miss the peer where no NVMe function lies below the source.
fn known(topology: &Topology, peer: Address) -> Result<(), Failure> {
    let refusal = || Refusal::new(peer, "no such PCI device", "see `p2pbench topo`");
    topology.device(peer).map(|_| ()).ok_or_else(|| Error::NotFound(refusal()).into())
}
