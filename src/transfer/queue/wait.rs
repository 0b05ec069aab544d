//! Waiting for operations to end.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{Queue, entered};
use crate::{
    Error, Refusal, Result,
    transfer::{causes, receipt::Receipt},
};

impl Queue {
    /// The receipt of an operation that has ended, if there is one. No system call, unless the last operation of a pair that
    /// was given back has ended, or the queue is [a single issuer's](crate::transfer::Options::single_issuer).
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

    pub(super) fn reap(&mut self) -> Option<Receipt> {
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
            let now = Instant::now();
            self.watch(now);
            let rest = deadline.saturating_duration_since(now);
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

    #[cold]
    fn late(&mut self) -> Error {
        let cause = format!("none of {} operations ended within {:?}", self.in_flight(), self.deadline);
        let cure = "see whether the device answers, or give the queue a longer deadline";
        let refusal = Refusal::new("queue", cause, cure);
        if !std::mem::replace(&mut self.said_late, true) {
            causes::late(&refusal);
        }
        Error::Deadline(refusal)
    }

    /// Waits until nothing flies, and starts nothing. Whether that was so before the deadline.
    pub(super) fn settle(&mut self, deadline: Instant) -> bool {
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
