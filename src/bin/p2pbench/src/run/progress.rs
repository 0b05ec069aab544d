//! A line that shows, on a terminal, that something moves.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{job::Job, tally::Tally};
use crate::cli::Path;

/// Often enough to read, seldom enough to cost nothing.
const PERIOD: Duration = Duration::from_millis(200);

/// Turns done of all turns, and what moves now. Goes to stderr, and nowhere if that is no terminal.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    /// Asked once: the answer takes longer than a clock.
    hidden: bool,
    shown: Instant,
}

impl Progress {
    pub(super) fn new(turns: u64) -> Self {
        let bar = ProgressBar::new(turns);
        if let Ok(style) = ProgressStyle::with_template("{pos}/{len} turns  {wide_msg}") {
            bar.set_style(style);
        }
        Self { hidden: bar.is_hidden(), bar, shown: Instant::now() }
    }

    /// Something moved, at this time.
    pub(super) fn moved(&mut self, now: Instant, path: Path, job: &Job, tally: &Tally) {
        if self.hidden || now.duration_since(self.shown) < PERIOD {
            return;
        }
        self.shown = now;
        let rate = tally.rate_now(now) / 1e9;
        let (rw, block, depth) = (job.rw().name(), crate::text::size(job.block()), job.depth());
        self.bar.set_message(format!("{} {rw} {block} depth {depth}: {rate:.3} GB/s", path.name()));
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
