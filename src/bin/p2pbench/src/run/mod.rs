//! `p2pbench run`: the ways that bytes can take, interleaved in one run.

mod buffer;
mod cache;
mod column;
mod distribution;
mod ends;
mod guard;
mod html;
mod job;
mod job_file;
mod kernel_threads;
mod lane;
mod limit;
mod numa;
mod peer;
mod preset;
mod progress;
mod report;
mod shuffle;
mod sight;
mod spread;
mod table;
mod tally;
mod traffic;
mod verify;
mod witness;
mod worker;

use std::{path::PathBuf, time::Duration};

use p2pdma::{
    Refusal,
    machine::{Access, Machine},
    memory::{Copier, PeerMemory, Provider},
    storage::File,
};

use crate::{
    cli::{self, Path, RunFormat, RunOptions},
    failure::Failure,
    interrupt,
    output::Output,
};
use ends::Ends;
use html::Page;
use job::{Budget, Job};
pub(crate) use job_file::Workload;
use lane::Lane;
use limit::Links;
use numa::{Pin, Placement};
use peer::Peer;
pub(crate) use preset::Preset;
use progress::Progress;
use report::{Report, Row, Rows};

/// Turns that each path takes, so that a drift of the machine's speed hits all alike.
const ROUNDS: u32 = 6;

/// The form that the options ask for.
pub(crate) fn format(options: &RunOptions, json: bool) -> Result<RunFormat, Failure> {
    match (options.format, json) {
        (None | Some(RunFormat::Json), true) => Ok(RunFormat::Json),
        (Some(_), true) => Err(Failure::Usage(Refusal::new("--json", "it contradicts --format", "give one of them"))),
        (format, false) => Ok(format.unwrap_or(RunFormat::Table)),
    }
}

/// Measures and prints: what was measured is shown also when the run ended early, and then why it did.
pub(crate) fn command(
    machine: &Machine,
    workloads: &[Workload],
    format: RunFormat,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut measured = Measured::default();
    let end = measure(machine, workloads, &mut measured);
    if measured.rows.is_empty() {
        return end.map_err(before_anything_was_measured);
    }
    let report = Report::new(machine, measured.rows, matches!(end, Err(Failure::Interrupted { .. })));
    match format {
        RunFormat::Json => output.json(&report)?,
        RunFormat::Table => output.text(&table::table(&report))?,
        RunFormat::Html => output.document(&Page(&report).to_string())?,
        RunFormat::Csv => output.csv(report.rows())?,
    }
    end
}

/// Who was stopped then has no rows to show.
fn before_anything_was_measured(failure: Failure) -> Failure {
    match failure {
        Failure::Interrupted { flying: 0 } => {
            let cause = "interrupted before anything was measured; nothing flies any more";
            Failure::Operation(Refusal::new("run", cause, "let it run longer"))
        }
        other => other,
    }
}

/// What a run leaves behind.
#[derive(Debug, Default)]
struct Measured {
    rows: Vec<Row>,
    /// Paths that did not come to their end. A queue whose device does not answer takes its time to be dropped: first is
    /// shown what was measured.
    stuck: Vec<Lane>,
}

/// A workload whose sources are open, and whose every job was checked against them.
#[derive(Debug)]
struct Ready<'a> {
    name: Option<&'a str>,
    options: &'a RunOptions,
    files: Vec<File>,
    copy_to: Option<File>,
    jobs: Vec<Job>,
    /// What `--numa` came to, of each source; nothing without it.
    places: Vec<(Placement, Option<Pin>)>,
}

/// All workloads are made ready before one of them moves a byte: what cannot be had ends the run at once.
fn measure(machine: &Machine, workloads: &[Workload], measured: &mut Measured) -> Result<(), Failure> {
    let mut opened = Opened::default();
    let ready = workloads.iter().map(|workload| Ready::new(machine, workload, &mut opened));
    let ready = ready.collect::<Result<Vec<_>, _>>()?;
    let progress = Progress::new(ready.iter().map(Ready::turns).sum());
    for ready in &ready {
        let peers = ready.peers(machine)?;
        interrupt::watch()?;
        ready.measure(machine, &peers, &progress, measured)?;
    }
    Ok(())
}

/// Files, each once: a block device that is open for writing is open for nobody else.
#[derive(Debug, Default)]
struct Opened(Vec<(PathBuf, bool, File)>);

impl Opened {
    fn open(&mut self, machine: &Machine, path: &std::path::Path, writes: bool) -> Result<File, Failure> {
        if let Some((_, _, file)) = self.0.iter().find(|(known, for_writes, _)| known == path && *for_writes == writes)
        {
            return Ok(file.clone());
        }
        let file = File::open(machine, path, if writes { Access::ReadWrite } else { Access::Read })?;
        self.0.push((path.to_owned(), writes, file.clone()));
        Ok(file)
    }
}

impl<'a> Ready<'a> {
    fn new(machine: &Machine, workload: &'a Workload, opened: &mut Opened) -> Result<Self, Failure> {
        let options = &workload.options;
        refuse_repeats(options)?;
        allow_writes(options)?;
        let writes = options.rw.iter().any(|rw| rw.writes());
        let files = options.source.iter().map(|source| opened.open(machine, source, writes));
        let files = files.collect::<Result<Vec<File>, _>>()?;
        let copy_to = options.copy_to.as_ref().map(|target| opened.open(machine, target, true)).transpose()?;
        let jobs = Job::all(&files, options)?;
        guard::allow(machine, options, &jobs, &files, copy_to.as_ref())?;
        for peer in &options.peer {
            if let cli::Peer::Address(address) = peer {
                Provider::find(machine, *address)?;
            }
        }
        let places = files.iter().filter_map(|file| Some(numa::place(machine, options.numa?, file)));
        let places = places.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { name: workload.name.as_deref(), options, files, copy_to, jobs, places })
    }

    fn turns(&self) -> u64 {
        (rounds(self.options) as usize * self.options.path.len() * self.jobs.len()) as u64
    }

    /// With memory for as many queues as work with each at the same time.
    fn peers(&self, machine: &Machine) -> Result<Vec<Peer>, Failure> {
        let queue = |job: &Job| job.memory() * job.jobs() as usize;
        let length = self.jobs.iter().map(queue).max().unwrap_or(0) * self.files.len();
        self.options.peer.iter().map(|peer| Peer::new(machine, peer, self.options.way, length)).collect()
    }

    /// Every job on every path; rows for each.
    fn measure(
        &self,
        machine: &Machine,
        peers: &[Peer],
        progress: &Progress,
        measured: &mut Measured,
    ) -> Result<(), Failure> {
        let pins: Vec<Option<Pin>> = self.places.iter().map(|(_, pin)| pin.clone()).collect();
        let pairs = Ends::all(&self.files, &pins, peers, self.copy_to.as_ref());
        let links = Links::new(machine, &pairs)?;
        self.jobs.iter().try_for_each(|job| self.measure_job(machine, job, &pairs, &links, progress, measured))
    }

    fn measure_job(
        &self,
        machine: &Machine,
        job: &Job,
        pairs: &[Ends<'_>],
        links: &Links,
        progress: &Progress,
        measured: &mut Measured,
    ) -> Result<(), Failure> {
        let paths = &self.options.path;
        // Before the measurement: what fails here is not worth measuring. Before the pairs are bound, too: an unknown route is
        // bound when it was proved.
        let verify = self.options.verify && paths.contains(&Path::Direct);
        let before = pairs.iter().filter(|_| verify);
        let before = before.map(|ends| verify::verify(machine, job, ends));
        let before = before.collect::<Result<Vec<u64>, _>>()?;
        let mut lanes = lanes(machine, job, pairs, paths)?;
        if job.rw().writes() {
            pairs.iter().try_for_each(|ends| fill(&ends.peer.memory))?;
        }
        let mut turns = Turns { machine, job, options: self.options, progress, verified: 0 };
        let end = turns.take(&mut lanes);
        let places: Vec<&Placement> = self.places.iter().map(|(place, _)| place).collect();
        let make = Rows {
            name: self.name,
            job,
            pairs,
            links,
            verified: &before,
            verified_after: verify.then_some(turns.verified),
            places: &places,
            warmup: self.options.warmup_seconds(),
            cut_short: end.is_err(),
        };
        let made = lanes.iter().try_for_each(|lane| make.add(lane, &mut measured.rows));
        if end.is_err() {
            measured.stuck = lanes;
        }
        made.and(end)
    }
}

/// Bytes that no drive can compress or take for a hole, the same in every run.
fn fill(memory: &PeerMemory) -> Result<(), Failure> {
    let mut random = fastrand::Rng::with_seed(job::SEED);
    let mut copier = Copier::new()?;
    let mut bytes = vec![0; memory.len().min(1 << 20)];
    for start in (0..memory.len()).step_by(bytes.len()) {
        interrupt::check()?;
        let part = memory.slice(start..memory.len().min(start + bytes.len()))?;
        random.fill(&mut bytes);
        copier.write(&bytes[..part.len()], &part)?;
    }
    Ok(())
}

/// All of them are made before any of them moves a byte: a path that cannot be had ends the run at once.
fn lanes(machine: &Machine, job: &Job, pairs: &[Ends<'_>], paths: &[Path]) -> Result<Vec<Lane>, Failure> {
    paths.iter().map(|&path| Lane::new(machine, job, pairs, path)).collect()
}

/// With one path there is nothing to take turns with, and the pauses between turns would only cost.
fn rounds(options: &RunOptions) -> u32 {
    options.repeats.unwrap_or(if options.path.len() > 1 { ROUNDS } else { 1 })
}

/// The turns of one job.
struct Turns<'a> {
    machine: &'a Machine,
    job: &'a Job,
    options: &'a RunOptions,
    progress: &'a Progress,
    /// Bytes that were compared after the last turn of the direct path.
    verified: u64,
}

impl Turns<'_> {
    fn take(&mut self, lanes: &mut [Lane]) -> Result<(), Failure> {
        let (job, options, rounds) = (self.job, self.options, rounds(self.options));
        let warmup = options.warmup_seconds();
        for lane in lanes.iter_mut().filter(|_| warmup > 0.0) {
            let warm = lane.run(self.machine, job, Budget::Time(Duration::from_secs_f64(warmup)), self.progress);
            lane.forget()?;
            warm?;
        }
        for round in 0..rounds {
            let budget = match options.size {
                Some(size) => Budget::Round { total: job.operations(size), round, rounds },
                None => Budget::Time(Duration::from_secs_f64(options.seconds / f64::from(rounds))),
            };
            // What one path has read may lie in the drive's cache for the next.
            for index in order(lanes.len(), round) {
                let lane = &mut lanes[index];
                lane.run(self.machine, job, budget, self.progress)?;
                self.progress.turn_is_over();
                // At once: the next path uses the same memory, and may write to the same place.
                if round + 1 == rounds && options.verify && lane.path == Path::Direct {
                    self.verified += lane.check(job)?;
                }
            }
        }
        Ok(())
    }
}

/// Which comes first, second and so on in this round: as many rounds as there are orders have each of them once, and as
/// many as there are paths have each of these first once.
fn order(paths: usize, round: u32) -> Vec<usize> {
    let (mut left, mut number) = ((0..paths).collect::<Vec<_>>(), round as usize);
    let mut order = Vec::new();
    while !left.is_empty() {
        let index = number % left.len();
        number /= left.len();
        order.push(left.remove(index));
    }
    order
}

/// Rows are told apart by what they are of.
fn refuse_repeats(options: &RunOptions) -> Result<(), Failure> {
    let repeated = [
        ("--source", has_repeats(&options.source)),
        ("--peer", has_repeats(&options.peer)),
        ("--path", has_repeats(&options.path)),
        ("--rw", has_repeats(&options.rw)),
        ("--block", has_repeats(&options.block)),
        ("--depth", has_repeats(&options.depth)),
        ("--jobs", has_repeats(&options.jobs)),
    ];
    match repeated.into_iter().find(|(_, is_repeated)| *is_repeated) {
        None => Ok(()),
        Some((option, _)) => Err(Failure::Usage(Refusal::new(
            option,
            "it has the same value twice",
            "give each once; --repeats takes more turns",
        ))),
    }
}

fn has_repeats<T: PartialEq>(values: &[T]) -> bool {
    values.iter().enumerate().any(|(index, value)| values[..index].contains(value))
}

fn allow_writes(options: &RunOptions) -> Result<(), Failure> {
    if options.destructive {
        return Ok(());
    }
    let refused = |path: &std::path::Path, what: String| {
        let cause = format!("{what} would destroy what it holds");
        Err(Failure::Usage(Refusal::new(path.display(), cause, "add --destructive if that is meant")))
    };
    match (options.rw.iter().find(|rw| rw.writes()), options.source.first(), &options.copy_to) {
        (_, _, Some(target)) => refused(target, "--copy-to".into()),
        (Some(rw), Some(source), None) => refused(source, format!("--rw {}", rw.name())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
