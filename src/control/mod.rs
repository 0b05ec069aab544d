//! The `p2pdma_user` kernel module: `/dev/p2pdma_user` and what it gives, one typed call for each ioctl.
//!
//! ```text
//! Node --alloc or register--> Buffer --bind(file)--> Pair
//! ```
//!
//! Each is a descriptor that keeps the one below it. A call answers with the errno of the module's header
//! (`kmod/uapi/p2pdma_user.h`), which has a table for each; [`refuse`] turns it into words.

mod answer;
mod command;
mod ioctl;
mod object;
mod refusal;

pub use answer::{Bound, Direction, Features, Info, Moved, Stats, Transfer};
pub(crate) use command::{BUFFERED, Command};
pub(crate) use object::{Buffer, Node, Pair};
/// The name of the module's PCI driver.
pub(crate) use p2pdma_sys::DRIVER;
/// Where root names what lies below stacked block devices, a line each: `9:0=0000:01:00.0,0000:02:00.0` (kmod/route.c).
pub(crate) const STACK: &str = "/sys/bus/pci/drivers/p2pdma_user/stack";
/// The module's device node.
pub(crate) use p2pdma_sys::NODE;
pub(crate) use refusal::{no_node, other_version, refuse};

/// The most bytes of one copy and of one transfer.
pub(crate) const MOST: u32 = p2pdma_sys::P2PDMA_USER_MAX_LENGTH;

/// The version of the module's contract that this library speaks.
pub(crate) const MAJOR: u32 = p2pdma_sys::P2PDMA_USER_MAJOR;
