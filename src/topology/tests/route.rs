use super::tree::{Tree, XEON, ZEN};
use crate::{
    Error,
    pci::Address,
    topology::{MapType, Route, Topology, scan::scan},
};

const SWITCH: &str = "
    pci0000:00
      0000:00:00.0 host 8086:29c0
      0000:00:01.0 root
        0000:01:00.0 up
          0000:02:00.0 down
            0000:03:00.0 nvme
          0000:02:01.0 down
            0000:04:00.0 gpu
            0000:04:00.1 gpu
";
const GPU: &str = "0000:04:00.0";
const NVME: &str = "0000:03:00.0";

fn two_root_ports(bridge: &str) -> String {
    format!(
        "
    pci0000:00
      0000:00:00.0 host {bridge}
      0000:00:01.0 root
        0000:03:00.0 nvme
      0000:00:02.0 root
        0000:04:00.0 gpu
"
    )
}

fn two_host_bridges(bridge: &str) -> String {
    format!(
        "
    pci0000:16
      0000:16:00.0 root {bridge}
        0000:03:00.0 nvme
    pci0000:64
      0000:64:00.0 root {bridge}
        0000:04:00.0 gpu
"
    )
}

fn addresses(names: &[&str]) -> Vec<Address> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn route_between(tree: &Tree, provider: &str, client: &str) -> Route {
    scan(&tree.facts()).unwrap().route(provider.parse().unwrap(), client.parse().unwrap()).unwrap()
}

fn route(tree: &Tree) -> Route {
    route_between(tree, GPU, NVME)
}

fn answer(tree: &Tree) -> (MapType, Option<u32>) {
    let route = route(tree);
    (route.map_type, route.distance)
}

#[test]
fn below_one_switch_the_traffic_turns_there() {
    let route = route(&Tree::new(XEON, SWITCH));
    assert_eq!((route.map_type, route.distance), (MapType::BusAddr, Some(4)));
    assert_eq!(route.path, addresses(&[GPU, "02:01.0", "01:00.0", "02:00.0", NVME]));
    assert_eq!(route.common, "01:00.0".parse().ok());
    assert_eq!(route.remedies(), Vec::<String>::new());
    assert_eq!(route.cause(), "traffic between provider 0000:04:00.0 and client 0000:03:00.0 turns at 0000:01:00.0");
}

#[test]
fn one_function_is_at_distance_0() {
    let route = route_between(&Tree::new(XEON, SWITCH), GPU, GPU);
    assert_eq!((route.map_type, route.distance), (MapType::BusAddr, Some(0)));
    assert_eq!(route.cause(), "provider 0000:04:00.0 and client 0000:04:00.0 are one function");
    assert_eq!(route.ceiling_bytes_per_second, None);
}

#[test]
fn two_functions_of_one_device_are_at_distance_2() {
    let route = route_between(&Tree::new(XEON, SWITCH), GPU, "04:00.1");
    assert_eq!((route.map_type, route.distance), (MapType::BusAddr, Some(2)));
}

#[test]
fn acs_on_any_function_of_the_way_redirects() {
    for address in [GPU, "0000:02:01.0", "0000:01:00.0", "0000:02:00.0", NVME] {
        let route = route(&Tree::new(XEON, SWITCH).acs(address, 0x1d));
        assert_eq!((route.map_type, route.distance), (MapType::NotSupported, None), "{address}");
        assert_eq!(route.acs_redirect, addresses(&[address]));
    }
}

#[test]
fn acs_above_the_common_port_does_not_matter() {
    let route = route(&Tree::new(XEON, SWITCH).acs("00:01.0", 0x1d));
    assert_eq!((route.map_type, route.acs_redirect), (MapType::BusAddr, vec![]));
}

#[test]
fn acs_on_a_root_port_that_is_the_common_port_redirects() {
    let tree = Tree::new(
        ZEN,
        "
        pci0000:00
          0000:00:01.0 root acs=4
            0000:01:00.0 nvme
            0000:01:00.1 gpu
        ",
    );
    let route = route_between(&tree, "01:00.1", "01:00.0");
    assert_eq!((route.map_type, route.distance), (MapType::ThruHostBridge, Some(2)));
    assert_eq!(route.acs_redirect, addresses(&["00:01.0"]));
}

#[test]
fn exactly_rr_cr_and_ec_are_in_the_way() {
    for control in 0..0x80 {
        let redirects = control & 0x2c != 0;
        let expected = if redirects { (MapType::NotSupported, None) } else { (MapType::BusAddr, Some(4)) };
        assert_eq!(answer(&Tree::new(XEON, SWITCH).acs("02:00.0", control)), expected, "{control:#x}");
    }
}

#[test]
fn the_remedy_lists_the_ports_in_the_kernels_order() {
    let tree = Tree::new(ZEN, SWITCH).acs("01:00.0", 0x1d).acs("02:00.0", 0x1d).acs("02:01.0", 0x1d);
    let route = route(&tree);
    assert_eq!((route.map_type, route.distance), (MapType::ThruHostBridge, Some(4)));
    let parameter = "`pci=disable_acs_redir=0000:02:01.0;0000:01:00.0;0000:02:00.0`";
    assert!(route.remedies()[0].contains(parameter), "{:?}", route.remedies());
}

#[test]
fn what_is_redirected_goes_up_to_the_host_bridge_and_down_again() {
    let route = route(&Tree::new(ZEN, SWITCH).acs("02:00.0", 0x1d));
    let (up, down) = ([GPU, "02:01.0", "01:00.0", "00:01.0"], ["00:01.0", "01:00.0", "02:00.0", NVME]);
    assert_eq!(route.path, addresses(&[up, down].concat()));
    assert_eq!(route.common, Some("01:00.0".parse().unwrap()), "where the two ways meet all the same");
}

#[test]
fn the_cure_is_that_of_the_host_bridge_in_the_way() {
    let cure = |tree: &Tree| route(tree).remedies().concat();
    assert!(cure(&Tree::new(XEON, &two_root_ports("8086:29c0"))).contains("a listed Xeon"));
    assert!(cure(&Tree::new(XEON, &two_host_bridges("8086:2f00"))).contains("below one host bridge (into slots"));
    let vmd = "
        pci0000:00
          0000:00:00.0 host 8086:09a2
          0000:00:05.5 bridge
            pci10000:e0
              10000:e0:06.0 root 8086:352a
                10000:e1:00.0 nvme
          0000:00:06.0 root
            0000:04:00.0 gpu
    ";
    let cure = route_between(&Tree::new(XEON, vmd), GPU, "10000:e1:00.0").remedies().concat();
    assert!(cure.starts_with("switch VMD off in the firmware"), "{cure}");
}

#[test]
fn a_host_bridge_inside_itself_is_an_error_that_names_it() {
    let itself = "
        pci0000:00
          0000:00:02.0 root
            pci0000:00
              0000:00:01.0 root
    ";
    let each_other = "
        pci0000:00
          0000:00:02.0 root
            pci0000:40
              0000:40:01.0 root
        pci0000:40
          0000:40:02.0 root
            pci0000:00
              0000:00:01.0 root
    ";
    for tree in [itself, each_other] {
        let error = scan(&Tree::new(ZEN, tree).facts()).expect_err("no tree").to_string();
        assert!(error.starts_with("pci0000:00: ") && error.contains("it lies below itself"), "{error}");
    }
}

#[test]
fn between_root_ports_the_host_bridge_decides() {
    let between = |cpu, bridge| answer(&Tree::new(cpu, &two_root_ports(bridge)));
    assert_eq!(between(ZEN, "1022:1480"), (MapType::ThruHostBridge, Some(4)));
    assert_eq!(between(XEON, "8086:29c0"), (MapType::NotSupported, None));
    assert_eq!(between(XEON, "8086:09a2"), (MapType::ThruHostBridge, Some(4)));
    assert_eq!(between(XEON, "8086:2f00"), (MapType::ThruHostBridge, Some(4)));
}

#[test]
fn between_root_ports_acs_does_not_matter() {
    let tree = Tree::new(XEON, &two_root_ports("8086:09a2")).acs("00:01.0", 0x1d).acs("00:02.0", 0x1d);
    assert_eq!(answer(&tree), (MapType::ThruHostBridge, Some(4)));
    assert_eq!(route(&tree).acs_redirect, []);
    assert_eq!(route(&tree).path, addresses(&[GPU, "00:02.0", "00:01.0", NVME]));
}

#[test]
fn between_host_bridges_some_listed_ones_do_not_carry() {
    let between = |bridge| answer(&Tree::new(XEON, &two_host_bridges(bridge)));
    assert_eq!(between("8086:2030"), (MapType::ThruHostBridge, Some(4)));
    assert_eq!(between("8086:2f00"), (MapType::NotSupported, None));
    assert_eq!(between("8086:29c0"), (MapType::NotSupported, None));
}

#[test]
fn every_listed_host_bridge_carries_below_itself() {
    for device in [0x3c00, 0x3c01, 0x2f00, 0x2f01, 0x2030, 0x2031, 0x2032, 0x2033, 0x2020, 0x09a2] {
        let tree = Tree::new(XEON, &two_root_ports(&format!("8086:{device:04x}")));
        assert_eq!(answer(&tree), (MapType::ThruHostBridge, Some(4)), "{device:04x}");
    }
}

#[test]
fn a_refusal_names_the_host_bridge_and_the_cure() {
    let route = route(&Tree::new(XEON, &two_root_ports("8086:29c0")));
    let expected = "traffic between provider 0000:04:00.0 and client 0000:03:00.0 has no common port to turn at; it may \
                    not pass the host bridge: host bridge 8086:29c0 (pci0000:00, 0000:00:00.0) is not in the kernel's list";
    assert_eq!(route.cause(), expected);
    let cure = "put both below one PCIe switch, or use an AMD Zen processor or a listed Xeon";
    assert_eq!(route.remedies(), [cure]);
}

#[test]
fn a_first_device_other_than_00_0_counts_only_as_root_port() {
    let first = |words: &str| {
        let rest = "\n    0000:04:00.0 gpu\n  0000:00:02.0 root\n    0000:03:00.0 nvme\n";
        Tree::new(XEON, &format!("pci0000:00\n  0000:00:01.0 {words} 8086:2030{rest}"))
    };
    assert_eq!(answer(&first("root")), (MapType::ThruHostBridge, Some(4)));
    assert_eq!(answer(&first("up")), (MapType::NotSupported, None));
    assert_eq!(answer(&first("bridge")), (MapType::NotSupported, None));
    assert_eq!(answer(&first("root").unprivileged()), (MapType::Unknown, None));
    assert_eq!(answer(&first("bridge").unprivileged()), (MapType::NotSupported, None));
}

#[test]
fn a_port_service_tells_any_user_that_the_first_device_is_a_root_port() {
    let drawing = two_host_bridges("8086:2030").replace(":00.0 root", ":02.0 root");
    let mut facts = Tree::new(XEON, &drawing).unprivileged().facts();
    facts.file("/sys/devices/pci0000:16/0000:16:02.0/0000:16:02.0:pcie001/uevent", "");
    facts.file("/sys/devices/pci0000:64/0000:64:02.0/0000:64:02.0:pcie001/uevent", "");
    let route = scan(&facts).unwrap().route(GPU.parse().unwrap(), NVME.parse().unwrap()).unwrap();
    assert_eq!((route.map_type, route.distance), (MapType::ThruHostBridge, Some(4)));
}

#[test]
fn below_vmd_the_tree_ends_at_vmds_own_host_bridge() {
    let vmd = |first: &str| {
        Tree::new(
            XEON,
            &format!(
                "
        pci0000:e0
          0000:e0:00.0 host 8086:09a2
          0000:e0:05.5 bridge
            pci10000:e0
              10000:e0:06.0 root {first}
                10000:e1:00.0 nvme
          0000:e0:06.0 root
            0000:e1:00.0 gpu
        "
            ),
        )
    };
    let answer = |tree| {
        let route = route_between(&tree, "0000:e1:00.0", "10000:e1:00.0");
        (route.map_type, route.distance)
    };
    assert_eq!(answer(vmd("8086:2030")), (MapType::ThruHostBridge, Some(4)));
    assert_eq!(answer(vmd("8086:352a")), (MapType::NotSupported, None));
}

#[test]
fn without_privilege_acs_leaves_the_kind_of_route_open_but_not_always_the_distance() {
    assert_eq!(answer(&Tree::new(XEON, SWITCH).unprivileged()), (MapType::Unknown, None));
    let zen = route(&Tree::new(ZEN, SWITCH).unprivileged());
    assert_eq!((zen.map_type, zen.distance, zen.is_supported()), (MapType::Unknown, Some(4), Some(true)));
    assert_eq!(zen.unknown.len(), 5);
    assert_eq!(zen.unknown[0].what, "ACS of 0000:04:00.0");
    let cause = "traffic between provider 0000:04:00.0 and client 0000:03:00.0 turns at 0000:01:00.0 if no ACS redirects \
                 it; unknown: ACS of 0000:04:00.0; ACS of 0000:02:01.0; ACS of 0000:01:00.0; ";
    assert!(zen.cause().starts_with(cause), "{}", zen.cause());
    assert_eq!(zen.remedies(), [zen.unknown[0].remedy.clone()]);
}

#[test]
fn without_privilege_functions_without_extended_space_leave_nothing_open() {
    let plain = SWITCH.replace("up\n", "up plain\n").replace("down\n", "down plain\n");
    let plain = plain.replace("gpu\n", "gpu plain\n").replace("nvme\n", "nvme plain\n");
    assert_eq!(answer(&Tree::new(XEON, &plain).unprivileged()), (MapType::BusAddr, Some(4)));
}

#[test]
fn without_privilege_the_host_bridge_rule_still_decides_between_root_ports() {
    let between = |cpu, bridge| answer(&Tree::new(cpu, &two_root_ports(bridge)).unprivileged());
    assert_eq!(between(ZEN, "1022:1480"), (MapType::ThruHostBridge, Some(4)));
    assert_eq!(between(XEON, "8086:29c0"), (MapType::NotSupported, None));
    assert_eq!(between(XEON, "8086:09a2"), (MapType::ThruHostBridge, Some(4)));
}

#[test]
fn a_redirect_that_is_seen_decides_and_what_is_not_seen_is_still_told() {
    let mut tree = Tree::new(ZEN, SWITCH).unprivileged().acs("02:00.0", 0x1d);
    tree.nodes.iter_mut().filter(|node| node.acs.is_some()).for_each(|node| node.privileged = true);
    let route = route(&tree);
    assert_eq!((route.map_type, route.distance), (MapType::ThruHostBridge, Some(4)));
    assert_eq!((route.acs_redirect.len(), route.unknown.len()), (1, 4));
}

#[test]
fn the_ceiling_is_the_narrowest_link_on_the_way() {
    let link = |facts: &mut crate::machine::Snapshot, device: &str, speed: &str, width: &str| {
        facts.file(format!("{device}/current_link_speed"), speed);
        facts.file(format!("{device}/current_link_width"), width);
    };
    let ceiling = |tree: &Tree| {
        let mut facts = tree.facts();
        let nodes = [("0000:03:00.0", "8\n"), ("0000:04:00.0", "16\n"), ("0000:01:00.0", "4\n")];
        for node in &tree.nodes {
            let width = nodes.iter().find(|(name, _)| *name == node.address.to_string()).map(|(_, width)| *width);
            width.into_iter().for_each(|width| link(&mut facts, &node.directory, "16.0 GT/s PCIe\n", width));
        }
        let route = scan(&facts).unwrap().route(GPU.parse().unwrap(), NVME.parse().unwrap());
        route.unwrap().ceiling_bytes_per_second
    };
    assert_eq!(ceiling(&Tree::new(ZEN, SWITCH)), Some(15_753_846_153 / 148 * 128), "turns below the x4 uplink");
    assert_eq!(
        ceiling(&Tree::new(ZEN, SWITCH).acs("02:00.0", 4)),
        Some(7_876_923_076 / 148 * 128),
        "goes up the x4 uplink"
    );
    assert_eq!(ceiling(&Tree::new(XEON, SWITCH).acs("02:00.0", 4)), None, "does not go");
}

#[test]
fn an_address_that_is_not_there_is_not_found() {
    let topology: Topology = scan(&Tree::new(XEON, SWITCH).facts()).unwrap();
    let error = topology.route(GPU.parse().unwrap(), "0000:99:00.0".parse().unwrap()).unwrap_err();
    assert!(matches!(error, Error::NotFound(_)));
    assert!(error.to_string().starts_with("0000:99:00.0: no such PCI device; "));
}
