//! Short names for what takes part in transfers, as `nvidia-smi topo -m` gives them: `SSD0`, `GPU1`, `NIC2`.

use std::collections::BTreeMap;

use p2pdma::{
    pci::Address,
    topology::{Device, Kind, Topology},
};

use super::candidate::can_be_client;

/// A name for each device that could do DMA to peer memory, or gives some; each kind is counted from 0 in the order of
/// addresses.
#[derive(Debug)]
pub(super) struct Labels(BTreeMap<Address, String>);

impl Labels {
    pub(super) fn of(topology: &Topology) -> Self {
        let mut counts = BTreeMap::new();
        let named = topology.devices().filter(|device| can_be_client(device) || device.p2pmem.is_some());
        let label = |device: &Device| {
            let noun = noun(device.kind);
            let count: &mut usize = counts.entry(noun).or_default();
            *count += 1;
            (device.address, format!("{noun}{}", *count - 1))
        };
        Self(named.map(label).collect())
    }

    pub(super) fn get(&self, address: Address) -> Option<&str> {
        self.0.get(&address).map(String::as_str)
    }

    /// The label, with a star where the device gives no memory yet.
    pub(super) fn head(&self, device: &Device) -> String {
        let star = if device.p2pmem.is_none() { "*" } else { "" };
        format!("{star}{}", self.get(device.address).unwrap_or("?"))
    }
}

fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::Nvme => "SSD",
        Kind::Display => "GPU",
        Kind::Network => "NIC",
        Kind::Accelerator => "ACC",
        Kind::Memory => "MEM",
        _ => "DEV",
    }
}

#[cfg(test)]
mod tests {
    use p2pdma::machine::{
        Machine, Mock,
        mock::{Cpu, Function},
    };

    use super::*;

    #[test]
    fn each_kind_is_counted_in_the_order_of_addresses() {
        let mut mock = Mock::one_switch(Cpu::AmdZen).expect("a machine");
        let at = |text: &str| text.parse::<Address>().expect("an address");
        mock.function(&Function::new(at("00:1f.0"), 0x1a03, 0x2000, 0x03_0000));
        mock.function(&Function::new(at("00:1e.0"), 0x10de, 0x2330, 0x03_0200));
        mock.function(&Function::new(at("00:1d.0"), 0x10de, 0x2330, 0x03_0200));
        let labels = Labels::of(&Topology::scan(&Machine::mock(mock)).expect("a topology"));
        let label = |address| labels.get(at(address));
        assert_eq!((label("03:00.0"), label("04:00.0")), (Some("SSD0"), Some("SSD1")));
        assert_eq!((label("00:1d.0"), label("00:1e.0")), (Some("GPU0"), Some("GPU1")));
        assert_eq!((label("00:1f.0"), label("00:01.0")), (None, None), "a display of a controller, a port");
    }
}
