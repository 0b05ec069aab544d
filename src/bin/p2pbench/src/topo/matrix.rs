//! Clients against providers, in the manner of `nvidia-smi topo -m`, with the SSDs that it leaves out.

use std::fmt;

use p2pdma::{
    pci::Address,
    topology::{Device, Kind, MapType, Route, Topology},
};

use crate::text;

/// A row for each device that could do DMA to peer memory, a column for each provider. Displays with a legend, and with what
/// GPUs, accelerators and network adapters lack to become providers themselves.
///
/// ```text
///                       0000:04:00.0  0000:05:00.0
/// 0000:03:00.0 nvme     SWITCH 4      BRIDGE 4
/// 0000:06:00.0 network  -             NO
/// ```
pub(super) struct Matrix<'a>(pub(super) &'a Topology);

const LEGEND: &str = "\
SELF      the device's own memory
SWITCH n  traffic turns below the host bridge (bus_addr); n is the kernel's distance
BRIDGE n  traffic passes the host bridge, which the kernel trusts (thru_host_bridge)
DIRECT n  one of these two: which, cannot be read
NO        the kernel refuses (not_supported): see `p2pbench topo`
?         cannot be told without more privilege
";

impl Matrix<'_> {
    /// Columns vary in number, so every line is laid out here: each column is as wide as its widest cell.
    fn lines(&self) -> Vec<String> {
        let providers: Vec<Address> = self.0.providers().map(|device| device.address).collect();
        let mut rows = vec![[vec![String::new()], providers.iter().map(ToString::to_string).collect()].concat()];
        rows.extend(self.0.devices().filter(|device| can_be_client(device)).map(|client| self.row(client, &providers)));
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..=providers.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        rows.iter().map(line).collect()
    }

    fn row(&self, client: &Device, providers: &[Address]) -> Vec<String> {
        let cell =
            |&provider: &Address| self.0.route(provider, client.address).map_or("?".into(), |route| cell(&route));
        [vec![format!("{} {}", client.address, client.kind)], providers.iter().map(cell).collect()].concat()
    }
}

/// What DMAs to peer memory: SSDs on this kernel; network adapters, GPUs and accelerators by their own drivers' work.
fn can_be_client(device: &Device) -> bool {
    matches!(device.kind, Kind::Nvme | Kind::Network | Kind::Display | Kind::Accelerator)
}

fn cell(route: &Route) -> String {
    let word = match route.map_type {
        _ if route.client == route.provider => return "SELF".to_owned(),
        MapType::BusAddr => "SWITCH",
        MapType::ThruHostBridge => "BRIDGE",
        MapType::NotSupported => return "NO".to_owned(),
        MapType::Unknown => "DIRECT",
    };
    // Of an unknown kind, but with a distance: there is a route.
    route.distance.map_or("?".to_owned(), |distance| format!("{word} {distance}"))
}

/// GPUs, accelerators and network adapters that give no memory.
fn lacking(topology: &Topology) -> String {
    let candidate = |device: &&Device| can_be_client(device) && device.kind != Kind::Nvme && device.p2pmem.is_none();
    let line = |device: &Device| {
        let driver = device.driver.as_deref().unwrap_or("none");
        let label = format!("{} {}  ", device.address, device.kind);
        let lack = format!("no provider: its driver ({driver}) has given no memory to p2pdma");
        text::paragraph(&label, &lack)
    };
    topology.devices().filter(candidate).map(line).collect()
}

impl fmt::Display for Matrix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().iter().try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "\n{}", lacking(self.0))?;
        f.write_str(LEGEND)
    }
}

#[cfg(test)]
mod tests {
    use p2pdma::machine::{
        Machine, Mock,
        mock::{Cpu, Function},
    };

    use super::*;

    fn displayed(mock: Mock) -> String {
        Matrix(&Topology::scan(&Machine::mock(mock)).expect("a topology")).to_string()
    }

    #[test]
    fn every_client_meets_every_provider() {
        let text = displayed(Mock::one_switch(Cpu::AmdZen).expect("a machine"));
        let rows: Vec<&str> = text.lines().take(3).collect();
        assert_eq!(
            rows,
            ["                   0000:05:00.0", "0000:03:00.0 nvme  SWITCH 4", "0000:04:00.0 nvme  SWITCH 4"]
        );
    }

    #[test]
    fn a_gpu_without_memory_says_what_it_lacks_and_a_refusal_is_no() {
        let mut mock = Mock::root_ports(Cpu::IntelUnlisted).expect("a machine");
        let gpu = "0000:00:09.0".parse().expect("an address");
        mock.function(&Function { driver: Some("amdgpu".into()), ..Function::new(gpu, 0x1002, 0x744c, 0x03_0000) });
        let text = displayed(mock);
        assert!(text.contains("0000:01:00.0 nvme     NO\n"), "{text}");
        assert!(text.contains("0000:00:09.0 display  no provider: its driver (amdgpu) has given no memory"), "{text}");
    }
}
