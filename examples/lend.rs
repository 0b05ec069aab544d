//! Lends GPU memory to `p2pbench run --peer socket:PATH`: a dma-buf, sent over a Unix socket.
//!
//!     lend SOCKET ADDRESS LENGTH
//!
//! Whoever connects to SOCKET gets one message: the PCI address of the device whose memory it is, as text, and with it
//! (SCM_RIGHTS) a dma-buf of LENGTH bytes. The memory is lent as long as the connection is open.
//!
//! The memory here is that of the stand-in for a GPU driver (`kmod/test`). A program with a GPU does the same with what its
//! own driver exports: `cuMemGetHandleForAddressRange(.., CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD, ..)` or
//! `hsa_amd_portable_export_dmabuf`.
#![expect(clippy::print_stderr, reason = "a program talks to its user")]

use std::{
    error::Error,
    fs,
    io::{self, IoSlice, Read},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
};

use p2pdma::pci::Address;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, address, length] = &arguments[..] else { return Err("usage: lend SOCKET ADDRESS LENGTH".into()) };
    let address: Address = address.parse()?;
    let length = length.parse()?;
    let dmabuf = stand_in::export(address, length).map_err(|error| {
        format!("no memory of {address}: {error}; it takes the stand-in for a GPU driver, see tests/guest/lend.rs")
    })?;
    let listener = UnixListener::bind(socket)?;
    for stream in listener.incoming() {
        if let Err(error) = stream.and_then(|stream| lend(stream, address, dmabuf.as_fd())) {
            eprintln!("lend: {error}");
        }
    }
    Ok(())
}

/// Sends the memory, and waits until the other side has closed the connection.
fn lend(mut stream: UnixStream, provider: Address, dmabuf: BorrowedFd<'_>) -> io::Result<()> {
    let descriptors = [dmabuf];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let text = provider.to_string();
    sendmsg(&stream, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::empty())?;
    stream.read(&mut [0]).map(drop)
}

/// The driver of `kmod/test/gpu.c`.
mod stand_in {
    #![expect(unsafe_code, reason = "an ioctl of a driver for tests; no dependency wraps it")]

    use std::os::fd::{AsRawFd, FromRawFd};

    use super::*;

    /// `P2PDMA_TEST_GPU_EXPORT` in `kmod/test/gpu.h`.
    const EXPORT: u32 = 1 << 30 | 16 << 16 | 0xb7 << 8 | 0x80;

    /// A dma-buf of the first bytes of a device's memory.
    pub(super) fn export(address: Address, length: u64) -> io::Result<OwnedFd> {
        let node = fs::File::options().read(true).write(true).open(format!("/dev/p2pdma_test_gpu-{address}"))?;
        let from_and_length = [0, length];
        // SAFETY: the driver reads the two numbers that the call's structure has.
        let fd = unsafe { libc::ioctl(node.as_raw_fd(), EXPORT.into(), from_and_length.as_ptr()) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the driver has just made it for us alone.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}
