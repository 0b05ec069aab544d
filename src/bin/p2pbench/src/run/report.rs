//! Results: rows for scripts, a table for people.

use comfy_table::{CellAlignment, Table, presets};
use p2pdma::{machine::Machine, storage::File};
use serde::Serialize;

use super::{cache::Cache, job::Job, lane::Lane, peer::Peer, spread::Spread};
use crate::cli::Path;
use crate::facts::MachineFacts;

/// One run. The keys are a contract with scripts: others may be added, none renamed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: &'static str,
    machine: MachineFacts,
    /// Whether it was stopped before its end: then some rows may be missing, and the last ones are short.
    interrupted: bool,
    rows: Vec<Row>,
}

/// One path.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    path: &'static str,
    rw: &'static str,
    source: String,
    peer: String,
    /// How storage and peer memory meet: `p2pmem` or `module`.
    way: &'static str,
    block_bytes: u64,
    depth: u32,
    jobs: u32,
    bytes: u64,
    seconds: f64,
    bytes_per_second: f64,
    iops: f64,
    latency_us: Latency,
    cpu_seconds: Option<f64>,
    bytes_direct: u64,
    bytes_bounced: u64,
    evidence: Option<String>,
    /// Bytes compared with the host's reading before the measurement; `null` without `--verify`, and where nothing is direct.
    bytes_verified: Option<u64>,
    /// Of each turn: the paths take turns, so that a drift of the machine's speed hits all alike.
    turns_bytes_per_second: Vec<f64>,
    /// `null` where no turn moved a byte.
    spread: Option<Spread>,
    /// Of the page cache at the start of each pass over the span: `dropped`, or `warm` (on the mock machine). `null` where the
    /// page cache is not used.
    cache: Option<&'static str>,
}

/// From submission to receipt, in microseconds; with a bounce, to the end of the copy.
#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Report {
    pub(super) fn new(machine: &Machine, rows: Vec<Row>, interrupted: bool) -> Self {
        Self { schema: "p2pbench.run/1", machine: MachineFacts::of(machine), interrupted, rows }
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
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

    fn cells(&self) -> [String; 15] {
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

/// Rows as people read them. Decimal units: 1 GB is 10^9 bytes.
pub(crate) fn table(rows: &[Row]) -> String {
    let header = [
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
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header).add_rows(rows.iter().map(Row::cells));
    for column in table.column_iter_mut().skip(5) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}
