//! A file opened for direct I/O.

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::BlockDevice;
use crate::{
    Result,
    machine::{Access, DioAlignment, FileKind, Machine, OpenFile},
};

/// A regular file or block device, open with `O_DIRECT`. Cheap to clone; clones are the same open file, which is
/// closed when the last clone and the last operation on it are gone.
#[derive(Debug, Clone)]
pub struct File {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    open: OpenFile,
    path: PathBuf,
    access: Access,
    block: BlockDevice,
}

impl File {
    /// Opens `path` on `machine` and finds out what lies under it.
    ///
    /// # Errors
    ///
    /// - [`Error::NoDirectIo`](crate::Error::NoDirectIo): its filesystem does not open files with `O_DIRECT`.
    /// - [`Error::Invalid`](crate::Error::Invalid): neither a regular file nor a block device.
    /// - [`Error::NotFound`](crate::Error::NotFound), [`Error::NotAllowed`](crate::Error::NotAllowed),
    ///   [`Error::Io`](crate::Error::Io): what open(2) says.
    pub fn open(machine: &Machine, path: impl AsRef<Path>, access: Access) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let open = machine.open(&path, access)?;
        let block = BlockDevice::find(machine.facts(), open.kind.device());
        Ok(Self { inner: Arc::new(Inner { open, path, access, block }) })
    }

    /// The name it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// What it was opened for.
    #[must_use]
    pub fn access(&self) -> Access {
        self.inner.access
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

    /// What direct I/O on it asks for; `None` where the filesystem does not say.
    #[must_use]
    pub fn dio_alignment(&self) -> Option<DioAlignment> {
        self.inner.open.dio
    }

    /// The block device that holds its bytes.
    #[must_use]
    pub fn block_device(&self) -> &BlockDevice {
        &self.inner.block
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

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.inner.path.display())
    }
}
