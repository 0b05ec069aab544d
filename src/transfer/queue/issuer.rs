//! The thread that a queue belongs to, if it belongs to one.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Queue;
use crate::{Error, Refusal, Result};

/// A thread of this process. No two have the same number, even where one has ended before the other began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Issuer(u64);

impl Issuer {
    /// The calling thread.
    pub(super) fn here() -> Self {
        static THREADS: AtomicU64 = AtomicU64::new(0);
        thread_local! {
            static NUMBER: u64 = THREADS.fetch_add(1, Ordering::Relaxed);
        }
        Self(NUMBER.with(|number| *number))
    }
}

impl Queue {
    /// The ring of a queue for one thread takes calls of that thread alone. One that came here while nothing flew gets a ring
    /// of this thread's; otherwise the kernel would refuse everything (EEXIST, `io_uring_enter` in io_uring/io_uring.c).
    pub(super) fn be_issuer(&mut self) -> Result<()> {
        match self.issuer {
            Some(issuer) if issuer != Issuer::here() => self.move_here(),
            _ => Ok(()),
        }
    }

    #[cold]
    fn move_here(&mut self) -> Result<()> {
        if self.flight.len() > 0 {
            let cause = "another thread took the operations that fly, and the queue is for one thread";
            let cure = "let them end there first, or make the queue without Options::single_issuer";
            return Err(Error::Invalid(Refusal::new("queue", cause, cure)));
        }
        self.ring.renew()?;
        self.files.renew(&mut **self.ring)?;
        self.issuer = Some(Issuer::here());
        Ok(())
    }
}
