//! Results: rows for scripts, a table for people.

use comfy_table::{CellAlignment, Table, presets};
use p2pdma::{
    machine::{Machine, MachineKind},
    storage::File,
};
use serde::Serialize;

use super::{cache::Cache, distribution::Distribution, job::Job, lane::Lane, peer::Peer, spread::Spread};
use crate::cli::Path;
use crate::facts::MachineFacts;

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
    pub(super) path: &'static str,
    pub(super) rw: &'static str,
    pub(super) source: String,
    pub(super) peer: String,
    /// How storage and peer memory meet: `p2pmem` or `module`.
    pub(super) way: &'static str,
    pub(super) block_bytes: u64,
    pub(super) depth: u32,
    pub(super) jobs: u32,
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    pub(super) bytes_per_second: f64,
    pub(super) iops: f64,
    pub(super) latency_us: Latency,
    pub(super) latency_distribution: Distribution,
    pub(super) cpu_seconds: Option<f64>,
    pub(super) bytes_direct: u64,
    pub(super) bytes_bounced: u64,
    pub(super) evidence: Option<String>,
    /// Bytes compared with the host's reading before the measurement; `null` without `--verify`, and where nothing is direct.
    pub(super) bytes_verified: Option<u64>,
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

    /// For people.
    pub(super) fn table(&self) -> String {
        table(&self.rows)
    }
}

impl Row {
    #[expect(clippy::cast_precision_loss, reason = "rates of bytes and operations far below 2^52")]
    pub(super) fn new(job: &Job, file: &File, peer: &Peer, lane: Lane, verified: Option<u64>) -> Self {
        let (path, tally) = (lane.path(), lane.tally);
        let seconds = tally.elapsed.as_secs_f64();
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let microseconds = |quantile| tally.latency.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            path: path.name(),
            rw: job.rw().name(),
            source: file.to_string(),
            peer: peer.memory.provider().to_string(),
            way: peer.way.name(),
            block_bytes: job.block(),
            depth: job.depth(),
            jobs: 1,
            bytes: tally.bytes(),
            seconds,
            bytes_per_second: rate(tally.bytes()),
            iops: rate(tally.operations),
            latency_us: Latency {
                p50: microseconds(0.5),
                p90: microseconds(0.9),
                p99: microseconds(0.99),
                p999: microseconds(0.999),
                max: tally.latency.max() as f64 / 1000.0,
            },
            latency_distribution: Distribution::of(&tally.latency),
            cpu_seconds: tally.cpu.map(|cpu| cpu.as_secs_f64()),
            bytes_direct: tally.bytes_direct,
            bytes_bounced: tally.bytes_bounced,
            evidence: lane.evidence.map(|evidence| evidence.to_string()),
            cache: lane.cache.as_ref().map(Cache::state),
            spread: Spread::of(&tally.turns),
            turns_bytes_per_second: tally.turns,
            bytes_verified: verified.filter(|_| path == Path::Direct),
        }
    }

    /// Which way the bytes went, so that nobody takes one for the other.
    pub(super) fn way_taken(&self) -> String {
        match (self.bytes_direct, self.bytes_bounced) {
            (_, 0) => format!("all direct ({})", self.evidence.as_deref().unwrap_or("nothing moved")),
            (0, _) => "BOUNCED: all through host memory".into(),
            (direct, bounced) => format!("PARTLY BOUNCED: {bounced} of {} bytes through host memory", direct + bounced),
        }
    }

    /// What stands below [`HEADER`].
    pub(super) fn cells(&self) -> [String; HEADER.len()] {
        let gigabytes = self.gigabytes();
        let cpu = self.cpu_seconds.filter(|_| gigabytes > 0.0).map_or("-".into(), |s| format!("{:.3}", s / gigabytes));
        [
            self.cache.map_or(self.path.into(), |cache| format!("{} ({cache})", self.path)),
            self.rw.into(),
            self.source.clone(),
            self.peer.clone(),
            self.way.into(),
            self.block_bytes.to_string(),
            self.depth.to_string(),
            format!("{:.3}", self.bytes_per_second / 1e9),
            self.deviation(),
            format!("{:.0}", self.iops),
            format!("{:.1}", self.latency_us.p50),
            format!("{:.1}", self.latency_us.p99),
            cpu,
            self.bytes_direct.to_string(),
            self.bytes_bounced.to_string(),
        ]
    }

    /// How much the turns differ, if there were several.
    fn deviation(&self) -> String {
        let spread = self.spread.as_ref().filter(|_| self.turns_bytes_per_second.len() > 1);
        spread.map_or("-".into(), |spread| format!("{:.1}", spread.percent()))
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
    fn gigabytes(&self) -> f64 {
        self.bytes as f64 / 1e9
    }
}

/// The columns of a table.
pub(super) const HEADER: [&str; 15] = [
    "path",
    "rw",
    "source",
    "peer",
    "way",
    "block",
    "depth",
    "GB/s",
    "+- %",
    "IOPS",
    "p50 us",
    "p99 us",
    "CPU s/GB",
    "bytes direct",
    "bytes bounced",
];

/// Rows as people read them. Decimal units: 1 GB is 10^9 bytes.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(HEADER).add_rows(rows.iter().map(Row::cells));
    for column in table.column_iter_mut().skip(5) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}
