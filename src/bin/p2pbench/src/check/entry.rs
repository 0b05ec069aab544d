//! One thing to know of a node: how much it weighs, what it is about, why, the cure, what was read.

use p2pdma::{
    Refusal,
    storage::Evidence,
    verdict::{Finding, Severity},
};

/// A finding about one or more pairs or devices, or about the node.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) what: &'static str,
    pub(super) severity: Severity,
    /// What it is about: `0000:03:00.0 -> 0000:05:00.0`, a device, or `node`. Never empty.
    pub(super) on: Vec<String>,
    pub(super) cause: String,
    pub(super) cure: String,
    pub(super) evidence: Vec<Evidence>,
}

impl Entry {
    /// Something that is not as it should be.
    pub(super) fn no(what: &'static str, refusal: Refusal) -> Self {
        Self::new(what, Severity::No, refusal)
    }

    pub(super) fn new(what: &'static str, severity: Severity, refusal: Refusal) -> Self {
        let Refusal { thing, cause, cure } = refusal;
        Self { what, severity, on: vec![thing], cause, cure, evidence: Vec::new() }
    }

    /// A finding of the library's about this pair.
    pub(super) fn of(finding: &Finding, pair: &str) -> Self {
        let refusal = Refusal { thing: pair.to_owned(), ..finding.refusal.clone() };
        let evidence = finding.evidence.clone();
        Self { evidence, ..Self::new(finding.what.as_str(), finding.severity, refusal) }
    }

    /// Whether the same cure helps both for the same reason.
    fn is_like(&self, other: &Self) -> bool {
        (self.what, self.severity, &self.cure) == (other.what, other.severity, &other.cure)
    }
}

/// Entries that say the same of different things become one, and the heaviest come first. On a large machine there are
/// thousands of pairs and a handful of reasons.
pub(super) fn folded(entries: impl IntoIterator<Item = Entry>) -> Vec<Entry> {
    let mut folded: Vec<Entry> = Vec::new();
    for entry in entries {
        match folded.iter_mut().find(|known| known.is_like(&entry)) {
            Some(known) => {
                known.on.extend(entry.on.into_iter().filter(|thing| known.on.last() != Some(thing)).collect::<Vec<_>>())
            }
            None => folded.push(entry),
        }
    }
    folded.sort_by_key(|entry| entry.severity);
    folded
}
