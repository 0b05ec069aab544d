//! The storage side of a pair: what a verdict judges.

use std::{fmt, io, path::Path};

use super::{Evidence, Layer, LayerKind, Stack, block::Descent, namespaces};
use crate::{
    Error, Refusal, Result,
    error::quoted,
    machine::{Access, DioAlignment, Facts, FileFacts, FileKind, InodeFlags, Machine, not_a_file, not_opened},
    pci::Address,
};

/// A file, a block device or an NVMe function, as far as facts tell. An open [`File`](super::File) has one; block devices
/// and functions can be looked at without opening anything.
#[derive(Debug, Clone)]
pub struct Source {
    pub(super) machine: Machine,
    pub(super) name: String,
    pub(super) stack: Stack,
    pub(crate) dio: Option<DioAlignment>,
    pub(crate) flags: Option<InodeFlags>,
    pub(crate) access: Access,
    pub(crate) size: Option<u64>,
    pub(crate) has_holes: bool,
    pub(super) buffered: bool,
}

impl Source {
    /// A block device by its path, by facts alone. Access is taken to be for reading.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when facts know no such block device.
    pub fn of_block_device(machine: &Machine, path: &str) -> Result<Self> {
        let layer = Descent::new(machine.facts()).device(path).ok_or_else(|| unknown(path))?;
        Ok(Self::of_layer(machine, path.to_owned(), layer))
    }

    /// An NVMe function: its first namespace, or the multipath head that hides it, or itself where it has neither.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is no such PCI function; [`Error::Invalid`] when it is no NVMe controller.
    pub fn of_function(machine: &Machine, function: Address) -> Result<Self> {
        let facts = machine.facts();
        let directory = facts.link(&format!("/sys/bus/pci/devices/{function}")).map_err(|_| unknown(function))?;
        if facts.hex(&format!("{directory}/class")) != Some(NVME) {
            let cure = "name an NVMe function, a block device or a file; see `p2pbench topo`";
            return Err(Error::Invalid(Refusal::new(function, "it is no NVMe controller", cure)));
        }
        let heads = namespaces::names(facts, function).into_iter().filter_map(|name| namespaces::head_of(&name));
        let names = namespaces(machine, function).into_iter().map(|path| path.display().to_string());
        let name = names.chain(heads.map(|head| format!("/dev/{head}"))).next();
        let layer = name.and_then(|name| Descent::new(facts).device(&name));
        let layer = layer.unwrap_or_else(|| controller(facts, function, &directory));
        Ok(Self::of_layer(machine, function.to_string(), layer))
    }

    /// A file by its path, as far as the machine says what it would find on opening it with `O_DIRECT` for reading. Nothing
    /// stays open, and a recorded machine answers too, if the file was recorded.
    ///
    /// # Errors
    ///
    /// As [`File::open`](super::File::open); [`Error::NotAllowed`] when the file was not recorded.
    pub fn of_file(machine: &Machine, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let said = path
            .to_str()
            .map_or_else(|| Err(io::Error::from_raw_os_error(libc::EILSEQ)), |path| machine.facts().opened(path));
        let said = said.map_err(|error| not_opened(path, error))?;
        let kind = said.kind.ok_or_else(|| not_a_file(path))?;
        Ok(Self::of_facts(machine, path.display().to_string(), Access::Read, kind, &said))
    }

    pub(super) fn of_facts(machine: &Machine, name: String, access: Access, kind: FileKind, said: &FileFacts) -> Self {
        let mut descent = Descent::new(machine.facts());
        let stack = Stack::new(match kind {
            FileKind::Block(number) => descent.number(number),
            FileKind::Regular(number) => descent.filesystem_of(number, said),
        });
        Self {
            machine: machine.clone(),
            name,
            dio: alignment(said, &stack, access),
            stack,
            flags: said.flags,
            access,
            size: Some(said.size),
            has_holes: said.hole.is_some_and(|hole| hole < said.size),
            buffered: false,
        }
    }

    fn of_layer(machine: &Machine, name: String, layer: Layer) -> Self {
        let narrow = |bytes: Option<u64>| bytes.and_then(|bytes| u32::try_from(bytes).ok());
        let (memory, offset) = (narrow(layer.limits.memory_alignment), narrow(layer.limits.logical_block));
        Self {
            machine: machine.clone(),
            name,
            dio: memory.zip(offset).map(|(memory, offset)| DioAlignment { memory, offset }),
            stack: Stack::new(layer),
            flags: None,
            access: Access::Read,
            size: None,
            has_holes: false,
            buffered: false,
        }
    }

    /// The machine it is on.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// What lies below it.
    #[must_use]
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// What direct I/O on it asks for; `None` where nothing tells.
    #[must_use]
    pub fn dio_alignment(&self) -> Option<DioAlignment> {
        self.dio
    }

    /// The inode's flags; `None` of a block device, and where the filesystem does not say.
    #[must_use]
    pub fn inode_flags(&self) -> Option<InodeFlags> {
        self.flags
    }

    /// What it is opened for.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access
    }

    /// Length in bytes when it was opened; `None` when it was not opened.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Whether a part of the file held no data when it was opened: the kernel fills such parts in by CPU when they are
    /// read (`iomap_dio_hole_iter`, fs/iomap/direct-io.c).
    #[must_use]
    pub fn has_holes(&self) -> bool {
        self.has_holes
    }

    /// Whether it is open without `O_DIRECT`, so that its bytes go through the page cache.
    #[must_use]
    pub fn is_buffered(&self) -> bool {
        self.buffered
    }
}

/// What two filesystems copy by CPU that is aligned as they ask: see [`File::dio_alignment`](super::File::dio_alignment).
fn alignment(said: &FileFacts, stack: &Stack, access: Access) -> Option<DioAlignment> {
    match (stack.filesystem().map(|mount| mount.kind.as_str()), said.dio) {
        (Some("btrfs"), None) => said.block.map(|block| DioAlignment { memory: block, offset: block }),
        (Some("xfs"), Some(dio)) if access == Access::ReadWrite => {
            Some(DioAlignment { offset: dio.offset.max(said.block?), ..dio })
        }
        (_, dio) => dio,
    }
}

/// A function that shows nothing to read: what its driver is, and what that says.
fn controller(facts: &dyn Facts, function: Address, directory: &str) -> Layer {
    let path = format!("/sys/bus/pci/devices/{function}");
    let driver = facts.link_name(&format!("{directory}/driver"));
    let name = facts.list(&format!("{directory}/nvme")).ok().and_then(|names| names.into_iter().next());
    let state = name.and_then(|name| {
        let value = facts.text(&format!("{directory}/nvme/{name}/state"))?;
        Some(Evidence::new(format!("{path}/nvme/{name}/state"), value))
    });
    let seen = Evidence::new(format!("{path}/driver"), driver.as_deref().unwrap_or("none"));
    let kind = LayerKind::Controller { function, driver, state: state.as_ref().map(|state| state.value.clone()) };
    Layer { evidence: [seen].into_iter().chain(state).collect(), ..Layer::new(function.to_string(), kind) }
}

/// The class of an NVMe controller with the NVM command set.
const NVME: u64 = 0x01_0802;

fn unknown(name: impl fmt::Display) -> Error {
    Error::NotFound(Refusal::new(name, "no such block device or PCI function", "see `p2pbench topo`"))
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl AsRef<Source> for Source {
    fn as_ref(&self) -> &Source {
        self
    }
}

/// The cure for a file with holes, or with parts that were preallocated and hold no data: a clone would have the same.
pub(crate) fn copy_without_holes(file: impl fmt::Display) -> String {
    let (file, copy) = (quoted(&file.to_string()), quoted(&format!("{file}.copy")));
    format!("copy it: `cp --reflink=never --sparse=never {file} {copy}`")
}
