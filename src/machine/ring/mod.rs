//! Who executes I/O: a ring takes submissions and gives completions.
//!
//! One trait, so that a queue runs on devices, on the mock and, where containers forbid io_uring, on threads.

mod forbidden;
mod kernel;

use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use super::module::Pair;
use crate::control::Direction;

pub(crate) use forbidden::forbidden;
pub use io_uring::squeue::Entry;
pub(crate) use kernel::KernelRing;

/// How a ring is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    /// Operations in flight at once.
    pub(crate) depth: u32,
    /// Whether one thread alone calls it ([`Options::single_issuer`](crate::transfer::Options::single_issuer)).
    pub(crate) single_issuer: bool,
}

/// One operation, in the ring's own terms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Submission {
    pub(crate) direction: Direction,
    /// Whether a write ends on stable storage. Only of one from an address.
    pub(crate) through: bool,
    /// The registered file or pair.
    pub(crate) file: u32,
    /// Where in the file, in bytes.
    pub(crate) offset: u64,
    /// Where in memory.
    pub(crate) place: Place,
    /// In bytes.
    pub(crate) length: u32,
    /// Comes back with the completion.
    pub(crate) tag: u64,
}

/// Where an operation's bytes are in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// In this process's address space: the operation is io_uring's own.
    Address(*mut u8),
    /// So many bytes from the start of the registered pair's buffer: the operation is a command of the module's.
    Buffer(u64),
}

/// What operations name by the place in a ring's file table.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Registrant<'a> {
    /// For memory of this process.
    File(BorrowedFd<'a>),
    /// For the buffer that it binds to a file.
    Pair(&'a Pair),
}

impl AsFd for Registrant<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::File(file) => *file,
            Self::Pair(pair) => pair.as_fd(),
        }
    }
}

/// The end of one operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Completion {
    pub(crate) tag: u64,
    /// Bytes moved, or a negative errno; of a command also a bit ([`Moved::of_command`](crate::control::Moved::of_command)).
    pub(crate) result: i32,
}

/// There is no room for another submission before the next `enter`.
#[derive(Debug)]
pub(crate) struct Full;

/// Takes submissions, gives completions.
#[expect(unsafe_code, reason = "`push` lends memory to the kernel: the caller must promise that it stays")]
pub(crate) trait Ring: fmt::Debug + Send {
    /// How many files can be registered, numbered from 0.
    fn files(&self) -> u32;

    /// Puts a file or a pair into place `slot` of the ring's file table.
    fn register(&mut self, slot: u32, registrant: Registrant<'_>) -> io::Result<()>;

    /// Takes one operation. It starts at the next `enter`.
    ///
    /// # Safety
    ///
    /// An address: `address .. address + length` is mapped, is referenced by nobody, and stays mapped until the operation's
    /// completion was reaped, or for ever. An offset in a buffer: the buffer exists as long.
    unsafe fn push(&mut self, submission: &Submission) -> Result<(), Full>;

    /// Takes a data-sync of the file in place `slot`. It starts at the next `enter`.
    fn push_sync(&mut self, slot: u32, tag: u64) -> Result<(), Full>;

    /// Cancels what can be cancelled of an operation that was started, without waiting. Its completion comes either way.
    fn cancel(&mut self, tag: u64) -> io::Result<()>;

    /// What can be polled for completions.
    fn as_fd(&self) -> BorrowedFd<'_>;

    /// Takes the file in place `slot` out again.
    fn unregister(&mut self, slot: u32) -> io::Result<()>;

    /// Starts what was pushed, and gives the number of operations started; waits until `want` completions can be reaped,
    /// or the time is over (ETIME, if nothing was started).
    fn enter(&mut self, want: usize, timeout: Duration) -> io::Result<usize>;

    /// Waits for a completion and starts nothing.
    fn settle(&mut self, timeout: Duration) -> io::Result<()>;

    /// The next completion, if there is one. No system call.
    fn reap(&mut self) -> Option<Completion>;

    /// Has the kernel tell of operations that have ended, where it waits to be asked. It starts nothing, and does not wait.
    fn gather(&mut self);

    /// Becomes the calling thread's, with an empty file table and another descriptor. Nothing flies, nothing was pushed.
    fn renew(&mut self) -> crate::Result<()>;
}

/// An operation as the kernel takes it, for a ring of others. A mock machine's module is no module of the kernel's: its commands
/// become what they stand for. `None` where the module would refuse it.
pub(crate) fn prepare(registrant: Registrant<'_>, submission: &Submission) -> Option<Entry> {
    let place = match (registrant, submission.place) {
        (Registrant::Pair(pair), Place::Buffer(offset)) => pair.place(submission, offset)?,
        (_, place) => place,
    };
    Some(kernel::entry(&Submission { place, ..*submission }))
}
