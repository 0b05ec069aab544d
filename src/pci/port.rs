//! The PCI Express capability: what a function is in the fabric, and its link.

use std::fmt;

use super::{ConfigSpace, Link, LinkSpeed};

/// What a function is in the PCIe fabric. Kernel: `PCI_EXP_TYPE_*` in `include/uapi/linux/pci_regs.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortType {
    /// An endpoint.
    Endpoint,
    /// A legacy endpoint.
    LegacyEndpoint,
    /// A root port: the top of a tree, on the host bridge's own bus.
    #[doc(alias = "PCI_EXP_TYPE_ROOT_PORT")]
    RootPort,
    /// A switch's port towards the host.
    #[doc(alias = "PCI_EXP_TYPE_UPSTREAM")]
    Upstream,
    /// A switch's port away from the host.
    #[doc(alias = "PCI_EXP_TYPE_DOWNSTREAM")]
    Downstream,
    /// A bridge from PCIe to PCI or PCI-X.
    PciBridge,
    /// A bridge from PCI or PCI-X to PCIe.
    PcieBridge,
    /// An endpoint inside the root complex: no link.
    RootComplexEndpoint,
    /// An event collector of the root complex: no link.
    EventCollector,
    /// A value the specification does not name.
    Unknown(u8),
}

impl PortType {
    /// The type field of the PCI Express capabilities register.
    #[must_use]
    pub fn from_code(code: u8) -> Self {
        match code {
            0x0 => Self::Endpoint,
            0x1 => Self::LegacyEndpoint,
            0x4 => Self::RootPort,
            0x5 => Self::Upstream,
            0x6 => Self::Downstream,
            0x7 => Self::PciBridge,
            0x8 => Self::PcieBridge,
            0x9 => Self::RootComplexEndpoint,
            0xa => Self::EventCollector,
            other => Self::Unknown(other),
        }
    }

    /// The type told by a port service that the kernel registered below the port, e.g. `0000:00:1c.0:pcie001`.
    ///
    /// Any user can list these names. The number is `(type - 4) << 8 | service`; kernel: `get_descriptor_id` and
    /// `pcie_device_init` in `drivers/pci/pcie/portdrv.c`.
    #[must_use]
    pub fn from_service(name: &str) -> Option<Self> {
        let (_, number) = name.rsplit_once(":pcie")?;
        let plain = (3..=4).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = plain.then(|| u16::from_str_radix(number, 16).ok())??;
        let code = u8::try_from(number >> 8).ok()?.checked_add(4)?;
        (code <= 0xa).then(|| Self::from_code(code))
    }

    /// Whether a function of this type has a link of its own.
    fn has_link(self) -> bool {
        !matches!(self, Self::RootComplexEndpoint | Self::EventCollector)
    }
}

/// A noun: `root port`.
impl fmt::Display for PortType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Endpoint => "endpoint",
            Self::LegacyEndpoint => "legacy endpoint",
            Self::RootPort => "root port",
            Self::Upstream => "upstream port",
            Self::Downstream => "downstream port",
            Self::PciBridge => "PCIe to PCI bridge",
            Self::PcieBridge => "PCI to PCIe bridge",
            Self::RootComplexEndpoint => "root complex endpoint",
            Self::EventCollector => "root complex event collector",
            Self::Unknown(_) => "port of unknown type",
        })
    }
}

/// The PCI Express capability of one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pcie {
    /// What the function is, as it says itself. The kernel corrects a switch port that swaps upstream and downstream
    /// (`set_pcie_port_type` in `drivers/pci/probe.c`); routes do not depend on it.
    pub port_type: PortType,
    /// The link as trained; `None` when the function has none.
    pub link: Option<Link>,
    /// The link at its best; `None` when the function has none.
    pub max_link: Option<Link>,
    /// The most bytes of data that it puts into one packet: 128 to 4096.
    #[doc(alias = "MPS")]
    pub max_payload: u16,
}

impl Pcie {
    /// Decodes the capability at this offset; `None` where it cannot be read.
    ///
    /// ```text
    /// +0x02 capabilities  bits 7:4 port type
    /// +0x08 device control  bits 7:5 max payload size, 128 << n; 6 and 7 are reserved
    /// +0x0c link capabilities, +0x12 link status:  bits 3:0 speed, 9:4 width
    /// ```
    pub(super) fn at(config: &ConfigSpace<'_>, offset: usize) -> Option<Self> {
        let [flags, _] = config.u16(offset + 0x02)?.to_le_bytes();
        let port_type = PortType::from_code(flags >> 4);
        let [low, high, ..] = config.u32(offset + 0x0c)?.to_le_bytes();
        let control = config.u16(offset + 0x08)?;
        let max_link = link(u16::from_le_bytes([low, high]));
        let current = link(config.u16(offset + 0x12)?);
        let of = |link: Option<Link>| link.filter(|_| port_type.has_link());
        Some(Self {
            port_type,
            link: of(current),
            max_link: of(max_link),
            max_payload: 128 << (control >> 5 & 7).min(5),
        })
    }
}

fn link(register: u16) -> Option<Link> {
    let [speed, _] = (register & 0x0f).to_le_bytes();
    let [width, _] = (register >> 4 & 0x3f).to_le_bytes();
    Link::new(LinkSpeed::from_code(speed), width)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_code_has_a_type_and_unknown_ones_are_carried() {
        assert_eq!(PortType::from_code(4), PortType::RootPort);
        assert_eq!(PortType::from_code(5), PortType::Upstream);
        assert_eq!(PortType::from_code(6), PortType::Downstream);
        assert_eq!(PortType::from_code(0xb), PortType::Unknown(0xb));
    }

    #[test]
    fn a_port_service_tells_the_type() {
        assert_eq!(PortType::from_service("0000:00:1c.0:pcie001"), Some(PortType::RootPort));
        assert_eq!(PortType::from_service("0000:00:1c.0:pcie010"), Some(PortType::RootPort));
        assert_eq!(PortType::from_service("0000:01:00.0:pcie102"), Some(PortType::Upstream));
        assert_eq!(PortType::from_service("0000:02:00.0:pcie204"), Some(PortType::Downstream));
        assert_eq!(PortType::from_service("0000:00:00.2:pcie602"), Some(PortType::EventCollector));
    }

    #[test]
    fn other_names_tell_nothing() {
        for name in ["", "config", "0000:00:1c.0", "x:pcie", "x:pcie1", "x:pcie+01", "x:pcieffff", "x:pcie701"] {
            assert_eq!(PortType::from_service(name), None, "{name:?}");
        }
    }

    #[test]
    fn link_registers_split_into_speed_and_width() {
        assert_eq!(link(0x7043), Some(Link { speed: LinkSpeed::Gt8, width: 4 }));
        assert_eq!(link(0), None);
    }

    proptest! {
        #[test]
        fn any_name_is_a_service_or_none(name in ".*(:pcie)?[0-9a-f+]{0,5}") {
            let _ = PortType::from_service(&name);
        }
    }
}
