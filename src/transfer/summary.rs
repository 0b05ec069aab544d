//! What a whole request did.

use std::{fmt, io};

use super::{
    plan::Reason,
    receipt::{Evidence, explain},
    witness::Sight,
};
use crate::{Error, Refusal, Result, SyscallError, machine::Direction, verdict::Way};

/// The end of a request: which way each of its bytes went. They add up: direct, bounced, behind the end of the file, and
/// what did not move at all. It may have failed, or moved less than was asked for: [`complete`](Self::complete) tells.
///
/// ```
/// use p2pdma::{machine::{Access, Machine, Mock, mock::Cpu}, memory::Provider, storage::File};
/// use p2pdma::transfer::{Evidence, Mover, Policy, Queue};
/// let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen)?);
/// let file = File::open(&machine, "/dev/nvme0n1", Access::Read)?;
/// let memory = Provider::find(&machine, "0000:05:00.0".parse()?)?.allocate(4096)?;
/// let mut mover = Mover::new(Queue::new(&machine, Default::default())?, Policy::DirectOnly);
/// let lane = mover.bind(&file, &memory)?;
/// let summary = mover.read(&lane, 0, &memory.all())?;
/// assert_eq!((summary.bytes_direct(), summary.bytes_bounced(), summary.bytes_behind_end()), (4096, 0, 0));
/// assert_eq!((summary.evidence(), summary.is_suspect()), (Some(Evidence::Witnessed), false));
/// assert_eq!(summary.complete()?, 4096); // an error where anything is amiss
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a request can have failed or fallen short: see `complete`"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub(super) direction: Direction,
    pub(super) requested: u64,
    pub(super) direct: u64,
    pub(super) head: u64,
    pub(super) tail: u64,
    pub(super) whole: u64,
    pub(super) cached: u64,
    pub(super) end: u64,
    /// Why the bytes of `whole` bounced.
    pub(super) reason: Option<Reason>,
    pub(super) retries: u32,
    pub(super) evidence: Option<Evidence>,
    pub(super) failure: Option<Failure>,
    /// Whether a bounce is a failure.
    pub(super) strict: bool,
    pub(super) suspect: bool,
    /// Whether an operation fell short, so that nothing behind it was started.
    pub(super) stopped: bool,
    /// Whether the queue's deadline ended the call before it was over.
    pub(super) late: bool,
}

/// The first operation that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) call: &'static str,
    pub(super) errno: i32,
    pub(super) way: Option<Way>,
}

impl Summary {
    pub(super) fn new(direction: Direction, requested: u64, strict: bool) -> Self {
        Self {
            direction,
            requested,
            direct: 0,
            head: 0,
            tail: 0,
            whole: 0,
            cached: 0,
            end: 0,
            reason: None,
            retries: 0,
            evidence: None,
            failure: None,
            strict,
            suspect: false,
            stopped: false,
            late: false,
        }
    }

    /// Which way the bytes went.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Bytes that were asked for.
    #[must_use]
    pub fn requested(&self) -> u64 {
        self.requested
    }

    /// Bytes that moved, whichever way.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.direct + self.bytes_bounced()
    }

    /// Bytes that moved between storage and peer memory by direct I/O, as far as [`evidence`](Self::evidence) goes.
    #[must_use]
    pub fn bytes_direct(&self) -> u64 {
        self.direct
    }

    /// Bytes that went through host memory: the sum of the four below.
    #[must_use]
    pub fn bytes_bounced(&self) -> u64 {
        self.head + self.tail + self.whole + self.cached
    }

    /// Bytes that bounced because the request begins within a block.
    #[must_use]
    pub fn bytes_head(&self) -> u64 {
        self.head
    }

    /// Bytes that bounced because the request ends within a block.
    #[must_use]
    pub fn bytes_tail(&self) -> u64 {
        self.tail
    }

    /// Bytes that bounced because nothing of the request could, or should, go direct.
    #[must_use]
    pub fn bytes_whole(&self) -> u64 {
        self.whole
    }

    /// Bytes that were to go direct, and that the filesystem took through the page cache.
    #[must_use]
    pub fn bytes_cached(&self) -> u64 {
        self.cached
    }

    /// Bytes that were asked for behind the end of the file. The memory for them is as it was, but for the rest of the block in
    /// which the file ends: storage may have sent all of that block.
    #[must_use]
    pub fn bytes_behind_end(&self) -> u64 {
        self.end
    }

    /// Why the first of the bounced bytes bounced.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        // In the order of the file, for operations end in any.
        let parts = [(self.head, Reason::Head), (self.cached, Reason::PageCache), (self.tail, Reason::Tail)];
        let first = parts.into_iter().find(|&(bytes, _)| bytes > 0).map(|(_, reason)| reason);
        self.reason.or(first)
    }

    /// Operations that were done again: the rest of one that fell short, or one that the kernel had no means for (EAGAIN).
    #[must_use]
    pub fn retries(&self) -> u32 {
        self.retries
    }

    /// What the direct bytes rest on: the weakest of the operations that moved them. `None` when there are none.
    #[must_use]
    pub fn evidence(&self) -> Option<Evidence> {
        self.evidence
    }

    /// Whether the page cache of the file grew meanwhile, as a [`Sight`] behind this request showed: the bytes that are said to have
    /// gone direct may have been copied by the processor, or somebody else used the file.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// The errno of the first operation that failed.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.failure.map(|failure| failure.errno)
    }

    /// Whether fewer bytes moved than were asked for.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.bytes() < self.requested
    }

    /// The number of bytes, if all of them moved and the policy allows the way that they went.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when an operation failed or bytes are missing, be it that the file has ended; [`Error::Deadline`] when the
    /// queue's deadline was over before, in which case more of them may land; [`Error::NoDirectIo`] when
    /// the filesystem went through the page cache under [`Policy::DirectOnly`](super::Policy::DirectOnly).
    pub fn complete(self) -> Result<u64> {
        match self.failure {
            Some(failure) => Err(self.failed(failure)),
            None if self.late => Err(self.cut()),
            None if self.is_short() => Err(self.short()),
            None if self.strict && self.bytes_bounced() > 0 => {
                let cure = "write the range before (holes, preallocated extents); see `p2pbench explain`";
                Err(Error::NoDirectIo(Refusal::new(self, Reason::PageCache, cure)))
            }
            None => Ok(self.bytes()),
        }
    }

    fn failed(&self, Failure { call, errno, way }: Failure) -> Error {
        let (cause, cure) = explain(errno, way);
        let cause = format!("{cause} after {} bytes had moved", self.bytes());
        let source = SyscallError { call, source: io::Error::from_raw_os_error(errno) };
        Error::Io { refusal: Refusal::new(self, cause, cure), source }
    }

    fn cut(&self) -> Error {
        let cause = format!("{} of {} bytes had moved at the queue's deadline", self.bytes(), self.requested);
        let cure =
            "wait for the rest (Mover::settle), see whether the device answers, or give the queue a longer deadline";
        Error::Deadline(Refusal::new(self, cause, cure))
    }

    fn short(&self) -> Error {
        let behind = match self.end {
            0 => String::new(),
            end => format!(": the file ends {end} bytes before"),
        };
        let cause = format!("{} of {} bytes moved{behind}", self.bytes(), self.requested);
        let cure = "ask for a range within the file; if it is, the device has gone: see what the kernel log says";
        let source = SyscallError { call: "io_uring", source: io::ErrorKind::UnexpectedEof.into() };
        Error::Io { refusal: Refusal::new(self, cause, cure), source }
    }

    /// Bytes of one part have bounced.
    pub(super) fn bounced(&mut self, reason: Reason, bytes: u64) {
        match reason {
            Reason::Head => self.head += bytes,
            Reason::Tail => self.tail += bytes,
            Reason::PageCache => self.cached += bytes,
            _ if bytes > 0 => {
                self.whole += bytes;
                self.reason = Some(reason);
            }
            _ => {}
        }
    }

    /// Bytes of one part went direct, as far as this evidence goes.
    pub(super) fn went_direct(&mut self, evidence: Evidence, bytes: u64) {
        self.direct += bytes;
        if bytes > 0 {
            self.evidence = Some(self.evidence.map_or(evidence, |before| before.min(evidence)));
        }
    }

    /// The queue's deadline was over. What has not ended by then flies on, or was not started.
    pub(super) fn cut_off(&mut self) {
        self.late = self.bytes() + self.end < self.requested && !self.has_stopped();
    }

    /// Whether the rest of it is not to be started.
    pub(super) fn has_stopped(&self) -> bool {
        self.stopped || self.failure.is_some()
    }

    /// The page cache was looked at behind the request.
    pub(super) fn seen(&mut self, sight: Sight) {
        self.suspect |= sight == Sight::Grown;
        if sight == Sight::Still && self.evidence == Some(Evidence::Inferred) {
            self.evidence = Some(Evidence::Witnessed);
        }
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.direction, self.requested)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_that_of_the_first_bytes_whichever_ended_first() {
        let mut summary = Summary::new(Direction::Read, 1000, false);
        summary.bounced(Reason::Tail, 100);
        summary.bounced(Reason::Head, 100);
        assert_eq!((summary.reason(), summary.bytes_bounced()), (Some(Reason::Head), 200));
        let mut whole = Summary::new(Direction::Read, 1000, false);
        whole.bounced(Reason::Verdict, 0);
        assert_eq!(whole.reason(), None, "nothing has bounced yet");
        whole.bounced(Reason::Verdict, 1000);
        assert_eq!((whole.reason(), whole.bytes_whole()), (Some(Reason::Verdict), 1000));
    }
}
