//! From facts to devices: one pass over sysfs.

use std::{collections::BTreeMap, io};

use super::{Device, HostBridge, IommuGroup, Kind, Topology, cpu::Cpu, index::Devices};
use crate::{
    error::{Error, Refusal, Result},
    machine::{Facts, P2pmem},
    pci::{Address, Bar, Capability, ConfigSpace, Link, LinkSpeed, Pcie, PortType},
};

const DEVICES: &str = "/sys/bus/pci/devices";

pub(super) fn scan(facts: &dyn Facts) -> Result<Topology> {
    let mut devices = BTreeMap::new();
    for name in facts.list(DEVICES).map_err(no_bus)? {
        let Ok(address) = name.parse() else { continue };
        if let Some(place) = Place::read(facts, address)? {
            devices.extend(Reader { facts, place: &place }.device().map(|device| (address, device)));
        }
    }
    check_parents(&devices)?;
    let cpu = facts.text("/proc/cpuinfo").map_or(Cpu::Unknown, |text| Cpu::from_cpuinfo(&text));
    Ok(Topology { host_bridges: host_bridges(&devices), devices: Devices::new(devices), cpu })
}

fn no_bus(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => {
            Error::NotFound(Refusal::new(DEVICES, "no PCI bus", "mount sysfs; the kernel needs CONFIG_PCI"))
        }
        _ => Error::syscall("readdir", DEVICES, error, "mount sysfs on /sys"),
    }
}

/// Where a function hangs in the tree, by its path in sysfs.
///
/// ```text
/// /sys/devices/pci0000:e0/0000:e0:05.5/pci10000:e0/10000:e0:06.0/10000:e1:00.0
///                         VMD          its bridge  parent        the function
/// ```
///
/// What lies above the last host bridge is another tree: the kernel's `pci_upstream_bridge` ends at the root bus.
struct Place {
    address: Address,
    directory: String,
    host_bridge: String,
    parent: Option<Address>,
}

impl Place {
    /// `None` when the function went away since it was listed.
    fn read(facts: &dyn Facts, address: Address) -> Result<Option<Self>> {
        let link = format!("{DEVICES}/{address}");
        match facts.link(&link) {
            Ok(directory) => Self::parse(address, directory).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::syscall("readlink", link, error, "mount sysfs on /sys")),
        }
    }

    fn parse(address: Address, directory: String) -> Result<Self> {
        let (mut host_bridge, mut parent, mut last) = (None, None, None);
        for part in directory.split('/') {
            if is_host_bridge(part) {
                (host_bridge, parent, last) = (Some(part), None, None);
            } else if let Ok(found) = part.parse() {
                (parent, last) = (last, Some(found));
            }
        }
        match host_bridge.map(str::to_owned).filter(|_| last == Some(address)) {
            Some(host_bridge) => Ok(Self { address, directory, host_bridge, parent }),
            None => Err(broken(address, &format!("is not below a host bridge in {directory}"))),
        }
    }
}

/// `pciDDDD:BB`, as `pci_register_host_bridge` in `drivers/pci/probe.c` names it.
fn is_host_bridge(part: &str) -> bool {
    let bus = part.strip_prefix("pci").filter(|bus| bus.contains(':'));
    bus.is_some_and(|bus| format!("{bus}:00.0").parse::<Address>().is_ok())
}

fn broken(address: Address, cause: &str) -> Error {
    let cure = "scan again: a device may just have come or gone";
    Error::Invalid(Refusal::new(address, format!("the PCI tree does not hold together: it {cause}"), cure))
}

/// Every parent is there and its directory contains the child's: so the tree is one, and climbing it ends.
fn check_parents(devices: &BTreeMap<Address, Device>) -> Result<()> {
    for device in devices.values() {
        let Some(parent) = device.parent else { continue };
        let inside =
            |above: &Device| device.directory.strip_prefix(&above.directory).is_some_and(|rest| rest.starts_with('/'));
        if !devices.get(&parent).is_some_and(inside) {
            return Err(broken(device.address, &format!("lies below {parent}, which is not there")));
        }
    }
    Ok(())
}

/// The first function seen of a host bridge is the lowest on its bus: a virtual function's own bus is a higher one.
fn host_bridges(devices: &BTreeMap<Address, Device>) -> BTreeMap<String, HostBridge> {
    let mut bridges = BTreeMap::new();
    for device in devices.values().filter(|device| device.parent.is_none()) {
        let name = device.host_bridge.clone();
        let below = above(&device.directory, &name);
        bridges.entry(name.clone()).or_insert(HostBridge { name, below, first: device.address });
    }
    bridges
}

/// The device that a host bridge lies below, by the path of something under it.
fn above(directory: &str, bridge: &str) -> Option<Address> {
    let (before, _) = directory.rsplit_once(&format!("/{bridge}/"))?;
    before.rsplit('/').next()?.parse().ok()
}

/// Reads what one function says of itself.
struct Reader<'a> {
    facts: &'a dyn Facts,
    place: &'a Place,
}

impl Reader<'_> {
    /// `None` when the function went away: every function has these three.
    fn device(&self) -> Option<Device> {
        let config = self.config();
        let pcie = config.pcie();
        let class = u32::try_from(self.hex("class")?).ok()?;
        let port_type = self.port_type(pcie, class);
        let link = |when, of: fn(Pcie) -> Option<Link>| self.link(when).or_else(|| pcie.present().and_then(of));
        Some(Device {
            address: self.place.address,
            parent: self.place.parent,
            host_bridge: self.place.host_bridge.clone(),
            directory: self.place.directory.clone(),
            kind: Kind::new(class, port_type),
            vendor: u16::try_from(self.hex("vendor")?).ok()?,
            device: u16::try_from(self.hex("device")?).ok()?,
            class,
            driver: self.facts.link_name(&self.file("driver")),
            numa_node: self.facts.number(&self.file("numa_node")).and_then(|node| u32::try_from(node).ok()),
            iommu: self.iommu(),
            link: link("current", |pcie| pcie.link),
            max_link: link("max", |pcie| pcie.max_link),
            max_payload: pcie.present().map(|pcie| pcie.max_payload),
            acs: config.acs(),
            bars: self.facts.text(&self.file("resource")).map_or_else(Vec::new, |text| Bar::from_resource(&text)),
            p2pmem: P2pmem::read(self.facts, &self.place.directory),
            physical_function: self.facts.link_name(&self.file("physfn")).and_then(|name| name.parse().ok()),
            port_type,
        })
    }

    fn file(&self, name: &str) -> String {
        [&self.place.directory, "/", name].concat()
    }

    fn hex(&self, name: &str) -> Option<u64> {
        self.facts.hex(&self.file(name))
    }

    fn config(&self) -> ConfigSpace {
        let path = self.file("config");
        let size = self.facts.size(&path).unwrap_or(ConfigSpace::EXTENDED);
        ConfigSpace::new(self.facts.read(&path).unwrap_or_default(), size)
    }

    /// From config space; without privilege, from the port services that the kernel lists below a bridge.
    fn port_type(&self, pcie: Capability<Pcie>, class: u32) -> Capability<PortType> {
        match pcie {
            Capability::Present(pcie) => Capability::Present(pcie.port_type),
            Capability::Absent => Capability::Absent,
            Capability::Unreadable if class >> 16 != 0x06 => Capability::Unreadable,
            Capability::Unreadable => {
                let names = self.facts.list(&self.place.directory).unwrap_or_default();
                let told = names.iter().find_map(|name| PortType::from_service(name));
                told.map_or(Capability::Unreadable, Capability::Present)
            }
        }
    }

    /// The link as sysfs tells any user; the files are there for PCIe devices only.
    fn link(&self, when: &str) -> Option<Link> {
        let speed = self.facts.text(&self.file(&format!("{when}_link_speed")))?;
        let width = self.facts.number(&self.file(&format!("{when}_link_width")))?;
        Link::new(LinkSpeed::from_sysfs(&speed), u8::try_from(width).ok()?)
    }

    fn iommu(&self) -> Option<IommuGroup> {
        let number = self.facts.link_name(&self.file("iommu_group"))?.parse().ok()?;
        Some(IommuGroup { number, domain_type: self.facts.text(&format!("/sys/kernel/iommu_groups/{number}/type")) })
    }
}
