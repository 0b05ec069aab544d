//! One layer of a stack, and what lies below it.

use std::fmt;

use super::{DmTarget, Evidence, Limits, Mount};
use crate::{machine::DeviceNumber, pci::Address};

/// A filesystem or block device, with the layers that it lies on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Layer {
    /// The kernel's name of a block device (`md0`, `nvme0n1p1`), the mount point of a filesystem.
    pub name: String,
    /// What it is.
    pub kind: LayerKind,
    /// The block device's number, where it has one.
    pub number: Option<DeviceNumber>,
    /// Of a block device's queue.
    pub limits: Limits,
    /// Set where the kernel computes checksums of every byte by CPU: a namespace with protection information.
    ///
    /// Kernel: `bio_integrity_prep` (block/bio-integrity.c). The bytes go direct, and the CPU reads them besides.
    pub integrity: Option<Evidence>,
    /// What was read to tell so.
    pub evidence: Vec<Evidence>,
    /// The layers right below: members, paths, the device itself. Empty below an NVMe namespace.
    pub below: Vec<Layer>,
}

/// What a layer is, sorted by what Linux 6.12 does with peer memory in it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerKind {
    /// A filesystem, as it is mounted.
    Filesystem(Mount),
    /// A partition: the queue is that of the whole device.
    Partition,
    /// Device mapper.
    Dm(DmTarget),
    /// Software RAID, by its level: `raid1`, or `raid1 with write-behind`.
    Md(String),
    /// The head of a native NVMe multipath device.
    MultipathHead,
    /// A file that plays a block device.
    Loop,
    /// A namespace of an NVMe function, or one path to it: where the DMA is done.
    Namespace(Address),
    /// An NVMe function that shows no namespace: there is nothing to read or write.
    Controller {
        /// Where it is.
        function: Address,
        /// Its driver, if it has one: only `nvme` shows namespaces.
        driver: Option<String>,
        /// What that driver says of it, if it does: `live`, `dead`.
        state: Option<String>,
    },
    /// Anything else: virtio, SCSI, NVMe over fabrics, a network filesystem's server.
    Other,
    /// Something lies here that facts do not tell, and why.
    Hidden(String),
}

impl Layer {
    pub(super) fn new(name: impl Into<String>, kind: LayerKind) -> Self {
        let (limits, evidence, below) = (Limits::default(), Vec::new(), Vec::new());
        Self { name: name.into(), kind, number: None, limits, integrity: None, evidence, below }
    }

    /// What facts do not tell.
    pub(super) fn hidden(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(name, LayerKind::Hidden(why.into()))
    }

    /// Whether it hands peer memory on without the CPU touching it; `None` when that cannot be told.
    ///
    /// This is about kernel I/O (bvecs), which is how the module submits: `bio_iov_bvec_set` (block/bio.c) does not ask
    /// the queue for its feature. Mappings of user space get no further than the first queue without it.
    #[must_use]
    pub fn passes(&self) -> Option<bool> {
        match &self.kind {
            LayerKind::Filesystem(_)
            | LayerKind::Partition
            | LayerKind::MultipathHead
            | LayerKind::Namespace(_)
            | LayerKind::Controller { .. } => Some(true),
            LayerKind::Dm(target) => target.passes(),
            // raid4, 5 and 6 compute parity; raid0, 1 and 10 clone the request (drivers/md/raid0.c, raid1.c, raid10.c).
            LayerKind::Md(level) => Some(["raid0", "raid1", "raid10", "linear"].contains(&level.as_str())),
            LayerKind::Loop | LayerKind::Other => Some(false),
            LayerKind::Hidden(_) => None,
        }
    }

    /// Whether it is a block device, not a filesystem.
    #[must_use]
    pub fn is_block(&self) -> bool {
        !matches!(self.kind, LayerKind::Filesystem(_) | LayerKind::Controller { .. } | LayerKind::Hidden(_))
    }

    /// One word for the kind: `md`, `namespace`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.kind {
            LayerKind::Filesystem(_) => "filesystem",
            LayerKind::Partition => "partition",
            LayerKind::Dm(_) => "dm",
            LayerKind::Md(_) => "md",
            LayerKind::MultipathHead => "multipath_head",
            LayerKind::Loop => "loop",
            LayerKind::Namespace(_) => "namespace",
            LayerKind::Controller { .. } => "controller",
            LayerKind::Other => "other",
            LayerKind::Hidden(_) => "hidden",
        }
    }

    /// What it is, in words, without its name.
    #[must_use]
    pub fn what(&self) -> String {
        match &self.kind {
            LayerKind::Filesystem(mount) => mount.kind.clone(),
            LayerKind::Partition => "partition".to_owned(),
            LayerKind::Dm(target) => target.to_string(),
            LayerKind::Md(level) => format!("md {level}"),
            LayerKind::MultipathHead => "NVMe multipath head".to_owned(),
            LayerKind::Loop => "loop".to_owned(),
            LayerKind::Namespace(function) => function.to_string(),
            LayerKind::Controller { driver: None, .. } => "no driver".to_owned(),
            LayerKind::Controller { driver: Some(driver), state: Some(state), .. } if state != "live" => {
                format!("{driver}, {state}")
            }
            LayerKind::Controller { driver: Some(driver), .. } => format!("{driver}, no namespace"),
            LayerKind::Other => "no NVMe namespace of a PCI function".to_owned(),
            LayerKind::Hidden(why) => why.clone(),
        }
    }
}

/// `md0 (md raid0)`.
impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.what())
    }
}
