//! Host memory for staging: a mapped memfd.

use std::{fs, io, ops::RangeBounds, os::unix::fs::FileExt, sync::Arc};

use super::{
    mapping::Mapping,
    view::{Store, View},
};
use crate::{Error, Refusal, Result, machine::memfd};

/// Host memory that storage can move data to and from, zeroed, page-aligned.
///
/// It is a memfd, so that a [`Copier`](super::Copier) moves between it and peer memory in one copy, and so that reading
/// it needs no reference to memory that a device may be writing.
///
/// ```
/// use p2pdma::{machine::{Access, Machine, Mock, mock::Cpu}, memory::HostMemory, storage::File, transfer::Queue};
/// let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen)?);
/// let file = File::open(&machine, "/dev/nvme0n1", Access::Read)?;
/// let (host, mut bytes) = (HostMemory::allocate(4096)?, [0; 16]);
/// let mut queue = Queue::new(&machine, Default::default())?;
/// let pair = queue.bind_host(&file)?;
/// queue.read(&pair, 0, host.all())?;
/// assert_eq!(queue.wait()?.bytes_host(), 4096);
/// host.slice(..16)?.read(&mut bytes)?;
/// assert_ne!(bytes, [0; 16]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct HostMemory {
    all: HostSlice,
}

/// A range of host memory, and a share in owning it.
#[derive(Debug, Clone)]
pub struct HostSlice {
    pub(super) view: View,
    /// The memfd that the view is a mapping of, from offset 0.
    pub(super) file: Arc<fs::File>,
}

impl HostMemory {
    /// Allocates `length` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a length of 0; [`Error::Io`] when there is no such memory.
    pub fn allocate(length: usize) -> Result<Self> {
        if length == 0 {
            let refusal = Refusal::new("host memory", "an allocation of 0 bytes", "ask for at least one byte");
            return Err(Error::Invalid(refusal));
        }
        let file = fs::File::from(memfd(c"p2pdma host memory", length as u64)?);
        let failed = |source| Error::syscall("mmap", "host memory", source, "ask for less");
        let mapping = Mapping::new(&file, length, None).map_err(failed)?;
        Ok(Self { all: HostSlice { view: Store::Mapped(mapping).view(), file: Arc::new(file) } })
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Never: an allocation has at least one byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of it.
    #[must_use]
    pub fn all(&self) -> HostSlice {
        self.all.clone()
    }

    /// A part of it, in bytes from its start.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the range is not within it.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<HostSlice> {
        self.all.slice(range)
    }
}

impl HostSlice {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.view.len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A part of it, in bytes from its start.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the range is not within it.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<Self> {
        Ok(Self { view: self.view.part(range)?, file: Arc::clone(&self.file) })
    }

    /// Copies the first bytes out.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when `into` is longer than the slice.
    pub fn read(&self, into: &mut [u8]) -> Result<()> {
        let view = self.view.part(..into.len())?;
        self.file.read_exact_at(into, view.offset as u64).map_err(|source| failed("pread", source))
    }

    /// Copies into the first bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when `from` is longer than the slice.
    pub fn write(&self, from: &[u8]) -> Result<()> {
        let view = self.view.part(..from.len())?;
        self.file.write_all_at(from, view.offset as u64).map_err(|source| failed("pwrite", source))
    }
}

fn failed(call: &'static str, source: io::Error) -> Error {
    Error::syscall(call, "host memory", source, "free some memory")
}
