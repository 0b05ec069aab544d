//! One path: all of its queues, and the clock over them.

use std::{
    panic::resume_unwind,
    sync::RwLock,
    thread::{self, Scope},
};

use p2pdma::{Refusal, machine::Machine};

use super::{
    ends::Ends,
    job::{Budget, Job},
    kernel_threads,
    progress::{Progress, Shared},
    tally::{Clock, Cpu, cpu_of_all},
    traffic::Reading,
    worker::{Turn, Worker},
};
use crate::{cli::Path, failure::Failure, interrupt};

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

    /// One turn.
    ///
    /// # Errors
    ///
    /// [`Failure::Interrupted`] when it was asked to stop: then nothing flies of a device that answers, and what has moved is
    /// counted.
    pub(super) fn run(
        &mut self,
        machine: &Machine,
        job: &Job,
        budget: Budget,
        progress: &Progress,
    ) -> Result<(), Failure> {
        let queues = u32::try_from(self.workers.len()).unwrap_or(u32::MAX);
        let turn = Turn { job, shared: Shared::new(self.path, self.workers.len()), gate: RwLock::new(()) };
        interrupt::check()?;
        self.workers.iter_mut().for_each(Worker::begin_looking);
        let threads = kernel_threads::Reading::now(machine.facts());
        let traffic = Reading::now(machine.facts());
        let before = cpu_of_all();
        let ended = thread::scope(|scope| {
            let watcher = progress.watch(scope, job, &turn.shared);
            let ended = turn_of_all(scope, &mut self.workers, &turn, budget, queues);
            turn.shared.end();
            watcher.iter().for_each(|watcher| watcher.thread().unpark());
            ended
        });
        let spent = cpu_of_all().zip(before).map(|(now, then)| now.minus(then));
        self.clock.traffic.turn(&traffic, &Reading::now(machine.facts()));
        let aside = self.workers.iter().fold(Cpu::default(), |sum, worker| sum.plus(worker.aside.cpu));
        let threads = kernel_threads::Reading::now(machine.facts()).since(&threads);
        self.clock.turn(spent.map(|spent| spent.minus(aside)), threads);
        self.workers.iter_mut().for_each(Worker::look);
        told(ended).map_or(Ok(()), Err)
    }

    /// Compares what the slots hold with storage: see [`Worker::check`]. Gives the number of bytes that were compared.
    pub(super) fn check(&mut self, job: &Job) -> Result<u64, Failure> {
        self.workers.iter_mut().map(|worker| worker.check(job)).sum()
    }
}

/// One failure is told, and rather what went wrong than that somebody stopped it.
fn told(ended: Vec<Option<Failure>>) -> Option<Failure> {
    let failures = ended.into_iter().flatten();
    failures.reduce(|one, other| match (one, other) {
        (Failure::Interrupted { flying: one }, Failure::Interrupted { flying: other }) => {
            Failure::Interrupted { flying: one + other }
        }
        (Failure::Interrupted { .. }, wrong) | (wrong, _) => wrong,
    })
}

fn turn_of_all<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    workers: &'env mut [Worker],
    turn: &'env Turn<'_>,
    budget: Budget,
    queues: u32,
) -> Vec<Option<Failure>> {
    let Some((first, others)) = workers.split_first_mut() else { return Vec::new() };
    let closed = turn.gate.write();
    let (mut ended, mut started) = (Vec::new(), Vec::new());
    for (number, worker) in (1..).zip(others) {
        let share = budget.of_queue(number, queues);
        let work = move || worker.turn(turn, number as usize, share);
        match thread::Builder::new().spawn_scoped(scope, work) {
            Ok(handle) => started.push(handle),
            Err(error) => {
                turn.shared.fail();
                let refusal = Refusal::new("--jobs", format!("no thread: {error}"), "use fewer");
                ended.push(Some(Failure::Operation(refusal)));
            }
        }
    }
    drop(closed);
    ended.push(first.turn(turn, 0, budget.of_queue(0, queues)));
    ended.extend(started.into_iter().map(|handle| handle.join().unwrap_or_else(|panic| resume_unwind(panic))));
    ended
}
