//! One path: all of its queues, and the clock over them.

use std::{
    panic::resume_unwind,
    sync::RwLock,
    thread::{self, Scope},
    time::Duration,
};

use p2pdma::{Refusal, machine::Machine};

use super::{
    ends::Ends,
    job::{Budget, Job},
    progress::{Progress, Shared},
    tally::{Clock, Cpu, cpu_of_all},
    traffic::Reading,
    worker::{Ended, Turn, Worker},
};
use crate::{cli::Path, failure::Failure};

/// A path that operations take. Its queues work at the same time: the first on the thread of the caller, so that a run of one
/// queue needs no other, the rest on threads of their own.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) path: Path,
    /// Those of the first pair come first.
    pub(super) workers: Vec<Worker>,
    pub(super) clock: Clock,
}

impl Lane {
    pub(super) fn new(machine: &Machine, job: &Job, pairs: &[Ends<'_>], path: Path) -> Result<Self, Failure> {
        let queues = pairs.iter().flat_map(|ends| (0..job.jobs()).map(move |number| (ends, number)));
        let workers = queues.map(|(ends, number)| Worker::new(machine, job, ends, number, path));
        Ok(Self { path, workers: workers.collect::<Result<_, _>>()?, clock: Clock::new() })
    }

    /// Starts counting anew.
    pub(super) fn forget(&mut self) -> Result<(), Failure> {
        self.clock = Clock::new();
        self.workers.iter_mut().try_for_each(Worker::forget)
    }

    /// One turn. It takes as long as the queue that takes longest.
    ///
    /// # Errors
    ///
    /// [`Failure::Interrupted`] when it was asked to stop: then nothing flies, and what has moved is counted.
    pub(super) fn run(
        &mut self,
        machine: &Machine,
        job: &Job,
        budget: Budget,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let queues = u32::try_from(self.workers.len()).unwrap_or(u32::MAX);
        let turn = Turn { job, shared: Shared::new(self.path, self.workers.len()), gate: RwLock::new(()) };
        let traffic = Reading::now(machine.facts());
        let before = cpu_of_all();
        let ended = thread::scope(|scope| turn_of_all(scope, &mut self.workers, &turn, budget, queues, progress));
        let spent = cpu_of_all().zip(before).map(|(now, then)| now.minus(then));
        self.clock.traffic.turn(&traffic, &Reading::now(machine.facts()));
        let aside = self.workers.iter().fold(Cpu::default(), |sum, worker| sum.plus(worker.aside.cpu));
        let took = ended.iter().map(|ended| ended.took).max().unwrap_or_default();
        self.clock.turn(took, spent.map(|spent| spent.minus(aside)));
        let mut failures: Vec<Failure> = ended.into_iter().filter_map(|ended| ended.failure).collect();
        // One is told, and rather what went wrong than that somebody stopped it.
        failures.sort_by_key(|failure| matches!(failure, Failure::Interrupted));
        failures.into_iter().next().map_or(Ok(()), Err)
    }
}

fn turn_of_all<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    workers: &'env mut [Worker],
    turn: &'env Turn<'_>,
    budget: Budget,
    queues: u32,
    progress: &mut Progress,
) -> Vec<Ended> {
    let Some((first, others)) = workers.split_first_mut() else { return Vec::new() };
    let closed = turn.gate.write();
    let (mut ended, mut started) = (Vec::new(), Vec::new());
    for (number, worker) in (1..).zip(others) {
        let share = budget.of_queue(number, queues);
        let work = move || worker.turn(turn, number as usize, share, None);
        match thread::Builder::new().spawn_scoped(scope, work) {
            Ok(handle) => started.push(handle),
            Err(error) => {
                turn.shared.fail();
                let refusal = Refusal::new("--jobs", format!("no thread: {error}"), "use fewer");
                ended.push(Ended { took: Duration::ZERO, failure: Some(Failure::Operation(refusal)) });
            }
        }
    }
    drop(closed);
    ended.push(first.turn(turn, 0, budget.of_queue(0, queues), Some(progress)));
    ended.extend(started.into_iter().map(|handle| handle.join().unwrap_or_else(|panic| resume_unwind(panic))));
    ended
}
