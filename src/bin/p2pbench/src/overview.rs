//! `p2pbench` without a command: what this machine can do, then direct against bounce for a moment.

use std::fmt::Write;

use p2pdma::{
    machine::{Machine, MachineKind, P2pmem},
    pci::Address,
    storage,
    topology::{Device, Topology},
};

use crate::{
    cli::{Path, RunOptions, Rw},
    facts::MachineFacts,
    failure::Failure,
    machine::MachineName,
    output::Output,
    run,
};

/// Prints the verdicts and measures the best pair. Without any peer memory on the host, on the mock machine.
pub(crate) fn overview(machine: &Machine, output: &mut Output, json: bool) -> Result<(), Failure> {
    let topology = Topology::scan(machine)?;
    if !json {
        output.text(&verdicts(machine, &topology))?;
    }
    match best(machine, &topology) {
        Some(pair) => run::command(machine, &short_run(&pair), output, json),
        None if machine.kind() == MachineKind::Host && topology.providers().next().is_none() => {
            on_the_mock(output, json)
        }
        None => refuse(&topology),
    }
}

/// The machine's pairs, a line each.
fn verdicts(machine: &Machine, topology: &Topology) -> String {
    let mut text = format!("{}\n\n", MachineFacts::of(machine).headline());
    for provider in topology.providers() {
        let _ = writeln!(text, "peer memory  {}", provider_line(provider));
    }
    for (client, provider) in pairs(topology) {
        let _ = writeln!(text, "{}", pair_line(topology, client, provider));
    }
    if topology.providers().next().is_none() {
        text += "peer memory  none: no PCI device of this machine has given memory to p2pdma (it takes an SSD with a CMB, \
                 or a device bound to the p2pdma_user driver, on a kernel with CONFIG_PCI_P2PDMA)\n";
    }
    if topology.clients().next().is_none() {
        text += "SSD          none: this machine has no NVMe function\n";
    }
    text
}

fn provider_line(provider: &Device) -> String {
    let mebibytes =
        |bytes: Option<u64>| bytes.map_or("?".into(), |bytes| format!("{:.1}", bytes as f64 / f64::from(1 << 20)));
    let P2pmem { size, available, .. } =
        provider.p2pmem.unwrap_or(P2pmem { size: None, available: None, published: None });
    let driver = provider.driver.as_deref().unwrap_or("no driver");
    format!("{} ({driver}), {} of {} MiB free", provider.address, mebibytes(available), mebibytes(size))
}

fn pair_line(topology: &Topology, client: Address, provider: Address) -> String {
    let Ok(route) = topology.route(provider, client) else { return format!("{client} -> {provider}: gone") };
    let verdict = match route.is_supported() {
        Some(true) => "direct",
        Some(false) => "NO ROUTE",
        None => "UNKNOWN",
    };
    let distance = route.distance.map_or("-".into(), |distance| distance.to_string());
    let mut line = format!("{client} -> {provider}  {verdict}  {}  distance {distance}", route.map_type);
    if route.is_supported() != Some(true) {
        let _ = write!(line, "\n    {}; {}", route.cause(), route.remedies().join("; or "));
    }
    line
}

/// Every SSD with every provider.
fn pairs(topology: &Topology) -> Vec<(Address, Address)> {
    let clients = topology.clients().map(|device| device.address);
    clients.flat_map(|client| topology.providers().map(move |provider| (client, provider.address))).collect()
}

/// A block device, and the peer memory to measure it with.
struct Pair {
    source: std::path::PathBuf,
    provider: Address,
}

/// The nearest pair that can go direct; an SSD's own CMB comes last, as it measures no route.
fn best(machine: &Machine, topology: &Topology) -> Option<Pair> {
    let yes = |&(client, provider): &(Address, Address)| {
        let route = topology.route(provider, client).ok()?;
        let source = storage::namespaces(machine, client).into_iter().next()?;
        route.is_supported()?.then_some(((client == provider, route.distance), Pair { source, provider }))
    };
    let pairs = pairs(topology);
    pairs.iter().filter_map(yes).min_by_key(|(rank, _)| *rank).map(|(_, pair)| pair)
}

fn short_run(pair: &Pair) -> RunOptions {
    RunOptions {
        source: pair.source.clone(),
        peer: pair.provider,
        path: vec![Path::Direct, Path::Bounce],
        rw: Rw::Read,
        block: 1 << 20,
        depth: 8,
        size: None,
        seconds: 1.0,
        span: None,
        verify: false,
        destructive: false,
    }
}

fn on_the_mock(output: &mut Output, json: bool) -> Result<(), Failure> {
    if !json {
        output.text("\nWhat follows runs on the mock machine: files and memory instead of devices.\n\n")?;
    }
    let machine = MachineName::Mock.make()?;
    overview(&machine, &mut Output::new(machine.kind()), json)
}

/// No pair can go direct: the first verdict that says no is the answer, else what could not be told.
fn refuse(topology: &Topology) -> Result<(), Failure> {
    let refusals =
        || pairs(topology).into_iter().filter_map(|(client, provider)| topology.route(provider, client).ok());
    let no = refusals().find(|route| route.is_supported() == Some(false));
    match no.or_else(|| refusals().next()) {
        Some(route) => Err(Failure::of_route(&route)),
        None => Err(Failure::nothing_to_pair()),
    }
}
