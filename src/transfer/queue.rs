//! A queue of operations on one ring.
//!
//! # Safety
//!
//! The one unsafe call lends memory to the ring. What it lends is owned by the table of operations in flight until the
//! completion was reaped; a queue that is dropped earlier waits, and if that fails leaks ring and table together.
#![expect(unsafe_code, reason = "lends memory to the ring; the flight table owns it meanwhile")]

use std::{
    collections::VecDeque,
    io,
    mem::ManuallyDrop,
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::{
    causes,
    counters::Counters,
    files::Files,
    flight::{Action, Flight, Operation},
    options::{LONGEST, Options},
    pair::Pair,
    receipt::{OperationId, Receipt},
};
use crate::{
    Error, Refusal, Result, SyscallError,
    machine::{Direction, Full, Machine, Ring, Setup, Submission},
    memory::Slice,
};

mod bind;
mod cancel;
mod issuer;
mod sync;
mod wait;
mod watch;

pub use cancel::Fate;
use issuer::Issuer;
use watch::Watch;

static QUEUES: AtomicU64 = AtomicU64::new(0);
static LEAKED: AtomicU64 = AtomicU64::new(0);

/// How many queues of this process were dropped while operations flew that did not end by the deadline. Their rings,
/// memory and files stay for ever: freeing them would let DMA land in somebody else's memory.
#[must_use]
pub fn leaked_queues() -> u64 {
    LEAKED.load(Ordering::Relaxed)
}

/// Moves data between files and memory, many operations at a time.
///
/// ```
/// use p2pdma::{machine::{Access, Machine, Mock, mock::Cpu}, memory::Provider, storage::File, transfer::Queue};
/// let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen)?);
/// let file = File::open(&machine, "/dev/nvme0n1", Access::Read)?;
/// let memory = Provider::find(&machine, "0000:05:00.0".parse()?)?.allocate(4096)?;
/// let mut queue = Queue::new(&machine, Default::default())?;
/// let pair = queue.bind(&file, &memory)?;
/// queue.read(&pair, 0, memory.all())?;
/// assert_eq!(queue.wait()?.bytes_direct(), 4096);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Queue {
    id: u64,
    machine: Machine,
    deadline: Duration,
    files: Files,
    /// Operations that were taken and not yet started.
    pending: usize,
    issuer: Option<Issuer>,
    counters: Counters,
    watch: Watch,
    /// Whether the log knows that a deadline was over.
    said_late: bool,
    /// Receipts that a cancel came across.
    ended: VecDeque<Receipt>,
    /// Dropped by hand: a ring that is still busy is leaked, and its operations with it.
    ring: ManuallyDrop<Box<dyn Ring>>,
    flight: ManuallyDrop<Flight>,
}

impl Queue {
    /// A queue on `machine`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a depth out of range; [`Error::Io`] where io_uring is forbidden.
    pub fn new(machine: &Machine, options: Options) -> Result<Self> {
        let Options { depth, deadline, single_issuer } = options;
        if !(1..=4096).contains(&depth) {
            return Err(Error::Invalid(Refusal::new(format!("depth {depth}"), "out of range", "use 1 to 4096")));
        }
        let id = QUEUES.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            id,
            machine: machine.clone(),
            deadline: deadline.min(LONGEST),
            files: Files::default(),
            pending: 0,
            issuer: single_issuer.then(Issuer::here),
            ring: ManuallyDrop::new(machine.ring(Setup { depth, single_issuer })?),
            counters: Counters::enter(machine.id()),
            watch: Watch::default(),
            said_late: false,
            ended: VecDeque::with_capacity(depth as usize),
            flight: ManuallyDrop::new(Flight::new(id, depth)),
        })
    }

    pub(super) fn check_own(&self, pair: &Pair) -> Result<()> {
        if pair.registration.queue == self.id {
            return Ok(());
        }
        Err(pair.bad("the pair belongs to another queue", "bind the file in this one"))
    }

    /// Takes a read: `slice.len()` bytes at `offset` of the pair's file go into `slice`. It starts with the next
    /// [`submit`](Self::submit) or [`wait`](Self::wait).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a length, range or memory that the pair cannot take, with the alignment named;
    /// [`Error::NoDirectIo`] for a range with a hole; [`Error::QueueFull`] when as many operations are in flight as the
    /// queue is deep.
    pub fn read(&mut self, pair: &Pair, offset: u64, slice: impl Into<Slice>) -> Result<OperationId> {
        self.push(Action::Read, pair, offset, slice.into())
    }

    /// Takes a write: the bytes of `slice` go to `offset` of the pair's file.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), and [`Error::Invalid`] for a file opened for reading.
    pub fn write(&mut self, pair: &Pair, offset: u64, slice: impl Into<Slice>) -> Result<OperationId> {
        self.push(Action::Write, pair, offset, slice.into())
    }

    fn push(&mut self, action: Action, pair: &Pair, offset: u64, slice: Slice) -> Result<OperationId> {
        self.check_own(pair)?;
        self.be_issuer()?;
        let length = pair.check(action.direction(), offset, &slice)?;
        if pair.owner.is_some() {
            self.touch(pair, offset, length);
        }
        let memory = slice.into_view();
        let place = memory.place();
        let operation = Operation::new(action, length, Some(memory), &pair.registration);
        let id = self.flight.take(operation).map_err(|_| full(pair))?;
        let (direction, through) = (action.direction(), action == Action::WriteThrough);
        let file = pair.registration.slot;
        let submission = Submission { direction, through, file, offset, place, length, tag: id.tag };
        // SAFETY: the view that the flight table now owns starts at `place` and is `length` bytes long: a mapping that nobody
        // references, or a buffer; either is kept until the completion is reaped or, with a leaked queue, for ever.
        let pushed = unsafe { self.ring.push(&submission) };
        let id = self.taken(id, pushed, pair)?;
        if direction == Direction::Write {
            pair.file().written(offset, length.into());
        }
        Ok(id)
    }

    /// The ring has as many places as the table, so it is full only while earlier operations wait to be submitted.
    fn taken(&mut self, id: OperationId, pushed: Result<(), Full>, pair: &Pair) -> Result<OperationId> {
        match pushed {
            Ok(()) => {
                self.pending += 1;
                Ok(id)
            }
            Err(Full) => {
                self.flight.remove(id);
                Err(full(pair))
            }
        }
    }

    /// Starts what was taken, without waiting for any of it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the kernel takes no more, for want of memory for instance. What was taken and not started
    /// starts with the next call.
    pub fn submit(&mut self) -> Result<()> {
        self.be_issuer()?;
        while self.pending > 0 {
            match self.ring.enter(0, Duration::ZERO) {
                Ok(started) => self.pending = self.pending.saturating_sub(started.max(1)),
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) => return Err(entered(error)),
            }
        }
        Ok(())
    }

    pub(super) fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline.min(LONGEST);
    }

    /// The longest that any one wait takes.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// What it has moved, to be read from any thread.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters.clone()
    }

    /// How many operations can be in flight.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.flight.depth()
    }

    /// How many operations are in flight, waiting to be started, or over without their receipt having been taken from here.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flight.len() + self.ended.len()
    }
}

fn full(pair: &Pair) -> Error {
    Error::QueueFull(Refusal::new(pair.file(), "as many operations fly as the queue is deep", "wait"))
}

fn entered(source: io::Error) -> Error {
    let refusal = Refusal::new("queue", "the ring took nothing", "see the errno");
    Error::Io { refusal, source: SyscallError { call: "io_uring_enter", source } }
}

/// The ring's, for epoll(7) and its like: it can be read when an operation has ended. A mock machine's does not tell of
/// operations that end by a fault.
impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl Drop for Queue {
    /// Waits for what flies, up to the deadline; what has not ended then is leaked and counted. What was taken and never
    /// started does not start.
    fn drop(&mut self) {
        let settled = self.settle(Instant::now() + self.deadline);
        self.look_at_all();
        self.counters.leave(self.machine.id());
        if !settled {
            LEAKED.fetch_add(1, Ordering::Relaxed);
            causes::leaked(self.in_flight());
            return;
        }
        self.files.let_go(&mut **self.ring);
        // SAFETY: neither is used after this; drop runs once. Nothing flies, and what is left in the ring's submission
        // queue goes with the ring, unseen by the kernel: it holds no address.
        unsafe {
            ManuallyDrop::drop(&mut self.ring);
            ManuallyDrop::drop(&mut self.flight);
        }
    }
}
