//! What stands between a file and a provider's memory.

use std::fmt;

use crate::{Error, Refusal, storage::Evidence};

/// The ways that data can take without touching host memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// User space maps peer memory and reads into the mapping: upstream Linux alone.
    P2pmem,
    /// The p2pdma_user module submits pages of the kernel's own: past md, dm and multipath heads.
    Module,
}

impl Way {
    /// Both.
    pub const ALL: [Self; 2] = [Self::P2pmem, Self::Module];

    /// `p2pmem` or `module`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::P2pmem => "p2pmem",
            Self::Module => "module",
        }
    }
}

/// How much a finding weighs, the heaviest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Bytes cannot go direct this way.
    No,
    /// Whether they can could not be told.
    Unknown,
    /// They can; but somebody should know this.
    Warning,
}

impl Severity {
    /// `no`, `unknown` or `warning`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
        }
    }
}

/// What was found, for programs to match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum What {
    /// The queue right below the file lacks `BLK_FEAT_PCI_P2PDMA`: mapped peer memory gets `EREMOTEIO` from it, before any
    /// DMA and without a line in the kernel's log.
    QueueRefuses,
    /// A layer would read or write the bytes by CPU: encryption, parity, checksums, loop.
    TouchedByCpu,
    /// The bytes go direct, but the CPU reads every one of them besides, slowly: protection information.
    CheckedByCpu,
    /// The filesystem would do buffered I/O in spite of `O_DIRECT`, and report success.
    SilentlyBuffered,
    /// The p2pdma_user module takes no file of this filesystem, or no such target of device mapper.
    BeyondModule,
    /// The file is open without `O_DIRECT`.
    Buffered,
    /// The filesystem does not say whether its direct I/O is direct.
    AlignmentUnknown,
    /// Root has not told the p2pdma_user module what lies below a stacked block device, or not all of it.
    StackNotNamed,
    /// A layer that facts do not tell.
    StackUnknown,
    /// An SSD that has no block device: without its driver, without a namespace, or dead.
    NoNamespace,
    /// Parts of the file hold no data; the CPU fills them in when they are read.
    Holes,
    /// The kernel allows no route: the DMA mapping gets `EREMOTEIO`, and the kernel logs a critical target error.
    NoRoute,
    /// The route could not be determined.
    RouteUnknown,
    /// ACS redirects the traffic: there is a route, but through the host bridge.
    AcsDetour,
    /// The kernel is not the one whose rules were applied.
    OtherKernel,
    /// The kernel bounces all DMA (swiotlb=force, confidential guests): I/O through the host bridge would hang.
    BounceForced,
    /// A virtual machine's PCI tree that says nothing of the hardware's.
    HostHidden,
    /// A virtual machine with an IOMMU and a route by bus addresses: not every such machine carries it.
    VirtualIommu,
    /// The provider has given no memory to p2pdma.
    NoPool,
    /// The kernel was built without p2pdma.
    NoKernelSupport,
    /// The provider's memory belongs to a driver that may use it already.
    ForeignMemory,
    /// The provider's memory is not meant for data.
    UnpublishedPool,
    /// This user may not open the storage, allocate the provider's memory or use the p2pdma_user module.
    NoPermission,
    /// The p2pdma_user module is not loaded, or is another version's.
    NoModule,
    /// This process may not use io_uring.
    RingForbidden,
}

impl What {
    /// Whether moved bytes can tell more than facts do: a route that could not be read, that a machine may hide, or that is of a
    /// kernel with other rules. What [`Severity::Unknown`] of these says, a proof settles ([`Prover`](crate::transfer::Prover)).
    #[must_use]
    pub fn is_provable(self) -> bool {
        matches!(self, Self::NoRoute | Self::RouteUnknown | Self::OtherKernel | Self::HostHidden | Self::VirtualIommu)
    }

    /// The name in reports: `queue_refuses`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueRefuses => "queue_refuses",
            Self::TouchedByCpu => "touched_by_cpu",
            Self::CheckedByCpu => "checked_by_cpu",
            Self::SilentlyBuffered => "silently_buffered",
            Self::BeyondModule => "beyond_module",
            Self::Buffered => "buffered",
            Self::AlignmentUnknown => "alignment_unknown",
            Self::StackNotNamed => "stack_not_named",
            Self::StackUnknown => "stack_unknown",
            Self::NoNamespace => "no_namespace",
            Self::Holes => "holes",
            Self::NoRoute => "no_route",
            Self::RouteUnknown => "route_unknown",
            Self::AcsDetour => "acs_detour",
            Self::OtherKernel => "other_kernel",
            Self::BounceForced => "bounce_forced",
            Self::HostHidden => "host_hidden",
            Self::VirtualIommu => "virtual_iommu",
            Self::NoPool => "no_pool",
            Self::NoKernelSupport => "no_kernel_support",
            Self::ForeignMemory => "foreign_memory",
            Self::UnpublishedPool => "unpublished_pool",
            Self::NoPermission => "no_permission",
            Self::NoModule => "no_module",
            Self::RingForbidden => "ring_forbidden",
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What it is.
    pub what: What,
    /// How much it weighs.
    pub severity: Severity,
    /// Which ways it concerns.
    pub ways: Vec<Way>,
    /// The thing, the cause and the cure.
    pub refusal: Refusal,
    /// What was read.
    pub evidence: Vec<Evidence>,
}

impl Finding {
    /// Concerns both ways until it is told otherwise.
    pub(super) fn new(what: What, severity: Severity, refusal: Refusal) -> Self {
        Self { what, severity, ways: Way::ALL.to_vec(), refusal, evidence: Vec::new() }
    }

    pub(super) fn only(self, way: Way) -> Self {
        Self { ways: vec![way], ..self }
    }

    pub(super) fn seen(self, evidence: impl IntoIterator<Item = Evidence>) -> Self {
        Self { evidence: evidence.into_iter().collect(), ..self }
    }

    /// Whether it speaks against this way.
    #[must_use]
    pub fn is_in(&self, way: Way) -> bool {
        self.severity != Severity::Warning && self.ways.contains(&way)
    }
}

impl From<Finding> for Error {
    fn from(finding: Finding) -> Self {
        match finding.what {
            _ if finding.severity == Severity::Unknown => Self::NotAllowed(finding.refusal),
            What::NoPermission | What::NoModule => Self::NotAllowed(finding.refusal),
            What::NoRoute | What::BounceForced => Self::NoRoute(finding.refusal),
            What::ForeignMemory | What::UnpublishedPool | What::NoPool => Self::ForeignProvider(finding.refusal),
            _ => Self::NoDirectIo(finding.refusal),
        }
    }
}

/// `thing: cause; cure`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.refusal)
    }
}
