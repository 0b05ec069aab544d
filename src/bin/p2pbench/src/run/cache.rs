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
}

impl Cache {
    pub(super) fn of(machine: &Machine, file: File) -> Self {
        // The files of a mock lie in memory, in nothing but the page cache.
        let state = if machine.kind() == MachineKind::Host { "dropped" } else { "warm" };
        Self { file, state }
    }

    /// What the cache was at the start of each pass over the span, for the report: `dropped` or `warm`.
    pub(super) fn state(&self) -> &'static str {
        self.state
    }

    /// Takes the file's bytes out of the cache. What was not yet written is written first: the kernel keeps it else.
    pub(super) fn empty(&self) -> Result<(), Failure> {
        self.sync()?;
        let dropped = posix_fadvise(self.file.as_fd(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        dropped.map_err(|errno| self.failed("posix_fadvise", errno))
    }

    /// Waits until storage holds what was written.
    pub(super) fn sync(&self) -> Result<(), Failure> {
        fdatasync(self.file.as_fd()).map_err(|errno| self.failed("fdatasync", errno))
    }

    fn failed(&self, call: &str, errno: Errno) -> Failure {
        let cause = format!("{call} failed: {}", io::Error::from(errno));
        Failure::Operation(Refusal::new(&self.file, cause, "see what the kernel log says"))
    }
}
