//! An opened file, and what the machine says of it.

use std::{fmt, fs, io::Seek, os::fd::OwnedFd};

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::InodeFlags;
use crate::{Error, Result};

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads only.
    Read,
    /// Reads and writes.
    ReadWrite,
}

/// A block device's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceNumber {
    /// The driver's part.
    pub major: u64,
    /// The device's part.
    pub minor: u64,
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl From<libc::dev_t> for DeviceNumber {
    fn from(dev: libc::dev_t) -> Self {
        Self { major: nix::sys::stat::major(dev), minor: nix::sys::stat::minor(dev) }
    }
}

/// What was opened, and on which block device its bytes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A block device itself.
    Block(DeviceNumber),
    /// A regular file of a filesystem with this device number. Major 0 is a filesystem that hides its devices (btrfs).
    Regular(DeviceNumber),
}

impl FileKind {
    /// The block device's number.
    #[must_use]
    pub fn device(self) -> DeviceNumber {
        match self {
            Self::Block(number) | Self::Regular(number) => number,
        }
    }
}

/// What direct I/O on a file asks for, in bytes (statx(2), `STATX_DIOALIGN`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DioAlignment {
    /// Of memory addresses: 4 on NVMe. 0 means that the file does no direct I/O at all.
    pub memory: u32,
    /// Of file offsets and lengths. 0 means that the file does no direct I/O at all.
    pub offset: u32,
}

/// A file opened for direct I/O.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) fd: OwnedFd,
    pub(crate) kind: FileKind,
    /// Length in bytes when opened.
    pub(crate) size: u64,
    /// `None`: the filesystem does not say.
    pub(crate) dio: Option<DioAlignment>,
    /// `None`: the filesystem does not say.
    pub(crate) flags: Option<InodeFlags>,
}

/// The length of what `fd` opened; `fstat` says 0 of a block device.
pub(crate) fn end_of(fd: &OwnedFd) -> std::io::Result<u64> {
    let mut file = fs::File::from(fd.try_clone()?);
    file.seek(std::io::SeekFrom::End(0))
}

/// Anonymous memory with a descriptor, `length` bytes of zeroes.
pub(crate) fn memfd(name: &std::ffi::CStr, length: u64) -> Result<OwnedFd> {
    let failed = |call, errno: nix::errno::Errno| {
        Error::syscall(call, name.to_string_lossy(), errno.into(), "free some memory or raise the limit on open files")
    };
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)
        .map_err(|errno| failed("memfd_create", errno))?;
    let length = libc::off_t::try_from(length).map_err(|_| failed("ftruncate", nix::errno::Errno::EFBIG))?;
    nix::unistd::ftruncate(&fd, length).map_err(|errno| failed("ftruncate", errno))?;
    Ok(fd)
}
