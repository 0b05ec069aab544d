//! The UAPI of the `p2pdma_user` kernel module, in Rust, and nothing else.
//!
//! The module so far is a donor alone: it has no device node and no ioctl. What it has is its name, which is also the
//! name of its PCI driver.

/// The name of the module and of its PCI driver: `/sys/bus/pci/drivers/p2pdma_user`.
pub const DRIVER: &str = "p2pdma_user";
