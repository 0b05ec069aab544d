//! One made-up PCI function.

use p2pdma::pci::Address;

use crate::random::Random;

/// PCIe port types, `PCI_EXP_TYPE_*` in the kernel's `include/uapi/linux/pci_regs.h`.
pub(crate) const ROOT: u8 = 4;
pub(crate) const UPSTREAM: u8 = 5;
pub(crate) const DOWNSTREAM: u8 = 6;
pub(crate) const TO_PCI: u8 = 7;
pub(crate) const FROM_PCI: u8 = 8;

/// The kernel's list of host bridges, and four that are not on it.
pub(crate) const HOST_BRIDGES: [(u16, u16); 14] = [
    (0x8086, 0x3c00),
    (0x8086, 0x3c01),
    (0x8086, 0x2f00),
    (0x8086, 0x2f01),
    (0x8086, 0x2030),
    (0x8086, 0x2031),
    (0x8086, 0x2032),
    (0x8086, 0x2033),
    (0x8086, 0x2020),
    (0x8086, 0x09a2),
    (0x8086, 0x6f00),
    (0x8086, 0x3c02),
    (0x1022, 0x1480),
    (0x1022, 0x2030),
];
const OTHERS: [(u16, u16); 5] =
    [(0x144d, 0xa80a), (0x10de, 0x2330), (0x1002, 0x74a1), (0x15b3, 0x1021), (0x8086, 0x2030)];
/// Classes that no driver of the guest binds to.
const CLASSES: [u32; 5] = [0x01_0803, 0x02_0000, 0x03_0200, 0x05_0000, 0x12_0000];

pub(crate) struct Function {
    pub(crate) address: Address,
    /// Its index in the tree.
    pub(crate) parent: Option<usize>,
    pub(crate) id: (u16, u16),
    pub(crate) class: u32,
    /// A bridge's secondary and subordinate bus.
    pub(crate) buses: Option<(u8, u8)>,
    /// Another function of its device is in the tree.
    pub(crate) has_siblings: bool,
    /// The PCIe port type; `None` in a conventional function.
    pub(crate) port: Option<u8>,
    /// ACS capability and control.
    pub(crate) acs: Option<(u16, u16)>,
    /// 4096 bytes of config space, not 256.
    pub(crate) extended: bool,
    /// Speed and width, as the link registers code them.
    pub(crate) link: (u8, u8),
}

impl Function {
    /// What the chances of one tree make of a function; `first` if it is the first on a host bridge's bus.
    pub(crate) fn random(
        address: Address,
        parent: Option<usize>,
        redirect: u32,
        first: bool,
        random: &mut Random,
    ) -> Self {
        let id = if first { random.one_of(&HOST_BRIDGES) } else { random.one_of(&OTHERS) };
        let host = first && (address.device, address.function) == (0, 0) && random.percent(60);
        Self {
            address,
            parent,
            id,
            class: if host { 0x06_0000 } else { random.one_of(&CLASSES) },
            buses: None,
            has_siblings: false,
            port: None,
            acs: random.percent(60).then(|| acs(redirect, random)),
            extended: random.percent(90),
            link: (1 + random.below(6_u8), random.one_of(&[1, 2, 4, 8, 16])),
        }
    }

    /// Whether ACS redirects, if the kernel finds it.
    pub(crate) fn may_redirect(&self) -> bool {
        self.acs.is_some_and(|(_, control)| control & 0x2c != 0)
    }
}

/// Capability and control: any bits, or any but those that redirect.
fn acs(redirect: u32, random: &mut Random) -> (u16, u16) {
    let any = random.below(0x80_u16);
    let control = match random.percent(redirect) {
        true => random.one_of(&[0x1d, 0x04, 0x08, 0x20, any]),
        false => any & !0x2c,
    };
    (random.below(0x80_u16), control)
}
