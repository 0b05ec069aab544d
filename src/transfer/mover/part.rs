//! A part of a piece: what one stage, or one direct operation, moves.

use std::ops::Range;

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
    /// Writes the stage, whole blocks of it.
    Store,
    /// Writes the request's bytes and no others, through the page cache, to stable storage: where their block reaches behind
    /// the end of the file. Whole blocks would make the file longer than was asked for.
    Exact,
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
    /// Bytes from the base that this step is done with.
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
            Direction::Write if bytes == length => Step::Store,
            Direction::Write if piece.lane.holds(base + length)? => Step::Patch,
            Direction::Write => Step::Exact,
        };
        let memory = memory(piece, at, bytes)?;
        let of_piece = Self::of(piece, memory, step, reason);
        let head = at - base;
        let done = if step == Step::Exact { head } else { 0 };
        Ok(Self { base, length, head, bytes, done, ..of_piece })
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
            Step::Direct | Step::Fetch | Step::Exact => self.head + self.bytes,
            Step::Patch | Step::Store => self.length,
        }
    }

    /// Whether a step that has got so far is over.
    pub(super) fn is_over(&self, reached: u64) -> bool {
        reached >= self.needed()
    }

    /// How many of the request's bytes lie before so many from the base.
    pub(super) fn within(&self, reached: u64) -> u64 {
        reached.saturating_sub(self.head).min(self.bytes)
    }

    /// Where an operation that fell short goes on.
    pub(super) fn resume_at(&self, reached: u64) -> u64 {
        let unit = match self.step {
            Step::Direct => self.lane.unit(),
            Step::Fetch | Step::Patch | Step::Store => self.lane.block(),
            Step::Exact => 1,
        };
        reached - reached % unit
    }

    pub(super) fn writes(&self) -> bool {
        self.direction == Direction::Write
    }

    /// Whether it, or the page cache, reads what lies beside its bytes to write that back.
    pub(super) fn rewrites(&self) -> bool {
        self.writes() && self.step != Step::Direct && self.bytes < self.length
    }

    /// What it writes in the file, its own bytes or not. The page cache writes whole pages.
    fn span(&self) -> Range<u64> {
        let (start, end, page) = (self.base, self.base + self.length, self.lane.page());
        if self.step == Step::Exact { start - start % page..end.next_multiple_of(page) } else { start..end }
    }

    /// Whether one of two parts would undo what the other writes: what it writes back, it may have read before.
    pub(super) fn undoes(&self, other: &Self) -> bool {
        let (this, that) = (self.span(), other.span());
        let one_rewrites = self.writes() && other.writes() && (self.rewrites() || other.rewrites());
        one_rewrites && this.start < that.end && that.start < this.end && self.lane.file().holds_same(other.lane.file())
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
        let pair = if self.step == Step::Exact { self.lane.exact() } else { self.lane.host() };
        let ((staging, stage), pair) = staging.zip(self.stage).zip(pair).ok_or_else(|| lost(self))?;
        let end = if self.step == Step::Exact { self.needed() } else { self.length };
        let staged = staging.slice(stage, self.done, end)?;
        match self.step {
            Step::Exact => queue.write_through(pair, at, staged),
            Step::Store => queue.write(pair, at, staged),
            Step::Direct | Step::Fetch | Step::Patch => queue.read(pair, at, staged),
        }
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
