//! Routes of random machines against the kernel's loops: with privilege the same answer, without it the same or
//! unknown, and unknown exactly when the answer could really differ.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    kernel::{Answer, calc_map_type_and_dist},
    tree::{Node, Tree, XEON, ZEN},
};
use crate::{
    pci::Address,
    topology::{MapType, Route, scan::scan},
};

const IDS: [(u16, u16); 6] =
    [(0x8086, 0x29c0), (0x8086, 0x2030), (0x8086, 0x2f00), (0x8086, 0x09a2), (0x8086, 0x3c01), (0x1022, 0x1480)];
const PORTS: [Option<u8>; 5] = [Some(4), Some(5), Some(6), Some(0), None];
/// Two host bridges and a VMD one below a device of the second, each with its root bus.
const HOSTS: [(&str, &str, u32, u8); 3] = [
    ("/sys/devices/pci0000:00", "pci0000:00", 0, 0x00),
    ("/sys/devices/pci0000:80", "pci0000:80", 0, 0x80),
    ("/sys/devices/pci0000:80/0000:80:1f.5/pci10000:e0", "pci10000:e0", 0x10000, 0xe0),
];

/// What one function is made of.
#[derive(Debug, Clone)]
struct Gene {
    place: usize,
    id: usize,
    port: usize,
    acs: Option<u16>,
    extended: bool,
    privileged: bool,
}

fn gene() -> impl Strategy<Value = Gene> {
    let acs =
        prop_oneof![Just(None), Just(Some(0x00)), Just(Some(0x11)), Just(Some(0x1d)), (0..0x80_u16).prop_map(Some)];
    let numbers = (any::<usize>(), 0..IDS.len(), 0..PORTS.len());
    let flags = (prop::bool::weighted(0.8), any::<bool>());
    (numbers, acs, flags).prop_map(|((place, id, port), acs, (extended, privileged))| Gene {
        place,
        id,
        port,
        acs,
        extended,
        privileged,
    })
}

fn tree() -> impl Strategy<Value = Tree> {
    let cpu = prop_oneof![Just(Some(ZEN)), Just(Some(XEON)), Just(Some(XEON)), Just(None)];
    (cpu, prop::collection::vec(gene(), 1..9), any::<bool>()).prop_map(|(cpuinfo, genes, from_zero)| {
        let mut tree = Tree { nodes: vec![vmd()], cpuinfo };
        genes.iter().for_each(|gene| grow(&mut tree, gene, u8::from(!from_zero)));
        tree
    })
}

fn vmd() -> Node {
    let directory = "/sys/devices/pci0000:80/0000:80:1f.5".to_owned();
    let gene = Gene { place: 0, id: 0, port: 4, acs: None, extended: false, privileged: false };
    node(&gene, "0000:80:1f.5".parse().unwrap(), directory, None, "pci0000:80".to_owned())
}

/// Puts a function on one of the root buses, or below any function but the VMD controller.
fn grow(tree: &mut Tree, gene: &Gene, first: u8) {
    let place = gene.place % (HOSTS.len() + tree.nodes.len() - 1);
    let (above, host, domain, bus, parent) = match HOSTS.get(place) {
        Some((above, host, domain, bus)) => ((*above).to_owned(), (*host).to_owned(), *domain, *bus, None),
        None => {
            let parent = place - HOSTS.len() + 1;
            let above = tree.nodes[parent].clone();
            let bus = 0x10 + u8::try_from(parent).unwrap();
            (above.directory, above.host, above.address.domain, bus, Some(parent))
        }
    };
    let siblings = tree.nodes.iter().filter(|node| node.parent == parent && node.host == host).count();
    let slot = u8::try_from(siblings).unwrap() + first;
    let address = Address { domain, bus, device: slot / 2, function: slot % 2 };
    tree.nodes.push(node(gene, address, format!("{above}/{address}"), parent, host));
}

fn node(gene: &Gene, address: Address, directory: String, parent: Option<usize>, host: String) -> Node {
    let Gene { acs, extended, privileged, .. } = *gene;
    let ((vendor, device), port) = (IDS[gene.id], PORTS[gene.port]);
    Node { address, directory, parent, host, vendor, device, class: 0x06_0400, port, acs, extended, privileged }
}

fn route(tree: &Tree, provider: usize, client: usize) -> Route {
    let topology = scan(&tree.facts()).unwrap();
    topology.route(tree.nodes[provider].address, tree.nodes[client].address).unwrap()
}

fn pairs(tree: &Tree) -> impl Iterator<Item = (usize, usize)> + use<> {
    let count = tree.nodes.len();
    (0..count).flat_map(move |a| (0..count).map(move |b| (a, b)))
}

/// Every machine that any user would see as this one does: what cannot be read, as it may be.
fn look_alikes(tree: &Tree) -> Vec<Tree> {
    let mut all = vec![tree.clone()];
    for index in (0..tree.nodes.len()).filter(|index| !tree.nodes[*index].privileged) {
        if tree.nodes[index].extended {
            all = vary(&all, index, |node, which| node.acs = Some(if which { 0x1d } else { 0x00 }));
        }
        if tree.nodes[index].parent.is_none() && tree.nodes[index].port.is_some() {
            all = vary(&all, index, |node, which| node.port = Some(if which { 4 } else { 0 }));
        }
    }
    if tree.cpuinfo.is_none() {
        all = all
            .into_iter()
            .flat_map(|tree| [ZEN, XEON].map(|cpu| Tree { cpuinfo: Some(cpu), ..tree.clone() }))
            .collect();
    }
    all
}

fn vary(all: &[Tree], index: usize, change: impl Fn(&mut Node, bool)) -> Vec<Tree> {
    let varied = |tree: &Tree, which| {
        let mut tree = tree.clone();
        change(&mut tree.nodes[index], which);
        tree
    };
    all.iter().flat_map(|tree| [varied(tree, false), varied(tree, true)]).collect()
}

/// What can be said when it may be any of these answers.
fn joint(answers: &[Answer]) -> (MapType, Option<u32>) {
    let map_types: BTreeSet<_> = answers.iter().map(|answer| answer.map_type.as_str()).collect();
    let one = answers[0].map_type;
    let map_type = if map_types.len() == 1 { one } else { MapType::Unknown };
    let never = answers.iter().any(|answer| answer.distance.is_none());
    (map_type, answers[0].distance.filter(|_| !never))
}

proptest! {
    #[test]
    fn with_privilege_a_route_is_the_kernels(mut tree in tree()) {
        tree.nodes.iter_mut().for_each(|node| node.privileged = true);
        tree.cpuinfo = tree.cpuinfo.or(Some(XEON));
        let topology = scan(&tree.facts()).unwrap();
        for (a, b) in pairs(&tree) {
            let route = topology.route(tree.nodes[a].address, tree.nodes[b].address).unwrap();
            let Route { map_type, distance, acs_redirect, unknown, .. } = route;
            prop_assert_eq!(Answer { map_type, distance, acs_list: acs_redirect }, calc_map_type_and_dist(&tree, a, b));
            prop_assert!(unknown.is_empty());
        }
    }

    #[test]
    fn with_less_privilege_a_route_is_unknown_exactly_when_the_kernels_could_differ(
        tree in tree(), a: prop::sample::Index, b: prop::sample::Index,
    ) {
        let (a, b) = (a.index(tree.nodes.len()), b.index(tree.nodes.len()));
        let answers: Vec<_> = look_alikes(&tree).iter().map(|tree| calc_map_type_and_dist(tree, a, b)).collect();
        let route = route(&tree, a, b);
        prop_assert_eq!((route.map_type, route.distance), joint(&answers));
        prop_assert!(route.map_type != MapType::Unknown || !route.unknown.is_empty());
    }

    #[test]
    fn a_route_is_explained_in_lines_that_name_both_devices(tree in tree()) {
        let topology = scan(&tree.facts()).unwrap();
        for (a, b) in pairs(&tree) {
            let (provider, client) = (tree.nodes[a].address, tree.nodes[b].address);
            let route = topology.route(provider, client).unwrap();
            let cause = route.cause();
            prop_assert!(cause.contains(&provider.to_string()) && cause.contains(&client.to_string()));
            prop_assert!(!cause.contains('\n') && !route.remedies().concat().contains('\n'));
            prop_assert_eq!(route.remedies().is_empty(), fine(&route));
        }
    }
}

/// Nothing to mend: no redirect, no refusal, nothing unread.
fn fine(route: &Route) -> bool {
    route.acs_redirect.is_empty() && route.map_type != MapType::NotSupported && route.unknown.is_empty()
}
