//! A file and the memory that a queue may move its bytes to and from.

use std::sync::Arc;

use super::{target::Target, witness::Witness};
use crate::{
    Error, Refusal, Result,
    machine::{Access, Direction, Place},
    memory::{Owner, Slice},
    pci::Address,
    storage::{File, copy_without_holes},
};

/// Bytes that one operation may move: 64 MiB, as the module's commands.
pub(super) const MOST: usize = 64 << 20;

/// A file bound to one provider's memory, to one buffer of the p2pdma_user module's, or to the host's memory, in one queue.
/// All that needs checking once is checked: the route, the block stack, direct I/O. Cheap to clone.
///
/// ```
/// use p2pdma::{machine::{Access, Machine, Mock, mock::Cpu}, memory::Provider, storage::File, transfer::Queue};
/// let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen)?);
/// let file = File::open(&machine, "/dev/nvme0n1", Access::Read)?;
/// let memory = Provider::find(&machine, "0000:05:00.0".parse()?)?.allocate(4096)?;
/// let mut queue = Queue::new(&machine, Default::default())?;
/// let pair = queue.bind(&file, &memory)?;
/// assert_eq!((pair.offset_alignment(), pair.memory_alignment()), (512, 4));
/// assert_eq!(pair.provider(), Some(memory.provider()));
/// queue.unbind(pair)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Invariants
///
/// The file's alignments, where it tells them, are not 0: a verdict refuses such a file for any memory.
#[derive(Debug, Clone)]
pub struct Pair {
    pub(super) registration: Arc<Registration>,
    /// `None`: the host's memory.
    pub(super) owner: Option<Owner>,
}

/// A place in the file table of a queue's ring. It is free for another when the last pair is gone.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) queue: u64,
    pub(super) slot: u32,
    pub(super) target: Target,
    /// Of the operations between the file and peer memory.
    pub(super) witness: Witness,
}

/// Whether `value`, or each of the values that were put together by OR, is a multiple of an alignment, which is a power of
/// two: a block device's always is, and what a filesystem asks for is that or more of it.
fn aligned(value: u64, alignment: u32) -> bool {
    value & (u64::from(alignment) - 1) == 0
}

impl Pair {
    /// The file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.registration.target.file
    }

    /// Whose memory; `None` for the host's.
    #[must_use]
    pub fn provider(&self) -> Option<Address> {
        self.owner.map(|owner| owner.provider)
    }

    /// Bytes to which file offsets and lengths must be aligned.
    #[must_use]
    pub fn offset_alignment(&self) -> u32 {
        self.registration.target.alignment.offset
    }

    /// Bytes to which addresses in memory, or on the module's way offsets in the buffer, must be aligned.
    #[must_use]
    pub fn memory_alignment(&self) -> u32 {
        self.registration.target.alignment.memory
    }

    /// Checks one operation; gives its length.
    pub(super) fn check(&self, direction: Direction, offset: u64, slice: &Slice) -> Result<u32> {
        let length = match u32::try_from(slice.len()) {
            Ok(length) if slice.len() <= MOST && length > 0 => length,
            _ => return Err(self.bad(format!("a length of {} bytes", slice.len()), "ask for 1 byte to 64 MiB")),
        };
        if slice.view().owner() != self.owner {
            return Err(self.bad("memory of another provider or buffer than the pair's", "bind the file to it too"));
        }
        if direction == Direction::Write && self.file().access() == Access::Read {
            return Err(self.bad("a write to a file opened for reading", "open it with Access::ReadWrite"));
        }
        if offset.checked_add(length.into()).is_none_or(|end| i64::try_from(end).is_err()) {
            return Err(self.bad(format!("offset {offset} is out of range"), "ask for a range within the file"));
        }
        self.check_alignment(offset, length, slice)?;
        match direction {
            Direction::Read if self.owner.is_some() && self.file().has_hole_in(offset, length.into()) => {
                Err(self.hole(offset, length))
            }
            _ => Ok(length),
        }
    }

    fn check_alignment(&self, offset: u64, length: u32, slice: &Slice) -> Result<()> {
        let block = self.offset_alignment();
        if !aligned(offset | u64::from(length), block) {
            let cause = format!("offset {offset} and length {length} are not multiples of {block} bytes");
            return Err(self.bad(cause, "align both to the file's logical block"));
        }
        let memory = self.memory_alignment();
        let place = match slice.view().place() {
            Place::Address(address) => address.addr() as u64,
            Place::Buffer(offset) => offset,
        };
        if !aligned(place, memory) {
            return Err(self.bad(format!("the memory is not aligned to {memory} bytes"), "align the slice"));
        }
        Ok(())
    }

    fn hole(&self, offset: u64, length: u32) -> Error {
        let cause = format!("its {length} bytes at {offset} have a hole, where the kernel writes zeroes by CPU");
        Error::NoDirectIo(Refusal::new(self.file(), cause, copy_without_holes(self.file())))
    }

    pub(super) fn bad(&self, cause: impl std::fmt::Display, cure: &str) -> Error {
        Error::Invalid(Refusal::new(self.file(), cause, cure))
    }
}
