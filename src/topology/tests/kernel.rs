//! The kernel's own loops, written down again as they are: `drivers/pci/p2pdma.c` of 6.12, `calc_map_type_and_dist` and
//! what it calls. Slow and literal on purpose, and sharing nothing with what it checks.

use super::tree::{Node, Tree};
use crate::{pci::Address, topology::MapType};

/// What `calc_map_type_and_dist` answers, the distance as `pci_p2pdma_distance` gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) map_type: MapType,
    pub(super) distance: Option<u32>,
    /// The list in the verbose message; filled in vain when there is no common port, so emptied here then.
    pub(super) acs_list: Vec<Address>,
}

pub(super) fn calc_map_type_and_dist(tree: &Tree, provider: usize, client: usize) -> Answer {
    let mut acs_list = Vec::new();
    let (mut dist_a, mut dist_b) = (0, 0);
    let mut a = Some(provider);
    'check_b_path_acs: {
        while let Some(at) = a {
            dist_b = 0;
            if has_acs_redir(&tree.nodes[at]) {
                acs_list.push(tree.nodes[at].address);
            }
            let mut bb = Some(client);
            while let Some(b) = bb {
                if at == b {
                    break 'check_b_path_acs;
                }
                bb = tree.nodes[b].parent;
                dist_b += 1;
            }
            a = tree.nodes[at].parent;
            dist_a += 1;
        }
        return through_host_bridge(tree, provider, client, dist_a + dist_b, Vec::new());
    }
    let mut bb = Some(client);
    while bb.is_some() && bb != a {
        let b = &tree.nodes[bb.unwrap()];
        if has_acs_redir(b) {
            acs_list.push(b.address);
        }
        bb = b.parent;
    }
    if acs_list.is_empty() {
        return Answer { map_type: MapType::BusAddr, distance: Some(dist_a + dist_b), acs_list };
    }
    through_host_bridge(tree, provider, client, dist_a + dist_b, acs_list)
}

fn through_host_bridge(tree: &Tree, a: usize, b: usize, dist: u32, acs_list: Vec<Address>) -> Answer {
    if cpu_supports_p2pdma(tree) || host_bridge_whitelist(tree, &tree.nodes[a].host, &tree.nodes[b].host) {
        return Answer { map_type: MapType::ThruHostBridge, distance: Some(dist), acs_list };
    }
    Answer { map_type: MapType::NotSupported, distance: None, acs_list }
}

fn has_acs_redir(node: &Node) -> bool {
    node.extended && node.acs.unwrap_or(0) & (0x04 | 0x08 | 0x20) != 0
}

fn cpu_supports_p2pdma(tree: &Tree) -> bool {
    tree.cpuinfo == Some(super::tree::ZEN)
}

fn host_bridge_whitelist(tree: &Tree, host_a: &str, host_b: &str) -> bool {
    if host_a == host_b {
        return one_host_bridge_whitelist(tree, host_a, true);
    }
    one_host_bridge_whitelist(tree, host_a, false) && one_host_bridge_whitelist(tree, host_b, false)
}

fn one_host_bridge_whitelist(tree: &Tree, host: &str, same_host_bridge: bool) -> bool {
    let on_root_bus = tree.nodes.iter().filter(|node| node.host == host && node.parent.is_none());
    let Some(root) = on_root_bus.min_by_key(|node| (node.address.device, node.address.function)) else { return false };
    if (root.address.device, root.address.function) != (0, 0) && root.port != Some(4) {
        return false;
    }
    match (root.vendor, root.device) {
        (0x8086, 0x3c00 | 0x3c01 | 0x2f00 | 0x2f01) => same_host_bridge,
        (0x8086, 0x2030 | 0x2031 | 0x2032 | 0x2033 | 0x2020 | 0x09a2) => true,
        _ => false,
    }
}
