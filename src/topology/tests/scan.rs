use proptest::prelude::*;

use super::tree::{Tree, XEON, ZEN};
use crate::{
    Error,
    machine::Snapshot,
    pci::{AcsFlags, Address, Capability, Link, LinkSpeed, PortType},
    topology::{Device, IommuGroup, Topology, scan::scan},
};

const NVME: &str = "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0";

fn machine() -> Tree {
    Tree::new(
        XEON,
        "
        pci0000:00
          0000:00:00.0 host 8086:29c0
          0000:00:01.0 root acs=1d
            0000:01:00.0 nvme 144d:a80a
          0000:00:05.5 bridge
            pci10000:e0
              10000:e0:06.0 root
                10000:e1:00.0 nvme
        ",
    )
}

fn at(name: &str) -> Address {
    name.parse().unwrap()
}

fn nvme(change: impl FnOnce(&mut Snapshot)) -> Device {
    let mut facts = machine().facts();
    change(&mut facts);
    scan(&facts).unwrap().device(at("01:00.0")).unwrap().clone()
}

fn names<'a>(devices: impl Iterator<Item = &'a Device>) -> Vec<String> {
    devices.map(|device| device.address.to_string()).collect()
}

#[test]
fn the_tree_is_that_of_the_machine() {
    let topology = scan(&machine().facts()).unwrap();
    assert_eq!(names(topology.roots()), ["0000:00:00.0", "0000:00:01.0", "0000:00:05.5", "10000:e0:06.0"]);
    assert_eq!(names(topology.children(at("00:01.0"))), ["0000:01:00.0"]);
    assert_eq!(names(topology.path(at("01:00.0"))), ["0000:01:00.0", "0000:00:01.0"]);
    assert_eq!(names(topology.clients()), ["0000:01:00.0", "10000:e1:00.0"]);
    assert_eq!(topology.devices().count(), 6);
    assert_eq!(names(topology.path(at("99:00.0"))), Vec::<String>::new());
}

#[test]
fn a_host_bridge_knows_its_first_device_and_what_it_lies_below() {
    let topology = scan(&machine().facts()).unwrap();
    let bridges: Vec<_> = topology.host_bridges().map(|b| (b.name.as_str(), b.below, b.first)).collect();
    let vmd = ("pci10000:e0", Some(at("00:05.5")), at("10000:e0:06.0"));
    assert_eq!(bridges, [("pci0000:00", None, at("00:00.0")), vmd]);
}

#[test]
fn a_tree_below_a_platform_device_is_found() {
    let directory = "/sys/devices/platform/soc/fd500000.pcie/pci0000:00/0000:00:00.0";
    let mut facts = Snapshot::new();
    facts.symlink("/sys/bus/pci/devices/0000:00:00.0", directory);
    facts.file(format!("{directory}/class"), "0x060400\n").file(format!("{directory}/vendor"), "0x14e4\n");
    facts.file(format!("{directory}/device"), "0x2711\n");
    assert_eq!(names(scan(&facts).unwrap().roots()), ["0000:00:00.0"]);
}

#[test]
fn a_device_carries_what_sysfs_says_of_it() {
    let device = nvme(|facts| {
        facts.symlink(format!("{NVME}/driver"), "../../../../bus/pci/drivers/nvme");
        facts.file(format!("{NVME}/numa_node"), "1\n");
        facts.symlink(format!("{NVME}/iommu_group"), "../../../../kernel/iommu_groups/17");
        facts.file("/sys/kernel/iommu_groups/17/type", "DMA-FQ\n");
        facts.file(format!("{NVME}/resource"), "0xfa000000 0xfa003fff 0x140204\n");
    });
    assert_eq!((device.vendor, device.device, device.class), (0x144d, 0xa80a, 0x01_0802));
    assert_eq!(device.driver.as_deref(), Some("nvme"));
    assert_eq!(device.numa_node, Some(1));
    assert_eq!(device.iommu, Some(IommuGroup { number: 17, domain_type: Some("DMA-FQ".to_owned()) }));
    assert_eq!(device.bars[0].size, 16 << 10);
    assert_eq!(device.directory, NVME);
    assert_eq!(device.kind.as_str(), "nvme");
}

#[test]
fn what_sysfs_does_not_say_is_none() {
    let device = nvme(|facts| {
        facts.file(format!("{NVME}/numa_node"), "-1\n");
    });
    assert_eq!((device.driver, device.numa_node, device.iommu), (None, None, None));
    assert_eq!((device.link, device.max_link, device.p2pmem), (None, None, None));
    assert_eq!((device.physical_function, device.bars.len()), (None, 0));
}

#[test]
fn acs_and_port_type_come_from_config_space() {
    let topology = scan(&machine().facts()).unwrap();
    let root = topology.device(at("00:01.0")).unwrap();
    assert_eq!(root.port_type, Capability::Present(PortType::RootPort));
    assert_eq!(root.acs.present().unwrap().control, AcsFlags::SV | AcsFlags::RR | AcsFlags::CR | AcsFlags::UF);
    assert_eq!(root.redirects(), Some(true));
    assert_eq!(root.kind.as_str(), "root_port");
}

#[test]
fn without_privilege_acs_and_port_type_are_unreadable() {
    let topology = scan(&machine().unprivileged().facts()).unwrap();
    let root = topology.device(at("00:01.0")).unwrap();
    assert_eq!((root.acs, root.redirects()), (Capability::Unreadable, None));
    assert_eq!((root.port_type, root.kind.as_str()), (Capability::Unreadable, "bridge"));
}

#[test]
fn a_refused_config_space_is_unreadable_and_no_error() {
    let device = nvme(|facts| {
        facts.refused(format!("{NVME}/config"), libc::EACCES);
    });
    assert_eq!(device.acs, Capability::Unreadable);
}

#[test]
fn the_link_comes_from_sysfs() {
    let device = nvme(|facts| {
        facts.file(format!("{NVME}/current_link_speed"), "8.0 GT/s PCIe\n");
        facts.file(format!("{NVME}/current_link_width"), "4\n");
        facts.file(format!("{NVME}/max_link_speed"), "16.0 GT/s PCIe\n");
        facts.file(format!("{NVME}/max_link_width"), "4\n");
    });
    assert_eq!(device.link, Some(Link { speed: LinkSpeed::Gt8, width: 4 }));
    assert_eq!(device.max_link, Some(Link { speed: LinkSpeed::Gt16, width: 4 }));
    assert!(device.is_downtrained());
}

#[test]
fn a_link_that_sysfs_does_not_know_comes_from_config_space() {
    let device = nvme(|facts| {
        let mut config = vec![0; 256];
        (config[0x06], config[0x34], config[0x40], config[0x52]) = (0x10, 0x40, 0x10, 0x43);
        facts.file(format!("{NVME}/config"), config);
    });
    assert_eq!(device.link, Some(Link { speed: LinkSpeed::Gt8, width: 4 }));
}

#[test]
fn providers_are_those_with_peer_memory() {
    let mut facts = machine().facts();
    facts.file(format!("{NVME}/p2pmem/size"), "1048576\n");
    let topology = scan(&facts).unwrap();
    assert_eq!(names(topology.providers()), ["0000:01:00.0"]);
    assert_eq!(topology.device(at("01:00.0")).unwrap().p2pmem.unwrap().size, Some(1 << 20));
}

#[test]
fn a_virtual_function_hangs_below_the_port_of_its_physical_one() {
    let mut tree = machine();
    let mut function = tree.nodes[2].clone();
    function.address = at("02:00.1");
    function.directory = function.directory.replace("0000:01:00.0", "0000:02:00.1");
    tree.nodes.push(function);
    let mut facts = tree.facts();
    facts.symlink("/sys/devices/pci0000:00/0000:00:01.0/0000:02:00.1/physfn", "../0000:01:00.0");
    let topology = scan(&facts).unwrap();
    let function = topology.device(at("02:00.1")).unwrap();
    assert_eq!((function.parent, function.physical_function), (Some(at("00:01.0")), Some(at("01:00.0"))));
}

#[test]
fn a_machine_without_pci_is_not_found_with_a_cure() {
    let error = scan(&Snapshot::new()).unwrap_err();
    assert!(matches!(error, Error::NotFound(_)));
    assert!(error.to_string().contains("mount sysfs"));
}

#[test]
fn a_device_that_goes_away_during_the_scan_is_left_out() {
    let mut facts = machine().facts();
    facts.refused(format!("{NVME}/vendor"), libc::ENODEV).refused("/sys/bus/pci/devices/0000:07:00.0", libc::ENOENT);
    assert_eq!(scan(&facts).unwrap().devices().count(), 5);
}

#[test]
fn trees_that_do_not_hold_together_are_invalid() {
    let broken = [
        ("0000:01:00.0", "/sys/devices/pci0000:00/0000:00:09.0/0000:01:00.0"),
        ("0000:01:00.0", "/sys/devices/pci0000:09/0000:00:01.0/0000:01:00.0"),
        ("0000:01:00.0", "/sys/devices/pci0000:00/0000:00:01.0"),
        ("0000:00:01.0", "/sys/devices/pci0000:00/0000:01:00.0/0000:00:01.0"),
        ("0000:00:01.0", "/sys/devices/0000:00:01.0"),
    ];
    for (name, directory) in broken {
        let mut facts = machine().facts();
        facts.symlink(format!("/sys/bus/pci/devices/{name}"), directory);
        for (file, value) in [("class", "0x010802"), ("vendor", "0x1234"), ("device", "0x1234")] {
            facts.file(format!("{directory}/{file}"), value);
        }
        assert!(matches!(scan(&facts), Err(Error::Invalid(_))), "{name} {directory}");
    }
}

#[test]
fn a_real_machine_is_scanned_or_refused() {
    let _ = Topology::scan(&crate::machine::Machine::host());
}

proptest! {
    #[test]
    fn any_place_in_sysfs_is_scanned_or_refused(parts in prop::collection::vec("pci0000:00|0000:0[01]:00.0|[^/]{0,8}", 0..6)) {
        let directory = format!("/sys/devices/{}", parts.join("/"));
        let mut facts = machine().facts();
        facts.symlink("/sys/bus/pci/devices/0000:01:00.0", directory.clone());
        facts.file(format!("{directory}/class"), "0x010802");
        facts.file(format!("{directory}/vendor"), "0x1234").file(format!("{directory}/device"), "0x1234");
        if let Ok(topology) = scan(&facts) {
            prop_assert!(topology.path(at("01:00.0")).count() <= topology.devices().count());
        }
    }
}

#[test]
fn the_best_link_is_limited_by_the_port_above() {
    let tree = Tree::new(
        ZEN,
        "
        pci0000:00
          0000:00:01.0 root
            0000:01:00.0 nvme
    ",
    );
    let mut facts = tree.facts();
    for (directory, speed, width) in [("0000:00:01.0", "16.0", 16), ("0000:00:01.0/0000:01:00.0", "32.0", 4)] {
        let directory = format!("/sys/devices/pci0000:00/{directory}");
        facts.file(format!("{directory}/max_link_speed"), format!("{speed} GT/s PCIe\n"));
        facts.file(format!("{directory}/max_link_width"), format!("{width}\n"));
    }
    let topology = scan(&facts).expect("a tree");
    assert_eq!(topology.best_link(at("01:00.0")).map(|link| link.to_string()).as_deref(), Some("16 GT/s x4"));
}
