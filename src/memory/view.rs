//! Ranges of memory that own what they lie in.
//!
//! A [`View`] keeps within bounds that were checked when it was made. Whoever hands its place to the kernel (the copier, a
//! queue) holds the view, and the view keeps the memory.

use std::{
    fmt,
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use super::{buffer::Buffer, mapping::Mapping};
use crate::{
    Error, Refusal, Result,
    machine::{Lease, MachineId, Place},
    pci::Address,
};

/// Whose memory it is, and of which buffer: a pair of the module's is with one buffer, not with all of a provider's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) machine: MachineId,
    pub(crate) provider: Address,
    /// `None`: mapped memory.
    pub(crate) buffer: Option<BufferId>,
}

/// Tells the buffers of this process apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BufferId(pub(super) u64);

/// Where the bytes are.
#[derive(Debug)]
pub(super) enum Store {
    /// In this process's address space.
    Mapped(Mapping),
    /// Behind a descriptor of the p2pdma_user module's.
    Buffer(Buffer),
}

impl Store {
    fn len(&self) -> usize {
        match self {
            Self::Mapped(mapping) => mapping.len(),
            Self::Buffer(buffer) => buffer.len(),
        }
    }

    /// All of it.
    pub(super) fn view(self) -> View {
        let length = self.len();
        // INVARIANT: all of the store.
        View { block: Arc::new(Block { store: Arc::new(self), _share: None, _of: None }), offset: 0, length }
    }
}

/// What is allocated and given back in one piece: a store, or an arena's part of one.
struct Block {
    store: Arc<Store>,
    /// Gives an arena's part back on drop.
    _share: Option<Lease>,
    /// The block that an arena divides, which may be another arena's part: nobody else gets its bytes while this one lives.
    _of: Option<Arc<Self>>,
}

/// A range of a store, and a share in owning the block it lies in.
///
/// # Invariants
///
/// `offset + length` is at most the store's length.
#[derive(Clone)]
pub(crate) struct View {
    block: Arc<Block>,
    /// From the start of the store.
    pub(super) offset: usize,
    length: usize,
}

impl View {
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// `None`: the host's memory.
    pub(crate) fn owner(&self) -> Option<Owner> {
        match self.store() {
            Store::Mapped(mapping) => mapping.owner,
            Store::Buffer(buffer) => Some(buffer.owner),
        }
    }

    pub(super) fn store(&self) -> &Store {
        &self.block.store
    }

    /// Where it starts; an address is for system calls only.
    pub(crate) fn place(&self) -> Place {
        match self.store() {
            Store::Mapped(mapping) => Place::Address(mapping.address().wrapping_add(self.offset)),
            Store::Buffer(_) => Place::Buffer(self.offset as u64),
        }
    }

    /// A part of it; `range` counts from its own start.
    pub(super) fn part(&self, range: impl RangeBounds<usize>) -> Result<Self> {
        let (start, end) = bounds(&range, self.length);
        if start > end || end > self.length {
            let thing = format!("range {start}..{end}");
            let cause = format!("outside of memory of {} bytes", self.length);
            return Err(Error::Invalid(Refusal::new(thing, cause, "ask for a range within it")));
        }
        // INVARIANT: end is at most this view's length, which keeps it within the store.
        Ok(Self { block: Arc::clone(&self.block), offset: self.offset + start, length: end - start })
    }

    /// The same range as a block of its own, which keeps the one it lies in: `share` is dropped with the last view of it.
    pub(super) fn into_block(self, share: Lease) -> Self {
        let block = Block { store: Arc::clone(&self.block.store), _share: Some(share), _of: Some(self.block) };
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
        write!(f, "{}..{} of {:?}", self.offset, self.offset + self.length, self.store())
    }
}
