//! Clients against providers, in the manner of `nvidia-smi topo -m`, with the SSDs that it leaves out.

use std::fmt;

use p2pdma::topology::{Device, MapType, Route, Topology};

use super::candidate::{can_be_client, candidates, lacking};

/// A row for each device that could do DMA to peer memory, a column for each provider, and for each GPU that could become
/// one. Displays with a legend, and with what GPUs, accelerators and network adapters lack to become providers themselves.
///
/// ```text
///                       0000:04:00.0   *0000:05:00.0
/// 0000:03:00.0 nvme     SWITCH 4 6.81  BRIDGE 4 6.81
/// 0000:06:00.0 network  NO             NO
/// ```
pub(super) struct Matrix<'a>(pub(super) &'a Topology);

const LEGEND: &str = "\
SELF        the device's own memory
SWITCH n r  traffic turns below the host bridge (bus_addr); n is the kernel's distance
BRIDGE n r  traffic passes the host bridge, which the kernel trusts (thru_host_bridge)
DIRECT n r  one of these two: which, cannot be read
NO          the kernel refuses (not_supported): see `p2pbench topo`
?           cannot be told without more privilege
r           at most so many GB/s: the narrowest link, less the packets' headers
";
const STAR: &str = "*           gives no memory yet; what the kernel would say if it did\n";

impl Matrix<'_> {
    /// Columns vary in number, so every line is laid out here: each column is as wide as its widest cell.
    fn lines(&self) -> Vec<String> {
        let columns = columns(self.0);
        let heads = columns.iter().map(|device| head(device)).collect();
        let mut rows = vec![[vec![String::new()], heads].concat()];
        rows.extend(self.0.devices().filter(|device| can_be_client(device)).map(|client| self.row(client, &columns)));
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..=columns.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        rows.iter().map(line).collect()
    }

    fn row(&self, client: &Device, columns: &[&Device]) -> Vec<String> {
        let cell = |provider: &&Device| {
            self.0.route(provider.address, client.address).map_or("?".into(), |route| cell(&route))
        };
        [vec![format!("{} {}", client.address, client.kind)], columns.iter().map(cell).collect()].concat()
    }
}

/// Providers, then what could become one.
pub(super) fn columns(topology: &Topology) -> Vec<&Device> {
    topology.providers().chain(candidates(topology)).collect()
}

/// Its address, with a star where it gives no memory yet.
pub(super) fn head(device: &Device) -> String {
    let star = if device.p2pmem.is_none() { "*" } else { "" };
    format!("{star}{}", device.address)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes a second")]
fn cell(route: &Route) -> String {
    let word = match route.map_type {
        _ if route.client == route.provider && route.is_supported() == Some(true) => return "SELF".to_owned(),
        MapType::BusAddr => "SWITCH",
        MapType::ThruHostBridge => "BRIDGE",
        MapType::NotSupported => return "NO".to_owned(),
        MapType::Unknown => "DIRECT",
    };
    let rate = route.ceiling_bytes_per_second.map_or(String::new(), |bytes| format!(" {:.2}", bytes as f64 / 1e9));
    // Of an unknown kind, but with a distance: there is a route.
    route.distance.map_or("?".to_owned(), |distance| format!("{word} {distance}{rate}"))
}

impl fmt::Display for Matrix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().iter().try_for_each(|line| writeln!(f, "{line}"))?;
        for part in [lacking(self.0), LEGEND.to_owned()].iter().filter(|part| !part.is_empty()) {
            write!(f, "\n{part}")?;
        }
        f.write_str(if candidates(self.0).next().is_some() { STAR } else { "" })
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

    /// Two GPUs and the display of a management controller on the root bus.
    fn crowded() -> Mock {
        let mut mock = Mock::root_ports(Cpu::IntelUnlisted).expect("a machine");
        for (address, vendor) in [("00:09.0", 0x1002), ("00:0a.0", 0x1002), ("00:0b.0", 0x1a03)] {
            let gpu = Function::new(address.parse().expect("an address"), vendor, 0x744c, 0x03_0000);
            mock.function(&Function { driver: Some("amdgpu".into()), ..gpu });
        }
        mock
    }

    #[test]
    fn every_client_meets_every_provider() {
        let text = displayed(Mock::one_switch(Cpu::AmdZen).expect("a machine"));
        let rows: Vec<&str> = text.lines().take(3).collect();
        let cells = |row: &str| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(rows[0].trim(), "0000:05:00.0");
        assert_eq!(cells(rows[1])[..4], ["0000:03:00.0", "nvme", "SWITCH", "4"]);
        assert_eq!(cells(rows[2])[..4], ["0000:04:00.0", "nvme", "SWITCH", "4"]);
        assert!(!text.contains('*'), "{text}");
    }

    #[test]
    fn a_gpu_without_memory_says_what_it_lacks_and_has_a_column_all_the_same() {
        let text = displayed(crowded());
        assert!(text.starts_with("                      0000:02:00.0  *0000:00:09.0  *0000:00:0a.0\n"), "{text}");
        assert!(text.contains("0000:01:00.0 nvme     NO            NO"), "{text}");
        assert!(text.contains("0000:00:09.0 display  no provider (and 2 like it): its driver (amdgpu)"), "{text}");
        assert!(text.contains("*           gives no memory yet"), "{text}");
    }
}
