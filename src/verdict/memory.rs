//! What stands between a caller and a provider's memory.

use super::finding::{Finding, Severity, Way, What};
use crate::{Error, Refusal, machine::Machine, memory::Provider, pci::Address, storage::Evidence};

/// Whether memory of `provider` could be allocated by mapping it. Nothing is allocated to find out.
pub(super) fn finding(machine: &Machine, provider: Address) -> Option<Finding> {
    let (what, severity, refusal) = match Provider::find(machine, provider)
        .and_then(|found| found.may_be_allocated())
        .map(|()| no_permission(machine, provider))
    {
        Ok(refusal) => (What::NoPermission, Severity::Unknown, refusal?),
        Err(Error::NotFound(refusal)) => (What::NoPool, Severity::No, refusal),
        Err(Error::NotAllowed(refusal)) => (What::NoKernelSupport, Severity::Unknown, refusal),
        Err(error) if is_nvme(machine, provider) => (What::UnpublishedPool, Severity::No, error.refusal().clone()),
        Err(error) => (What::ForeignMemory, Severity::No, error.refusal().clone()),
    };
    let finding = Finding::new(what, severity, refusal).seen(evidence(machine, provider));
    // The module takes a driver's memory by dma-buf, but the pages of a pool it needs too.
    Some(if matches!(what, What::NoPool | What::NoKernelSupport) { finding } else { finding.only(Way::P2pmem) })
}

/// Opening `allocate` takes nothing from the pool; mapping it would (`p2pmem_alloc_mmap`, drivers/pci/p2pdma.c).
fn no_permission(machine: &Machine, provider: Address) -> Option<Refusal> {
    match machine.backing(provider, 0).err()? {
        Error::NotAllowed(refusal) => Some(refusal),
        _ => None,
    }
}

/// Of this driver's pools only those that are not meant for data are refused.
fn is_nvme(machine: &Machine, provider: Address) -> bool {
    driver(machine, provider).is_some_and(|driver| driver.value == "nvme")
}

fn driver(machine: &Machine, provider: Address) -> Option<Evidence> {
    let facts = machine.facts();
    let directory = facts.link(&format!("/sys/bus/pci/devices/{provider}")).ok()?;
    let driver = facts.link_name(&format!("{directory}/driver"))?;
    Some(Evidence::new(format!("/sys/bus/pci/devices/{provider}/driver"), driver))
}

fn evidence(machine: &Machine, provider: Address) -> Vec<Evidence> {
    let facts = machine.facts();
    let directory = facts.link(&format!("/sys/bus/pci/devices/{provider}")).unwrap_or_default();
    let published = facts.text(&format!("{directory}/p2pmem/published"));
    let path = format!("/sys/bus/pci/devices/{provider}/p2pmem/published");
    let published = published.map(|text| Evidence::new(path, text));
    driver(machine, provider).into_iter().chain(published).collect()
}
