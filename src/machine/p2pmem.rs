//! The `p2pmem` group of a PCI device in sysfs: the memory it gives to peers.

use std::io;

use super::facts::Facts;

/// The memory that a device gives to peers, as sysfs tells it. A value that cannot be read is `None`, never 0.
///
/// Kernel: `drivers/pci/p2pdma.c`, `p2pmem_group`. The group is there once a driver called `pci_p2pdma_add_resource`,
/// even if that failed halfway: then `size` is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct P2pmem {
    /// The pool's size in bytes.
    pub size: Option<u64>,
    /// What is free of it in bytes. Says nothing about fragments.
    pub available: Option<u64>,
    /// Whether kernel drivers may pick this memory of their own accord. Does not matter to `allocate`.
    pub published: Option<bool>,
}

impl P2pmem {
    /// Reads the group below a device's directory; `None` when the device gives no memory.
    pub fn read(facts: &dyn Facts, device_dir: &str) -> Option<Self> {
        let group = [device_dir, "/p2pmem"].concat();
        if facts.list(&group).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return None;
        }
        let number = |name| facts.number(&format!("{group}/{name}"));
        Some(Self {
            size: number("size"),
            available: number("available"),
            published: number("published").and_then(flag),
        })
    }
}

fn flag(number: u64) -> Option<bool> {
    match number {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Snapshot;

    #[test]
    fn a_pool_is_read() {
        let mut machine = Snapshot::new();
        machine
            .file("/d/p2pmem/size", "2097152\n")
            .file("/d/p2pmem/available", "4096\n")
            .file("/d/p2pmem/published", "1\n");
        let expected = P2pmem { size: Some(2 << 20), available: Some(4096), published: Some(true) };
        assert_eq!(P2pmem::read(&machine, "/d"), Some(expected));
    }

    #[test]
    fn a_device_without_the_group_gives_no_memory() {
        let mut machine = Snapshot::new();
        machine.file("/d/vendor", "0x8086\n");
        assert_eq!(P2pmem::read(&machine, "/d"), None);
    }

    #[test]
    fn what_cannot_be_read_is_not_zero() {
        let mut machine = Snapshot::new();
        machine
            .refused("/d/p2pmem/size", libc::EACCES)
            .file("/d/p2pmem/available", "-1\n")
            .file("/d/p2pmem/published", "2");
        assert_eq!(P2pmem::read(&machine, "/d"), Some(P2pmem { size: None, available: None, published: None }));
    }

    #[test]
    fn a_group_that_cannot_be_listed_is_there() {
        let mut machine = Snapshot::new();
        machine.refused("/d/p2pmem", libc::EACCES).file("/d/p2pmem/size", "0\n");
        assert!(P2pmem::read(&machine, "/d").is_some());
    }
}
