//! An opened file, and what the machine says of it.

use std::{
    fmt, fs,
    io::{self, Seek},
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

use nix::{
    sys::{
        memfd::{MFdFlags, memfd_create},
        statfs::fstatfs,
    },
    unistd::{Whence, lseek},
};

use super::{Facts, InodeFlags, NotRecorded};
use crate::{Error, Refusal, Result, error::grant};

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

/// What a machine says of a file that it opens with `O_DIRECT` for reading. Nothing is concluded here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileFacts {
    /// `None`: neither a regular file nor a block device, and so not opened.
    pub kind: Option<FileKind>,
    /// Length in bytes.
    pub size: u64,
    /// `None`: the filesystem does not say.
    pub dio: Option<DioAlignment>,
    /// `None`: the filesystem does not say.
    pub flags: Option<InodeFlags>,
    /// The filesystem's block in bytes (statfs(2)).
    pub block: Option<u32>,
    /// Where its first hole begins, at the end of the file if not before (lseek(2), `SEEK_HOLE`).
    pub hole: Option<u64>,
    /// The number of its mount, as the file's descriptor names it (proc_pid_fdinfo(5)).
    pub mount: Option<u64>,
    /// Its path without symbolic links, as its descriptor names it.
    pub path: Option<String>,
}

impl FileFacts {
    /// Of an open descriptor of this process; `facts` are the machine's, for what procfs tells of it.
    pub(crate) fn of(open: &OpenFile, facts: &dyn Facts) -> Self {
        let block = fstatfs(&open.fd).ok().and_then(|fs| u32::try_from(fs.block_size()).ok());
        let hole = if let FileKind::Regular(_) = open.kind { hole_from(&open.fd, 0) } else { None };
        let fd = open.fd.as_raw_fd();
        let mount = facts.text(&format!("/proc/self/fdinfo/{fd}")).and_then(|text| mount_id(&text));
        let path = facts.link(&format!("/proc/self/fd/{fd}")).ok();
        let (kind, size, dio, flags) = (Some(open.kind), open.size, open.dio, open.flags);
        Self { kind, size, dio, flags, block, hole, mount, path }
    }

    /// What can be told of a file that is never opened: a FIFO, a character device, a directory.
    pub(super) fn of_another_kind() -> Self {
        Self { kind: None, size: 0, dio: None, flags: None, block: None, hole: None, mount: None, path: None }
    }
}

/// The line `mnt_id:  30` of a descriptor (proc_pid_fdinfo(5)).
fn mount_id(fdinfo: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| line.strip_prefix("mnt_id:")).and_then(|id| id.trim().parse().ok())
}

/// The first hole from `offset` on, if only the one behind the end (lseek(2)). The position that this moves is nobody's:
/// all I/O names its own.
pub(crate) fn hole_from(fd: &OwnedFd, offset: u64) -> Option<u64> {
    let offset = i64::try_from(offset).ok()?;
    lseek(fd, offset, Whence::SeekHole).ok().and_then(|hole| u64::try_from(hole).ok())
}

/// What it means that a file cannot be opened with `O_DIRECT`.
pub(crate) fn not_opened(path: &Path, source: io::Error) -> Error {
    match source.raw_os_error() {
        Some(libc::EINVAL) => Error::NoDirectIo(Refusal::new(
            path.display(),
            "its filesystem does not open files with O_DIRECT",
            "use a file on ext4 or xfs, or an NVMe block device",
        )),
        Some(libc::EBUSY) => Error::NotAllowed(Refusal::new(
            path.display(),
            "it is in use: it or a partition of it is mounted, swapped to, part of md or dm, or opened by another writer",
            "unmount or stop what uses it, or name another device",
        )),
        Some(libc::EACCES) => Error::NotAllowed(Refusal::new(
            path.display(),
            format!("this user may not open it ({source})"),
            grant(path.display(), "r"),
        )),
        None if NotRecorded::is(&source) => Error::NotAllowed(Refusal::new(
            path.display(),
            "it was not recorded",
            "record the machine with `p2pbench record FILE --for PATH`",
        )),
        _ => Error::syscall("open", path.display(), source, "see what the kernel log says"),
    }
}

/// What it means that a provider's `allocate` cannot be opened.
pub(super) fn not_allocated(path: &str, source: io::Error) -> Error {
    match source.raw_os_error() {
        Some(libc::EACCES) => {
            let each = "each time its driver is bound, by hand or by a udev rule (SUBSYSTEM==\"pci\", TEST==\"p2pmem/allocate\")";
            let cure = format!("{}, {each}", grant(path, "rw"));
            Error::NotAllowed(Refusal::new(path, format!("this user may not open it ({source})"), cure))
        }
        _ => Error::syscall("open", path, source, "see what the kernel log says"),
    }
}

/// To open a FIFO waits for its other end, and to open a character device does things.
pub(crate) fn not_a_file(path: &Path) -> Error {
    Error::Invalid(Refusal::new(path.display(), "neither a regular file nor a block device", "name one of those"))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_descriptor_names_its_mount() {
        assert_eq!(mount_id("pos:\t0\nflags:\t02140000\nmnt_id:\t30\nino:\t12\n"), Some(30));
        assert_eq!(mount_id("pos:\t0\n"), None);
    }

    proptest! {
        #[test]
        fn any_text_names_a_mount_or_none(text in "(mnt_id:.*\n|.*\n){0,3}") {
            let _ = mount_id(&text);
        }
    }
}
