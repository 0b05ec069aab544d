//! What was compared, and what differed.

use std::collections::{BTreeMap, BTreeSet};

use p2pdma::{
    pci::Address,
    topology::{MapType, Route, Topology},
};

use crate::{function::HOST_BRIDGES, kernel::Verdict, user::Answer};

/// From so many trees on, every host bridge must have been met.
const LONG: u64 = 500;

/// As many differences are shown in full.
const SHOWN: usize = 20;

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) trees: u64,
    pub(crate) functions: usize,
    pub(crate) pairs: u64,
    pub(crate) by_map_type: BTreeMap<&'static str, u64>,
    pub(crate) acs_lists: u64,
    pub(crate) acs_not_asked: u64,
    pub(crate) unknown: u64,
    /// Pairs for which the module's DISTANCE knows a route.
    pub(crate) routes_of_module: u64,
    /// The ids of the functions that stand for host bridges.
    pub(crate) host_bridges: BTreeSet<(u16, u16)>,
    pub(crate) differences: Vec<String>,
}

impl Tally {
    /// Root reads all, so it must know all.
    pub(crate) fn root(&mut self, seed: u64, route: &Route, kernel: &Verdict) {
        self.pairs += 1;
        *self.by_map_type.entry(kernel.map_type.as_str()).or_default() += 1;
        match &kernel.acs_redirect {
            None => self.acs_not_asked += 1,
            Some(list) => self.acs_lists += u64::from(!list.is_empty()),
        }
        let same = (route.map_type, route.distance) == (kernel.map_type, kernel.distance) && route.unknown.is_empty();
        let list = kernel.acs_redirect.as_ref().unwrap_or(&route.acs_redirect);
        if !same || *list != route.acs_redirect {
            let ours =
                format!("{:?} {:?} {:?} {:?}", route.map_type, route.distance, route.acs_redirect, route.unknown);
            self.differ(seed, "root", (route.provider, route.client), &ours, kernel);
        }
    }

    /// An ordinary user knows less, but nothing else. A distance without map type still is the kernel's.
    pub(crate) fn user(&mut self, seed: u64, route: &Route, answer: &Answer, kernel: &Verdict) {
        let is_unknown = answer.map_type == MapType::Unknown.as_str();
        self.unknown += u64::from(is_unknown);
        let distance = answer.distance == kernel.distance || is_unknown && answer.distance.is_none();
        let map_type = is_unknown || answer.map_type == kernel.map_type.as_str();
        let ports = answer.acs_redirect.iter().all(|port| route.acs_redirect.contains(port));
        if !distance || !map_type || !ports {
            let ours = format!("{} {:?} {:?}", answer.map_type, answer.distance, answer.acs_redirect);
            self.differ(seed, "ordinary user", (route.provider, route.client), &ours, kernel);
        }
    }

    pub(crate) fn module(&mut self, seed: u64, pair: (Address, Address), distance: Option<u32>, kernel: &Verdict) {
        self.routes_of_module += u64::from(distance.is_some());
        if distance != kernel.distance {
            self.differ(seed, "DISTANCE of the module", pair, &format!("{distance:?}"), kernel);
        }
    }

    /// Whether there was anything to compare: two of the map types, lists of ports, both answers of the
    /// ordinary user, and routes that the module knows.
    pub(crate) fn is_of_use(&self) -> bool {
        let Self { by_map_type, acs_lists, unknown, pairs, routes_of_module, .. } = self;
        by_map_type.len() >= 2 && *acs_lists > 0 && (1..*pairs).contains(unknown) && *routes_of_module > 0
    }

    pub(crate) fn host_bridges(&mut self, topology: &Topology) {
        let first = topology.host_bridges().filter_map(|bridge| topology.device(bridge.first));
        self.host_bridges.extend(first.map(|first| (first.vendor, first.device)));
    }

    /// Those that a run so long should have met, and has not: of the kernel's list and of none. So many trees leave none out by
    /// chance: each has one or more host bridges, with one of some twenty ids.
    pub(crate) fn not_met(&self) -> Vec<(u16, u16)> {
        let all = HOST_BRIDGES.into_iter().filter(|id| !self.host_bridges.contains(id));
        if self.trees < LONG { Vec::new() } else { all.collect() }
    }

    fn differ(&mut self, seed: u64, who: &str, pair: (Address, Address), ours: &str, kernel: &Verdict) {
        let Verdict { distance, map_type, acs_redirect } = kernel;
        self.differences.push(format!(
            "tree {seed}, {who}, provider {} client {}:\n  library {ours}\n  kernel  {map_type:?} {distance:?} {acs_redirect:?}",
            pair.0, pair.1
        ));
    }

    pub(crate) fn report(&self) {
        let Self { trees, functions, pairs, by_map_type, acs_lists, acs_not_asked, unknown, .. } = self;
        println!("{trees} trees with {functions} functions, beside the guest's own; {pairs} pairs: {by_map_type:?}");
        println!(
            "{acs_lists} lists of ACS ports compared; {acs_not_asked} pairs have ports for a longer list than the kernel's 128 bytes"
        );
        println!("an ordinary user cannot tell the map type of {unknown} pairs ({} %)", unknown * 100 / pairs.max(&1));
        println!(
            "the module's DISTANCE: {} pairs have a route, {} have none",
            self.routes_of_module,
            pairs - self.routes_of_module
        );
        println!("host bridges of {} ids; not met: {:x?}", self.host_bridges.len(), self.not_met());
        for difference in self.differences.iter().take(SHOWN) {
            println!("{difference}");
        }
    }
}
