//! What a check comes to.

use p2pdma::verdict::Severity;

use super::{
    compare,
    entry::{self, Entry},
    expect::Expectation,
    judge,
    measured::Measured,
    node::Node,
};

/// A node, what it was held against, and everything there is to say.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) node: Node,
    /// Whether there was anything to hold it against.
    pub(super) expected: bool,
    /// Pairs that are direct.
    pub(super) direct: usize,
    /// Minima that nothing measured can be held against.
    pub(super) not_measured: usize,
    /// The heaviest first.
    pub(super) entries: Vec<Entry>,
}

impl Report {
    pub(super) fn new(node: Node, expectation: Option<&Expectation>, measured: &Measured) -> Self {
        let differences = expectation.map(|expectation| compare::entries(&node, expectation, measured));
        let links = compare::slow_links(&node, expectation);
        let judged = judge::entries(&node, expectation);
        let entries = entry::folded(differences.into_iter().flatten().chain(judged).chain(links));
        Self {
            expected: expectation.is_some(),
            direct: judge::direct(&node, judge::way(expectation)),
            not_measured: expectation.map_or(0, |expectation| compare::not_measured(expectation, measured)),
            node,
            entries,
        }
    }

    /// `pass`, `fail` or `unknown`.
    pub(super) fn answer(&self) -> &'static str {
        match self.exit_code() {
            0 => "pass",
            1 => "fail",
            _ => "unknown",
        }
    }

    /// 0, 1 or 3: a failure outweighs what cannot be told.
    pub(super) fn exit_code(&self) -> u8 {
        match self.entries.first().map(|entry| entry.severity) {
            None | Some(Severity::Warning) => 0,
            Some(Severity::No) => 1,
            Some(Severity::Unknown) => 3,
        }
    }
}
