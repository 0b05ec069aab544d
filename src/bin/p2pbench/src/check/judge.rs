//! What speaks against the pairs of a node, and what should be known of them.

use p2pdma::{
    Refusal,
    verdict::{Answer, Severity, Way},
};

use super::{
    entry::Entry,
    expect::Expectation,
    node::{Node, Pair},
};

/// The entries of every pair that is expected to be direct; of all pairs where nothing is expected. Without any pair there
/// is nothing to judge, which is an answer too.
pub(super) fn entries(node: &Node, expectation: Option<&Expectation>) -> Vec<Entry> {
    let matters =
        |pair: &&Pair| expectation.is_none_or(|expectation| expectation.is_direct(pair.client, pair.provider));
    let way = way(expectation);
    let of_pair = |pair: &Pair| {
        let findings = pair.verdict.findings().filter(|finding| finding.ways.contains(&way));
        findings.map(|finding| Entry::of(finding, pair)).collect::<Vec<_>>()
    };
    let entries = node.pairs.iter().filter(matters).flat_map(of_pair);
    match expectation {
        None => nothing_to_pair(node).into_iter().chain(entries).collect(),
        Some(_) => entries.collect(),
    }
}

/// How many pairs are direct this way.
pub(super) fn direct(node: &Node, way: Way) -> usize {
    node.pairs.iter().filter(|pair| pair.verdict.way(way) == Answer::Yes).count()
}

/// The way to judge by: upstream Linux's, where no other is expected.
pub(super) fn way(expectation: Option<&Expectation>) -> Way {
    expectation.map_or(Way::P2pmem, |expectation| expectation.way)
}

fn nothing_to_pair(node: &Node) -> Vec<Entry> {
    let no_ssd = "in a virtual machine, an NVMe controller has to be passed through or emulated";
    let no_memory =
        "give a spare device to the p2pdma_user driver, or use an SSD with a CMB; the kernel needs CONFIG_PCI_P2PDMA";
    let lacks = [
        (node.ssds(), "no_ssd", "it has no NVMe function", no_ssd),
        (node.providers(), "no_provider", "none of its devices has given memory to p2pdma", no_memory),
    ];
    let lacking = lacks.into_iter().filter(|(count, ..)| *count == 0);
    lacking.map(|(_, what, cause, cure)| Entry::new(what, Severity::No, Refusal::new("node", cause, cure))).collect()
}
