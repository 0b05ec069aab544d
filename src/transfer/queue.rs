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
    counters::Counters,
    files::Files,
    flight::{Action, Flight, Operation},
    options::{LONGEST, Options},
    pair::Pair,
    receipt::{OperationId, Receipt},
    target::Target,
};
use crate::{
    Error, Refusal, Result, SyscallError,
    machine::{Full, Machine, Ring, Setup, Submission},
    memory::{Owner, PeerMemory, Slice},
    storage::File,
    topology::Topology,
    verdict::Verdict,
};

mod cancel;
mod issuer;
mod sync;

pub use cancel::Fate;
use issuer::Issuer;

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
        Ok(Self {
            id: QUEUES.fetch_add(1, Ordering::Relaxed),
            machine: machine.clone(),
            deadline: deadline.min(LONGEST),
            files: Files::default(),
            pending: 0,
            issuer: single_issuer.then(Issuer::here),
            ring: ManuallyDrop::new(machine.ring(Setup { depth, single_issuer })?),
            counters: Counters::enter(machine.id()),
            ended: VecDeque::with_capacity(depth as usize),
            flight: ManuallyDrop::new(Flight::new(depth)),
        })
    }

    /// Binds a file to a provider's memory, if its bytes can go direct. The machine is looked at anew; for a buffer of the
    /// p2pdma_user module's, the running kernel is asked too.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoute`], [`Error::NoDirectIo`] or, when it cannot be known without more privilege,
    /// [`Error::NotAllowed`]; [`Error::NotFound`] when a device has gone.
    pub fn bind(&mut self, file: &File, memory: &PeerMemory) -> Result<Pair> {
        self.check_memory(file, memory)?;
        let topology = Topology::scan(&self.machine)?;
        let verdict = Verdict::judge(&topology, file, memory.provider())?;
        self.pair(Target::peer(file, memory, verdict)?, Some(memory.owner()))
    }

    /// Binds a file to host memory, to stage data there.
    ///
    /// # Errors
    ///
    /// [`Error::NoDirectIo`] for a file that the kernel copies through the page cache in spite of `O_DIRECT`; a file that is
    /// [`buffered`](File::buffered) by wish may be bound. [`Error::QueueFull`] or [`Error::Io`] when the file cannot be registered.
    pub fn bind_host(&mut self, file: &File) -> Result<Pair> {
        self.check_machine(file)?;
        Verdict::judge_host(file)?;
        self.pair(Target::file(file), None)
    }

    /// File and memory are of this machine.
    pub(super) fn check_memory(&self, file: &File, memory: &PeerMemory) -> Result<()> {
        if memory.owner().machine != self.machine.id() {
            return Err(Error::Invalid(Refusal::new(file, "memory of another machine", "use one machine throughout")));
        }
        self.check_machine(file)
    }

    fn check_machine(&self, file: &File) -> Result<()> {
        if file.machine() == self.machine.id() {
            return Ok(());
        }
        Err(Error::Invalid(Refusal::new(file, "a file of another machine", "use one machine throughout")))
    }

    /// Gives a pair back. With the last pair of a file, and the last operation that was taken for one, the queue lets go of
    /// the file; if a pair is just dropped, at the latest when its place is wanted for another file.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for another queue's pair; [`Error::Io`] when the ring does not let go.
    pub fn unbind(&mut self, pair: Pair) -> Result<()> {
        self.check_own(&pair)?;
        self.be_issuer()?;
        self.files.give_back(&mut **self.ring, pair.registration)
    }

    fn pair(&mut self, target: Target, owner: Option<Owner>) -> Result<Pair> {
        self.be_issuer()?;
        Ok(Pair { registration: self.files.take(&mut **self.ring, self.id, target)?, owner })
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
        let memory = slice.into_view();
        let place = memory.place();
        let operation = Operation::new(action, length, Some(memory), &pair.registration);
        let id = self.flight.take(operation).map_err(|_| full(pair))?;
        let (direction, through) = (action.direction(), action == Action::WriteThrough);
        let file = pair.registration.slot;
        let submission = Submission { direction, through, file, offset, place, length, tag: id.0 };
        // SAFETY: the view that the flight table now owns starts at `place` and is `length` bytes long: a mapping that nobody
        // references, or a buffer; either is kept until the completion is reaped or, with a leaked queue, for ever.
        let pushed = unsafe { self.ring.push(&submission) };
        self.taken(id, pushed, pair)
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

    /// The longest that any one wait takes.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Pages of a file in the page cache.
    pub(super) fn cached(&self, file: &File) -> Option<u64> {
        self.machine.cached(file.as_fd())
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

    /// The receipt of an operation that has ended, if there is one. No system call, unless the last operation of a pair that
    /// was given back has ended, or the queue is [a single issuer's](Options::single_issuer).
    pub fn poll(&mut self) -> Option<Receipt> {
        self.ready().or_else(|| {
            self.ring.gather();
            self.reap()
        })
    }

    /// One that the kernel has told of already.
    fn ready(&mut self) -> Option<Receipt> {
        self.ended.pop_front().or_else(|| self.reap())
    }

    fn reap(&mut self) -> Option<Receipt> {
        while let Some(completion) = self.ring.reap() {
            let receipt = self.flight.end(completion);
            self.files.tidy(&mut **self.ring);
            if let Some(receipt) = receipt {
                self.counters.note(&receipt);
                return Some(receipt);
            }
        }
        None
    }

    /// The next receipt, in the order in which operations end. Starts what was taken, if none has ended yet.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when nothing is in flight; [`Error::Deadline`] when nothing ended in time, in which case all
    /// of it still flies; [`Error::Io`] when the ring fails.
    pub fn wait(&mut self) -> Result<Receipt> {
        if let Some(receipt) = self.ready() {
            return Ok(receipt);
        }
        self.be_issuer()?;
        if self.in_flight() == 0 {
            return Err(Error::Invalid(Refusal::new("queue", "nothing is in flight to wait for", "submit something")));
        }
        self.wait_until(Instant::now() + self.deadline)
    }

    fn wait_until(&mut self, deadline: Instant) -> Result<Receipt> {
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            match self.ring.enter(1, rest) {
                Ok(started) => self.pending = self.pending.saturating_sub(started),
                Err(error) if is_pause(&error) => {}
                // No memory for another request: what flies must end first, and the kernel does not wait for it here.
                Err(error) if is_busy(&error) => std::thread::sleep(Duration::from_millis(1)),
                Err(error) => return Err(entered(error)),
            }
            if let Some(receipt) = self.ready() {
                return Ok(receipt);
            }
            if rest.is_zero() {
                return Err(self.late());
            }
        }
    }

    fn late(&self) -> Error {
        let cause = format!("none of {} operations ended within {:?}", self.in_flight(), self.deadline);
        let cure = "see whether the device answers, or give the queue a longer deadline";
        Error::Deadline(Refusal::new("queue", cause, cure))
    }

    /// Waits until nothing flies, and starts nothing. Whether that was so before the deadline.
    fn settle(&mut self, deadline: Instant) -> bool {
        while self.in_flight() > self.pending {
            if self.poll().is_some() {
                continue;
            }
            let rest = deadline.saturating_duration_since(Instant::now());
            match self.ring.settle(rest) {
                Err(error) if !is_pause(&error) => return false,
                _ if rest.is_zero() => return false,
                _ => {}
            }
        }
        true
    }
}

/// The wait ended without an event, or was interrupted.
fn is_pause(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR))
}

fn is_busy(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EAGAIN))
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
        self.counters.leave(self.machine.id());
        if !settled {
            LEAKED.fetch_add(1, Ordering::Relaxed);
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
