//! Configuration space: as many bytes as could be read, and the capabilities in them.

use std::borrow::Cow;

use super::{Acs, AcsFlags, Pcie};

/// A capability as far as it can be told: "has none" and "cannot be read" are two answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Capability<T> {
    /// The function has it.
    Present(T),
    /// The function does not have it.
    Absent,
    /// The bytes that would tell could not be read: no privilege, or the device does not answer.
    Unreadable,
}

impl<T> Capability<T> {
    /// The capability, where there is one that could be read.
    #[must_use]
    pub fn present(self) -> Option<T> {
        match self {
            Self::Present(value) => Some(value),
            Self::Absent | Self::Unreadable => None,
        }
    }

    /// Applies a test; a function without the capability fails it. `None` when it cannot be told.
    #[must_use]
    pub fn is(&self, test: impl FnOnce(&T) -> bool) -> Option<bool> {
        match self {
            Self::Present(value) => Some(test(value)),
            Self::Absent => Some(false),
            Self::Unreadable => None,
        }
    }

    /// Decodes what is at a capability. A decoder that runs past the readable bytes makes it unreadable.
    fn decode<U>(self, decoder: impl FnOnce(T) -> Option<U>) -> Capability<U> {
        match self {
            Self::Present(value) => decoder(value).map_or(Capability::Unreadable, Capability::Present),
            Self::Absent => Capability::Absent,
            Self::Unreadable => Capability::Unreadable,
        }
    }
}

/// The configuration space of one function, as far as it could be read.
///
/// How much that is: 64 bytes without `CAP_SYS_ADMIN` (128 of a CardBus bridge), everything with it; kernel:
/// `pci_read_config` in `drivers/pci/pci-sysfs.c`. How much there *is* any user can tell, because `stat` reports it:
/// `pci_dev_config_attr_is_visible` there sets the file's length to 256, or to 4096 if the kernel found extended space
/// (`pci_cfg_space_size` in `drivers/pci/probe.c`). In 256 bytes the kernel itself looks for no extended capability
/// (`pci_find_next_ext_capability` in `drivers/pci/pci.c`), so ACS is then known to be absent without privilege.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSpace<'a> {
    bytes: Cow<'a, [u8]>,
    size: u64,
}

impl<'a> ConfigSpace<'a> {
    /// The size without extended space, in bytes.
    pub const STANDARD: u64 = 256;
    /// The size with extended space, in bytes.
    pub const EXTENDED: u64 = 4096;

    /// The bytes that could be read, maybe none, and the size that `stat` reports. Take [`Self::EXTENDED`] when that is
    /// not known: then nothing is concluded from it.
    #[must_use]
    pub fn new(bytes: impl Into<Cow<'a, [u8]>>, size: u64) -> Self {
        Self { bytes: bytes.into(), size }
    }

    /// The byte at this offset; `None` past what could be read.
    #[must_use]
    pub fn u8(&self, offset: usize) -> Option<u8> {
        self.bytes.get(offset).copied()
    }

    /// The little-endian 16 bits at this offset; `None` past what could be read.
    #[must_use]
    pub fn u16(&self, offset: usize) -> Option<u16> {
        Some(u16::from_le_bytes(self.array(offset)?))
    }

    /// The little-endian 32 bits at this offset; `None` past what could be read.
    #[must_use]
    pub fn u32(&self, offset: usize) -> Option<u32> {
        Some(u32::from_le_bytes(self.array(offset)?))
    }

    fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
    }

    /// The PCI Express capability; absent in conventional PCI devices.
    #[must_use]
    pub fn pcie(&self) -> Capability<Pcie> {
        const PCI_EXPRESS: u8 = 0x10;
        self.capability(PCI_EXPRESS).decode(|offset| Pcie::at(self, offset))
    }

    /// The Access Control Services capability.
    #[must_use]
    pub fn acs(&self) -> Capability<Acs> {
        const ACCESS_CONTROL: u16 = 0x0d;
        self.extended_capability(ACCESS_CONTROL).decode(|offset| {
            let flags = |at: usize| Some(AcsFlags::from_bits_retain(self.u16(at)?));
            Some(Acs { capability: flags(offset + 0x04)?, control: flags(offset + 0x06)? })
        })
    }

    /// Where a standard capability starts. At most 48 steps, as in the kernel: a loop ends as "absent".
    ///
    /// Kernel: `__pci_find_next_cap_ttl` in `drivers/pci/pci.c`.
    #[must_use]
    pub fn capability(&self, id: u8) -> Capability<usize> {
        let Some(mut offset) = self.first_capability() else { return Capability::Unreadable };
        for _ in 0..48 {
            if offset < 0x40 {
                break;
            }
            offset &= !3;
            let Some(entry) = self.u16(offset) else { return Capability::Unreadable };
            match entry.to_le_bytes() {
                [0xff, _] => break,
                [found, _] if found == id => return Capability::Present(offset),
                [_, next] => offset = usize::from(next),
            }
        }
        Capability::Absent
    }

    /// The pointer to the first standard capability; 0 when there is none, `None` when it cannot be read.
    ///
    /// Kernel: `__pci_bus_find_cap_start` in `drivers/pci/pci.c`.
    fn first_capability(&self) -> Option<usize> {
        const CAPABILITY_LIST: u16 = 0x10;
        let status = self.u16(0x06).filter(|_| !self.is_silent())?;
        match self.u8(0x0e)? & 0x7f {
            _ if status & CAPABILITY_LIST == 0 => Some(0),
            0 | 1 => self.u8(0x34).map(usize::from),
            2 => self.u8(0x14).map(usize::from),
            _ => Some(0),
        }
    }

    /// Where an extended capability starts. At most 480 steps, as in the kernel: a loop ends as "absent".
    ///
    /// Kernel: `pci_find_next_ext_capability` in `drivers/pci/pci.c`.
    #[must_use]
    pub fn extended_capability(&self, id: u16) -> Capability<usize> {
        if self.size == Self::STANDARD {
            return Capability::Absent;
        }
        let mut offset = 0x100;
        for step in 0..480 {
            let header = match self.u32(offset) {
                Some(0) if step == 0 => break,
                None | Some(u32::MAX) => return Capability::Unreadable,
                Some(header) => header.to_le_bytes(),
            };
            if u16::from_le_bytes([header[0], header[1]]) == id {
                return Capability::Present(offset);
            }
            offset = usize::from(u16::from_le_bytes([header[2], header[3]]) >> 4 & 0xffc);
            if offset < 0x100 {
                break;
            }
        }
        Capability::Absent
    }

    /// Whether the device does not answer: all ones. A virtual function has all ones in its ids alone, by specification
    /// (SR-IOV 1.1, section 3.4.1), so the class must say the same.
    fn is_silent(&self) -> bool {
        self.u32(0x00) == Some(u32::MAX) && self.u32(0x08) == Some(u32::MAX)
    }
}

#[cfg(test)]
mod tests;
