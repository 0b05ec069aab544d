//! `p2pbench run`: the ways that bytes can take, interleaved in one run.

mod job;
mod lane;
mod report;
mod tally;
mod verify;

use std::time::Duration;

use p2pdma::{
    Refusal,
    machine::{Access, Machine},
    memory::{PeerMemory, Provider},
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
    take_turns(&mut lanes, &job, options)?;
    let verified = match options.verify {
        true => Some(verify::verify(machine, &job, &file, &memory)?),
        false => None,
    };
    Ok(lanes.into_iter().map(|lane| Row::new(&job, &file, &memory, lane, verified)).collect())
}

/// All of them are made before any of them moves a byte: a path that cannot be had ends the run at once.
fn lanes(machine: &Machine, job: &Job, file: &File, memory: &PeerMemory, paths: &[Path]) -> Result<Vec<Lane>, Failure> {
    paths.iter().map(|&path| Lane::new(machine, job, file, memory, path)).collect()
}

fn take_turns(lanes: &mut [Lane], job: &Job, options: &RunOptions) -> Result<(), Failure> {
    let rounds = if lanes.len() > 1 { ROUNDS } else { 1 };
    for round in 0..rounds {
        let budget = match options.size {
            Some(size) => Budget::share_of_operations(size / job.block(), round, rounds),
            None => Budget::Time(Duration::from_secs_f64(options.seconds / f64::from(rounds))),
        };
        for lane in &mut *lanes {
            lane.run(job, budget)?;
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
