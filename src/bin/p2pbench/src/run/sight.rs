//! What looks at the page cache show of operations that are direct by name.

use p2pdma::transfer::{Pair, Queue, Sight};

/// Of some operations; of several, the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Seen {
    /// Nothing came into the cache.
    Still,
    /// It cannot be told.
    Unknown,
    /// Something came into it: a filesystem that copies does so, and whoever else uses the file.
    Grown,
}

/// The looks of one queue.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// How many of them had found the cache grown, when the turn began.
    before: u64,
}

impl Looks {
    /// What came into the cache until now is not the turn's.
    pub(super) fn begin<'a>(&mut self, queue: &mut Queue, pairs: impl Iterator<Item = &'a Pair>) {
        pairs.for_each(|pair| _ = queue.witness(pair));
        self.before = queue.counters().read().suspect;
    }

    /// What the looks showed since, those that the queue took by itself among them.
    pub(super) fn end<'a>(&self, queue: &mut Queue, pairs: impl Iterator<Item = &'a Pair>) -> Option<Seen> {
        let seen = pairs.map(|pair| Seen::of(queue.witness(pair))).max();
        let grown = queue.counters().read().suspect > self.before;
        seen.max(grown.then_some(Seen::Grown))
    }
}

impl Seen {
    fn of(sight: Sight) -> Self {
        match sight {
            Sight::Still => Self::Still,
            Sight::Grown => Self::Grown,
            _ => Self::Unknown,
        }
    }
}
