//! This machine: facts read when asked for, files and peer memory opened, I/O by the running kernel.

use std::{
    borrow::Cow,
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    },
    path::Path,
    sync::Arc,
};

use super::{
    Backing, MachineKind, Module, Seam, cachestat,
    facts::{Facts, resolve},
    file::{self, Access, FileFacts, FileKind, OpenFile, not_a_file, not_allocated, not_opened},
    module::OfModule,
    ring::{KernelRing, Ring, Setup},
    statx,
};
use crate::{Result, control, pci::Address};

/// The running kernel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Host;

impl Seam for Host {
    fn kind(&self) -> MachineKind {
        MachineKind::Host
    }

    fn facts(&self) -> &dyn Facts {
        self
    }

    fn open(&self, path: &Path, access: Access) -> Result<OpenFile> {
        open(path, access).map_err(|error| not_opened(path, error))?.ok_or_else(|| not_a_file(path))
    }

    /// `allocate` takes the run of memory out of the pool when it is mapped, not when it is opened (p2pdma.c,
    /// `p2pmem_alloc_mmap`), so there is nothing to do here but to open it.
    fn backing(&self, provider: Address, _length: usize) -> Result<Backing> {
        let path = format!("/sys/bus/pci/devices/{provider}/p2pmem/allocate");
        let fd =
            fs::File::options().read(true).write(true).open(&path).map_err(|source| not_allocated(&path, source))?;
        Ok(Backing { fd: fd.into(), lease: None })
    }

    fn module(self: Arc<Self>) -> Result<Module> {
        control::Node::open().map(|node| Module(OfModule::Host(node))).map_err(control::no_node)
    }

    fn cached(&self, file: BorrowedFd<'_>, range: std::ops::Range<u64>) -> Option<u64> {
        cachestat::pages(file, range)
    }

    fn ring(&self, setup: Setup) -> Result<Box<dyn Ring>> {
        Ok(Box::new(KernelRing::new(setup)?))
    }
}

/// A block device that is to be written is opened exclusively: the kernel then refuses one that is mounted, that holds a
/// mounted partition, or that is part of md, dm or swap (open(2), `O_EXCL` on block devices).
fn open_direct(path: &Path, access: Access, kind: FileKind) -> io::Result<OwnedFd> {
    let exclusive = match (kind, access) {
        (FileKind::Block(_), Access::ReadWrite) => libc::O_EXCL,
        _ => 0,
    };
    let open = |flags| {
        let mut options = fs::File::options();
        options.read(true).write(access == Access::ReadWrite).custom_flags(libc::O_DIRECT | exclusive | flags);
        options.open(path).map(OwnedFd::from)
    };
    // Whoever does not own the file may not leave its access time alone, and pays for that with each read (O_NOATIME, open(2)).
    match open(libc::O_NOATIME) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => open(0),
        opened => opened,
    }
}

fn kind_of(metadata: &fs::Metadata) -> Option<FileKind> {
    let kind = metadata.file_type();
    if kind.is_block_device() {
        Some(FileKind::Block(metadata.rdev().into()))
    } else if kind.is_file() {
        Some(FileKind::Regular(metadata.dev().into()))
    } else {
        None
    }
}

/// `None`: neither a regular file nor a block device, and not opened.
fn open(path: &Path, access: Access) -> io::Result<Option<OpenFile>> {
    // Before it is opened: to open a FIFO waits for its other end, and to open a character device does things.
    let Some(kind) = kind_of(&fs::metadata(path)?) else { return Ok(None) };
    let file = fs::File::from(open_direct(path, access, kind)?);
    let Some(kind) = kind_of(&file.metadata()?) else { return Ok(None) };
    let fd = OwnedFd::from(file);
    let size = file::end_of(&fd)?;
    let dio = statx::dio_alignment(fd.as_fd())?;
    let flags = if let FileKind::Regular(_) = kind { statx::inode_flags(fd.as_fd()) } else { None };
    Ok(Some(OpenFile { fd, kind, size, dio, flags }))
}

impl Facts for Host {
    fn read(&self, path: &str) -> io::Result<Cow<'_, [u8]>> {
        fs::read(path).map(Cow::Owned)
    }

    fn size(&self, path: &str) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn link(&self, path: &str) -> io::Result<String> {
        let target = fs::read_link(path)?;
        let target = target.to_str().ok_or_else(|| io::Error::from_raw_os_error(libc::EILSEQ))?;
        Ok(resolve(path, target))
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = fs::read_dir(path)?
            .filter_map(|entry| entry.map(|e| e.file_name().into_string().ok()).transpose())
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn opened(&self, path: &str) -> io::Result<FileFacts> {
        let Some(open) = open(Path::new(path), Access::Read)? else { return Ok(FileFacts::of_another_kind()) };
        Ok(FileFacts::of(&open, self))
    }
}

#[cfg(test)]
mod tests {
    use nix::{
        fcntl::{FcntlArg, OFlag, fcntl},
        unistd::{Uid, setfsuid},
    };

    use super::*;

    fn leaves_access_time(path: &str) -> bool {
        let fd = open_direct(Path::new(path), Access::Read, FileKind::Regular(0.into())).expect(path);
        OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).expect("flags")).contains(OFlag::O_NOATIME)
    }

    #[test]
    fn access_times_are_left_alone_where_that_is_allowed_and_files_opened_where_not() {
        let own = std::env::current_exe().expect("this test");
        assert!(leaves_access_time(own.to_str().expect("a name")));
        std::thread::spawn(|| {
            // This thread alone: somebody who does not own the file.
            setfsuid(Uid::from_raw(65534));
            assert!(!leaves_access_time("/etc/passwd"));
        })
        .join()
        .expect("no panic");
    }
}
