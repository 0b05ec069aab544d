//! A part of a piece: what one stage, or one direct operation, moves.

use super::{Piece, pump::lost};
use crate::{
    Result,
    machine::Direction,
    memory::PeerSlice,
    transfer::{
        Lane,
        plan::{Reason, Segment, Way},
        queue::Queue,
        receipt::OperationId,
        staging::Staging,
    },
};

/// What its next operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Moves its bytes between file and peer memory.
    Direct,
    /// Reads blocks into the stage, for peer memory.
    Fetch,
    /// Reads blocks into the stage, of which a part is to be written.
    Patch,
    /// Writes the stage.
    Store,
}

/// A run of whole blocks of a file, and the bytes of it that the request is about.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) run: u64,
    /// Which piece of the call.
    pub(super) piece: usize,
    pub(super) direction: Direction,
    pub(super) step: Step,
    pub(super) lane: Lane,
    /// Of a direct part all of its memory, else just the request's bytes.
    pub(super) memory: PeerSlice,
    /// Where the blocks begin in the file.
    pub(super) base: u64,
    /// Bytes of the blocks.
    pub(super) length: u64,
    /// From the base to the request's first byte.
    pub(super) head: u64,
    /// Bytes of the request.
    pub(super) bytes: u64,
    /// Bytes of this step that are done.
    pub(super) done: u64,
    /// Errnos that were answered by trying again.
    pub(super) tries: u32,
    pub(super) stage: Option<usize>,
    /// Why its bytes bounce, if they do.
    pub(super) reason: Reason,
}

impl Part {
    /// Of a direct segment, or of as much of a segment that bounces as a stage holds. It has no stage yet.
    pub(super) fn new(piece: &Piece<'_>, segment: &Segment, stage: u64) -> Result<Self> {
        let reason = match segment.way {
            Way::Bounce(reason) => reason,
            Way::Direct | Way::End => return Self::direct(piece, segment),
        };
        let (at, block) = (segment.offset, piece.lane.block());
        let base = at - at % block;
        let end = (at + segment.bytes).min(base + stage / block * block);
        let (bytes, length) = (end.saturating_sub(at), end.next_multiple_of(block) - base);
        let step = match piece.direction {
            Direction::Read => Step::Fetch,
            Direction::Write if bytes < length => Step::Patch,
            Direction::Write => Step::Store,
        };
        let memory = memory(piece, at, bytes)?;
        let of_piece = Self::of(piece, memory, step, reason);
        Ok(Self { base, length, head: at - base, bytes, ..of_piece })
    }

    fn direct(piece: &Piece<'_>, segment: &Segment) -> Result<Self> {
        let &Segment { offset: base, length, bytes, .. } = segment;
        let of_piece = Self::of(piece, memory(piece, base, length)?, Step::Direct, Reason::PageCache);
        Ok(Self { base, length, bytes, ..of_piece })
    }

    fn of(piece: &Piece<'_>, memory: PeerSlice, step: Step, reason: Reason) -> Self {
        Self {
            run: 0,
            piece: 0,
            direction: piece.direction,
            step,
            lane: piece.lane.clone(),
            memory,
            base: 0,
            length: 0,
            head: 0,
            bytes: 0,
            done: 0,
            tries: 0,
            stage: None,
            reason,
        }
    }

    /// Bytes from the base that this step must have done to be over.
    pub(super) fn needed(&self) -> u64 {
        match self.step {
            Step::Direct | Step::Fetch => self.head + self.bytes,
            Step::Patch | Step::Store => self.length,
        }
    }

    /// Whether a step that has got so far is over. Behind the end of a file there is nothing to read.
    pub(super) fn is_over(&self, reached: u64) -> bool {
        let ended = self.step == Step::Patch && self.base + reached >= self.lane.end();
        reached >= self.needed() || ended
    }

    /// How many of the request's bytes lie before so many from the base.
    pub(super) fn within(&self, reached: u64) -> u64 {
        reached.saturating_sub(self.head).min(self.bytes)
    }

    /// Where an operation that fell short goes on.
    pub(super) fn resume_at(&self, reached: u64) -> u64 {
        let unit = if self.step == Step::Direct { self.lane.unit() } else { self.lane.block() };
        reached - reached % unit
    }

    /// Whether it reads blocks to write them back.
    fn rewrites(&self) -> bool {
        self.direction == Direction::Write && self.step != Step::Direct && self.bytes < self.length
    }

    /// Whether two parts would each undo what the other writes to a block.
    pub(super) fn undoes(&self, other: &Self) -> bool {
        let apart = self.base + self.length <= other.base || other.base + other.length <= self.base;
        self.rewrites() && other.rewrites() && !apart && self.lane.file().same(other.lane.file())
    }

    /// Hands its next operation to the queue.
    pub(super) fn issue(&self, queue: &mut Queue, staging: Option<&Staging>) -> Result<OperationId> {
        let at = self.base + self.done;
        if let (Step::Direct, Some(pair)) = (self.step, self.lane.direct()) {
            let memory = self.memory.slice(narrow(self.done)..)?;
            return match self.direction {
                Direction::Read => queue.read(pair, at, memory),
                Direction::Write => queue.write(pair, at, memory),
            };
        }
        let ((staging, stage), pair) = staging.zip(self.stage).zip(self.lane.host()).ok_or_else(|| lost(self))?;
        let blocks = staging.slice(stage, self.done, self.length)?;
        if self.step == Step::Store { queue.write(pair, at, blocks) } else { queue.read(pair, at, blocks) }
    }
}

/// The memory of so many bytes of a piece, from a place in the file.
fn memory(piece: &Piece<'_>, at: u64, bytes: u64) -> Result<PeerSlice> {
    let start = narrow(at - piece.offset);
    piece.memory.slice(start..start.saturating_add(narrow(bytes)))
}

fn narrow(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
