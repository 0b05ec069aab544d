//! The module's objects on the running kernel, a descriptor each.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use p2pdma_sys::*;

use super::{Bound, Features, Info, Moved, Stats, Transfer, command::op, ioctl};
use crate::{SyscallError, pci::Address};

/// The device node, open.
#[derive(Debug)]
pub(crate) struct Node(OwnedFd);

/// A run of a provider's memory. The memory goes back when this, its pairs and their transfers are gone.
#[derive(Debug)]
pub(crate) struct Buffer {
    fd: OwnedFd,
    pub(crate) length: u64,
}

/// A buffer bound to an open file, both of which it keeps.
#[derive(Debug)]
pub(crate) struct Pair {
    fd: OwnedFd,
    pub(crate) bound: Bound,
}

impl Node {
    pub(crate) fn open() -> io::Result<Self> {
        fs::File::options().read(true).write(true).open(NODE).map(|file| Self(file.into()))
    }

    pub(crate) fn info(&self) -> Result<Info, SyscallError> {
        let mut args = p2pdma_user_info::default();
        ioctl::call(self.0.as_fd(), &mut args)?;
        let p2pdma_user_info { out_major: major, out_max_length: max_length, out_features, .. } = args;
        Ok(Info { major, max_length, features: Features::from_bits_retain(out_features) })
    }

    /// `None`: there is no route.
    pub(crate) fn distance(&self, provider: Address, client: Address) -> Result<Option<u32>, SyscallError> {
        let (provider, client) = (address(provider), address(client));
        let mut args = p2pdma_user_distance { provider, client, ..Default::default() };
        ioctl::call(self.0.as_fd(), &mut args)?;
        Ok(u32::try_from(args.out_distance).ok())
    }

    pub(crate) fn queue(&self, device: BorrowedFd<'_>) -> Result<bool, SyscallError> {
        let mut args = p2pdma_user_queue { fd: device.as_raw_fd(), ..Default::default() };
        ioctl::call(self.0.as_fd(), &mut args)?;
        Ok(args.out_features & P2PDMA_USER_QUEUE_P2PDMA != 0)
    }

    pub(crate) fn alloc(&self, provider: Address, length: u64) -> Result<Buffer, SyscallError> {
        let mut args = p2pdma_user_alloc { provider: address(provider), length, ..Default::default() };
        let fd = ioctl::open(self.0.as_fd(), &mut args)?;
        Ok(Buffer { fd, length: args.out_length })
    }

    pub(crate) fn register(&self, provider: Address, dmabuf: BorrowedFd<'_>) -> Result<Buffer, SyscallError> {
        let (provider, fd) = (address(provider), dmabuf.as_raw_fd());
        let mut args = p2pdma_user_register { provider, fd, ..Default::default() };
        let fd = ioctl::open(self.0.as_fd(), &mut args)?;
        Ok(Buffer { fd, length: args.out_length })
    }

    pub(crate) fn stats(&self) -> Result<Stats, SyscallError> {
        let mut args = p2pdma_user_stats::default();
        ioctl::call(self.0.as_fd(), &mut args)?;
        let p2pdma_user_stats { out_buffers: buffers, out_bytes: bytes, out_pairs: pairs, out_in_flight, .. } = args;
        Ok(Stats { buffers, bytes, pairs, in_flight: out_in_flight })
    }
}

impl Buffer {
    pub(crate) fn bind(&self, file: BorrowedFd<'_>) -> Result<Pair, SyscallError> {
        let mut args = p2pdma_user_bind { fd: file.as_raw_fd(), ..Default::default() };
        let fd = ioctl::open(self.fd.as_fd(), &mut args)?;
        let bound = Bound {
            readable: args.out_access & P2PDMA_USER_ACCESS_READ != 0,
            writable: args.out_access & P2PDMA_USER_ACCESS_WRITE != 0,
            memory_alignment: args.out_memory_align.max(1),
            offset_alignment: args.out_offset_align.max(1),
            distance: args.out_distance.unsigned_abs(),
        };
        Ok(Pair { fd, bound })
    }

    pub(crate) fn write(&self, offset: u64, from: &[u8]) -> Result<(), SyscallError> {
        ioctl::copy_in(self.fd.as_fd(), offset, from)
    }

    pub(crate) fn read(&self, offset: u64, to: &mut [u8]) -> Result<(), SyscallError> {
        ioctl::copy_out(self.fd.as_fd(), offset, to)
    }
}

impl Pair {
    pub(crate) fn io(&self, transfer: Transfer) -> Result<Moved, SyscallError> {
        let Transfer { direction, offset, position, length } = transfer;
        let mut args = p2pdma_user_io { op: op(direction), length, offset, position, ..Default::default() };
        ioctl::call(self.fd.as_fd(), &mut args)?;
        Ok(Moved { bytes: args.out_length, buffered: args.out_flags & P2PDMA_USER_IO_BUFFERED != 0 })
    }
}

impl AsFd for Pair {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn address(address: Address) -> p2pdma_user_address {
    let Address { domain, bus, device, function } = address;
    p2pdma_user_address { domain, bus, devfn: device << 3 | function, reserved: 0 }
}
