//! What is measured: blocks of a file, their order, how many at a time.

use std::time::{Duration, Instant};

use p2pdma::{Refusal, storage::File};

use super::shuffle::Shuffle;
use crate::{
    block::{Block, Size},
    cli::{RunOptions, Rw},
    failure::Failure,
};

/// Random blocks come in the same order on every path and in every run.
pub(super) const SEED: u64 = 0x7032_7062_656e_6368;

/// A workload, checked against the files it works on.
#[derive(Debug)]
pub(super) struct Job {
    rw: Rw,
    /// Bytes of one operation.
    block: Block,
    depth: u32,
    /// Queues of each pair of source and peer.
    jobs: u32,
    /// Bytes of each source to work on, from its start.
    span: Option<u64>,
    /// Whether what is read goes on to another file.
    copies: bool,
    /// Whether storage has the writes of a turn when the clock stops.
    pub(super) fdatasync: bool,
}

/// The blocks that one queue works on, and no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    first: u64,
    blocks: u64,
}

/// When a turn ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Budget {
    /// After so many operations.
    Operations(u64),
    /// After this round's share of so many operations.
    Round {
        /// Of all rounds.
        total: u64,
        round: u32,
        rounds: u32,
    },
    /// After so long: nothing is started later, what flies is waited for.
    Time(Duration),
}

impl Budget {
    /// What falls to one of several queues that work at the same time. Over all rounds each goes as often over its part as
    /// the others: so what is copied once is copied whole.
    pub(super) fn of_queue(self, index: u32, queues: u32) -> Self {
        match self {
            Self::Operations(all) => Self::Operations(share(all, index, queues)),
            Self::Round { total, round, rounds } => Self::Operations(share(share(total, index, queues), round, rounds)),
            Self::Time(_) => self,
        }
    }

    /// How many operations may start, and until when, of a turn that begins now.
    pub(super) fn limits(self, begin: Instant) -> (u64, Option<Instant>) {
        match self {
            Self::Operations(all) => (all, None),
            Self::Round { total, round, rounds } => (share(total, round, rounds), None),
            Self::Time(all) => (u64::MAX, begin.checked_add(all)),
        }
    }

    /// What is left of it; `None` when it is spent.
    pub(super) fn rest(self, started: u64, elapsed: Duration) -> Option<Self> {
        match self {
            Self::Operations(all) => Some(Self::Operations(all.checked_sub(started).filter(|&rest| rest > 0)?)),
            Self::Round { total, round, rounds } => {
                Self::Operations(share(total, round, rounds)).rest(started, elapsed)
            }
            Self::Time(all) => Some(Self::Time(all.checked_sub(elapsed).filter(|rest| !rest.is_zero())?)),
        }
    }
}

/// What of `total` falls to one of several; the shares add up to it.
fn share(total: u64, index: u32, of: u32) -> u64 {
    let until = |index: u32| {
        let until = u128::from(total) * u128::from(index) / u128::from(of);
        u64::try_from(until).unwrap_or(u64::MAX)
    };
    until(index + 1) - until(index)
}

impl Job {
    /// One for each combination of what the options list, in their order.
    pub(super) fn all(files: &[File], options: &RunOptions) -> Result<Vec<Self>, Failure> {
        let mut all = Vec::new();
        for &rw in &options.rw {
            for block in &options.block {
                for &depth in &options.depth {
                    for &jobs in &options.jobs {
                        let (span, fdatasync, copies) = (options.span, options.fdatasync, options.copy_to.is_some());
                        let block = checked(files, block)?;
                        let job = Self { rw, block, depth, jobs, span, copies, fdatasync };
                        files.iter().try_for_each(|file| job.check(file, options))?;
                        all.push(job);
                    }
                }
            }
        }
        Ok(all)
    }

    /// Checks the options against a file.
    fn check(&self, file: &File, options: &RunOptions) -> Result<(), Failure> {
        let usage = |cause: String, cure: &str| Err(Failure::Usage(Refusal::new(file, cause, cure)));
        let (block, blocks) = (self.block(), self.blocks(file));
        if self.copies && self.mix().is_some() {
            return usage("--copy-to copies every byte, and a mix leaves some out".into(), "use a --block of one size");
        }
        if options.size.is_some_and(|size| self.operations(size) == 0) {
            return usage(format!("--size is less than --block {}", self.asked()), "use more");
        }
        if self.mix().is_none() && options.size.is_some_and(|size| size % block != 0) {
            return usage(format!("--size is no multiple of --block {block}"), "use a multiple");
        }
        if blocks == 0 {
            let span = self.span_of(file);
            return usage(format!("{span} bytes hold no block of {block}"), "use a smaller --block");
        }
        let queues = u64::from(self.jobs) * options.peer.len() as u64;
        if blocks < queues {
            let cause = format!("{blocks} blocks of {block} are too few for {queues} queues");
            return usage(cause, "use a smaller --block, fewer --jobs or a larger --span");
        }
        Ok(())
    }

    pub(super) fn rw(&self) -> Rw {
        self.rw
    }

    /// As the JSON has it.
    pub(super) fn name(&self) -> &'static str {
        match (self.copies, self.rw.random()) {
            (false, _) => self.rw.name(),
            (true, false) => "copy",
            (true, true) => "randcopy",
        }
    }

    /// Whether something on storage changes.
    pub(super) fn writes(&self) -> bool {
        self.copies || self.rw.writes()
    }

    /// Where its last byte on this file ends.
    pub(super) fn end(&self, file: &File) -> u64 {
        self.blocks(file) * self.block()
    }

    /// Bytes of an operation, of a mix the most: where operations are is a multiple of it.
    pub(super) fn block(&self) -> u64 {
        self.block.largest()
    }

    /// As it was asked for.
    pub(super) fn asked(&self) -> &Block {
        &self.block
    }

    /// The sizes, where they are mixed.
    pub(super) fn mix(&self) -> Option<&[Size]> {
        self.block.mix()
    }

    /// Operations that move so many bytes; of a mix on average.
    pub(super) fn operations(&self, bytes: u64) -> u64 {
        bytes / self.block.mean()
    }

    pub(super) fn depth(&self) -> u32 {
        self.depth
    }

    pub(super) fn jobs(&self) -> u32 {
        self.jobs
    }

    fn span_of(&self, file: &File) -> u64 {
        self.span.map_or(file.size(), |span| span.min(file.size()))
    }

    /// Whole blocks in the span.
    pub(super) fn blocks(&self, file: &File) -> u64 {
        self.span_of(file) / self.block()
    }

    /// What of the file falls to one of several queues; the parts add up to the span.
    pub(super) fn part(&self, file: &File, index: u64, queues: u64) -> Part {
        let until = |index: u64| self.blocks(file) * index / queues;
        Part { first: until(index), blocks: until(index + 1) - until(index) }
    }

    /// Bytes of memory that the operations of one queue need at once.
    pub(super) fn memory(&self) -> usize {
        usize::try_from(self.block()).unwrap_or(usize::MAX).saturating_mul(self.depth as usize)
    }
}

fn checked(files: &[File], block: &Block) -> Result<Block, Failure> {
    let largest = block.largest();
    let name = files.first().map_or(String::new(), ToString::to_string);
    let too_large = || Failure::Usage(Refusal::new(name, format!("--block {largest} is too large"), "use up to 64M"));
    if largest <= 64 << 20 { Ok(block.clone()) } else { Err(too_large()) }
}

impl Part {
    /// Where its bytes are.
    pub(super) fn range(self, job: &Job) -> (u64, u64) {
        (self.first * job.block(), self.blocks * job.block())
    }

    /// File offsets of its operations, endless.
    pub(super) fn offsets(self, job: &Job) -> Offsets {
        let random = || Shuffle::new(self.blocks, SEED ^ self.first);
        let sizes = job.mix().map(|_| fastrand::Rng::with_seed(SEED ^ self.first));
        Offsets { part: self, random: job.rw.random().then(random), next: 0, sizes }
    }
}

/// Which block comes next.
#[derive(Debug)]
pub(super) struct Offsets {
    part: Part,
    random: Option<Shuffle>,
    next: u64,
    /// Which size of a mix comes next: the same on every path and in every run.
    sizes: Option<fastrand::Rng>,
}

impl Offsets {
    /// Where it is, and how many bytes it moves.
    pub(super) fn next(&mut self, job: &Job) -> (u64, u64) {
        let length = self.sizes.as_mut().map_or(job.block(), |sizes| job.block.pick(sizes.u32(..100)));
        (self.next_offset(job), length)
    }

    fn next_offset(&mut self, job: &Job) -> u64 {
        let index = match &mut self.random {
            Some(random) => random.next(),
            None => {
                let index = self.next;
                self.next = (index + 1) % self.part.blocks;
                index
            }
        };
        (self.part.first + index) * job.block()
    }

    /// How many blocks come before one comes again.
    pub(super) fn until_again(&self) -> u64 {
        self.random.as_ref().map_or(self.part.blocks, Shuffle::left)
    }
}

#[cfg(test)]
mod tests {
    use p2pdma::machine::{Access, Machine, Mock, mock::Cpu};

    use super::*;

    fn job(rw: Rw) -> Job {
        Job { rw, block: 4096.into(), depth: 1, jobs: 3, span: Some(7 * 4096 + 1), copies: false, fdatasync: false }
    }

    #[test]
    fn shares_add_up_to_the_whole_and_to_a_part_for_each_queue() {
        assert_eq!((0..6).map(|round| share(65, round, 6)).sum::<u64>(), 65);
        let of_queue = |index, round| match (Budget::Round { total: 256, round, rounds: 6 }).of_queue(index, 2) {
            Budget::Operations(operations) => operations,
            other => panic!("{other:?}"),
        };
        assert_eq!([0, 1].map(|index| (0..6).map(|round| of_queue(index, round)).sum::<u64>()), [128, 128]);
        assert_eq!((0..1000).map(|round| share(u64::MAX, round, 1000)).sum::<u64>(), u64::MAX);
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
    fn parts_lie_one_behind_the_other_and_add_up_to_the_span() {
        let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen).expect("a machine"));
        let file = File::open(&machine, "/dev/nvme0n1", Access::Read).expect("an SSD");
        let parts: Vec<Part> = (0..3).map(|index| job(Rw::Read).part(&file, index, 3)).collect();
        assert_eq!(parts.iter().map(|part| part.blocks).sum::<u64>(), 7);
        assert!(parts.windows(2).all(|two| two[0].first + two[0].blocks == two[1].first), "{parts:?}");
    }

    #[test]
    fn sequential_offsets_wrap_and_random_ones_stay_inside() {
        let part = Part { first: 2, blocks: 3 };
        let mut offsets = part.offsets(&job(Rw::Read));
        assert_eq!([0; 5].map(|_| offsets.next(&job(Rw::Read)).0 / 4096), [2, 3, 4, 2, 3]);
        let mut offsets = part.offsets(&job(Rw::Randread));
        assert!((0..100).all(|_| (2..5).contains(&(offsets.next(&job(Rw::Randread)).0 / 4096))));
    }
}
