//! What a block device's queue takes in one request.

use crate::machine::Facts;

/// Limits of a queue in bytes (`/sys/class/block/*/queue`). `None`: cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Limits {
    /// File offsets and lengths are multiples of it.
    pub logical_block: Option<u64>,
    /// Addresses in memory are multiples of it.
    pub memory_alignment: Option<u64>,
    /// The longest request that the kernel makes.
    pub max_request: Option<u64>,
    /// The longest request that the device could take; `max_sectors_kb` can be raised to it.
    pub max_hardware_request: Option<u64>,
    /// The most pieces of memory in one request.
    pub max_segments: Option<u64>,
}

impl Limits {
    /// Reads the queue of the block device with this directory.
    pub(super) fn read(facts: &dyn Facts, directory: &str) -> Self {
        let number = |name: &str| facts.number(&format!("{directory}/queue/{name}"));
        let kib = |name| number(name).and_then(|kib| kib.checked_mul(1024));
        Self {
            logical_block: number("logical_block_size"),
            // The kernel keeps a mask: 3 for 4 bytes.
            memory_alignment: number("dma_alignment").and_then(|mask| mask.checked_add(1)),
            max_request: kib("max_sectors_kb"),
            max_hardware_request: kib("max_hw_sectors_kb"),
            max_segments: number("max_segments"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Snapshot;

    #[test]
    fn masks_and_kibibytes_become_bytes() {
        let mut facts = Snapshot::new();
        facts.file("/d/queue/dma_alignment", "3\n").file("/d/queue/max_sectors_kb", "128\n");
        facts
            .file("/d/queue/max_hw_sectors_kb", "18446744073709551615\n")
            .refused("/d/queue/max_segments", libc::EACCES);
        let limits = Limits::read(&facts, "/d");
        assert_eq!((limits.memory_alignment, limits.max_request), (Some(4), Some(131_072)));
        assert_eq!((limits.max_hardware_request, limits.max_segments, limits.logical_block), (None, None, None));
    }
}
