//! A look at the page cache of a file, now and then.
//!
//! Direct I/O leaves the page cache of a file as it is, and I/O that is direct in name alone fills it. So a queue looks before
//! the first operation between a file and peer memory, then about once a second while it waits, and when it lets go of
//! the file; never more often, for a look costs a system call.
//!
//! | a look finds | which shows | and cannot show |
//! |---|---|---|
//! | more pages of the file than the look before | somebody read or wrote the file through the cache: what moved is suspect | that it was this process |
//! | no more, and none in the range that operations touched | no page of it came into the cache and stayed | that nothing was copied elsewhere, or evicted at once |
//! | no more, but some in that range | nothing: what is cached already cannot come in | |
//!
//! The queue of a block device is looked at too, where the p2pdma_user module answers for it: one without the kernel's feature
//! for peer memory refuses it, so that having it shows that operations may go direct, not that they did. The module's own
//! observation of each operation is stronger than all of these ([`Evidence::Observed`](super::Evidence::Observed)), so that no
//! counter of the module's is asked: a sum over all users of the machine would say less than each operation is told. A
//! [`Prover`](super::Prover) alone shows that bytes arrive.

use std::{
    ops::Range,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The shortest time between two looks.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// What looks at the page cache showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sight {
    /// It has not grown since the look before, and holds nothing of what operations touched.
    Still,
    /// It has grown: what moved since the look before is suspect, no more.
    Grown,
    /// It cannot be told: the kernel does not say (cachestat(2)), or what operations touched is cached already.
    Unknown,
    /// The queue below the file does not take peer memory (any more): operations end with `EREMOTEIO`.
    Refused,
}

/// One look.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Look {
    /// Pages of the file in the cache.
    pub(super) all: Option<u64>,
    /// Those of them that operations touched.
    pub(super) touched: Option<u64>,
    /// Whether the queue takes peer memory, where anybody tells.
    pub(super) queue: Option<bool>,
}

/// The looks at one file.
#[derive(Debug, Default)]
pub(super) struct Witness {
    begun: AtomicBool,
    /// Of the file, from the first byte that an operation touched to the last.
    from: AtomicU64,
    to: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Pages that the last look found.
    pages: Option<u64>,
    /// Whether the cache has grown, and nobody was told yet.
    grown: bool,
    /// When a call was last told of a look, which call, and what.
    told: Option<(Instant, u64, Sight)>,
}

impl Witness {
    /// An operation is to touch a range. The first one is preceded by a look; whether this was the first.
    pub(super) fn touch(&self, offset: u64, length: u32, look: impl FnOnce() -> Look) -> bool {
        let end = offset + u64::from(length);
        let first = !self.begun.load(Ordering::Relaxed);
        if first {
            self.state().pages = look().all;
            self.from.store(offset, Ordering::Relaxed);
            self.begun.store(true, Ordering::Relaxed);
        }
        // A queue is the only one that touches, so that nothing is lost without a locked instruction.
        if offset < self.from.load(Ordering::Relaxed) {
            self.from.store(offset, Ordering::Relaxed);
        }
        if end > self.to.load(Ordering::Relaxed) {
            self.to.store(end, Ordering::Relaxed);
        }
        first
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// What operations touched.
    pub(super) fn touched(&self) -> Range<u64> {
        self.from.load(Ordering::Relaxed)..self.to.load(Ordering::Relaxed)
    }

    /// Looks now.
    pub(super) fn look(&self, look: Look) -> Sight {
        self.state().look(look)
    }

    /// Behind the operations of a call: looks the first time, and a second after it told the last. `None`: it did not look, and
    /// nothing was seen meanwhile.
    pub(super) fn end(&self, call: u64, look: impl FnOnce() -> Sight) -> Option<Sight> {
        let due = match self.state().told {
            Some((_, told, sight)) if told == call => return Some(sight),
            Some((at, ..)) => at.elapsed() >= INTERVAL,
            None => true,
        };
        let seen = due.then(look);
        let mut state = self.state();
        let sight = if std::mem::take(&mut state.grown) { Sight::Grown } else { seen? };
        state.told = Some((Instant::now(), call, sight));
        Some(sight)
    }

    /// A panic of another thread leaves it whole: nothing panics while it is changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn look(&mut self, look: Look) -> Sight {
        let before = std::mem::replace(&mut self.pages, look.all);
        let sight = match before.zip(look.all) {
            Some((before, after)) if after > before => Sight::Grown,
            _ if look.queue == Some(false) => Sight::Refused,
            Some(_) if look.touched == Some(0) => Sight::Still,
            _ => Sight::Unknown,
        };
        self.grown |= sight == Sight::Grown;
        sight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(all: u64, touched: u64) -> Look {
        Look { all: Some(all), touched: Some(touched), queue: None }
    }

    fn begun(all: u64) -> Witness {
        let witness = Witness::default();
        assert!(witness.touch(4096, 4096, || pages(all, 0)));
        assert!(!witness.touch(0, 512, || unreachable!()), "only the first time");
        assert_eq!(witness.touched(), 0..8192);
        witness
    }

    #[test]
    fn it_looks_at_first_and_not_at_every_call() {
        let witness = begun(5);
        assert_eq!(witness.end(1, || witness.look(pages(5, 0))), Some(Sight::Still));
        assert_eq!(witness.end(1, || unreachable!()), Some(Sight::Still), "once a call");
        assert_eq!(witness.end(2, || unreachable!()), None, "a moment later");
        assert_eq!(witness.look(pages(6, 0)), Sight::Grown);
        assert_eq!(witness.end(3, || unreachable!()), Some(Sight::Grown), "what was seen meanwhile is told once");
        assert_eq!(witness.end(4, || unreachable!()), None);
    }

    #[test]
    fn what_is_cached_already_cannot_come_in_and_shows_nothing() {
        let witness = begun(5);
        assert_eq!(witness.look(pages(5, 2)), Sight::Unknown);
        assert_eq!(witness.look(pages(2, 0)), Sight::Still, "pages go");
        assert_eq!(witness.look(Look::default()), Sight::Unknown);
        assert_eq!(witness.look(pages(9, 0)), Sight::Unknown, "nothing to compare with");
        assert_eq!(witness.look(Look { queue: Some(false), ..pages(9, 0) }), Sight::Refused);
    }
}
