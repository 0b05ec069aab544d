//! A node beside what it should be.

use p2pdma::{
    Refusal,
    pci::{Address, Link},
    topology::{Device, Kind},
    verdict::Severity,
};

use super::{
    entry::Entry,
    expect::Expectation,
    measured::Measured,
    node::{self, Node},
};

/// Everything that is not as expected, but for what speaks against the pairs.
pub(super) fn entries(node: &Node, expectation: &Expectation, measured: &Measured) -> Vec<Entry> {
    let mut entries = counts(node, expectation);
    entries.extend(software(node, expectation));
    entries.extend(absent(node, expectation));
    entries.extend(expectation.links.iter().filter_map(|(address, link)| other_link(node, *address, link)));
    let slow = expectation.gb_per_second.iter().filter_map(|(pair, least)| too_slow(*pair, *least, measured));
    entries.extend(slow);
    entries
}

/// Minima that nothing measured can be held against.
pub(super) fn not_measured(expectation: &Expectation, measured: &Measured) -> usize {
    expectation.gb_per_second.keys().filter(|pair| measured.rate(**pair).is_none()).count()
}

/// Links below their best, of which nothing else is expected.
pub(super) fn slow_links(node: &Node, expectation: Option<&Expectation>) -> Vec<Entry> {
    let ends = node.link_ends();
    let named = |address: &Address| expectation.is_some_and(|expectation| expectation.links.contains_key(address));
    let slow = ends.into_iter().filter(|(address, device)| device.is_downtrained() && !named(address));
    let entry = |device: &Device| {
        // What the slot does not offer, nobody can have by reseating.
        let (link, max) = device.link.zip(node.topology.best_link(device.address))?;
        if !link.is_below(&max) {
            return None;
        }
        let refusal = Refusal::new(device.address, format!("its link runs at {link} and could at {max}"), cure(device));
        Some(Entry::new("slow_link", Severity::Warning, refusal))
    };
    slow.filter_map(|(_, device)| entry(device)).collect()
}

/// An idle GPU slows its link down, which is no fault.
fn cure(device: &Device) -> &'static str {
    match device.kind {
        Kind::Display | Kind::Accelerator => {
            "look again under load, as idle GPUs slow their links down; else reseat it"
        }
        _ => {
            "reseat it, or try another slot; a slot may have fewer lanes than its length promises, or the firmware limits it"
        }
    }
}

fn counts(node: &Node, expectation: &Expectation) -> Vec<Entry> {
    let counts = [
        (
            "ssds",
            node.ssds(),
            expectation.ssds,
            "SSDs",
            "see `p2pbench topo` and the kernel's log for the one that is missing",
        ),
        (
            "providers",
            node.providers(),
            expectation.providers,
            "providers",
            "see `p2pbench topo`: is a driver not loaded?",
        ),
    ];
    let differs = counts.into_iter().filter_map(|(what, is, expected, noun, cure)| {
        let expected = expected.filter(|expected| *expected != is)?;
        Some(Entry::no(what, Refusal::new("node", format!("it has {is} {noun}, not {expected}"), cure)))
    });
    differs.collect()
}

fn software(node: &Node, expectation: &Expectation) -> Vec<Entry> {
    let parts = [
        ("kernel", &node.facts.kernel, &expectation.kernel, "boot the kernel that is expected"),
        (
            "module",
            &node.facts.module,
            &expectation.module,
            "load the p2pdma_user module of that version (modprobe p2pdma_user)",
        ),
    ];
    let differs = parts.into_iter().filter_map(|(what, is, expected, cure)| {
        let expected =
            expected.as_deref().filter(|expected| !is.as_deref().is_some_and(|is| is_version(is, expected)))?;
        let is = is.as_deref().unwrap_or("none");
        Some(Entry::no(what, Refusal::new("node", format!("{what} is {is}, not {expected}"), cure)))
    });
    let lacking = expectation.parameters.iter().filter(|parameter| !node.parameters.contains(parameter));
    let lacking = lacking.map(|parameter| {
        let cure = format!("boot with {parameter}");
        Entry::no("parameter", Refusal::new("node", format!("the kernel was booted without {parameter}"), cure))
    });
    differs.chain(lacking).collect()
}

/// `6.12` is 6.12.117 too, and not 6.120.
fn is_version(is: &str, expected: &str) -> bool {
    is.strip_prefix(expected).is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
}

/// Devices of pairs that must be direct, and are not there, or give no memory any more.
fn absent(node: &Node, expectation: &Expectation) -> Vec<Entry> {
    let is_client = |address: &Address| node.topology.clients().any(|device| device.address == *address);
    let is_provider = |address: &Address| node.topology.providers().any(|device| device.address == *address);
    let clients = expectation.direct.keys().filter(|address| !is_client(address));
    let providers = expectation.direct.values().flatten().filter(|address| !is_provider(address));
    let ssds = clients
        .map(|address| absence("ssd_absent", *address, "no NVMe SSD is there", "see the kernel's log; reseat it"));
    let cure = "see `p2pbench topo`: has its driver been loaded, and given memory to p2pdma?";
    let mut entries: Vec<_> = ssds.collect();
    for address in providers {
        if !entries.iter().any(|entry| entry.on[0] == address.to_string()) {
            entries.push(absence("provider_absent", *address, "no provider of peer memory is there", cure));
        }
    }
    entries
}

fn absence(what: &'static str, address: Address, cause: &str, cure: &str) -> Entry {
    Entry::no(what, Refusal::new(address, cause, cure))
}

fn other_link(node: &Node, address: Address, expected: &str) -> Option<Entry> {
    let device = node.topology.device(address);
    let link = device.and_then(|device| device.link).map(|link: Link| link.to_string());
    if link.as_deref() == Some(expected) {
        return None;
    }
    let is = link.unwrap_or_else(|| "not there".to_owned());
    let cure = device.map_or("see the kernel's log; reseat it", cure);
    Some(Entry::no("link", Refusal::new(address, format!("its link is {is}, not {expected}"), cure)))
}

fn too_slow((client, provider): (Address, Address), least: f64, measured: &Measured) -> Option<Entry> {
    let rate = measured.rate((client, provider)).filter(|rate| *rate < least)?;
    let cause = format!("{rate:.2} GB/s were measured, and {least:.2} are expected");
    let cure =
        "measure again on an idle node; look at the links of both (`p2pbench explain`) and at the SSD's temperature";
    Some(Entry::no("slow", Refusal::new(node::name(client, provider), cause, cure)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_met_by_its_own_patches_alone() {
        assert!(is_version("6.12.117-p2p", "6.12") && is_version("6.12.117", "6.12.117"));
        assert!(!is_version("6.120.1", "6.12") && !is_version("6.1", "6.12"));
    }
}
