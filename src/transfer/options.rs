//! How a queue is made.

use std::time::Duration;

/// The longest deadline: a day. A wait without an end is a hang.
pub(super) const LONGEST: Duration = Duration::from_secs(86_400);

/// How a queue is made: 32 operations deep, waiting up to 30 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Operations that can be in flight at once, 1 to 4096.
    pub depth: u32,
    /// The longest that any one wait takes, at most a day.
    pub deadline: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { depth: 32, deadline: Duration::from_secs(30) }
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
}
