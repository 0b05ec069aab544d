//! A machine drawn as text, and its facts.

use crate::{machine::Snapshot, pci::Address};

pub(super) const ZEN: &str = "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\n";
pub(super) const XEON: &str = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\n";

/// A PCI function.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) address: Address,
    /// `/sys/devices/...`
    pub(super) directory: String,
    /// The index of the function above it, on the same host bridge.
    pub(super) parent: Option<usize>,
    pub(super) host: String,
    pub(super) vendor: u16,
    pub(super) device: u16,
    pub(super) class: u32,
    /// The type in the PCIe capability; `None`: no such capability.
    pub(super) port: Option<u8>,
    /// The ACS control register; `None`: no such capability.
    pub(super) acs: Option<u16>,
    /// Whether there is extended config space.
    pub(super) extended: bool,
    /// Whether more than 64 bytes of config space can be read.
    pub(super) privileged: bool,
}

/// A machine.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) cpuinfo: Option<&'static str>,
}

impl Tree {
    /// Reads a drawing: host bridges and functions by indentation, then words.
    ///
    /// Words: `root`, `up`, `down`, `nvme`, `gpu`, `bridge` (not PCIe), `host`; `VVVV:DDDD` ids; `acs=HEX` the ACS
    /// control register; `plain`: no extended config space.
    pub(super) fn new(cpuinfo: &'static str, drawing: &str) -> Self {
        let mut tree = Self { nodes: Vec::new(), cpuinfo: Some(cpuinfo) };
        let mut above: Vec<(usize, String)> = Vec::new();
        for line in drawing.lines().filter(|line| !line.trim().is_empty()) {
            let depth = line.len() - line.trim_start().len();
            above.retain(|(other, _)| *other < depth);
            let name = line.split_whitespace().next().unwrap().to_owned();
            above.push((depth, name));
            let path: Vec<_> = above.iter().map(|(_, name)| name.as_str()).collect();
            tree.add(&format!("/sys/devices/{}", path.join("/")), line.split_whitespace().skip(1));
        }
        tree
    }

    fn add<'a>(&mut self, directory: &str, words: impl Iterator<Item = &'a str>) {
        let (above, name) = directory.rsplit_once('/').unwrap();
        let Ok(address) = name.parse() else { return };
        let host = above.split('/').rev().find(|part| part.starts_with("pci")).unwrap();
        let parent = self.nodes.iter().position(|node| node.directory == above);
        let node = Node {
            address,
            directory: directory.to_owned(),
            parent,
            host: host.to_owned(),
            vendor: 0x1234,
            device: 0x5678,
            class: 0x06_0400,
            port: None,
            acs: None,
            extended: true,
            privileged: true,
        };
        self.nodes.push(words.fold(node, Node::word));
    }

    /// The same machine seen by any user: 64 bytes of config space.
    pub(super) fn unprivileged(mut self) -> Self {
        self.nodes.iter_mut().for_each(|node| node.privileged = false);
        self
    }

    /// The same machine with these ACS control bits on one function.
    pub(super) fn acs(mut self, address: &str, control: u16) -> Self {
        let address = address.parse().unwrap();
        self.nodes.iter_mut().filter(|node| node.address == address).for_each(|node| node.acs = Some(control));
        self
    }

    pub(super) fn facts(&self) -> Snapshot {
        let mut facts = Snapshot::new();
        self.cpuinfo.into_iter().for_each(|text| {
            facts.file("/proc/cpuinfo", text);
        });
        self.nodes.iter().for_each(|node| node.write(&mut facts));
        facts
    }
}

impl Node {
    fn word(self, word: &str) -> Self {
        match word {
            "root" => Self { port: Some(4), ..self },
            "up" => Self { port: Some(5), ..self },
            "down" => Self { port: Some(6), ..self },
            "nvme" => Self { port: Some(0), class: 0x01_0802, ..self },
            "gpu" => Self { port: Some(0), class: 0x03_0200, ..self },
            "host" => Self { class: 0x06_0000, ..self },
            "bridge" => self,
            "plain" => Self { extended: false, ..self },
            other => self.value(other),
        }
    }

    fn value(self, word: &str) -> Self {
        let hex = |digits: &str| u16::from_str_radix(digits, 16).unwrap();
        match (word.strip_prefix("acs="), word.split_once(':')) {
            (Some(control), _) => Self { acs: Some(hex(control)), ..self },
            (_, Some((vendor, device))) => Self { vendor: hex(vendor), device: hex(device), ..self },
            _ => panic!("{word}?"),
        }
    }

    fn write(&self, facts: &mut Snapshot) {
        let Self { address, directory, .. } = self;
        let relative = directory.replacen("/sys", "../../..", 1);
        facts.symlink(format!("/sys/bus/pci/devices/{address}"), relative);
        facts.file(format!("{directory}/vendor"), format!("{:#06x}\n", self.vendor));
        facts.file(format!("{directory}/device"), format!("{:#06x}\n", self.device));
        facts.file(format!("{directory}/class"), format!("{:#08x}\n", self.class));
        let config = self.config();
        let readable = if self.privileged { config.len() } else { 64 };
        facts.file_of_size(format!("{directory}/config"), &config[..readable], config.len() as u64);
    }

    fn config(&self) -> Vec<u8> {
        let mut bytes = vec![0; if self.extended { 4096 } else { 256 }];
        bytes[0x00..0x02].copy_from_slice(&self.vendor.to_le_bytes());
        bytes[0x02..0x04].copy_from_slice(&self.device.to_le_bytes());
        if let Some(port) = self.port {
            bytes[0x06] = 0x10;
            bytes[0x34] = 0x40;
            bytes[0x40..0x44].copy_from_slice(&[0x10, 0x00, port << 4 | 2, 0x00]);
        }
        if let Some(control) = self.acs.filter(|_| self.extended) {
            bytes[0x100..0x104].copy_from_slice(&[0x0d, 0x00, 0x01, 0x00]);
            bytes[0x106..0x108].copy_from_slice(&control.to_le_bytes());
        }
        bytes
    }
}
