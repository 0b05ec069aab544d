//! What is measured: blocks of a file, their order, how many at a time.

use std::time::{Duration, Instant};

use p2pdma::{Refusal, storage::File};

use crate::{
    cli::{RunOptions, Rw},
    failure::Failure,
};

/// Random blocks come in the same order on every path and in every run.
pub(super) const SEED: u64 = 0x7032_7062_656e_6368;

/// A workload, checked against the file it works on.
#[derive(Debug)]
pub(super) struct Job {
    rw: Rw,
    /// Bytes of one operation.
    block: u32,
    depth: u32,
    /// Whole blocks in the span.
    blocks: u64,
}

/// When a turn ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Budget {
    /// After so many operations.
    Operations(u64),
    /// After so long: nothing is started later, what flies is waited for.
    Time(Duration),
}

impl Budget {
    /// The share of `total` operations that falls to one of several rounds; the shares add up to the total.
    pub(super) fn share_of_operations(total: u64, round: u32, rounds: u32) -> Self {
        let until = |round: u32| total * u64::from(round) / u64::from(rounds);
        Self::Operations(until(round + 1) - until(round))
    }

    /// How many operations may start, and until when, of a turn that begins now.
    pub(super) fn limits(self, begin: Instant) -> (u64, Option<Instant>) {
        match self {
            Self::Operations(all) => (all, None),
            Self::Time(all) => (u64::MAX, begin.checked_add(all)),
        }
    }

    /// What is left of it; `None` when it is spent.
    pub(super) fn rest(self, started: u64, elapsed: Duration) -> Option<Self> {
        match self {
            Self::Operations(all) => Some(Self::Operations(all.checked_sub(started).filter(|&rest| rest > 0)?)),
            Self::Time(all) => Some(Self::Time(all.checked_sub(elapsed).filter(|rest| !rest.is_zero())?)),
        }
    }
}

impl Job {
    /// One for each combination of what the options list, in their order.
    pub(super) fn all(file: &File, options: &RunOptions) -> Result<Vec<Self>, Failure> {
        let depths = |rw: Rw, block: u64| options.depth.iter().map(move |&depth| (rw, block, depth));
        let blocks = |rw: Rw| options.block.iter().flat_map(move |&block| depths(rw, block));
        let jobs = options.rw.iter().flat_map(|&rw| blocks(rw));
        jobs.map(|(rw, block, depth)| Self::new(file, options, rw, block, depth)).collect()
    }

    /// Checks the options against the file.
    fn new(file: &File, options: &RunOptions, rw: Rw, block: u64, depth: u32) -> Result<Self, Failure> {
        let usage = |cause: String, cure: &str| Failure::Usage(Refusal::new(file, cause, cure));
        let too_large = || usage(format!("--block {block} is too large"), "use up to 64M");
        let block = u32::try_from(block).ok().filter(|&block| block <= 64 << 20).ok_or_else(too_large)?;
        if options.size.is_some_and(|size| size % u64::from(block) != 0) {
            return Err(usage(format!("--size is no multiple of --block {block}"), "use a multiple"));
        }
        let span = options.span.map_or(file.size(), |span| span.min(file.size()));
        let blocks = span / u64::from(block);
        if blocks == 0 {
            return Err(usage(format!("{span} bytes hold no block of {block}"), "use a smaller --block"));
        }
        Ok(Self { rw, block, depth, blocks })
    }

    pub(super) fn rw(&self) -> Rw {
        self.rw
    }

    pub(super) fn block(&self) -> u64 {
        self.block.into()
    }

    pub(super) fn depth(&self) -> u32 {
        self.depth
    }

    pub(super) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Bytes of memory that its operations need at once.
    pub(super) fn memory(&self) -> usize {
        self.block as usize * self.depth as usize
    }

    /// File offsets of its operations, endless.
    pub(super) fn offsets(&self) -> Offsets {
        Offsets { random: self.rw.random().then(|| fastrand::Rng::with_seed(SEED)), next: 0 }
    }
}

/// Which block comes next.
#[derive(Debug)]
pub(super) struct Offsets {
    random: Option<fastrand::Rng>,
    next: u64,
}

impl Offsets {
    pub(super) fn next(&mut self, job: &Job) -> u64 {
        let index = match &mut self.random {
            Some(random) => random.u64(..job.blocks),
            None => {
                let index = self.next;
                self.next = (index + 1) % job.blocks;
                index
            }
        };
        index * job.block()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_whole() {
        let share = |round| match Budget::share_of_operations(65, round, 6) {
            Budget::Operations(operations) => operations,
            Budget::Time(_) => 0,
        };
        assert_eq!((0..6).map(share).sum::<u64>(), 65);
    }

    #[test]
    fn a_budget_is_spent_and_not_more() {
        let seconds = Duration::from_secs;
        assert_eq!(Budget::Operations(3).rest(2, seconds(9)), Some(Budget::Operations(1)));
        assert_eq!(Budget::Operations(3).rest(3, seconds(0)), None);
        assert_eq!(Budget::Time(seconds(3)).rest(9, seconds(1)), Some(Budget::Time(seconds(2))));
        assert!([3, 4].iter().all(|&elapsed| Budget::Time(seconds(3)).rest(0, seconds(elapsed)).is_none()));
    }

    #[test]
    fn sequential_offsets_wrap_and_random_ones_stay_inside() {
        let job = |rw| Job { rw, block: 10, depth: 1, blocks: 3 };
        let mut offsets = job(Rw::Read).offsets();
        assert_eq!([0; 5].map(|_| offsets.next(&job(Rw::Read))), [0, 10, 20, 0, 10]);
        let mut offsets = job(Rw::Randread).offsets();
        assert!((0..100).all(|_| [0, 10, 20].contains(&offsets.next(&job(Rw::Randread)))));
    }
}
