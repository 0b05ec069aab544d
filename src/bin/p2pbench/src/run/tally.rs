//! What was counted on one path.

use std::time::{Duration, Instant};

use hdrhistogram::{CreationError, Histogram};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};
use p2pdma::transfer::Evidence;

/// Counters of one queue over all its turns; or of several, added up.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) operations: u64,
    pub(super) bytes_direct: u64,
    pub(super) bytes_bounced: u64,
    /// From submission to the receipt, in nanoseconds.
    pub(super) latency: Histogram<u64>,
    /// What the direct bytes rest on; `None` while there are none.
    pub(super) evidence: Option<Evidence>,
    /// Bytes of each turn that is over.
    pub(super) turns: Vec<u64>,
}

/// The clocks of one path: its queues work at the same time.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// Time in turns.
    pub(super) elapsed: Duration,
    /// CPU time of this process, user and system, in turns. `None` when the kernel does not say.
    pub(super) cpu: Option<Duration>,
    /// Of each turn.
    pub(super) turns: Vec<Duration>,
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
            turns: Vec::new(),
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
            sum.evidence = sum.evidence.or(tally.evidence);
            sum.turns.resize(tally.turns.len(), 0);
            sum.turns.iter_mut().zip(&tally.turns).for_each(|(sum, bytes)| *sum += bytes);
        }
        Ok(sum)
    }

    /// The turn is over.
    pub(super) fn close_turn(&mut self) {
        let before: u64 = self.turns.iter().sum();
        self.turns.push(self.bytes() - before);
    }

    pub(super) fn latency(&mut self, latency: Duration) {
        self.latency.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes_direct + self.bytes_bounced
    }
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { cpu: Some(Duration::ZERO), ..Self::default() }
    }

    /// A turn took so long, and so much CPU time.
    pub(super) fn turn(&mut self, took: Duration, cpu: Option<Duration>) {
        self.elapsed += took;
        self.cpu = self.cpu.zip(cpu).map(|(sum, spent)| sum + spent);
        self.turns.push(took);
    }

    /// Bytes a second of each turn in which some moved.
    #[expect(clippy::cast_precision_loss, reason = "bytes far below 2^52")]
    pub(super) fn rates(&self, bytes: &[u64]) -> Vec<f64> {
        let moved = bytes.iter().zip(&self.turns).filter(|(bytes, took)| **bytes > 0 && !took.is_zero());
        moved.map(|(bytes, took)| *bytes as f64 / took.as_secs_f64()).collect()
    }
}

/// What a thread does that no clock counts: its time and its CPU time.
#[derive(Debug, Default)]
pub(super) struct Aside {
    pub(super) time: Duration,
    pub(super) cpu: Duration,
}

impl Aside {
    /// Does it.
    pub(super) fn spend<T>(&mut self, what: impl FnOnce() -> T) -> T {
        let (started, before) = (Instant::now(), cpu(UsageWho::RUSAGE_THREAD));
        let result = what();
        self.time += started.elapsed();
        let spent = cpu(UsageWho::RUSAGE_THREAD).zip(before).map(|(now, then)| now.saturating_sub(then));
        self.cpu += spent.unwrap_or_default();
        result
    }
}

/// User and system time of all threads of this process.
pub(super) fn cpu_of_all() -> Option<Duration> {
    cpu(UsageWho::RUSAGE_SELF)
}

fn cpu(who: UsageWho) -> Option<Duration> {
    let usage = getrusage(who).ok()?;
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Some(Duration::from_micros(u64::try_from(microseconds).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_add_up_turn_by_turn() {
        let tally = |bytes: &[u64]| {
            let mut tally = Tally::new().unwrap();
            for bytes in bytes {
                tally.bytes_direct += bytes;
                tally.operations += 1;
                tally.latency(Duration::from_micros(5));
                tally.close_turn();
            }
            tally
        };
        let sum = Tally::sum([&tally(&[3, 5]), &tally(&[4, 6])]).unwrap();
        assert_eq!((sum.bytes(), sum.operations, sum.latency.len(), sum.turns.as_slice()), (18, 4, 4, &[7, 11][..]));
        let mut clock = Clock::new();
        clock.turn(Duration::from_secs(1), None);
        clock.turn(Duration::from_secs(2), None);
        assert_eq!((clock.rates(&sum.turns), clock.cpu), (vec![7.0, 5.5], None));
        assert_eq!(clock.rates(&[0, 4]), [2.0], "a turn in which nothing moved tells no rate");
    }
}
