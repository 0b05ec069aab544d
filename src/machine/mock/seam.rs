//! What a mock machine answers.

use std::{
    borrow::Cow,
    io,
    ops::Range,
    os::fd::BorrowedFd,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use super::{Mock, module::Node, pool::Lack, ring::MockRing};
use crate::{
    Error, Refusal, Result, control,
    machine::{
        Backing, Facts, MachineKind, Module, Seam,
        file::{Access, FileFacts, OpenFile},
        module::OfModule,
        ring::{KernelRing, Ring, Setup},
    },
    pci::Address,
};

impl Seam for Mock {
    fn kind(&self) -> MachineKind {
        MachineKind::Mock
    }

    fn facts(&self) -> &dyn Facts {
        self
    }

    fn open(&self, path: &Path, access: Access) -> Result<OpenFile> {
        self.files.get(path).ok_or_else(|| no_file(path))?.open(path, access)
    }

    fn backing(&self, provider: Address, length: usize) -> Result<Backing> {
        let pool = self.pools.get(&provider).ok_or_else(|| no_file(Path::new(&provider.to_string())))?;
        match pool.lend(length as u64, !self.script.is_empty())? {
            Ok((fd, lease)) => Ok(Backing { fd, lease: Some(Box::new(lease)) }),
            Err(Lack::Gone) => {
                let path = format!("/sys/bus/pci/devices/{provider}/p2pmem/allocate");
                Err(Error::syscall("open", path, absent(), "bind the provider again"))
            }
            Err(Lack::Free(free)) => {
                let cause = format!("{free} bytes of its {} are free", pool.size);
                Err(Error::PoolExhausted(Refusal::new(provider, cause, "ask for less, or free other allocations")))
            }
        }
    }

    fn module(self: Arc<Self>) -> Result<Module> {
        match self.no_module {
            Some(errno) => Err(control::no_node(io::Error::from_raw_os_error(errno))),
            None => Ok(Module(OfModule::Mock(Node(self)))),
        }
    }

    /// What faults brought into it, wherever: a mock knows no places.
    fn cached(&self, file: BorrowedFd<'_>, _range: Range<u64>) -> Option<u64> {
        Some(self.file_of(file)?.cached.load(Ordering::Relaxed))
    }

    fn ring(&self, setup: Setup) -> Result<Box<dyn Ring>> {
        let kernel = KernelRing::new(setup)?;
        Ok(Box::new(MockRing::new(kernel, setup.depth, Arc::clone(&self.script), self.pools.clone(), self.caches())))
    }
}

/// The snapshot, but for what changes: how much of a pool is free, and what vanishes with a provider.
impl Facts for Mock {
    fn read(&self, path: &str) -> io::Result<Cow<'_, [u8]>> {
        self.still_there(path)?;
        match self.pool_of(path) {
            Some(pool) => Ok(Cow::Owned(format!("{}\n", pool.available()).into_bytes())),
            None => self.facts.read(path),
        }
    }

    fn size(&self, path: &str) -> io::Result<u64> {
        self.still_there(path)?;
        self.facts.size(path)
    }

    fn link(&self, path: &str) -> io::Result<String> {
        self.still_there(path)?;
        self.facts.link(path)
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.still_there(path)?;
        let mut names = self.facts.list(path)?;
        names.retain(|name| self.still_there(&format!("{path}/{name}")).is_ok());
        Ok(names)
    }

    fn opened(&self, path: &str) -> io::Result<FileFacts> {
        match Seam::open(self, Path::new(path), Access::Read) {
            Ok(open) => Ok(FileFacts::of(&open, self)),
            Err(_) => self.facts.opened(path),
        }
    }
}

/// Where a module shows that it is loaded.
const LOADED: &str = "/sys/module/p2pdma_user";

fn absent() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOENT)
}

pub(super) fn no_file(path: &Path) -> Error {
    Error::NotFound(Refusal::new(path.display(), "the mock machine has no such file or device", "check the name"))
}

impl Mock {
    fn pool_of(&self, path: &str) -> Option<&super::Pool> {
        let directory = path.strip_suffix("/p2pmem/available")?;
        let address = directory.rsplit('/').next()?.parse().ok()?;
        self.pools.get(&address).map(|pool| &**pool)
    }

    /// A device without driver gives no memory: both leave sysfs when a provider is unbound. A module that is not loaded has
    /// no directory.
    fn still_there(&self, path: &str) -> io::Result<()> {
        if self.no_module == Some(libc::ENOENT) && Path::new(path).starts_with(LOADED) {
            return Err(absent());
        }
        let mut parts = path.split('/').rev().skip_while(|part| !matches!(*part, "p2pmem" | "driver")).skip(1);
        let address = parts.next().and_then(|part| part.parse::<Address>().ok());
        let gone = address.and_then(|address| self.pools.get(&address)).is_some_and(|pool| pool.is_gone());
        if gone { Err(absent()) } else { Ok(()) }
    }
}
