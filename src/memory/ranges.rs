//! Which parts of a stretch of memory are free.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// The free ranges of a longer one. Best fit, lowest address first among equals; what is given back joins its
/// neighbours at once, so that all of it is one range again when all of it was given back.
///
/// # Invariants
///
/// - `by_start` and `by_length` hold the same ranges.
/// - No two touch or overlap; none is empty.
#[derive(Debug, Clone)]
pub(super) struct Ranges {
    /// Start -> length.
    by_start: BTreeMap<usize, usize>,
    /// (length, start).
    by_length: BTreeSet<(usize, usize)>,
}

impl Ranges {
    /// All of it is free.
    pub(super) fn new(all: Range<usize>) -> Self {
        let mut ranges = Self { by_start: BTreeMap::new(), by_length: BTreeSet::new() };
        ranges.insert(all.start, all.len());
        ranges
    }

    /// Free bytes.
    pub(super) fn free(&self) -> usize {
        self.by_start.values().sum()
    }

    /// The longest free range.
    pub(super) fn longest(&self) -> usize {
        self.by_length.last().map_or(0, |&(length, _)| length)
    }

    /// Takes `length` bytes at a multiple of `alignment`, a power of two. `None` when no range has room for it.
    pub(super) fn take(&mut self, length: usize, alignment: usize) -> Option<usize> {
        let fits = |&&(free, start): &&(usize, usize)| {
            start.checked_next_multiple_of(alignment).is_some_and(|at| at - start <= free - length)
        };
        let &(free, start) = self.by_length.range((length, 0)..).find(fits)?;
        let at = start.checked_next_multiple_of(alignment)?;
        self.remove(start, free);
        self.insert(start, at - start);
        self.insert(at + length, start + free - at - length);
        Some(at)
    }

    /// Gives back what [`take`](Self::take) gave.
    pub(super) fn give(&mut self, start: usize, length: usize) {
        let (mut start, mut length) = (start, length);
        if let Some((&before, &free)) = self.by_start.range(..start).next_back() {
            if before + free == start {
                self.remove(before, free);
                (start, length) = (before, free + length);
            }
        }
        if let Some(&free) = self.by_start.get(&(start + length)) {
            self.remove(start + length, free);
            length += free;
        }
        self.insert(start, length);
    }

    fn insert(&mut self, start: usize, length: usize) {
        if length > 0 {
            self.by_start.insert(start, length);
            self.by_length.insert((length, start));
        }
    }

    fn remove(&mut self, start: usize, length: usize) {
        self.by_start.remove(&start);
        self.by_length.remove(&(length, start));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is taken, to hold against what is said to be free.
    #[derive(Default)]
    struct Load {
        taken: Vec<(usize, usize)>,
    }

    impl Load {
        fn check(&self, ranges: &Ranges, length: usize) {
            let mut all: Vec<_> =
                self.taken.iter().copied().chain(ranges.by_start.iter().map(|(&s, &l)| (s, l))).collect();
            all.sort_unstable();
            let mut at = 0;
            for (start, part) in all {
                assert_eq!(start, at, "every byte is free or taken, and none twice");
                at += part;
            }
            assert_eq!(at, length);
            assert_eq!(ranges.by_start.len(), ranges.by_length.len());
        }
    }

    #[test]
    fn the_best_fit_is_taken_and_neighbours_join() {
        let mut ranges = Ranges::new(0..100);
        assert_eq!((ranges.take(10, 1), ranges.take(50, 1), ranges.take(20, 1)), (Some(0), Some(10), Some(60)));
        ranges.give(10, 50);
        assert_eq!(ranges.take(15, 1), Some(80), "20 free bytes fit better than 50");
        assert_eq!((ranges.take(60, 1), ranges.longest(), ranges.free()), (None, 50, 55));
        ranges.give(60, 20);
        assert_eq!(ranges.longest(), 70);
        ranges.give(0, 10);
        ranges.give(80, 15);
        assert_eq!((ranges.longest(), ranges.free()), (100, 100));
    }

    #[test]
    fn absurd_requests_are_not_granted() {
        let mut ranges = Ranges::new(0..100);
        assert_eq!(ranges.take(usize::MAX, 1), None);
        assert_eq!(ranges.take(101, 1), None);
        assert_eq!(ranges.take(1, 1), Some(0));
        assert_eq!(ranges.take(1, 1 << 63), None);
    }

    proptest! {
        #[test]
        fn every_byte_is_free_or_taken_and_none_twice(
            steps in prop::collection::vec((any::<bool>(), 1_usize..5000, 0_u32..13, any::<prop::sample::Index>()), 1..300),
        ) {
            const LENGTH: usize = 1 << 16;
            let (mut ranges, mut load) = (Ranges::new(0..LENGTH), Load::default());
            for (give, length, alignment, which) in steps {
                if give && !load.taken.is_empty() {
                    let (start, length) = load.taken.swap_remove(which.index(load.taken.len()));
                    ranges.give(start, length);
                } else if let Some(start) = ranges.take(length, 1 << alignment) {
                    prop_assert_eq!(start % (1 << alignment), 0);
                    load.taken.push((start, length));
                } else {
                    // Nothing that would have fitted was refused.
                    let room = |(&start, &free): (&usize, &usize)| {
                        let at = start.next_multiple_of(1 << alignment);
                        at + length <= start + free
                    };
                    prop_assert!(!ranges.by_start.iter().any(room));
                }
                load.check(&ranges, LENGTH);
            }
        }
    }

    /// SplitMix64.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: u32) -> u32 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ (mixed >> 31)) >> 32) as u32 % limit
        }
    }

    /// Two hours of an inference engine: a tensor every 10 ms, each for up to a minute, from 4 KiB to 8 MiB.
    /// The pool has half as much again as what is ever in use; if that does not do, fragmentation took it.
    #[test]
    fn after_hours_of_random_load_memory_is_not_in_crumbs() {
        const POOL: usize = 8 << 30;
        let mut random = Random(1);
        let mut ranges = Ranges::new(0..POOL);
        let mut ends: BTreeSet<(u64, usize, usize)> = BTreeSet::new();
        let (mut used, mut peak, mut refused) = (0, 0, 0);
        for tick in 0..720_000_u64 {
            while let Some(&(end, start, length)) = ends.first().filter(|(end, ..)| *end <= tick) {
                ends.remove(&(end, start, length));
                ranges.give(start, length);
                used -= length;
            }
            let length = (4096_usize << random.below(12)) + 4096 * random.below(16) as usize;
            if used + length > POOL * 2 / 3 {
                continue;
            }
            match ranges.take(length, 4096) {
                Some(start) => {
                    ends.insert((tick + 1 + u64::from(random.below(6000)), start, length));
                    used += length;
                    peak = peak.max(used);
                }
                None => refused += 1,
            }
        }
        for (_, start, length) in ends {
            ranges.give(start, length);
        }
        assert_eq!(refused, 0, "peak {peak}");
        assert_eq!(ranges.longest(), POOL);
    }
}
