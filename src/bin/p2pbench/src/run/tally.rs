//! What was counted on one path.

use std::time::{Duration, Instant};

use hdrhistogram::{CreationError, Histogram};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::{TimeVal, TimeValLike},
};
use p2pdma::transfer::Evidence;

use super::{sight::Seen, traffic};

/// Counters of one queue over all its turns; or of several, added up.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) operations: u64,
    pub(super) bytes_direct: u64,
    pub(super) bytes_bounced: u64,
    /// From submission to the receipt, in nanoseconds.
    pub(super) latency: Histogram<u64>,
    /// What the receipts of the direct bytes rest on; `None` while there are none.
    pub(super) evidence: Option<Evidence>,
    /// What the page cache showed behind the turns; `None` where nobody looked.
    pub(super) seen: Option<Seen>,
    /// Bytes of each turn that is over.
    pub(super) turns: Vec<u64>,
    /// How long each of them took; of several queues, the one that took longest.
    pub(super) took: Vec<Duration>,
    pub(super) parts: Parts,
}

/// Where the time of some operations went, in nanoseconds.
#[derive(Debug)]
pub(super) struct Parts {
    /// Until the queue had taken it; on the way through the host, the copy of what is written with it.
    pub(super) prepare: Histogram<u64>,
    /// The system call that started it.
    pub(super) submit: Histogram<u64>,
    /// From its receipt on; on the way through the host, the copy of what was read with it.
    pub(super) complete: Histogram<u64>,
}

impl Parts {
    fn new() -> Result<Self, CreationError> {
        let none = || Histogram::new_with_bounds(1, 60_000_000_000, 2);
        Ok(Self { prepare: none()?, submit: none()?, complete: none()? })
    }

    pub(super) fn started(&mut self, prepare: Duration, submit: Duration) {
        self.prepare.saturating_record(nanoseconds(prepare));
        self.submit.saturating_record(nanoseconds(submit));
    }

    pub(super) fn completed(&mut self, complete: Duration) {
        self.complete.saturating_record(nanoseconds(complete));
    }

    /// Of equal bounds: nothing is out of them.
    fn add(&mut self, other: &Self) {
        let _ = self.prepare.add(&other.prepare);
        let _ = self.submit.add(&other.submit);
        let _ = self.complete.add(&other.complete);
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What all queues of one path have in common.
#[derive(Debug)]
pub(super) struct Clock {
    /// CPU time of this process in turns. `None` when the kernel does not say.
    pub(super) cpu: Option<Cpu>,
    /// That of the kernel's threads. `None` where they are not to be seen.
    pub(super) kernel_threads: Option<Duration>,
    /// Between processors and host memory, in turns.
    pub(super) traffic: traffic::Sum,
}

impl Tally {
    pub(super) fn new() -> Result<Self, CreationError> {
        Ok(Self {
            operations: 0,
            bytes_direct: 0,
            bytes_bounced: 0,
            // 1 ns to a minute with three significant digits: constant memory, longer ones count as a minute.
            latency: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
            evidence: None,
            seen: None,
            turns: Vec::new(),
            took: Vec::new(),
            parts: Parts::new()?,
        })
    }

    /// Those of several queues that worked at the same time.
    pub(super) fn sum<'a>(tallies: impl IntoIterator<Item = &'a Self>) -> Result<Self, CreationError> {
        let mut sum = Self::new()?;
        for tally in tallies {
            sum.operations += tally.operations;
            sum.bytes_direct += tally.bytes_direct;
            sum.bytes_bounced += tally.bytes_bounced;
            // Of equal bounds: nothing is out of them.
            let _ = sum.latency.add(&tally.latency);
            sum.parts.add(&tally.parts);
            sum.evidence = sum.evidence.or(tally.evidence);
            sum.seen = sum.seen.max(tally.seen);
            sum.turns.resize(tally.turns.len(), 0);
            sum.turns.iter_mut().zip(&tally.turns).for_each(|(sum, bytes)| *sum += bytes);
            sum.took.resize(tally.took.len(), Duration::ZERO);
            sum.took.iter_mut().zip(&tally.took).for_each(|(most, took)| *most = (*most).max(*took));
        }
        Ok(sum)
    }

    /// The turn is over, and took so long.
    pub(super) fn close_turn(&mut self, took: Duration) {
        let before: u64 = self.turns.iter().sum();
        self.turns.push(self.bytes() - before);
        self.took.push(took);
    }

    /// Time in turns.
    pub(super) fn elapsed(&self) -> Duration {
        self.took.iter().sum()
    }

    /// Bytes a second of each turn in which some moved.
    #[expect(clippy::cast_precision_loss, reason = "bytes far below 2^52")]
    pub(super) fn rates(&self) -> Vec<f64> {
        let moved = self.turns.iter().zip(&self.took).filter(|(bytes, took)| **bytes > 0 && !took.is_zero());
        moved.map(|(bytes, took)| *bytes as f64 / took.as_secs_f64()).collect()
    }

    pub(super) fn latency(&mut self, latency: Duration) {
        self.latency.saturating_record(nanoseconds(latency));
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes_direct + self.bytes_bounced
    }

    /// What the direct bytes rest on, once the page cache was looked at.
    pub(super) fn rests_on(&self) -> Option<Evidence> {
        match (self.evidence, self.seen) {
            (Some(Evidence::Inferred), Some(Seen::Still)) => Some(Evidence::Witnessed),
            (evidence, _) => evidence,
        }
    }

    /// Whether bytes that are said to be direct may have been copied: nothing watched them, and the page cache grew.
    pub(super) fn is_suspect(&self) -> bool {
        self.evidence == Some(Evidence::Inferred) && self.seen == Some(Seen::Grown)
    }
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { cpu: Some(Cpu::default()), kernel_threads: Some(Duration::ZERO), traffic: traffic::Sum::new() }
    }

    /// A turn took so much CPU time, and the kernel's threads so much meanwhile.
    pub(super) fn turn(&mut self, cpu: Option<Cpu>, kernel_threads: Option<Duration>) {
        self.kernel_threads = self.kernel_threads.zip(kernel_threads).map(|(sum, spent)| sum + spent);
        self.cpu = self.cpu.zip(cpu).map(|(sum, spent)| sum.plus(spent));
    }
}

/// What a thread does that no clock counts: its time and its CPU time.
#[derive(Debug, Default)]
pub(super) struct Aside {
    pub(super) time: Duration,
    pub(super) cpu: Cpu,
}

impl Aside {
    /// Does it.
    pub(super) fn spend<T>(&mut self, what: impl FnOnce() -> T) -> T {
        let (started, before) = (Instant::now(), cpu(UsageWho::RUSAGE_THREAD));
        let result = what();
        self.time += started.elapsed();
        let spent = cpu(UsageWho::RUSAGE_THREAD).zip(before).map(|(now, then)| now.minus(then));
        self.cpu = self.cpu.plus(spent.unwrap_or_default());
        result
    }
}

/// CPU time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cpu {
    pub(super) user: Duration,
    pub(super) system: Duration,
}

impl Cpu {
    pub(super) fn all(self) -> Duration {
        self.user + self.system
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self { user: self.user + other.user, system: self.system + other.system }
    }

    /// Not below zero.
    pub(super) fn minus(self, other: Self) -> Self {
        Self { user: self.user.saturating_sub(other.user), system: self.system.saturating_sub(other.system) }
    }
}

/// Of all threads of this process, those among them that io_uring starts in the kernel.
pub(super) fn cpu_of_all() -> Option<Cpu> {
    cpu(UsageWho::RUSAGE_SELF)
}

fn cpu(who: UsageWho) -> Option<Cpu> {
    let usage = getrusage(who).ok()?;
    let time = |value: TimeVal| Some(Duration::from_micros(u64::try_from(value.num_microseconds()).ok()?));
    Some(Cpu { user: time(usage.user_time())?, system: time(usage.system_time())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_add_up_turn_by_turn() {
        let seconds = Duration::from_secs;
        let tally = |turns: &[(u64, u64)]| {
            let mut tally = Tally::new().unwrap();
            for (bytes, took) in turns {
                tally.bytes_direct += bytes;
                tally.operations += 1;
                tally.latency(Duration::from_micros(5));
                tally.close_turn(seconds(*took));
            }
            tally
        };
        let (fast, slow) = (tally(&[(3, 1), (5, 1)]), tally(&[(4, 1), (6, 2)]));
        let sum = Tally::sum([&fast, &slow]).unwrap();
        assert_eq!((sum.bytes(), sum.operations, sum.latency.len(), sum.turns.as_slice()), (18, 4, 4, &[7, 11][..]));
        assert_eq!((sum.rates(), sum.elapsed()), (vec![7.0, 5.5], seconds(3)));
        assert_eq!(
            (fast.rates(), fast.elapsed()),
            (vec![3.0, 5.0], seconds(2)),
            "by its own time, not the slowest one's"
        );
        assert_eq!(tally(&[(0, 1), (4, 2)]).rates(), [2.0], "a turn in which nothing moved tells no rate");
    }

    #[test]
    fn what_one_turn_does_not_tell_of_the_processors_the_sum_does_not() {
        let mut clock = Clock::new();
        clock.turn(Some(Cpu::default()), Some(Duration::from_secs(1)));
        clock.turn(None, Some(Duration::from_secs(2)));
        assert_eq!((clock.cpu, clock.kernel_threads), (None, Some(Duration::from_secs(3))));
        clock.turn(None, None);
        assert_eq!(clock.kernel_threads, None);
    }
}
