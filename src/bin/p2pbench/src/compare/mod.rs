//! `p2pbench compare`: documents of `run --json`, row by row, the first against each of the others.

mod document;
mod judge;

use std::fmt::Write;

use comfy_table::{CellAlignment, Table, presets};
use p2pdma::Refusal;
use serde::Serialize;

use crate::{cli::CompareOptions, failure::Failure, output::Output};
use document::Document;
use judge::{Change, Judgement};

/// One comparison. The keys are a contract with scripts: others may be added, none renamed.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    base: String,
    new: String,
    tolerance: f64,
    /// Rows that were stopped before they had all their turns, of either.
    cut_short: [usize; 2],
    /// Rows of the other document that the base lacks: compared with nothing.
    added: usize,
    rows: Vec<Judgement>,
}

/// Compares and prints. Exit code 1 if anything got worse beyond the tolerance and the noise.
pub(crate) fn command(options: &CompareOptions, json: bool) -> Result<(), Failure> {
    let base = Document::load(&options.base)?;
    // Figures of a mock machine stay labelled, wherever they are looked at.
    let mut output = Output::new(base.machine.kind());
    let reports = options.new.iter().map(|path| compare(&base, &Document::load(path)?, options.tolerance));
    let reports = reports.collect::<Result<Vec<Report>, Failure>>()?;
    if json {
        output.json(&reports)?;
    } else {
        for report in &reports {
            output.text(&report.text())?;
        }
    }
    match reports.iter().map(Report::regressions).sum::<usize>() {
        0 => Ok(()),
        // The table says which.
        _ => Err(Failure::Said(1)),
    }
}

fn compare(base: &Document, new: &Document, tolerance: f64) -> Result<Report, Failure> {
    if base.machine.kind != new.machine.kind {
        let cause = format!("it is of a {} machine, {} of a {} one", new.machine.kind, base.name, base.machine.kind);
        return Err(Failure::Usage(Refusal::new(&new.name, cause, "compare runs of one kind of machine")));
    }
    let rows = base.rows.iter().map(|row| judge::judge(row, new.find(row), tolerance)).collect();
    let added = new.rows.iter().filter(|row| base.find(row).is_none()).count();
    Ok(Report {
        schema: "p2pbench.compare/1",
        base: base.label(),
        new: new.label(),
        tolerance,
        cut_short: [base.cut_short(), new.cut_short()],
        added,
        rows,
    })
}

/// What stands above [`Judgement::cells`].
const HEADER: [&str; 14] = [
    "run",
    "path",
    "rw",
    "source",
    "peer",
    "block",
    "depth",
    "jobs",
    "base GB/s",
    "new GB/s",
    "ratio (95 %)",
    "p99 us",
    "CPU s/GB",
    "verdict",
];

impl Report {
    fn regressions(&self) -> usize {
        self.rows.iter().filter(|row| row.change.is_regression()).count()
    }

    /// A headline, and a table that both a terminal and a merge request show as one.
    fn text(&self) -> String {
        let mut text = format!("{} against {}\n\n{}\n\n", self.new, self.base, self.table());
        for (document, cut_short) in
            [&self.base, &self.new].into_iter().zip(self.cut_short).filter(|(_, rows)| *rows > 0)
        {
            let _ = writeln!(
                text,
                "CUT SHORT: {cut_short} rows of {document} were stopped before they had all their turns"
            );
        }
        if self.added > 0 {
            let _ = writeln!(text, "NOT COMPARED: {} rows of {} have no match in {}", self.added, self.new, self.base);
        }
        let (bad, all) = (self.regressions(), self.rows.len());
        let percent = self.tolerance * 100.0;
        let _ = match bad {
            0 => writeln!(text, "no regression in {all} rows (tolerance {percent} %)"),
            _ => writeln!(text, "REGRESSED: {bad} of {all} rows (tolerance {percent} %)"),
        };
        text
    }

    fn table(&self) -> Table {
        // Names stand there where runs have some.
        let unnamed = usize::from(self.rows.iter().all(|row| row.work.run.is_none()));
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN).set_header(&HEADER[unnamed..]);
        table.add_rows(self.rows.iter().map(|row| row.cells().into_iter().skip(unnamed)));
        for column in table.column_iter_mut().skip(5 - unnamed).take(8) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

impl Change {
    fn is_regression(self) -> bool {
        matches!(self, Self::Slower | Self::LessDirect | Self::Missing)
    }
}
