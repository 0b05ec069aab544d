//! The tree as people read it.

use std::{collections::BTreeSet, fmt};

use p2pdma::{
    machine::Machine,
    pci::Address,
    topology::{Device, HostBridge, Topology},
};

use super::line;
use crate::text;

/// Host bridges, and below them what takes part in transfers, with every port on the way to it.
///
/// What takes no part is folded into a line that says how much it is; never an SSD or a provider.
pub(super) struct Tree<'a> {
    machine: &'a Machine,
    topology: &'a Topology,
    /// What is not folded.
    kept: BTreeSet<Address>,
}

/// A place in the tree.
#[derive(Clone, Copy)]
enum Node<'a> {
    Bridge(&'a HostBridge),
    Function(&'a Device),
}

/// One line of the tree, cut into columns: branch and name, what it is, its link, notes.
pub(super) struct Row {
    /// The function; `None` for host bridges and what is folded.
    pub(super) function: Option<Address>,
    pub(super) cells: [String; 4],
}

/// What is not shown of one place.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Folded {
    host_bridges: usize,
    functions: usize,
}

impl<'a> Tree<'a> {
    pub(super) fn new(machine: &'a Machine, topology: &'a Topology) -> Self {
        Self { machine, topology, kept: kept(topology) }
    }

    /// Every line.
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        let (shown, folded) = self.divide(self.tops());
        for node in shown {
            rows.push(self.row(node, ""));
            self.descend(node, "", &mut rows);
        }
        rows.extend(folded.row(""));
        rows
    }

    /// The lines below a node; `indent` is what stands left of the node's own branch.
    fn descend(&self, node: Node<'a>, indent: &str, rows: &mut Vec<Row>) {
        let (shown, folded) = self.divide(self.below(node));
        let branches = shown.len() + usize::from(folded != Folded::default());
        for (number, node) in (1..).zip(shown) {
            let (branch, beside) = if number == branches { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            rows.push(self.row(node, &format!("{indent}{branch}")));
            self.descend(node, &format!("{indent}{beside}"), rows);
        }
        rows.extend(folded.row(&format!("{indent}└─ ")));
    }

    fn row(&self, node: Node<'_>, branch: &str) -> Row {
        match node {
            Node::Bridge(bridge) => Row { function: None, cells: line::bridge(self.topology, bridge, branch) },
            Node::Function(device) => Row {
                function: Some(device.address),
                cells: line::function(self.machine, self.topology, device, branch),
            },
        }
    }

    /// Host bridges that lie below nothing that was scanned.
    fn tops(&self) -> Vec<Node<'a>> {
        let inside = |bridge: &HostBridge| bridge.below.is_some_and(|above| self.topology.device(above).is_some());
        self.topology.host_bridges().filter(|bridge| !inside(bridge)).map(Node::Bridge).collect()
    }

    fn below(&self, node: Node<'a>) -> Vec<Node<'a>> {
        match node {
            Node::Bridge(bridge) => {
                let roots = self.topology.roots().filter(|device| device.host_bridge == bridge.name);
                roots.map(Node::Function).collect()
            }
            Node::Function(device) => {
                let bridges = self.topology.host_bridges().filter(|bridge| bridge.below == Some(device.address));
                self.topology.children(device.address).map(Node::Function).chain(bridges.map(Node::Bridge)).collect()
            }
        }
    }

    /// What is shown of these, and how much is not.
    fn divide(&self, nodes: Vec<Node<'a>>) -> (Vec<Node<'a>>, Folded) {
        let (shown, hidden): (Vec<_>, Vec<_>) = nodes.into_iter().partition(|node| self.is_shown(*node));
        let mut folded = Folded::default();
        hidden.into_iter().for_each(|node| self.fold(node, &mut folded));
        (shown, folded)
    }

    fn is_shown(&self, node: Node<'_>) -> bool {
        match node {
            Node::Bridge(bridge) => self.is_kept_bridge(bridge),
            Node::Function(device) => self.kept.contains(&device.address),
        }
    }

    fn is_kept_bridge(&self, bridge: &HostBridge) -> bool {
        self.topology.roots().any(|device| device.host_bridge == bridge.name && self.kept.contains(&device.address))
    }

    fn fold(&self, node: Node<'a>, folded: &mut Folded) {
        match node {
            Node::Bridge(_) => folded.host_bridges += 1,
            Node::Function(device) if line::stands_for_its_bridge(self.topology, device) => {}
            Node::Function(_) => folded.functions += 1,
        }
        self.below(node).into_iter().for_each(|node| self.fold(node, folded));
    }
}

impl fmt::Display for Tree<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::columns(&self.rows().into_iter().map(|row| row.cells).collect::<Vec<_>>())
            .iter()
            .try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl Folded {
    /// Nothing where nothing is folded.
    fn row(self, branch: &str) -> Option<Row> {
        let many = |count: usize, noun: &str| match count {
            0 => None,
            1 => Some(format!("1 {noun}")),
            _ => Some(format!("{count} {noun}s")),
        };
        let parts = [many(self.host_bridges, "host bridge"), many(self.functions, "function")];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        let text = format!("{branch}({} folded)", parts.join(" with "));
        let cells = [text, String::new(), String::new(), String::new()];
        (!parts.is_empty()).then_some(Row { function: None, cells })
    }
}

/// What takes part in transfers, and all that lies above it, past host bridges that lie below a device.
fn kept(topology: &Topology) -> BTreeSet<Address> {
    let mut kept = BTreeSet::new();
    let takes_part = topology.devices().filter(|device| line::takes_part(device));
    let mut ends: Vec<Address> = takes_part.map(|device| device.address).collect();
    while let Some(end) = ends.pop() {
        kept.extend(topology.path(end).map(|device| device.address));
        let above = topology.device(end).and_then(|device| above(topology, device));
        ends.extend(above.filter(|above| !kept.contains(above)));
    }
    kept
}

/// The device that this one's host bridge lies below.
fn above(topology: &Topology, device: &Device) -> Option<Address> {
    topology.host_bridges().find(|bridge| bridge.name == device.host_bridge)?.below
}

#[cfg(test)]
mod tests {
    use p2pdma::machine::{
        Mock,
        mock::{Cpu, Function, Port},
    };

    use super::*;

    fn at(text: &str) -> Address {
        text.parse().expect("an address")
    }

    /// A root port with a serial port, a root port with an SSD and a disk controller, and a clock.
    fn crowded() -> Mock {
        let mut mock = Mock::new(Cpu::AmdZen);
        for port in ["00:01.0", "00:02.0"] {
            mock.function(&Function::port(at(port), None, Port::Root));
        }
        let other = |address, parent, class| Function { parent, ..Function::new(at(address), 0x1234, 0x5678, class) };
        mock.function(&other("00:1f.0", None, 0x08_0300));
        mock.function(&other("01:00.0", Some(at("00:01.0")), 0x07_0000));
        mock.function(&other("02:00.1", Some(at("00:02.0")), 0x01_0601));
        mock.ssd(at("02:00.0"), Some(at("00:02.0")), 1 << 20).expect("an SSD");
        mock
    }

    fn displayed(mock: Mock) -> String {
        let machine = Machine::mock(mock);
        let topology = Topology::scan(&machine).expect("a topology");
        Tree::new(&machine, &topology).to_string()
    }

    #[test]
    fn what_takes_no_part_is_folded_and_counted() {
        let expected = "\
            pci0000:00          host bridge 1022:1480              node 0\n\
            ├─ 0000:00:02.0     root port 1b36:000c    16 GT/s x16\n\
            │  ├─ 0000:02:00.0  nvme 1b36:0010 (nvme)  16 GT/s x4  nvme0n1\n\
            │  └─ (1 function folded)\n\
            └─ (3 functions folded)\n";
        assert_eq!(displayed(crowded()), expected);
    }

    #[test]
    fn a_host_bridge_without_anything_is_folded() {
        assert_eq!(displayed(Mock::new(Cpu::AmdZen)), "(1 host bridge folded)\n");
    }

    #[test]
    fn a_provider_is_shown_whatever_it_is() {
        let mut mock = crowded();
        let clock = Function::new(at("00:1e.0"), 0x1234, 0x5678, 0x08_0300);
        mock.function(&Function { p2pmem: Some(1 << 20), acs_control: Some(0x04), link: Some((4, 1)), ..clock });
        let text = displayed(mock);
        let line = text.lines().find(|line| line.contains("0000:00:1e.0")).expect("the provider's line");
        assert!(
            line.contains("other 1234:5678 (no driver)") && line.contains("p2pmem 1 MiB, all free  ACS redirect"),
            "{line}"
        );
    }
}
