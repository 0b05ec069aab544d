//! A check as people read it, and tools that fold equal output: on equal nodes every byte is the same.

use p2pdma::verdict::Severity;

use super::{entry::Entry, reason, report::Report, stable::stable};
use crate::text;

/// As many pairs of one finding are named.
const NAMED: usize = 4;

/// The reason first, then what the node is, then every finding.
pub(super) fn text(report: &Report) -> String {
    let mut text = format!("{}\n\n{}", reason::of(report), node(report));
    for (entry, number) in report.entries.iter().zip(1..) {
        text += &format!("\n{}", found(entry, number));
    }
    text
}

fn node(report: &Report) -> String {
    let node = &report.node;
    let facts = &node.facts;
    let kernel = facts.kernel.as_deref().unwrap_or("unknown");
    let module = facts.module.as_deref().unwrap_or("not loaded");
    let mut lines = format!("kernel    {kernel}, p2pdma_user {module}\n");
    if !node.parameters.is_empty() {
        lines += &text::paragraph("booted    ", &node.parameters.join(" "));
    }
    lines += &format!("node      {}, {} direct\n", node.sum(), report.direct);
    lines +=
        if report.expected { "expected  what the file says\n" } else { "expected  every SSD reaches every provider\n" };
    lines
}

/// `[1] no: no_route`; below it what it is about, why, the cure and what was read.
fn found(entry: &Entry, number: usize) -> String {
    let weight = match entry.severity {
        Severity::No => "no",
        Severity::Unknown => "cannot tell",
        Severity::Warning => "warning",
    };
    let mut lines = format!("[{number}] {weight}: {}\n", entry.what);
    lines += &named(&entry.on);
    lines += &text::paragraph("    why   ", &stable(&entry.cause));
    lines += &text::paragraph("    cure  ", &stable(&entry.cure));
    lines + &seen(entry)
}

/// What was read, of equal lines one.
fn seen(entry: &Entry) -> String {
    let mut seen: Vec<String> = Vec::new();
    for line in entry.evidence.iter().map(|evidence| stable(&evidence.to_string())) {
        if !seen.contains(&line) {
            seen.push(line);
        }
    }
    let lines: String = seen.iter().take(NAMED).map(|line| text::paragraph("    seen  ", line)).collect();
    match seen.len().saturating_sub(NAMED) {
        0 => lines,
        more => format!("{lines}    seen  and {more} more (--json names all)\n"),
    }
}

/// A line each, as whole as they are to be copied.
fn named(on: &[String]) -> String {
    let named: String = on.iter().take(NAMED).map(|thing| format!("    on    {thing}\n")).collect();
    match on.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}    on    and {more} more (--json names all)\n"),
    }
}
