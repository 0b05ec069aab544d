//! What was counted on one path.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};

/// Counters of one path over all its turns.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) operations: u64,
    pub(super) bytes_direct: u64,
    pub(super) bytes_bounced: u64,
    /// Time in turns.
    pub(super) elapsed: Duration,
    /// CPU time of this process, user and system, in turns. `None` when the kernel does not say.
    pub(super) cpu: Option<Duration>,
    /// From submission to the receipt, in nanoseconds.
    pub(super) latency: Histogram<u64>,
    /// Bytes a second, of each turn that is over.
    pub(super) turns: Vec<f64>,
    /// Bytes and time of the turns that are over.
    over: (u64, Duration),
    /// When the present stretch of a turn began.
    began: Instant,
}

/// A turn's start.
#[derive(Debug)]
pub(super) struct Turn {
    started: Instant,
    cpu: Option<Duration>,
}

impl Tally {
    pub(super) fn new() -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self {
            operations: 0,
            bytes_direct: 0,
            bytes_bounced: 0,
            elapsed: Duration::ZERO,
            cpu: Some(Duration::ZERO),
            // 1 ns to a minute with three significant digits: constant memory, longer ones count as a minute.
            latency: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
            turns: Vec::new(),
            over: (0, Duration::ZERO),
            began: Instant::now(),
        })
    }

    pub(super) fn start(&mut self) -> Turn {
        self.began = Instant::now();
        Turn { started: self.began, cpu: cpu() }
    }

    pub(super) fn end(&mut self, turn: &Turn) {
        self.elapsed += turn.started.elapsed();
        let spent = cpu().zip(turn.cpu).map(|(now, then)| now.saturating_sub(then));
        self.cpu = self.cpu.zip(spent).map(|(sum, spent)| sum + spent);
    }

    /// Bytes a second of the present turn, so far.
    #[expect(clippy::cast_precision_loss, reason = "bytes far below 2^52")]
    pub(super) fn rate_now(&self, now: Instant) -> f64 {
        let took = (self.elapsed - self.over.1 + now.duration_since(self.began)).as_secs_f64();
        if took > 0.0 { (self.bytes() - self.over.0) as f64 / took } else { 0.0 }
    }

    /// The turn is over, in however many stretches it went.
    #[expect(clippy::cast_precision_loss, reason = "bytes far below 2^52")]
    pub(super) fn close_turn(&mut self) {
        let (bytes, elapsed) = (self.bytes(), self.elapsed);
        let (moved, took) = (bytes - self.over.0, (elapsed - self.over.1).as_secs_f64());
        if moved > 0 && took > 0.0 {
            self.turns.push(moved as f64 / took);
        }
        self.over = (bytes, elapsed);
    }

    pub(super) fn latency(&mut self, latency: Duration) {
        self.latency.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes_direct + self.bytes_bounced
    }
}

impl Turn {
    pub(super) fn started(&self) -> Instant {
        self.started
    }
}

/// User and system time of all threads of this process.
fn cpu() -> Option<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Some(Duration::from_micros(u64::try_from(microseconds).ok()?))
}
