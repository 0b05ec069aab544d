//! The `p2pdma_user` module's own calls, typed: for those who ask it directly, or drive its descriptors with a ring of
//! their own. [`memory`](crate::memory) and [`transfer`](crate::transfer) are made of these.
//!
//! ```text
//! Module --alloc or register--> Buffer --bind(file)--> Pair
//! ```
//!
//! A call that is refused answers with its errno, for which the module's header has a table for each call. A mock machine
//! answers the same, without a kernel.

use std::os::fd::{AsFd, BorrowedFd};

use super::{
    mock,
    ring::{Place, Submission},
};
use crate::{SyscallError, control, pci::Address};

pub use crate::control::{Bound, Features, Info, Moved, Stats, Transfer};

/// The answer of one call.
pub type Answer<T> = Result<T, SyscallError>;

/// The module's device node, open.
///
/// ```
/// use p2pdma::machine::{Machine, Mock, mock::Cpu};
/// let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen)?);
/// let module = machine.module()?;
/// assert_eq!(module.distance("05:00.0".parse()?, "03:00.0".parse()?)?, Some(4));
/// let buffer = module.alloc("05:00.0".parse()?, 10_000)?;
/// assert_eq!((buffer.length(), module.stats()?.buffers), (12_288, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Module(pub(super) OfModule<control::Node, mock::Node>);

/// A run of a provider's memory. It goes back when this, its pairs and their transfers are gone.
#[derive(Debug)]
pub struct Buffer(OfModule<control::Buffer, mock::Buffer>);

/// A buffer bound to an open file, both of which it keeps. Data may go between the two: that was asked when it was made.
#[derive(Debug)]
pub struct Pair(pub(super) OfModule<control::Pair, mock::Pair>);

/// An object of the running kernel's module, or of a mock machine's.
#[derive(Debug)]
pub(super) enum OfModule<H, M> {
    Host(H),
    Mock(M),
}

impl Module {
    /// What it says of itself.
    ///
    /// # Errors
    ///
    /// The errno of the call.
    #[doc(alias = "P2PDMA_USER_INFO")]
    pub fn info(&self) -> Answer<Info> {
        match &self.0 {
            OfModule::Host(node) => node.info(),
            OfModule::Mock(node) => Ok(node.info()),
        }
    }

    /// The running kernel's distance between two devices, as it is now; `None` when it allows no route.
    ///
    /// # Errors
    ///
    /// `ENODEV`: one of the two does not exist.
    #[doc(alias = "P2PDMA_USER_DISTANCE")]
    pub fn distance(&self, provider: Address, client: Address) -> Answer<Option<u32>> {
        match &self.0 {
            OfModule::Host(node) => node.distance(provider, client),
            OfModule::Mock(node) => node.distance(provider, client),
        }
    }

    /// Whether the queue of an open block device takes peer memory.
    ///
    /// # Errors
    ///
    /// `ENOTBLK`: it is no block device. `EBADF`: it is not open for input or output.
    #[doc(alias = "P2PDMA_USER_QUEUE")]
    pub fn queue(&self, device: impl AsFd) -> Answer<bool> {
        match &self.0 {
            OfModule::Host(node) => node.queue(device.as_fd()),
            OfModule::Mock(node) => node.queue(device.as_fd()),
        }
    }

    /// Takes `length` bytes, rounded up to pages, from a provider's pool. They are contiguous, and zero.
    ///
    /// # Errors
    ///
    /// `EINVAL`: the length is 0 or out of range. `ENODEV`: no such device, or it gives no memory. `EACCES`: its driver is
    /// another than nvme or the module's. `ENOSPC`: no free run is that long. `EDQUOT`: the user would hold too much.
    #[doc(alias = "P2PDMA_USER_ALLOC")]
    pub fn alloc(&self, provider: Address, length: u64) -> Answer<Buffer> {
        match &self.0 {
            OfModule::Host(node) => node.alloc(provider, length).map(OfModule::Host),
            OfModule::Mock(node) => node.alloc(provider, length).map(OfModule::Mock),
        }
        .map(Buffer)
    }

    /// Makes a buffer of memory that another driver exports. Its content is left as it is.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no dma-buf. `ENODEV`: no such device, or no driver is bound to it. `ENXIO`: its memory was not given to
    /// p2pdma (`provide`). `EXDEV`: the memory does not lie in one BAR of it. Else what that driver says.
    #[doc(alias = "P2PDMA_USER_REGISTER")]
    pub fn register(&self, provider: Address, dmabuf: impl AsFd) -> Answer<Buffer> {
        match &self.0 {
            OfModule::Host(node) => node.register(provider, dmabuf.as_fd()).map(OfModule::Host),
            OfModule::Mock(node) => node.register(provider, dmabuf.as_fd()).map(OfModule::Mock),
        }
        .map(Buffer)
    }

    /// What all its users hold together.
    ///
    /// # Errors
    ///
    /// The errno of the call.
    #[doc(alias = "P2PDMA_USER_STATS")]
    pub fn stats(&self) -> Answer<Stats> {
        match &self.0 {
            OfModule::Host(node) => node.stats(),
            OfModule::Mock(node) => Ok(node.stats()),
        }
    }
}

impl Buffer {
    /// Length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        match &self.0 {
            OfModule::Host(buffer) => buffer.length,
            OfModule::Mock(buffer) => buffer.length(),
        }
    }

    /// Binds it to a file that is open with `O_DIRECT`, if data may go between the two.
    ///
    /// # Errors
    ///
    /// `EBADF`: the file is not open for input or output. `EINVAL`: neither a regular file nor a block device, or opened
    /// without `O_DIRECT` or with `O_APPEND`. `EOPNOTSUPP`: no direct I/O between it and peer memory. `EREMOTEIO`: the
    /// kernel has no route. `ENODEV`: the provider is gone.
    #[doc(alias = "P2PDMA_USER_BIND")]
    pub fn bind(&self, file: impl AsFd) -> Answer<Pair> {
        match &self.0 {
            OfModule::Host(buffer) => buffer.bind(file.as_fd()).map(OfModule::Host),
            OfModule::Mock(buffer) => buffer.bind(file.as_fd()).map(OfModule::Mock),
        }
        .map(Pair)
    }

    /// Copies to `offset` by the processor. On an error an unknown part has been copied.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no byte, more than 64 MiB, or not within the buffer. `ENODEV`: the provider is gone.
    #[doc(alias = "P2PDMA_USER_COPY")]
    pub fn write(&self, offset: u64, from: &[u8]) -> Answer<()> {
        match &self.0 {
            OfModule::Host(buffer) => buffer.write(offset, from),
            OfModule::Mock(buffer) => buffer.write(offset, from),
        }
    }

    /// Copies from `offset` by the processor.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    #[doc(alias = "P2PDMA_USER_COPY")]
    pub fn read(&self, offset: u64, to: &mut [u8]) -> Answer<()> {
        match &self.0 {
            OfModule::Host(buffer) => buffer.read(offset, to),
            OfModule::Mock(buffer) => buffer.read(offset, to),
        }
    }
}

impl Pair {
    /// What the file and the memory ask for.
    #[must_use]
    pub fn bound(&self) -> Bound {
        match &self.0 {
            OfModule::Host(pair) => pair.bound,
            OfModule::Mock(pair) => pair.bound(),
        }
    }

    /// Does one transfer and waits for it.
    ///
    /// # Errors
    ///
    /// `EBADF`: the file was not opened for this direction. `EINVAL`: not within the buffer, or not aligned. `ENODEV`: the
    /// provider is gone; the file is as it was. `EREMOTEIO`: the route is gone. Else what the file says.
    #[doc(alias = "P2PDMA_USER_IO")]
    pub fn io(&self, transfer: Transfer) -> Answer<Moved> {
        match &self.0 {
            OfModule::Host(pair) => pair.io(transfer),
            OfModule::Mock(pair) => pair.io(transfer),
        }
    }
}

impl Pair {
    /// Where the kernel finds the memory of an operation; `None` when a mock machine's module refuses it.
    pub(super) fn place(&self, submission: &Submission, offset: u64) -> Option<Place> {
        let Submission { direction, offset: position, length, .. } = *submission;
        match &self.0 {
            OfModule::Host(_) => Some(Place::Buffer(offset)),
            OfModule::Mock(pair) => {
                pair.check(Transfer { direction, offset, position, length }).ok()?;
                Some(Place::Address(pair.address(offset)))
            }
        }
    }
}

/// What a ring registers: the pair, which takes the module's io_uring commands; on a mock machine the file alone.
impl AsFd for Pair {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            OfModule::Host(pair) => pair.as_fd(),
            OfModule::Mock(pair) => pair.as_fd(),
        }
    }
}
