//! A line that shows, on a terminal, that something moves; and what the threads of a run tell each other.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread::{self, Scope, ScopedJoinHandle},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::job::Job;
use crate::{cli::Path, interrupt};

/// Often enough to read, seldom enough to cost nothing.
const PERIOD: Duration = Duration::from_millis(200);

/// Turns done of all turns, and what moves now. Goes to stderr, and nowhere if that is no terminal.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
}

/// One turn, as its threads see it.
#[derive(Debug)]
pub(super) struct Shared {
    path: Path,
    /// One of them has failed.
    failed: AtomicBool,
    /// All of them are done.
    over: AtomicBool,
    started: Instant,
    moved: Vec<Moved>,
}

/// Bytes of one thread. In a cache line of its own: the others only look now and then.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Moved(AtomicU64);

impl Shared {
    pub(super) fn new(path: Path, queues: usize) -> Self {
        let moved = (0..queues).map(|_| Moved::default()).collect();
        Self { path, failed: AtomicBool::new(false), over: AtomicBool::new(false), started: Instant::now(), moved }
    }

    /// Whether nothing is to be started any more.
    pub(super) fn is_over(&self) -> bool {
        interrupt::came() || self.failed.load(Ordering::Relaxed)
    }

    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// What a queue has moved in this turn.
    pub(super) fn moved(&self, queue: usize, bytes: u64) {
        self.moved[queue].0.store(bytes, Ordering::Relaxed);
    }

    /// All threads are done.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Bytes a second of all queues, so far.
    #[expect(clippy::cast_precision_loss, reason = "bytes far below 2^52")]
    fn rate(&self) -> f64 {
        let bytes: u64 = self.moved.iter().map(|moved| moved.0.load(Ordering::Relaxed)).sum();
        bytes as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
    }
}

impl Progress {
    pub(super) fn new(turns: u64) -> Self {
        let bar = ProgressBar::new(turns);
        if let Ok(style) = ProgressStyle::with_template("{pos}/{len} turns  {wide_msg}") {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// On a terminal, a thread that draws until the turn is over: none of those that are measured does. It is to be woken
    /// when [`Shared::end`] was said.
    pub(super) fn watch<'scope, 'env>(
        &self,
        scope: &'scope Scope<'scope, 'env>,
        job: &'env Job,
        shared: &'env Shared,
    ) -> Option<ScopedJoinHandle<'scope, ()>> {
        if self.bar.is_hidden() {
            return None;
        }
        let bar = self.bar.clone();
        let draw = move || {
            while !shared.over.load(Ordering::Relaxed) {
                thread::park_timeout(PERIOD);
                let rate = shared.rate() / 1e9;
                let (rw, block, depth) = (job.name(), job.asked(), job.depth());
                bar.set_message(format!("{} {rw} {block} depth {depth}: {rate:.3} GB/s", shared.path.name()));
            }
        };
        // Without it the run is the same.
        thread::Builder::new().spawn_scoped(scope, draw).ok()
    }

    pub(super) fn turn_is_over(&self) {
        self.bar.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
