//! The tree and its pairs as a drawing: a line for each place, and right of the SSDs a sign for each provider, told apart by
//! colour and by shape.
//!
//! Written as text: it takes five kinds of elements and one function that escapes.

use std::fmt;

use p2pdma::{
    machine::{Machine, MachineKind},
    pci::Address,
    topology::{Device, MapType, Route, Topology},
};

use super::{
    candidate::can_be_client,
    label::Labels,
    line::DOWNTRAINED,
    matrix::columns,
    tree::{Row, Tree},
};
use crate::{facts::MachineFacts, text::escape};

/// In pixels: a line, a column of signs, a step of the tree, a letter of the font, the margin.
const LINE: usize = 18;
const COLUMN: usize = 20;
const STEP: usize = 18;
const LETTER: usize = 8;
const MARGIN: usize = 16;
/// Above the tree: title and legend.
const TITLE: usize = 30;
const SIGNS: usize = 7 * LINE;
/// So many columns are told apart at a glance: a line stands between them and the next.
const GROUP: usize = 8;
/// As many lines stay in sight of the providers' labels, which are then repeated.
const SIGHT: usize = 30;

/// What stands for an answer. Colours that people who see few of them can tell apart, and a shape for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Own,
    Switch,
    Bridge,
    Direct,
    No,
    Unknown,
}

impl Sign {
    const ALL: [Self; 6] = [Self::Switch, Self::Bridge, Self::Direct, Self::No, Self::Unknown, Self::Own];

    fn of(route: &Route) -> Self {
        match route.map_type {
            _ if route.client == route.provider => Self::Own,
            MapType::BusAddr => Self::Switch,
            MapType::ThruHostBridge => Self::Bridge,
            MapType::NotSupported => Self::No,
            MapType::Unknown if route.distance.is_some() => Self::Direct,
            MapType::Unknown => Self::Unknown,
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Own => "the device's own memory",
            Self::Switch => "direct: turns below the host bridge (bus_addr)",
            Self::Bridge => "direct: passes the host bridge (thru_host_bridge)",
            Self::Direct => "direct: one of these two, which cannot be read",
            Self::No => "the kernel refuses (not_supported)",
            Self::Unknown => "cannot be told without more privilege",
        }
    }

    /// Around a centre.
    fn element(self, x: usize, y: usize) -> String {
        let place = format!("<g transform=\"translate({x} {y})\">");
        let shape = match self {
            Self::Own => "<circle r=\"3\" fill=\"none\" stroke=\"#555\" stroke-width=\"1.5\"/>",
            Self::Switch => "<circle r=\"6\" fill=\"#009e73\"/>",
            Self::Bridge => "<path d=\"M0-7 7 0 0 7-7 0Z\" fill=\"#0072b2\"/>",
            Self::Direct => "<path d=\"M0-7 7 6-7 6Z\" fill=\"#56b4e9\"/>",
            Self::No => "<path d=\"M-5-5 5 5M5-5-5 5\" stroke=\"#d55e00\" stroke-width=\"3\"/>",
            Self::Unknown => "<text y=\"5\" text-anchor=\"middle\" font-weight=\"bold\" fill=\"#777\">?</text>",
        };
        format!("{place}{shape}</g>")
    }
}

/// The drawing. Displays as an SVG document.
pub(super) struct Drawing<'a> {
    topology: &'a Topology,
    title: String,
    rows: Vec<Row>,
    columns: Vec<&'a Device>,
    labels: Labels,
}

impl<'a> Drawing<'a> {
    pub(super) fn new(machine: &Machine, topology: &'a Topology) -> Self {
        let label = if machine.kind() == MachineKind::Mock { "MOCK  " } else { "" };
        let title = format!("{label}{}", MachineFacts::of(machine).headline());
        let rows = Tree::new(machine, topology).rows();
        Self { topology, title, rows, columns: columns(topology), labels: Labels::of(topology) }
    }

    /// Where the columns of text begin, the labels, and the signs.
    fn edges(&self) -> [usize; 6] {
        let mut edges = [MARGIN; 6];
        for column in 0..4 {
            let width = |row: &Row| match column {
                0 => STEP * depth(&row.cells[0]) + LETTER * name(&row.cells[0]).chars().count(),
                // With the mark of a slow link.
                _ => LETTER * (row.cells[column].chars().count() + 2),
            };
            edges[column + 1] = edges[column] + self.rows.iter().map(width).max().unwrap_or(0) + 2 * LETTER;
        }
        let label = |row: &Row| row.function.and_then(|address| self.labels.get(address)).map_or(0, str::len);
        edges[5] = edges[4] + LETTER * (self.rows.iter().map(label).max().unwrap_or(0) + 1);
        edges
    }

    /// The height of the providers' labels.
    fn head(&self) -> usize {
        LETTER * self.columns.iter().map(|device| self.labels.head(device).len()).max().unwrap_or(0) + LINE
    }

    /// The top of each line, with room for the providers' labels above some, and the end.
    fn tops(&self) -> Vec<(usize, bool)> {
        let (mut top, mut seen) = (TITLE + SIGNS, SIGHT);
        let mut tops = Vec::new();
        let mut above = 0;
        for row in &self.rows {
            let depth = depth(&row.cells[0]);
            // Between two host bridges rather than within one, and never between a port and what is below it.
            let headed = depth <= above && seen >= if depth == 0 { SIGHT * 2 / 3 } else { SIGHT };
            above = depth;
            (top, seen) = if headed { (top + self.head(), 0) } else { (top, seen + 1) };
            tops.push((top, headed));
            top += LINE;
        }
        tops.push((top, false));
        tops
    }

    fn legend(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, sign) in Sign::ALL.into_iter().enumerate() {
            let y = TITLE + LINE * (index + 1);
            f.write_str(&sign.element(MARGIN + 8, y))?;
            text(f, (MARGIN + 24, y + 4), "", sign.meaning())?;
        }
        if self.columns.iter().any(|device| device.p2pmem.is_none()) {
            let y = TITLE + LINE * (Sign::ALL.len() + 1) + 4;
            text(f, (MARGIN + 5, y), "", "*  gives no memory yet: what the kernel would say if it did")?;
        }
        Ok(())
    }

    /// The providers' labels, written upwards, each above its column.
    fn heads(&self, f: &mut fmt::Formatter<'_>, (left, top): (usize, usize)) -> fmt::Result {
        for (index, device) in self.columns.iter().enumerate() {
            let (x, y) = (left + COLUMN * index + COLUMN / 2 + 4, top - 8);
            text(f, (x, y), &format!(" transform=\"rotate(-90 {x} {y})\""), &self.labels.head(device))?;
        }
        Ok(())
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, row: &Row, edges: &[usize; 6], top: usize) -> fmt::Result {
        branch(f, &row.cells[0], top)?;
        let baseline = top + LINE - 5;
        let device = row.function.and_then(|address| self.topology.device(address));
        let strong = if device.is_some_and(|device| device.p2pmem.is_some()) { " font-weight=\"bold\"" } else { "" };
        text(f, (MARGIN + STEP * depth(&row.cells[0]), baseline), strong, name(&row.cells[0]))?;
        for (column, &x) in edges.iter().enumerate().take(4).skip(1) {
            let slow = column == 3 && row.cells[3].starts_with(DOWNTRAINED);
            let style = if slow { " fill=\"#b34700\" font-weight=\"bold\"" } else { "" };
            let mark = if slow { "▼ " } else { "" };
            text(f, (x, baseline), style, &format!("{mark}{}", row.cells[column]))?;
        }
        let label = device.and_then(|device| self.labels.get(device.address));
        text(f, (edges[4], baseline), " font-weight=\"bold\"", label.unwrap_or_default())?;
        if self.columns.len() > 2 * GROUP {
            text(f, (edges[5] + COLUMN * self.columns.len() + LETTER, baseline), "", label.unwrap_or_default())?;
        }
        match device.filter(|device| can_be_client(device)) {
            Some(client) => self.signs(f, client.address, (edges[5], top + LINE / 2)),
            None => Ok(()),
        }
    }

    /// Lines between groups of columns, from the first heads to the end.
    fn groups(&self, f: &mut fmt::Formatter<'_>, left: usize, bottom: usize) -> fmt::Result {
        for x in (GROUP..self.columns.len()).step_by(GROUP).map(|column| left + COLUMN * column) {
            let top = TITLE + SIGNS + LINE / 2;
            writeln!(f, "<path d=\"M{x} {top}V{bottom}\" stroke=\"#bbb\"/>")?;
        }
        Ok(())
    }

    /// A sign for each provider; what it says, under the pointer.
    fn signs(&self, f: &mut fmt::Formatter<'_>, client: Address, (left, y): (usize, usize)) -> fmt::Result {
        for (index, provider) in self.columns.iter().enumerate() {
            let Ok(route) = self.topology.route(provider.address, client) else { continue };
            let sign = Sign::of(&route).element(left + COLUMN * index + COLUMN / 2, y);
            let distance = route.distance.map_or(String::new(), |distance| format!(", distance {distance}"));
            let [from, to] = [client, provider.address].map(|address| self.labels.get(address).unwrap_or("?"));
            let pair = format!("{from} {client} -> {to} {}", provider.address);
            let title = escape(&format!("{pair}: {}{distance}", route.map_type));
            writeln!(f, "<g><title>{title}</title>{sign}</g>")?;
        }
        Ok(())
    }
}

impl fmt::Display for Drawing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (edges, tops) = (self.edges(), self.tops());
        let least = MARGIN * 2 + LETTER * self.title.chars().count().max(64);
        let width = least.max(edges[5] + COLUMN * self.columns.len() + MARGIN + edges[5] - edges[4]);
        let bottom = tops.last().map_or(0, |(end, _)| *end);
        let height = bottom + MARGIN;
        writeln!(
            f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"monospace\" font-size=\"13\" style=\"white-space:pre\">"
        )?;
        writeln!(f, "<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>")?;
        text(f, (MARGIN, 24), " font-size=\"15\" font-weight=\"bold\"", &self.title)?;
        self.legend(f)?;
        for ((index, row), (top, headed)) in self.rows.iter().enumerate().zip(tops) {
            if index % 2 == 0 {
                writeln!(f, "<rect y=\"{top}\" width=\"{width}\" height=\"{LINE}\" fill=\"#f2f2f2\"/>")?;
            }
            if headed {
                self.heads(f, (edges[5], top))?;
                through(f, &row.cells[0], (top - self.head(), top))?;
            }
            self.row(f, row, &edges, top)?;
        }
        self.groups(f, edges[5], bottom)?;
        writeln!(f, "</svg>")
    }
}

/// The branches left of a name are drawn, three letters of them a step.
fn branch(f: &mut fmt::Formatter<'_>, cell: &str, top: usize) -> fmt::Result {
    let (middle, bottom) = (top + LINE / 2, top + LINE);
    for (step, letter) in cell.chars().step_by(3).take(depth(cell)).enumerate() {
        let x = MARGIN + STEP * step + STEP / 2;
        let end = x + STEP / 2 - 2;
        let path = match letter {
            '│' => format!("M{x} {top}V{bottom}"),
            '├' => format!("M{x} {top}V{bottom}M{x} {middle}H{end}"),
            '└' => format!("M{x} {top}V{middle}H{end}"),
            _ => continue,
        };
        writeln!(f, "<path d=\"{path}\" fill=\"none\" stroke=\"#999\"/>")?;
    }
    Ok(())
}

/// Branches that come from above pass the repeated heads.
fn through(f: &mut fmt::Formatter<'_>, cell: &str, (top, bottom): (usize, usize)) -> fmt::Result {
    for (step, letter) in cell.chars().step_by(3).take(depth(cell)).enumerate() {
        let x = MARGIN + STEP * step + STEP / 2;
        if matches!(letter, '│' | '├' | '└') {
            writeln!(f, "<path d=\"M{x} {top}V{bottom}\" fill=\"none\" stroke=\"#999\"/>")?;
        }
    }
    Ok(())
}

fn is_branch(letter: char) -> bool {
    matches!(letter, '│' | '├' | '└' | '─' | ' ')
}

/// Steps of branches.
fn depth(cell: &str) -> usize {
    cell.chars().take_while(|letter| is_branch(*letter)).count() / 3
}

fn name(cell: &str) -> &str {
    cell.trim_start_matches(is_branch)
}

/// Nothing where there is no text.
fn text(f: &mut fmt::Formatter<'_>, (x, y): (usize, usize), style: &str, text: &str) -> fmt::Result {
    match text {
        "" => Ok(()),
        _ => writeln!(f, "<text x=\"{x}\" y=\"{y}\"{style}>{}</text>", escape(text)),
    }
}

#[cfg(test)]
mod tests {
    use p2pdma::machine::{
        Mock,
        mock::{Cpu, Function, Port},
    };

    use super::*;

    fn drawn(mock: Mock) -> String {
        let machine = Machine::mock(mock);
        Drawing::new(&machine, &Topology::scan(&machine).expect("a topology")).to_string()
    }

    #[test]
    fn every_pair_has_a_sign_of_its_own_colour_and_shape() {
        let text = drawn(Mock::one_switch(Cpu::AmdZen).expect("a machine"));
        assert_eq!(text.matches("<circle r=\"6\" fill=\"#009e73\"/>").count(), 3, "two pairs and the legend: {text}");
        let text = drawn(Mock::root_ports(Cpu::IntelUnlisted).expect("a machine"));
        assert_eq!(text.matches("stroke=\"#d55e00\"").count(), 2, "one pair and the legend: {text}");
        assert!(text.contains("MOCK  p2pbench "), "{text}");
    }

    #[test]
    fn a_name_from_a_machine_is_text_and_never_markup() {
        let mut mock = Mock::one_switch(Cpu::AmdZen).expect("a machine");
        mock.facts_mut().file("/proc/sys/kernel/osrelease", "6.12 <script>&\u{1}\n");
        let text = drawn(mock);
        assert!(text.contains("6.12 &lt;script&gt;&amp;?") && !text.contains("<script"), "{text}");
    }

    /// Eight switches, each with eight GPUs that give memory, fourteen SSDs and three network adapters: 200 devices. Below
    /// two of them ACS redirects.
    fn large() -> Mock {
        let mut mock = Mock::new(Cpu::IntelUnlisted);
        let at = |text: String| text.parse::<Address>().expect("an address");
        for switch in 0..8 {
            let (root, bus) = (at(format!("00:{:02x}.0", 1 + switch)), 0x10 + 0x1c * switch);
            let upstream = at(format!("{bus:02x}:00.0"));
            mock.function(&Function::port(root, None, Port::Root));
            mock.function(&Function::port(upstream, Some(root), Port::Upstream));
            for slot in 0..25 {
                let port = at(format!("{:02x}:{slot:02x}.0", bus + 1));
                let downstream = Function::port(port, Some(upstream), Port::Downstream);
                mock.function(&Function { acs_control: (switch % 4 == 3).then_some(0x1d), ..downstream });
                mock.function(&end(at(format!("{:02x}:00.0", bus + 2 + slot)), port, slot));
            }
        }
        mock
    }

    fn end(address: Address, port: Address, slot: u8) -> Function {
        let link = Some((4, if slot == 9 { 2 } else { 16 }));
        let with = |vendor, device, class, driver: &str, p2pmem| Function {
            parent: Some(port),
            driver: Some(driver.to_owned()),
            link,
            p2pmem,
            ..Function::new(address, vendor, device, class)
        };
        match slot {
            0..8 => with(0x10de, 0x2330, 0x03_0200, "nvidia", Some(80 << 30)),
            8..22 => with(0x144d, 0xa80a, 0x01_0802, "nvme", None),
            _ => with(0x15b3, 0x1021, 0x02_0700, "mlx5_core", None),
        }
    }

    #[test]
    fn two_hundred_devices_keep_their_heads_in_sight() {
        let machine = Machine::mock(large());
        let topology = Topology::scan(&machine).expect("a topology");
        let drawing = Drawing::new(&machine, &topology);
        let tops = drawing.tops();
        assert!(tops[0].1, "heads above the first line");
        let blocks = tops.split(|(_, headed)| *headed);
        let longest = blocks.map(<[_]>::len).max();
        // Some lines more where ports would part from what is below them.
        assert!(longest.is_some_and(|lines| lines <= SIGHT + 3), "{longest:?}");
        let text = drawing.to_string();
        assert_eq!(text.matches("<g><title>").count(), 200 * 64, "a sign for each pair");
        assert_eq!(text.matches(">SSD111</text>").count(), 2, "each row has its label on both sides");
    }

    #[test]
    fn branches_are_steps() {
        assert_eq!((depth("│  └─ 0000:01:00.0"), name("│  └─ 0000:01:00.0")), (2, "0000:01:00.0"));
        assert_eq!((depth("└─ (2 functions folded)"), name("└─ (2 functions folded)")), (1, "(2 functions folded)"));
    }
}
