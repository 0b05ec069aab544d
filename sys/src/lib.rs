//! The UAPI of the `p2pdma_user` kernel module, in Rust, and nothing else.
//!
//! The structures and constants are made from the header `kmod/uapi/p2pdma_user.h`, which explains them and lists the
//! errors of each call. The numbers of ioctls are written out here, since their macros are beyond what bindgen
//! evaluates. A test makes the former anew and asks a C compiler about both.

#[rustfmt::skip]
#[expect(non_camel_case_types, reason = "the names are those of the header")]
#[expect(missing_docs, reason = "the fields are explained in the comment of their structure, as the kernel does")]
#[expect(clippy::tabs_in_doc_comments, reason = "the comments are those of the header")]
mod bindings;

pub use bindings::*;

/// The name of the module and of its PCI driver: `/sys/bus/pci/drivers/p2pdma_user`.
pub const DRIVER: &str = "p2pdma_user";

/// The module's device node.
pub const NODE: &str = "/dev/p2pdma_user";

/// `_IO()` of the kernel: the structures carry their sizes, the numbers do not.
const fn number(of: u32) -> u32 {
    P2PDMA_USER_TYPE << 8 | of
}

/// On the device, with [`p2pdma_user_info`].
pub const P2PDMA_USER_INFO: u32 = number(0x00);
/// On the device, with [`p2pdma_user_distance`].
pub const P2PDMA_USER_DISTANCE: u32 = number(0x01);
/// On the device, with [`p2pdma_user_queue`].
pub const P2PDMA_USER_QUEUE: u32 = number(0x02);
/// On the device, with [`p2pdma_user_alloc`].
pub const P2PDMA_USER_ALLOC: u32 = number(0x03);
/// On the device, with [`p2pdma_user_stats`].
pub const P2PDMA_USER_STATS: u32 = number(0x04);
/// On the device, with [`p2pdma_user_register`].
pub const P2PDMA_USER_REGISTER: u32 = number(0x05);
/// On a buffer, with [`p2pdma_user_bind`].
pub const P2PDMA_USER_BIND: u32 = number(0x10);
/// On a buffer, with [`p2pdma_user_copy`].
pub const P2PDMA_USER_COPY: u32 = number(0x11);
/// On a pair, with [`p2pdma_user_io`].
pub const P2PDMA_USER_IO: u32 = number(0x20);
/// From the file to the buffer: an operation of [`p2pdma_user_io`] and the `cmd_op` of an io_uring command.
pub const P2PDMA_USER_READ: u32 = number(0x30);
/// From the buffer to the file, likewise.
pub const P2PDMA_USER_WRITE: u32 = number(0x31);
