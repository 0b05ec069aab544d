//! `p2pbench record`: what this machine says of itself, in a file, to look at elsewhere.

mod survey;
pub(crate) mod write;

use std::path::{self, Path, PathBuf};

use p2pdma::machine::{Machine, Recorder, Snapshot};
use serde::Serialize;

use crate::{cli::RecordOptions, facts::MachineFacts, failure::Failure, output::Output};

/// What was recorded, for programs.
#[derive(Debug, Serialize)]
struct Report<'a> {
    schema: &'static str,
    machine: MachineFacts,
    file: &'a Path,
    /// What `explain` can be asked about, besides disks and SSDs.
    sources: &'a [PathBuf],
    /// Answers in the file, refusals among them.
    facts: usize,
    /// Paths that could not be read for lack of privilege.
    denied: usize,
    /// Whether all of config space could be read, as root can.
    acs_readable: bool,
}

/// Asks the machine all that any command looks at, and more; writes the file; says so.
pub(crate) fn command(
    machine: &Machine,
    options: &RecordOptions,
    output: &mut Output,
    json: bool,
) -> Result<(), Failure> {
    let recorder = Recorder::new(machine);
    let sources = options.sources.iter().map(path::absolute).collect::<std::io::Result<Vec<_>>>()?;
    let acs_readable = survey::survey(recorder.machine(), &sources)?;
    let snapshot = recorder.snapshot();
    write::atomically(&options.file, &document(machine, &snapshot))?;
    let report = Report {
        schema: "p2pbench.record/1",
        machine: MachineFacts::of(machine),
        file: &options.file,
        sources: &sources,
        facts: snapshot.len(),
        denied: snapshot.refusing(nix::libc::EACCES).chain(snapshot.refusing(nix::libc::EPERM)).count(),
        acs_readable,
    };
    if json {
        output.json(&report)?
    } else {
        output.text(&report.text())?
    }
    Ok(())
}

/// The snapshot below a few words for whoever opens the file first.
fn document(machine: &Machine, snapshot: &Snapshot) -> String {
    let headline = MachineFacts::of(machine).headline();
    format!(
        "# {headline}\n\
         # Facts of a machine, as they were read; look at them with `p2pbench --machine FILE topo`. Serial numbers, UUIDs\n\
         # and names of the machine are replaced by numbers, equal ones by equal numbers.\n\
         {snapshot}"
    )
}

impl Report<'_> {
    fn text(&self) -> String {
        let Self { facts, denied, .. } = self;
        let file = self.file.display();
        let mut text = format!(
            "{}\n\n\
             wrote        {file}: {facts} facts; serial numbers, UUIDs and the machine's names are replaced\n\
             look at it   p2pbench --machine {file} topo   (here or elsewhere, without this machine)\n",
            self.machine.headline(),
        );
        for source in self.sources {
            text += &format!("             p2pbench --machine {file} explain {} PEER\n", source.display());
        }
        if *denied > 0 {
            text += &format!("lacks        {denied} paths that this user may not read\n");
        }
        if !self.acs_readable {
            text += "lacks        ACS of some devices: record as root to have it\n";
        }
        text
    }
}
