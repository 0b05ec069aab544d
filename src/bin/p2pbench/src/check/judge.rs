//! What speaks against the pairs of a node, and what should be known of them.

use std::collections::BTreeSet;

use p2pdma::{
    Refusal,
    pci::Address,
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
    let ports = redirecting(node.pairs.iter().filter(matters));
    let of_pair = |pair: &Pair| {
        let findings = pair.verdict.findings().filter(|finding| finding.ways.contains(&way));
        findings.map(|finding| Entry::of(finding, pair).with_ports(finding, pair, &ports)).collect::<Vec<_>>()
    };
    let entries = node.pairs.iter().filter(matters).flat_map(of_pair);
    match expectation {
        None => nothing_to_pair(node).into_iter().chain(entries).collect(),
        Some(_) => entries.collect(),
    }
}

/// Every port that redirects traffic of these pairs.
fn redirecting<'a>(pairs: impl Iterator<Item = &'a Pair>) -> Vec<Address> {
    let routes = pairs.flat_map(|pair| pair.verdict.routes());
    routes.flat_map(|route| route.acs_redirect.iter().copied()).collect::<BTreeSet<_>>().into_iter().collect()
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

#[cfg(test)]
mod tests {
    use p2pdma::machine::{
        Machine, Mock,
        mock::{Cpu, Function, Port},
    };

    use super::*;
    use crate::check::entry;

    /// A switch whose four downstream ports redirect: two SSDs and two providers below it.
    fn redirecting(parameters: &str) -> Vec<Entry> {
        let mut mock = Mock::new(Cpu::IntelUnlisted);
        let at = |text: &str| text.parse().expect("an address");
        mock.function(&Function::port(at("00:01.0"), None, Port::Root));
        mock.function(&Function::port(at("01:00.0"), Some(at("00:01.0")), Port::Upstream));
        for port in ["02:00.0", "02:01.0", "02:02.0", "02:03.0"] {
            let down = Function::port(at(port), Some(at("01:00.0")), Port::Downstream);
            mock.function(&Function { acs_control: Some(0x1d), ..down });
        }
        mock.ssd(at("03:00.0"), Some(at("02:00.0")), 1 << 20).expect("an SSD");
        mock.ssd(at("04:00.0"), Some(at("02:01.0")), 1 << 20).expect("an SSD");
        mock.provider(at("05:00.0"), Some(at("02:02.0")), 1 << 20);
        mock.provider(at("06:00.0"), Some(at("02:03.0")), 1 << 20);
        mock.facts_mut().file("/proc/cmdline", format!("{parameters}\n"));
        let node = Node::look(&Machine::mock(mock)).expect("a node");
        entry::folded(super::entries(&node, None))
    }

    /// Of `pci=disable_acs_redir` the kernel takes the last alone, so one for each pair would undo all but one.
    #[test]
    fn pairs_that_acs_blocks_are_one_finding_with_one_cure_for_all_ports() {
        let entries = redirecting("quiet");
        assert_eq!((entries.len(), entries[0].what, entries[0].on.len()), (1, "no_route", 4), "{entries:?}");
        let Entry { cause, cure, evidence, .. } = &entries[0];
        let ports = "0000:02:00.0;0000:02:01.0;0000:02:02.0;0000:02:03.0";
        assert_eq!(cure.matches("disable_acs_redir").count(), 1);
        assert!(cure.contains(&format!("`pci=disable_acs_redir={ports}`")), "{cure}");
        assert_eq!((cure.matches("setpci -s ").count(), cure.matches("x0x00xx@").count()), (4, 4), "{cure}");
        assert!(cause.contains("redirected by ACS on ports that the cure names;"), "{cause}");
        assert!(evidence.iter().filter(|seen| seen.to_string().contains("ACS SV")).count() == 4, "{evidence:?}");
    }

    #[test]
    fn ports_that_this_boot_was_told_of_stay_in_the_parameter() {
        let entries = redirecting("quiet pci=noats,disable_acs_redir=0000:07:00.0;pci:1000:c030");
        let cure = &entries[0].cure;
        assert!(cure.contains("02:03.0;0000:07:00.0;pci:1000:c030`"), "{cure}");
    }
}
