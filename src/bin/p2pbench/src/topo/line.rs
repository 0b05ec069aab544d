//! One line of the tree: what a place is, its link, and what matters of it.

use p2pdma::{
    machine::Machine,
    pci::{Link, LinkSpeed, PortType},
    storage,
    topology::{Device, HostBridge, Kind, Topology},
};

use crate::pairs;

/// What begins the notes of a link that is slower or narrower than it could be.
pub(super) const DOWNTRAINED: &str = "DOWNTRAINED";

/// Whether a function moves data to or from peers, or could. What lies on the way to it is another matter.
pub(super) fn takes_part(device: &Device) -> bool {
    let kinds = [Kind::Nvme, Kind::Display, Kind::Network, Kind::Accelerator, Kind::Memory];
    device.p2pmem.is_some() || kinds.contains(&device.kind)
}

/// Whether the host bridge's line already names it.
pub(super) fn stands_for_its_bridge(topology: &Topology, device: &Device) -> bool {
    let first = |bridge: &HostBridge| bridge.name == device.host_bridge && bridge.first == device.address;
    device.kind == Kind::HostBridge && topology.host_bridges().any(first)
}

/// `pci0000:00 | host bridge 8086:29c0 | | node 0`
pub(super) fn bridge(topology: &Topology, bridge: &HostBridge, branch: &str) -> [String; 4] {
    let first = topology.device(bridge.first);
    let id = first.map_or(String::new(), |first| format!(" {:04x}:{:04x}", first.vendor, first.device));
    let node = first.and_then(|first| first.numa_node).map_or(String::new(), |node| format!("node {node}"));
    [format!("{branch}{}", bridge.name), format!("host bridge{id}"), String::new(), node]
}

/// `0000:03:00.0 | nvme 1b36:0010 (nvme) | 16 GT/s x4 | nvme0n1  iommu DMA-FQ`
pub(super) fn function(machine: &Machine, topology: &Topology, device: &Device, branch: &str) -> [String; 4] {
    let link = device.link.map_or(String::new(), |link| link.to_string());
    let notes = [
        slower(device).map(|slower| format!("{DOWNTRAINED} {slower}")),
        device.physical_function.map(|physical| format!("VF of {physical}")),
        block_devices(machine, device),
        device.p2pmem.as_ref().map(|p2pmem| format!("p2pmem {}", pairs::pool(p2pmem))),
        iommu(device),
        acs(device),
        other_node(topology, device),
    ];
    let notes: Vec<_> = notes.into_iter().flatten().collect();
    [format!("{branch}{}", device.address), what(device), link, notes.join("  ")]
}

fn is_bridge(device: &Device) -> bool {
    matches!(device.kind, Kind::Bridge(_))
}

/// With vendor and device as `lspci -n` has them: there is no name of them in sysfs. Ports do their work under `pcieport`, or under no driver at all: only another one is worth a word.
pub(super) fn what(device: &Device) -> String {
    let kind = format!("{} {:04x}:{:04x}", device.kind.as_str().replace('_', " "), device.vendor, device.device);
    match (device.kind, device.driver.as_deref()) {
        (Kind::Bridge(_) | Kind::HostBridge, None | Some("pcieport")) => kind,
        (_, driver) => format!("{kind} ({})", driver.unwrap_or("no driver")),
    }
}

/// What the link could be. Said at its lower end alone: a port that offers more lanes than its device has is not at fault.
pub(crate) fn slower(device: &Device) -> Option<String> {
    let is_lower_end = matches!(device.kind, Kind::Bridge(Some(PortType::Upstream))) || !is_bridge(device);
    let slower = device.is_downtrained() && is_lower_end;
    device.link.zip(device.max_link).filter(|_| slower).map(|(link, max)| better(link, max))
}

/// Only the part that is better: `(max x8)`, `(max 32 GT/s)`.
fn better(link: Link, max: Link) -> String {
    let narrower = link.width < max.width;
    match link.speed < max.speed && link.speed != LinkSpeed::Unknown {
        true if narrower => format!("(max {max})"),
        true => format!("(max {})", max.speed),
        false => format!("(max x{})", max.width),
    }
}

/// `nvme0n1`, or the first of many.
pub(super) fn block_devices(machine: &Machine, device: &Device) -> Option<String> {
    let paths = if device.kind == Kind::Nvme { storage::namespaces(machine, device.address) } else { Vec::new() };
    let first = paths.first()?.file_name()?.to_string_lossy().into_owned();
    Some(if paths.len() == 1 { first } else { format!("{first} and {} more", paths.len() - 1) })
}

/// Of those that do DMA; what a port's own domain is changes nothing.
pub(crate) fn iommu(device: &Device) -> Option<String> {
    let group = device.iommu.as_ref().filter(|_| !is_bridge(device))?;
    Some(format!("iommu {}", group.domain_type.as_deref().unwrap_or("?")))
}

fn acs(device: &Device) -> Option<String> {
    match device.redirects() {
        Some(true) => Some("ACS redirect".to_owned()),
        Some(false) => None,
        None => Some("ACS ?".to_owned()),
    }
}

/// A NUMA node other than the host bridge's.
fn other_node(topology: &Topology, device: &Device) -> Option<String> {
    let bridge = topology.host_bridges().find(|bridge| bridge.name == device.host_bridge);
    let usual = bridge.and_then(|bridge| topology.device(bridge.first)?.numa_node);
    device.numa_node.filter(|node| Some(*node) != usual).map(|node| format!("node {node}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_link_tells_what_it_misses() {
        let link = |speed, width| Link { speed, width };
        let max = link(LinkSpeed::Gt32, 16);
        assert_eq!(better(link(LinkSpeed::Gt32, 8), max), "(max x16)");
        assert_eq!(better(link(LinkSpeed::Gt16, 16), max), "(max 32 GT/s)");
        assert_eq!(better(link(LinkSpeed::Gt2_5, 1), max), "(max 32 GT/s x16)");
        assert_eq!(better(link(LinkSpeed::Unknown, 8), max), "(max x16)");
    }
}
