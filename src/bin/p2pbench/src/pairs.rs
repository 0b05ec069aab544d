//! Every SSD with every provider of peer memory, and the verdict on each such pair: that of `explain`, but for what depends on
//! who asks.

use std::fmt;

use p2pdma::{
    Result,
    machine::{Machine, P2pmem},
    storage::Source,
    topology::{MapType, Route, Topology},
    verdict::{Finding, Judge, Severity, Way},
};

use crate::text;

/// The pairs of a machine, by client, then by provider.
///
/// Displays as a line for each pair and, below them, why some cannot, or could do better, and what helps. Pairs with the
/// same answer share a note: on a large machine there are hundreds of them.
///
/// ```text
/// 0000:03:00.0 -> 0000:05:00.0  direct    bus_addr       distance 4  at most 6.81 GB/s
/// 0000:81:00.0 -> 0000:05:00.0  NO ROUTE  not_supported                                 [1]
///
/// [1] why   traffic between ... may not pass the host bridge: ...
///     cure  put both below one PCIe switch, ...
/// ```
#[derive(Debug)]
pub(crate) struct Pairs(Vec<Pair>);

/// The route between the two, and what of the storage is in the way of mapped memory.
#[derive(Debug)]
struct Pair {
    route: Route,
    storage: Option<Finding>,
}

impl Pairs {
    pub(crate) fn of(machine: &Machine, topology: &Topology) -> Result<Self> {
        let judge = Judge::new(machine, topology);
        let mut pairs = Vec::new();
        for client in topology.clients() {
            let source = judge.source(&Source::of_function(machine, client.address)?);
            for provider in topology.providers() {
                let verdict = source.judge(provider.address)?;
                let route = topology.route(provider.address, client.address)?;
                let against = verdict.findings().find(|finding| finding.is_in(Way::P2pmem)).cloned();
                let storage = against.filter(|_| route.is_supported() == Some(true));
                pairs.push(Pair { route, storage });
            }
        }
        Ok(Self(pairs))
    }

    pub(crate) fn routes(&self) -> impl ExactSizeIterator<Item = &Route> {
        self.0.iter().map(|pair| &pair.route)
    }

    /// The first thing in the way of a pair whose route is allowed.
    pub(crate) fn in_the_way(&self) -> Option<&Finding> {
        self.0.iter().find_map(|pair| pair.storage.as_ref())
    }
}

impl Pair {
    fn cause(&self) -> String {
        self.storage.as_ref().map_or_else(|| self.route.cause(), |finding| finding.refusal.cause.clone())
    }

    fn cures(&self) -> Vec<String> {
        self.storage.as_ref().map_or_else(|| self.route.remedies(), |finding| vec![finding.refusal.cure.clone()])
    }

    /// An entry that might be missing in a list of ACS ports is not worth a note where the answer is known.
    fn is_as_good_as_can_be(&self) -> bool {
        let known = matches!(self.route.map_type, MapType::BusAddr | MapType::ThruHostBridge);
        known && self.route.acs_redirect.is_empty() && self.storage.is_none()
    }
}

impl fmt::Display for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let notes = Note::all(&self.0);
        let rows: Vec<_> = self.0.iter().map(|pair| row(pair, &notes)).collect();
        text::columns(&rows).iter().try_for_each(|line| writeln!(f, "{line}"))?;
        notes.iter().try_for_each(|note| write!(f, "\n{note}"))
    }
}

fn row(pair: &Pair, notes: &[Note<'_>]) -> [String; 6] {
    let Pair { route, storage } = pair;
    let verdict = match (route.is_supported(), storage) {
        (Some(true), None) => "direct",
        (Some(true), Some(finding)) if finding.severity == Severity::No => "NOT DIRECT",
        (Some(false), _) => "NO ROUTE",
        (None, _) | (_, Some(_)) => "UNKNOWN",
    };
    [
        format!("{} -> {}", route.client, route.provider),
        verdict.to_owned(),
        route.map_type.to_string(),
        route.distance.map_or(String::new(), |distance| format!("distance {distance}")),
        ceiling(route),
        notes.iter().find(|note| note.speaks_of(pair)).map_or(String::new(), Note::mark),
    ]
}

/// Decimal units: 1 GB is 10^9 bytes.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes a second")]
fn ceiling(route: &Route) -> String {
    match route.ceiling_bytes_per_second {
        _ if route.client == route.provider => "its own memory".to_owned(),
        Some(bytes) => format!("at most {:.2} GB/s", bytes as f64 / 1e9),
        None => String::new(),
    }
}

/// Why pairs are not as good as they could be, and what would help.
struct Note<'a> {
    number: usize,
    /// The first of them, which stands for all.
    pair: &'a Pair,
    remedies: Vec<String>,
    /// How many pairs it speaks of.
    pairs: usize,
}

impl<'a> Note<'a> {
    /// One for each kind of answer with each cure, in the order of the pairs.
    fn all(pairs: &'a [Pair]) -> Vec<Self> {
        let mut notes: Vec<Self> = Vec::new();
        for pair in pairs.iter().filter(|pair| !pair.is_as_good_as_can_be()) {
            match notes.iter_mut().find(|note| note.speaks_of(pair)) {
                Some(note) => note.pairs += 1,
                None => notes.push(Self { number: notes.len() + 1, pair, remedies: pair.cures(), pairs: 1 }),
            }
        }
        notes
    }

    fn speaks_of(&self, pair: &Pair) -> bool {
        let kind = |pair: &Pair| (pair.route.map_type, pair.route.is_supported());
        kind(self.pair) == kind(pair) && !pair.is_as_good_as_can_be() && self.remedies == pair.cures()
    }

    fn mark(&self) -> String {
        format!("[{}]", self.number)
    }
}

impl fmt::Display for Note<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = self.mark();
        let likewise = match self.pairs {
            1 => String::new(),
            2 => format!(" (and likewise the other pair marked {mark})"),
            pairs => format!(" (and likewise the {} other pairs marked {mark})", pairs - 1),
        };
        f.write_str(&text::paragraph(&format!("{mark} why   "), &(self.pair.cause() + &likewise)))?;
        let label = format!("{:width$} cure  ", "", width = mark.len());
        f.write_str(&text::paragraph(&label, &self.remedies.join("; or ")))
    }
}

/// What this machine lacks for there to be a pair, and what would change that. Empty when it lacks nothing.
pub(crate) fn missing(topology: &Topology) -> String {
    let mut missing = String::new();
    if topology.providers().next().is_none() {
        let cure = "none: no PCI device of this machine has given memory to p2pdma (it takes an SSD with a CMB, or a \
                    device bound to the p2pdma_user driver, on a kernel with CONFIG_PCI_P2PDMA)";
        missing += &text::paragraph("peer memory  ", cure);
    }
    if topology.clients().next().is_none() {
        let cure = "none: this machine has no NVMe function (in a virtual machine, an NVMe controller has to be passed \
                    through or emulated: virtio and SCSI disks cannot reach peer memory)";
        missing += &text::paragraph("SSD          ", cure);
    }
    missing
}

/// `64 MiB, 63.9 free`.
pub(crate) fn pool(p2pmem: &P2pmem) -> String {
    match (p2pmem.size, p2pmem.available) {
        (None, _) => "size unknown".to_owned(),
        (Some(size), None) => text::size(size),
        (Some(size), Some(available)) if size == available => format!("{}, all free", text::size(size)),
        (Some(size), Some(available)) => format!("{}, {} free", text::size(size), text::part(available, size)),
    }
}

#[cfg(test)]
mod tests {
    use p2pdma::machine::{
        Mock,
        mock::{Cpu, Function, Port},
    };

    use super::*;

    fn displayed(mock: Mock) -> String {
        let machine = Machine::mock(mock);
        let topology = Topology::scan(&machine).expect("a topology");
        Pairs::of(&machine, &topology).expect("pairs").to_string()
    }

    /// A switch with an SSD and peer memory below it, whose downstream ports redirect.
    fn redirecting(cpu: Cpu) -> Mock {
        let mut mock = Mock::new(cpu);
        let at = |text: &str| Some(text.parse().expect("an address"));
        let port = |address: &str, parent, port| Function::port(at(address).expect("an address"), parent, port);
        mock.function(&port("00:01.0", None, Port::Root));
        mock.function(&port("01:00.0", at("00:01.0"), Port::Upstream));
        for address in ["02:00.0", "02:01.0"] {
            let downstream = port(address, at("01:00.0"), Port::Downstream);
            mock.function(&Function { acs_control: Some(0x1d), ..downstream });
        }
        mock.ssd("03:00.0".parse().expect("an address"), at("02:00.0"), 1 << 20).expect("an SSD");
        mock.provider("04:00.0".parse().expect("an address"), at("02:01.0"), 64 << 20);
        mock
    }

    #[test]
    fn a_direct_pair_is_one_line() {
        let text = displayed(Mock::root_ports(Cpu::AmdZen).expect("a machine"));
        let expected = "0000:01:00.0 -> 0000:02:00.0  direct  thru_host_bridge  distance 4  at most 6.81 GB/s\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_refused_pair_says_why_and_what_to_do() {
        let text = displayed(redirecting(Cpu::IntelUnlisted));
        let start = "0000:03:00.0 -> 0000:04:00.0  NO ROUTE  not_supported  [1]\n\n[1] why   traffic";
        assert!(text.starts_with(start), "{text}");
        assert!(text.contains("\n    cure  boot with the kernel parameter"), "{text}");
        assert!(text.contains("`pci=disable_acs_redir=0000:02:01.0;0000:02:00.0`"), "whole, to be copied: {text}");
    }

    #[test]
    fn a_pair_that_takes_the_long_way_says_how_to_shorten_it() {
        let text = displayed(redirecting(Cpu::AmdZen));
        assert!(text.starts_with("0000:03:00.0 -> 0000:04:00.0  direct  thru_host_bridge  distance 4"), "{text}");
        assert!(text.contains("\n[1] why   ") && text.contains("\n    cure  boot with"), "{text}");
    }

    #[test]
    fn pairs_with_the_same_answer_share_a_note() {
        let mut mock = Mock::root_ports(Cpu::IntelUnlisted).expect("a machine");
        mock.provider("00:03.0".parse().expect("an address"), None, 1 << 20);
        mock.provider("00:04.0".parse().expect("an address"), None, 1 << 20);
        let text = displayed(mock);
        let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(text.matches("not_supported  [1]\n").count(), 3, "{text}");
        assert_eq!(text.matches(" why   ").count(), 1, "{text}");
        assert!(joined.contains("(and likewise the 2 other pairs marked [1])"), "{text}");
    }

    #[test]
    fn nothing_is_missing_where_there_are_pairs() {
        let missing = |mock| missing(&Topology::scan(&Machine::mock(mock)).expect("a topology"));
        assert_eq!(missing(Mock::one_switch(Cpu::AmdZen).expect("a machine")), "");
        let bare = missing(Mock::new(Cpu::AmdZen));
        assert!(bare.contains("peer memory  none: ") && bare.contains("SSD          none: "), "{bare}");
    }

    #[test]
    fn a_pool_that_was_never_touched_is_all_free() {
        let pool = |size, available| pool(&P2pmem { size, available, published: None });
        assert_eq!(pool(Some(64 << 20), Some(64 << 20)), "64 MiB, all free");
        assert_eq!(pool(Some(64 << 20), Some(4096)), "64 MiB, 0.0 free");
        assert_eq!(pool(Some(64 << 20), None), "64 MiB");
        assert_eq!(pool(None, Some(1)), "size unknown");
    }
}
