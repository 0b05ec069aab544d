//! Peer memory: mapped, or behind a buffer of the module's.

use std::{io, ops::RangeBounds};

use super::{
    Copier, Provider,
    mapping::Mapping,
    view::{Owner, Store, View},
};
use crate::{
    Error, Refusal, Result,
    machine::{Machine, MachineKind},
    pci::Address,
};

/// A piece of a provider's memory. It goes back when this, its slices and the operations on them are gone.
///
/// There are two kinds, which are used alike: mapped into this process ([`Provider::allocate`]), and kept by the p2pdma_user
/// module, without an address ([`Provider::allocate_buffer`], [`Provider::register`]). There is no way to borrow either. Copy with a [`Copier`], move data with a [`Queue`](crate::transfer::Queue).
///
/// ```
/// use p2pdma::{machine::{Machine, Mock, mock::Cpu}, memory::Provider};
/// let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen)?);
/// let provider = Provider::find(&machine, "0000:05:00.0".parse()?)?;
/// let memory = provider.allocate(8192)?;
/// let tail = memory.slice(4096..)?;
/// drop(memory); // the slice keeps it
/// assert_eq!(tail.slice(..100)?.len(), 100);
/// assert!(tail.slice(..4097).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PeerMemory {
    pub(super) view: View,
    pub(super) owner: Owner,
}

/// A range of peer memory, and a share in owning it.
#[derive(Debug, Clone)]
pub struct PeerSlice(pub(super) View);

impl PeerMemory {
    pub(super) fn allocate(machine: &Machine, provider: &Provider, length: usize) -> Result<Self> {
        let address = provider.address();
        if length == 0 {
            return Err(Error::Invalid(Refusal::new(address, "an allocation of 0 bytes", "ask for at least one byte")));
        }
        may_be_copied(machine, address)?;
        let backing = machine.backing(address, length)?;
        // The device may have got another driver since it was found. What is open belongs to the pool of the driver that
        // is there now or, if it changes once more, to one that is gone and cannot be mapped (kernfs_fop_mmap).
        Provider::find(machine, address)?.may_be_allocated()?;
        let owner = Owner { machine: machine.id(), provider: address, buffer: None };
        let mapping = Mapping::new(&backing.fd, length, Some(owner)).map_err(|e| not_mapped(provider, length, e))?;
        let memory = Self { view: Store::Mapped(mapping.with_lease(backing.lease)).view(), owner };
        Copier::new()?.zero(&memory.all())?;
        Ok(memory)
    }

    /// Whose memory it is.
    #[must_use]
    pub fn provider(&self) -> Address {
        self.owner.provider
    }

    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }

    /// Length in bytes, as asked for or as registered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.view.len()
    }

    /// Never: an allocation has at least one byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of it.
    #[must_use]
    pub fn all(&self) -> PeerSlice {
        PeerSlice(self.view.clone())
    }

    /// A part of it, in bytes from its start.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the range is not within it.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<PeerSlice> {
        self.view.part(range).map(PeerSlice)
    }
}

impl PeerSlice {
    pub(crate) fn view(&self) -> &View {
        &self.0
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
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
        self.0.part(range).map(Self)
    }
}

/// `p2pmem_alloc_mmap` maps with the page protection of ordinary memory (drivers/pci/p2pdma.c). On x86 the MTRRs make
/// that uncached; elsewhere it is a cached alias of device memory, which the CPU must not touch, even to clear it.
fn may_be_copied(machine: &Machine, provider: Address) -> Result<()> {
    if cfg!(target_arch = "x86_64") || machine.kind() == MachineKind::Mock {
        return Ok(());
    }
    let cause = "the CPU may touch mapped peer memory on x86-64 only, and it must be cleared before use";
    Err(Error::NotAllowed(Refusal::new(provider, cause, "use an x86-64 machine")))
}

/// `p2pmem_alloc_mmap` (drivers/pci/p2pdma.c) says ENOMEM when no chunk has so long a free run, ENODEV or EINVAL when
/// the provider is being unbound.
fn not_mapped(provider: &Provider, length: usize, source: io::Error) -> Error {
    let address = provider.address();
    if source.raw_os_error() != Some(libc::ENOMEM) {
        return Error::syscall("mmap", address, source, "see whether the provider is still bound to its driver");
    }
    let bytes = |n: Option<u64>| n.map_or_else(|| "an unknown number of".to_owned(), |n| n.to_string());
    let pool = provider.pool();
    let cause = format!(
        "no free run of {length} bytes: {} of its {} bytes are free",
        bytes(pool.and_then(|pool| pool.available)),
        bytes(pool.and_then(|pool| pool.size)),
    );
    Error::PoolExhausted(Refusal::new(address, cause, "ask for less, or free other allocations"))
}
