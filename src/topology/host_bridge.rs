//! The host-bridge rule: whether the kernel trusts a root complex to carry peer-to-peer traffic.
//!
//! Kernel: `drivers/pci/p2pdma.c`, `pci_p2pdma_whitelist` and the functions that read it. rules: 6.12 (also
//! [`RULES`]). To be compared whenever the kernel is.

use std::fmt;

use super::{Device, Topology, cpu::Cpu};
use crate::pci::{Address, PortType};

/// The kernel whose rules these are. On another kernel a route through a host bridge may be judged differently.
pub const RULES: &str = "6.12";

/// The host bridges on the kernel's list: (vendor, device, only between devices below the same host bridge).
#[doc(alias = "pci_p2pdma_whitelist")]
const LIST: [(u16, u16, bool); 10] = [
    (INTEL, 0x3c00, true), // Sandy Bridge-E
    (INTEL, 0x3c01, true),
    (INTEL, 0x2f00, true), // Haswell-E
    (INTEL, 0x2f01, true),
    (INTEL, 0x2030, false), // Skylake-E: root ports
    (INTEL, 0x2031, false),
    (INTEL, 0x2032, false),
    (INTEL, 0x2033, false),
    (INTEL, 0x2020, false),
    (INTEL, 0x09a2, false), // Ice Lake and later Xeons
];
const INTEL: u16 = 0x8086;

/// A host bridge: the top of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostBridge {
    /// Its name in sysfs: `pci0000:00`.
    pub name: String,
    /// The device that it lies below: a VMD controller. `None` for the machine's own.
    pub below: Option<Address>,
    /// The function that stands for it in the kernel's list: the first on its bus.
    ///
    /// The kernel takes the head of a list in order of discovery; this is the lowest address, which is the same unless
    /// a function was plugged in, or removed and found again, after boot.
    pub first: Address,
}

/// Whether traffic may pass the host bridge, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Passage {
    /// `None` when that cannot be told.
    pub(super) allowed: Option<bool>,
    pub(super) reason: Reason,
}

/// Put into words only when somebody asks: a large machine has many routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reason {
    /// The processor, of this family, carries it.
    Amd(u32),
    NoProcessor,
    One(Listed),
    Both(Box<[Listed; 2]>),
}

/// What the kernel's list says of a host bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    name: String,
    /// The first on its bus, with vendor and device; `None` where there is none.
    first: Option<(Address, u16, u16)>,
    why: Why,
    /// Whether it lies below a device, as that of VMD does.
    below: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Empty,
    NotListed,
    NotLookedUp,
    BelowOneOnly,
    IfRootPort,
    Listed,
}

impl Why {
    fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "has no device that the kernel could look up",
            Self::NotListed => "is not in the kernel's list",
            Self::NotLookedUp => "is neither device 00.0 nor a root port, so that the kernel does not look it up",
            Self::BelowOneOnly => "is in the kernel's list only for traffic below one host bridge",
            Self::IfRootPort => "is in the kernel's list if it is a root port, which cannot be read",
            Self::Listed => "is in the kernel's list",
        }
    }
}

impl Reason {
    /// What would let traffic pass that may not.
    pub(super) fn cure(&self) -> &'static str {
        match self {
            // Behind VMD an SSD has a domain and a host bridge of its own, that no list has (drivers/pci/controller/vmd.c).
            Self::One(Listed { below: true, .. }) => {
                "switch VMD off in the firmware, so that the SSD lies below the processor's own host bridge; or put both below \
                 one PCIe switch"
            }
            Self::One(Listed { why: Why::BelowOneOnly, .. }) => {
                "put both below one host bridge (into slots of one socket), or below one PCIe switch; or use an AMD Zen \
                 processor or a Xeon that is listed for traffic between host bridges"
            }
            _ => "put both below one PCIe switch, or use an AMD Zen processor or a listed Xeon",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amd(family) => write!(f, "the processor, AMD family {family:#x}, carries it"),
            Self::NoProcessor => f.write_str("/proc/cpuinfo does not tell which processor this is"),
            Self::One(listed) => listed.fmt(f),
            Self::Both(both) => write!(f, "{}; {}", both[0], both[1]),
        }
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self { name, first, .. }, why) = (self, self.why.as_str());
        match first {
            None => write!(f, "{name} {why}"),
            Some((address, vendor, device)) => {
                write!(f, "host bridge {vendor:04x}:{device:04x} ({name}, {address}) {why}")
            }
        }
    }
}

/// Whether the kernel lets traffic between two devices pass their host bridges: by processor, or by list.
///
/// Kernel: `cpu_supports_p2pdma() || host_bridge_whitelist(...)` at the end of `calc_map_type_and_dist`.
pub(super) fn passage(topology: &Topology, provider: &Device, client: &Device) -> Passage {
    let supports = topology.cpu.supports_p2pdma();
    if let (Cpu::Amd(family), Some(true)) = (&topology.cpu, supports) {
        return Passage { allowed: Some(true), reason: Reason::Amd(*family) };
    }
    let by_list = by_list(topology, provider, client);
    match (supports, by_list.allowed) {
        (None, Some(false) | None) => Passage { allowed: None, reason: Reason::NoProcessor },
        _ => by_list,
    }
}

/// Kernel: `host_bridge_whitelist`. One host bridge must be listed; of two, both, and for traffic between host bridges.
fn by_list(topology: &Topology, provider: &Device, client: &Device) -> Passage {
    let same = provider.host_bridge == client.host_bridge;
    let of_provider = listed(topology, &provider.host_bridge, same);
    let one = |(allowed, listed)| Passage { allowed, reason: Reason::One(listed) };
    if same || of_provider.0 == Some(false) {
        return one(of_provider);
    }
    let of_client = listed(topology, &client.host_bridge, same);
    match (of_provider.0, of_client.0) {
        (_, Some(false)) => one(of_client),
        (Some(true), allowed) => Passage { allowed, reason: Reason::Both(Box::new([of_provider.1, of_client.1])) },
        _ => one(of_provider),
    }
}

/// Kernel: `__host_bridge_whitelist`.
fn listed(topology: &Topology, name: &str, same: bool) -> (Option<bool>, Listed) {
    let bridge = topology.host_bridges.get(name);
    let below = bridge.is_some_and(|bridge| bridge.below.is_some());
    let Some(first) = bridge.and_then(|bridge| topology.device(bridge.first)) else {
        return (Some(false), Listed { name: name.to_owned(), first: None, why: Why::Empty, below });
    };
    let found = LIST.iter().find(|(vendor, device, _)| (*vendor, *device) == (first.vendor, first.device));
    let (allowed, why) = match (found, stands_for_bridge(first)) {
        (None, _) => (Some(false), Why::NotListed),
        (_, Some(false)) => (Some(false), Why::NotLookedUp),
        (Some((.., true)), _) if !same => (Some(false), Why::BelowOneOnly),
        (_, None) => (None, Why::IfRootPort),
        (_, Some(true)) => (Some(true), Why::Listed),
    };
    (allowed, Listed { name: name.to_owned(), first: Some((first.address, first.vendor, first.device)), why, below })
}

/// Kernel: `pci_host_bridge_dev`. The first device counts if it is device 00.0 or a root port.
fn stands_for_bridge(first: &Device) -> Option<bool> {
    let Address { device, function, .. } = first.address;
    if (device, function) == (0, 0) {
        return Some(true);
    }
    first.port_type.is(|port| *port == PortType::RootPort)
}
