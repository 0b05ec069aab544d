//! One thing to know of a node: how much it weighs, what it is about, why, the cure, what was read.

use p2pdma::{
    Refusal,
    pci::Address,
    storage::Evidence,
    topology::Route,
    verdict::{Finding, Severity},
};

use super::{node::Pair, stable::stable};

/// A finding about one or more pairs or devices, or about the node.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) what: &'static str,
    pub(super) severity: Severity,
    /// What it is about: `0000:03:00.0 -> 0000:05:00.0`, a device, or `node`. Never empty.
    pub(super) on: Vec<String>,
    /// True of all that it is about: of several pairs it names none.
    pub(super) cause: String,
    /// The same without the pair's own addresses, by which causes are compared.
    shared: String,
    pub(super) cure: String,
    /// Of all that it is about.
    pub(super) evidence: Vec<Evidence>,
}

impl Entry {
    /// Something that is not as it should be.
    pub(super) fn no(what: &'static str, refusal: Refusal) -> Self {
        Self::new(what, Severity::No, refusal)
    }

    pub(super) fn new(what: &'static str, severity: Severity, refusal: Refusal) -> Self {
        let Refusal { thing, cause, cure } = refusal;
        Self { what, severity, on: vec![thing], shared: stable(&cause), cause, cure, evidence: Vec::new() }
    }

    /// A finding of the library's about this pair.
    pub(super) fn of(finding: &Finding, pair: &Pair) -> Self {
        let refusal = Refusal { thing: pair.name(), ..finding.refusal.clone() };
        let evidence = finding.evidence.clone();
        let entry = Self::new(finding.what.as_str(), finding.severity, refusal);
        let nameless = entry.shared.replace(&format!("provider {}", pair.provider), "the provider");
        let shared = nameless.replace(&format!("client {}", pair.client), "the client");
        Self { evidence, shared, ..entry }
    }

    /// Where ACS redirects this pair's traffic, the cure is for all ports that redirect any pair's: each cure for itself would undo
    /// the one before.
    pub(super) fn with_ports(self, finding: &Finding, pair: &Pair, ports: &[Address]) -> Self {
        let is_of = |route: &&Route| finding.refusal.thing == format!("{} -> {}", route.client, route.provider);
        let route = pair.verdict.routes().iter().find(is_of).filter(|route| !route.acs_redirect.is_empty());
        let Some(route) = route.filter(|_| finding.refusal.cure.contains("disable_acs_redir")) else { return self };
        let mut all = route.clone();
        all.acs_redirect = ports.to_vec();
        let own = route.acs_redirect.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let shared = self.shared.replace(&own, "ports that the cure names");
        Self { cure: all.remedies().join("; or "), shared, ..self }
    }

    /// Whether the same cure helps both for the same reason.
    fn is_like(&self, other: &Self) -> bool {
        fn key(entry: &Entry) -> (&str, Severity, &str, &str) {
            (entry.what, entry.severity, &entry.cure, &entry.shared)
        }
        key(self) == key(other)
    }

    /// Takes in one that is like this.
    fn join(&mut self, other: Self) {
        self.on.extend(other.on.into_iter().filter(|thing| self.on.last() != Some(thing)).collect::<Vec<_>>());
        if self.on.len() > 1 {
            self.cause.clone_from(&self.shared);
        }
        for seen in other.evidence {
            if !self.evidence.contains(&seen) {
                self.evidence.push(seen);
            }
        }
    }
}

/// Entries that say the same of different things become one, and the heaviest come first. On a large machine there are
/// thousands of pairs and a handful of reasons.
pub(super) fn folded(entries: impl IntoIterator<Item = Entry>) -> Vec<Entry> {
    let mut folded: Vec<Entry> = Vec::new();
    for entry in entries {
        match folded.iter_mut().find(|known| known.is_like(&entry)) {
            Some(known) => known.join(entry),
            None => folded.push(entry),
        }
    }
    folded.sort_by_key(|entry| entry.severity);
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(thing: &str, cause: &str) -> Entry {
        Entry::new("slow_link", Severity::Warning, Refusal::new(thing, cause, "reseat it"))
    }

    #[test]
    fn what_has_another_cause_stays_apart_whatever_the_cure() {
        let entries = folded([link("a", "5 GT/s"), link("b", "16 GT/s"), link("c", "5 GT/s")]);
        let told: Vec<_> = entries.iter().map(|entry| (entry.on.join(" "), entry.cause.as_str())).collect();
        assert_eq!(told, [("a c".to_owned(), "5 GT/s"), ("b".to_owned(), "16 GT/s")]);
    }

    #[test]
    fn names_of_the_moment_are_no_other_cause() {
        let entries = folded([link("a", "it lies on nvme3n1"), link("b", "it lies on nvme0n1")]);
        assert_eq!((entries.len(), entries[0].cause.as_str()), (1, "it lies on nvme*"));
    }
}
