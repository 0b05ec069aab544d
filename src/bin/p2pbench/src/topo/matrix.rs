//! Clients against providers, in the manner of `nvidia-smi topo -m`, with the SSDs that it leaves out.

use std::fmt;

use p2pdma::{
    machine::Machine,
    topology::{Device, MapType, Route, Topology},
};

use super::{
    candidate::{can_be_client, candidates, lacking},
    label::Labels,
    line,
};
use crate::text;

/// What fits on a terminal of 120 columns behind the label MOCK.
const WIDTH: usize = 114;

/// A row for each device that could do DMA to peer memory, a column for each provider, and for each GPU that could become
/// one. Displays with what the labels stand for, a legend, and what GPUs, accelerators and network adapters lack to become
/// providers themselves. Columns that find no room follow in blocks below.
///
/// ```text
///       NUMA  GPU0       *GPU1
/// SSD0  0     SW  4 6.8  XHB 4 6.8
/// NIC0  1     NO         NO
///
/// SSD0  0000:03:00.0  nvme 1b36:0010 (nvme)  nvme0n1
/// ```
pub(super) struct Matrix<'a> {
    topology: &'a Topology,
    labels: Labels,
    columns: Vec<&'a Device>,
    /// What the labels stand for.
    key: Vec<String>,
}

const LEGEND: &str = "\
SELF     the device's own memory
SW n r   traffic turns below the host bridge (bus_addr); n is the kernel's distance
PHB n r  traffic passes their host bridge, which the kernel trusts (thru_host_bridge)
XHB n r  traffic passes from one host bridge to another, both trusted (thru_host_bridge)
SYS n r  the same from one NUMA node to another
DIR n r  direct, but which of these cannot be read
NO       the kernel refuses (not_supported)
?        cannot be told without more privilege
r        at most so many GB/s: the narrowest link, less the packets' headers
NUMA     the node that the device is near to; -: the firmware names none, so that SYS reads XHB
";
const STAR: &str = "*        gives no memory yet; what the kernel would say if it did\n";
const SILENCE: &str = "\
A row: every SSD, GPU, accelerator and network adapter. A column: every device that gives memory to peers, and every \
GPU and accelerator that could. What stands in neither cannot do either, or was not found: see `p2pbench topo`. Why a \
cell is NO or ?, and what helps: `p2pbench explain SOURCE PEER` with the addresses of its row and its column.";

impl<'a> Matrix<'a> {
    pub(super) fn new(machine: &Machine, topology: &'a Topology) -> Self {
        let labels = Labels::of(topology);
        let key = key(machine, topology, &labels);
        Self { topology, labels, columns: columns(topology), key }
    }

    fn clients(&self) -> impl Iterator<Item = &'a Device> {
        self.topology.devices().filter(|device| can_be_client(device))
    }

    /// The columns, head first, each cell as wide as the widest of its column.
    fn cells(&self) -> Vec<Vec<String>> {
        let clients: Vec<_> = self.clients().collect();
        let column = |provider: &&Device| {
            let route = |client: &&Device| self.topology.route(provider.address, client.address).ok();
            let routes: Vec<_> = clients.iter().map(route).collect();
            even([vec![self.labels.head(provider)], self.column(&routes)].concat())
        };
        self.columns.iter().map(column).collect()
    }

    /// What stands left of every block: label and NUMA node.
    fn heads(&self) -> Vec<String> {
        let node = |device: &Device| device.numa_node.map_or("-".to_owned(), |node| node.to_string());
        let label = |device: &Device| self.labels.get(device.address).unwrap_or("?").to_owned();
        let (labels, nodes): (Vec<_>, Vec<_>) = self.clients().map(|device| (label(device), node(device))).unzip();
        let labels = even([vec![String::new()], labels].concat());
        let nodes = even([vec!["NUMA".to_owned()], nodes].concat());
        labels.iter().zip(nodes).map(|(label, node)| format!("{label}  {node}")).collect()
    }

    fn blocks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (heads, cells) = (self.heads(), self.cells());
        let blocks = blocks(heads[0].len(), &cells);
        let mut first = 0;
        for block in &blocks {
            let last = first + block.len();
            if blocks.len() > 1 {
                let between = if first > 0 { "\n" } else { "" };
                writeln!(f, "{between}columns {} to {last} of {}", first + 1, cells.len())?;
            }
            for (row, head) in heads.iter().enumerate() {
                let line = block.iter().fold(head.clone(), |line, column| line + "  " + &column[row]);
                writeln!(f, "{}", line.trim_end())?;
            }
            first = last;
        }
        Ok(())
    }

    /// The answers of one column, whose numbers line up.
    fn column(&self, routes: &[Option<Route>]) -> Vec<String> {
        let parts = |route: &Option<Route>| route.as_ref().map_or_else(|| alone("?"), |route| self.parts(route));
        let parts: Vec<_> = routes.iter().map(parts).collect();
        let width = |part: usize| parts.iter().map(|cell| cell[part].len()).max().unwrap_or(0);
        let [number, rate] = [1, 2].map(width);
        let cell = |[word, distance, gigabytes]: &[String; 3]| match distance.as_str() {
            "" => word.clone(),
            _ => format!("{word:3} {distance:>number$} {gigabytes:>rate$}"),
        };
        parts.iter().map(cell).collect()
    }

    /// Word, distance, GB/s; the word alone where there is no route.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes a second")]
    fn parts(&self, route: &Route) -> [String; 3] {
        let word = match route.map_type {
            _ if route.client == route.provider && route.is_supported() == Some(true) => return alone("SELF"),
            MapType::BusAddr => "SW",
            MapType::ThruHostBridge => self.crossing(route),
            MapType::NotSupported => return alone("NO"),
            MapType::Unknown => "DIR",
        };
        let rate = route.ceiling_bytes_per_second.map_or(String::new(), |bytes| format!("{:.1}", bytes as f64 / 1e9));
        // Of an unknown kind, but with a distance: there is a route.
        route.distance.map_or_else(|| alone("?"), |distance| [word.to_owned(), distance.to_string(), rate])
    }

    /// How far traffic through a host bridge goes: as much as the firmware tells.
    fn crossing(&self, route: &Route) -> &'static str {
        let [provider, client] = [route.provider, route.client].map(|address| self.topology.device(address));
        let Some((provider, client)) = provider.zip(client) else { return "PHB" };
        match provider.numa_node.zip(client.numa_node) {
            _ if provider.host_bridge == client.host_bridge => "PHB",
            Some((one, other)) if one != other => "SYS",
            _ => "XHB",
        }
    }
}

/// Providers, then what could become one.
pub(super) fn columns(topology: &Topology) -> Vec<&Device> {
    topology.providers().chain(candidates(topology)).collect()
}

/// As many columns beside each other as find room; at least one block, which may hold none.
fn blocks(head: usize, columns: &[Vec<String>]) -> Vec<&[Vec<String>]> {
    let (mut blocks, mut first, mut used) = (Vec::new(), 0, head);
    for (index, column) in columns.iter().enumerate() {
        let width = 2 + column[0].chars().count();
        if used + width > WIDTH && index > first {
            blocks.push(&columns[first..index]);
            (first, used) = (index, head);
        }
        used += width;
    }
    blocks.push(&columns[first..]);
    blocks
}

/// `SSD0  0000:03:00.0  nvme 1b36:0010 (nvme)  nvme0n1`
fn key(machine: &Machine, topology: &Topology, labels: &Labels) -> Vec<String> {
    let row = |device: &Device| {
        let label = labels.get(device.address)?.to_owned();
        let disk = line::block_devices(machine, device).unwrap_or_default();
        Some([label, device.address.to_string(), line::what(device), disk])
    };
    text::columns(&topology.devices().filter_map(row).collect::<Vec<_>>())
}

/// All as wide as the widest.
fn even(cells: Vec<String>) -> Vec<String> {
    let width = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
    cells.into_iter().map(|cell| format!("{cell:width$}")).collect()
}

/// A word without numbers.
fn alone(word: &str) -> [String; 3] {
    [word.to_owned(), String::new(), String::new()]
}

impl fmt::Display for Matrix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.blocks(f)?;
        if !self.key.is_empty() {
            writeln!(f, "\n{}", self.key.join("\n"))?;
        }
        let lacking = lacking(self.topology, &self.labels);
        write!(f, "\n{LEGEND}")?;
        f.write_str(if candidates(self.topology).next().is_some() { STAR } else { "" })?;
        write!(f, "\n{}", text::paragraph("", SILENCE))?;
        if !lacking.is_empty() {
            write!(f, "\n{lacking}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use p2pdma::machine::{
        Mock, Snapshot,
        mock::{Cpu, Function},
    };

    use super::*;

    fn displayed(mock: Mock) -> String {
        let machine = Machine::mock(mock);
        Matrix::new(&machine, &Topology::scan(&machine).expect("a topology")).to_string()
    }

    /// GPUs on the root bus, and the display of a management controller.
    fn crowded(gpus: u8) -> Mock {
        let mut mock = Mock::root_ports(Cpu::IntelUnlisted).expect("a machine");
        for number in 0..=gpus {
            let vendor = if number == gpus { 0x1a03 } else { 0x1002 };
            let gpu = Function::new(
                format!("00:{:02x}.0", 8 + number).parse().expect("an address"),
                vendor,
                0x744c,
                0x03_0000,
            );
            mock.function(&Function { driver: Some("amdgpu".into()), ..gpu });
        }
        mock
    }

    #[test]
    fn every_client_meets_every_provider() {
        let text = displayed(Mock::one_switch(Cpu::AmdZen).expect("a machine"));
        let cells = |row: &str| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let rows: Vec<_> = text.lines().take(3).map(cells).collect();
        assert_eq!(rows[0], ["NUMA", "MEM0"], "{text}");
        assert_eq!(rows[1][..1], ["SSD0"]);
        assert_eq!(rows[1][2..], ["SW", "4", "6.8"]);
        assert_eq!(rows[2][2..], ["SW", "4", "6.8"]);
        assert!(text.contains("\nSSD0  0000:03:00.0  nvme "), "{text}");
        assert!(!text.contains('*'), "{text}");
    }

    #[test]
    fn a_gpu_without_memory_says_what_it_lacks_and_has_a_column_all_the_same() {
        let text = displayed(crowded(2));
        let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(joined.starts_with("NUMA MEM0 *GPU0 *GPU1 GPU0 "), "{text}");
        assert!(joined.contains("- GPU0 GPU1 give no memory to peers: the driver (amdgpu) gives none"), "{text}");
        assert!(text.contains("`echo 0000:00:08.0 > /sys/bus/pci/drivers/p2pdma_user/provide`"), "{text}");
        assert!(text.contains("*        gives no memory yet"), "{text}");
    }

    /// The word between an SSD and a GPU of another host bridge, with these NUMA nodes.
    fn across(nodes: [&str; 2]) -> String {
        let mut facts = Snapshot::new();
        facts.file("/proc/cpuinfo", "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\n");
        for (domain, (node, class)) in nodes.into_iter().zip(["0x010802", "0x030200"]).enumerate() {
            let address = format!("000{domain}:00:01.0");
            let directory = format!("/sys/devices/pci000{domain}:00/{address}");
            facts.symlink(format!("/sys/bus/pci/devices/{address}"), directory.clone());
            for (name, value) in [("vendor", "0x10de"), ("device", "0x2330"), ("class", class), ("numa_node", node)] {
                facts.file(format!("{directory}/{name}"), value);
            }
            facts.file(format!("{directory}/config"), [0; 256]);
        }
        let machine = Machine::recorded(facts);
        let text = Matrix::new(&machine, &Topology::scan(&machine).expect("a topology")).to_string();
        let row = text.lines().find(|line| line.starts_with("SSD0")).expect("a row");
        row.split_whitespace().nth(2).expect("a cell").to_owned()
    }

    #[test]
    fn traffic_between_sockets_is_told_apart_where_the_firmware_tells() {
        assert_eq!(across(["0", "1"]), "SYS");
        assert_eq!(across(["0", "0"]), "XHB");
        assert_eq!(across(["-1", "1"]), "XHB");
        let text = displayed(Mock::root_ports(Cpu::AmdZen).expect("a machine"));
        assert!(text.contains("PHB 4 6.8"), "{text}");
    }

    #[test]
    fn columns_without_room_follow_below_with_the_row_heads_again() {
        let text = displayed(crowded(16));
        assert!(text.starts_with("columns 1 to ") && text.contains(" of 17\n"), "{text}");
        assert!(text.matches("\nSSD0  ").count() >= 3, "two blocks and what the label stands for: {text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH || line.contains('`')), "{text}");
    }
}
