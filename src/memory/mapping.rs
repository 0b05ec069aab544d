//! One mapping, and ranges of it that own it.
//!
//! There is no unsafe code here: [`MmapRaw`] gives an address and never a reference, and a [`View`] keeps within bounds
//! that were checked when it was made. Whoever hands the address to the kernel (the copier, a queue) holds the view,
//! and the view keeps the mapping.

use std::{
    fmt, io,
    ops::{Bound, RangeBounds},
    os::fd::{AsFd, AsRawFd},
    sync::Arc,
};

use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::{
    Error, Refusal, Result,
    machine::{Lease, MachineId},
    pci::Address,
};

/// A provider, on its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) machine: MachineId,
    pub(crate) provider: Address,
}

/// Memory mapped shared from offset 0 of a file, and left out of fork and core dumps.
pub(super) struct Mapping {
    raw: MmapRaw,
    /// Whose memory it is; `None` for the host's.
    owner: Option<Owner>,
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

    /// All of it.
    pub(super) fn view(self) -> View {
        let length = self.len();
        // INVARIANT: all of the mapping.
        View { block: Arc::new(Block { mapping: Arc::new(self), _share: None }), offset: 0, length }
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping").field("length", &self.len()).field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// What is allocated and given back in one piece: a mapping, or an arena's part of one.
struct Block {
    mapping: Arc<Mapping>,
    /// Gives an arena's part back on drop.
    _share: Option<Lease>,
}

/// A range of a mapping, and a share in owning the block it lies in.
///
/// # Invariants
///
/// `offset + length` is at most the mapping's length.
#[derive(Clone)]
pub(crate) struct View {
    block: Arc<Block>,
    /// From the start of the mapping.
    pub(super) offset: usize,
    length: usize,
}

impl View {
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn owner(&self) -> Option<Owner> {
        self.block.mapping.owner
    }

    /// Where it starts in this process's address space; for system calls only.
    pub(crate) fn address(&self) -> *mut u8 {
        self.block.mapping.raw.as_mut_ptr().wrapping_add(self.offset)
    }

    /// A part of it; `range` counts from its own start.
    pub(super) fn part(&self, range: impl RangeBounds<usize>) -> Result<Self> {
        let (start, end) = bounds(&range, self.length);
        if start > end || end > self.length {
            let thing = format!("range {start}..{end}");
            let cause = format!("outside of memory of {} bytes", self.length);
            return Err(Error::Invalid(Refusal::new(thing, cause, "ask for a range within it")));
        }
        // INVARIANT: end is at most this view's length, which keeps it within the mapping.
        Ok(Self { block: Arc::clone(&self.block), offset: self.offset + start, length: end - start })
    }

    /// The same range as a block of its own: `share` is dropped with the last view of it.
    pub(super) fn into_block(self, share: Lease) -> Self {
        let block = Block { mapping: Arc::clone(&self.block.mapping), _share: Some(share) };
        Self { block: Arc::new(block), ..self }
    }
}

fn bounds(range: &impl RangeBounds<usize>, length: usize) -> (usize, usize) {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&end) => end.saturating_add(1),
        Bound::Excluded(&end) => end,
        Bound::Unbounded => length,
    };
    (start, end)
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{} of {:?}", self.offset, self.offset + self.length, self.block.mapping)
    }
}
