//! The first line: what a batch system shows beside a node that it has taken out of service.

use p2pdma::verdict::Severity;

use super::{entry::Entry, report::Report};
use crate::failure::Failure;

/// 80 columns, behind the label MOCK.
const LONGEST: usize = 74;

/// `FAIL  no_route 0000:03:00.0 -> 0000:05:00.0 and 7 more; 2 other findings`
pub(super) fn of(report: &Report) -> String {
    let word = match report.exit_code() {
        0 => "PASS",
        1 => "FAIL",
        _ => "UNKNOWN",
    };
    fit(format!(
        "{word}  {}",
        report
            .entries
            .first()
            .filter(|entry| decides(entry))
            .map_or_else(|| passed(report), |first| decided(report, first))
    ))
}

/// A check that could not be made.
pub(super) fn of_failure(failure: &Failure) -> String {
    let word = if failure.code() == 3 { "UNKNOWN" } else { "ERROR" };
    fit(format!("{word}  {failure}"))
}

fn decides(entry: &Entry) -> bool {
    entry.severity != Severity::Warning
}

/// The first warning by name: that nothing was measured, if that is one.
fn passed(report: &Report) -> String {
    let warnings = match &report.entries[..] {
        [] => String::new(),
        [only] => format!(", 1 warning: {}", only.what),
        [first, ..] => format!(", {} warnings: {}", report.entries.len(), first.what),
    };
    format!("{}, {} direct{warnings}", report.node.sum(), report.direct)
}

fn decided(report: &Report, first: &Entry) -> String {
    let more = match first.on.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    let others = match report.entries.iter().filter(|entry| decides(entry)).count() {
        1 => String::new(),
        2 => "; 1 other finding".to_owned(),
        count => format!("; {} other findings", count - 1),
    };
    let first_thing = first.on.first().map_or("", String::as_str);
    format!("{} {first_thing}{more}{others}", first.what)
}

/// Cut between words.
fn fit(line: String) -> String {
    if line.chars().count() <= LONGEST {
        return line;
    }
    let cut: String = line.chars().take(LONGEST - 3).collect();
    let end = cut.rfind(' ').filter(|end| *end > LONGEST / 2).unwrap_or(cut.len());
    format!("{}...", cut[..end].trim_end_matches([' ', ',', ';', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_between_words_and_fits() {
        assert_eq!(fit("short".into()), "short");
        let cut = fit(format!("FAIL  {}", "word ".repeat(30)));
        assert!(cut.chars().count() <= LONGEST && cut.ends_with("word..."), "{cut}");
        assert_eq!(fit("é".repeat(100)).chars().count(), LONGEST);
    }
}
