//! Everything that a recording should hold: what the commands look at, and what later versions of them may.

use std::path::{Path, PathBuf};

use p2pdma::{
    Error,
    machine::{Facts, Machine},
    memory::Provider,
    pci::Capability,
    storage::Source,
    topology::Topology,
    verdict::Judge,
};

use crate::{explain, failure::Failure, overview, topo};

/// Attributes of a PCI function. Reading them changes nothing, which is not so of all that lies beside them: `rom` and
/// `vpd` talk to the device.
const FUNCTION: [&str; 16] = [
    "ari_enabled",
    "boot_vga",
    "current_link_speed",
    "current_link_width",
    "d3cold_allowed",
    "enable",
    "local_cpulist",
    "max_link_speed",
    "max_link_width",
    "power_state",
    "reset_method",
    "revision",
    "sriov_numvfs",
    "sriov_totalvfs",
    "subsystem_device",
    "subsystem_vendor",
];

/// Attributes of a block device, of the kinds of them that are stacked on others too.
const BLOCK: [&str; 19] = [
    "alignment_offset",
    "dev",
    "dm/name",
    "dm/uuid",
    "eui",
    "hidden",
    "md/array_state",
    "md/level",
    "md/metadata_version",
    "md/raid_disks",
    "nguid",
    "nsid",
    "partition",
    "removable",
    "ro",
    "size",
    "start",
    "uuid",
    "wwid",
];

/// Attributes of an NVMe controller.
const CONTROLLER: [&str; 9] =
    ["address", "cntlid", "firmware_rev", "model", "numa_node", "serial", "state", "subsysnqn", "transport"];

/// Attributes of the machine. Not `/proc/version`, which names who built the kernel, and where.
const MACHINE: [&str; 6] = [
    "/proc/cpuinfo",
    "/proc/sys/kernel/osrelease",
    "/sys/class/dmi/id/product_name",
    "/sys/class/dmi/id/sys_vendor",
    "/sys/module/nvme_core/parameters/multipath",
    "/sys/module/p2pdma_user/version",
];

/// Asks all of it. Whether ACS of every PCIe function could be read.
pub(super) fn survey(machine: &Machine, named: &[PathBuf]) -> Result<bool, Failure> {
    let topology = Topology::scan(machine)?;
    topo::look(machine, &topology)?;
    overview::look(machine, &topology)?;
    let facts = machine.facts();
    read(facts, "", &MACHINE);
    // What of the machine decides, also where there is no pair to judge.
    let _ = Judge::new(machine, &topology);
    list(facts, "/sys/class/iommu");
    for device in topology.devices() {
        function(facts, &device.directory);
        // What is no provider is asked why not.
        let _ = Provider::find(machine, device.address);
    }
    for name in list(facts, "/sys/class/block") {
        block(facts, &name);
    }
    sources(machine, &topology)?;
    named.iter().try_for_each(|path| source(machine, &topology, path))?;
    Ok(!topology.devices().any(|device| device.acs == Capability::Unreadable))
}

/// What `explain` says of every block device and SSD. One that has gone since it was listed explains nothing.
fn sources(machine: &Machine, topology: &Topology) -> Result<(), Failure> {
    let names = list(machine.facts(), "/sys/class/block");
    let disks = names.iter().map(|name| Source::of_block_device(machine, &format!("/dev/{}", name.replace('!', "/"))));
    let functions = topology.clients().map(|client| Source::of_function(machine, client.address));
    disks.chain(functions).flatten().try_for_each(|source| explain::look(machine, topology, &source))
}

/// A file that this user may not open is recorded as that; one that is not there, or no file, is a mistake.
fn source(machine: &Machine, topology: &Topology, path: &Path) -> Result<(), Failure> {
    match explain::source(machine, path) {
        Ok(source) => explain::look(machine, topology, &source),
        Err(Failure::Library(Error::NotAllowed(_) | Error::NoDirectIo(_))) => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// The answers are the recorder's; here they count for nothing.
fn read(facts: &dyn Facts, directory: &str, names: &[&str]) {
    for name in names {
        let _ = facts.read(&format!("{directory}{name}"));
    }
}

fn list(facts: &dyn Facts, directory: &str) -> Vec<String> {
    facts.list(directory).unwrap_or_default()
}

fn attributes(facts: &dyn Facts, directory: &str, names: &[&str]) {
    read(facts, &format!("{directory}/"), names);
}

/// The listing tells a later version which attributes are not there at all.
fn function(facts: &dyn Facts, directory: &str) {
    let names = list(facts, directory);
    attributes(facts, directory, &FUNCTION);
    let p2pmem = format!("{directory}/p2pmem");
    list(facts, &p2pmem);
    let _ = (facts.link(&format!("{directory}/physfn")), facts.link(&format!("{directory}/iommu_group")));
    if names.iter().any(|name| name == "nvme") {
        for name in list(facts, &format!("{directory}/nvme")) {
            controller(facts, &format!("{directory}/nvme/{name}"));
        }
    }
}

fn controller(facts: &dyn Facts, directory: &str) {
    list(facts, directory);
    attributes(facts, directory, &CONTROLLER);
}

/// By the way that storage goes: number, link, then the directory of a whole disk above that of its partition.
fn block(facts: &dyn Facts, name: &str) {
    let Ok(directory) = facts.link(&format!("/sys/class/block/{name}")) else { return };
    list(facts, &directory);
    attributes(facts, &directory, &BLOCK);
    if let Some(number) = facts.text(&format!("{directory}/dev")) {
        let _ = facts.link(&format!("/sys/dev/block/{number}"));
    }
    let _ = facts.link(&format!("{directory}/device"));
    let below = ["holders", "slaves"].map(|kind| format!("{directory}/{kind}"));
    for group in &below {
        for member in list(facts, group) {
            let _ = facts.link(&format!("{group}/{member}"));
        }
    }
    let queue = format!("{directory}/queue");
    for setting in list(facts, &queue) {
        let _ = facts.read(&format!("{queue}/{setting}"));
    }
}
