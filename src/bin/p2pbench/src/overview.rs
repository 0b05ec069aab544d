//! `p2pbench` without a command: what this machine can do, then direct against bounce for a moment.

use std::fmt::Write;

use p2pdma::{
    Error,
    machine::{Machine, MachineKind},
    memory::Provider,
    pci::Address,
    storage,
    topology::{Route, Topology},
};

use crate::{
    cli::{Path, Peer, RunFormat, RunOptions, Rw, TopoOptions},
    facts::MachineFacts,
    failure::Failure,
    machine::MachineName,
    output::Output,
    pairs::{self, Pairs},
    run::{self, Workload},
    topo,
};

/// Prints the verdicts and measures the best pair. Without any peer memory on the host, on the mock machine. Of a recorded
/// machine the verdicts are all; for programs they are those of `topo`.
pub(crate) fn overview(machine: &Machine, output: &mut Output, json: bool) -> Result<(), Failure> {
    let topology = Topology::scan(machine)?;
    let pairs = Pairs::of(machine, &topology)?;
    if !json {
        output.text(&verdicts(machine, &topology, &pairs))?;
    }
    match best(machine, &pairs) {
        Some(_) if machine.kind() == MachineKind::Recorded && json => {
            topo::command(machine, &TopoOptions::default(), output, json)
        }
        Some(_) if machine.kind() == MachineKind::Recorded => Ok(output.text(NOT_MEASURED)?),
        Some(pair) => {
            let format = if json { RunFormat::Json } else { RunFormat::Table };
            if !json {
                output.text("\n")?;
            }
            run::command(machine, &[Workload::plain(short_run(&pair))], format, output)
        }
        None if machine.kind() == MachineKind::Host && topology.providers().next().is_none() => {
            on_the_mock(output, json)
        }
        None => refuse(machine, &pairs),
    }
}

const NOT_MEASURED: &str = "\nA recorded machine can only be looked at: nothing is measured.";

/// Asks the machine what an overview asks.
pub(crate) fn look(machine: &Machine, topology: &Topology) -> Result<(), Failure> {
    let pairs = Pairs::of(machine, topology)?;
    verdicts(machine, topology, &pairs);
    best(machine, &pairs);
    Ok(())
}

/// The machine, its peer memory, its pairs.
fn verdicts(machine: &Machine, topology: &Topology, pairs: &Pairs) -> String {
    let mut text = format!("{}\n\n", MachineFacts::of(machine).headline());
    for provider in topology.providers() {
        let driver = provider.driver.as_deref().unwrap_or("no driver");
        let pool = provider.p2pmem.as_ref().map_or(String::new(), pairs::pool);
        let _ = writeln!(text, "peer memory  {} ({driver}), {pool}", provider.address);
    }
    text + &pairs.to_string() + &pairs::missing(topology)
}

/// A block device, and the peer memory to measure it with.
struct Pair {
    source: std::path::PathBuf,
    provider: Address,
    /// Free bytes of its pool.
    available: u64,
}

/// The nearest pair that can go direct and whose memory may be allocated. CMBs come last: they are small, and an SSD's own
/// measures no route.
fn best(machine: &Machine, pairs: &Pairs) -> Option<Pair> {
    let yes = |route: &Route| {
        let source = storage::namespaces(machine, route.client).into_iter().next()?;
        let provider = Provider::find(machine, route.provider).ok()?;
        provider.may_be_allocated().ok()?;
        let available = provider.pool()?.available?;
        let rank = (route.client == route.provider, provider.driver() == "nvme", route.distance);
        route.is_supported()?.then_some((rank, Pair { source, provider: route.provider, available }))
    };
    pairs.routes().filter_map(yes).min_by_key(|(rank, _)| *rank).map(|(_, pair)| pair)
}

/// 1 MiB, 8 at a time; less of both where the pool is small.
fn short_run(pair: &Pair) -> RunOptions {
    let block = [1 << 20, 65_536].into_iter().find(|&block| block <= pair.available).unwrap_or(4096);
    let depth = u32::try_from(pair.available / block).unwrap_or(8).clamp(1, 8);
    RunOptions {
        job: None,
        preset: None,
        source: vec![pair.source.clone()],
        peer: vec![Peer::Address(pair.provider)],
        way: None,
        path: vec![Path::Direct, Path::Bounce],
        rw: vec![Rw::Read],
        block: vec![block.into()],
        depth: vec![depth],
        jobs: vec![1],
        numa: None,
        size: None,
        seconds: 1.0,
        warmup: None,
        repeats: None,
        span: None,
        verify: false,
        copy_to: None,
        fdatasync: false,
        destructive: false,
        force: false,
        format: None,
    }
}

fn on_the_mock(output: &mut Output, json: bool) -> Result<(), Failure> {
    if !json {
        output.text("\nWhat follows runs on the mock machine: files and memory instead of devices.\n\n")?;
    }
    let machine = MachineName::Mock.make()?;
    overview(&machine, &mut Output::new(machine.kind()), json)
}

/// No pair can be measured: the first route that the kernel refuses is the answer, then the first memory that may not be
/// allocated, then what could not be told.
fn refuse(machine: &Machine, pairs: &Pairs) -> Result<(), Failure> {
    let routes: Vec<&Route> = pairs.routes().collect();
    if let Some(finding) = pairs.in_the_way() {
        return Err(Error::from(finding.clone()).into());
    }
    if let Some(route) = routes.iter().find(|route| route.is_supported() == Some(false)) {
        return Err(Failure::of_route(route));
    }
    for route in &routes {
        Provider::find(machine, route.provider)?.may_be_allocated()?;
    }
    Err(routes.first().map_or_else(Failure::nothing_to_pair, |route| Failure::of_route(route)))
}
