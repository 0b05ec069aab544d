//! CPU access to peer memory, by system call.
//!
//! # Safety
//!
//! An address of peer memory goes to pread(2) and pwrite(2) only, which copy in the kernel and answer EFAULT where the
//! mapping has been taken away; a load in user space would be a SIGBUS. The [`View`] that the address comes from is
//! borrowed for the length of the call, so the range stays mapped, and the kernel tolerates a device that writes to it
//! meanwhile.
#![expect(unsafe_code, reason = "peer memory is named by address, to the kernel alone")]

use std::{
    cell::Cell,
    fmt, fs, io,
    os::{
        fd::{AsRawFd, RawFd},
        unix::fs::FileExt,
    },
};

use super::{
    HostSlice, PeerSlice, View,
    view::{Owner, Store},
};
use crate::{
    Error, Refusal, Result, SyscallError,
    machine::{Place, memfd},
};

/// Bytes that a copier moves at a time between a caller's buffer and peer memory.
const SCRATCH: usize = 1 << 20;

/// Bytes that it moves at a time between host memory and a buffer of the module's.
const BOUNCE: usize = 64 << 10;

/// Copies between host and peer memory, on the CPU: slow (a BAR is uncached), but it never faults and never tears a
/// reference. To and from a buffer of the module's it is the module that copies, or the [`Hooks`](super::Hooks) that the
/// memory was registered with. It ends with [`Error::Io`] when the provider has gone.
///
/// ```
/// use p2pdma::{machine::{Machine, Mock, mock::Cpu}, memory::{Copier, HostMemory, Provider}};
/// let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen)?);
/// let memory = Provider::find(&machine, "0000:05:00.0".parse()?)?.allocate(4096)?;
/// let (mut copier, host, mut back) = (Copier::new()?, HostMemory::allocate(5)?, [0; 5]);
/// copier.write(b"bytes", &memory.slice(3..)?)?; // at any address
/// copier.to_host(&memory.slice(3..8)?, &host.all())?;
/// host.all().read(&mut back)?;
/// assert_eq!(&back, b"bytes");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Copier {
    /// A memfd of [`SCRATCH`] bytes.
    scratch: fs::File,
    /// Ordinary memory between two kinds that cannot be borrowed, kept from copy to copy.
    bounce: Cell<Vec<u8>>,
}

impl fmt::Debug for Copier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Copier").field("scratch", &self.scratch).finish_non_exhaustive()
    }
}

/// A system call that copies between a file and an address.
type Call = fn(RawFd, *mut u8, usize, libc::off_t) -> isize;

impl Copier {
    /// A copier with a scratch memfd of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when there is no memory for it.
    pub fn new() -> Result<Self> {
        Ok(Self { scratch: memfd(c"p2pdma scratch", SCRATCH as u64)?.into(), bounce: Cell::default() })
    }

    /// Copies `from` to the start of `to`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when `to` is shorter; [`Error::Io`] when the provider has gone.
    pub fn write(&mut self, from: &[u8], to: &PeerSlice) -> Result<()> {
        let to = to.0.part(..from.len())?;
        if let Store::Buffer(buffer) = to.store() {
            return buffer.write(to.offset, from);
        }
        for (index, chunk) in from.chunks(SCRATCH).enumerate() {
            self.scratch.write_all_at(chunk, 0).map_err(no_scratch)?;
            let part = to.part(index * SCRATCH..index * SCRATCH + chunk.len())?;
            transfer("pread", load, &self.scratch, 0, &part)?;
        }
        Ok(())
    }

    /// Copies the start of `from` to all of `to`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when `from` is shorter; [`Error::Io`] when the provider has gone.
    pub fn read(&mut self, from: &PeerSlice, to: &mut [u8]) -> Result<()> {
        let from = from.0.part(..to.len())?;
        if let Store::Buffer(buffer) = from.store() {
            return buffer.read(from.offset, to);
        }
        for (index, chunk) in to.chunks_mut(SCRATCH).enumerate() {
            let part = from.part(index * SCRATCH..index * SCRATCH + chunk.len())?;
            transfer("pwrite", store, &self.scratch, 0, &part)?;
            self.scratch.read_exact_at(chunk, 0).map_err(no_scratch)?;
        }
        Ok(())
    }

    /// Copies all of `from` to the start of `to`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when `to` is shorter; [`Error::Io`] when the provider has gone.
    pub fn to_peer(&self, from: &HostSlice, to: &PeerSlice) -> Result<()> {
        let to = to.0.part(..from.len())?;
        let Store::Buffer(buffer) = to.store() else {
            return transfer("pread", load, &from.file, from.view.offset, &to);
        };
        self.in_steps(to.len(), |at, bounce| {
            from.slice(at..at + bounce.len())?.read(bounce)?;
            buffer.write(to.offset + at, bounce)
        })
    }

    /// Copies all of `from` to the start of `to`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when `to` is shorter; [`Error::Io`] when the provider has gone.
    pub fn to_host(&self, from: &PeerSlice, to: &HostSlice) -> Result<()> {
        let to = to.slice(..from.len())?;
        let Store::Buffer(buffer) = from.0.store() else {
            return transfer("pwrite", store, &to.file, to.view.offset, &from.0);
        };
        self.in_steps(from.len(), |at, bounce| {
            buffer.read(from.0.offset + at, bounce)?;
            to.slice(at..at + bounce.len())?.write(bounce)
        })
    }

    /// Fills mapped memory with zeroes. It takes a copier that was never used: its scratch memfd is one hole.
    pub(super) fn zero(self, to: &PeerSlice) -> Result<()> {
        for start in (0..to.len()).step_by(SCRATCH) {
            let part = to.0.part(start..to.len().min(start + SCRATCH))?;
            transfer("pread", load, &self.scratch, 0, &part)?;
        }
        Ok(())
    }

    /// Walks `length` bytes by a bounce in ordinary memory: host memory that a device may write cannot be borrowed, and a
    /// buffer of the module's has no address to read it to.
    fn in_steps(&self, length: usize, mut step: impl FnMut(usize, &mut [u8]) -> Result<()>) -> Result<()> {
        let mut bounce = self.bounce.take();
        bounce.resize(BOUNCE, 0);
        let walked = (0..length).step_by(BOUNCE).try_for_each(|at| step(at, &mut bounce[..BOUNCE.min(length - at)]));
        self.bounce.set(bounce);
        walked
    }
}

/// From the file to the address: pread(2).
fn load(fd: RawFd, address: *mut u8, length: usize, offset: libc::off_t) -> isize {
    // SAFETY: the kernel writes `length` bytes at an address that `transfer` took from a view, which is mapped and
    // which nobody references; where the mapping was taken away it answers EFAULT.
    unsafe { libc::pread(fd, address.cast(), length, offset) }
}

/// From the address to the file: pwrite(2).
fn store(fd: RawFd, address: *mut u8, length: usize, offset: libc::off_t) -> isize {
    // SAFETY: the kernel reads `length` bytes at an address that `transfer` took from a view, which is mapped; where
    // the mapping was taken away it answers EFAULT.
    unsafe { libc::pwrite(fd, address.cast_const().cast(), length, offset) }
}

/// Repeats `call` until all of `view` is copied. Each round moves at least a byte or ends the loop.
fn transfer(name: &'static str, call: Call, file: &fs::File, offset: usize, view: &View) -> Result<()> {
    let mut done = 0;
    while done < view.len() {
        let rest = view.part(done..)?;
        let Place::Address(address) = rest.place() else { return Err(gone(name, view, libc::EFAULT)) };
        let position = libc::off_t::try_from(offset + done).map_err(|_| gone(name, view, libc::EFBIG))?;
        match call(file.as_raw_fd(), address, rest.len(), position) {
            0 => return Err(gone(name, view, libc::ENODATA)),
            count if count > 0 => done += rest.len().min(count.unsigned_abs()),
            _ => match io::Error::last_os_error().raw_os_error() {
                Some(libc::EINTR) => {}
                errno => return Err(gone(name, view, errno.unwrap_or(libc::EIO))),
            },
        }
    }
    Ok(())
}

fn gone(call: &'static str, view: &View, errno: i32) -> Error {
    let source = io::Error::from_raw_os_error(errno);
    let thing = view.owner().map_or_else(|| "host memory".to_owned(), |Owner { provider, .. }| provider.to_string());
    let refusal = if errno == libc::EFAULT {
        Refusal::new(thing, "its memory has gone: the provider was unbound", "bind it again and allocate anew")
    } else {
        Refusal::new(thing, format!("{call} on its memory failed"), "see what the kernel log says")
    };
    Error::Io { refusal, source: SyscallError { call, source } }
}

fn no_scratch(source: io::Error) -> Error {
    Error::syscall("pread/pwrite", "scratch memfd", source, "free some memory")
}
