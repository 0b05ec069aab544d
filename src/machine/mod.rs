//! The only seam: WHERE facts are read and WHO executes I/O.
//!
//! ```text
//!   topology, storage, memory             transfer
//!        | facts, open, backing, module      | ring
//!   +----v-----------------------------------v----+
//!   |                   Machine                   |
//!   |  Host: sysfs, statx    Mock: generated      |
//!   |  io_uring on devices   io_uring on memfds,  |
//!   |  p2pdma_user.ko        the module's answers |
//!   |                        faults on demand     |
//!   |  Recorded: facts from a file, nothing else  |
//!   +---------------------------------------------+
//! ```
//!
//! Everything above it is the same code on all. A [`Recorder`] around any of them makes the file.

mod cachestat;
mod facts;
mod file;
mod host;
mod inode;
pub mod mock;
pub mod module;
mod p2pmem;
mod recorded;
mod recorder;
mod redact;
mod ring;
mod snapshot;
mod statx;

use std::{
    fmt,
    ops::Range,
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{Result, control, pci::Address};

pub use crate::control::Direction;
pub use facts::Facts;
pub use file::{Access, DeviceNumber, DioAlignment, FileFacts, FileKind};
pub(crate) use file::{OpenFile, hole_from, memfd, not_a_file, not_opened};
pub use inode::InodeFlags;
pub use mock::Mock;
pub use module::Module;
pub use p2pmem::P2pmem;
pub use recorder::Recorder;
pub use ring::Entry;
pub(crate) use ring::{Completion, Full, Place, Registrant, Ring, Setup, Submission, forbidden, prepare};
pub use snapshot::{NotRecorded, Snapshot};

/// A machine: this one, a mock, or the recorded facts of one. Cheap to clone; clones are the same machine.
#[derive(Debug, Clone)]
pub struct Machine {
    id: MachineId,
    seam: Arc<dyn Seam>,
}

/// Tells machines apart: files and memory of one are nothing to a queue of another. The host is one machine, however often
/// it is named; every mock is one of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MachineId(u64);

impl MachineId {
    const HOST: Self = Self(0);

    /// One that no machine has yet.
    fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// Which machine it is. What runs on anything but the host is no measurement of hardware, and says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MachineKind {
    /// The running kernel and its devices.
    Host,
    /// Files and memory that stand in for devices.
    Mock,
    /// Facts that were recorded elsewhere. Nothing can be opened, allocated or moved.
    Recorded,
}

impl fmt::Display for MachineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Mock => "mock",
            Self::Recorded => "recorded",
        })
    }
}

/// What a kind of machine must answer.
pub(crate) trait Seam: fmt::Debug + Send + Sync {
    fn kind(&self) -> MachineKind;
    fn facts(&self) -> &dyn Facts;
    fn open(&self, path: &Path, access: Access) -> Result<OpenFile>;
    fn backing(&self, provider: Address, length: usize) -> Result<Backing>;
    fn module(self: Arc<Self>) -> Result<Module>;
    fn ring(&self, setup: Setup) -> Result<Box<dyn Ring>>;

    /// Pages of a range of an open file of this machine in the page cache; `None` where that cannot be told.
    fn cached(&self, file: BorrowedFd<'_>, range: Range<u64>) -> Option<u64>;

    /// See [`Machine::may_open`].
    fn may_open(&self, path: &Path) -> Result<()> {
        self.open(path, Access::Read).map(drop)
    }

    /// See [`Machine::missing`]: only a recording lacks facts.
    fn missing(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The file to map, shared and from offset 0, for an allocation of a provider's memory.
#[derive(Debug)]
pub(crate) struct Backing {
    pub(crate) fd: OwnedFd,
    /// What gives the memory back when the mapping is gone. The kernel does it at `munmap`; the mock needs telling.
    pub(crate) lease: Option<Lease>,
}

/// Kept while an allocation lives, dropped when it is over.
pub(crate) type Lease = Box<dyn fmt::Debug + Send + Sync>;

impl Machine {
    /// This machine.
    #[must_use]
    pub fn host() -> Self {
        Self { id: MachineId::HOST, seam: Arc::new(host::Host) }
    }

    /// A machine without hardware.
    #[must_use]
    pub fn mock(mock: Mock) -> Self {
        Self { id: MachineId::new(), seam: Arc::new(mock) }
    }

    pub(crate) fn id(&self) -> MachineId {
        self.id
    }

    /// A machine that was recorded ([`Recorder`]), here or elsewhere: it answers as it did then.
    ///
    /// To open, allocate or move anything on it is [`Error::NotAllowed`](crate::Error::NotAllowed).
    #[must_use]
    pub fn recorded(snapshot: Snapshot) -> Self {
        Self { id: MachineId::new(), seam: Arc::new(recorded::Recorded::new(snapshot)) }
    }

    /// The paths of which something was asked, since this machine was made, that its recording cannot answer: a newer
    /// version looks at more than an older one recorded. What depends on them is unknown, or shown as if they were not
    /// readable. Empty for any other machine.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        self.seam.missing()
    }

    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> MachineKind {
        self.seam.kind()
    }

    /// What the machine says of itself.
    #[must_use]
    pub fn facts(&self) -> &dyn Facts {
        self.seam.facts()
    }

    pub(crate) fn open(&self, path: &Path, access: Access) -> Result<OpenFile> {
        self.seam.open(path, access)
    }

    /// Whether this process may open a file for reading.
    pub(crate) fn may_open(&self, path: &Path) -> Result<()> {
        self.seam.may_open(path)
    }

    pub(crate) fn backing(&self, provider: Address, length: usize) -> Result<Backing> {
        self.seam.backing(provider, length)
    }

    /// Opens the `p2pdma_user` module's device node.
    ///
    /// # Errors
    ///
    /// [`Error::NotAllowed`](crate::Error::NotAllowed) when the module is not loaded, has another version than this
    /// library needs, or may not be used by this user, and on a recorded machine.
    pub fn module(&self) -> Result<Module> {
        let module = Arc::clone(&self.seam).module()?;
        let info = module.info().map_err(|error| control::refuse(control::NODE, error))?;
        if info.major == control::MAJOR { Ok(module) } else { Err(control::other_version(info.major)) }
    }

    pub(crate) fn cached(&self, file: BorrowedFd<'_>, range: Range<u64>) -> Option<u64> {
        self.seam.cached(file, range)
    }

    pub(crate) fn ring(&self, setup: Setup) -> Result<Box<dyn Ring>> {
        self.seam.ring(setup)
    }
}
