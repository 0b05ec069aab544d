//! The machine's PCIe tree, and what the kernel says of a transfer between two devices in it.
//!
//! ```text
//! pci0000:00                           host bridge
//!  +- 0000:00:01.0                     root port
//!  |   \- 0000:01:00.0                 upstream port   \
//!  |       +- 0000:02:00.0             downstream port  > a switch
//!  |       |   \- 0000:03:00.0  NVMe                   |
//!  |       \- 0000:02:01.0             downstream port /
//!  |           \- 0000:04:00.0  GPU
//!  \- 0000:00:02.0                     root port
//!      \- 0000:05:00.0          NVMe
//! ```
//!
//! Traffic between 03 and 04 turns at the upstream port 01, unless a port's ACS redirects it; traffic between 04 and 05
//! passes the host bridge, which not every platform does for peers. [`Topology::route`] gives the kernel's own answer
//! for a pair, computed from facts that any user can read where possible; where the answer needs privilege it is
//! [`MapType::Unknown`], never a guess.
//!
//! What it does not know: whether the hardware does what the kernel believes. A route is to be proved by a transfer.

mod cpu;
mod device;
mod explain;
mod host_bridge;
mod index;
mod route;
mod scan;

use std::{collections::BTreeMap, sync::Arc};

pub use device::{Device, IommuGroup, Kind};
pub use host_bridge::{HostBridge, RULES};
pub use route::{MapType, Narrowest, Route, Unknown};

use crate::{
    error::{Error, Refusal, Result},
    machine::Machine,
    pci::{Address, Link},
};

/// Every PCI function of a machine, as a tree, at the time of the scan.
///
/// It does not follow hot-plug, nor ACS bits that somebody changes: scan again.
///
/// ```
/// use p2pdma::{machine::{Machine, Mock, mock::Cpu}, topology::{MapType, Topology}};
///
/// let topology = Topology::scan(&Machine::mock(Mock::one_switch(Cpu::AmdZen)?))?;
/// for provider in topology.providers() {
///     for client in topology.clients() {
///         let route = topology.route(provider.address, client.address)?;
///         assert_eq!((route.map_type, route.distance), (MapType::BusAddr, Some(4)));
///     }
/// }
/// # Ok::<(), p2pdma::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Topology {
    devices: index::Devices,
    host_bridges: BTreeMap<String, HostBridge>,
    cpu: cpu::Cpu,
    /// The kernel's parameters of this boot, which a cure has to keep.
    booted: Arc<str>,
}

impl Topology {
    /// Reads a machine's tree.
    ///
    /// Reading config space wakes devices that sleep; nothing else is changed. Root (`CAP_SYS_ADMIN`) reads more.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where there is no PCI bus, [`Error::NotAllowed`] where sysfs cannot be read,
    /// [`Error::Invalid`] when the tree does not hold together: a device went away during the scan, or the record of a
    /// machine is damaged.
    pub fn scan(machine: &Machine) -> Result<Self> {
        scan::scan(machine.facts())
    }

    /// All functions, by address.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.all().iter()
    }

    /// The function at this address.
    #[must_use]
    pub fn device(&self, address: Address) -> Option<&Device> {
        Some(&self.devices.all()[self.devices.find(address)?])
    }

    /// The functions that give memory to peers: those with a `p2pmem` group.
    pub fn providers(&self) -> impl Iterator<Item = &Device> {
        self.devices.providers()
    }

    /// The functions that can read and write peer memory for us: NVMe controllers.
    pub fn clients(&self) -> impl Iterator<Item = &Device> {
        self.devices.clients()
    }

    /// The host bridges, by name. One may lie below a device: VMD is a device with a host bridge behind it.
    pub fn host_bridges(&self) -> impl Iterator<Item = &HostBridge> {
        self.host_bridges.values()
    }

    /// The functions on the host bridges' own buses: root ports and devices of the root complex.
    pub fn roots(&self) -> impl Iterator<Item = &Device> {
        self.devices().filter(|device| device.parent.is_none())
    }

    /// The functions right below a port.
    pub fn children(&self, parent: Address) -> impl Iterator<Item = &Device> {
        self.devices().filter(move |device| device.parent == Some(parent))
    }

    /// A function and every port above it, up to the one on the host bridge's bus. Empty when it is not there.
    pub fn path(&self, address: Address) -> impl Iterator<Item = &Device> {
        let start = self.devices.find(address);
        start.into_iter().flat_map(|start| self.devices.way(start)).map(|index| &self.devices.all()[index])
    }

    /// The best that a function's link can be where it is: its own best, limited by that of the port above. `None` when its own
    /// cannot be read.
    #[must_use]
    pub fn best_link(&self, address: Address) -> Option<Link> {
        let device = self.device(address)?;
        let port = device.parent.and_then(|port| self.device(port)?.max_link);
        device.max_link.map(|own| port.map_or(own, |port| own.capped(&port)))
    }

    /// What the kernel says of a transfer in which `client` reads or writes the memory of `provider`.
    ///
    /// Asked of any two functions: whether the provider gives memory at all is [`Self::providers`]' matter.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when one of them is not there.
    #[doc(alias = "pci_p2pdma_distance")]
    pub fn route(&self, provider: Address, client: Address) -> Result<Route> {
        Ok(route::calculate(self, self.expect(provider)?, self.expect(client)?))
    }

    /// Its index.
    fn expect(&self, address: Address) -> Result<usize> {
        self.devices.find(address).ok_or_else(|| {
            let cure = "take an address of this machine, as lspci -D prints them";
            Error::NotFound(Refusal::new(address, "no such PCI device", cure))
        })
    }
}

#[cfg(test)]
mod tests;
