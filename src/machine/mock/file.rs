//! Files of a mock machine: memfds.

use std::{
    collections::BTreeMap,
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::{FileExt, OpenOptionsExt},
    },
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::stat::fstat,
};

use crate::{
    Error, Result,
    machine::file::{Access, DioAlignment, FileKind, OpenFile, end_of, memfd},
};

/// A block device or a regular file. What stands for a device is sealed: nothing written behind its end makes it longer.
#[derive(Debug)]
pub(super) struct MockFile {
    pub(super) fd: OwnedFd,
    pub(super) kind: FileKind,
    /// Its logical block in bytes.
    pub(super) block: u32,
    /// Pages that faults brought into the page cache. A memfd has nothing but a page cache, which tells nothing.
    pub(super) cached: Arc<AtomicU64>,
}

/// What stands for the page cache of each file, by inode.
pub(super) type Caches = BTreeMap<(libc::dev_t, libc::ino_t), Arc<AtomicU64>>;

/// What tells files apart.
pub(super) fn inode(fd: impl AsFd) -> Option<(libc::dev_t, libc::ino_t)> {
    fstat(fd).map(|stat| (stat.st_dev, stat.st_ino)).ok()
}

impl MockFile {
    pub(super) fn new(path: &Path, kind: FileKind, block: u32, content: &[u8]) -> Result<Self> {
        let failed = |call| move |source| Error::syscall(call, path.display(), source, "free some memory");
        let file = fs::File::from(memfd(c"p2pdma mock file", content.len() as u64)?);
        file.write_all_at(content, 0).map_err(failed("pwrite"))?;
        if let FileKind::Block(_) = kind {
            let seals = FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK);
            fcntl(&file, seals).map_err(|errno| failed("fcntl")(errno.into()))?;
        }
        Ok(Self { fd: file.into(), kind, block, cached: Arc::default() })
    }

    /// Opened anew, so that access and flags are the caller's own.
    pub(super) fn open(&self, path: &Path, access: Access) -> Result<OpenFile> {
        let failed = |call| move |source| Error::syscall(call, path.display(), source, "raise the limit on open files");
        let fd = reopen(&self.fd, access).map_err(failed("open"))?;
        let size = end_of(&fd).map_err(failed("lseek"))?;
        let dio = Some(DioAlignment { memory: 4, offset: self.block });
        Ok(OpenFile { fd, kind: self.kind, size, dio, flags: None })
    }

    /// Whether a descriptor has it open.
    pub(super) fn is(&self, fd: impl AsFd) -> bool {
        inode(fd).is_some_and(|it| Some(it) == inode(&self.fd))
    }
}

/// Linux before 6.6 has no `O_DIRECT` on memfds; there the mock's files are opened without.
fn reopen(fd: &OwnedFd, access: Access) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let open = |flags| {
        let mut options = fs::File::options();
        options.read(true).write(access == Access::ReadWrite).custom_flags(flags).open(&path)
    };
    match open(libc::O_DIRECT) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => open(0),
        opened => opened,
    }
    .map(OwnedFd::from)
}

/// Whether this kernel lets a memfd be open with `O_DIRECT`.
pub(super) fn could_be_direct(fd: impl AsFd) -> bool {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    fs::File::options().read(true).custom_flags(libc::O_DIRECT).open(path).is_ok()
}

/// Where a device ends; `None` of a file, which a write makes longer.
pub(super) fn device_end(fd: impl AsFd) -> Option<u64> {
    let seals = fcntl(&fd, FcntlArg::F_GET_SEALS).ok().map(SealFlag::from_bits_retain)?;
    let size = fstat(&fd).ok()?.st_size;
    seals.contains(SealFlag::F_SEAL_GROW).then_some(size.unsigned_abs())
}
