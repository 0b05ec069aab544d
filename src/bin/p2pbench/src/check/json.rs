//! A check as programs read it.

use p2pdma::topology::RULES;
use serde::Serialize;

use super::{entry::Entry, reason, report::Report};
use crate::facts::MachineFacts;

/// Everything. The keys are a contract with scripts (schema/check.json): others may be added, none renamed.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    schema: &'static str,
    machine: &'a MachineFacts,
    /// The kernel whose rules were applied.
    rules: &'static str,
    /// `pass`, `fail` or `unknown`, as the exit code is.
    answer: &'static str,
    /// One line of at most 80 columns.
    reason: String,
    /// Whether it was held against a file.
    expected: bool,
    parameters: &'a [String],
    ssds: usize,
    providers: usize,
    pairs: usize,
    /// How many of the pairs are direct.
    direct: usize,
    /// Minima that nothing measured can be held against.
    not_measured: usize,
    /// The heaviest first.
    findings: Vec<Found<'a>>,
}

#[derive(Debug, Serialize)]
struct Found<'a> {
    what: &'static str,
    /// `no`, `unknown` or `warning`.
    severity: &'static str,
    /// Pairs, devices, or `node`.
    on: &'a [String],
    cause: &'a str,
    cure: &'a str,
    evidence: Vec<Seen<'a>>,
}

#[derive(Debug, Serialize)]
struct Seen<'a> {
    path: &'a str,
    value: &'a str,
}

impl<'a> Document<'a> {
    pub(super) fn new(report: &'a Report) -> Self {
        let node = &report.node;
        Self {
            schema: "p2pbench.check/1",
            machine: &node.facts,
            rules: RULES,
            answer: report.answer(),
            reason: reason::of(report),
            expected: report.expected,
            parameters: &node.parameters,
            ssds: node.ssds(),
            providers: node.providers(),
            pairs: node.pairs.len(),
            direct: report.direct,
            not_measured: report.not_measured,
            findings: report.entries.iter().map(Found::new).collect(),
        }
    }
}

impl<'a> Found<'a> {
    fn new(entry: &'a Entry) -> Self {
        let Entry { what, severity, on, cause, cure, evidence, .. } = entry;
        let seen = evidence.iter().map(|seen| Seen { path: &seen.path, value: &seen.value });
        Self { what, severity: severity.as_str(), on, cause, cure, evidence: seen.collect() }
    }
}
