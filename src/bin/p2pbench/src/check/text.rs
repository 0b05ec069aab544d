//! A check as people read it, and tools that fold equal output: on equal nodes every byte is the same.

use p2pdma::verdict::Severity;

use super::{entry::Entry, reason, report::Report};
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
    let module = facts.module.as_ref().map_or("not loaded".to_owned(), Clone::clone);
    let mut lines = format!("kernel    {kernel}, p2pdma_user {module}\n");
    if !node.parameters.is_empty() {
        lines += &text::paragraph("booted    ", &node.parameters.join(" "));
    }
    lines += &format!("node      {}, {} direct\n", node.sum(), report.direct);
    lines +=
        if report.expected { "expected  what the file says\n" } else { "expected  every SSD reaches every provider\n" };
    if report.not_measured > 0 {
        lines += &format!("measured  nothing, for {} minima of the file: give --measured\n", report.not_measured);
    }
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
    for evidence in &entry.evidence {
        lines += &text::paragraph("    seen  ", &stable(&evidence.to_string()));
    }
    lines
}

/// A line each, as whole as they are to be copied.
fn named(on: &[String]) -> String {
    let named: String = on.iter().take(NAMED).map(|thing| format!("    on    {thing}\n")).collect();
    match on.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}    on    and {more} more (--json names all)\n"),
    }
}

/// Names that the kernel gives in the order in which devices happened to answer: `nvme3n1` is `nvme*`, `259:7=` is `MAJ:MIN=`,
/// which is what lsblk calls that number. `p2pbench explain` of the pair has them as they are.
fn stable(text: &str) -> String {
    text.split_inclusive([' ', '/', '=', ',']).map(stable_part).collect()
}

fn stable_part(part: &str) -> String {
    if let Some(rest) =
        part.strip_prefix("nvme-subsys").filter(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    {
        return format!("nvme-subsys*{}", rest.trim_start_matches(|next: char| next.is_ascii_digit()));
    }
    let end = part.find(|next: char| !next.is_ascii_alphanumeric() && next != ':').unwrap_or(part.len());
    let (word, rest) = part.split_at(end);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let enumerated =
        word.strip_prefix("nvme").is_some_and(|number| number.starts_with(|first: char| first.is_ascii_digit()));
    let number =
        word.split_once(':').is_some_and(|(major, minor)| digits(major) && digits(minor)) && rest.starts_with('=');
    match (enumerated, number) {
        (true, _) => format!("nvme*{rest}"),
        (_, true) => format!("MAJ:MIN{rest}"),
        _ => part.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_between_equal_nodes_are_left_out() {
        assert_eq!(stable("it lies on nvme3n1 (NVMe multipath head)"), "it lies on nvme* (NVMe multipath head)");
        assert_eq!(
            stable("/virtual/nvme-subsystem/nvme-subsys1/nvme1n1"),
            "/virtual/nvme-subsystem/nvme-subsys*/nvme*"
        );
        assert_eq!(stable("/sys/class/nvme/nvme0/nvme0c0n1 = x"), "/sys/class/nvme/nvme*/nvme* = x");
        assert_eq!(
            stable("after `echo 259:5=0000:01:00.0,0000:02:00.0 >/sys/x`"),
            "after `echo MAJ:MIN=0000:01:00.0,0000:02:00.0 >/sys/x`"
        );
        assert_eq!(stable("nvme_core.multipath=N at 0000:03:00.0"), "nvme_core.multipath=N at 0000:03:00.0");
    }
}
