//! What looks at the page cache show of operations that are direct by name.

use p2pdma::transfer::{Pair, Queue, Sight};

use super::cache::Cache;

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

/// The looks of one queue at what it is bound to.
#[derive(Debug)]
pub(super) struct Looks {
    watched: Vec<(Pair, Cache)>,
    /// When the turn began: how many looks had found the cache grown, and how many bytes had moved.
    before: (u64, u64),
}

impl Looks {
    pub(super) fn of(watched: Vec<(Pair, Cache)>) -> Self {
        Self { watched, before: (0, 0) }
    }

    /// A turn begins, with nothing in the cache: what is there already cannot come in.
    pub(super) fn begin(&mut self, queue: &mut Queue, moved: u64) {
        for (pair, cache) in &self.watched {
            // Of what stays there nothing can be told, and the look says so. Nothing is waited for, which would have the turn
            // begin with an idle device.
            let _ = cache.let_go();
            let _ = queue.witness(pair);
        }
        self.before = (queue.counters().read().suspect, moved);
    }

    /// What the looks showed since, those that the queue took by itself among them. `None` where nothing has moved.
    pub(super) fn end(&self, queue: &mut Queue, moved: u64) -> Option<Seen> {
        let seen = self.watched.iter().map(|(pair, _)| Seen::of(queue.witness(pair))).max();
        let (suspect, before) = self.before;
        let grown = queue.counters().read().suspect > suspect;
        seen.max(grown.then_some(Seen::Grown)).filter(|_| moved > before)
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
