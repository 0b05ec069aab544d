//! Devices that give no memory to peers, and could.

use p2pdma::topology::{Device, Kind, Topology};

use super::label::Labels;
use crate::text;

/// Displays of management controllers: a few MiB that nobody computes on.
const MANAGEMENT: [u16; 2] = [0x1a03, 0x102b];

/// What DMAs to peer memory: SSDs on this kernel; network adapters, GPUs and accelerators by their own drivers' work.
pub(super) fn can_be_client(device: &Device) -> bool {
    matches!(device.kind, Kind::Nvme | Kind::Network) || computes(device)
}

/// GPUs and accelerators that give no memory yet.
pub(crate) fn candidates(topology: &Topology) -> impl Iterator<Item = &Device> {
    topology.devices().filter(|device| computes(device) && device.p2pmem.is_none())
}

fn computes(device: &Device) -> bool {
    matches!(device.kind, Kind::Display | Kind::Accelerator) && !MANAGEMENT.contains(&device.vendor)
}

/// What GPUs, accelerators and network adapters lack; those that lack the same share a paragraph.
pub(super) fn lacking(topology: &Topology, labels: &Labels) -> String {
    let mut groups: Vec<(String, Vec<&Device>)> = Vec::new();
    let silent = |device: &&Device| device.kind != Kind::Nvme && can_be_client(device) && device.p2pmem.is_none();
    for device in topology.devices().filter(silent) {
        let lack = lack(device);
        match groups.iter_mut().find(|(known, _)| *known == lack) {
            Some((_, devices)) => devices.push(device),
            None => groups.push((lack, vec![device])),
        }
    }
    groups.iter().map(|(lack, devices)| paragraph(lack, devices, labels)).collect()
}

/// The commands name the first of the devices: the others take the same ones.
fn paragraph(lack: &str, devices: &[&Device], labels: &Labels) -> String {
    let names: Vec<_> = devices.iter().filter_map(|device| labels.get(device.address)).collect();
    let address = devices[0].address.to_string();
    let (likewise, name) = (if names.len() > 1 { "; likewise the others" } else { "" }, names.join(" "));
    let text = format!("give no memory to peers: {}{likewise}", lack.replace("ADDRESS", &address));
    let text = if names.len() == 1 { text.replacen("give ", "gives ", 1) } else { text };
    text::paragraph("- ", &format!("{name} {text}"))
}

/// The cause and the cure. Of the drivers of Linux 6.12 only nvme gives memory to p2pdma; NVIDIA's open driver does from 595
/// on, with a BAR 1 that shows all memory all the time (kernel-open/nvidia-uvm/uvm_pmm_gpu.c). The commands are those of the
/// module's donor (kmod/donor.c).
fn lack(device: &Device) -> String {
    let provide = "`echo ADDRESS > /sys/bus/pci/drivers/p2pdma_user/provide`";
    let own = "`echo p2pdma_user > /sys/bus/pci/devices/ADDRESS/driver_override` and \
               `echo ADDRESS > /sys/bus/pci/drivers_probe`";
    match (device.kind, device.driver.as_deref()) {
        (_, Some("vfio-pci")) => {
            "vfio-pci is bound, for a virtual machine or a program; bind the device's own driver first".to_owned()
        }
        (Kind::Network, None) => {
            format!(
                "no driver is bound. Load its own to use it as a client; a BAR that is memory: {own} (module p2pdma_user)"
            )
        }
        (Kind::Network, Some(driver)) => format!(
            "the driver ({driver}) gives none, and as a client it needs none; a BAR that is memory: {provide} (module \
             p2pdma_user)"
        ),
        (_, None) => {
            format!("no driver is bound. Load its own, or, with the module p2pdma_user loaded, give it to that: {own}")
        }
        (_, Some("p2pdma_user")) => "p2pdma_user is bound and gave no BAR of it: the kernel's log says why".to_owned(),
        (_, Some("nvidia")) => format!(
            "the driver (nvidia) gives none. The open driver does from 595 on, loaded with \
             `NVreg_RegistryDwords=\"RMForceStaticBar1=1;RmForceDisableIomapWC=1\"`; or, with the module p2pdma_user \
             loaded, {provide}, then lend the memory as a dma-buf"
        ),
        (_, Some(driver)) => format!(
            "the driver ({driver}) gives none, as no GPU driver of Linux 6.12 does. With the module p2pdma_user loaded: \
             {provide}, then lend the memory as a dma-buf"
        ),
    }
}

#[cfg(test)]
mod tests {
    use p2pdma::machine::{
        Machine, Mock,
        mock::{Cpu, Function},
    };

    use super::*;

    /// What a device of this class lacks, on one line.
    fn lacks(class: u32, driver: Option<&str>) -> String {
        let mut mock = Mock::new(Cpu::AmdZen);
        let device = Function::new("00:08.0".parse().expect("an address"), 0x10de, 0x2330, class);
        mock.function(&Function { driver: driver.map(str::to_owned), ..device });
        let topology = Topology::scan(&Machine::mock(mock)).expect("a topology");
        lacking(&topology, &Labels::of(&topology)).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_driver_has_its_own_cure_with_the_device_in_it() {
        let provide = "`echo 0000:00:08.0 > /sys/bus/pci/drivers/p2pdma_user/provide`";
        let own = "`echo p2pdma_user > /sys/bus/pci/devices/0000:00:08.0/driver_override` and `echo 0000:00:08.0 > \
                   /sys/bus/pci/drivers_probe`";
        let cases = [
            (0x03_0200, Some("nvidia"), "RMForceStaticBar1=1;RmForceDisableIomapWC=1"),
            (0x03_0200, Some("nvidia"), provide),
            (0x03_0000, Some("amdgpu"), provide),
            (0x12_0000, Some("habanalabs"), provide),
            (0x03_0200, None, own),
            (0x02_0000, Some("mlx5_core"), "as a client it needs none"),
            (0x02_0000, None, "Load its own to use it as a client"),
        ];
        for (class, driver, cure) in cases {
            let text = lacks(class, driver);
            assert!(text.contains(" gives no memory to peers: ") && text.contains(cure), "{driver:?}: {text}");
        }
    }

    #[test]
    fn no_command_takes_a_device_from_a_virtual_machine() {
        let text = lacks(0x03_0200, Some("vfio-pci"));
        assert!(text.contains("vfio-pci is bound") && !text.contains("echo"), "{text}");
    }
}
