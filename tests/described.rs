//! Mock machines by description: what was recorded elsewhere, with memory behind its devices.

#![expect(clippy::expect_used, reason = "a test ends where its ground gives way")]

use std::path::Path;

use p2pdma::{
    Error,
    machine::{Access, Machine, Mock, Recorder, Snapshot, mock::Cpu},
    memory::{Copier, Provider},
    pci::Address,
    storage::File,
    topology::Topology,
    transfer::Queue,
};
use proptest::prelude::*;

fn at(address: &str) -> Address {
    address.parse().expect("an address")
}

/// Made in a guest by `p2pbench record`.
fn recording(name: &str) -> Snapshot {
    Snapshot::load(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machines").join(name)).expect("a recording")
}

fn described(snapshot: Snapshot) -> Machine {
    Machine::mock(Mock::described(snapshot).expect("a mock machine"))
}

#[test]
fn what_a_guest_recorded_can_be_run_on_here() {
    let machine = described(recording("switch"));
    let file = File::open(&machine, "/dev/nvme0n1", Access::Read).expect("a file");
    let memory = Provider::find(&machine, at("0000:05:00.0")).and_then(|gpu| gpu.allocate(1 << 20)).expect("memory");
    let mut queue = Queue::new(&machine, Default::default()).expect("a queue");
    let pair = queue.bind(&file, &memory).expect("a route");
    queue.read(&pair, 0, memory.all()).expect("taken");
    assert_eq!(queue.wait().expect("a receipt").bytes_direct(), 1 << 20);
    let mut start = [0; 8];
    Copier::new().and_then(|mut copier| copier.read(&memory.all(), &mut start)).expect("a copy");
    assert_ne!(start, [0; 8]);
}

#[test]
fn a_route_that_the_guest_refused_is_refused_here() {
    let machine = described(recording("root-ports-intel"));
    let file = File::open(&machine, "/dev/nvme0n1", Access::Read).expect("a file");
    let memory = Provider::find(&machine, at("0000:03:00.0")).and_then(|gpu| gpu.allocate(4096)).expect("memory");
    let refused =
        Queue::new(&machine, Default::default()).expect("a queue").bind(&file, &memory).expect_err("no route");
    assert!(matches!(refused, Error::NoRoute(_)), "{refused}");
}

#[test]
fn an_ssd_is_as_long_as_its_size_says_within_reason() {
    let size = |machine: &Machine| File::open(machine, "/dev/nvme0n1", Access::Read).expect("a file").size();
    let directory = "/sys/devices/pci0000:00/0000:01:00.0";
    let mut facts = Snapshot::new();
    facts.symlink("/sys/bus/pci/devices/0000:01:00.0", directory);
    facts.file(format!("{directory}/nvme/nvme0/nvme0n1/dev"), "259:0\n");
    facts.file(format!("{directory}/nvme/nvme0/nvme0n1/queue/logical_block_size"), "4096\n");
    for (sectors, bytes) in [(8_u64, 4096_u64), (u64::MAX, 16 << 20)] {
        facts.file(format!("{directory}/nvme/nvme0/nvme0n1/size"), format!("{sectors}\n"));
        let machine = described(facts.clone());
        assert_eq!(size(&machine), bytes);
        let told = machine.facts().number(&format!("{directory}/nvme/nvme0/nvme0n1/size"));
        assert_eq!(told, Some(bytes / 512), "both say the same");
    }
    let machine = described(facts);
    let file = File::open(&machine, "/dev/nvme0n1", Access::Read).expect("a file");
    assert_eq!(file.dio_alignment().map(|dio| dio.offset), Some(4096));
}

#[test]
fn a_mock_of_a_recorded_mock_is_that_mock() {
    let mock = Machine::mock(Mock::one_switch(Cpu::AmdZen).expect("a mock machine"));
    let recorder = Recorder::new(&mock);
    let routes = |machine: &Machine| {
        let topology = Topology::scan(machine).expect("a topology");
        let route = |client: &str| topology.route(at("0000:05:00.0"), at(client)).expect("a route");
        ["0000:03:00.0", "0000:04:00.0"].map(|client| format!("{:?}", route(client)))
    };
    let live = routes(recorder.machine());
    assert_eq!(routes(&described(recorder.snapshot())), live);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_description_is_a_machine_or_one_line(
        lines in proptest::collection::vec("/sys/(bus/pci/devices|devices/pci0000:00)/0000:01:00.0(/(nvme/nvme0/nvme0n1/(dev|size)|p2pmem/size|class))? (read|link|list)( = [0-9:]{1,20}| /sys/devices/pci0000:00/0000:01:00.0)?", 0..8),
    ) {
        let text = format!("p2pdma machine 1\ncomplete\n{}\n", lines.join("\n"));
        match text.parse::<Snapshot>().and_then(Mock::described) {
            Ok(mock) => { let _ = Topology::scan(&Machine::mock(mock)); }
            Err(error) => prop_assert_eq!(error.to_string().lines().count(), 1),
        }
    }

    #[test]
    fn a_recording_with_a_blow_is_shown_or_refused(at in any::<prop::sample::Index>(), blow in "[ -~\n]{0,3}") {
        let text = recording("switch").to_string();
        let at = at.index(text.len());
        let damaged = format!("{}{blow}{}", &text[..at], &text[(at + 1).min(text.len())..]);
        match damaged.parse::<Snapshot>() {
            Ok(snapshot) => { let _ = Topology::scan(&Machine::recorded(snapshot)); }
            Err(error) => prop_assert_eq!(error.to_string().lines().count(), 1),
        }
    }
}
