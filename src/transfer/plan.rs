//! What a transfer will do, before it does it.
//!
//! ```text
//!   file      |    block    |    block    |    block    |    block  . end of file
//!   request          [-----------------------------------------------------------]
//!   plan             [ head ][---- body, direct, in pieces ----][ tail   ][ end  ]
//!                     bounce                                      bounce   nothing
//! ```
//!
//! Direct I/O moves whole logical blocks, to memory that is aligned to a few bytes (statx(2), STATX_DIOALIGN). What lies
//! beside whole blocks goes through host memory, or is refused: that is the [`Policy`]'s to say. A plan is made of numbers
//! alone: it costs no system call and no allocation, and the same numbers give the same plan.

use std::{fmt, iter::FusedIterator, ops::Range};

use super::policy::Policy;
use crate::{Error, Refusal, Result, machine::Direction, storage::copy_without_holes};

/// The last byte that a plan reaches: a file's last, less the longest block, so that whole blocks can be counted.
const LAST: i64 = i64::MAX - (1 << 32);

/// What the file asks for and what the verdict said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Direct offsets and lengths in the file are multiples of this, in bytes; a power of two.
    pub offset_alignment: u32,
    /// Direct addresses in memory are multiples of this, in bytes; a power of two.
    pub memory_alignment: u32,
    /// Bytes that one operation may move, at least one block.
    pub most: u32,
    /// Where the file ends, in bytes.
    pub end: u64,
    /// Whether a write may move that end: a regular file, not a block device.
    pub grows: bool,
    /// Why nothing may go direct, if so.
    pub barrier: Option<Reason>,
}

/// What is to be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Which way, seen from storage.
    pub direction: Direction,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// Bytes, at least one.
    pub length: u64,
    /// Where in memory. Nothing but its alignment matters.
    pub address: u64,
}

/// Which way a segment's bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Between storage and peer memory, no host memory touched.
    Direct,
    /// Through host memory.
    Bounce(Reason),
    /// Nowhere: the file has ended.
    End,
}

/// Why bytes go through host memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The caller asked for it: [`Policy::BounceOnly`].
    Asked,
    /// The verdict on file and provider is no.
    Verdict,
    /// The range holds a hole, where the kernel would write zeroes by CPU.
    Hole,
    /// The first bytes are not a whole block of the file.
    Head,
    /// The last bytes are not a whole block of the file.
    Tail,
    /// Blocks of the file would begin in memory where the device cannot address.
    Memory,
    /// The filesystem went through the page cache, though it was asked for direct I/O. No plan knows; the p2pdma_user module
    /// tells it afterwards.
    PageCache,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "asked for",
            Self::Verdict => "the verdict is no",
            Self::Hole => "the file has a hole there",
            Self::Head => "it begins within a block",
            Self::Tail => "it ends within a block",
            Self::Memory => "the memory is not aligned to the file's blocks",
            Self::PageCache => "the filesystem went through the page cache",
        })
    }
}

/// A piece of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Which way its bytes go.
    pub way: Way,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// Bytes of the operation. The last direct one may reach beyond the end of the file: storage sends whole blocks.
    pub length: u64,
    /// Bytes of it that are the file's.
    pub bytes: u64,
}

/// The segments of a request, in the order of the file; they cover it exactly once.
///
/// ```
/// use p2pdma::{machine::Direction, transfer::{Limits, Plan, Policy, Reason, Request, Way}};
/// let limits = Limits { offset_alignment: 512, memory_alignment: 4, most: 1 << 20, end: 1 << 30, grows: true, barrier: None };
/// let request = Request { direction: Direction::Read, offset: 500, length: 4096, address: 0x1f4 };
/// let plan = Plan::new(&limits, Policy::PreferDirect, &request)?;
/// let ways: Vec<Way> = plan.segments().map(|segment| segment.way).collect();
/// assert_eq!(ways, [Way::Bounce(Reason::Head), Way::Direct, Way::Bounce(Reason::Tail)]);
/// assert!(Plan::new(&limits, Policy::DirectOnly, &request).is_err());
/// # Ok::<(), p2pdma::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Bytes of the request that are the file's, or become it.
    held: Range<u64>,
    /// Where it goes direct. It may end behind `held`, in the block in which the file ends.
    body: Range<u64>,
    /// Where the request ends.
    end: u64,
    /// Bytes of the longest segment.
    piece: u64,
    /// Why the bytes before and behind the body are not in it.
    before: Reason,
    behind: Reason,
}

impl Plan {
    /// Plans a request.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an empty request, one beyond the numbers of files, one beyond the end of a device, or limits
    /// that are no alignments; under [`Policy::DirectOnly`] [`Error::NoDirectIo`] for a request that is not wholly direct.
    pub fn new(limits: &Limits, policy: Policy, request: &Request) -> Result<Self> {
        limits.check()?;
        let end = request.check(limits)?;
        let held_end = if request.direction == Direction::Read { end.min(limits.end) } else { end };
        let held = request.offset..held_end.max(request.offset);
        let barrier = if policy == Policy::BounceOnly { Some(Reason::Asked) } else { limits.barrier };
        let whole = barrier.or_else(|| limits.misfit(request).then_some(Reason::Memory));
        let plan = Self {
            body: if whole.is_some() { held.end..held.end } else { limits.body(&held, request) },
            held,
            end,
            piece: limits.piece(),
            before: whole.unwrap_or(Reason::Head),
            behind: whole.unwrap_or(Reason::Tail),
        };
        if policy == Policy::DirectOnly { plan.wholly_direct(limits) } else { Ok(plan) }
    }

    /// Where the request ends.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Its segments.
    #[must_use]
    pub fn segments(&self) -> Segments<'_> {
        Segments { plan: self, at: self.held.start }
    }

    /// Bytes that go direct, and bytes that bounce.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        let direct = self.body.end.min(self.held.end).saturating_sub(self.body.start);
        (direct, self.held.end - self.held.start - direct)
    }

    /// Why bytes bounce that lie before the body, and behind it, if there are any.
    #[cfg(feature = "tracing")]
    pub(super) fn reasons(&self) -> [Option<Reason>; 2] {
        let (start, end) = (self.body.start.min(self.held.end), self.body.end.max(self.held.start));
        [(self.held.start < start).then_some(self.before), (end < self.held.end).then_some(self.behind)]
    }

    fn wholly_direct(self, limits: &Limits) -> Result<Self> {
        let bounced = self.segments().find_map(|segment| match segment.way {
            Way::Bounce(reason) => Some((segment, reason)),
            Way::Direct | Way::End => None,
        });
        let Some((Segment { offset, bytes, .. }, reason)) = bounced else { return Ok(self) };
        let thing = format!("{bytes} bytes at {offset}");
        let cause = format!("they cannot go direct: {reason}");
        Err(Error::NoDirectIo(Refusal::new(thing, cause, limits.cure(reason))))
    }

    /// The segment that begins at `at`, which an earlier one ended at or which begins the request.
    pub(super) fn segment(&self, at: u64) -> Segment {
        let (way, end) = match at {
            _ if at >= self.held.end => (Way::End, self.end),
            _ if self.body.contains(&at) => (Way::Direct, self.body.end.min(at + self.piece)),
            _ if at < self.body.start => (Way::Bounce(self.before), self.body.start.min(at + self.piece)),
            _ => (Way::Bounce(self.behind), self.held.end.min(at + self.piece)),
        };
        let bytes = match way {
            Way::Direct => end.min(self.held.end) - at,
            Way::Bounce(_) | Way::End => end - at,
        };
        Segment { way, offset: at, length: end - at, bytes }
    }
}

/// The segments of a [`Plan`].
#[derive(Debug, Clone)]
pub struct Segments<'a> {
    plan: &'a Plan,
    at: u64,
}

impl Iterator for Segments<'_> {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        if self.at >= self.plan.end {
            return None;
        }
        let segment = self.plan.segment(self.at);
        self.at += segment.bytes;
        Some(segment)
    }
}

impl FusedIterator for Segments<'_> {}

impl Limits {
    fn check(&self) -> Result<()> {
        let Self { offset_alignment: offset, memory_alignment: memory, most, .. } = *self;
        if offset.is_power_of_two() && memory.is_power_of_two() && most >= offset.max(memory) {
            return Ok(());
        }
        let cause = format!("alignments of {offset} and {memory} bytes, {most} bytes an operation");
        Err(Error::Invalid(Refusal::new("limits", cause, "use powers of two, and operations of a block or more")))
    }

    /// Pieces of the body are cut at multiples of this, so that each begins aligned in the file and in memory.
    fn piece(&self) -> u64 {
        let unit = self.offset_alignment.max(self.memory_alignment);
        (self.most / unit * unit).into()
    }

    /// Whether no byte of the file that begins a block lies in memory where the device can address.
    fn misfit(&self, request: &Request) -> bool {
        let unit = u64::from(self.offset_alignment.min(self.memory_alignment));
        request.offset.wrapping_sub(request.address) % unit != 0
    }

    /// The whole blocks of `held`. A read may take the block in which the file ends, if the request has room for it.
    fn body(&self, held: &Range<u64>, request: &Request) -> Range<u64> {
        let (block, memory) = (u64::from(self.offset_alignment), u64::from(self.memory_alignment));
        let start = match memory > block {
            // The request fits, so where memory is aligned the file is.
            true => request.offset.saturating_add(request.address.wrapping_neg() % memory),
            false => request.offset.next_multiple_of(block),
        };
        if start >= held.end {
            return held.end..held.end;
        }
        let past = held.end.next_multiple_of(block);
        let end = match request.direction {
            Direction::Read if past <= request.offset + request.length => past,
            _ => held.end - held.end % block,
        };
        start..end.max(start)
    }

    fn cure(&self, reason: Reason) -> String {
        match reason {
            Reason::Verdict => "see `p2pbench explain` for the pair".into(),
            Reason::Hole => copy_without_holes("FILE"),
            Reason::Memory => format!(
                "let memory begin at the file's offset modulo {} bytes, or allow Policy::PreferDirect",
                self.offset_alignment.min(self.memory_alignment)
            ),
            _ => format!(
                "align offset and length to {} bytes and memory to {}, or allow Policy::PreferDirect",
                self.offset_alignment, self.memory_alignment
            ),
        }
    }
}

impl Request {
    /// Where it ends, if that can be.
    fn check(&self, limits: &Limits) -> Result<u64> {
        let Self { direction, offset, length, .. } = *self;
        let bad = |cause: &str, cure: &str| {
            let thing = format!("{direction} of {length} bytes at {offset}");
            Err(Error::Invalid(Refusal::new(thing, cause, cure)))
        };
        let end = offset.checked_add(length).filter(|&end| i64::try_from(end).is_ok_and(|end| end <= LAST));
        match end {
            _ if length == 0 => bad("nothing to move", "ask for at least one byte"),
            None => bad("it ends beyond what a file can hold", "ask for a range within the file"),
            Some(end) if direction == Direction::Write && !limits.grows && end > limits.end => {
                bad(&format!("the device ends at {}", limits.end), "ask for a range within the device")
            }
            Some(end) => Ok(end),
        }
    }
}

#[cfg(test)]
mod tests;
