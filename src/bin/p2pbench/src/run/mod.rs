//! `p2pbench run`: the ways that bytes can take, interleaved in one run.

mod cache;
mod distribution;
mod html;
mod job;
mod lane;
mod peer;
mod progress;
mod report;
mod spread;
mod tally;
mod verify;

use std::time::Duration;

use p2pdma::{
    Refusal,
    machine::{Access, Machine},
    memory::{Copier, PeerMemory},
    storage::File,
};

use crate::{
    cli::{Path, RunFormat, RunOptions},
    failure::Failure,
    interrupt,
    output::Output,
};
use html::Page;
use job::{Budget, Job};
use lane::Lane;
use peer::Peer;
use progress::Progress;
use report::{Report, Row};

/// Turns that each path takes, so that a drift of the machine's speed hits all alike.
const ROUNDS: u32 = 6;

/// Measures and prints: what was measured is shown also when the run ended early, and then why it did.
pub(crate) fn command(machine: &Machine, options: &RunOptions, output: &mut Output, json: bool) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let end = measure(machine, options, &mut rows);
    if rows.is_empty() {
        return end;
    }
    let report = Report::new(machine, rows, matches!(end, Err(Failure::Interrupted)));
    match options.format.unwrap_or(if json { RunFormat::Json } else { RunFormat::Table }) {
        RunFormat::Json => output.json(&report)?,
        RunFormat::Table => output.text(&report.table())?,
        RunFormat::Html => output.document(&Page(&report).to_string())?,
        RunFormat::Csv => output.csv(report.rows())?,
    }
    end
}

/// Measures every job on every path that `options` name; a row each.
fn measure(machine: &Machine, options: &RunOptions, rows: &mut Vec<Row>) -> Result<(), Failure> {
    allow_writes(options)?;
    let writes = options.rw.iter().any(|rw| rw.writes());
    let file = File::open(machine, &options.source, if writes { Access::ReadWrite } else { Access::Read })?;
    let jobs = Job::all(&file, options)?;
    let peer = Peer::new(machine, options, jobs.iter().map(Job::memory).max().unwrap_or(0))?;
    interrupt::watch()?;
    let turns = rounds(options) as usize * options.path.len() * jobs.len();
    let mut progress = Progress::new(turns as u64);
    jobs.iter().try_for_each(|job| measure_job(machine, job, &file, &peer, options, &mut progress, rows))
}

fn measure_job(
    machine: &Machine,
    job: &Job,
    file: &File,
    peer: &Peer,
    options: &RunOptions,
    progress: &mut Progress,
    rows: &mut Vec<Row>,
) -> Result<(), Failure> {
    let memory = &peer.memory;
    let mut lanes = lanes(machine, job, file, memory, &options.path)?;
    // Before the measurement: what fails here is not worth measuring.
    let verified = match options.verify && options.path.contains(&Path::Direct) {
        true => Some(verify::verify(machine, job, file, memory)?),
        false => None,
    };
    if job.rw().writes() {
        fill(memory)?;
    }
    let end = take_turns(&mut lanes, job, options, progress);
    lanes.sort_by_key(|lane| options.path.iter().position(|&path| path == lane.path()));
    let measured = lanes.into_iter().filter(|lane| lane.tally.operations > 0);
    rows.extend(measured.map(|lane| Row::new(job, file, peer, lane, verified)));
    end
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

/// With one path there is nothing to take turns with, and the pauses between turns would only cost.
fn rounds(options: &RunOptions) -> u32 {
    options.repeats.unwrap_or(if options.path.len() > 1 { ROUNDS } else { 1 })
}

fn take_turns(lanes: &mut [Lane], job: &Job, options: &RunOptions, progress: &mut Progress) -> Result<(), Failure> {
    let rounds = rounds(options);
    if options.size.is_none() {
        // Where time is the measure, the first turn of each warms up and does not count.
        for lane in &mut *lanes {
            let warm = lane.run(job, Budget::Time(Duration::from_secs_f64(options.seconds / 20.0)), progress);
            lane.forget()?;
            warm?;
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
            let turn = lane.run(job, budget, progress);
            lane.tally.close_turn();
            turn?;
            progress.turn_is_over();
        }
    }
    Ok(())
}

fn allow_writes(options: &RunOptions) -> Result<(), Failure> {
    let writes = options.rw.iter().find(|rw| rw.writes());
    if let (Some(rw), false) = (writes, options.destructive) {
        let cause = format!("--rw {} would destroy what it holds", rw.name());
        return Err(Failure::Usage(Refusal::new(
            options.source.display(),
            cause,
            "add --destructive if that is meant",
        )));
    }
    Ok(())
}
