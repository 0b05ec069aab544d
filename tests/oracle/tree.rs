//! A random PCIe tree: host bridges, ports, switches, bridges, devices of many functions.

use std::fmt;

use p2pdma::pci::Address;

use crate::{
    config::Config,
    function::{DOWNSTREAM, FROM_PCI, Function, ROOT, TO_PCI, UPSTREAM},
    random::Random,
};

/// None is the guest's own, 0. VMD's begin at 0x10000.
const DOMAINS: [u32; 5] = [0x1, 0xffff, 0x1_0000, 0x1_0001, 0x7fff_ffff];

#[derive(Default)]
pub(crate) struct Tree {
    pub(crate) seed: u64,
    pub(crate) functions: Vec<Function>,
    hosts: Vec<Host>,
    limits: Limits,
}

/// A host bridge with a range of buses.
struct Host {
    domain: u32,
    bus: u8,
    last: u8,
    below: Option<Address>,
}

/// What one tree is like.
#[derive(Default)]
struct Limits {
    functions: usize,
    depth: u32,
    redirect: u32,
}

impl Tree {
    pub(crate) fn new(seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let limits = Limits {
            functions: 4 + usize::from(random.below(20_u8)),
            depth: random.one_of(&[2, 3, 4, 5, 5, 5, 9]),
            redirect: random.one_of(&[2, 10, 30, 90]),
        };
        let mut tree = Self { seed, functions: Vec::new(), hosts: Vec::new(), limits };
        for _ in 0..random.one_of(&[1, 1, 2, 2, 3, 4]) {
            tree.add_host(random);
        }
        tree
    }

    /// Half a domain each, so that two may share one.
    fn add_host(&mut self, random: &mut Random) {
        let (domain, bus) = (random.one_of(&DOMAINS), random.one_of(&[0, 0x80]));
        if self.hosts.iter().any(|host| (host.domain, host.bus) == (domain, bus)) {
            return;
        }
        let below = self.functions.iter().filter(|function| function.buses.is_none()).map(|function| function.address);
        let below: Vec<_> = below.collect();
        let below = (random.percent(30) && !below.is_empty()).then(|| random.one_of(&below));
        let root = Bus { domain, number: bus, parent: None, depth: 0 };
        let mut next_bus = bus + 1;
        self.fill(&root, &mut next_bus, random);
        self.hosts.push(Host { domain, bus, last: bus + 0x7f, below });
    }

    fn fill(&mut self, bus: &Bus, next_bus: &mut u8, random: &mut Random) {
        let one_slot = bus.parent.is_some_and(|parent| self.has_one_slot(parent));
        let count = if one_slot { 1 } else { 1 + random.below(3_u8) };
        let mut device = if one_slot || random.percent(50) { 0 } else { 1 + random.below(5_u8) };
        for _ in 0..count {
            self.fill_device(bus, device, next_bus, random);
            device += 1 + random.below(4_u8);
        }
    }

    /// Kernel: `only_one_child` in `drivers/pci/probe.c`; below such a port it looks for device 0 alone.
    fn has_one_slot(&self, port: usize) -> bool {
        !matches!(self.functions[port].port, None | Some(UPSTREAM | TO_PCI))
    }

    /// Function 0 must be there for the others to be found.
    fn fill_device(&mut self, bus: &Bus, device: u8, next_bus: &mut u8, random: &mut Random) {
        let others = if random.percent(30) { random.below(0x80_u8) & random.below(0x80_u8) } else { 0 };
        for function in (0..8_u8).filter(|function| (others << 1 | 1) >> function & 1 == 1) {
            if self.is_full() && (bus.parent.is_some() || self.functions.iter().any(|other| is_on(other, bus))) {
                return;
            }
            let address = Address { domain: bus.domain, bus: bus.number, device, function };
            self.add_function(bus, address, others != 0, next_bus, random);
        }
    }

    /// Even then a host bridge has a function on its bus: without one, nothing could be asked of it.
    fn is_full(&self) -> bool {
        self.functions.len() >= self.limits.functions
    }

    fn add_function(&mut self, bus: &Bus, address: Address, siblings: bool, next_bus: &mut u8, random: &mut Random) {
        let first = bus.parent.is_none() && !self.functions.iter().any(|other| is_on(other, bus));
        let mut function = Function::random(address, bus.parent, self.limits.redirect, first, random);
        function.has_siblings = siblings;
        let is_bridge = function.class != 0x06_0000 && bus.depth < self.limits.depth && random.percent(65);
        let above = bus.parent.map(|parent| self.functions[parent].port);
        function.port = if is_bridge { bridge_port(above, random) } else { endpoint_port(above, random) };
        self.functions.push(function);
        if is_bridge {
            self.fill_bridge(self.functions.len() - 1, bus, next_bus, random);
        }
    }

    fn fill_bridge(&mut self, index: usize, bus: &Bus, next_bus: &mut u8, random: &mut Random) {
        let secondary = *next_bus;
        *next_bus += 1;
        let function = &mut self.functions[index];
        (function.class, function.buses) = (0x06_0400, Some((secondary, secondary)));
        let below = Bus { domain: bus.domain, number: secondary, parent: Some(index), depth: bus.depth + 1 };
        self.fill(&below, next_bus, random);
        self.functions[index].buses = Some((secondary, *next_bus - 1));
    }

    /// A function and those above it.
    pub(crate) fn way(&self, address: Address) -> impl Iterator<Item = &Function> {
        let start = self.functions.iter().find(|function| function.address == address);
        std::iter::successors(start, |function| Some(&self.functions[function.parent?]))
    }
}

/// Where functions are put.
struct Bus {
    domain: u32,
    number: u8,
    parent: Option<usize>,
    depth: u32,
}

fn is_on(function: &Function, bus: &Bus) -> bool {
    (function.address.domain, function.address.bus) == (bus.domain, bus.number)
}

/// Mostly what belongs below such a port, now and then what does not. `None` above: the host bridge's bus.
fn bridge_port(above: Option<Option<u8>>, random: &mut Random) -> Option<u8> {
    if random.percent(8) {
        return random.one_of(&[None, Some(DOWNSTREAM), Some(TO_PCI), Some(FROM_PCI)]);
    }
    match above {
        None => random.one_of(&[Some(ROOT), Some(ROOT), Some(ROOT), Some(TO_PCI), None]),
        Some(Some(UPSTREAM)) => Some(DOWNSTREAM),
        Some(Some(ROOT | DOWNSTREAM)) => random.one_of(&[Some(UPSTREAM), Some(UPSTREAM), Some(UPSTREAM), Some(TO_PCI)]),
        Some(_) => None,
    }
}

/// An endpoint, one of the root complex, an event collector, or a conventional function.
fn endpoint_port(above: Option<Option<u8>>, random: &mut Random) -> Option<u8> {
    match above {
        None => random.one_of(&[Some(9), Some(9), Some(0), Some(10), None]),
        Some(Some(TO_PCI) | None) => random.one_of(&[None, None, Some(0)]),
        Some(_) => random.one_of(&[Some(0), Some(0), Some(0), Some(1), None]),
    }
}

/// The lines that /dev/p2pdma_test_tree takes. Host bridges in their order: one may lie below a function of an earlier one.
impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let random = &mut Random::new(!self.seed);
        for function in &self.functions {
            writeln!(f, "function {} {}", function.address, Config::new(function, random))?;
        }
        for Host { domain, bus, last, below } in &self.hosts {
            let below = below.map(|below| format!(" {below}")).unwrap_or_default();
            writeln!(f, "host {domain:04x}:{bus:02x}-{last:02x}{below}")?;
        }
        Ok(())
    }
}
