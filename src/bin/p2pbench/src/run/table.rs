//! Rows as people read them: how much moved and what that cost, then how long an operation took.

use comfy_table::{CellAlignment, Table, presets};

use super::{
    column::{self, Column, Kind},
    numa::Placement,
    report::{Report, Row},
    traffic::Traffic,
};

/// Two tables that fit on a terminal, without columns that say nothing; above them what all their rows have in common, and below
/// them what no column has room for.
pub(super) fn table(report: &Report) -> String {
    let rows = report.rows();
    if rows.is_empty() {
        return String::new();
    }
    let said: Vec<String> = column::common(rows).into_iter().map(|(name, cell)| format!("{name} {cell}")).collect();
    let of = |kind| of_columns(rows, &column::of(&[kind], rows));
    let tables = format!("{}\n{}\n\n{}", said.join("   "), of(Kind::Rate), of(Kind::Latency));
    notes(report).into_iter().fold(tables, |text, note| format!("{text}\n{note}"))
}

fn of_columns(rows: &[Row], columns: &[&Column]) -> Table {
    let cells = |row: &Row| columns.iter().map(|column| (column.cell)(row)).collect::<Vec<_>>();
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_header(columns.iter().map(|column| column.name))
        .add_rows(rows.iter().map(cells));
    for (shown, column) in table.column_iter_mut().zip(columns) {
        shown.set_cell_alignment(if column.is_number { CellAlignment::Right } else { CellAlignment::Left });
    }
    table
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
        let suspect = self.suspect.then(|| {
            format!(
                "SUSPECT: the page cache of {} grew while bytes moved that should go past it: the filesystem may copy them, or \
                 somebody else uses it (--way module sees which)",
                self.copy_to.as_ref().map_or(self.source.clone(), |target| format!("{} or {target}", self.source))
            )
        });
        let evidence = self.evidence.as_ref().filter(|_| self.path == "direct" && !self.suspect);
        let evidence = evidence.map(|evidence| format!("direct: {evidence}, that is {}", told(evidence)));
        let numa = self.numa.iter().map(Placement::text);
        numa.chain(evidence).chain(suspect).chain(traffic).chain(cache).chain(copied).chain(unsynced).collect()
    }
}

/// What a word of the library's for evidence means.
fn told(evidence: &str) -> &'static str {
    match evidence {
        "inferred" => "the conditions for direct I/O held; nothing watched the bytes",
        "witnessed" => {
            "the conditions for direct I/O held, and nothing came into the page cache of the file in any turn"
        }
        _ => "the module saw which way each operation went",
    }
}
