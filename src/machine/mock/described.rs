//! A mock machine from a snapshot: a recording to run on, or a description written by hand.

use std::path::PathBuf;

use super::{BLOCK, Mock, Pool, pattern};
use crate::{
    Result,
    machine::{DeviceNumber, Facts, FileKind, P2pmem, Snapshot},
    pci::Address,
};

/// What a mock SSD holds at most, in bytes, however long the one was that was recorded.
const MOST: u64 = 16 << 20;

impl Mock {
    /// A machine that says what a snapshot says, with memory behind its devices: every NVMe namespace is an SSD of at most
    /// 16 MiB, as [`ssd`](Self::ssd) makes them, and every device with peer memory is a provider.
    ///
    /// ```
    /// use p2pdma::{machine::{Access, Machine, Mock, Snapshot}, storage::File, topology::Topology};
    /// let description = "\
    /// p2pdma machine 1
    /// complete
    /// /sys/bus/pci/devices/0000:01:00.0 link /sys/devices/pci0000:00/0000:01:00.0
    /// /sys/devices/pci0000:00/0000:01:00.0/class read = 0x010802
    /// /sys/devices/pci0000:00/0000:01:00.0/vendor read = 0x1b36
    /// /sys/devices/pci0000:00/0000:01:00.0/device read = 0x0010
    /// /sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1/dev read = 259:0
    /// /sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1/size read = 2048
    /// ";
    /// let machine = Machine::mock(Mock::described(description.parse::<Snapshot>()?)?);
    /// assert_eq!(Topology::scan(&machine)?.clients().count(), 1);
    /// assert_eq!(File::open(&machine, "/dev/nvme0n1", Access::Read)?.size(), 1 << 20);
    /// # Ok::<(), p2pdma::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) when the memory for the SSDs cannot be had.
    pub fn described(snapshot: Snapshot) -> Result<Self> {
        let mut mock = Self { facts: snapshot, ..Self::empty() };
        let names = mock.facts.list("/sys/bus/pci/devices").unwrap_or_default();
        for address in names.iter().filter_map(|name| name.parse().ok()) {
            mock.describe(address)?;
        }
        Ok(mock)
    }

    fn describe(&mut self, address: Address) -> Result<()> {
        let Ok(directory) = self.facts.link(&format!("/sys/bus/pci/devices/{address}")) else { return Ok(()) };
        let pool = P2pmem::read(&self.facts, &directory).and_then(|p2pmem| p2pmem.size).filter(|&size| size > 0);
        self.pools.extend(pool.map(|size| (address, Pool::new(size))));
        let list = |path: &str| self.facts.list(path).unwrap_or_default();
        let controllers = list(&format!("{directory}/nvme")).into_iter().map(|name| format!("{directory}/nvme/{name}"));
        let blocks = controllers.flat_map(|above| list(&above).into_iter().map(move |name| (above.clone(), name)));
        let blocks: Vec<(String, String)> = blocks.collect();
        self.directories.insert(address, directory);
        blocks.into_iter().try_for_each(|(above, name)| self.namespace(&format!("{above}/{name}"), &name))
    }

    /// What has no number and no size is no block device.
    fn namespace(&mut self, directory: &str, name: &str) -> Result<()> {
        let facts: &dyn Facts = &self.facts;
        let number = facts.text(&format!("{directory}/dev")).and_then(|text| device_number(&text));
        let (Some(number), Some(sectors)) = (number, facts.number(&format!("{directory}/size"))) else { return Ok(()) };
        let block = facts.number(&format!("{directory}/queue/logical_block_size")).and_then(|n| u32::try_from(n).ok());
        let block = block.filter(|block| block.is_power_of_two() && (BLOCK..=65536).contains(block)).unwrap_or(BLOCK);
        let length = sectors.saturating_mul(512).min(MOST);
        self.facts.file(format!("{directory}/size"), format!("{}\n", length / 512));
        self.add_file(&PathBuf::from(format!("/dev/{name}")), FileKind::Block(number), block, &pattern(length))
    }
}

/// As sysfs prints it: `259:0`.
fn device_number(text: &str) -> Option<DeviceNumber> {
    let (major, minor) = text.split_once(':')?;
    Some(DeviceNumber { major: major.parse().ok()?, minor: minor.parse().ok()? })
}
