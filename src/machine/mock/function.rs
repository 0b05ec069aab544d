//! One PCI function of a mock machine, and the facts it makes: sysfs attributes and config space.

use crate::{machine::Snapshot, pci::Address};

/// What a port is in the PCIe tree (PCI Express Base Specification, device/port type of the PCIe capability).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Below the host bridge.
    Root,
    /// A switch's side towards the root.
    Upstream,
    /// A switch's side towards a device.
    Downstream,
}

/// A PCI function: what it says of itself.
#[derive(Debug, Clone)]
pub struct Function {
    /// Where it is.
    pub address: Address,
    /// The port above it; `None` on the root bus.
    pub parent: Option<Address>,
    /// PCI vendor.
    pub vendor: u16,
    /// PCI device.
    pub device: u16,
    /// Class, subclass and programming interface: `0x010802` is NVMe.
    pub class: u32,
    /// The port that it is, if it is one.
    pub port: Option<Port>,
    /// The driver bound to it.
    pub driver: Option<String>,
    /// Its ACS control register; `None` when it has no ACS capability.
    pub acs_control: Option<u16>,
    /// Its link: code of the speed (1 = 2.5 GT/s .. 6 = 64 GT/s) and lanes.
    pub link: Option<(u8, u8)>,
    /// Bytes of peer memory that its driver gave to p2pdma.
    pub p2pmem: Option<u64>,
}

impl Function {
    /// A function of the root bus without driver, link or memory.
    #[must_use]
    pub fn new(address: Address, vendor: u16, device: u16, class: u32) -> Self {
        Self {
            address,
            parent: None,
            vendor,
            device,
            class,
            port: None,
            driver: None,
            acs_control: None,
            link: None,
            p2pmem: None,
        }
    }

    /// A PCIe port: 16 lanes at 16 GT/s, without ACS.
    #[must_use]
    pub fn port(address: Address, parent: Option<Address>, port: Port) -> Self {
        let driver = Some("pcieport".to_owned());
        let new = Self::new(address, 0x1b36, 0x000c, 0x06_0400);
        Self { parent, port: Some(port), driver, link: Some((4, 16)), ..new }
    }

    /// An NVMe controller: 4 lanes at 16 GT/s.
    #[must_use]
    pub fn nvme(address: Address, parent: Option<Address>) -> Self {
        let driver = Some("nvme".to_owned());
        Self { parent, driver, link: Some((4, 4)), ..Self::new(address, 0x1b36, 0x0010, 0x01_0802) }
    }

    /// A device whose BAR the donor driver gave to p2pdma: 16 lanes at 16 GT/s.
    #[must_use]
    pub fn provider(address: Address, parent: Option<Address>, length: u64) -> Self {
        let driver = Some("p2pdma_user".to_owned());
        let new = Self::new(address, 0x1af4, 0x1110, 0x05_0000);
        Self { parent, driver, link: Some((4, 16)), p2pmem: Some(length), ..new }
    }

    /// Writes the facts below the parent's directory; gives this function's.
    pub(super) fn write(&self, facts: &mut Snapshot, parent: &str) -> String {
        let directory = format!("{parent}/{}", self.address);
        let path = |name: &str| format!("{directory}/{name}");
        facts
            .file(path("vendor"), format!("0x{:04x}\n", self.vendor))
            .file(path("device"), format!("0x{:04x}\n", self.device))
            .file(path("class"), format!("0x{:06x}\n", self.class))
            .file(path("numa_node"), "0\n")
            .file(path("resource"), self.resource())
            .file(path("config"), self.config())
            .symlink(format!("/sys/bus/pci/devices/{}", self.address), directory.clone());
        if let Some(driver) = &self.driver {
            facts.symlink(path("driver"), format!("/sys/bus/pci/drivers/{driver}"));
        }
        if let Some(link) = self.link {
            write_link(facts, &directory, link);
        }
        if let Some(length) = self.p2pmem {
            facts
                .file(path("p2pmem/size"), format!("{length}\n"))
                .file(path("p2pmem/available"), format!("{length}\n"))
                .file(path("p2pmem/published"), "1\n")
                .file(path("p2pmem/allocate"), "");
        }
        directory
    }

    /// Six BARs and an expansion ROM, `start end flags` each; the pool lies in BAR 2, a 64-bit prefetchable one.
    fn resource(&self) -> String {
        let empty = format!("{:#018x} {:#018x} {:#018x}\n", 0, 0, 0);
        let bar = |length: u64| format!("{:#018x} {:#018x} {:#018x}\n", 0, length - 1, 0x14_220c);
        (0..7)
            .map(|index| match self.p2pmem {
                Some(length) if index == 2 && length > 0 => bar(length),
                _ => empty.clone(),
            })
            .collect()
    }

    /// 4 KiB of config space: the header, a PCIe capability at 0x40 and, where there is ACS, that at 0x100.
    fn config(&self) -> Vec<u8> {
        let mut config = vec![0; 4096];
        let mut put = |offset: usize, bytes: &[u8]| config[offset..offset + bytes.len()].copy_from_slice(bytes);
        put(0x00, &self.vendor.to_le_bytes());
        put(0x02, &self.device.to_le_bytes());
        put(0x08, &(self.class << 8).to_le_bytes());
        put(0x0e, &[u8::from(self.port.is_some())]);
        if let Some((speed, width)) = self.link {
            let link = u16::from(speed) | u16::from(width) << 4;
            put(0x06, &0x0010_u16.to_le_bytes()); // the status register's "has capabilities"
            put(0x34, &[0x40]);
            put(0x40, &[0x10, 0x00]);
            put(0x42, &(0x0002 | self.port_type() << 4).to_le_bytes());
            put(0x4c, &u32::from(link).to_le_bytes());
            put(0x52, &link.to_le_bytes());
        }
        if let Some(control) = self.acs_control {
            put(0x100, &0x0001_000d_u32.to_le_bytes());
            put(0x104, &0x005f_u16.to_le_bytes());
            put(0x106, &control.to_le_bytes());
        }
        config
    }

    /// The device/port type field (`PCI_EXP_TYPE_*` in uapi/linux/pci_regs.h).
    fn port_type(&self) -> u16 {
        match self.port {
            None => 0x0,
            Some(Port::Root) => 0x4,
            Some(Port::Upstream) => 0x5,
            Some(Port::Downstream) => 0x6,
        }
    }
}

/// The attributes of `pcie_dev_attrs` (drivers/pci/pci-sysfs.c): readable by anyone, unlike the capability itself.
fn write_link(facts: &mut Snapshot, directory: &str, (speed, width): (u8, u8)) {
    let speed = match speed {
        1 => "2.5 GT/s PCIe",
        2 => "5.0 GT/s PCIe",
        3 => "8.0 GT/s PCIe",
        4 => "16.0 GT/s PCIe",
        5 => "32.0 GT/s PCIe",
        6 => "64.0 GT/s PCIe",
        _ => "Unknown",
    };
    for kind in ["current", "max"] {
        facts
            .file(format!("{directory}/{kind}_link_speed"), format!("{speed}\n"))
            .file(format!("{directory}/{kind}_link_width"), format!("{width}\n"));
    }
}
