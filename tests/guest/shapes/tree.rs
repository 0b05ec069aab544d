//! A PCI tree of memory, described function by function, as the lines that `kmod/test/tree.c` takes.

use std::fmt::Write;

/// Ids and link of a function: vendor, device; code of the speed and lanes, as trained and at best; ACS control.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) id: (u16, u16),
    pub(crate) class: u32,
    pub(crate) link: (u8, u8),
    pub(crate) max: (u8, u8),
    pub(crate) acs: Option<u16>,
    /// Virtual functions that it could have, and those that are switched on.
    pub(crate) vfs: u8,
    pub(crate) on: u8,
}

impl Part {
    pub(crate) const fn new(id: (u16, u16), class: u32, link: (u8, u8)) -> Self {
        Self { id, class, link, max: link, acs: None, vfs: 0, on: 0 }
    }
}

/// Lines, and what is in them.
#[derive(Default)]
pub(crate) struct Tree {
    lines: String,
    hosts: String,
    /// SSDs and possible providers, by address.
    pub(crate) ssds: Vec<String>,
    pub(crate) peers: Vec<String>,
    /// Physical functions, and how many virtual ones are to be switched on.
    pub(crate) physical: Vec<(String, u8)>,
}

/// A place where functions are put: a bus, and what it is below.
pub(crate) struct Bus {
    pub(crate) domain: u32,
    pub(crate) number: u8,
}

const ROOT: u8 = 4;
const UPSTREAM: u8 = 5;
const DOWNSTREAM: u8 = 6;

impl Tree {
    /// A host bridge with its buses; `below` a function, as VMD is.
    pub(crate) fn host(&mut self, domain: u32, buses: (u8, u8), below: Option<&str>, id: (u16, u16)) -> Bus {
        let bus = Bus { domain, number: buses.0 };
        let below = below.map(|below| format!(" {below}")).unwrap_or_default();
        let _ = writeln!(self.hosts, "host {domain:04x}:{:02x}-{:02x}{below}", buses.0, buses.1);
        self.function(&bus, 0, Part::new(id, 0x06_0000, (0, 0)), None);
        bus
    }

    /// An endpoint; tells its address.
    pub(crate) fn endpoint(&mut self, bus: &Bus, device: u8, part: Part) -> String {
        let address = self.function(bus, device, part, Some((0, None)));
        self.list(part, &address);
        // The first is 8 functions behind, where nothing is found below a port that has but one device.
        for function in 0..part.on {
            let (device, function) = (device + 1 + function / 8, function % 8);
            let part = Part { id: (0xffff, 0xffff), vfs: 0, ..part };
            let virtual_function = self.function_of(bus, (device, function), part, Some((0, None)));
            self.list(part, &virtual_function);
        }
        if part.on > 0 {
            self.physical.push((address.clone(), part.on));
        }
        address
    }

    fn list(&mut self, part: Part, address: &str) {
        match part.class >> 16 {
            0x01 => self.ssds.push(address.to_owned()),
            0x03 | 0x12 => self.peers.push(address.to_owned()),
            _ => {}
        }
    }

    /// A root port, and the bus below it.
    pub(crate) fn root_port(&mut self, bus: &Bus, device: u8, part: Part, below: (u8, u8)) -> Bus {
        self.port(bus, device, ROOT, part, below)
    }

    /// A switch below a port, with as many downstream ports; their buses follow that of the switch.
    pub(crate) fn switch(&mut self, above: &Bus, up: Part, down: Part, ports: u8) -> Vec<Bus> {
        let first = above.number + 1;
        let inside = self.port(above, 0, UPSTREAM, up, (first, first + ports));
        let port = |device| (device, (first + 1 + device, first + 1 + device));
        (0..ports).map(port).map(|(device, below)| self.port(&inside, device, DOWNSTREAM, down, below)).collect()
    }

    fn port(&mut self, bus: &Bus, device: u8, port: u8, part: Part, below: (u8, u8)) -> Bus {
        self.function(bus, device, part, Some((port, Some(below))));
        Bus { domain: bus.domain, number: below.0 }
    }

    fn function(&mut self, bus: &Bus, device: u8, part: Part, pcie: Option<(u8, Option<(u8, u8)>)>) -> String {
        self.function_of(bus, (device, 0), part, pcie)
    }

    fn function_of(
        &mut self,
        bus: &Bus,
        (device, function): (u8, u8),
        part: Part,
        pcie: Option<(u8, Option<(u8, u8)>)>,
    ) -> String {
        let address = format!("{:04x}:{:02x}:{device:02x}.{function}", bus.domain, bus.number);
        let buses = pcie.and_then(|(_, buses)| buses);
        let mut values = vec![
            (0x00, u32::from(part.id.1) << 16 | u32::from(part.id.0)),
            (0x08, part.class << 8),
            (0x0c, if buses.is_some() { 1 << 16 } else { 0 }),
        ];
        if let Some((secondary, subordinate)) = buses {
            let numbers = u32::from_le_bytes([bus.number, secondary, subordinate, 0]);
            values.extend([(0x18, numbers), (0x1c, 0x00f0), (0x20, 0xfff0), (0x24, 0xfff0)]);
        }
        if let Some((port, _)) = pcie {
            values.extend(express(port, part));
        }
        values.extend(extended(part));
        let _ = write!(self.lines, "function {address} 1000");
        values.iter().for_each(|(offset, value)| {
            let _ = write!(self.lines, " {offset:x}:{value:08x}");
        });
        self.lines.push('\n');
        address
    }
}

/// PCI Express, version 2, packets of 256 bytes.
fn express(port: u8, part: Part) -> Vec<(u16, u32)> {
    let link = |(speed, width): (u8, u8)| u32::from(speed) | u32::from(width) << 4;
    let flags = 0x10 | (2 | u32::from(port) << 4) << 16;
    // The kernel takes the best speed from the vector of speeds in Link Capabilities 2.
    let speeds = (2 << part.max.0) - 2;
    let links = [(0x4c, link(part.max)), (0x50, link(part.link) << 16), (0x6c, speeds)];
    let registers = [(0x40, flags), (0x44, 0x8001), (0x48, 0x20)].into_iter().chain(links);
    [(0x04, 0x0010 << 16), (0x34, 0x40)].into_iter().chain(registers).collect()
}

/// ACS, and SR-IOV without any function switched on.
fn extended(part: Part) -> Vec<(u16, u32)> {
    let next = |at: u32| if part.vfs > 0 { at << 20 } else { 0 };
    let acs = part.acs.map(|control| [(0x100, next(0x140) | 0x1_000d), (0x104, u32::from(control) << 16 | 0x5f)]);
    let at = if part.acs.is_some() { 0x140 } else { 0x100 };
    let vfs = u32::from(part.vfs);
    let sriov =
        [(at, 0x1_0010), (at + 0x0c, vfs << 16 | vfs), (at + 0x14, 0x0001_0008), (at + 0x1c, 0x553), (at + 0x20, 1)];
    let sriov = sriov.into_iter().filter(|_| part.vfs > 0);
    acs.into_iter().flatten().chain(sriov).collect()
}

/// Functions first, then host bridges, as the module wants them.
impl std::fmt::Display for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.lines, self.hosts)
    }
}
