//! The functions of a machine in order, with the way up from each: on a large machine there are tens of thousands of routes
//! to be asked for, and each climbs.

use super::{Device, Kind};
use crate::pci::{Address, Link};

/// Functions by index.
///
/// # Invariants
///
/// `devices`, `places` and `steps` have the same length and the same order, that of the addresses, and no address is there twice.
/// Each parent is there, and its directory contains the child's: so the tree is one, and climbing it ends.
#[derive(Debug, Clone)]
pub(super) struct Devices {
    devices: Vec<Device>,
    places: Vec<u64>,
    steps: Vec<Step>,
    providers: Vec<usize>,
    clients: Vec<usize>,
}

/// What climbing asks of a function: little, so that it lies close together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) address: Address,
    parent: Option<usize>,
    /// The number of functions on its way up, itself included.
    pub(super) height: usize,
    pub(super) redirects: Option<bool>,
    /// The link above it; `None` where what it carries cannot be told.
    pub(super) link: Option<Carries>,
    pub(super) max_payload: Option<u16>,
}

/// A link, and what it carries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Carries {
    pub(super) link: Link,
    pub(super) bytes_per_second: u64,
}

/// A device whose parent is not there, or holds it not.
#[derive(Debug)]
pub(super) struct Orphan {
    pub(super) address: Address,
    pub(super) parent: Address,
}

impl Devices {
    pub(super) fn new(mut devices: Vec<Device>) -> Result<Self, Orphan> {
        devices.sort_by_key(|device| device.address);
        devices.dedup_by_key(|device| device.address);
        let places: Vec<u64> = devices.iter().map(|device| place(device.address)).collect();
        let parent = |device| parent(&devices, &places, device);
        let which = |is: fn(&Device) -> bool| (0..devices.len()).filter(|index| is(&devices[*index])).collect();
        let (providers, clients) = (which(|device| device.p2pmem.is_some()), which(|device| device.kind == Kind::Nvme));
        let steps = devices.iter().map(|device| Ok(Step::new(device, parent(device)?))).collect::<Result<_, _>>()?;
        // INVARIANT: `parent` has refused what does not lie in its parent's directory.
        let mut all = Self { devices, places, steps, providers, clients };
        for index in 0..all.steps.len() {
            all.steps[index].height = all.way(index).count();
        }
        Ok(all)
    }

    pub(super) fn all(&self) -> &[Device] {
        &self.devices
    }

    /// Those that give memory to peers.
    pub(super) fn providers(&self) -> impl Iterator<Item = &Device> {
        self.providers.iter().map(|index| &self.devices[*index])
    }

    /// NVMe controllers.
    pub(super) fn clients(&self) -> impl Iterator<Item = &Device> {
        self.clients.iter().map(|index| &self.devices[*index])
    }

    pub(super) fn find(&self, address: Address) -> Option<usize> {
        self.places.binary_search(&place(address)).ok()
    }

    pub(super) fn step(&self, index: usize) -> &Step {
        &self.steps[index]
    }

    /// The lowest that is on both ways up.
    pub(super) fn meet(&self, one: usize, other: usize) -> Option<usize> {
        let [one_height, other_height] = [one, other].map(|index| self.steps[index].height);
        let lowest = one_height.min(other_height);
        let mut ways = self.way(one).skip(one_height - lowest).zip(self.way(other).skip(other_height - lowest));
        ways.find(|(one, other)| one == other).map(|(one, _)| one)
    }

    /// A function and every port above it.
    pub(super) fn way(&self, start: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(start), |index| self.steps[*index].parent)
    }
}

/// An address as one number, in the same order: to look for.
fn place(Address { domain, bus, device, function }: Address) -> u64 {
    u64::from(domain) << 24 | u64::from(u32::from_be_bytes([0, bus, device, function]))
}

/// Its index, if it has one.
fn parent(devices: &[Device], places: &[u64], device: &Device) -> Result<Option<usize>, Orphan> {
    let Some(parent) = device.parent else { return Ok(None) };
    let contains = |above: &Device| {
        let rest = device.directory.strip_prefix(&above.directory);
        rest.is_some_and(|rest| rest.starts_with('/'))
    };
    let found = places.binary_search(&place(parent)).ok().filter(|index| contains(&devices[*index]));
    found.map(Some).ok_or(Orphan { address: device.address, parent })
}

impl Step {
    fn new(device: &Device, parent: Option<usize>) -> Self {
        Self {
            address: device.address,
            parent,
            height: 0,
            redirects: device.redirects(),
            link: device.link.and_then(|link| Some(Carries { link, bytes_per_second: link.bytes_per_second()? })),
            max_payload: device.max_payload,
        }
    }
}
