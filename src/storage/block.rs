//! From a block device down to the NVMe functions, as sysfs shows it.

use super::{DmTarget, Evidence, Layer, LayerKind, Limits, Mount, filesystem, mount::mounts, namespaces};
use crate::{
    machine::{DeviceNumber, Facts},
    pci::Address,
};

/// Layers below one another, and all layers: more is a cycle, or the record of a damaged machine.
const DEEPEST: usize = 16;
const MOST: usize = 512;

/// One way down. Every layer is taken from the same budget, so that it ends whatever the facts are.
pub(super) struct Descent<'a> {
    pub(super) facts: &'a dyn Facts,
    pub(super) mounts: Vec<Mount>,
    depth: usize,
    left: usize,
}

impl<'a> Descent<'a> {
    pub(super) fn new(facts: &'a dyn Facts) -> Self {
        Self { facts, mounts: mounts(facts), depth: 0, left: MOST }
    }

    /// Goes one layer down, unless that is too far.
    pub(super) fn down(&mut self, name: &str, below: impl FnOnce(&mut Self) -> Layer) -> Layer {
        if self.depth >= DEEPEST || self.left == 0 {
            return Layer::hidden(name, "too many layers, or layers in a circle");
        }
        self.depth += 1;
        self.left -= 1;
        let layer = below(self);
        self.depth -= 1;
        layer
    }

    /// The block device with this number. `/sys/dev/block/<major>:<minor>` leads to its directory.
    pub(super) fn number(&mut self, number: DeviceNumber) -> Layer {
        let path = format!("/sys/dev/block/{number}");
        match self.facts.link(&path) {
            Ok(directory) => self.block(&directory),
            Err(error) => Layer {
                evidence: vec![Evidence::new(path, error)],
                ..Layer::hidden(format!("device {number}"), "no block device can be named")
            },
        }
    }

    /// The block device that a path names: `/dev/nvme0n1`, or a symbolic link to it as in `/dev/mapper`.
    pub(super) fn device(&mut self, path: &str) -> Option<Layer> {
        let real = filesystem::real_path(self.facts, path);
        let name = real.strip_prefix("/dev/")?;
        // sysfs writes ! for the / in names as cciss/c0d0.
        let directory = self.facts.link(&format!("/sys/class/block/{}", name.replace('/', "!"))).ok()?;
        Some(self.block(&directory))
    }

    /// The block device with this directory.
    pub(super) fn block(&mut self, directory: &str) -> Layer {
        let name = last(directory).to_owned();
        self.down(&name, |descent| descent.describe(directory))
    }

    fn describe(&mut self, directory: &str) -> Layer {
        let name = last(directory);
        let kind = kind(self.facts, directory);
        let below = match &kind {
            LayerKind::Partition => vec![self.block(parent(directory))],
            LayerKind::Dm(_) | LayerKind::Md(_) => self.slaves(directory),
            LayerKind::MultipathHead => self.paths(directory),
            LayerKind::Loop => self.backing(directory),
            _ => return self.layer(directory, kind, Vec::new()),
        };
        let nothing = || vec![Layer::hidden(name, "nothing is known to lie below it")];
        self.layer(directory, kind, if below.is_empty() { nothing() } else { below })
    }

    fn layer(&self, directory: &str, kind: LayerKind, below: Vec<Layer>) -> Layer {
        let evidence = evidence(self.facts, directory, &kind);
        let number = self.facts.text(&format!("{directory}/dev")).and_then(|text| parse_number(&text));
        // A partition has no queue of its own.
        let queue = if kind == LayerKind::Partition { parent(directory) } else { directory };
        let limits = Limits::read(self.facts, queue);
        let integrity = integrity(self.facts, directory);
        Layer { number, limits, integrity, evidence, below, ..Layer::new(last(directory), kind) }
    }

    fn slaves(&mut self, directory: &str) -> Vec<Layer> {
        self.linked(&format!("{directory}/slaves"))
    }

    /// The block devices that a directory of links leads to.
    pub(super) fn linked(&mut self, directory: &str) -> Vec<Layer> {
        let names = self.facts.list(directory).unwrap_or_default().into_iter();
        let layers = names.map(|name| match self.facts.link(&format!("{directory}/{name}")) {
            Ok(slave) => self.block(&slave),
            Err(error) => Layer::hidden(name, format!("its directory cannot be read: {error}")),
        });
        layers.collect()
    }

    /// The hidden disks of a head's controllers: `nvme-subsys0` links to `nvme0`, which holds `nvme0c0n1`.
    fn paths(&mut self, directory: &str) -> Vec<Layer> {
        let (subsystem, head) = (parent(directory), last(directory));
        let entries = self.facts.list(subsystem).unwrap_or_default();
        let controllers = entries.iter().filter_map(|entry| self.facts.link(&format!("{subsystem}/{entry}")).ok());
        let controllers: Vec<_> = controllers.filter(|path| last(path).starts_with("nvme")).collect();
        let mut paths = Vec::new();
        for controller in controllers {
            let disks = self.facts.list(&controller).unwrap_or_default();
            let disks = disks.into_iter().filter(|disk| namespaces::head_of(disk).as_deref() == Some(head));
            paths.extend(disks.map(|disk| self.block(&format!("{controller}/{disk}"))));
        }
        paths
    }

    /// The filesystem with the file that a loop device plays.
    fn backing(&mut self, directory: &str) -> Vec<Layer> {
        let file = self.facts.text(&format!("{directory}/loop/backing_file"));
        file.into_iter().map(|file| self.file(&file)).collect()
    }
}

/// What a block device is.
fn kind(facts: &dyn Facts, directory: &str) -> LayerKind {
    let text = |name: &str| facts.text(&format!("{directory}/{name}"));
    if text("partition").is_some() {
        LayerKind::Partition
    } else if let Some(uuid) = text("dm/uuid") {
        let on_lvm = slaves(facts, directory).iter().any(|slave| is_lvm(facts, slave));
        LayerKind::Dm(DmTarget::of(&uuid, on_lvm))
    } else if let Some(level) = text("md/level") {
        // Behind writes are copied by CPU (alloc_behind_master_bio, drivers/md/raid1.c).
        let behind = text("md/bitmap/backlog").is_some_and(|backlog| backlog != "0");
        LayerKind::Md(if behind { format!("{level} with write-behind") } else { level })
    } else if text("loop/backing_file").is_some() {
        LayerKind::Loop
    } else {
        by_path(directory)
    }
}

/// What says that a block device is of this kind.
fn evidence(facts: &dyn Facts, directory: &str, kind: &LayerKind) -> Vec<Evidence> {
    let names: &[&str] = match kind {
        LayerKind::Partition => &["partition"],
        LayerKind::Dm(_) => &["dm/name", "dm/uuid"],
        LayerKind::Md(_) => &["md/level", "md/bitmap/backlog"],
        LayerKind::Loop => &["loop/backing_file"],
        _ => return vec![Evidence::new(format!("/sys/class/block/{}", last(directory)), directory)],
    };
    let paths = names.iter().map(|name| format!("{directory}/{name}"));
    paths.filter_map(|path| facts.text(&path).map(|text| Evidence::new(path, text))).collect()
}

/// By the kernel's own path: `.../<pci function>/nvme/nvme0/nvme0n1` is a namespace of that function,
/// `/sys/devices/virtual/nvme-subsystem/...` a multipath head.
fn by_path(directory: &str) -> LayerKind {
    let parts: Vec<&str> = directory.split('/').collect();
    let function: Option<Address> =
        parts.windows(2).find(|pair| pair[1] == "nvme").and_then(|pair| pair[0].parse().ok());
    match function {
        Some(function) => LayerKind::Namespace(function),
        None if parts.contains(&"nvme-subsystem") => LayerKind::MultipathHead,
        None => LayerKind::Other,
    }
}

/// `integrity/format` is `none` or `nop` where there is nothing to check (block/t10-pi.c, drivers/nvme/host/core.c).
fn integrity(facts: &dyn Facts, directory: &str) -> Option<Evidence> {
    let path = format!("{directory}/integrity/format");
    let format = facts.text(&path).filter(|format| !["", "none", "nop"].contains(&format.as_str()))?;
    let is_on = |name| facts.number(&format!("{directory}/integrity/{name}")) != Some(0);
    (is_on("read_verify") || is_on("write_generate")).then(|| Evidence::new(path, format))
}

/// The directories of the devices right below a dm or md device.
fn slaves(facts: &dyn Facts, directory: &str) -> Vec<String> {
    let names = facts.list(&format!("{directory}/slaves")).unwrap_or_default();
    names.iter().filter_map(|name| facts.link(&format!("{directory}/slaves/{name}")).ok()).collect()
}

fn is_lvm(facts: &dyn Facts, directory: &str) -> bool {
    facts.text(&format!("{directory}/dm/uuid")).is_some_and(|uuid| uuid.starts_with("LVM-"))
}

fn parse_number(text: &str) -> Option<DeviceNumber> {
    let (major, minor) = text.split_once(':')?;
    Some(DeviceNumber { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

#[cfg(test)]
mod tests;
