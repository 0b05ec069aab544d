//! The `p2pdma_user` kernel module. So far it is a donor alone, known by its driver's name; it has no device node.

/// The name of the module's PCI driver.
pub(crate) use p2pdma_sys::DRIVER;
