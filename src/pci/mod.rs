//! PCI addresses, configuration space, links and BARs, decoded. Pure: no file is read here.
//!
//! ```text
//! config space   0x000  header                      64 bytes: what any user may read
//!                0x040  capabilities (PCIe, ...)    CAP_SYS_ADMIN from here on
//!                0x100  extended capabilities (ACS) only where `stat` reports 4096 bytes
//! ```
//!
//! Input is taken from hardware, or from a file somebody sent: every walk is bounded, nothing panics, and a value that
//! cannot be read is told apart from a value that is not there ([`Capability`]).

mod acs;
mod address;
mod bar;
mod config;
mod link;
mod port;

pub use acs::{Acs, AcsFlags};
pub use address::{Address, ParseAddressError};
pub use bar::{Bar, BarKind};
pub use config::{Capability, ConfigSpace};
pub use link::{Link, LinkSpeed};
pub use port::{Pcie, PortType};
