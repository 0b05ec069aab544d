//! A file opened for direct I/O.

use std::{
    fmt, fs,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use super::{Source, Stack};
use crate::{
    Error, Result,
    machine::{Access, DeviceNumber, DioAlignment, FileFacts, FileKind, Machine, MachineId, OpenFile, hole_from},
};

/// A regular file or block device, open with `O_DIRECT` unless it was asked for [`buffered`](Self::buffered). Reads leave its
/// access time alone where this process may ask for that: as the owner, or with `CAP_FOWNER`. Cheap to clone;
/// clones are the same open file, which is closed when the last clone and the last operation on it are gone.
#[derive(Debug, Clone)]
pub struct File {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    open: OpenFile,
    path: PathBuf,
    source: Source,
    identity: Identity,
    /// Shared with what is opened anew of it.
    extent: Arc<Extent>,
    /// Of a buffered file the one that it was made of: what that holds exclusively stays held.
    _direct: Option<File>,
}

/// What tells the bytes of two files apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Identity {
    Device(DeviceNumber),
    /// Device and number of an inode.
    Inode(libc::dev_t, libc::ino_t),
}

/// What this process knows of where a file has data.
#[derive(Debug)]
struct Extent {
    /// Up to here it has, but for the holes that it had when it was opened.
    end: AtomicU64,
    /// Whether writes may have left a hole since.
    gaps: AtomicBool,
}

impl Extent {
    /// A write is taken. Behind the end it leaves a hole between.
    fn written(&self, offset: u64, end: u64) {
        let known = self.end.load(Ordering::Relaxed);
        if offset > known {
            self.gaps.store(true, Ordering::Relaxed);
        }
        if end > known {
            self.end.fetch_max(end, Ordering::Relaxed);
        }
    }

    /// Whether the filesystem must be asked for holes before `end`.
    fn is_unsure(&self, end: u64) -> bool {
        self.gaps.load(Ordering::Relaxed) || end > self.end.load(Ordering::Relaxed)
    }
}

impl File {
    /// Opens `path` on `machine` and finds out what lies under it.
    ///
    /// # Errors
    ///
    /// - [`Error::NoDirectIo`]: its filesystem does not open files with `O_DIRECT`.
    /// - [`Error::Invalid`]: neither a regular file nor a block device.
    /// - [`Error::NotFound`], [`Error::NotAllowed`],
    ///   [`Error::Io`]: what open(2) says.
    pub fn open(machine: &Machine, path: impl AsRef<Path>, access: Access) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let open = machine.open(&path, access)?;
        let source = Source::of_facts(
            machine,
            path.display().to_string(),
            access,
            open.kind,
            &FileFacts::of(&open, machine.facts()),
        );
        let identity = identity(&open, &path)?;
        let extent = Arc::new(Extent { end: AtomicU64::new(open.size), gaps: AtomicBool::new(false) });
        Ok(Self { inner: Arc::new(Inner { open, path, source, identity, extent, _direct: None }) })
    }

    /// The same file, opened anew without `O_DIRECT`: what is read and written goes through the kernel's page cache. To
    /// compare with, and with host memory only: the CPU copies every byte, so no peer memory is bound to it.
    ///
    /// ```
    /// use p2pdma::{Error, machine::{Access, Machine, Mock, mock::Cpu}, memory::Provider, storage::File, transfer::Queue};
    /// let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen)?);
    /// let buffered = File::open(&machine, "/dev/nvme0n1", Access::Read)?.buffered()?;
    /// let mut queue = Queue::new(&machine, Default::default())?;
    /// assert!(queue.bind_host(&buffered).is_ok());
    /// let memory = Provider::find(&machine, "0000:05:00.0".parse()?)?.allocate(4096)?;
    /// assert!(matches!(queue.bind(&buffered, &memory), Err(Error::NoDirectIo(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotAllowed`], [`Error::Io`]: what open(2) says.
    pub fn buffered(&self) -> Result<Self> {
        let Inner { open, path, source, .. } = &*self.inner;
        let failed = |source| Error::syscall("open", path.display(), source, "see what the kernel log says");
        // By its descriptor: the path may name another file by now.
        let by_descriptor = format!("/proc/self/fd/{}", open.fd.as_raw_fd());
        let writes = source.access == Access::ReadWrite;
        let fd = fs::File::options().read(true).write(writes).open(by_descriptor).map_err(failed)?.into();
        let dio = Some(DioAlignment { memory: 1, offset: 1 });
        let open = OpenFile { fd, dio, ..*open };
        let source = Source { buffered: true, dio, ..source.clone() };
        Ok(Self {
            inner: Arc::new(Inner {
                open,
                path: path.clone(),
                source,
                identity: self.inner.identity,
                extent: Arc::clone(&self.inner.extent),
                _direct: Some(self.clone()),
            }),
        })
    }

    /// Whether it was opened without `O_DIRECT`.
    #[must_use]
    pub fn is_buffered(&self) -> bool {
        self.inner.source.buffered
    }

    pub(crate) fn machine(&self) -> MachineId {
        self.inner.source.machine.id()
    }

    /// The name it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// What it was opened for.
    #[must_use]
    pub fn access(&self) -> Access {
        self.inner.source.access
    }

    /// Length in bytes when it was opened.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.inner.open.size
    }

    /// Whether it is a block device itself, not a file on one.
    #[must_use]
    pub fn is_block_device(&self) -> bool {
        matches!(self.inner.open.kind, FileKind::Block(_))
    }

    /// What direct I/O on it asks for, if it is to stay direct; `None` where the filesystem does not say. 1 byte where the
    /// file is [`buffered`](Self::buffered).
    ///
    /// Two filesystems copy by CPU what is aligned for them to less than a block of theirs, and do not tell:
    /// - xfs: a write to a part of a block that the file shares with another (`xfs_file_dio_write_unaligned`,
    ///   fs/xfs/xfs_file.c), so a file that is open for writing wants whole blocks;
    /// - btrfs: anything, in memory too (`check_direct_IO`, fs/btrfs/direct-io.c).
    #[must_use]
    pub fn dio_alignment(&self) -> Option<DioAlignment> {
        self.inner.source.dio
    }

    /// What lies below it.
    #[must_use]
    pub fn stack(&self) -> &Stack {
        &self.inner.source.stack
    }

    /// Whether a part of the range holds no data, so that reading it would be the CPU writing zeroes. Asked of the
    /// filesystem anew, but only where it may be: in a file that had holes when it was opened, or in which a write began behind
    /// the end since, and behind what is known to be written. A hole that others punch is not looked for.
    pub(crate) fn has_hole_in(&self, offset: u64, length: u64) -> bool {
        let Inner { open, source, extent, .. } = &*self.inner;
        let end = offset.saturating_add(length);
        let unsure = source.has_holes || !self.is_block_device() && extent.is_unsure(end);
        // Behind the end is no hole, but nothing.
        let hole = || hole_from(&open.fd, offset).filter(|&hole| hole < end);
        unsure && hole().is_some_and(|hole| self.end().map_or(true, |file| hole < file))
    }

    /// A write of this range is taken.
    pub(crate) fn written(&self, offset: u64, length: u64) {
        self.inner.extent.written(offset, offset.saturating_add(length));
    }

    /// A write has failed: nobody knows what it has left.
    pub(crate) fn failed(&self) {
        self.inner.extent.gaps.store(true, Ordering::Relaxed);
    }

    /// Where it ends now, in bytes. A device does not change.
    pub(crate) fn end(&self) -> Result<u64> {
        if self.is_block_device() {
            return Ok(self.size());
        }
        let stat = nix::sys::stat::fstat(&self.inner.open.fd);
        let stat = stat.map_err(|errno| Error::syscall("fstat", self, errno.into(), "see what the kernel log says"))?;
        Ok(stat.st_size.unsigned_abs())
    }

    /// The page cache lets go of a range of whole pages, if nothing of it is still to be written and nobody else uses it.
    pub(crate) fn forget_pages(&self, start: u64, length: u64) {
        let [start, length] = [start, length].map(|n| libc::off_t::try_from(n).unwrap_or(0));
        // What it keeps, it keeps.
        let _ = posix_fadvise(&self.inner.open.fd, start, length, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    }

    /// The longest request that the kernel passes whole through every queue below a block device, in bytes. What is longer,
    /// it splits, and without waiting for that it refuses: io_uring then hands the operation to a thread
    /// (`bio_submit_split`, block/blk-merge.c, under `REQ_NOWAIT`). Files are not split that way; `None` for them.
    pub(crate) fn longest_request(&self) -> Option<u64> {
        if !self.is_block_device() {
            return None;
        }
        self.stack().layers().into_iter().filter_map(|(_, layer)| layer.limits.max_request).min()
    }

    /// Whether both hold the same bytes: the same inode or device, opened once or twice. Partitions are told apart from their
    /// device, though they share its bytes.
    pub(crate) fn holds_same(&self, other: &Self) -> bool {
        self.same(other) || self.inner.identity == other.inner.identity
    }

    /// Whether both are the same open file.
    pub(crate) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.open.fd.as_fd()
    }
}

impl AsRef<Source> for File {
    fn as_ref(&self) -> &Source {
        &self.inner.source
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.inner.path.display())
    }
}

fn identity(open: &OpenFile, path: &Path) -> Result<Identity> {
    if let FileKind::Block(number) = open.kind {
        return Ok(Identity::Device(number));
    }
    let stat = nix::sys::stat::fstat(&open.fd);
    let failed = |errno: nix::errno::Errno| Error::syscall("fstat", path.display(), errno.into(), "see the errno");
    stat.map(|stat| Identity::Inode(stat.st_dev, stat.st_ino)).map_err(failed)
}
