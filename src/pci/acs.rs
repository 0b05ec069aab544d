//! Access Control Services: what a port does with requests from one device to another.

use std::fmt;

bitflags::bitflags! {
    /// Bits of the ACS capability and control registers. Unknown bits are carried along.
    ///
    /// Kernel: `include/uapi/linux/pci_regs.h`, `PCI_ACS_*`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct AcsFlags: u16 {
        /// Source Validation.
        #[doc(alias = "PCI_ACS_SV")]
        const SV = 0x01;
        /// Translation Blocking.
        #[doc(alias = "PCI_ACS_TB")]
        const TB = 0x02;
        /// P2P Request Redirect.
        #[doc(alias = "PCI_ACS_RR")]
        const RR = 0x04;
        /// P2P Completion Redirect.
        #[doc(alias = "PCI_ACS_CR")]
        const CR = 0x08;
        /// Upstream Forwarding.
        #[doc(alias = "PCI_ACS_UF")]
        const UF = 0x10;
        /// P2P Egress Control.
        #[doc(alias = "PCI_ACS_EC")]
        const EC = 0x20;
        /// Direct Translated P2P.
        #[doc(alias = "PCI_ACS_DT")]
        const DT = 0x40;
    }
}

impl AcsFlags {
    /// The bits that send peer-to-peer traffic up to the host bridge.
    pub const REDIRECT: Self = Self::RR.union(Self::CR).union(Self::EC);
}

/// The kernel's short names, as `RR | CR`.
impl fmt::Display for AcsFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bitflags::parser::to_writer(self, f)
    }
}

/// The ACS capability of one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Acs {
    /// What the function can do.
    #[doc(alias = "PCI_ACS_CAP")]
    pub capability: AcsFlags,
    /// What is switched on.
    #[doc(alias = "PCI_ACS_CTRL")]
    pub control: AcsFlags,
}

impl Acs {
    /// Whether peer-to-peer requests are sent up to the host bridge instead of straight to the peer.
    ///
    /// Kernel: `pci_bridge_has_acs_redir` in `drivers/pci/p2pdma.c`. It asks the control register alone.
    #[doc(alias = "pci_bridge_has_acs_redir")]
    #[must_use]
    pub fn redirects(&self) -> bool {
        self.control.intersects(AcsFlags::REDIRECT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_rr_cr_and_ec_redirect() {
        for bits in 0..=0x7f_u16 {
            let acs = Acs { capability: AcsFlags::empty(), control: AcsFlags::from_bits_retain(bits) };
            assert_eq!(acs.redirects(), bits & (0x04 | 0x08 | 0x20) != 0, "{bits:#x}");
        }
    }

    #[test]
    fn flags_print_by_their_kernel_names() {
        assert_eq!((AcsFlags::RR | AcsFlags::CR).to_string(), "RR | CR");
    }
}
