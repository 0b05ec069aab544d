//! A PCIe machine without hardware: generated facts, memfds for SSDs, files and peer memory.
//!
//! What is real: every line of the crate above the seam, io_uring, mappings, errno. What is not: devices. Bytes move by
//! CPU, so a figure that was measured here measures nothing but this crate; whatever prints one says MOCK.

mod function;

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

pub use function::{Function, Port};

use super::{
    Backing, MachineKind, Seam,
    facts::Facts,
    file::{Access, DeviceNumber, DioAlignment, FileKind, OpenFile, memfd},
    ring::{KernelRing, Ring},
    snapshot::Snapshot,
};
use crate::{Error, Refusal, Result, pci::Address};

/// The logical block of every mock SSD, in bytes.
const BLOCK: u32 = 512;

/// The processor, as far as the kernel's p2pdma looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cpu {
    /// AMD of family 0x17 or newer: every route through its host bridge is allowed.
    AmdZen,
    /// Intel below a host bridge (8086:29c0) that the kernel's list lacks.
    IntelUnlisted,
}

/// A machine without hardware, to be handed to [`Machine::mock`](super::Machine::mock).
///
/// ```
/// use p2pdma::machine::{Machine, Mock, mock::Cpu};
/// let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen)?);
/// assert_eq!(machine.kind().to_string(), "mock");
/// # Ok::<(), p2pdma::Error>(())
/// ```
#[derive(Debug)]
pub struct Mock {
    facts: Snapshot,
    /// Where each function's directory is, to hang children below it.
    directories: BTreeMap<Address, String>,
    files: BTreeMap<PathBuf, MockFile>,
    pools: BTreeMap<Address, Arc<Pool>>,
}

#[derive(Debug)]
struct MockFile {
    fd: OwnedFd,
    kind: FileKind,
    size: u64,
}

/// A provider's memory: only its accounts; the bytes are in a memfd for each allocation.
#[derive(Debug)]
struct Pool {
    size: u64,
    used: AtomicU64,
}

/// An allocation's share of its pool, given back on drop.
struct Lease {
    pool: Arc<Pool>,
    length: u64,
}

impl Mock {
    /// A machine with a processor and a host bridge, `pci0000:00`, and nothing below it.
    #[must_use]
    pub fn new(cpu: Cpu) -> Self {
        let mut mock = Self {
            facts: Snapshot::new(),
            directories: BTreeMap::new(),
            files: BTreeMap::new(),
            pools: BTreeMap::new(),
        };
        let (cpuinfo, vendor, device) = match cpu {
            Cpu::AmdZen => ("processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 23\n", 0x1022, 0x1480),
            Cpu::IntelUnlisted => ("processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\n", 0x8086, 0x29c0),
        };
        mock.facts.file("/proc/cpuinfo", cpuinfo).file("/proc/sys/kernel/osrelease", "6.12.0-mock\n");
        mock.function(&Function::new(at(0, 0), vendor, device, 0x06_0000));
        mock
    }

    /// Two SSDs and a device with peer memory below one switch:
    ///
    /// ```text
    /// 0000:00:01.0 root port
    /// `- 0000:01:00.0 upstream port
    ///    |- 0000:02:00.0 downstream port - 0000:03:00.0 SSD /dev/nvme0n1
    ///    |- 0000:02:01.0 downstream port - 0000:04:00.0 SSD /dev/nvme1n1
    ///    `- 0000:02:02.0 downstream port - 0000:05:00.0 peer memory, 64 MiB
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the memory for the SSDs cannot be had.
    pub fn one_switch(cpu: Cpu) -> Result<Self> {
        let mut mock = Self::new(cpu);
        mock.function(&Function::port(at(0, 1), None, Port::Root));
        mock.function(&Function::port(at(1, 0), Some(at(0, 1)), Port::Upstream));
        for device in 0..3 {
            mock.function(&Function::port(at(2, device), Some(at(1, 0)), Port::Downstream));
        }
        mock.ssd(at(3, 0), Some(at(2, 0)), 16 << 20)?;
        mock.ssd(at(4, 0), Some(at(2, 1)), 16 << 20)?;
        mock.provider(at(5, 0), Some(at(2, 2)), 64 << 20);
        Ok(mock)
    }

    /// An SSD and a device with peer memory, each below a root port of its own:
    ///
    /// ```text
    /// 0000:00:01.0 root port - 0000:01:00.0 SSD /dev/nvme0n1
    /// 0000:00:02.0 root port - 0000:02:00.0 peer memory, 64 MiB
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the memory for the SSD cannot be had.
    pub fn root_ports(cpu: Cpu) -> Result<Self> {
        let mut mock = Self::new(cpu);
        mock.function(&Function::port(at(0, 1), None, Port::Root));
        mock.function(&Function::port(at(0, 2), None, Port::Root));
        mock.ssd(at(1, 0), Some(at(0, 1)), 16 << 20)?;
        mock.provider(at(2, 0), Some(at(0, 2)), 64 << 20);
        Ok(mock)
    }

    /// What the machine says of itself, to add to it: an md device, a mount, another kernel.
    pub fn facts_mut(&mut self) -> &mut Snapshot {
        &mut self.facts
    }

    /// Adds a PCI function with whatever it says of itself. A parent that was never added means the root bus.
    pub fn function(&mut self, function: &Function) -> &mut Self {
        let root = "/sys/devices/pci0000:00".to_owned();
        let parent = function.parent.and_then(|parent| self.directories.get(&parent).cloned()).unwrap_or(root);
        let directory = function.write(&mut self.facts, &parent);
        self.directories.insert(function.address, directory);
        self
    }

    /// Adds an NVMe SSD of `length` bytes, `/dev/nvme<N>n1`. Its content is not zero: each 8 bytes hold a number made
    /// of their offset, since zeroes compared with zeroes prove nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the memory cannot be had.
    pub fn ssd(&mut self, address: Address, parent: Option<Address>, length: u64) -> Result<PathBuf> {
        self.function(&Function::nvme(address, parent));
        let index = self.files.values().filter(|file| matches!(file.kind, FileKind::Block(_))).count();
        let name = format!("nvme{index}n1");
        let number = DeviceNumber { major: 259, minor: index as u64 };
        let directory = format!("{}/nvme/nvme{index}/{name}", self.directories[&address]);
        self.facts
            .file(format!("{directory}/dev"), format!("{number}\n"))
            .file(format!("{directory}/size"), format!("{}\n", length / 512))
            .file(format!("{directory}/queue/logical_block_size"), format!("{BLOCK}\n"))
            .symlink(format!("/sys/dev/block/{number}"), directory.clone())
            .symlink(format!("/sys/class/block/{name}"), directory);
        let path = PathBuf::from(format!("/dev/{name}"));
        self.add_file(&path, FileKind::Block(number), &pattern(length))?;
        Ok(path)
    }

    /// Adds a device bound to the `p2pdma_user` driver with a pool of `length` bytes of peer memory.
    pub fn provider(&mut self, address: Address, parent: Option<Address>, length: u64) -> &mut Self {
        self.function(&Function::provider(address, parent, length));
        self.pools.insert(address, Arc::new(Pool { size: length, used: AtomicU64::new(0) }));
        self
    }

    /// Adds a regular file that lies on the SSD `on` (a path that [`ssd`](Self::ssd) gave).
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is no such SSD; [`Error::Io`] when the memory cannot be had.
    pub fn file(&mut self, path: impl AsRef<Path>, on: impl AsRef<Path>, content: &[u8]) -> Result<()> {
        let ssd = self.files.get(on.as_ref()).ok_or_else(|| no_file(on.as_ref()))?;
        let kind = FileKind::Regular(ssd.kind.device());
        self.add_file(path.as_ref(), kind, content)
    }

    fn add_file(&mut self, path: &Path, kind: FileKind, content: &[u8]) -> Result<()> {
        let failed = |source| Error::syscall("pwrite", path.display(), source, "free some memory");
        let size = content.len() as u64;
        let file = fs::File::from(memfd(c"p2pdma mock file", size)?);
        file.write_all_at(content, 0).map_err(failed)?;
        self.files.insert(path.to_owned(), MockFile { fd: file.into(), kind, size });
        Ok(())
    }

    fn pool_of(&self, path: &str) -> Option<&Pool> {
        let directory = path.strip_suffix("/p2pmem/available")?;
        let address = directory.rsplit('/').next()?.parse().ok()?;
        self.pools.get(&address).map(|pool| &**pool)
    }
}

impl Pool {
    fn available(&self) -> u64 {
        self.size - self.used.load(Ordering::Relaxed)
    }

    fn take(self: &Arc<Self>, length: u64) -> io::Result<Lease> {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(length).filter(|&used| used <= self.size)
            })
            .map_err(|_| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Lease { pool: Arc::clone(self), length })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.used.fetch_sub(self.length, Ordering::Relaxed);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} bytes)", self.length)
    }
}

impl Seam for Mock {
    fn kind(&self) -> MachineKind {
        MachineKind::Mock
    }

    fn facts(&self) -> &dyn Facts {
        self
    }

    fn open(&self, path: &Path, _access: Access) -> Result<OpenFile> {
        let file = self.files.get(path).ok_or_else(|| no_file(path))?;
        let failed = |source| Error::syscall("dup", path.display(), source, "raise the limit on open files");
        let fd = file.fd.as_fd().try_clone_to_owned().map_err(failed)?;
        let dio = Some(DioAlignment { memory: 4, offset: BLOCK });
        Ok(OpenFile { fd, kind: file.kind, size: file.size, dio, flags: None })
    }

    fn backing(&self, provider: Address, length: usize) -> Result<Backing> {
        let pool = self.pools.get(&provider).ok_or_else(|| no_file(Path::new(&provider.to_string())))?;
        let lease = pool.take(length as u64).map_err(|_| {
            let cause = format!("{} bytes of its {} are free", pool.available(), pool.size);
            Error::PoolExhausted(Refusal::new(provider, cause, "ask for less, or free other allocations"))
        })?;
        Ok(Backing { fd: memfd(c"p2pdma mock peer memory", length as u64)?, lease: Some(Box::new(lease)) })
    }

    fn ring(&self, depth: u32) -> Result<Box<dyn Ring>> {
        Ok(Box::new(KernelRing::new(depth)?))
    }
}

/// The snapshot, but for the one fact that changes: how much of a pool is free.
impl Facts for Mock {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        match self.pool_of(path) {
            Some(pool) => Ok(format!("{}\n", pool.available()).into_bytes()),
            None => self.facts.read(path),
        }
    }

    fn size(&self, path: &str) -> io::Result<u64> {
        self.facts.size(path)
    }

    fn link(&self, path: &str) -> io::Result<String> {
        self.facts.link(path)
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.facts.list(path)
    }
}

/// In domain 0, function 0.
fn at(bus: u8, device: u8) -> Address {
    Address { domain: 0, bus, device, function: 0 }
}

fn no_file(path: &Path) -> Error {
    Error::NotFound(Refusal::new(path.display(), "the mock machine has no such file or device", "check the name"))
}

/// 8 bytes at a time, a number that tells its offset and is not zero (the multiplier is odd: a bijection).
fn pattern(length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    for (word, index) in bytes.chunks_exact_mut(8).zip(1_u64..) {
        word.copy_from_slice(&index.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_lends_no_more_than_it_has_and_takes_back() {
        let pool = Arc::new(Pool { size: 100, used: AtomicU64::new(0) });
        let lease = pool.take(60).unwrap();
        assert!(pool.take(41).is_err());
        assert_eq!(pool.available(), 40);
        drop(lease);
        assert_eq!(pool.available(), 100);
    }

    #[test]
    fn the_mock_has_files_only_where_it_says() {
        let mock = Mock::one_switch(Cpu::AmdZen).unwrap();
        let file = mock.open(Path::new("/dev/nvme1n1"), Access::Read).unwrap();
        assert_eq!(file.size, 16 << 20);
        assert!(matches!(mock.open(Path::new("/dev/nvme2n1"), Access::Read), Err(Error::NotFound(_))));
    }
}
