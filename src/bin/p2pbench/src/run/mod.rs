//! `p2pbench run`: the ways that bytes can take, interleaved in one run.

mod cache;
mod job;
mod lane;
mod report;
mod spread;
mod tally;
mod verify;

use std::time::Duration;

use p2pdma::{
    Refusal,
    machine::{Access, Machine},
    memory::{Copier, PeerMemory, Provider},
    storage::File,
};

use crate::{
    cli::{Path, RunOptions},
    failure::Failure,
    output::Output,
};
use job::{Budget, Job};
use lane::Lane;
use report::{Report, Row};

/// Turns that each path takes, so that a drift of the machine's speed hits all alike.
const ROUNDS: u32 = 6;

/// Measures and prints.
pub(crate) fn command(machine: &Machine, options: &RunOptions, output: &mut Output, json: bool) -> Result<(), Failure> {
    let report = Report::new(machine, measure(machine, options)?);
    if json {
        output.json(&report)?;
    } else {
        output.text(&report.table())?;
    }
    Ok(())
}

/// Measures every path that `options` names; a row each.
pub(crate) fn measure(machine: &Machine, options: &RunOptions) -> Result<Vec<Row>, Failure> {
    allow_writes(options)?;
    let access = if options.rw.writes() { Access::ReadWrite } else { Access::Read };
    let file = File::open(machine, &options.source, access)?;
    let provider = Provider::find(machine, options.peer)?;
    let job = Job::new(&file, options)?;
    let memory = provider.allocate(job.memory())?;
    let mut lanes = lanes(machine, &job, &file, &memory, &options.path)?;
    // Before the measurement: what fails here is not worth measuring.
    let verified = match options.verify && options.path.contains(&Path::Direct) {
        true => Some(verify::verify(machine, &job, &file, &memory)?),
        false => None,
    };
    if options.rw.writes() {
        fill(&memory)?;
    }
    take_turns(&mut lanes, &job, options)?;
    lanes.sort_by_key(|lane| options.path.iter().position(|&path| path == lane.path()));
    Ok(lanes.into_iter().map(|lane| Row::new(&job, &file, &memory, lane, verified)).collect())
}

/// Bytes that no drive can compress or take for a hole, the same in every run.
fn fill(memory: &PeerMemory) -> Result<(), Failure> {
    let mut random = fastrand::Rng::with_seed(job::SEED);
    let mut copier = Copier::new()?;
    let mut bytes = vec![0; memory.len().min(1 << 20)];
    for start in (0..memory.len()).step_by(bytes.len()) {
        let part = memory.slice(start..memory.len().min(start + bytes.len()))?;
        random.fill(&mut bytes);
        copier.write(&bytes[..part.len()], &part)?;
    }
    Ok(())
}

/// All of them are made before any of them moves a byte: a path that cannot be had ends the run at once.
fn lanes(machine: &Machine, job: &Job, file: &File, memory: &PeerMemory, paths: &[Path]) -> Result<Vec<Lane>, Failure> {
    paths.iter().map(|&path| Lane::new(machine, job, file, memory, path)).collect()
}

fn take_turns(lanes: &mut [Lane], job: &Job, options: &RunOptions) -> Result<(), Failure> {
    let rounds = options.repeats.unwrap_or(if lanes.len() > 1 { ROUNDS } else { 1 });
    if options.size.is_none() {
        // Where time is the measure, the first turn of each warms up and does not count.
        for lane in &mut *lanes {
            lane.run(job, Budget::Time(Duration::from_secs_f64(options.seconds / 20.0)))?;
            lane.forget()?;
        }
    }
    for round in 0..rounds {
        // What one path has read may lie in the drive's cache for the next: each goes first equally often.
        lanes.reverse();
        let budget = match options.size {
            Some(size) => Budget::share_of_operations(size / job.block(), round, rounds),
            None => Budget::Time(Duration::from_secs_f64(options.seconds / f64::from(rounds))),
        };
        for lane in &mut *lanes {
            lane.run(job, budget)?;
            lane.tally.close_turn();
        }
    }
    Ok(())
}

fn allow_writes(options: &RunOptions) -> Result<(), Failure> {
    if options.rw.writes() && !options.destructive {
        let cause = format!("--rw {} would destroy what it holds", options.rw.name());
        return Err(Failure::Usage(Refusal::new(
            options.source.display(),
            cause,
            "add --destructive if that is meant",
        )));
    }
    Ok(())
}
