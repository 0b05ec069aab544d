//! One PCI function, with what the machine says of it.

use std::fmt;

use crate::{
    machine::P2pmem,
    pci::{Acs, Address, Bar, Capability, Link, PortType},
};

/// A PCI function.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Device {
    /// Where it is.
    pub address: Address,
    /// The port above it; `None` on the host bridge's own bus. A virtual function has the parent of its physical one.
    #[doc(alias = "pci_upstream_bridge")]
    pub parent: Option<Address>,
    /// The host bridge above it, by its name in sysfs: `pci0000:00`.
    pub host_bridge: String,
    /// Its directory in sysfs, without symbolic links.
    pub directory: String,
    /// What it is.
    pub kind: Kind,
    /// The vendor's number.
    pub vendor: u16,
    /// The vendor's number of the device.
    pub device: u16,
    /// The class code: base class, subclass, programming interface. 0x010802 is an NVMe controller.
    pub class: u32,
    /// The driver bound to it.
    pub driver: Option<String>,
    /// The NUMA node it is near to; `None` when the firmware does not say.
    pub numa_node: Option<u32>,
    /// Its IOMMU group; `None` without IOMMU.
    pub iommu: Option<IommuGroup>,
    /// Its link as it is now; `None` when it has none or it cannot be read. Of a port above a link: that link.
    ///
    /// An idle GPU slows its link down: look again under load before blaming a slot.
    pub link: Option<Link>,
    /// Its link at its best.
    pub max_link: Option<Link>,
    /// The most bytes of data that it puts into one packet; `None` when that cannot be read.
    pub max_payload: Option<u16>,
    /// What it does with peer-to-peer traffic. The kernel asks endpoints too, not ports only.
    pub acs: Capability<Acs>,
    /// Its windows.
    pub bars: Vec<Bar>,
    /// The memory it gives to peers.
    pub p2pmem: Option<P2pmem>,
    /// The physical function, if this is a virtual one.
    pub physical_function: Option<Address>,
    /// What it is in the PCIe fabric.
    pub port_type: Capability<PortType>,
}

impl Device {
    /// Whether the link runs slower or narrower than it could. False when that is not known.
    #[must_use]
    pub fn is_downtrained(&self) -> bool {
        self.link.zip(self.max_link).is_some_and(|(link, max)| link.is_below(&max))
    }

    /// Whether the device redirects peer-to-peer traffic to the host bridge; `None` when that cannot be read.
    #[must_use]
    pub fn redirects(&self) -> Option<bool> {
        self.acs.is(Acs::redirects)
    }
}

/// An IOMMU group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IommuGroup {
    /// Its number.
    pub number: u32,
    /// What the kernel does for its devices: `DMA`, `DMA-FQ`, `identity`, ... `None` when that cannot be read.
    pub domain_type: Option<String>,
}

/// What a function is, by its class code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// An NVMe controller.
    Nvme,
    /// Other storage.
    Storage,
    /// A network adapter.
    Network,
    /// A GPU, or the display of a management controller.
    Display,
    /// A processing accelerator.
    Accelerator,
    /// Memory.
    Memory,
    /// A bridge to another bus, and which port it is; `None` when that cannot be read.
    Bridge(Option<PortType>),
    /// The host bridge's own function.
    HostBridge,
    /// Anything else.
    Other,
}

impl Kind {
    pub(super) fn new(class: u32, port_type: Capability<PortType>) -> Self {
        match (class >> 16, class >> 8, class) {
            (_, _, 0x01_0802) => Self::Nvme,
            (0x01, _, _) => Self::Storage,
            (0x02, _, _) => Self::Network,
            (0x03, _, _) => Self::Display,
            (0x05, _, _) => Self::Memory,
            (0x12, _, _) => Self::Accelerator,
            (_, 0x0600, _) => Self::HostBridge,
            (_, 0x0604 | 0x0609, _) => Self::Bridge(port_type.present()),
            _ => Self::Other,
        }
    }

    /// One word for it, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Nvme => "nvme",
            Self::Storage => "storage",
            Self::Network => "network",
            Self::Display => "display",
            Self::Accelerator => "accelerator",
            Self::Memory => "memory",
            Self::Bridge(Some(PortType::RootPort)) => "root_port",
            Self::Bridge(Some(PortType::Upstream)) => "upstream_port",
            Self::Bridge(Some(PortType::Downstream)) => "downstream_port",
            Self::Bridge(_) => "bridge",
            Self::HostBridge => "host_bridge",
            Self::Other => "other",
        }
    }
}

/// [`Kind::as_str`].
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_tells_the_kind() {
        let word = |class| Kind::new(class, Capability::Unreadable).to_string();
        assert_eq!(word(0x01_0802), "nvme");
        assert_eq!(word(0x01_0803), "storage");
        assert_eq!(word(0x03_0200), "display");
        assert_eq!(word(0x06_0400), "bridge");
        assert_eq!(word(0x06_0000), "host_bridge");
        assert_eq!(word(0x12_0000), "accelerator");
        assert_eq!(word(0xff_ff00), "other");
    }

    #[test]
    fn a_bridge_is_named_after_its_port() {
        let word = |port| Kind::new(0x06_0400, Capability::Present(port)).to_string();
        assert_eq!(word(PortType::RootPort), "root_port");
        assert_eq!(word(PortType::Upstream), "upstream_port");
        assert_eq!(word(PortType::Downstream), "downstream_port");
        assert_eq!(word(PortType::PciBridge), "bridge");
    }
}
