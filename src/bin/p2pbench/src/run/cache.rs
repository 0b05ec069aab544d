//! The page cache of one file: what a measurement must know of it.

use std::{io, os::fd::AsFd};

use nix::{
    errno::Errno,
    fcntl::{PosixFadviseAdvice, posix_fadvise},
    unistd::fdatasync,
};
use p2pdma::{
    Refusal,
    machine::{Machine, MachineKind},
    storage::File,
};

use crate::failure::Failure;

/// A file that is read and written through the page cache.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    file: File,
    state: &'static str,
    /// Where the bytes are that it is about, and how many.
    range: (u64, u64),
}

impl Cache {
    pub(super) fn of(machine: &Machine, file: File, range: (u64, u64)) -> Self {
        // The files of a mock lie in memory, in nothing but the page cache.
        let state = if machine.kind() == MachineKind::Host { "dropped" } else { "warm" };
        Self { file, state, range }
    }

    /// What the cache was at the start of each pass over the span, for the report: `dropped` or `warm`.
    pub(super) fn state(&self) -> &'static str {
        self.state
    }

    /// Takes the bytes out of the cache. What was not yet written is written first: the kernel keeps it else.
    pub(super) fn empty(&self) -> Result<(), Failure> {
        sync(&self.file)?;
        self.let_go()
    }

    /// The same of what is on storage already: no device has to write for it.
    pub(super) fn let_go(&self) -> Result<(), Failure> {
        let [offset, length] = [self.range.0, self.range.1].map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        let dropped = posix_fadvise(self.file.as_fd(), offset, length, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        dropped.map_err(|errno| failed(&self.file, "posix_fadvise", errno))
    }
}

/// Waits until storage holds what was written.
pub(super) fn sync(file: &File) -> Result<(), Failure> {
    fdatasync(file.as_fd()).map_err(|errno| failed(file, "fdatasync", errno))
}

fn failed(file: &File, call: &str, errno: Errno) -> Failure {
    let cause = format!("{call} failed: {}", io::Error::from(errno));
    Failure::Operation(Refusal::new(file, cause, "see what the kernel log says"))
}
