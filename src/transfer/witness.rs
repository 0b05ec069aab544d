//! A look at the page cache of a file, now and then.
//!
//! Direct I/O leaves the page cache of a file as it is, and I/O that is direct in name alone fills it. So the cache is looked at
//! before the first operation of a lane, and behind its operations, but at most once a second: a look costs a system call.
//!
//! | | shows | cannot show |
//! |---|---|---|
//! | the cache has not grown | no page of the file came into it and stayed | that nothing was copied elsewhere, or evicted at once |
//! | it has grown | somebody read or wrote the file through it | that it was this process |

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The shortest time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// What a look at the page cache showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// It has not grown since the look before.
    Still,
    /// It has: what moved since the look before is suspect, no more.
    Grown,
    /// The kernel does not tell (cachestat(2)).
    Unknown,
}

/// The looks at one file.
#[derive(Debug, Default)]
pub(super) struct Witness(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When the last look was, and what it saw.
    last: Option<(Instant, Option<u64>)>,
    /// The last call that ended with a look, and what that showed.
    told: Option<(u64, Sight)>,
}

impl Witness {
    /// Before operations: only the first time.
    pub(super) fn begin(&self, look: impl FnOnce() -> Option<u64>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_none() {
            state.last = Some((Instant::now(), look()));
        }
    }

    /// Behind the operations of a call: looks the first time, after a second, and when told to. `None`: it did not look.
    pub(super) fn end(&self, call: u64, now: bool, look: impl FnOnce() -> Option<u64>) -> Option<Sight> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, sight)) = state.told.filter(|&(told, _)| told == call && !now) {
            return Some(sight);
        }
        let (at, before) = state.last?;
        if !now && state.told.is_some() && at.elapsed() < INTERVAL {
            return None;
        }
        let after = look();
        let sight = match before.zip(after) {
            None => Sight::Unknown,
            Some((before, after)) if after > before => Sight::Grown,
            Some(_) => Sight::Still,
        };
        (state.last, state.told) = (Some((Instant::now(), after)), Some((call, sight)));
        Some(sight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_at_first_and_not_at_every_call() {
        let witness = Witness::default();
        assert_eq!(witness.end(1, true, || Some(5)), None, "nothing to compare with");
        witness.begin(|| Some(5));
        witness.begin(|| unreachable!());
        assert_eq!(witness.end(1, false, || Some(5)), Some(Sight::Still));
        assert_eq!(witness.end(1, false, || unreachable!()), Some(Sight::Still), "once a call");
        assert_eq!(witness.end(2, false, || unreachable!()), None, "a moment later");
        assert_eq!(witness.end(2, true, || Some(6)), Some(Sight::Grown));
        assert_eq!(witness.end(3, true, || Some(2)), Some(Sight::Still), "pages go");
        assert_eq!(witness.end(4, true, || None), Some(Sight::Unknown));
    }
}
