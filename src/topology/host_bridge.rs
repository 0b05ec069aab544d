//! The host-bridge rule: whether the kernel trusts a root complex to carry peer-to-peer traffic.
//!
//! Kernel: `drivers/pci/p2pdma.c`, `pci_p2pdma_whitelist` and the functions that read it. rules: 6.12 (also
//! [`RULES`]). To be compared whenever the kernel is.

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
    pub(super) reason: String,
}

/// Whether the kernel lets traffic between two devices pass their host bridges: by processor, or by list.
///
/// Kernel: `cpu_supports_p2pdma() || host_bridge_whitelist(...)` at the end of `calc_map_type_and_dist`.
pub(super) fn passage(topology: &Topology, provider: &Device, client: &Device) -> Passage {
    let by_list = by_list(topology, provider, client);
    match (&topology.cpu, topology.cpu.supports_p2pdma()) {
        (Cpu::Amd(family), Some(true)) => {
            Passage { allowed: Some(true), reason: format!("the processor, AMD family {family:#x}, carries it") }
        }
        (_, None) if by_list.allowed != Some(true) => {
            Passage { allowed: None, reason: "/proc/cpuinfo does not tell which processor this is".to_owned() }
        }
        _ => by_list,
    }
}

/// Kernel: `host_bridge_whitelist`. One host bridge must be listed; of two, both, and for traffic between host bridges.
fn by_list(topology: &Topology, provider: &Device, client: &Device) -> Passage {
    let same = provider.host_bridge == client.host_bridge;
    let of_provider = listed(topology, &provider.host_bridge, same);
    if same || of_provider.allowed == Some(false) {
        return of_provider;
    }
    let of_client = listed(topology, &client.host_bridge, same);
    match (of_provider.allowed, of_client.allowed) {
        (_, Some(false)) => of_client,
        (Some(true), _) => Passage { reason: format!("{}; {}", of_provider.reason, of_client.reason), ..of_client },
        _ => of_provider,
    }
}

/// Kernel: `__host_bridge_whitelist`.
fn listed(topology: &Topology, name: &str, same: bool) -> Passage {
    let first = topology.host_bridges.get(name).and_then(|bridge| topology.device(bridge.first));
    let Some(first) = first else {
        return Passage { allowed: Some(false), reason: format!("{name} has no device that the kernel could look up") };
    };
    let found = LIST.iter().find(|(vendor, device, _)| (*vendor, *device) == (first.vendor, first.device));
    let (allowed, reason) = match (found, stands_for_bridge(first)) {
        (None, _) => (Some(false), "is not in the kernel's list"),
        (_, Some(false)) => {
            (Some(false), "is neither device 00.0 nor a root port, so that the kernel does not look it up")
        }
        (Some((.., true)), _) if !same => {
            (Some(false), "is in the kernel's list only for traffic below one host bridge")
        }
        (_, None) => (None, "is in the kernel's list if it is a root port, which cannot be read"),
        (_, Some(true)) => (Some(true), "is in the kernel's list"),
    };
    let (vendor, device) = (first.vendor, first.device);
    Passage { allowed, reason: format!("host bridge {vendor:04x}:{device:04x} ({name}, {}) {reason}", first.address) }
}

/// Kernel: `pci_host_bridge_dev`. The first device counts if it is device 00.0 or a root port.
fn stands_for_bridge(first: &Device) -> Option<bool> {
    let Address { device, function, .. } = first.address;
    if (device, function) == (0, 0) {
        return Some(true);
    }
    first.port_type.is(|port| *port == PortType::RootPort)
}
