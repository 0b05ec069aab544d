//! The block device that holds a file's bytes, as sysfs shows it.

use std::{fmt, path::PathBuf};

use crate::{
    machine::{DeviceNumber, Facts, Machine},
    pci::Address,
};

/// The block device under a file, sorted by what Linux 6.12 can do with peer memory on it.
///
/// Only the queue of an NVMe namespace has the feature `BLK_FEAT_PCI_P2PDMA` (drivers/nvme/host/core.c, set where the
/// controller is on PCI); nothing that is stacked on top inherits it (include/linux/blkdev.h,
/// `BLK_FEAT_INHERIT_MASK`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockDevice {
    /// A namespace of an NVMe function, or a partition of one.
    Nvme {
        /// `nvme0n1`, or `nvme0n1p1` for a partition.
        name: String,
        /// The NVMe function: the client of every transfer.
        function: Address,
    },
    /// The head of a native NVMe multipath device: its queue lacks the feature.
    MultipathHead {
        /// `nvme0n1`.
        name: String,
    },
    /// Anything else: md, dm, loop, virtio, SCSI.
    Other {
        /// `dm-0`, `md127`, `sda`.
        name: String,
    },
    /// No block device can be named: a filesystem that hides its devices (btrfs, overlay, NFS), or facts are missing.
    Hidden {
        /// The device number that the file claims to be on.
        number: DeviceNumber,
    },
}

impl BlockDevice {
    /// Follows `/sys/dev/block/<major>:<minor>`.
    pub(super) fn find(facts: &dyn Facts, number: DeviceNumber) -> Self {
        match facts.link(&format!("/sys/dev/block/{number}")) {
            Ok(path) => Self::of(&path),
            Err(_) => Self::Hidden { number },
        }
    }

    /// Reads the kernel's own path: `.../<pci function>/nvme/nvme0/nvme0n1[/nvme0n1p1]` is a namespace of that function,
    /// `/sys/devices/virtual/nvme-subsystem/...` a multipath head.
    fn of(path: &str) -> Self {
        let parts: Vec<&str> = path.split('/').collect();
        let name = parts.last().copied().unwrap_or_default().to_owned();
        let function = parts.windows(2).find(|pair| pair[1] == "nvme").and_then(|pair| pair[0].parse().ok());
        match function {
            Some(function) => Self::Nvme { name, function },
            None if parts.contains(&"nvme-subsystem") => Self::MultipathHead { name },
            None => Self::Other { name },
        }
    }

    /// The NVMe function that does the DMA, where there is one.
    #[must_use]
    pub fn function(&self) -> Option<Address> {
        match self {
            Self::Nvme { function, .. } => Some(*function),
            _ => None,
        }
    }
}

/// The block devices of an NVMe function's namespaces, by path, sorted. Empty where the function has none, or where
/// they are hidden behind a multipath head.
#[must_use]
pub fn namespaces(machine: &Machine, function: Address) -> Vec<PathBuf> {
    let facts = machine.facts();
    let list = |path: &str| facts.list(path).unwrap_or_default();
    let Ok(directory) = facts.link(&format!("/sys/bus/pci/devices/{function}")) else { return Vec::new() };
    let controllers = list(&format!("{directory}/nvme")).into_iter();
    let names = controllers.flat_map(|name| list(&format!("{directory}/nvme/{name}")));
    names.filter(|name| is_namespace(name)).map(|name| PathBuf::from(format!("/dev/{name}"))).collect()
}

/// `nvme0n1`, but neither `nvme0` nor the hidden path `nvme0c0n1` (drivers/nvme/host/multipath.c).
fn is_namespace(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts = name.strip_prefix("nvme").and_then(|rest| rest.split_once('n'));
    parts.is_some_and(|(controller, namespace)| digits(controller) && digits(namespace))
}

impl fmt::Display for BlockDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nvme { name, function } => write!(f, "{name} ({function})"),
            Self::MultipathHead { name } => write!(f, "{name} (NVMe multipath head)"),
            Self::Other { name } => f.write_str(name),
            Self::Hidden { number } => write!(f, "device {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SWITCH: &str = "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/nvme/nvme0/nvme0n1";

    #[test]
    fn a_namespace_and_its_partition_belong_to_their_function() {
        let function = "0000:01:00.0".parse().ok();
        assert_eq!(BlockDevice::of(SWITCH).function(), function);
        assert_eq!(BlockDevice::of(&format!("{SWITCH}/nvme0n1p1")).function(), function);
    }

    #[test]
    fn a_namespace_is_told_from_its_controller_and_a_hidden_path() {
        assert!(is_namespace("nvme0n1") && is_namespace("nvme12n345"));
        assert!(["nvme0", "nvme0c0n1", "nvme0n", "ng0n1", "nvmen1"].iter().all(|name| !is_namespace(name)));
    }

    #[test]
    fn what_is_stacked_or_hidden_has_no_function() {
        let head = "/sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1";
        assert_eq!(BlockDevice::of(head), BlockDevice::MultipathHead { name: "nvme0n1".into() });
        assert_eq!(BlockDevice::of("/sys/devices/virtual/block/dm-0"), BlockDevice::Other { name: "dm-0".into() });
        let number = DeviceNumber { major: 0, minor: 41 };
        assert_eq!(BlockDevice::find(&crate::machine::Snapshot::new(), number), BlockDevice::Hidden { number });
    }
}
