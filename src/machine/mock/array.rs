//! SSDs below one block device.

use std::path::{Path, PathBuf};

use nix::sys::stat::fstat;

use super::{BLOCK, Mock, file::MockFile, pattern, route, seam::no_file};
use crate::{
    Result,
    control::STACK,
    machine::{
        Facts,
        file::{DeviceNumber, FileKind},
    },
};

/// The major number of md devices (Documentation/admin-guide/devices.txt).
const MD: u64 = 9;

impl Mock {
    /// Adds a striped array (md RAID 0) over SSDs, `/dev/md<N>`, as long as all of them together. Its bytes are its own: what is
    /// written to it is not found on the SSDs. As on Linux 6.12 it takes no mapped peer memory, and a buffer of the module's only
    /// where root has named the NVMe functions below: in the fact `/sys/bus/pci/drivers/p2pdma_user/stack`.
    ///
    /// ```
    /// use p2pdma::machine::{Mock, mock::Cpu};
    /// let mut mock = Mock::one_switch(Cpu::AmdZen)?;
    /// assert_eq!(mock.raid0(&["/dev/nvme0n1", "/dev/nvme1n1"])?.to_str(), Some("/dev/md0"));
    /// mock.facts_mut().file("/sys/bus/pci/drivers/p2pdma_user/stack", "9:0=0000:03:00.0,0000:04:00.0\n");
    /// # Ok::<(), p2pdma::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound) when there is no such SSD; [`Error::Io`](crate::Error::Io) when the memory
    /// cannot be had.
    pub fn raid0(&mut self, ssds: &[impl AsRef<Path>]) -> Result<PathBuf> {
        let minor = self.devices(MD);
        let (name, number) = (format!("md{minor}"), DeviceNumber { major: MD, minor });
        let directory = format!("/sys/devices/virtual/block/{name}");
        let mut length = 0;
        for path in ssds {
            let ssd = self.files.get(path.as_ref()).ok_or_else(|| no_file(path.as_ref()))?;
            length += fstat(&ssd.fd).map_or(0, |stat| stat.st_size.unsigned_abs());
            let below = self.block_directory(ssd).ok_or_else(|| no_file(path.as_ref()))?;
            let slave = format!("{directory}/slaves/{}", below.rsplit('/').next().unwrap_or_default());
            self.facts.symlink(slave, below);
        }
        self.facts.file(format!("{directory}/md/level"), "raid0\n");
        self.block_device(&name, number, directory, length)
    }

    /// Adds `/dev/NAME`, with what every block device says of itself.
    pub(super) fn block_device(
        &mut self,
        name: &str,
        number: DeviceNumber,
        directory: String,
        length: u64,
    ) -> Result<PathBuf> {
        self.facts
            .file(format!("{directory}/dev"), format!("{number}\n"))
            .file(format!("{directory}/size"), format!("{}\n", length / 512))
            .file(format!("{directory}/queue/logical_block_size"), format!("{BLOCK}\n"))
            .file(format!("{directory}/queue/dma_alignment"), "3\n")
            .symlink(format!("/sys/dev/block/{number}"), directory.clone())
            .symlink(format!("/sys/class/block/{name}"), directory);
        let path = PathBuf::from(format!("/dev/{name}"));
        self.add_file(&path, FileKind::Block(number), BLOCK, &pattern(length))?;
        Ok(path)
    }

    /// How many block devices with this major number there are.
    pub(super) fn devices(&self, major: u64) -> u64 {
        let is = |file: &&MockFile| matches!(file.kind, FileKind::Block(number) if number.major == major);
        self.files.values().filter(is).count() as u64
    }

    /// Where sysfs has the device that a file lies on.
    fn block_directory(&self, file: &MockFile) -> Option<String> {
        self.facts.link(&format!("/sys/dev/block/{}", file.kind.device())).ok()
    }

    /// Whether the queue of the device that a file lies on takes mapped peer memory: that of an SSD does.
    pub(super) fn takes_peer_memory(&self, file: &MockFile) -> bool {
        file.kind.device().major != MD
    }

    /// The kernel's distance from a provider to a file; of an array, the largest to a function that root named.
    /// Kernel module: `route_check` in `kmod/route.c`, and its errnos.
    pub(super) fn distance_to(&self, provider: &str, file: &MockFile) -> std::result::Result<u32, i32> {
        let distance = |client: &str| route::distance(&self.facts, provider, client).ok_or(libc::EREMOTEIO);
        if self.takes_peer_memory(file) {
            let directory = self.block_directory(file).ok_or(libc::EOPNOTSUPP)?;
            return distance(directory.split("/nvme/").next().unwrap_or_default());
        }
        let facts: &dyn Facts = &self.facts;
        let text = facts.text(STACK).ok_or(libc::EOPNOTSUPP)?;
        let number = file.kind.device().to_string();
        let mut stacks = text.lines().filter_map(|line| line.split_once('='));
        let (_, named) = stacks.find(|(stack, _)| *stack == number).ok_or(libc::EOPNOTSUPP)?;
        let clients = named.split(',').map(|name| name.parse().ok().and_then(|client| self.directories.get(&client)));
        let mut distances = clients.map(|client| distance(client.ok_or(libc::EREMOTEIO)?));
        distances.try_fold(0, |most, distance| Ok(most.max(distance?)))
    }
}
