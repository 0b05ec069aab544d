//! A PCIe machine without hardware: generated facts, memfds for SSDs, files and peer memory.
//!
//! What is real: every line of the crate above the seam, io_uring, mappings, errno. What is not: devices. Bytes move by
//! CPU, so a figure that was measured here measures nothing but this crate; whatever prints one says MOCK.

mod array;
mod described;
mod fault;
mod file;
mod function;
mod held;
mod late;
mod module;
mod pool;
mod ring;
mod route;
mod seam;

use std::{
    collections::BTreeMap,
    fmt,
    os::fd::{BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

pub use fault::Fault;
pub use function::{Function, Port};

use super::{
    file::{DeviceNumber, FileKind, memfd},
    snapshot::Snapshot,
};
use crate::{Error, Result, pci::Address};
use fault::Script;
use file::{Caches, MockFile, inode};
use module::Counts;
pub(super) use module::{Buffer, Node, Pair};
use pool::Pool;
use seam::no_file;

/// The logical block of every mock SSD, in bytes.
const BLOCK: u32 = 512;

/// The major number of NVMe namespaces, as the kernel gives it (`BLOCK_EXT_MAJOR`).
const NVME: u64 = 259;

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
pub struct Mock {
    facts: Snapshot,
    /// Where each function's directory is, to hang children below it.
    directories: BTreeMap<Address, String>,
    files: BTreeMap<PathBuf, MockFile>,
    pools: BTreeMap<Address, Arc<Pool>>,
    script: Arc<Script>,
    /// What the module's users hold.
    counts: Counts,
    /// The errno with which the module's node does not open.
    no_module: Option<i32>,
    /// Whose memory it is that stands behind what [`export`](Mock::export) gave, by inode.
    exports: BTreeMap<(libc::dev_t, libc::ino_t), Address>,
}

impl Mock {
    /// A machine with a processor and a host bridge, `pci0000:00`, and nothing below it.
    #[must_use]
    pub fn new(cpu: Cpu) -> Self {
        let mut mock = Self::empty();
        let (cpuinfo, vendor, device) = match cpu {
            Cpu::AmdZen => ("processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 23\n", 0x1022, 0x1480),
            Cpu::IntelUnlisted => ("processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\n", 0x8086, 0x29c0),
        };
        mock.facts.file("/proc/cpuinfo", cpuinfo).file("/proc/sys/kernel/osrelease", "6.12.0-mock\n");
        mock.facts.file("/sys/module/p2pdma_user/refcnt", "0\n");
        mock.facts.file("/sys/module/p2pdma_user/version", "0.1.0\n");
        mock.function(&Function::new(at(0, 0), vendor, device, 0x06_0000));
        mock
    }

    fn empty() -> Self {
        Self {
            facts: Snapshot::new(),
            directories: BTreeMap::new(),
            files: BTreeMap::new(),
            pools: BTreeMap::new(),
            script: Arc::default(),
            counts: Counts::default(),
            no_module: None,
            exports: BTreeMap::new(),
        }
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
        let index = self.devices(NVME);
        let name = format!("nvme{index}n1");
        let number = DeviceNumber { major: NVME, minor: index };
        let directory = format!("{}/nvme/nvme{index}/{name}", self.directories[&address]);
        self.block_device(&name, number, directory, length)
    }

    /// Adds a device bound to the `p2pdma_user` driver with a pool of `length` bytes of peer memory.
    pub fn provider(&mut self, address: Address, parent: Option<Address>, length: u64) -> &mut Self {
        self.function(&Function::provider(address, parent, length));
        self.pools.insert(address, Pool::new(length));
        self
    }

    /// Adds a regular file that lies on the SSD `on` (a path that [`ssd`](Self::ssd) gave).
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is no such SSD; [`Error::Io`] when the memory cannot be had.
    pub fn file(&mut self, path: impl AsRef<Path>, on: impl AsRef<Path>, content: &[u8]) -> Result<()> {
        let ssd = self.files.get(on.as_ref()).ok_or_else(|| no_file(on.as_ref()))?;
        let (kind, block) = (FileKind::Regular(ssd.kind.device()), ssd.block);
        self.add_file(path.as_ref(), kind, block, content)
    }

    /// Lets an operation fail. `operation` counts from 0 over all queues of the machine, in the order in which they take
    /// operations.
    ///
    /// ```
    /// use p2pdma::{machine::{Access, Machine, Mock, mock::{Cpu, Fault}}, memory::HostMemory, storage::File, transfer::Queue};
    /// let mut mock = Mock::one_switch(Cpu::AmdZen)?;
    /// mock.fault(0, Fault::Errno(5)).fault(1, Fault::Short(512));
    /// let machine = Machine::mock(mock);
    /// let file = File::open(&machine, "/dev/nvme0n1", Access::Read)?;
    /// let memory = HostMemory::allocate(4096)?;
    /// let mut queue = Queue::new(&machine, Default::default())?;
    /// let pair = queue.bind_host(&file)?;
    /// queue.read(&pair, 0, memory.all())?;
    /// assert_eq!(queue.wait()?.errno(), Some(5));
    /// queue.read(&pair, 0, memory.all())?;
    /// assert_eq!(queue.wait()?.bytes(), 512);
    /// # Ok::<(), p2pdma::Error>(())
    /// ```
    pub fn fault(&mut self, operation: u64, fault: Fault) -> &mut Self {
        // The script has one owner until the mock becomes a machine, which takes it by value.
        if let Some(script) = Arc::get_mut(&mut self.script) {
            script.add(operation, fault);
        }
        self
    }

    /// Takes the `p2pdma_user` module away: its node answers this errno, 2 (`ENOENT`) where it is not loaded, so that
    /// `/sys/module` has nothing of it either, 13 (`EACCES`) where this user may not use it.
    ///
    /// ```
    /// use p2pdma::machine::{Machine, Mock, mock::Cpu};
    /// let mut mock = Mock::one_switch(Cpu::AmdZen)?;
    /// mock.without_module(2);
    /// let refused = Machine::mock(mock).module().unwrap_err();
    /// assert!(refused.to_string().ends_with("load it: `modprobe p2pdma_user`"));
    /// # Ok::<(), p2pdma::Error>(())
    /// ```
    pub fn without_module(&mut self, errno: i32) -> &mut Self {
        self.no_module = Some(errno);
        self
    }

    /// Memory of a device that its driver exports, as a GPU's does: what stands for a dma-buf. It reads and writes like a
    /// file, which is the device's own view of its memory.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the memory cannot be had.
    pub fn export(&mut self, provider: Address, length: u64) -> Result<OwnedFd> {
        let fd = memfd(c"p2pdma mock dma-buf", length)?;
        let failed = |errno: nix::errno::Errno| Error::syscall("fstat", provider, errno.into(), "see the errno");
        let stat = nix::sys::stat::fstat(&fd).map_err(failed)?;
        self.exports.insert((stat.st_dev, stat.st_ino), provider);
        Ok(fd)
    }

    fn add_file(&mut self, path: &Path, kind: FileKind, block: u32, content: &[u8]) -> Result<()> {
        self.files.insert(path.to_owned(), MockFile::new(path, kind, block, content)?);
        Ok(())
    }

    /// The file that a descriptor has open.
    fn file_of(&self, fd: BorrowedFd<'_>) -> Option<&MockFile> {
        self.files.values().find(|file| file.is(fd))
    }

    /// By inode, what stands for the page cache of each file.
    fn caches(&self) -> Caches {
        self.files.values().filter_map(|file| Some((inode(&file.fd)?, Arc::clone(&file.cached)))).collect()
    }
}

/// Not the facts: they would be pages of numbers.
impl fmt::Debug for Mock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { directories, files, .. } = self;
        let (functions, files) = (directories.keys(), files.keys());
        let mut list = f.debug_list();
        list.entries(functions.map(Address::to_string)).entries(files).finish()
    }
}

/// In domain 0, function 0.
fn at(bus: u8, device: u8) -> Address {
    Address { domain: 0, bus, device, function: 0 }
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
    use crate::machine::{Access, Seam};

    #[test]
    fn the_mock_has_files_only_where_it_says() {
        let mock = Mock::one_switch(Cpu::AmdZen).unwrap();
        let file = mock.open(Path::new("/dev/nvme1n1"), Access::Read).unwrap();
        assert_eq!(file.size, 16 << 20);
        assert!(matches!(mock.open(Path::new("/dev/nvme2n1"), Access::Read), Err(Error::NotFound(_))));
    }
}
