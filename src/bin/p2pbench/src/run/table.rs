//! Rows as people read them. Decimal units: 1 GB is 10^9 bytes.

use comfy_table::{CellAlignment, ColumnConstraint, Table, presets};

use super::{
    limit::Limit,
    numa::Placement,
    report::{Report, Row},
    traffic::Traffic,
};

/// What a page with all of it has as columns.
pub(super) const HEADER: [&str; 23] = [
    "run",
    "path",
    "went",
    "rw",
    "block",
    "depth",
    "jobs",
    "source",
    "peer",
    "way",
    "GB/s",
    "+- %",
    "p50 us",
    "p99 us",
    "CPU s/GB",
    "limit",
    "IOPS",
    "memory B/B",
    "CPU %",
    "link %",
    "synced",
    "bytes direct",
    "bytes bounced",
];

/// Of these, those from here on have no room in a table.
const SHOWN: usize = 16;

/// What all rows have in common is said once, above the table.
const COMMON: [usize; 7] = [0, 3, 5, 6, 7, 8, 9];

/// A table that fits on a terminal, and below it what no column has room for.
pub(super) fn table(report: &Report) -> String {
    let rows: Vec<[String; HEADER.len()]> = report.rows().iter().map(Row::cells).collect();
    let Some(first) = rows.first() else { return String::new() };
    let is_common = |&column: &usize| rows.iter().all(|row| row[column] == first[column]);
    let common: Vec<usize> = COMMON.into_iter().filter(is_common).collect();
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(&HEADER[..SHOWN]).add_rows(rows.iter().map(|row| &row[..SHOWN]));
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_cell_alignment(if is_number(index) { CellAlignment::Right } else { CellAlignment::Left });
        if common.contains(&index) {
            column.set_constraint(ColumnConstraint::Hidden);
        }
    }
    let said = common.iter().filter(|&&column| first[column] != "-");
    let said: Vec<String> = said.map(|&column| format!("{} {}", HEADER[column], first[column])).collect();
    notes(report).into_iter().fold(format!("{}\n{table}", said.join("   ")), |text, note| format!("{text}\n{note}"))
}

/// Whether a column of [`HEADER`] holds figures.
pub(super) fn is_number(column: usize) -> bool {
    let texts = ["run", "path", "went", "rw", "source", "peer", "way", "limit", "synced"];
    !texts.contains(&HEADER[column])
}

/// What no column has room for, each once.
pub(super) fn notes(report: &Report) -> Vec<String> {
    let mut notes: Vec<String> = report.rows().iter().flat_map(Row::notes).collect();
    notes.sort();
    notes.dedup();
    if report.interrupted {
        notes.insert(0, "INTERRUPTED: some rows may be missing, and the last ones are of fewer turns".into());
    } else if report.rows().iter().any(|row| row.cut_short) {
        notes
            .insert(0, "CUT SHORT by a failure: some rows may be missing, and the last ones are of fewer turns".into());
    }
    notes
}

impl Row {
    /// What stands below [`HEADER`].
    pub(super) fn cells(&self) -> [String; HEADER.len()] {
        let [limit, cpu_busy, link_busy] = self.limit.as_ref().map_or(["-"; 3].map(str::to_owned), Limit::cells);
        let none = || "-".to_owned();
        let cpu = self.cpu_user_seconds_per_gb.zip(self.cpu_system_seconds_per_gb);
        [
            self.run.clone().unwrap_or_else(none),
            self.path.into(),
            self.went.into(),
            self.rw.into(),
            self.block.to_string(),
            self.depth.to_string(),
            self.jobs.to_string(),
            self.copy_to.as_ref().map_or(self.source.clone(), |target| format!("{} > {target}", self.source)),
            self.peer.clone(),
            self.way.into(),
            format!("{:.3}", self.bytes_per_second / 1e9),
            self.deviation(),
            format!("{:.1}", self.latency_us.p50),
            format!("{:.1}", self.latency_us.p99),
            cpu.map_or_else(none, |(user, system)| format!("{:.3}", user + system)),
            limit,
            format!("{:.0}", self.iops),
            self.host_memory.as_ref().map_or_else(none, Traffic::cell),
            cpu_busy,
            link_busy,
            self.synced.map_or_else(none, |synced| if synced { "yes" } else { "no" }.to_owned()),
            self.bytes_direct.to_string(),
            self.bytes_bounced.to_string(),
        ]
    }

    fn notes(&self) -> Vec<String> {
        let traffic = self.host_memory.as_ref().and_then(Traffic::note);
        let cache = self.cache.map(|cache| match cache {
            "dropped" => "page_cache: through a cache that is empty at the start of each pass and turn".to_owned(),
            cache => format!("page_cache: through a cache that is {cache}"),
        });
        let copied = (self.path != "direct" && self.bytes_bounced > 0)
            .then(|| "BOUNCED: each queue's thread copies by the CPU, while its device works on the others".to_owned());
        let unsynced = (self.synced == Some(false))
            .then(|| format!("{}: what was written may not be on storage yet (--fdatasync waits for it)", self.path));
        let numa = self.numa.iter().map(Placement::text);
        numa.chain(traffic).chain(cache).chain(copied).chain(unsynced).collect()
    }

    /// How much the turns differ, if there were several.
    fn deviation(&self) -> String {
        let spread = self.spread.as_ref().filter(|_| self.turns_bytes_per_second.len() > 1);
        spread.map_or("-".into(), |spread| format!("{:.1}", spread.percent()))
    }
}
