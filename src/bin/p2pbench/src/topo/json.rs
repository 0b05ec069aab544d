//! The tree and its pairs as programs read them.

use p2pdma::{
    machine::{Machine, P2pmem},
    pci::{Acs, Address, Bar, BarKind, Capability, Link, LinkSpeed},
    storage,
    topology::{Device, HostBridge, IommuGroup, Kind, Narrowest, RULES, Route, Topology},
};
use serde::Serialize;

use super::{candidate, label::Labels};
use crate::{facts::MachineFacts, pairs::Pairs};

/// Everything. The keys are a contract with scripts: others may be added, none renamed.
///
/// What cannot be read, or is not there, is `null`; where that makes a difference, the field says which.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    schema: &'static str,
    machine: MachineFacts,
    /// The kernel whose rules `pairs` follow.
    rules: &'static str,
    host_bridges: Vec<Bridge>,
    devices: Vec<Function>,
    pairs: Vec<Pair>,
    /// Likewise with GPUs and accelerators that give no memory: what the kernel would say if they did.
    candidates: Vec<Pair>,
}

#[derive(Debug, Serialize)]
struct Bridge {
    name: String,
    /// The device that it lies below, for a VMD.
    below: Option<String>,
    /// The function that stands for it in the kernel's list.
    first: String,
}

#[derive(Debug, Serialize)]
struct Function {
    address: String,
    /// Its name in the matrix: `SSD0`; `null`: it is not in it.
    label: Option<String>,
    kind: &'static str,
    /// `null`: none is bound.
    driver: Option<String>,
    /// `null`: the firmware does not say.
    numa_node: Option<u32>,
    link: Option<LinkState>,
    /// `null`: it gives no memory to peers.
    p2pmem: Option<Pool>,
    /// `null`: it is on the host bridge's own bus.
    parent: Option<String>,
    host_bridge: String,
    physical_function: Option<String>,
    vendor: String,
    device: String,
    class: String,
    /// `null`: no PCIe function; `unknown`: cannot be read.
    port_type: Option<String>,
    /// What is switched on of it, as `SV | RR | CR | UF`; `off`, nothing; `none`: no such capability; `unknown`: cannot
    /// be read.
    acs: String,
    /// Whether it redirects peer-to-peer traffic to the host bridge; `null`: cannot be read.
    acs_redirect: Option<bool>,
    /// `null`: no IOMMU.
    iommu: Option<Group>,
    bars: Vec<Window>,
    /// Of an NVMe function.
    block_devices: Vec<String>,
}

#[derive(Debug, Serialize)]
struct LinkState {
    /// Per lane: `16 GT/s`.
    speed: Option<String>,
    width: Option<u8>,
    max_speed: Option<String>,
    max_width: Option<u8>,
    /// Slower or narrower than this end of it could; of a port, maybe because its device cannot.
    downtrained: bool,
}

#[derive(Debug, Serialize)]
struct Pool {
    size: Option<u64>,
    available: Option<u64>,
    published: Option<bool>,
}

#[derive(Debug, Serialize)]
struct Group {
    group: u32,
    domain_type: Option<String>,
}

#[derive(Debug, Serialize)]
struct Window {
    index: u8,
    size: u64,
    /// `memory` or `io`.
    kind: &'static str,
    is_64bit: bool,
    prefetchable: bool,
}

/// A route; the same in every report.
#[derive(Debug, Serialize)]
pub(crate) struct Pair {
    provider: String,
    client: String,
    map_type: &'static str,
    /// `null`: cannot be told.
    supported: Option<bool>,
    /// `null`: none, or cannot be told.
    distance: Option<u32>,
    acs_redirect: Vec<String>,
    ceiling_bytes_per_second: Option<u64>,
    /// The link that makes it.
    narrowest: Option<Bound>,
    cause: String,
    remedy: Vec<String>,
    /// What could not be read.
    unknown: Vec<String>,
    /// Provider first, client last.
    path: Vec<String>,
}

/// A link, and what it costs to use it.
#[derive(Debug, Serialize)]
struct Bound {
    address: String,
    speed: String,
    width: u8,
    encoding: Option<&'static str>,
    /// Bytes of data in a packet; `null`: cannot be read, and headers are not counted.
    max_payload: Option<u16>,
    packet_overhead: u64,
}

impl Bound {
    fn new(narrowest: &Narrowest) -> Self {
        let Narrowest { address, link, max_payload, .. } = *narrowest;
        Self {
            address: address.to_string(),
            speed: link.speed.to_string(),
            width: link.width,
            encoding: link.speed.encoding(),
            max_payload,
            packet_overhead: link.speed.packet_overhead(),
        }
    }
}

impl Document {
    pub(super) fn new(machine: &Machine, topology: &Topology, pairs: &Pairs) -> Self {
        let labels = Labels::of(topology);
        Self {
            schema: "p2pbench.topology/1",
            machine: MachineFacts::of(machine),
            rules: RULES,
            host_bridges: topology.host_bridges().map(Bridge::new).collect(),
            devices: topology.devices().map(|device| Function::new(machine, device, &labels)).collect(),
            pairs: pairs.routes().map(Pair::new).collect(),
            candidates: candidates(topology),
        }
    }
}

fn candidates(topology: &Topology) -> Vec<Pair> {
    let with = |client: Address| {
        let routes = candidate::candidates(topology).map(move |device| topology.route(device.address, client));
        routes.flatten().map(|route| Pair::new(&route))
    };
    topology.clients().flat_map(|client| with(client.address)).collect()
}

impl Bridge {
    fn new(bridge: &HostBridge) -> Self {
        Self { name: bridge.name.clone(), below: text(bridge.below), first: bridge.first.to_string() }
    }
}

impl Function {
    fn new(machine: &Machine, device: &Device, labels: &Labels) -> Self {
        Self {
            address: device.address.to_string(),
            label: labels.get(device.address).map(str::to_owned),
            kind: device.kind.as_str(),
            driver: device.driver.clone(),
            numa_node: device.numa_node,
            link: LinkState::of(device),
            p2pmem: device.p2pmem.map(Pool::new),
            parent: text(device.parent),
            host_bridge: device.host_bridge.clone(),
            physical_function: text(device.physical_function),
            vendor: format!("0x{:04x}", device.vendor),
            device: format!("0x{:04x}", device.device),
            class: format!("0x{:06x}", device.class),
            port_type: port_type(device),
            acs: acs(device.acs),
            acs_redirect: device.redirects(),
            iommu: device.iommu.as_ref().map(Group::new),
            bars: device.bars.iter().map(Window::new).collect(),
            block_devices: block_devices(machine, device),
        }
    }
}

impl LinkState {
    fn of(device: &Device) -> Option<Self> {
        let speed = |link: &Link| (link.speed != LinkSpeed::Unknown).then(|| link.speed.to_string());
        // 0 = the link is down; more than 32 lanes are none that could be reported.
        let width = |link: &Link| (link.width <= 32).then_some(link.width);
        let (link, max) = (device.link.as_ref(), device.max_link.as_ref());
        link.or(max).map(|_| Self {
            speed: link.and_then(speed),
            width: link.and_then(width),
            max_speed: max.and_then(speed),
            max_width: max.and_then(width),
            downtrained: device.is_downtrained(),
        })
    }
}

impl Pool {
    fn new(p2pmem: P2pmem) -> Self {
        Self { size: p2pmem.size, available: p2pmem.available, published: p2pmem.published }
    }
}

impl Group {
    fn new(group: &IommuGroup) -> Self {
        Self { group: group.number, domain_type: group.domain_type.clone() }
    }
}

impl Window {
    fn new(bar: &Bar) -> Self {
        let (kind, is_64bit, prefetchable) = match bar.kind {
            BarKind::Io => ("io", false, false),
            BarKind::Memory { is_64bit, prefetchable } => ("memory", is_64bit, prefetchable),
        };
        Self { index: bar.index, size: bar.size, kind, is_64bit, prefetchable }
    }
}

impl Pair {
    pub(crate) fn new(route: &Route) -> Self {
        Self {
            provider: route.provider.to_string(),
            client: route.client.to_string(),
            map_type: route.map_type.as_str(),
            supported: route.is_supported(),
            distance: route.distance,
            acs_redirect: route.acs_redirect.iter().map(ToString::to_string).collect(),
            ceiling_bytes_per_second: route.ceiling_bytes_per_second,
            narrowest: route.narrowest.as_ref().map(Bound::new),
            cause: route.cause(),
            remedy: route.remedies(),
            unknown: route.unknown.iter().map(|unknown| unknown.what.clone()).collect(),
            path: route.path.iter().map(ToString::to_string).collect(),
        }
    }
}

fn text(value: Option<impl ToString>) -> Option<String> {
    value.map(|value| value.to_string())
}

/// In the form of `kind`: `root_port`.
fn port_type(device: &Device) -> Option<String> {
    match device.port_type {
        Capability::Present(port) => Some(port.to_string().to_lowercase().replace(' ', "_")),
        Capability::Absent => None,
        Capability::Unreadable => Some("unknown".to_owned()),
    }
}

fn acs(acs: Capability<Acs>) -> String {
    match acs {
        Capability::Present(acs) if acs.control.is_empty() => "off".to_owned(),
        Capability::Present(acs) => acs.control.to_string(),
        Capability::Absent => "none".to_owned(),
        Capability::Unreadable => "unknown".to_owned(),
    }
}

fn block_devices(machine: &Machine, device: &Device) -> Vec<String> {
    let paths = if device.kind == Kind::Nvme { storage::namespaces(machine, device.address) } else { Vec::new() };
    paths.iter().map(|path| path.display().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use p2pdma::pci::AcsFlags;

    use super::*;

    #[test]
    fn acs_that_is_off_is_not_acs_that_is_not_there() {
        let present = |control| acs(Capability::Present(Acs { capability: AcsFlags::all(), control }));
        assert_eq!(present(AcsFlags::empty()), "off");
        assert_eq!(present(AcsFlags::SV | AcsFlags::RR), "SV | RR");
        assert_eq!(acs(Capability::Absent), "none");
        assert_eq!(acs(Capability::Unreadable), "unknown");
    }
}
