//! A route between a provider and a client: the kernel's rules, with a third answer for what cannot be read.

use std::{fmt, sync::Arc};

use super::{
    Topology,
    explain::{self, Findings},
    host_bridge::{self, Passage},
    index::{Carries, Devices, Step},
};
use crate::pci::{Address, Link};

/// How the kernel maps peer memory for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MapType {
    /// The traffic turns below the host bridge: the client is given bus addresses.
    #[doc(alias = "PCI_P2PDMA_MAP_BUS_ADDR")]
    BusAddr,
    /// The traffic passes the host bridge, which the kernel trusts with it.
    #[doc(alias = "PCI_P2PDMA_MAP_THRU_HOST_BRIDGE")]
    ThruHostBridge,
    /// The kernel refuses: I/O fails with `EREMOTEIO`.
    #[doc(alias = "PCI_P2PDMA_MAP_NOT_SUPPORTED")]
    NotSupported,
    /// It depends on something that cannot be read; see [`Route::unknown`].
    Unknown,
}

impl MapType {
    /// The kernel's name in lower case: `bus_addr`, `thru_host_bridge`, `not_supported`; or `unknown`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::BusAddr => "bus_addr",
            Self::ThruHostBridge => "thru_host_bridge",
            Self::NotSupported => "not_supported",
            Self::Unknown => "unknown",
        }
    }
}

/// [`MapType::as_str`].
impl fmt::Display for MapType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Something that a route depends on and that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// What could not be read.
    pub what: String,
    /// What would tell.
    pub remedy: String,
}

/// The link that bounds a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Narrowest {
    /// The function at one end of it.
    pub address: Address,
    /// As it is trained.
    pub link: Link,
    /// The most bytes of data in a packet on the whole way; `None` when that cannot be read: then headers are not counted.
    pub max_payload: Option<u16>,
}

impl Narrowest {
    fn bytes_per_second(&self) -> Option<u64> {
        self.max_payload.map_or_else(|| self.link.bytes_per_second(), |bytes| self.link.data_bytes_per_second(bytes))
    }
}

/// What the kernel says of transfers in which a client reads or writes a provider's memory.
///
/// Computed from the facts of the scan. The kernel keeps its first answer for a pair until the provider is unbound or
/// somebody asks it for the distance anew: an ACS bit changed with `setpci` shows here before it has an effect there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// The device whose memory is used.
    pub provider: Address,
    /// The device that reads or writes it.
    pub client: Address,
    /// How the kernel maps the one for the other.
    pub map_type: MapType,
    /// The number of hops, exactly as the kernel counts them. `None` where the kernel answers -1 (not supported) or
    /// might. With [`MapType::Unknown`] a distance means: there is a route, its kind alone is unknown.
    #[doc(alias = "pci_p2pdma_distance")]
    pub distance: Option<u32>,
    /// The functions on the way, provider first, client last. Between host bridges, between two root ports and where ACS
    /// redirects, both ways up to the root bus: then a function above both is there twice.
    pub path: Vec<Address>,
    /// Where the two ways meet; `None` when no PCI function is above both (or is both).
    pub common: Option<Address>,
    /// Those that redirect to the host bridge, in the order in which the kernel's message has them: from the provider
    /// up to and with the common port, then from the client up. Empty without a common port, as ACS then changes nothing.
    ///
    /// The kernel's message ends after 127 characters, this list does not.
    pub acs_redirect: Vec<Address>,
    /// What could not be read. Not empty although the map type is known: `acs_redirect` may lack an entry.
    pub unknown: Vec<Unknown>,
    /// Bytes of data a second that the narrowest link can carry, after line encoding and the least of packet headers. A
    /// bound: a link that cannot be read may be narrower. `None` when none can be read or crossed, or there is no route.
    pub ceiling_bytes_per_second: Option<u64>,
    /// That link.
    pub narrowest: Option<Narrowest>,
    /// Why traffic may pass the host bridge, or may not.
    pub(super) passage: Passage,
    pub(super) booted: Arc<str>,
}

impl Route {
    /// Whether the kernel allows the transfer; `None` when that cannot be told.
    #[must_use]
    pub fn is_supported(&self) -> Option<bool> {
        match self.map_type {
            MapType::NotSupported => Some(false),
            _ => self.distance.map(|_| true),
        }
    }

    /// Takes the running kernel's own distance in the place of what was doubted.
    pub(crate) fn settle(&mut self, distance: Option<u32>) {
        self.map_type = match (distance, self.map_type) {
            (None, _) => MapType::NotSupported,
            (Some(_), MapType::NotSupported) => MapType::Unknown,
            (Some(_), known) => known,
        };
        self.distance = distance;
    }

    /// Why the map type is what it is, in one line, with both devices named.
    #[must_use]
    pub fn cause(&self) -> String {
        Findings(self).cause()
    }

    /// What would make it better: kernel parameters, other slots, more privilege. Empty when it is as good as can be.
    ///
    /// Of several `pci=disable_acs_redir=` or `pci=config_acs=` the kernel takes the last alone (`pci_setup`,
    /// drivers/pci/pci.c), so that a parameter that is named here holds what this boot's held.
    #[must_use]
    pub fn remedies(&self) -> Vec<String> {
        Findings(self).remedies()
    }
}

/// The rules. Kernel: `calc_map_type_and_dist` in `drivers/pci/p2pdma.c`; rules: 6.12.
///
/// ```text
/// common port?  ACS redirect on the way?   host bridge allowed?
///      yes            no                                          BusAddr
///      yes            yes                         yes             ThruHostBridge
///      yes            yes                         no              NotSupported
///      no                                         yes             ThruHostBridge
///      no                                         no              NotSupported
/// ```
pub(super) fn calculate(topology: &Topology, provider: usize, client: usize) -> Route {
    let ways = Ways::new(&topology.devices, provider, client);
    let [from, to] = [provider, client].map(|index| &topology.devices.all()[index]);
    let passage = host_bridge::passage(topology, from, to);
    let direct = ways.is_direct();
    let map_type = map_type(direct, passage.allowed);
    let reaches = direct == Some(true) || passage.allowed == Some(true);
    let narrowest = ways.narrowest(map_type);
    Route {
        provider: from.address,
        client: to.address,
        map_type,
        distance: ways.distance().filter(|_| reaches),
        path: ways.taken(direct).path(),
        common: ways.common.map(|index| topology.devices.step(index).address),
        acs_redirect: ways.acs(Some(true)),
        unknown: explain::unknown(&ways.acs(None), direct, &passage),
        ceiling_bytes_per_second: narrowest.and_then(|narrowest| narrowest.bytes_per_second()),
        narrowest,
        passage,
        booted: Arc::clone(&topology.booted),
    }
}

/// `direct`: below a common port without redirect. `allowed`: past the host bridge.
fn map_type(direct: Option<bool>, allowed: Option<bool>) -> MapType {
    match (direct, allowed) {
        (Some(true), _) => MapType::BusAddr,
        (Some(false), Some(true)) => MapType::ThruHostBridge,
        (Some(false), Some(false)) => MapType::NotSupported,
        (None, _) | (_, None) => MapType::Unknown,
    }
}

/// The two ways up, from each device to its root port (both included), and where they meet. By index, and climbed anew for
/// each question: ways are short, and memory for lists of them would cost more.
struct Ways<'a> {
    devices: &'a Devices,
    provider: usize,
    client: usize,
    common: Option<usize>,
}

impl<'a> Ways<'a> {
    fn new(devices: &'a Devices, provider: usize, client: usize) -> Self {
        Self { devices, provider, client, common: devices.meet(provider, client) }
    }

    /// The part of a way below the common port; all of it without one.
    fn below(&self, start: usize) -> impl Iterator<Item = &'a Step> {
        let (common, devices) = (self.common, self.devices);
        devices.way(start).take_while(move |index| Some(*index) != common).map(|index| devices.step(index))
    }

    /// Those whose ACS the kernel asks, in its order. Without a common port it asks the provider's way in vain.
    fn asked(&self) -> impl Iterator<Item = &'a Step> {
        let asked = self
            .common
            .map(|common| self.below(self.provider).chain([self.devices.step(common)]).chain(self.below(self.client)));
        asked.into_iter().flatten()
    }

    fn acs(&self, redirects: Option<bool>) -> Vec<Address> {
        self.asked().filter(|step| step.redirects == redirects).map(|step| step.address).collect()
    }

    /// Whether traffic turns at a common port: there is one, and none redirects. `None` if an unread one might.
    fn is_direct(&self) -> Option<bool> {
        if self.common.is_none() || self.asked().any(|step| step.redirects == Some(true)) {
            return Some(false);
        }
        self.asked().all(|step| step.redirects.is_some()).then_some(true)
    }

    /// Hops: up from the provider and down to the client. Without a common port, the functions on both ways.
    fn hops(&self) -> usize {
        let above = self.common.map_or(0, |common| self.devices.step(common).height);
        let [provider, client] = [self.provider, self.client].map(|index| self.devices.step(index).height);
        provider + client - 2 * above
    }

    fn distance(&self) -> Option<u32> {
        u32::try_from(self.hops()).ok()
    }

    /// The ways that traffic takes: what is redirected goes up to the host bridge, past the common port.
    fn taken(&self, direct: Option<bool>) -> Self {
        Self { common: self.common.filter(|_| direct != Some(false)), ..*self }
    }

    fn path(&self) -> Vec<Address> {
        let mut path = Vec::with_capacity(self.hops() + 1);
        path.extend(self.below(self.provider).map(|step| step.address));
        path.extend(self.common.map(|common| self.devices.step(common).address));
        let turn = path.len();
        path.extend(self.below(self.client).map(|step| step.address));
        path[turn..].reverse();
        path
    }

    /// The narrowest link, and the least payload on the way. What passes the host bridge crosses every link up to it, even
    /// above a common port.
    fn narrowest(&self, map_type: MapType) -> Option<Narrowest> {
        let common = match map_type {
            MapType::NotSupported => return None,
            MapType::ThruHostBridge => None,
            MapType::BusAddr | MapType::Unknown => self.common,
        };
        let crossed = Ways { common, ..*self };
        let crossed = || crossed.below(self.provider).chain(crossed.below(self.client));
        let links = crossed().filter_map(|step| Some((step.link?, step)));
        let (Carries { link, .. }, step) = links.min_by_key(|(carries, _)| carries.bytes_per_second)?;
        let max_payload = crossed().filter_map(|step| step.max_payload).min();
        Some(Narrowest { address: step.address, link, max_payload })
    }
}
