//! What kept a row from being faster: as far as it was measured.

use std::collections::BTreeSet;

use p2pdma::{
    machine::Machine,
    pci::Address,
    storage::File,
    topology::{Route, Topology},
};
use serde::Serialize;

use super::ends::Ends;
use crate::failure::Failure;

/// From this part on a link, or the processors, count as full: the rest is packets that are no data, and the threads' way
/// into and out of the turn.
const FULL: f64 = 0.9;

/// A link that carried so much more than it can is not the one that the bytes crossed: virtual machines show links that
/// nobody built.
const REFUTED: f64 = 1.05;

/// What was met, and the figures that say so.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Limit {
    met: Met,
    /// CPU time by wall time and by [`processors`](Self::processors): 1 when these threads never waited. More than 1 is the
    /// kernel's threads.
    cpu_busy: Option<f64>,
    /// How many processors the queues can keep busy: one each, as far as this process has so many, and `--numa` allows them.
    processors: usize,
    /// The most bytes of data a second that the links between can carry. `null` for paths that do not go between the two
    /// devices, and where no link can be read.
    link_ceiling_bytes_per_second: Option<u64>,
    /// Measured, by that.
    link_busy: Option<f64>,
}

/// What was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Met {
    /// A link carries what it can.
    Link,
    /// The threads of the queues never wait: more queues help, if there are processors left for them.
    Cpu,
    /// Neither: the SSD itself, or too little in flight.
    Neither,
    /// Not enough is known to tell.
    Unknown,
}

impl Limit {
    /// Of bytes a second, CPU seconds a second, and processors that the queues can keep busy.
    #[expect(clippy::cast_precision_loss, reason = "rates far below 2^52")]
    pub(super) fn new(rate: f64, cpu: Option<f64>, processors: usize, ceiling: Option<u64>) -> Self {
        let processors = processors.max(1);
        let cpu_busy = cpu.map(|cpu| cpu / processors as f64);
        let link_busy = ceiling.filter(|&ceiling| ceiling > 0).map(|ceiling| rate / ceiling as f64);
        let met = match (link_busy, cpu_busy) {
            (Some(link), _) if (FULL..REFUTED).contains(&link) => Met::Link,
            (_, Some(cpu)) if cpu >= FULL => Met::Cpu,
            (Some(link), Some(_)) if link < FULL => Met::Neither,
            _ => Met::Unknown,
        };
        Self { met, cpu_busy, processors, link_ceiling_bytes_per_second: ceiling, link_busy }
    }

    /// For a table: what was met, and how busy processors and link were, in percent.
    pub(super) fn cells(&self) -> [String; 3] {
        let percent = |part: Option<f64>| part.map_or("-".into(), |part| format!("{:.0}", part * 100.0));
        let met = match self.met {
            Met::Link => "link",
            Met::Cpu => "cpu",
            Met::Neither => "neither",
            Met::Unknown => "unknown",
        };
        [met.into(), percent(self.cpu_busy), percent(self.link_busy)]
    }
}

/// The links between sources and peers.
#[derive(Debug)]
pub(super) struct Links {
    topology: Topology,
    /// Of each pair; `None` where one of its routes is not known.
    routes: Vec<Option<Vec<Route>>>,
    /// The same to the file that is copied to; empty where nothing is copied.
    onward: Vec<Option<Vec<Route>>>,
}

impl Links {
    pub(super) fn new(machine: &Machine, pairs: &[Ends<'_>]) -> Result<Self, Failure> {
        let topology = Topology::scan(machine)?;
        let routes = |ends: &Ends<'_>, file: &File| {
            let clients = file.stack().functions().into_iter();
            clients.map(|client| topology.route(ends.peer.memory.provider(), client).ok()).collect()
        };
        let onward = pairs.iter().filter_map(|ends| Some(routes(ends, ends.copy_to?))).collect();
        let routes = pairs.iter().map(|ends| routes(ends, ends.file)).collect();
        Ok(Self { topology, routes, onward })
    }

    /// The most that these pairs together can move. What is copied crosses both ways, one after the other.
    pub(super) fn ceiling(&self, pairs: &[usize]) -> Option<u64> {
        let there = self.of(&self.routes, pairs)?;
        if self.onward.is_empty() { Some(there) } else { Some(there.min(self.of(&self.onward, pairs)?)) }
    }

    /// Each link bounds what crosses it, and what does not is bounded by its own ceiling: the least of all these sums is a
    /// bound, if not always the lowest. `None` where a part of it is not known.
    fn of(&self, routes: &[Option<Vec<Route>>], pairs: &[usize]) -> Option<u64> {
        let routes = pairs.iter().map(|&pair| routes.get(pair)?.as_ref()).collect::<Option<Vec<_>>>()?;
        let routes: Vec<&Route> = routes.into_iter().flatten().collect();
        if routes.is_empty() {
            return None;
        }
        let ceilings: Option<Vec<u64>> = routes.iter().map(|route| route.ceiling_bytes_per_second).collect();
        let ceilings = ceilings?;
        let links: BTreeSet<Address> = routes.iter().flat_map(|route| route.path.iter().copied()).collect();
        let past = |link: Address| {
            let others = routes.iter().zip(&ceilings).filter(|(route, _)| !route.path.contains(&link));
            let payload = routes.iter().filter_map(|route| route.narrowest?.max_payload).max();
            Some(self.carries(link, payload)? + others.map(|(_, ceiling)| ceiling).sum::<u64>())
        };
        links.into_iter().filter_map(past).chain([ceilings.iter().sum()]).min()
    }

    fn carries(&self, function: Address, payload: Option<u16>) -> Option<u64> {
        let link = self.topology.device(function)?.link?;
        payload.map_or_else(|| link.bytes_per_second(), |payload| link.data_bytes_per_second(payload))
    }
}

#[cfg(test)]
mod tests {
    use p2pdma::machine::{Mock, mock::Cpu};

    use super::*;

    fn met(rate: f64, cpu: Option<f64>, queues: usize, ceiling: Option<u64>) -> Met {
        Limit::new(rate, cpu, queues, ceiling).met
    }

    #[test]
    fn a_limit_is_met_where_the_figures_say_so_and_nowhere_else() {
        assert_eq!(met(95.0, Some(0.2), 1, Some(100)), Met::Link);
        assert_eq!(met(50.0, Some(0.95), 1, Some(100)), Met::Cpu);
        assert_eq!(met(50.0, Some(0.5), 1, Some(100)), Met::Neither);
        assert_eq!(met(50.0, Some(0.1), 1, None), Met::Unknown, "a link that cannot be read may be full");
        assert_eq!(met(50.0, None, 1, Some(100)), Met::Unknown);
        assert_eq!(met(457.0, Some(0.5), 1, Some(100)), Met::Unknown, "no link carries that");
        assert_eq!(met(457.0, Some(0.95), 1, Some(100)), Met::Cpu);
        assert_eq!(met(50.0, Some(1.0), 1, None), Met::Cpu);
    }

    #[test]
    fn processors_are_full_when_each_of_them_is() {
        assert_eq!(met(1.0, Some(1.0), 2, Some(100)), Met::Neither);
        assert_eq!(Limit::new(1.0, Some(2.0), 2, Some(100)).cpu_busy, Some(1.0));
    }

    #[test]
    fn two_ssds_below_a_switch_are_bound_by_the_link_of_the_peer() {
        let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen).unwrap());
        let address = |text: &str| text.parse::<Address>().unwrap();
        let topology = Topology::scan(&machine).unwrap();
        let route = |client| Some(vec![topology.route(address("0000:05:00.0"), address(client)).unwrap()]);
        let routes = vec![route("0000:03:00.0"), route("0000:04:00.0"), None];
        let one = routes[0].as_ref().unwrap()[0].ceiling_bytes_per_second;
        let links = Links { routes, onward: Vec::new(), topology };
        assert_eq!(links.ceiling(&[0]), one);
        let both = links.ceiling(&[0, 1]);
        assert!(both >= one && both <= one.map(|one| 2 * one), "{one:?} {both:?}");
        assert_eq!(links.ceiling(&[0, 2]), None, "what is not known is not guessed");
    }

    #[test]
    fn figures_are_told_with_what_was_met() {
        assert_eq!(Limit::new(95.0, None, 1, Some(100)).cells(), ["link", "-", "95"]);
        assert_eq!(Limit::new(50.0, Some(0.25), 1, Some(100)).cells(), ["neither", "25", "50"]);
    }
}
