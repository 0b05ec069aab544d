//! Devices that give no memory to peers, and could.

use p2pdma::topology::{Device, Kind, Topology};

use crate::text;

/// Displays of management controllers: a few MiB that nobody computes on.
const MANAGEMENT: [u16; 2] = [0x1a03, 0x102b];

/// What DMAs to peer memory: SSDs on this kernel; network adapters, GPUs and accelerators by their own drivers' work.
pub(super) fn can_be_client(device: &Device) -> bool {
    matches!(device.kind, Kind::Nvme | Kind::Network | Kind::Display | Kind::Accelerator)
}

/// GPUs and accelerators that give no memory yet.
pub(crate) fn candidates(topology: &Topology) -> impl Iterator<Item = &Device> {
    topology.devices().filter(|device| is_candidate(device))
}

fn is_candidate(device: &Device) -> bool {
    let computes = matches!(device.kind, Kind::Display | Kind::Accelerator);
    computes && device.p2pmem.is_none() && !MANAGEMENT.contains(&device.vendor)
}

/// What GPUs, accelerators and network adapters lack; those that lack the same share a paragraph.
pub(super) fn lacking(topology: &Topology) -> String {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    let silent = |device: &&Device| device.kind != Kind::Nvme && can_be_client(device) && device.p2pmem.is_none();
    for device in topology.devices().filter(silent) {
        let (lack, name) = (lack(device), format!("{} {}", device.address, device.kind));
        match groups.iter_mut().find(|(known, _)| *known == lack) {
            Some((_, names)) => names.push(name),
            None => groups.push((lack, vec![name])),
        }
    }
    groups.iter().map(|(lack, names)| paragraph(lack, names)).collect()
}

fn paragraph(lack: &str, names: &[String]) -> String {
    let more = match names.len() {
        1 => String::new(),
        count => format!(" (and {} like it)", count - 1),
    };
    text::paragraph(&format!("{}  ", names[0]), &format!("no provider{more}: {lack}"))
}

/// The cause and the cure. Of the drivers of Linux 6.12 only nvme gives memory to p2pdma; NVIDIA's open driver does from 595
/// on, with a BAR 1 that shows all memory all the time (kernel-open/nvidia-uvm/uvm_pmm_gpu.c).
fn lack(device: &Device) -> String {
    match (device.kind, device.driver.as_deref()) {
        (Kind::Network, driver) => {
            let driver = driver.unwrap_or("none");
            format!("its driver ({driver}) has given no memory to p2pdma; it can only read and write that of others")
        }
        (_, None) => "no driver is bound: load its driver, or give it to p2pdma_user by driver_override".to_owned(),
        (_, Some("nvidia")) => {
            "its driver (nvidia) has given no memory to p2pdma: the open driver does from 595 on, loaded \
             with NVreg_RegistryDwords=\"RMForceStaticBar1=1;RmForceDisableIomapWC=1\""
                .to_owned()
        }
        (_, Some(driver)) => format!(
            "its driver ({driver}) has given no memory to p2pdma: none of Linux 6.12's GPU drivers does; its memory can be \
             lent as a dma-buf through the p2pdma_user module"
        ),
    }
}
