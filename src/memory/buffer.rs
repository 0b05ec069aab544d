//! Memory behind a descriptor of the p2pdma_user module's: it has no address.

use std::{
    fmt, io,
    os::fd::AsFd,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{
    PeerMemory,
    view::{BufferId, Owner, Store},
};
use crate::{
    Error, Refusal, Result, control,
    machine::{Machine, module},
    pci::Address,
};

/// Bytes that are copied between two looks at signals.
const STEP: usize = 1 << 20;

type Write = Box<dyn Fn(usize, &[u8]) -> io::Result<()> + Send + Sync>;
type Read = Box<dyn Fn(usize, &mut [u8]) -> io::Result<()> + Send + Sync>;
type Flush = Box<dyn Fn() -> io::Result<()> + Send + Sync>;

/// What the driver that owns a memory does better than the kernel: copy, and make visible what arrived.
///
/// ```
/// use p2pdma::{machine::{Machine, Mock, mock::Cpu}, memory::{Hooks, Provider}};
/// let gpu = "0000:05:00.0".parse()?;
/// let mut mock = Mock::one_switch(Cpu::AmdZen)?;
/// let dmabuf = mock.export(gpu, 1 << 20)?; // cuMemGetHandleForAddressRange, hsa_amd_portable_export_dmabuf, ...
/// let machine = Machine::mock(mock);
/// let hooks = Hooks::new().flush(|| Ok(())); // cuFlushGPUDirectRDMAWrites, ...
/// let memory = Provider::find(&machine, gpu)?.register(&dmabuf, hooks)?;
/// memory.flush()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct Hooks {
    write: Option<Write>,
    read: Option<Read>,
    flush: Option<Flush>,
}

/// A buffer of the module's, and how the CPU gets at it.
pub(super) struct Buffer {
    module: module::Buffer,
    pub(super) owner: Owner,
    hooks: Hooks,
}

impl Hooks {
    /// None: copies are the module's, through the kernel's mapping of the BAR, and a flush does nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Copies for a [`Copier`](super::Copier): `write` to the memory, `read` from it, each at so many bytes from the start of
    /// the dma-buf. The range is always within it.
    #[must_use]
    pub fn copy(
        self,
        write: impl Fn(usize, &[u8]) -> io::Result<()> + Send + Sync + 'static,
        read: impl Fn(usize, &mut [u8]) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self { write: Some(Box::new(write)), read: Some(Box::new(read)), ..self }
    }

    /// Makes visible to the device's own programs what other devices have written to its memory.
    #[must_use]
    pub fn flush(self, flush: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self { flush: Some(Box::new(flush)), ..self }
    }
}

impl PeerMemory {
    /// Takes memory from the provider's pool by the module, which clears it.
    pub(super) fn allocate_buffer(machine: &Machine, provider: Address, length: usize) -> Result<Self> {
        let buffer = machine.module()?.alloc(provider, length as u64);
        let buffer = buffer.map_err(|error| control::refuse(provider, error))?;
        Self::of_buffer(machine, provider, buffer, Hooks::new(), Some(length))
    }

    /// Takes memory that the provider's driver exported, as it is.
    pub(super) fn register(machine: &Machine, provider: Address, dmabuf: impl AsFd, hooks: Hooks) -> Result<Self> {
        let buffer = machine.module()?.register(provider, dmabuf);
        let buffer = buffer.map_err(|error| control::refuse(provider, error))?;
        Self::of_buffer(machine, provider, buffer, hooks, None)
    }

    /// All of the buffer, or as much as was asked for: the kernel rounds up to pages.
    fn of_buffer(
        machine: &Machine,
        provider: Address,
        module: module::Buffer,
        hooks: Hooks,
        length: Option<usize>,
    ) -> Result<Self> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let buffer = Some(BufferId(LAST.fetch_add(1, Ordering::Relaxed)));
        let owner = Owner { machine: machine.id(), provider, buffer };
        let view = Store::Buffer(Buffer { module, owner, hooks }).view();
        let view = length.map_or_else(|| Ok(view.clone()), |length| view.part(..length))?;
        Ok(Self { view, owner })
    }

    /// The module's buffer, if the memory is one.
    pub(crate) fn buffer(&self) -> Option<&module::Buffer> {
        match self.view.store() {
            Store::Buffer(buffer) => Some(&buffer.module),
            Store::Mapped(_) => None,
        }
    }

    /// Makes what arrived visible to the device's own programs, by the call that the memory was registered with; without one
    /// it does nothing.
    ///
    /// A [`Receipt`](crate::transfer::Receipt) says that the SSD has sent every byte and that the root complex or switch has
    /// taken them. It does not say that a kernel which the GPU is running already sees them: PCIe writes that went to a GPU
    /// may still be on their way past its caches. A kernel that is *started* after the receipt sees them on today's GPUs, as
    /// the start itself goes the same way.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with what the call said.
    pub fn flush(&self) -> Result<()> {
        match self.view.store() {
            Store::Buffer(Buffer { hooks: Hooks { flush: Some(flush), .. }, owner, .. }) => {
                flush().map_err(|source| by_hook("flush", owner.provider, source))
            }
            _ => Ok(()),
        }
    }
}

impl Buffer {
    pub(super) fn len(&self) -> usize {
        // A buffer is device memory that this machine addresses.
        usize::try_from(self.module.length()).unwrap_or(usize::MAX)
    }

    /// Copies to `offset`, by the processor.
    pub(super) fn write(&self, offset: usize, from: &[u8]) -> Result<()> {
        for (index, chunk) in from.chunks(STEP).enumerate() {
            let at = offset + index * STEP;
            match &self.hooks.write {
                Some(write) => write(at, chunk).map_err(|source| by_hook("copy", self.owner.provider, source))?,
                None => self.module.write(at as u64, chunk).map_err(|e| control::refuse(self.owner.provider, e))?,
            }
        }
        Ok(())
    }

    /// Copies from `offset`, by the processor.
    pub(super) fn read(&self, offset: usize, to: &mut [u8]) -> Result<()> {
        for (index, chunk) in to.chunks_mut(STEP).enumerate() {
            let at = offset + index * STEP;
            match &self.hooks.read {
                Some(read) => read(at, chunk).map_err(|source| by_hook("copy", self.owner.provider, source))?,
                None => self.module.read(at as u64, chunk).map_err(|e| control::refuse(self.owner.provider, e))?,
            }
        }
        Ok(())
    }
}

fn by_hook(call: &'static str, provider: Address, source: io::Error) -> Error {
    let refusal = Refusal::new(provider, format!("the {call} that its memory was registered with failed"), "see why");
    Error::Io { refusal, source: crate::SyscallError { call, source } }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { write, flush, .. } = self;
        f.debug_struct("Hooks").field("copy", &write.is_some()).field("flush", &flush.is_some()).finish()
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner, hooks, .. } = self;
        f.debug_struct("Buffer").field("length", &self.len()).field("owner", owner).field("hooks", hooks).finish()
    }
}
