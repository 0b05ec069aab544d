//! One mapping.
//!
//! There is no unsafe code here: [`MmapRaw`] gives an address and never a reference.

use std::{
    fmt, io,
    os::fd::{AsFd, AsRawFd},
};

use memmap2::{Advice, MmapOptions, MmapRaw};

use super::view::Owner;
use crate::machine::Lease;

/// Memory mapped shared from offset 0 of a file, and left out of fork and core dumps.
pub(super) struct Mapping {
    raw: MmapRaw,
    /// Whose memory it is; `None` for the host's.
    pub(super) owner: Option<Owner>,
    /// Given back after `munmap`: fields drop in order.
    _lease: Option<Lease>,
}

impl Mapping {
    /// Maps `length` bytes of `file`.
    pub(super) fn new(file: impl AsFd, length: usize, owner: Option<Owner>) -> io::Result<Self> {
        let raw = MmapOptions::new().len(length).map_raw(file.as_fd().as_raw_fd())?;
        // A child would share peer memory and keep it from its pool; a core dump would read a BAR byte by byte.
        raw.advise(Advice::DontFork)?;
        raw.advise(Advice::DontDump)?;
        Ok(Self { raw, owner, _lease: None })
    }

    pub(super) fn with_lease(self, lease: Option<Lease>) -> Self {
        Self { _lease: lease, ..self }
    }

    pub(super) fn len(&self) -> usize {
        self.raw.len()
    }

    /// Where it starts in this process's address space; for system calls only.
    pub(super) fn address(&self) -> *mut u8 {
        self.raw.as_mut_ptr()
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping").field("length", &self.len()).field("owner", &self.owner).finish_non_exhaustive()
    }
}
