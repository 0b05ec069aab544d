//! io_uring on the running kernel.
//!
//! # Safety
//!
//! Submission entries name memory by address. The one unsafe function here passes its caller's promise on; nothing
//! here makes a reference of an address.
#![expect(unsafe_code, reason = "io_uring names memory by address")]

use std::{
    fmt, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    time::Duration,
};

use io_uring::{EnterFlags, IoUring, opcode, squeue, types};

use super::{
    Completion, Full, Place, Registrant, Ring, Setup, Submission,
    forbidden::{Forbidden, forbidden},
};
use crate::{
    Error, Refusal, Result, SyscallError,
    control::{Command, Direction, Transfer},
    machine::host::Host,
};

/// Places in the file table: far more than files one queue works on, and below any sane limit on open files.
const FILES: u32 = 256;

/// A ring of the running kernel.
pub(crate) struct KernelRing {
    uring: IoUring,
    setup: Setup,
}

impl fmt::Debug for KernelRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelRing").field("fd", &self.uring.as_raw_fd()).finish()
    }
}

impl KernelRing {
    /// A ring as it is asked for; if for a single thread, for this one.
    pub(crate) fn new(setup: Setup) -> Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_submit_all();
        // Elsewhere neither these, which tie the ring to one thread while a queue may move to another, nor COOP_TASKRUN,
        // under which completions show only when the thread that submitted enters the kernel: a caller that polls would
        // wait for a timer tick, and one that waits in another thread for the submitter.
        if setup.single_issuer {
            builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
        }
        let uring = builder.build(setup.depth).map_err(refused)?;
        uring.submitter().register_files_sparse(FILES).map_err(|source| {
            Error::syscall("io_uring_register", "file table", source, "raise the limit on open files (ulimit -n)")
        })?;
        Ok(Self { uring, setup })
    }

    /// Waits up to a time until `want` completions can be reaped, and starts nothing.
    fn look(&self, want: u32, timeout: Duration) -> io::Result<()> {
        let timeout = types::Timespec::from(timeout);
        let arguments = types::SubmitArgs::new().timespec(&timeout);
        let flags = (EnterFlags::EXT_ARG | EnterFlags::GETEVENTS).bits();
        // SAFETY: nothing is submitted, and the argument is what EXT_ARG asks for, alive during the call.
        unsafe { self.uring.submitter().enter(0, want, flags, Some(&arguments)) }.map(drop)
    }
}

/// The words are those of [`forbidden`], whoever asks.
fn refused(source: io::Error) -> Error {
    let Forbidden { cause, cure, .. } = forbidden(&Host, source.raw_os_error());
    let refusal = Refusal::new("io_uring", cause, cure);
    Error::Io { refusal, source: SyscallError { call: "io_uring_setup", source } }
}

impl Ring for KernelRing {
    fn files(&self) -> u32 {
        FILES
    }

    fn register(&mut self, slot: u32, registrant: Registrant<'_>) -> io::Result<()> {
        let fd = registrant.as_fd().as_raw_fd();
        self.uring.submitter().register_files_update(slot, &[fd]).map(drop)
    }

    unsafe fn push(&mut self, submission: &Submission) -> Result<(), Full> {
        let entry = entry(submission);
        // SAFETY: the caller promises that the memory named by the entry outlives the operation; the file is a
        // registered one, which the ring itself keeps.
        unsafe { self.uring.submission().push(&entry) }.map_err(|_| Full)
    }

    fn push_sync(&mut self, slot: u32, tag: u64) -> Result<(), Full> {
        let sync = opcode::Fsync::new(types::Fixed(slot)).flags(types::FsyncFlags::DATASYNC).build().user_data(tag);
        // SAFETY: the entry names no memory, and a registered file, which the ring itself keeps.
        unsafe { self.uring.submission().push(&sync) }.map_err(|_| Full)
    }

    fn cancel(&mut self, tag: u64) -> io::Result<()> {
        let now = types::Timespec::new();
        self.uring.submitter().register_sync_cancel(Some(now), types::CancelBuilder::user_data(tag))
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring has its descriptor open, and is borrowed as long as what this gives.
        unsafe { BorrowedFd::borrow_raw(self.uring.as_raw_fd()) }
    }

    fn unregister(&mut self, slot: u32) -> io::Result<()> {
        self.uring.submitter().register_files_update(slot, &[-1]).map(drop)
    }

    fn enter(&mut self, want: usize, timeout: Duration) -> io::Result<usize> {
        let timeout = types::Timespec::from(timeout);
        let arguments = types::SubmitArgs::new().timespec(&timeout);
        self.uring.submitter().submit_with_args(want, &arguments)
    }

    fn settle(&mut self, timeout: Duration) -> io::Result<()> {
        self.look(1, timeout)
    }

    fn reap(&mut self) -> Option<Completion> {
        let entry = self.uring.completion().next()?;
        Some(Completion { tag: entry.user_data(), result: entry.result() })
    }

    fn gather(&mut self) {
        if self.uring.submission().taskrun() {
            // What it says now, it says again to whoever waits.
            let _ = self.look(0, Duration::ZERO);
        }
    }

    fn renew(&mut self) -> Result<()> {
        *self = Self::new(self.setup)?;
        Ok(())
    }
}

/// Plain READ and WRITE: 6.12 refuses fixed buffers in peer memory (`io_pin_pages` pins for the long term). What lies in a
/// buffer of the module's has no address, and goes by a command.
pub(super) fn entry(submission: &Submission) -> squeue::Entry {
    let Submission { direction, through, file, offset, place, length, tag } = *submission;
    let file = types::Fixed(file);
    match (place, direction) {
        (Place::Address(address), Direction::Read) => opcode::Read::new(file, address, length).offset(offset).build(),
        (Place::Address(address), Direction::Write) => {
            let flags = if through { libc::RWF_DSYNC } else { 0 };
            opcode::Write::new(file, address, length).offset(offset).rw_flags(flags).build()
        }
        (Place::Buffer(at), _) => {
            let Command { op, address, payload } = Transfer { direction, offset: at, position: offset, length }.into();
            opcode::UringCmd16::new(file, op).addr(Some(address)).cmd(payload).build()
        }
    }
    .user_data(tag)
}
