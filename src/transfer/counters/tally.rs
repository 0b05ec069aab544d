//! Numbers that one thread counts and any may look at. `tests/tally.rs` has a model checker run through this file.

use super::atomic::{AtomicU64, Ordering};

/// How many numbers.
const NUMBERS: usize = 7;

/// One queue's count. One thread counts at a time, any may look. No number promises anything of another, so no order is kept
/// between them.
#[derive(Debug, Default)]
pub(super) struct Tally([AtomicU64; NUMBERS]);

impl Tally {
    /// Counts. The queue is the only one that does, so that no number is lost without a locked instruction.
    pub(super) fn add(&self, more: [u64; NUMBERS]) {
        for (number, more) in self.0.iter().zip(more).filter(|(_, more)| *more > 0) {
            number.store(number.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
        }
    }

    /// The numbers now.
    pub(super) fn read(&self) -> [u64; NUMBERS] {
        std::array::from_fn(|at| self.0[at].load(Ordering::Relaxed))
    }
}
