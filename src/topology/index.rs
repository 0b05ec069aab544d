//! The functions of a machine in order, with the way up from each: on a large machine there are tens of thousands of routes
//! to be asked for, and each climbs.

use std::collections::BTreeMap;

use super::Device;
use crate::pci::Address;

/// Functions by index.
///
/// # Invariants
///
/// All three have the same length. `addresses` is sorted. A parent's way up ends: each directory lies in its parent's, which the
/// scan has checked.
#[derive(Debug, Clone)]
pub(super) struct Devices {
    devices: Vec<Device>,
    addresses: Vec<Address>,
    parents: Vec<Option<usize>>,
}

impl Devices {
    /// In order; parents have been checked.
    pub(super) fn new(devices: BTreeMap<Address, Device>) -> Self {
        let addresses: Vec<Address> = devices.keys().copied().collect();
        let devices: Vec<Device> = devices.into_values().collect();
        let parent = |device: &Device| addresses.binary_search(&device.parent?).ok();
        let parents = devices.iter().map(parent).collect();
        Self { devices, addresses, parents }
    }

    pub(super) fn all(&self) -> &[Device] {
        &self.devices
    }

    pub(super) fn find(&self, address: Address) -> Option<usize> {
        self.addresses.binary_search(&address).ok()
    }

    /// A function and every port above it.
    pub(super) fn way(&self, start: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(start), |index| self.parents[*index])
    }
}
