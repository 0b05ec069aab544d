//! A route between a provider and a client: the kernel's rules, with a third answer for what cannot be read.

use std::fmt;

use super::{
    Device, Topology,
    explain::{self, Findings},
    host_bridge::{self, Passage},
};
use crate::pci::Address;

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
    /// The functions on the way, provider first, client last. Between host bridges, or between two root ports, both
    /// ways up to the root bus.
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
    /// Bytes a second of the narrowest link that the traffic crosses, after line encoding, before packet headers. A
    /// bound: a link that cannot be read may be narrower. `None` when none can be read or crossed, or there is no route.
    pub ceiling_bytes_per_second: Option<u64>,
    /// Why traffic may pass the host bridge, or may not.
    pub(super) passage: Passage,
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

    /// Why the map type is what it is, in one line, with both devices named.
    #[must_use]
    pub fn cause(&self) -> String {
        Findings(self).cause()
    }

    /// What would make it better: kernel parameters, other slots, more privilege. Empty when it is as good as can be.
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
pub(super) fn calculate(topology: &Topology, provider: &Device, client: &Device) -> Route {
    let ways = Ways::new(topology, provider.address, client.address);
    let passage = host_bridge::passage(topology, provider, client);
    let direct = ways.is_direct();
    let map_type = map_type(direct, passage.allowed);
    let reaches = direct == Some(true) || passage.allowed == Some(true);
    Route {
        provider: provider.address,
        client: client.address,
        map_type,
        distance: ways.distance().filter(|_| reaches),
        path: ways.path(),
        common: ways.common.map(|device| device.address),
        acs_redirect: ways.acs(Some(true)),
        unknown: explain::unknown(&ways.acs(None), direct, &passage),
        ceiling_bytes_per_second: ways.ceiling(map_type),
        passage,
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

/// The two ways up, from each device to its root port (both included), and where they meet.
struct Ways<'a> {
    provider: Vec<&'a Device>,
    client: Vec<&'a Device>,
    common: Option<&'a Device>,
}

impl<'a> Ways<'a> {
    fn new(topology: &'a Topology, provider: Address, client: Address) -> Self {
        let provider: Vec<_> = topology.path(provider).collect();
        let client: Vec<_> = topology.path(client).collect();
        let meets = |a: &&&Device| client.iter().any(|b| b.address == a.address);
        let common = provider.iter().find(meets).copied();
        Self { provider, client, common }
    }

    /// The part of a way below the common port; all of it without one.
    fn below(&self, way: &[&'a Device]) -> Vec<&'a Device> {
        let common = self.common.map(|device| device.address);
        way.iter().copied().take_while(|device| Some(device.address) != common).collect()
    }

    /// Those whose ACS the kernel asks, in its order. Without a common port it asks the provider's way in vain.
    fn asked(&self) -> Vec<&'a Device> {
        let Some(common) = self.common else { return Vec::new() };
        let mut asked = self.below(&self.provider);
        asked.push(common);
        asked.extend(self.below(&self.client));
        asked
    }

    fn acs(&self, redirects: Option<bool>) -> Vec<Address> {
        self.asked().into_iter().filter(|device| device.redirects() == redirects).map(|device| device.address).collect()
    }

    /// Whether traffic turns at a common port: there is one, and none redirects. `None` if an unread one might.
    fn is_direct(&self) -> Option<bool> {
        let redirects: Vec<_> = self.asked().iter().map(|device| device.redirects()).collect();
        match self.common {
            None => Some(false),
            Some(_) if redirects.contains(&Some(true)) => Some(false),
            Some(_) if redirects.contains(&None) => None,
            Some(_) => Some(true),
        }
    }

    /// Hops: up from the provider and down to the client. Without a common port, the functions on both ways.
    fn distance(&self) -> Option<u32> {
        u32::try_from(self.below(&self.provider).len() + self.below(&self.client).len()).ok()
    }

    fn path(&self) -> Vec<Address> {
        let up = self.below(&self.provider).into_iter().chain(self.common);
        let down = self.below(&self.client).into_iter().rev();
        up.chain(down).map(|device| device.address).collect()
    }

    /// The narrowest link. What passes the host bridge crosses every link up to it, even above a common port.
    fn ceiling(&self, map_type: MapType) -> Option<u64> {
        let crossed = match map_type {
            MapType::NotSupported => return None,
            MapType::ThruHostBridge => [self.provider.clone(), self.client.clone()],
            MapType::BusAddr | MapType::Unknown => [self.below(&self.provider), self.below(&self.client)],
        };
        crossed.iter().flatten().filter_map(|device| device.link?.bytes_per_second()).min()
    }
}
