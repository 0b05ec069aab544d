//! The configuration space of a made-up function: header, PCI Express and ACS capabilities, and others around them in
//! orders, with gaps, loops and stray bits as a decoder may meet them.

use std::{collections::BTreeMap, fmt};

use crate::{function::Function, random::Random};

/// 32-bit values by offset, as /dev/p2pdma_test_tree takes them.
pub(crate) struct Config {
    pub(crate) size: u16,
    values: BTreeMap<u16, u32>,
}

/// `SIZE OFFSET:VALUE...`, hexadecimal.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.size)?;
        self.values.iter().try_for_each(|(offset, value)| write!(f, " {offset:x}:{value:08x}"))
    }
}

/// A capability to be placed: its values, the first with id but without pointer.
type Capability = Vec<u32>;

impl Config {
    pub(crate) fn new(function: &Function, random: &mut Random) -> Self {
        let size = if function.extended { 4096 } else { 256 };
        let mut config = Self { size, values: header(function) };
        if let Some(first) = config.place(standard(function, random), &STANDARD, random) {
            config.values.insert(0x04, 0x0010 << 16);
            config.values.insert(0x34, first.into());
        }
        if function.extended {
            config.place(extended(function, random), &EXTENDED, random);
        }
        config
    }

    /// Chains capabilities; gives the offset of the first.
    fn place(&mut self, capabilities: Vec<Capability>, chain: &Chain, random: &mut Random) -> Option<u16> {
        let mut at = chain.first;
        let mut offsets = Vec::new();
        for capability in &capabilities {
            offsets.push(at);
            at += 4 * u16::try_from(capability.len()).expect("a short one") + 4 * random.below(chain.gap);
        }
        let first = *offsets.first()?;
        let last = if random.percent(5) { random.one_of(&offsets) } else { random.one_of(chain.ends) };
        let nexts = offsets[1..].iter().copied().chain([last]);
        for ((capability, offset), next) in capabilities.iter().zip(&offsets).zip(nexts) {
            self.write(*offset, capability);
            // The low two bits of a pointer mean nothing, and some are set.
            let stray = u16::from(random.percent(30)) * random.below(4);
            *self.values.entry(*offset).or_default() |= u32::from(next | stray) << chain.pointer;
        }
        Some(first)
    }

    fn write(&mut self, offset: u16, values: &[u32]) {
        let offsets = (offset..).step_by(4);
        self.values.extend(offsets.zip(values.iter().copied()));
    }
}

/// Where a list of capabilities starts, how far they lie apart, where its pointers are, and what may end it.
struct Chain {
    first: u16,
    gap: u16,
    pointer: u32,
    ends: &'static [u16],
}

const STANDARD: Chain = Chain { first: 0x40, gap: 4, pointer: 8, ends: &[0, 0, 0, 0x04, 0x3c] };
const EXTENDED: Chain = Chain { first: 0x100, gap: 0x40, pointer: 20, ends: &[0, 0, 0, 0x40, 0xfc] };

/// A bridge comes with its bus numbers, and all its windows closed (their bases above their limits).
fn header(function: &Function) -> BTreeMap<u16, u32> {
    let (vendor, device) = function.id;
    let mut values = BTreeMap::from([(0x00, u32::from(device) << 16 | u32::from(vendor)), (0x08, function.class << 8)]);
    let multi_function = if function.has_siblings { 0x80 << 16 } else { 0 };
    values.insert(0x0c, multi_function | if function.buses.is_some() { 0x01 << 16 } else { 0 });
    if let Some((secondary, subordinate)) = function.buses {
        let buses = [function.address.bus, secondary, subordinate, 0];
        values.extend([(0x18, u32::from_le_bytes(buses)), (0x1c, 0x00f0), (0x20, 0xfff0), (0x24, 0xfff0)]);
    }
    values
}

fn standard(function: &Function, random: &mut Random) -> Vec<Capability> {
    const VENDOR_SPECIFIC: u32 = 0x09;
    let mut all = vec![vec![VENDOR_SPECIFIC | 8 << 16, 0]; random.below(3_u32) as usize];
    if let Some(port) = function.port {
        let at = random.below(all.len() as u64 + 1);
        all.insert(usize::try_from(at).expect("an index"), express(port, function.link));
    }
    all
}

/// Version 2: 60 bytes. Device capabilities say "role-based error reporting", without which ASPM complains.
fn express(port: u8, (speed, width): (u8, u8)) -> Capability {
    let link = u32::from(speed) | u32::from(width) << 4;
    let mut values = vec![0; 15];
    values[0] = 0x10 | (2 | u32::from(port) << 4) << 16;
    (values[1], values[3], values[4]) = (0x8000, link, link << 16);
    values
}

/// No vendor-specific capability: in one that points to itself, `pci_find_vsec_capability` in the kernel's `drivers/pci/pci.c`
/// looks for ever.
fn extended(function: &Function, random: &mut Random) -> Vec<Capability> {
    const POWER_BUDGETING: u32 = 0x1_0004;
    const SERIAL_NUMBER: u32 = 0x1_0003;
    const NULL: u32 = 0x1_0000;
    let others = [vec![POWER_BUDGETING, 0, 0, 0], vec![SERIAL_NUMBER, 1, 2], vec![NULL]];
    let mut all: Vec<_> = (0..random.below(4_u32)).map(|_| others[random.below(3_u32) as usize].clone()).collect();
    if let Some((capability, control)) = function.acs {
        let at = random.below(all.len() as u64 + 1);
        let acs = vec![0x1_000d, u32::from(control) << 16 | u32::from(capability), 0];
        all.insert(usize::try_from(at).expect("an index"), acs);
    }
    all
}
