//! How a queue is made.

use std::time::Duration;

/// The longest deadline: a day. A wait without an end is a hang.
pub(super) const LONGEST: Duration = Duration::from_secs(86_400);

/// How a queue is made: 32 operations deep, waiting up to 30 seconds.
///
/// ```
/// use std::time::Duration;
/// use p2pdma::{machine::{Machine, Mock, mock::Cpu}, transfer::{Options, Queue}};
/// let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen)?);
/// let queue = Queue::new(&machine, Options::default().depth(128).deadline(Duration::from_secs(5)))?;
/// assert_eq!((queue.depth(), queue.deadline()), (128, Duration::from_secs(5)));
/// # Ok::<(), p2pdma::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Operations that can be in flight at once, 1 to 4096.
    pub depth: u32,
    /// The longest that any one wait takes, at most a day.
    pub deadline: Duration,
    /// Whether one thread does all that is done with the queue: see [`Options::single_issuer`].
    pub single_issuer: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { depth: 32, deadline: Duration::from_secs(30), single_issuer: false }
    }
}

impl Options {
    /// With so many operations in flight at once.
    #[must_use]
    pub fn depth(self, depth: u32) -> Self {
        Self { depth, ..self }
    }

    /// With waits that take no longer than this.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// For one thread: the kernel then ends operations when that thread asks for their ends, and interrupts it no more
    /// (`IORING_SETUP_DEFER_TASKRUN`, io_uring_setup(2)). That is the fastest, and costs this:
    ///
    /// - While operations fly the queue must be used, and dropped, where they were taken; anywhere else that is
    ///   [`Error::Invalid`](crate::Error::Invalid), and a drop leaks and counts it. When nothing flies it may go to another
    ///   thread, for some ten microseconds and a new ring: its descriptor is another then.
    /// - [`Queue::poll`](super::Queue::poll) makes a system call where an operation has ended and its end was not asked for.
    #[doc(alias = "IORING_SETUP_SINGLE_ISSUER")]
    #[must_use]
    pub fn single_issuer(self) -> Self {
        Self { single_issuer: true, ..self }
    }
}
