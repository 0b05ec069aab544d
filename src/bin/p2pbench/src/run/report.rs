//! Results: rows for scripts, a table for people.

use std::time::Duration;

use hdrhistogram::Histogram;
use p2pdma::machine::{Machine, MachineKind};
use serde::Serialize;

use super::{
    cache::Cache,
    distribution::Distribution,
    ends::Ends,
    job::Job,
    lane::Lane,
    limit::{Limit, Links},
    numa::{self, Placement},
    spread::Spread,
    tally::Tally,
    traffic::Traffic,
};
use crate::block::{Block, Size};
use crate::cli::Path;
use crate::facts::MachineFacts;
use crate::failure::Failure;

/// One run. The keys are a contract with scripts: others may be added, none renamed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: &'static str,
    pub(super) machine: MachineFacts,
    /// Whether it was stopped before its end: then some rows may be missing, and the last ones are short.
    pub(super) interrupted: bool,
    rows: Vec<Row>,
}

/// One path.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// The run's name in its job file.
    pub(super) run: Option<String>,
    pub(super) path: &'static str,
    pub(super) rw: &'static str,
    pub(super) source: String,
    pub(super) peer: String,
    /// The file that what was read went on to from the peer; `null` where nothing was copied.
    pub(super) copy_to: Option<String>,
    /// How storage and peer memory meet: `p2pmem` or `module`.
    pub(super) way: &'static str,
    /// Of a mix, the most that an operation moves.
    pub(super) block_bytes: u64,
    /// The sizes of a mix, and their shares; `null` for a single size.
    pub(super) block_mix: Option<Vec<Size>>,
    /// As it was asked for.
    #[serde(skip)]
    pub(super) block: Block,
    pub(super) depth: u32,
    pub(super) jobs: u32,
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    /// For so long it worked before anything was counted.
    pub(super) warmup_seconds: f64,
    pub(super) bytes_per_second: f64,
    pub(super) iops: f64,
    pub(super) latency_us: Latency,
    /// Of some operations, until the queue had taken them; on the way through the host, the copy of what is written with it.
    pub(super) prepare_us: Option<Latency>,
    /// The system call that started them.
    pub(super) submit_us: Option<Latency>,
    /// From the receipt on; on the way through the host, the copy of what was read with it.
    pub(super) complete_us: Option<Latency>,
    pub(super) latency_distribution: Distribution,
    pub(super) cpu_seconds: Option<f64>,
    /// Of these.
    pub(super) cpu_user_seconds: Option<f64>,
    pub(super) cpu_system_seconds: Option<f64>,
    /// By 10^9 bytes.
    pub(super) cpu_user_seconds_per_gb: Option<f64>,
    pub(super) cpu_system_seconds_per_gb: Option<f64>,
    /// CPU seconds of all kernel threads of the machine in the turns, for this row and for whatever else it did; what the threads
    /// of io_uring took is in `cpu_seconds`. `null` where they are not to be seen, and as [`limit`](Self::limit) is.
    pub(super) cpu_kernel_threads_seconds: Option<f64>,
    /// By 10^9 bytes.
    pub(super) cpu_kernel_threads_seconds_per_gb: Option<f64>,
    /// Between processors and host memory. `null` as [`limit`](Self::limit) is.
    pub(super) host_memory: Option<Traffic>,
    pub(super) bytes_direct: u64,
    pub(super) bytes_bounced: u64,
    /// Of these two, in a word.
    pub(super) went: &'static str,
    /// Whether the page cache of the file grew in a turn, though the bytes are said to be direct and nothing watched them: part of
    /// them may have gone through host memory, or somebody else used the file.
    pub(super) suspect: bool,
    pub(super) evidence: Option<String>,
    /// Whether this is the sum of several pairs of source and peer that worked at the same time; they have rows of their own.
    pub(super) aggregate: bool,
    /// What kept it from being faster. `null` in the row of one of several pairs: the processors work for all of them.
    pub(super) limit: Option<Limit>,
    /// Whether storage had the writes of a turn when the clock stopped. `null` for reads.
    pub(super) synced: Option<bool>,
    /// Where the threads of each source worked; empty without `--numa`.
    pub(super) numa: Vec<Placement>,
    /// Bytes compared with the host's reading before the measurement; `null` without `--verify`, and where nothing is direct.
    pub(super) bytes_verified: Option<u64>,
    /// Bytes that lay in the slots of peer memory after the last turn, and were what the host read there; of an operation that
    /// shares its place with another write, not. `null` as `bytes_verified`, and in the row of one of several pairs.
    pub(super) bytes_verified_after: Option<u64>,
    /// Whether it was stopped, by a failure or by whoever started it, before it had all its turns.
    pub(super) cut_short: bool,
    /// Of each turn: the paths take turns, so that a drift of the machine's speed hits all alike.
    pub(super) turns_bytes_per_second: Vec<f64>,
    /// `null` where no turn moved a byte.
    pub(super) spread: Option<Spread>,
    /// Of the page cache at the start of each pass over the span: `dropped`, or `warm` (on the mock machine). `null` where the
    /// page cache is not used.
    pub(super) cache: Option<&'static str>,
}

/// From submission to receipt, in microseconds; with a bounce, to the end of the copy.
#[derive(Debug, Serialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) max: f64,
}

impl Report {
    pub(super) fn new(machine: &Machine, rows: Vec<Row>, interrupted: bool) -> Self {
        Self { schema: "p2pbench.run/1", machine: MachineFacts::of(machine), interrupted, rows }
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Whether it comes from no hardware.
    pub(super) fn is_mock(&self) -> bool {
        self.machine.kind == MachineKind::Mock.to_string()
    }
}

/// What the rows of one job have in common.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) job: &'a Job,
    pub(super) pairs: &'a [Ends<'a>],
    pub(super) links: &'a Links,
    /// Bytes of each pair that were compared; empty if none were.
    pub(super) verified: &'a [u64],
    pub(super) places: &'a [&'a Placement],
    /// Bytes of all pairs that were compared after the last turn; `None` if that was not asked for.
    pub(super) verified_after: Option<u64>,
    /// Seconds.
    pub(super) warmup: f64,
    /// Whether it did not come to its end.
    pub(super) cut_short: bool,
}

impl Rows<'_> {
    /// A row for each pair, and one for all of them where there are several. A path on which nothing moved has none.
    pub(super) fn add(&self, lane: &Lane, rows: &mut Vec<Row>) -> Result<(), Failure> {
        for ends in self.pairs {
            self.add_of(lane, std::slice::from_ref(ends), rows)?;
        }
        if self.pairs.len() > 1 { self.add_of(lane, self.pairs, rows) } else { Ok(()) }
    }

    fn add_of(&self, lane: &Lane, pairs: &[Ends<'_>], rows: &mut Vec<Row>) -> Result<(), Failure> {
        let workers = lane.workers.iter().filter(|worker| pairs.iter().any(|ends| ends.pair == worker.pair));
        let tally = Tally::sum(workers.map(|worker| &worker.tally)).map_err(std::io::Error::other)?;
        if tally.operations > 0 {
            rows.push(self.row(lane, pairs, &tally));
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "rates of bytes and operations far below 2^52")]
    fn row(&self, lane: &Lane, pairs: &[Ends<'_>], tally: &Tally) -> Row {
        let (job, path, clock) = (self.job, lane.path, &lane.clock);
        // What the processors do for one of several pairs cannot be told from what they do for the others.
        let all = pairs.len() == self.pairs.len();
        let (cpu, threads) = (clock.cpu.filter(|_| all), clock.kernel_threads.filter(|_| all));
        let seconds = tally.elapsed().as_secs_f64();
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let turns = tally.rates();
        let cache = lane.workers.iter().find_map(|worker| worker.cache.as_ref());
        let has_source = |place: &Placement| pairs.iter().any(|ends| ends.file.to_string() == place.source);
        let verified = pairs.iter().filter_map(|ends| self.verified.get(ends.pair));
        Row {
            run: self.name.map(str::to_owned),
            path: path.name(),
            rw: job.name(),
            source: names(pairs.iter().map(|ends| ends.file.to_string())),
            peer: names(pairs.iter().map(|ends| ends.peer.memory.provider().to_string())),
            copy_to: pairs.first().and_then(|ends| ends.copy_to).map(ToString::to_string),
            way: pairs.first().map_or("", |ends| ends.peer.way.name()),
            block_bytes: job.block(),
            block_mix: job.mix().map(<[Size]>::to_vec),
            block: job.asked().clone(),
            depth: job.depth(),
            jobs: job.jobs(),
            bytes: tally.bytes(),
            seconds,
            warmup_seconds: self.warmup,
            bytes_per_second: rate(tally.bytes()),
            iops: rate(tally.operations),
            latency_us: Latency::of(&tally.latency),
            prepare_us: Latency::of_some(&tally.parts.prepare),
            submit_us: Latency::of_some(&tally.parts.submit),
            complete_us: Latency::of_some(&tally.parts.complete),
            latency_distribution: Distribution::of(&tally.latency),
            cpu_seconds: cpu.map(|cpu| cpu.all().as_secs_f64()),
            cpu_user_seconds: cpu.map(|cpu| cpu.user.as_secs_f64()),
            cpu_system_seconds: cpu.map(|cpu| cpu.system.as_secs_f64()),
            cpu_user_seconds_per_gb: cpu.and_then(|cpu| per_gigabyte(cpu.user, tally.bytes())),
            cpu_system_seconds_per_gb: cpu.and_then(|cpu| per_gigabyte(cpu.system, tally.bytes())),
            cpu_kernel_threads_seconds: threads.map(|spent| spent.as_secs_f64()),
            cpu_kernel_threads_seconds_per_gb: threads.and_then(|spent| per_gigabyte(spent, tally.bytes())),
            host_memory: all.then(|| clock.traffic.of(tally.bytes())),
            bytes_direct: tally.bytes_direct,
            bytes_bounced: tally.bytes_bounced,
            went: went(tally.bytes_direct, tally.bytes_bounced, tally.is_suspect()),
            suspect: tally.is_suspect(),
            evidence: tally.rests_on().map(|evidence| evidence.to_string()),
            aggregate: pairs.len() > 1,
            limit: all.then(|| self.limit(lane, pairs, rate(tally.bytes()), seconds)),
            synced: job.writes().then_some(job.fdatasync || path == Path::PageCache),
            numa: self.places.iter().filter(|place| has_source(place)).map(|&place| place.clone()).collect(),
            cache: cache.map(Cache::state),
            spread: Spread::of(&turns),
            turns_bytes_per_second: turns,
            bytes_verified_after: self.verified_after.filter(|_| all && path == Path::Direct && !self.cut_short),
            cut_short: self.cut_short,
            bytes_verified: verified.copied().reduce(|sum, bytes| sum + bytes).filter(|_| path == Path::Direct),
        }
    }

    fn limit(&self, lane: &Lane, pairs: &[Ends<'_>], rate: f64, seconds: f64) -> Limit {
        let cpu = lane.clock.cpu.filter(|_| seconds > 0.0).map(|cpu| cpu.all().as_secs_f64() / seconds);
        let between = lane.path == Path::Direct;
        let ids: Vec<usize> = pairs.iter().map(|ends| ends.pair).collect();
        let ceiling = self.links.ceiling(&ids).filter(|_| between);
        let processors = lane.workers.len().min(numa::processors_of(pairs.iter().map(|ends| ends.pin.as_ref())));
        Limit::new(rate, cpu, processors, ceiling)
    }
}

fn went(direct: u64, bounced: u64, suspect: bool) -> &'static str {
    match (direct, bounced) {
        (_, 0) if suspect => "SUSPECT",
        (_, 0) => "direct",
        (0, _) => "BOUNCED",
        _ => "PARTLY BOUNCED",
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
fn per_gigabyte(time: Duration, bytes: u64) -> Option<f64> {
    (bytes > 0).then(|| time.as_secs_f64() * 1e9 / bytes as f64)
}

/// Each once, in their order.
fn names(names: impl Iterator<Item = String>) -> String {
    let mut once: Vec<String> = Vec::new();
    for name in names {
        if !once.contains(&name) {
            once.push(name);
        }
    }
    once.join(" + ")
}

impl Latency {
    /// Of nanoseconds.
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of an operation")]
    fn of(histogram: &Histogram<u64>) -> Self {
        let microseconds = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            p50: microseconds(0.5),
            p90: microseconds(0.9),
            p99: microseconds(0.99),
            p999: microseconds(0.999),
            max: histogram.max() as f64 / 1000.0,
        }
    }

    fn of_some(histogram: &Histogram<u64>) -> Option<Self> {
        (!histogram.is_empty()).then(|| Self::of(histogram))
    }
}

impl Row {
    /// Which way the bytes went, so that nobody takes one for the other.
    pub(super) fn way_taken(&self) -> String {
        match (self.bytes_direct, self.bytes_bounced) {
            (_, 0) if self.suspect => {
                "SUSPECT: the page cache grew, so the bytes may have gone through host memory".into()
            }
            (_, 0) => format!("all direct ({})", self.evidence.as_deref().unwrap_or("nothing moved")),
            (0, _) => "BOUNCED: all through host memory".into(),
            (direct, bounced) => format!("PARTLY BOUNCED: {bounced} of {} bytes through host memory", direct + bounced),
        }
    }
}
