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
use crate::facts::MachineFacts;

/// Everything that is not as expected, but for what speaks against the pairs.
pub(super) fn entries(node: &Node, expectation: &Expectation, measured: &Measured) -> Vec<Entry> {
    let mut entries = counts(node, expectation);
    entries.extend(software(node, expectation));
    entries.extend(absent(node, expectation));
    entries.extend(expectation.links.iter().filter_map(|(address, link)| other_link(node, *address, *link)));
    let slow = expectation.gb_per_second.iter().filter_map(|(pair, least)| too_slow(*pair, *least, measured));
    entries.extend(slow);
    entries.extend(nothing_measured(expectation, measured));
    entries
}

/// Minima that nothing measured can be held against.
pub(super) fn not_measured(expectation: &Expectation, measured: &Measured) -> usize {
    expectation.gb_per_second.keys().filter(|pair| measured.rate(**pair).is_none()).count()
}

/// A minimum that nothing is held against must not look like one that was kept.
fn nothing_measured(expectation: &Expectation, measured: &Measured) -> Option<Entry> {
    let minima = expectation.gb_per_second.len();
    let count = not_measured(expectation, measured);
    let cause = format!("of {minima} minima of the file, {count} have nothing measured to be held against");
    let cure = "give --measured with what `p2pbench run --json` printed of these pairs on this node";
    (count > 0).then(|| Entry::new("not_measured", Severity::Warning, Refusal::new("node", cause, cure)))
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
    let is = node.facts.kernel.as_deref();
    let other = |expected: &&String| !is.is_some_and(|is| is_version(is, expected));
    let kernel = expectation.kernel.as_ref().filter(other).map(|expected| {
        let cause = format!("kernel is {}, not {expected}", is.unwrap_or("none"));
        Entry::no("kernel", Refusal::new("node", cause, "boot the kernel that is expected"))
    });
    let module = expectation.module.as_ref().and_then(|expected| other_module(node.facts.module.as_deref(), expected));
    let differs = kernel.into_iter().chain(module);
    let lacking = expectation.parameters.iter().filter(|parameter| !node.parameters.contains(parameter));
    let lacking = lacking.map(|parameter| {
        let cure = format!("boot with {parameter}");
        Entry::no("parameter", Refusal::new("node", format!("the kernel was booted without {parameter}"), cure))
    });
    differs.chain(lacking).collect()
}

/// A module that is loaded and tells no version may be any.
fn other_module(is: Option<&str>, expected: &str) -> Option<Entry> {
    let (cause, cure) = match is {
        Some(MachineFacts::NO_VERSION) if expected == MachineFacts::NO_VERSION => return None,
        Some(is) if is_version(is, expected) => return None,
        None => (format!("p2pdma_user is not loaded, and {expected} is expected"), "modprobe p2pdma_user".to_owned()),
        Some(MachineFacts::NO_VERSION) => (
            format!("p2pdma_user is loaded and tells no version, and {expected} is expected"),
            format!("install the module of version {expected}: it has /sys/module/p2pdma_user/version"),
        ),
        Some(is) => (
            format!("p2pdma_user is {is}, not {expected}"),
            format!("install the module of version {expected}, then `rmmod p2pdma_user` and `modprobe p2pdma_user`"),
        ),
    };
    Some(Entry::no("module", Refusal::new("node", cause, cure)))
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

/// What a link is expected to be, and what is the same on equal nodes at any time: of an idle GPU that is only the best that
/// it can do.
pub(super) fn lasting_link(device: &Device) -> Option<Link> {
    match device.kind {
        Kind::Display | Kind::Accelerator => device.max_link.or(device.link),
        _ => device.link,
    }
}

fn other_link(node: &Node, address: Address, expected: Link) -> Option<Entry> {
    let device = node.topology.device(address);
    let link = device.and_then(lasting_link);
    if link == Some(expected) {
        return None;
    }
    let is = link.map_or("not there".to_owned(), |link| link.to_string());
    let cure = device.map_or("see the kernel's log; reseat it", cure);
    let cause = match device.map(|device| device.kind) {
        Some(Kind::Display | Kind::Accelerator) => format!("its link can at best be {is}, not {expected}"),
        _ => format!("its link is {is}, not {expected}"),
    };
    Some(Entry::no("link", Refusal::new(address, cause, cure)))
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
    fn a_module_that_tells_no_version_is_said_to() {
        assert!(other_module(Some("0.1.0"), "0.1").is_none());
        let cause = |is| other_module(is, "0.1").expect("a difference").cause;
        assert_eq!(cause(None), "p2pdma_user is not loaded, and 0.1 is expected");
        assert_eq!(cause(Some("loaded")), "p2pdma_user is loaded and tells no version, and 0.1 is expected");
        assert_eq!(cause(Some("0.10.0")), "p2pdma_user is 0.10.0, not 0.1");
    }

    #[test]
    fn a_version_is_met_by_its_own_patches_alone() {
        assert!(is_version("6.12.117-p2p", "6.12") && is_version("6.12.117", "6.12.117"));
        assert!(!is_version("6.120.1", "6.12") && !is_version("6.1", "6.12"));
    }
}
