//! What stands in the columns of a run's rows, for people. Decimal units: 1 GB is 10^9 bytes.

use super::{
    limit::Limit,
    report::{self, Row},
    traffic::Traffic,
};

/// One column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    kind: Kind,
    /// Whether it holds figures.
    pub(super) is_number: bool,
    pub(super) cell: fn(&Row) -> String,
}

/// What a column tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// What a row is of: in every table, so that no figure stands without it.
    Row,
    /// The same, but said once above the tables where all rows have it in common.
    Work,
    /// How much moved, and what that cost.
    Rate,
    /// How long an operation took.
    Latency,
    /// With what, in part.
    Parts,
    /// Whose processor time it took.
    Cost,
    /// Which way the bytes went, and what says so.
    Proof,
}

use Kind::{Cost, Latency, Parts, Proof, Rate, Work};

/// In their order.
const COLUMNS: [Column; 34] = [
    text(Work, "run", |row| row.run.clone().unwrap_or_else(none)),
    text(Kind::Row, "path", |row| row.path.into()),
    text(Kind::Row, "went", |row| row.went.into()),
    text(Work, "rw", |row| row.rw.into()),
    number(Kind::Row, "block", |row| row.block.to_string()),
    number(Work, "depth", |row| row.depth.to_string()),
    number(Work, "jobs", |row| row.jobs.to_string()),
    text(Work, "source", |row| {
        row.copy_to.as_ref().map_or(row.source.clone(), |target| format!("{} > {target}", row.source))
    }),
    text(Work, "peer", |row| row.peer.clone()),
    text(Work, "way", |row| row.way.into()),
    number(Rate, "GB/s", |row| format!("{:.3}", row.bytes_per_second / 1e9)),
    number(Rate, "+- %", deviation),
    number(Rate, "IOPS", |row| format!("{:.0}", row.iops)),
    number(Rate, "CPU s/GB", |row| per_gigabyte(user(row).zip(system(row)).map(|(user, system)| user + system))),
    number(Cost, "CPU %", |row| limits(row, |[_, cpu, _]| cpu)),
    number(Rate, "link %", |row| limits(row, |[.., link]| link)),
    text(Rate, "limit", |row| limits(row, |[met, ..]| met)),
    number(Rate, "mem B/B", |row| row.host_memory.as_ref().map_or_else(none, Traffic::cell)),
    number(Latency, "p50 us", |row| one_digit(row.latency_us.p50)),
    number(Latency, "p90 us", |row| one_digit(row.latency_us.p90)),
    number(Latency, "p99 us", |row| one_digit(row.latency_us.p99)),
    number(Latency, "p99.9 us", |row| one_digit(row.latency_us.p999)),
    number(Latency, "max us", |row| one_digit(row.latency_us.max)),
    number(Parts, "prepare us", |row| median(row.prepare_us.as_ref())),
    number(Parts, "submit us", |row| median(row.submit_us.as_ref())),
    number(Parts, "complete us", |row| median(row.complete_us.as_ref())),
    number(Cost, "user s/GB", |row| per_gigabyte(user(row))),
    number(Cost, "system s/GB", |row| per_gigabyte(system(row))),
    number(Cost, "kernel threads s/GB", |row| per_gigabyte(row.cpu_kernel_threads_seconds_per_gb)),
    text(Proof, "synced", |row| row.synced.map_or_else(none, |synced| if synced { "yes" } else { "no" }.to_owned())),
    number(Proof, "bytes direct", |row| row.bytes_direct.to_string()),
    number(Proof, "bytes bounced", |row| row.bytes_bounced.to_string()),
    text(Proof, "evidence", |row| row.evidence.clone().unwrap_or_else(none)),
    number(Proof, "bytes verified", |row| row.bytes_verified.map_or_else(none, |bytes| bytes.to_string())),
];

/// What all rows have in common, and what it is.
pub(super) fn common(rows: &[Row]) -> Vec<(&'static str, String)> {
    let common = COLUMNS.iter().filter(|column| is_common(column, rows));
    let said = rows.first().into_iter().flat_map(|row| common.clone().map(|column| (column.name, (column.cell)(row))));
    said.filter(|(_, cell)| cell != NOTHING).collect()
}

/// Those of a table that tells this: without what is in common, and what no row has.
pub(super) fn of(kinds: &[Kind], rows: &[Row]) -> Vec<&'static Column> {
    let takes = |column: &&Column| [Kind::Row, Work].iter().chain(kinds).any(|kind| *kind == column.kind);
    let says = |column: &&Column| rows.iter().any(|row| (column.cell)(row) != NOTHING);
    COLUMNS.iter().filter(takes).filter(says).filter(|column| !is_common(column, rows)).collect()
}

fn is_common(column: &Column, rows: &[Row]) -> bool {
    column.kind == Work && rows.windows(2).all(|two| (column.cell)(&two[0]) == (column.cell)(&two[1]))
}

const fn text(kind: Kind, name: &'static str, cell: fn(&Row) -> String) -> Column {
    Column { name, kind, is_number: false, cell }
}

const fn number(kind: Kind, name: &'static str, cell: fn(&Row) -> String) -> Column {
    Column { name, kind, is_number: true, cell }
}

/// What stands where a row has no value.
const NOTHING: &str = "-";

fn none() -> String {
    NOTHING.to_owned()
}

fn one_digit(microseconds: f64) -> String {
    format!("{microseconds:.1}")
}

fn median(latency: Option<&report::Latency>) -> String {
    latency.map_or_else(none, |latency| one_digit(latency.p50))
}

fn user(row: &Row) -> Option<f64> {
    row.cpu_user_seconds_per_gb
}

fn system(row: &Row) -> Option<f64> {
    row.cpu_system_seconds_per_gb
}

fn per_gigabyte(seconds: Option<f64>) -> String {
    seconds.map_or_else(none, |seconds| format!("{seconds:.3}"))
}

fn limits(row: &Row, which: fn([String; 3]) -> String) -> String {
    row.limit.as_ref().map_or_else(none, |limit| which(Limit::cells(limit)))
}

/// How much the turns differ, if there were several.
fn deviation(row: &Row) -> String {
    let spread = row.spread.as_ref().filter(|_| row.turns_bytes_per_second.len() > 1);
    spread.map_or_else(none, |spread| format!("{:.1}", spread.percent()))
}
