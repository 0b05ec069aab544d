//! What one operation did.

use std::{fmt, io};

use super::flight::Action;
use crate::{Error, Refusal, Result, SyscallError, control::Moved, machine::Direction, verdict::Way};

/// Names an operation of a queue. No two operations of a process share a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId {
    pub(super) queue: u64,
    /// What the ring knows it by: below, its place among those in flight; above, how often the place was taken before.
    pub(super) tag: u64,
}

impl OperationId {
    /// The operation's place among those in flight, below the queue's depth. No two that fly share one, so a caller can
    /// keep what belongs to an operation in an array. It is free for another once the receipt is out.
    #[must_use]
    pub fn place(self) -> usize {
        // The low half counts places, and a queue has at most 4096.
        usize::try_from(self.tag & u64::from(u32::MAX)).unwrap_or(usize::MAX)
    }
}

/// What a receipt's path rests on, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Evidence {
    /// The conditions under which Linux 6.12 does direct I/O held when the pair was bound: an `O_DIRECT` file whose
    /// filesystem reports an alignment, on an NVMe queue, with a route. Nothing watched the operation itself.
    Inferred,
    /// As inferred, and the page cache of the file had not grown when it was looked at behind the operations ([`Sight`](super::Sight)).
    Witnessed,
    /// The p2pdma_user module gave the kernel pages of the peer's memory and no others, and looked whether the filesystem
    /// did direct I/O with them or went through the page cache.
    Observed,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inferred => f.write_str("inferred"),
            Self::Witnessed => f.write_str("witnessed"),
            Self::Observed => f.write_str("observed"),
        }
    }
}

/// The end of one operation: what moved, and which way. It may have failed, or moved less than was asked for:
/// [`complete`](Self::complete) tells.
///
/// ```
/// use p2pdma::{machine::{Access, Machine, Mock, mock::Cpu}, memory::Provider, storage::File, transfer::{Evidence, Queue}};
/// let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen)?);
/// let file = File::open(&machine, "/dev/nvme0n1", Access::Read)?;
/// let memory = Provider::find(&machine, "0000:05:00.0".parse()?)?.allocate(4096)?;
/// let mut queue = Queue::new(&machine, Default::default())?;
/// let pair = queue.bind(&file, &memory)?;
/// let id = queue.read(&pair, file.size() - 512, memory.slice(..1024)?)?;
/// let receipt = queue.wait()?;
/// assert_eq!((receipt.operation(), receipt.requested(), receipt.bytes_direct()), (id, 1024, 512));
/// assert_eq!(receipt.evidence(), Evidence::Inferred); // the module's way would have been observed
/// assert!(receipt.is_short() && receipt.complete().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "an operation can have failed or fallen short: see `complete`"]
#[derive(Debug, Clone, Copy)]
pub struct Receipt {
    pub(super) operation: OperationId,
    pub(super) action: Action,
    /// `None`: to or from host memory.
    pub(super) way: Option<Way>,
    pub(super) requested: u32,
    pub(super) outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Moved(Moved),
    Failed(i32),
}

impl Receipt {
    /// Which operation.
    #[must_use]
    pub fn operation(&self) -> OperationId {
        self.operation
    }

    /// Which way the bytes went. A sync counts as a write, of none.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.action.direction()
    }

    /// Bytes that were asked for.
    #[must_use]
    pub fn requested(&self) -> u64 {
        self.requested.into()
    }

    /// Bytes that moved.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self.outcome {
            Outcome::Moved(moved) => moved.bytes.into(),
            Outcome::Failed(_) => 0,
        }
    }

    /// Bytes that moved between storage and peer memory by direct I/O, as far as [`evidence`](Self::evidence) goes. What
    /// storage does not hold, it does not send: the holes of a sparse file are zeroes that the CPU writes.
    #[must_use]
    pub fn bytes_direct(&self) -> u64 {
        if self.way.is_some() && !self.is_buffered() { self.bytes() } else { 0 }
    }

    /// Bytes that were to go direct, and that the filesystem took through the page cache: the processor copied them.
    #[must_use]
    pub fn bytes_bounced(&self) -> u64 {
        if self.way.is_some() && self.is_buffered() { self.bytes() } else { 0 }
    }

    /// Bytes that went between storage and host memory, because the caller asked for that.
    #[must_use]
    pub fn bytes_host(&self) -> u64 {
        if self.way.is_none() { self.bytes() } else { 0 }
    }

    pub(super) fn is_buffered(&self) -> bool {
        matches!(self.outcome, Outcome::Moved(Moved { buffered: true, .. }))
    }

    /// What [`bytes_direct`](Self::bytes_direct) rests on.
    #[must_use]
    pub fn evidence(&self) -> Evidence {
        match self.way {
            Some(Way::Module) => Evidence::Observed,
            _ => Evidence::Inferred,
        }
    }

    /// The errno of an operation that failed.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self.outcome {
            Outcome::Failed(errno) => Some(errno),
            Outcome::Moved(_) => None,
        }
    }

    /// Whether it ended before all bytes had moved: at the end of the file, or at a fault of the device.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.errno().is_none() && self.bytes() < self.requested()
    }

    /// The number of bytes, if all of them moved, and the way that they were to go.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the operation failed or fell short; [`Error::NoDirectIo`] when the filesystem went through the
    /// page cache: the bytes are where they belong, but nothing is ever copied silently.
    pub fn complete(self) -> Result<u64> {
        match self.outcome {
            Outcome::Moved(moved) if moved.bytes < self.requested => Err(self.short(moved.bytes)),
            Outcome::Moved(moved) if moved.buffered => Err(self.bounced()),
            Outcome::Moved(moved) => Ok(moved.bytes.into()),
            Outcome::Failed(errno) => Err(self.failed(errno)),
        }
    }

    fn short(&self, bytes: u32) -> Error {
        let cause = format!("{bytes} of {} bytes moved", self.requested);
        let source = SyscallError { call: self.call(), source: io::ErrorKind::UnexpectedEof.into() };
        // A block device that was removed has a length of 0.
        let cure = "ask for a range within the file; if it is, the device has gone: see what the kernel log says";
        Error::Io { refusal: Refusal::new(self, cause, cure), source }
    }

    fn bounced(&self) -> Error {
        let cause = "the filesystem took it through the page cache: the processor copied every byte";
        let cure = "write the range before (holes, preallocated extents), in whole blocks; see `p2pbench explain`";
        Error::NoDirectIo(Refusal::new(self, cause, cure))
    }

    fn failed(&self, errno: i32) -> Error {
        let (cause, cure) = explain(errno, self.way);
        let source = SyscallError { call: self.call(), source: io::Error::from_raw_os_error(errno) };
        Error::Io { refusal: Refusal::new(self, cause, cure), source }
    }

    pub(super) fn way(&self) -> Option<Way> {
        self.way
    }

    pub(super) fn call(&self) -> &'static str {
        match (self.way, self.action) {
            (_, Action::Sync) => "IORING_OP_FSYNC",
            (Some(Way::Module), Action::Read) => "P2PDMA_USER_READ",
            (Some(Way::Module), Action::Write | Action::WriteThrough) => "P2PDMA_USER_WRITE",
            (_, Action::Read) => "IORING_OP_READ",
            (_, Action::Write | Action::WriteThrough) => "IORING_OP_WRITE",
        }
    }
}

/// What the kernel means by an errno here. EREMOTEIO comes from two places; the verdict at bind excluded one of them
/// (a queue without the feature), so it is the route: the topology or its ACS bits changed since.
pub(super) fn explain(errno: i32, way: Option<Way>) -> (&'static str, &'static str) {
    match errno {
        libc::ENODEV if way == Some(Way::Module) => (
            "the peer memory has gone: its provider was unbound; the file is as it was",
            "bind it again and allocate anew",
        ),
        libc::EREMOTEIO => (
            "the kernel refused the route, though its rules allowed it when the pair was bound",
            "look at `p2pbench topo` again: ACS bits or the topology changed",
        ),
        libc::EFAULT => ("the peer memory has gone: its provider was unbound", "bind it again and allocate anew"),
        libc::EINVAL => {
            ("the kernel took offset, length or address for misaligned or out of range", "see what the file asks for")
        }
        libc::ECANCELED => ("it was cancelled before a device had it", "ask again if it is wanted after all"),
        libc::ENOSPC => ("the filesystem is full", "free some space"),
        libc::ENODEV | libc::ENXIO => ("the device has gone", "see what the kernel log says"),
        _ => ("the device or its driver failed it", "see what the kernel log says"),
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.action {
            Action::Sync => f.write_str("sync"),
            _ => write!(f, "{} of {} bytes", self.direction(), self.requested),
        }
    }
}
