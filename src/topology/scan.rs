//! From facts to devices: one pass over sysfs.

use std::{collections::BTreeMap, fmt, io};

use super::{
    Device, HostBridge, IommuGroup, Kind, Topology,
    cpu::Cpu,
    index::{Devices, Orphan},
};
use crate::{
    error::{Error, Refusal, Result},
    machine::{Facts, P2pmem},
    pci::{Address, Bar, Capability, ConfigSpace, Link, LinkSpeed, Pcie, PortType},
};

const DEVICES: &str = "/sys/bus/pci/devices";

pub(super) fn scan(facts: &dyn Facts) -> Result<Topology> {
    let mut devices = Vec::new();
    for name in facts.list(DEVICES).map_err(no_bus)? {
        let Ok(address) = name.parse() else { continue };
        if let Some(place) = Place::read(facts, &name, address)? {
            devices.extend(Reader::new(facts, &place).device());
        }
    }
    let devices = Devices::new(devices).map_err(orphaned)?;
    let cpu = facts.text("/proc/cpuinfo").map_or(Cpu::Unknown, |text| Cpu::from_cpuinfo(&text));
    let booted = facts.text("/proc/cmdline").unwrap_or_default().into();
    let topology = Topology { host_bridges: host_bridges(&devices), devices, cpu, booted };
    if let Some(bridge) = topology.host_bridges.values().find(|bridge| lies_below_itself(&topology, bridge)) {
        return Err(broken(&bridge.name, "lies below itself"));
    }
    Ok(topology)
}

/// Of whoever climbs from host bridge to host bridge, some would never arrive.
fn lies_below_itself(topology: &Topology, bridge: &HostBridge) -> bool {
    let above = |bridge: &&HostBridge| topology.host_bridges.get(&topology.device(bridge.below?)?.host_bridge);
    let climbed = std::iter::successors(Some(bridge), above).take(topology.host_bridges.len() + 1).skip(1);
    climbed.into_iter().any(|above| above.name == bridge.name)
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
    fn read(facts: &dyn Facts, name: &str, address: Address) -> Result<Option<Self>> {
        let link = [DEVICES, "/", name].concat();
        match facts.link(&link) {
            Ok(directory) => Self::parse(address, directory).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::syscall("readlink", link, error, "mount sysfs on /sys")),
        }
    }

    fn parse(address: Address, directory: String) -> Result<Self> {
        let (mut host_bridge, mut parent, mut last) = (None, None, None);
        for part in directory.split('/').filter(|part| part.contains(':')) {
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
    part.strip_prefix("pci").is_some_and(|bus| [bus, ":00.0"].concat().parse::<Address>().is_ok())
}

fn orphaned(Orphan { address, parent }: Orphan) -> Error {
    broken(address, &format!("lies below {parent}, which is not there"))
}

fn broken(thing: impl fmt::Display, cause: &str) -> Error {
    let cure = "scan again: a device may just have come or gone";
    Error::Invalid(Refusal::new(thing, format!("the PCI tree does not hold together: it {cause}"), cure))
}

/// The first function seen of a host bridge is the lowest on its bus: a virtual function's own bus is a higher one.
fn host_bridges(devices: &Devices) -> BTreeMap<String, HostBridge> {
    let mut bridges = BTreeMap::new();
    for device in devices.all().iter().filter(|device| device.parent.is_none()) {
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
    /// The path that is asked for, one after the other: they all begin with the directory.
    path: String,
}

impl<'a> Reader<'a> {
    fn new(facts: &'a dyn Facts, place: &'a Place) -> Self {
        const LONGEST: usize = "/current_link_speed".len();
        let mut path = String::with_capacity(place.directory.len() + LONGEST);
        path.extend([&place.directory, "/"]);
        Self { facts, place, path }
    }

    /// `None` when the function went away: every function has these three.
    fn device(&mut self) -> Option<Device> {
        let config = self.config();
        let pcie = config.pcie();
        let class = u32::try_from(self.hex("class")?).ok()?;
        let port_type = self.port_type(pcie, class);
        Some(Device {
            address: self.place.address,
            parent: self.place.parent,
            host_bridge: self.place.host_bridge.clone(),
            directory: self.place.directory.clone(),
            kind: Kind::new(class, port_type),
            vendor: u16::try_from(self.hex("vendor")?).ok()?,
            device: u16::try_from(self.hex("device")?).ok()?,
            class,
            driver: self.link_name("driver"),
            numa_node: self.facts.number(self.file("numa_node")).and_then(|node| u32::try_from(node).ok()),
            iommu: self.iommu(),
            link: self.link(["current_link_speed", "current_link_width"]).or_else(|| pcie.present()?.link),
            max_link: self.link(["max_link_speed", "max_link_width"]).or_else(|| pcie.present()?.max_link),
            max_payload: pcie.present().map(|pcie| pcie.max_payload),
            acs: config.acs(),
            bars: self.facts.decoded(self.file("resource"), |text| Some(Bar::from_resource(text))).unwrap_or_default(),
            p2pmem: P2pmem::read(self.facts, &self.place.directory),
            physical_function: self.link_name("physfn").and_then(|name| name.parse().ok()),
            port_type,
        })
    }

    fn file(&mut self, name: &str) -> &str {
        self.path.truncate(self.place.directory.len() + 1);
        self.path.push_str(name);
        &self.path
    }

    fn hex(&mut self, name: &str) -> Option<u64> {
        self.facts.hex(self.file(name))
    }

    fn link_name(&mut self, name: &str) -> Option<String> {
        self.facts.link_name(self.file(name))
    }

    fn config(&mut self) -> ConfigSpace<'a> {
        let facts = self.facts;
        let path = self.file("config");
        let size = facts.size(path).unwrap_or(ConfigSpace::EXTENDED);
        ConfigSpace::new(facts.read(path).unwrap_or_default(), size)
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
    fn link(&mut self, [speed, width]: [&str; 2]) -> Option<Link> {
        let speed = self.facts.decoded(self.file(speed), |text| Some(LinkSpeed::from_sysfs(text)))?;
        let width = self.facts.number(self.file(width))?;
        Link::new(speed, u8::try_from(width).ok()?)
    }

    fn iommu(&mut self) -> Option<IommuGroup> {
        let number = self.link_name("iommu_group")?.parse().ok()?;
        Some(IommuGroup { number, domain_type: self.facts.text(&format!("/sys/kernel/iommu_groups/{number}/type")) })
    }
}
