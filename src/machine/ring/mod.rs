//! Who executes I/O: a ring takes submissions and gives completions.
//!
//! One trait, so that a queue runs on devices, on the mock and, where containers forbid io_uring, on threads.

mod kernel;

use std::{fmt, io, os::fd::BorrowedFd, time::Duration};

pub(crate) use kernel::KernelRing;

/// Which way the bytes go, seen from storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the file into memory.
    Read,
    /// From memory into the file.
    Write,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

/// One operation, in the ring's own terms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Submission {
    pub(crate) direction: Direction,
    /// The registered file.
    pub(crate) file: u32,
    /// Where in the file, in bytes.
    pub(crate) offset: u64,
    /// Where in this process's address space.
    pub(crate) address: *mut u8,
    /// In bytes.
    pub(crate) length: u32,
    /// Comes back with the completion.
    pub(crate) tag: u64,
}

/// The end of one operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Completion {
    pub(crate) tag: u64,
    /// Bytes moved, or a negative errno.
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

    /// Puts `file` into place `slot` of the ring's file table.
    fn register(&mut self, slot: u32, file: BorrowedFd<'_>) -> io::Result<()>;

    /// Takes one operation. It starts at the next `enter`.
    ///
    /// # Safety
    ///
    /// `address .. address + length` is mapped, is referenced by nobody, and stays mapped until the operation's
    /// completion was reaped, or for ever.
    unsafe fn push(&mut self, submission: &Submission) -> Result<(), Full>;

    /// Takes the file in place `slot` out again.
    fn unregister(&mut self, slot: u32) -> io::Result<()>;

    /// Starts what was pushed, and gives the number of operations started; waits until `want` completions can be reaped,
    /// or the time is over (ETIME, if nothing was started).
    fn enter(&mut self, want: usize, timeout: Duration) -> io::Result<usize>;

    /// Waits for a completion and starts nothing.
    fn settle(&mut self, timeout: Duration) -> io::Result<()>;

    /// The next completion, if there is one. No system call.
    fn reap(&mut self) -> Option<Completion>;
}
