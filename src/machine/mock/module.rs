//! The `p2pdma_user` module of a mock machine: the same answers and errnos as the real one's (`kmod/`), without a kernel.

use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use memmap2::{MmapOptions, MmapRaw};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::stat::{FileStat, SFlag, fstat},
};

use super::{
    Mock, MockFile,
    file::{could_be_direct, device_end},
    pool::{Lack, Lease, Pool},
    route,
};
use crate::{
    SyscallError,
    control::{Bound, Direction, Features, Info, MAJOR, MOST, Moved, Stats, Transfer},
    machine::{Facts, file::FileKind},
    pci::Address,
};

type Answer<T> = Result<T, SyscallError>;
type Errno = i32;

/// What its users hold.
#[derive(Debug, Default)]
pub(super) struct Counts {
    buffers: AtomicU64,
    bytes: AtomicU64,
    pairs: AtomicU64,
    pub(super) in_flight: AtomicU64,
}

/// The device node, open.
#[derive(Debug)]
pub(in crate::machine) struct Node(pub(super) Arc<Mock>);

/// A run of a provider's memory.
#[derive(Debug)]
pub(in crate::machine) struct Buffer(Arc<Memory>);

/// A buffer bound to an open file. Clones are the same.
#[derive(Debug, Clone)]
pub(in crate::machine) struct Pair(Arc<Binding>);

#[derive(Debug)]
struct Memory {
    mock: Arc<Mock>,
    provider: Address,
    pool: Arc<Pool>,
    length: u64,
    file: fs::File,
    /// For the kernel's ring alone, which moves data to and from addresses.
    map: MmapRaw,
    _lease: Option<Lease>,
}

#[derive(Debug)]
struct Binding {
    memory: Arc<Memory>,
    file: fs::File,
    end: Option<u64>,
    bound: Bound,
}

fn refused(call: &'static str) -> impl Fn(Errno) -> SyscallError {
    move |errno| SyscallError { call, source: io::Error::from_raw_os_error(errno) }
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().unwrap_or(libc::EIO)
}

impl Node {
    pub(in crate::machine) fn info(&self) -> Info {
        Info { major: MAJOR, max_length: MOST, features: Features::ALLOC | Features::REGISTER }
    }

    pub(in crate::machine) fn stats(&self) -> Stats {
        let Counts { buffers, bytes, pairs, in_flight } = &self.0.counts;
        let [buffers, bytes, pairs, in_flight] =
            [buffers, bytes, pairs, in_flight].map(|count| count.load(Ordering::Relaxed));
        Stats { buffers, bytes, pairs, in_flight }
    }

    pub(in crate::machine) fn distance(&self, provider: Address, client: Address) -> Answer<Option<u32>> {
        let directory = |address| self.0.directories.get(&address).map(String::as_str);
        let known = directory(provider).zip(directory(client));
        let (provider, client) = known.ok_or(libc::ENODEV).map_err(refused("P2PDMA_USER_DISTANCE"))?;
        Ok(route::distance(&self.0.facts, provider, client))
    }

    pub(in crate::machine) fn queue(&self, device: BorrowedFd<'_>) -> Answer<bool> {
        let kind = opened(device).and_then(|(stat, _)| match self.0.file_of(device) {
            Some(file @ MockFile { kind: FileKind::Block(_), .. }) => Ok(self.0.takes_peer_memory(file)),
            _ if is(&stat, SFlag::S_IFBLK) => Ok(false),
            _ => Err(libc::ENOTBLK),
        });
        kind.map_err(refused("P2PDMA_USER_QUEUE"))
    }

    pub(in crate::machine) fn alloc(&self, provider: Address, length: u64) -> Answer<Buffer> {
        self.take(provider, length).map(Buffer).map_err(refused("P2PDMA_USER_ALLOC"))
    }

    fn take(&self, provider: Address, length: u64) -> Result<Arc<Memory>, Errno> {
        if length == 0 || length > i64::MAX as u64 - 4096 {
            return Err(libc::EINVAL);
        }
        let driver = self.driver(provider).ok_or(libc::ENODEV)?;
        if !["nvme", crate::control::DRIVER].contains(&driver.as_str()) {
            return Err(libc::EACCES);
        }
        let pool = self.0.pools.get(&provider).ok_or(libc::ENODEV)?;
        let length = length.next_multiple_of(4096);
        match pool.lend(length, true).map_err(|_| libc::ENOMEM)? {
            Ok((fd, lease)) => Memory::new(&self.0, provider, Arc::clone(pool), fd.into(), length, Some(lease)),
            Err(Lack::Gone) => Err(libc::ENODEV),
            Err(Lack::Free(_)) => Err(libc::ENOSPC),
        }
    }

    pub(in crate::machine) fn register(&self, provider: Address, dmabuf: BorrowedFd<'_>) -> Answer<Buffer> {
        self.import(provider, dmabuf).map(Buffer).map_err(refused("P2PDMA_USER_REGISTER"))
    }

    fn import(&self, provider: Address, dmabuf: BorrowedFd<'_>) -> Result<Arc<Memory>, Errno> {
        let (stat, _) = opened(dmabuf)?;
        let owner = self.0.exports.get(&(stat.st_dev, stat.st_ino)).ok_or(libc::EINVAL)?;
        self.driver(provider).ok_or(libc::ENODEV)?;
        let pool = self.0.pools.get(&provider).ok_or(libc::ENXIO)?;
        if *owner != provider {
            return Err(libc::EXDEV);
        }
        let fd = dmabuf.try_clone_to_owned().map_err(|error| errno(&error))?;
        Memory::new(&self.0, provider, Arc::clone(pool), fd.into(), stat.st_size.unsigned_abs(), None)
    }

    fn driver(&self, provider: Address) -> Option<String> {
        let directory = self.0.directories.get(&provider)?;
        let facts: &dyn Facts = &*self.0;
        facts.link_name(&format!("{directory}/driver"))
    }
}

impl Memory {
    fn new(
        mock: &Arc<Mock>,
        provider: Address,
        pool: Arc<Pool>,
        file: fs::File,
        length: u64,
        lease: Option<Lease>,
    ) -> Result<Arc<Self>, Errno> {
        let mapped = usize::try_from(length).map_err(|_| libc::ENOMEM)?;
        let map = MmapOptions::new().len(mapped).map_raw(&file).map_err(|error| errno(&error))?;
        mock.counts.buffers.fetch_add(1, Ordering::Relaxed);
        mock.counts.bytes.fetch_add(length, Ordering::Relaxed);
        Ok(Arc::new(Self { mock: Arc::clone(mock), provider, pool, length, file, map, _lease: lease }))
    }

    fn holds(&self, offset: u64, length: u64) -> bool {
        offset.checked_add(length).is_some_and(|end| end <= self.length)
    }

    fn present(&self) -> Result<(), Errno> {
        if self.pool.is_gone() { Err(libc::ENODEV) } else { Ok(()) }
    }

    fn check_copy(&self, offset: u64, length: usize) -> Result<(), Errno> {
        let bounded = (1..=MOST as usize).contains(&length) && self.holds(offset, length as u64);
        if bounded { self.present() } else { Err(libc::EINVAL) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.mock.counts.buffers.fetch_sub(1, Ordering::Relaxed);
        self.mock.counts.bytes.fetch_sub(self.length, Ordering::Relaxed);
    }
}

impl Buffer {
    pub(in crate::machine) fn length(&self) -> u64 {
        self.0.length
    }

    pub(in crate::machine) fn write(&self, offset: u64, from: &[u8]) -> Answer<()> {
        let copied = self.0.check_copy(offset, from.len());
        let copied = copied.and_then(|()| self.0.file.write_all_at(from, offset).map_err(|error| errno(&error)));
        copied.map_err(refused("P2PDMA_USER_COPY"))
    }

    pub(in crate::machine) fn read(&self, offset: u64, to: &mut [u8]) -> Answer<()> {
        let copied = self.0.check_copy(offset, to.len());
        // The provider may go meanwhile, and its memory then ends early.
        let copied = copied.and_then(|()| self.0.file.read_exact_at(to, offset).map_err(|_| libc::ENODEV));
        copied.map_err(refused("P2PDMA_USER_COPY"))
    }

    pub(in crate::machine) fn bind(&self, file: BorrowedFd<'_>) -> Answer<Pair> {
        let binding = self.check(file).and_then(|bound| {
            let file = file.try_clone_to_owned().map_err(|error| errno(&error))?;
            let end = device_end(&file);
            Ok(Binding { memory: Arc::clone(&self.0), file: file.into(), end, bound })
        });
        let binding = binding.map_err(refused("P2PDMA_USER_BIND"))?;
        self.0.mock.counts.pairs.fetch_add(1, Ordering::Relaxed);
        Ok(Pair(Arc::new(binding)))
    }

    /// In the order in which `kmod/pair.c` asks.
    fn check(&self, file: BorrowedFd<'_>) -> Result<Bound, Errno> {
        let Memory { mock, provider, .. } = &*self.0;
        let (stat, flags) = opened(file)?;
        if !is(&stat, SFlag::S_IFREG) && !is(&stat, SFlag::S_IFBLK) {
            return Err(libc::EINVAL);
        }
        let known = mock.file_of(file);
        let direct = flags.contains(OFlag::O_DIRECT) || known.is_some() && !could_be_direct(file);
        if !direct || flags.contains(OFlag::O_APPEND) {
            return Err(libc::EINVAL);
        }
        // Whatever else is open lies on no device of this machine.
        let known = known.ok_or(libc::EOPNOTSUPP)?;
        self.0.present()?;
        let provider = mock.directories.get(provider).ok_or(libc::ENODEV)?;
        let distance = mock.distance_to(provider, known)?;
        let access = flags & OFlag::O_ACCMODE;
        Ok(Bound {
            readable: access != OFlag::O_WRONLY,
            writable: access != OFlag::O_RDONLY,
            memory_alignment: 4,
            offset_alignment: known.block,
            distance,
        })
    }
}

impl Pair {
    pub(in crate::machine) fn bound(&self) -> Bound {
        self.0.bound
    }

    /// What the module refuses before it asks the file. Kernel: `io_prepare` in `kmod/io.c`.
    pub(in crate::machine) fn check(&self, transfer: Transfer) -> Result<(), Errno> {
        let Binding { memory, bound, .. } = &*self.0;
        let Transfer { direction, offset, position, length } = transfer;
        let allowed = match direction {
            Direction::Read => bound.readable,
            Direction::Write => bound.writable,
        };
        if !allowed {
            return Err(libc::EBADF);
        }
        let block = u64::from(bound.offset_alignment);
        let aligned = offset % u64::from(bound.memory_alignment) == 0 && position % block == 0;
        let aligned = aligned && u64::from(length) % block == 0;
        let end = position.checked_add(length.into()).is_some_and(|end| i64::try_from(end).is_ok());
        if length == 0 || length > MOST || !memory.holds(offset, length.into()) || !aligned || !end {
            return Err(libc::EINVAL);
        }
        memory.present()
    }

    /// Where in this process its buffer lies. The caller must have found the offset within it.
    pub(in crate::machine) fn address(&self, offset: u64) -> *mut u8 {
        self.0.memory.map.as_mut_ptr().wrapping_add(usize::try_from(offset).unwrap_or(0))
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.0.memory.mock.counts
    }

    pub(in crate::machine) fn io(&self, transfer: Transfer) -> Answer<Moved> {
        let moved = self.check(transfer).and_then(|()| self.transfer(transfer));
        moved.map(|bytes| Moved { bytes, buffered: false }).map_err(refused("P2PDMA_USER_IO"))
    }

    fn transfer(&self, transfer: Transfer) -> Result<u32, Errno> {
        let Binding { memory, file, end, .. } = &*self.0;
        let Transfer { direction, offset, position, length } = transfer;
        let ((from, start), (to, target)) = match direction {
            Direction::Read => ((file, position), (&memory.file, offset)),
            Direction::Write => ((&memory.file, offset), (file, position)),
        };
        let length = match direction {
            Direction::Write => within(*end, position, length)?,
            Direction::Read => length,
        };
        let mut bytes = vec![0; length as usize];
        let mut done = 0;
        while done < bytes.len() {
            match from.read_at(&mut bytes[done..], start + done as u64).map_err(|error| errno(&error))? {
                0 => break,
                more => done += more,
            }
        }
        to.write_all_at(&bytes[..done], target).map_err(|error| errno(&error))?;
        Ok(u32::try_from(done).unwrap_or(length))
    }
}

/// What a device takes of a write (`blkdev_write_iter` in block/fops.c): none behind its end, and up to there else.
pub(super) fn within(end: Option<u64>, position: u64, length: u32) -> Result<u32, Errno> {
    match end {
        Some(end) if position >= end => Err(libc::ENOSPC),
        Some(end) => Ok(u32::try_from(end - position).map_or(length, |rest| rest.min(length))),
        None => Ok(length),
    }
}

impl AsFd for Pair {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        self.memory.mock.counts.pairs.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is open for input or output.
fn opened(fd: BorrowedFd<'_>) -> Result<(FileStat, OFlag), Errno> {
    let flags = fcntl(fd, FcntlArg::F_GETFL).map(OFlag::from_bits_retain).map_err(|errno| errno as Errno)?;
    if flags.contains(OFlag::O_PATH) {
        return Err(libc::EBADF);
    }
    fstat(fd).map(|stat| (stat, flags)).map_err(|errno| errno as Errno)
}

fn is(stat: &FileStat, kind: SFlag) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == kind.bits()
}
