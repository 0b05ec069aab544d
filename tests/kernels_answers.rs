//! Recorded machines, with what the kernel that they were recorded on answered (`tests/machines/NAME.kernel`, made by
//! `tests/guest/shapes`): the library's verdicts on the recordings are the same.
#![expect(clippy::expect_used, reason = "a test ends where its ground gives way")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use p2pdma::{
    machine::{Machine, Snapshot},
    pci::Address,
    topology::Topology,
};

/// `PROVIDER CLIENT DISTANCE MAP_TYPE`, and the ACS ports that the log names; -1 is no distance, and the map types are
/// `enum pci_p2pdma_map_type`.
fn answer(line: &str) -> (Address, Address, Option<u32>, &'static str, Vec<Address>) {
    let fields: Vec<&str> = line.split(' ').collect();
    let address = |index: usize| fields[index].parse().expect("an address");
    let map_type = ["unknown", "not_supported", "bus_addr", "thru_host_bridge"];
    let map_type = map_type[fields[3].parse::<usize>().expect("a map type")];
    let ports = fields.get(4).map_or(Vec::new(), |ports| ports.split(';').collect());
    let ports = ports.into_iter().map(|port| port.parse().expect("a port")).collect();
    (address(0), address(1), fields[2].parse().ok(), map_type, ports)
}

fn assert_same(answers: &Path) -> usize {
    let machine = Machine::recorded(Snapshot::load(answers.with_extension("")).expect("a recording"));
    let topology = Topology::scan(&machine).expect("a tree");
    let text = fs::read_to_string(answers).expect("answers");
    for (provider, client, distance, map_type, ports) in text.lines().map(answer) {
        let route = topology.route(provider, client).expect("both are there");
        let ours = (route.distance, route.map_type.as_str(), route.acs_redirect);
        assert_eq!(ours, (distance, map_type, ports), "{}: {client} -> {provider}", answers.display());
    }
    text.lines().count()
}

#[test]
fn verdicts_on_recorded_machines_are_the_kernels_own() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machines");
    let files = fs::read_dir(directory).expect("recordings").map(|entry| entry.expect("a file").path());
    let answers: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|ending| ending == "kernel")).collect();
    assert!(answers.len() >= 7, "recordings with answers: {answers:?}");
    let pairs: usize = answers.iter().map(|path| assert_same(path)).sum();
    assert!(pairs >= 80, "{pairs} pairs");
}
