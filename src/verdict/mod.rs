//! Whether a file's bytes can go direct to or from a provider's memory on Linux 6.12, and if not, why and what to do.

use crate::{
    Error, Refusal, Result,
    machine::DioAlignment,
    pci::Address,
    storage::{BlockDevice, File},
    topology::{Route, Topology},
};

/// The answer for one pair of a file and a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The kernel's rules say yes.
    Yes,
    /// They say no.
    No,
    /// Something that decides could not be read.
    Unknown,
}

/// Why the answer is not yes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// The file cannot do direct I/O into peer memory.
    File(Refusal),
    /// The kernel allows no route between the devices.
    Route(Refusal),
    /// The route could not be determined.
    Unknown(Refusal),
}

impl Finding {
    /// The thing, the cause and the cure.
    #[must_use]
    pub fn refusal(&self) -> &Refusal {
        match self {
            Self::File(refusal) | Self::Route(refusal) | Self::Unknown(refusal) => refusal,
        }
    }
}

impl From<Finding> for Error {
    fn from(finding: Finding) -> Self {
        match finding {
            Finding::File(refusal) => Self::NoDirectIo(refusal),
            Finding::Route(refusal) => Self::NoRoute(refusal),
            Finding::Unknown(refusal) => Self::NotAllowed(refusal),
        }
    }
}

/// What stands between a file and a provider's memory.
#[derive(Debug, Clone)]
pub struct Verdict {
    route: Option<Route>,
    findings: Vec<Finding>,
}

impl Verdict {
    /// Judges one pair.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when `provider` or the file's NVMe function is not in `topology`.
    pub fn judge(topology: &Topology, file: &File, provider: Address) -> Result<Self> {
        let mut findings: Vec<_> = [stack(file), direct_io(file)].into_iter().flatten().collect();
        let route = match file.block_device().function() {
            Some(client) => Some(topology.route(provider, client)?),
            None => None,
        };
        findings.extend(route.as_ref().and_then(no_route));
        Ok(Self { route, findings })
    }

    /// Yes, no or unknown; a no outweighs an unknown.
    #[must_use]
    pub fn answer(&self) -> Answer {
        let unknown = |finding: &Finding| matches!(finding, Finding::Unknown(_));
        match self.findings.iter().find(|finding| !unknown(finding)) {
            Some(_) => Answer::No,
            None if self.findings.is_empty() => Answer::Yes,
            None => Answer::Unknown,
        }
    }

    /// Everything in the way.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The route; `None` where no NVMe function lies under the file.
    #[must_use]
    pub fn route(&self) -> Option<&Route> {
        self.route.as_ref()
    }

    /// Nothing when the answer is yes.
    ///
    /// # Errors
    ///
    /// The finding that decides: [`Error::NoDirectIo`], [`Error::NoRoute`], or [`Error::NotAllowed`] when the answer is
    /// unknown. What cannot be known is not assumed.
    pub fn require(self) -> Result<()> {
        let unknown = |finding: &Finding| matches!(finding, Finding::Unknown(_));
        let (unknown, no): (Vec<_>, Vec<_>) = self.findings.into_iter().partition(unknown);
        no.into_iter().chain(unknown).next().map_or(Ok(()), |finding| Err(finding.into()))
    }
}

/// Only the queue of an NVMe namespace takes peer memory on 6.12; see [`BlockDevice`].
fn stack(file: &File) -> Option<Finding> {
    let block = file.block_device();
    let (cause, cure) = match block {
        BlockDevice::Nvme { .. } => return None,
        BlockDevice::MultipathHead { .. } => (
            format!("it lies on {block}, whose queue refuses peer memory on Linux 6.12"),
            "boot with nvme_core.multipath=N",
        ),
        BlockDevice::Other { .. } => (
            format!("it lies on {block}, whose queue refuses peer memory on Linux 6.12 (only NVMe namespaces take it)"),
            "use the NVMe namespace itself, or a filesystem directly on it",
        ),
        BlockDevice::Hidden { .. } => (
            format!("its filesystem does not tell which block device holds it ({block})"),
            "use ext4 or xfs directly on an NVMe namespace",
        ),
    };
    Some(Finding::File(Refusal::new(file, cause, cure)))
}

/// A file that reports an alignment of 0 opens with `O_DIRECT` and then copies by CPU, silently (ext4 with
/// data=journal, verity, inline data: fs/ext4/inode.c, `ext4_dio_alignment`). One that reports none may do the same.
fn direct_io(file: &File) -> Option<Finding> {
    let (cause, cure) = match file.dio_alignment() {
        Some(DioAlignment { memory: 1.., offset: 1.. }) => return None,
        Some(_) => (
            "the filesystem would copy it by CPU in spite of O_DIRECT (it reports a direct I/O alignment of 0)",
            "mount ext4 with data=ordered, and use files without verity, encryption or inline data",
        ),
        None => ("the filesystem does not say whether its direct I/O is direct (no STATX_DIOALIGN)", "use ext4 or xfs"),
    };
    Some(Finding::File(Refusal::new(file, cause, cure)))
}

fn no_route(route: &Route) -> Option<Finding> {
    let thing = format!("{} -> {}", route.client, route.provider);
    let refusal = || Refusal::new(thing, route.cause(), route.remedies().join("; or "));
    match route.is_supported() {
        Some(true) => None,
        Some(false) => Some(Finding::Route(refusal())),
        None => Some(Finding::Unknown(refusal())),
    }
}
