//! A file and the memory that a queue may move its bytes to and from.

use std::sync::Arc;

use crate::{
    Error, Refusal, Result,
    machine::{Access, Direction},
    memory::{Owner, Slice},
    pci::Address,
    storage::File,
};

/// Bytes that one operation may move: 64 MiB, as the module's commands.
pub(super) const MOST: usize = 64 << 20;

/// What memory and file are aligned to where a filesystem does not say: enough for any block device.
const CAUTIOUS: u32 = 4096;

/// A file bound to one provider's memory, or to the host's, in one queue. All that needs checking once is checked: the
/// route, the block stack, direct I/O. Cheap to clone.
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

/// A file's place in the file table of a queue's ring. The place is free for another file when the last pair is gone.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) queue: u64,
    pub(super) slot: u32,
    pub(super) file: File,
}

impl Pair {
    /// The file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.registration.file
    }

    /// Whose memory; `None` for the host's.
    #[must_use]
    pub fn provider(&self) -> Option<Address> {
        self.owner.map(|owner| owner.provider)
    }

    /// Bytes to which file offsets and lengths must be aligned.
    #[must_use]
    pub fn offset_alignment(&self) -> u32 {
        self.file().dio_alignment().map_or(CAUTIOUS, |dio| dio.offset)
    }

    /// Bytes to which addresses in memory must be aligned.
    #[must_use]
    pub fn memory_alignment(&self) -> u32 {
        self.file().dio_alignment().map_or(CAUTIOUS, |dio| dio.memory)
    }

    /// Checks one operation; gives its length.
    pub(super) fn check(&self, direction: Direction, offset: u64, slice: &Slice) -> Result<u32> {
        let length = match u32::try_from(slice.len()) {
            Ok(length) if slice.len() <= MOST && length > 0 => length,
            _ => return Err(self.bad(format!("a length of {} bytes", slice.len()), "ask for 1 byte to 64 MiB")),
        };
        if slice.view().owner() != self.owner {
            return Err(self.bad("memory of another provider than the pair's", "bind the file to that memory too"));
        }
        if direction == Direction::Write && self.file().access() == Access::Read {
            return Err(self.bad("a write to a file opened for reading", "open it with Access::ReadWrite"));
        }
        if offset.checked_add(length.into()).is_none_or(|end| i64::try_from(end).is_err()) {
            return Err(self.bad(format!("offset {offset} is out of range"), "ask for a range within the file"));
        }
        self.check_alignment(offset, length, slice)?;
        if direction == Direction::Read && self.owner.is_some() && self.file().has_hole_in(offset, length) {
            return Err(self.hole(offset, length));
        }
        Ok(length)
    }

    fn check_alignment(&self, offset: u64, length: u32, slice: &Slice) -> Result<()> {
        let block = self.offset_alignment();
        if offset % u64::from(block) != 0 || length % block != 0 {
            let cause = format!("offset {offset} and length {length} are not multiples of {block} bytes");
            return Err(self.bad(cause, "align both to the file's logical block"));
        }
        let memory = self.memory_alignment();
        if slice.view().address().addr() % memory as usize != 0 {
            return Err(self.bad(format!("the memory is not aligned to {memory} bytes"), "align the slice"));
        }
        Ok(())
    }

    fn hole(&self, offset: u64, length: u32) -> Error {
        let cause = format!("its {length} bytes at {offset} have a hole, where the kernel writes zeroes by CPU");
        Error::NoDirectIo(Refusal::new(self.file(), cause, "copy the file with `cp --sparse=never`"))
    }

    pub(super) fn bad(&self, cause: impl std::fmt::Display, cure: &str) -> Error {
        Error::Invalid(Refusal::new(self.file(), cause, cure))
    }
}
