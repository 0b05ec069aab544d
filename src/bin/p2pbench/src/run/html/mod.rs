//! The report as a page: one file with everything in it, for a browser without a network.

mod figures;
mod plot;
mod scale;

use std::fmt;

use super::{
    column::{self, Column, Kind},
    report::{Report, Row},
    table::notes,
};
use crate::text::escape;
use figures::Group;

/// What the rows are shown in: each table is no wider than a page.
const TABLES: [(&str, &[Kind]); 3] = [
    ("Throughput", &[Kind::Rate]),
    ("Latency", &[Kind::Latency, Kind::Parts]),
    ("Processor time, and which way the bytes went", &[Kind::Cost, Kind::Proof]),
];

/// Displays as an HTML document.
#[derive(Debug)]
pub(super) struct Page<'a>(pub(super) &'a Report);

impl Page<'_> {
    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mock = if self.0.is_mock() { "MOCK: " } else { "" };
        let title = format!("{mock}p2pbench run");
        writeln!(f, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>")?;
        writeln!(f, "<meta name=\"viewport\" content=\"width=device-width\">")?;
        writeln!(f, "<style>\n{}</style>\n</head>\n<body>\n<h1>{title}</h1>", include_str!("style.css"))?;
        if self.0.is_mock() {
            let text =
                "MOCK: files and memory instead of devices. No figure on this page is a measurement of hardware.";
            writeln!(f, "<p class=\"banner\">{text}</p>")?;
        }
        if self.0.interrupted {
            let text = "INTERRUPTED: some rows may be missing, and the last ones are short.";
            writeln!(f, "<p class=\"banner\">{text}</p>")?;
        }
        Ok(())
    }

    fn facts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = &self.0.machine;
        let version = format!("p2pbench {}", env!("CARGO_PKG_VERSION"));
        let facts = [
            ("machine", machine.kind.as_str()),
            ("kernel", machine.kernel.as_deref().unwrap_or("unknown")),
            ("module", machine.module.as_deref().unwrap_or("p2pdma_user is not loaded")),
            ("measured by", &version),
        ];
        writeln!(f, "<dl>")?;
        for (name, value) in facts {
            writeln!(f, "<dt>{name}</dt><dd>{}</dd>", escape(value))?;
        }
        writeln!(f, "</dl>")
    }

    fn tables(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "<h2>Rows</h2>\n<dl>")?;
        for (name, value) in column::common(self.0.rows()) {
            writeln!(f, "<dt>{name}</dt><dd>{}</dd>", escape(&value))?;
        }
        writeln!(f, "</dl>")?;
        TABLES.into_iter().try_for_each(|(title, kinds)| self.table(f, title, &column::of(kinds, self.0.rows())))
    }

    fn table(&self, f: &mut fmt::Formatter<'_>, title: &str, columns: &[&Column]) -> fmt::Result {
        writeln!(f, "<h3>{title}</h3>\n<div class=\"wide\">\n<table>\n<thead><tr><th>bytes</th>")?;
        // The first cell of each row says it.
        let columns: Vec<&Column> = columns.iter().copied().filter(|column| column.name != "went").collect();
        for column in &columns {
            write!(f, "<th{}>{}</th>", class(column), column.name)?;
        }
        writeln!(f, "</tr></thead>\n<tbody>")?;
        self.0.rows().iter().try_for_each(|row| self.row(f, row, &columns))?;
        writeln!(f, "</tbody>\n</table>\n</div>")
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, row: &Row, columns: &[&Column]) -> fmt::Result {
        let bounced = if row.bytes_bounced > 0 || row.suspect { " class=\"bounced\"" } else { "" };
        let mock = if self.0.is_mock() { "MOCK: " } else { "" };
        let way = escape(&row.way_taken());
        write!(f, "<tr><td{bounced} title=\"{way}\">{mock}{}</td>", escape(row.went))?;
        for column in columns {
            write!(f, "<td{}>{}</td>", class(column), escape(&(column.cell)(row)))?;
        }
        writeln!(f, "</tr>")
    }

    fn plots(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for group in Group::all(self.0.rows(), self.0.is_mock()) {
            writeln!(f, "<h2>{}</h2>\n<div class=\"plots\">", escape(&group.title()))?;
            group.over_the_sweep().iter().try_for_each(|plot| write!(f, "{plot}"))?;
            group.distributions().iter().try_for_each(|plot| write!(f, "{plot}"))?;
            writeln!(f, "</div>")?;
        }
        Ok(())
    }
}

fn class(column: &Column) -> &'static str {
    if column.is_number { " class=\"number\"" } else { "" }
}

impl fmt::Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        self.facts(f)?;
        self.tables(f)?;
        writeln!(
            f,
            "<p>1 GB is 10<sup>9</sup> bytes. A hollow sign: bytes went through host memory, or may have. Latency is from \
                     submission to receipt, with always as many in flight as the depth says; with a bounce, to the end of the copy. Prepare, submit and \
                     complete are medians of one operation in 128: before, in and after what the device does.</p>"
        )?;
        notes(self.0).iter().try_for_each(|note| writeln!(f, "<p>{}</p>", escape(note)))?;
        self.plots(f)?;
        writeln!(f, "</body>\n</html>")
    }
}
