//! What a mock machine's kernel says of two devices.
//!
//! The kernel that a real machine asks is not this library's reading of it, so neither is this one: it is written down
//! here once more, from the same source. The suite that asks both machines the same (`tests/contract`) compares.

use crate::{
    machine::{Facts, Snapshot},
    pci::{Acs, Address, ConfigSpace},
};

/// The kernel's distance; `None` without a route. Both are directories of functions.
///
/// Kernel: `calc_map_type_and_dist` in `drivers/pci/p2pdma.c`. Of its list of host bridges a mock's kernel knows nothing:
/// only an AMD processor from Zen on carries traffic between root ports here.
pub(super) fn distance(facts: &Snapshot, provider: &str, client: &str) -> Option<u32> {
    let (up, down) = (way(provider), way(client));
    let common = up.iter().find(|function| down.contains(function));
    let below = |way: &[Address]| way.iter().copied().take_while(|at| Some(at) != common).collect::<Vec<_>>();
    let (up, down) = (below(&up), below(&down));
    let mut asked = up.iter().chain(common).chain(&down);
    let turns = common.is_some() && !asked.any(|at| redirects(facts, *at));
    let distance = u32::try_from(up.len() + down.len()).ok()?;
    (turns || host_bridge_carries(facts)).then_some(distance)
}

/// The functions from a device up to its root port.
fn way(directory: &str) -> Vec<Address> {
    directory.rsplit('/').map_while(|part| part.parse().ok()).collect()
}

fn redirects(facts: &Snapshot, function: Address) -> bool {
    let config = facts.link(&format!("/sys/bus/pci/devices/{function}")).map(|directory| format!("{directory}/config"));
    let read = |path: String| Some((facts.read(&path).ok()?, facts.size(&path).ok()?));
    let config = config.ok().and_then(read).map(|(bytes, size)| ConfigSpace::new(bytes, size));
    config.and_then(|config| config.acs().present()).is_some_and(|acs: Acs| acs.redirects())
}

/// Kernel: `cpu_supports_p2pdma`.
fn host_bridge_carries(facts: &Snapshot) -> bool {
    let facts: &dyn Facts = facts;
    let text = facts.text("/proc/cpuinfo").unwrap_or_default();
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim())
    };
    let family = value("cpu family").and_then(|family| family.parse::<u32>().ok());
    value("vendor_id") == Some("AuthenticAMD") && family.is_some_and(|family| family >= 0x17)
}
