//! Machines that nobody builds: damaged, contradicting, endless. A tree, or one clear error; never a panic, never for ever.

#![expect(clippy::expect_used, reason = "a test ends where its ground gives way")]

use p2pdma::{
    machine::{Machine, Snapshot},
    storage::Source,
    topology::Topology,
};
use proptest::prelude::*;

/// A word that a fact may be made of: what decoders look for, and what they do not expect.
fn word() -> impl Strategy<Value = String> {
    let words = [
        "0x010802",
        "0x060400",
        "0x060000",
        "0xffffffffffffffffffff",
        "18446744073709551616",
        "-1",
        "",
        "32.0 GT/s PCIe",
        "255",
        "1",
        "0",
        "Unknown",
        "0000:01:00.0",
        "\u{fffd}",
        "DMA-FQ",
        "nvme",
    ];
    prop_oneof![prop::sample::select(words.to_vec()).prop_map(str::to_owned), ".{0,12}"]
}

/// One of few addresses, so that they meet.
fn address() -> impl Strategy<Value = String> {
    (0..3_u32, 0..3_u8, 0..2_u8).prop_map(|(domain, bus, device)| format!("{domain:04x}:{bus:02x}:{device:02x}.0"))
}

/// A directory of a function: any way through any of them, itself among its parents.
fn directory() -> impl Strategy<Value = String> {
    let part = prop_oneof![4 => address(), 1 => Just("pci0000:00".to_owned()), 1 => Just("pci10000:e0".to_owned()), 1 => word()];
    prop::collection::vec(part, 0..6).prop_map(|parts| format!("/sys/devices/pci0000:00/{}", parts.join("/")))
}

#[derive(Debug, Clone)]
struct Part {
    address: String,
    directory: String,
    config: Vec<u8>,
    facts: Vec<(&'static str, String)>,
    links: Vec<(&'static str, String)>,
}

const FILES: [&str; 12] = [
    "vendor",
    "device",
    "class",
    "numa_node",
    "resource",
    "current_link_speed",
    "current_link_width",
    "max_link_width",
    "p2pmem/size",
    "p2pmem/available",
    "p2pmem/published",
    "nvme/nvme0/nvme0n1/dev",
];
const LINKS: [&str; 4] = ["driver", "iommu_group", "physfn", "nvme/nvme0/nvme0n1/slaves/x"];

fn part() -> impl Strategy<Value = Part> {
    let config = prop::collection::vec(any::<u8>(), 0..300);
    let facts = prop::collection::vec((prop::sample::select(FILES.to_vec()), word()), 0..12);
    let links = prop::collection::vec((prop::sample::select(LINKS.to_vec()), directory()), 0..4);
    (address(), directory(), config, facts, links, any::<bool>()).prop_map(
        |(address, directory, config, facts, links, inside)| {
            let directory = if inside { format!("{directory}/{address}") } else { directory };
            Part { address, directory, config, facts, links }
        },
    )
}

fn machine(parts: &[Part], cpuinfo: &str, complete: bool) -> Snapshot {
    let mut snapshot = if complete { Snapshot::new() } else { Snapshot::partial() };
    snapshot.file("/proc/cpuinfo", cpuinfo.as_bytes());
    for Part { address, directory, config, facts, links } in parts {
        snapshot.symlink(format!("/sys/bus/pci/devices/{address}"), directory.clone());
        snapshot.symlink("/sys/class/block/nvme0n1", format!("{directory}/nvme/nvme0/nvme0n1"));
        snapshot.file(format!("{directory}/config"), config.clone());
        for (name, value) in [("vendor", "0x1b36"), ("device", "0x0010"), ("class", "0x010802")] {
            snapshot.file(format!("{directory}/{name}"), value);
        }
        for (name, value) in facts {
            snapshot.file(format!("{directory}/{name}"), value.as_bytes());
        }
        for (name, target) in links {
            snapshot.symlink(format!("{directory}/{name}"), target.clone());
        }
    }
    snapshot
}

/// Everything that may be asked of a topology; the error, where there is no tree.
fn ask_everything(snapshot: Snapshot) -> Option<String> {
    let machine = Machine::recorded(snapshot);
    let topology = match Topology::scan(&machine) {
        Ok(topology) => topology,
        Err(error) => return Some(error.to_string()),
    };
    for device in topology.devices() {
        assert!(topology.path(device.address).count() <= topology.devices().count());
        let _ = Source::of_function(&machine, device.address);
        for other in topology.devices() {
            let route = topology.route(device.address, other.address).expect("both are there");
            let _ = (route.cause(), route.remedies());
        }
    }
    let _ = Source::of_block_device(&machine, "/dev/nvme0n1");
    None
}

proptest! {
    #[test]
    fn any_machine_is_a_tree_or_one_clear_error(
        parts in prop::collection::vec(part(), 0..8), cpuinfo in word(), complete: bool
    ) {
        if let Some(error) = ask_everything(machine(&parts, &cpuinfo, complete)) {
            prop_assert!(!error.is_empty() && error.lines().count() == 1, "{error:?}");
        }
    }

    #[test]
    fn a_config_space_cut_anywhere_is_read_as_far_as_it_goes(cut in 0..4096_usize, noise in prop::collection::vec(any::<u8>(), 4096)) {
        let mut snapshot = Snapshot::new();
        let directory = "/sys/devices/pci0000:00/0000:00:01.0";
        snapshot.symlink("/sys/bus/pci/devices/0000:00:01.0", directory);
        for (name, value) in [("vendor", "0x1b36"), ("device", "0x0010"), ("class", "0x060400")] {
            snapshot.file(format!("{directory}/{name}"), value);
        }
        snapshot.file_of_size(format!("{directory}/config"), noise[..cut].to_vec(), 4096);
        prop_assert_eq!(ask_everything(snapshot), None);
    }
}

#[test]
fn a_bus_that_contains_itself_is_an_error_that_names_it() {
    let mut snapshot = Snapshot::new();
    let inside = "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/0000:00:01.0";
    for (address, directory) in
        [("0000:00:01.0", inside), ("0000:01:00.0", "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0")]
    {
        snapshot.symlink(format!("/sys/bus/pci/devices/{address}"), directory);
        for (name, value) in [("vendor", "0x1b36"), ("device", "0x0010"), ("class", "0x060400")] {
            snapshot.file(format!("{directory}/{name}"), value);
        }
    }
    let error = ask_everything(snapshot).expect("no tree");
    assert!(error.contains("does not hold together"), "{error}");
}
