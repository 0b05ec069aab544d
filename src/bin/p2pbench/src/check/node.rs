//! What a node is, as far as a check asks. The same on equal nodes: no names, no serial numbers, nothing that varies by use.

use std::collections::BTreeMap;

use p2pdma::{
    machine::Machine,
    pci::{Address, PortType},
    storage::Source,
    topology::{Device, Kind, Topology},
    verdict::{Judge, Verdict},
};

use crate::{facts::MachineFacts, failure::Failure};

/// Everything that was looked at.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) facts: MachineFacts,
    /// Parameters that the kernel was booted with.
    pub(super) parameters: Vec<String>,
    pub(super) topology: Topology,
    /// Every SSD with every provider, by SSD, then by provider.
    pub(super) pairs: Vec<Pair>,
}

/// An SSD and a provider.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) client: Address,
    pub(super) provider: Address,
    pub(super) verdict: Verdict,
}

impl Pair {
    /// `0000:03:00.0 -> 0000:05:00.0`, as expectations name it.
    pub(super) fn name(&self) -> String {
        name(self.client, self.provider)
    }
}

pub(super) fn name(client: Address, provider: Address) -> String {
    format!("{client} -> {provider}")
}

impl Node {
    pub(super) fn look(machine: &Machine) -> Result<Self, Failure> {
        let topology = Topology::scan(machine)?;
        let pairs = pairs(machine, &topology)?;
        let parameters = machine.facts().text("/proc/cmdline").unwrap_or_default();
        let parameters = parameters.split_whitespace().filter(|word| decides(word)).map(str::to_owned).collect();
        Ok(Self { facts: MachineFacts::of(machine), parameters, topology, pairs })
    }

    pub(super) fn ssds(&self) -> usize {
        self.topology.clients().count()
    }

    pub(super) fn providers(&self) -> usize {
        self.topology.providers().count()
    }

    /// The lower ends of links that data between SSDs and providers crosses: these themselves, and the switches above them.
    pub(super) fn link_ends(&self) -> BTreeMap<Address, &Device> {
        let ends = self.topology.clients().chain(self.topology.providers());
        let above = ends.flat_map(|device| self.topology.path(device.address).skip(1)).filter(|port| is_switch(port));
        let ends = self.topology.clients().chain(self.topology.providers()).chain(above);
        ends.filter(|device| device.link.is_some()).map(|device| (device.address, device)).collect()
    }

    /// `8 SSDs, 4 providers, 32 pairs`
    pub(super) fn sum(&self) -> String {
        let many = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        let Self { pairs, .. } = self;
        [many(self.ssds(), "SSD"), many(self.providers(), "provider"), many(pairs.len(), "pair")].join(", ")
    }
}

fn is_switch(port: &Device) -> bool {
    matches!(port.kind, Kind::Bridge(Some(PortType::Upstream)))
}

fn pairs(machine: &Machine, topology: &Topology) -> Result<Vec<Pair>, Failure> {
    let judge = Judge::new(machine, topology);
    let mut pairs = Vec::new();
    for client in topology.clients().map(|device| device.address) {
        let source = judge.source(&Source::of_function(machine, client)?);
        for provider in topology.providers().map(|device| device.address) {
            pairs.push(Pair { client, provider, verdict: source.with_memory(provider)? });
        }
    }
    Ok(pairs)
}

/// Whether a kernel parameter decides about DMA between devices.
fn decides(word: &str) -> bool {
    const NAMES: [&str; 7] = ["amd_iommu", "intel_iommu", "iommu", "pci", "pcie_aspm", "swiotlb", "mem_encrypt"];
    let name = word.split('=').next().unwrap_or_default();
    NAMES.contains(&name) || ["iommu.", "nvme.", "nvme_core."].iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_dma_are_told_from_others() {
        assert!(["iommu=pt", "iommu.strict=0", "nvme_core.multipath=N", "pci=noats"].iter().all(|word| decides(word)));
        assert!(["quiet", "root=UUID=x", "pciehp.pciehp_debug", "iommufd=1"].iter().all(|word| !decides(word)));
    }
}
