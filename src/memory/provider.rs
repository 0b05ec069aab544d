//! A device whose memory is used.

use std::os::fd::AsFd;

use crate::{
    Error, Refusal, Result, control,
    machine::{Facts, Machine, P2pmem},
    memory::{Hooks, PeerMemory, config::lacks_p2pdma},
    pci::Address,
};

/// Drivers whose pool may be allocated from. Any other pool may hold live memory: NVIDIA's driver gives all of BAR 1 to p2pdma
/// and never allocates from the pool, so that its `allocate` hands out what other processes compute on.
const TRUSTED_DRIVERS: [&str; 2] = ["nvme", control::DRIVER];

/// A device that has given memory to p2pdma.
#[derive(Debug, Clone)]
pub struct Provider {
    machine: Machine,
    address: Address,
    driver: String,
}

impl Provider {
    /// The provider at `address`, whoever's driver it has.
    ///
    /// # Errors
    ///
    /// - [`Error::NotFound`]: no such device, or it has given no memory to p2pdma.
    /// - [`Error::NotAllowed`]: nor could it, as the kernel was built without p2pdma.
    pub fn find(machine: &Machine, address: Address) -> Result<Self> {
        let facts = machine.facts();
        let directory = facts
            .link(&format!("/sys/bus/pci/devices/{address}"))
            .map_err(|_| Error::NotFound(Refusal::new(address, "no such PCI device", "see `p2pbench topo`")))?;
        let driver = facts.link_name(&format!("{directory}/driver")).unwrap_or_else(|| "none".to_owned());
        P2pmem::read(facts, &directory).ok_or_else(|| no_pool(facts, address, &driver))?;
        Ok(Self { machine: machine.clone(), address, driver })
    }

    /// Whether its pool may be allocated from.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignProvider`]: its driver is not one whose memory may be allocated, or the pool is not published (an
    /// NVMe CMB that is not meant for data).
    pub fn may_be_allocated(&self) -> Result<()> {
        if !TRUSTED_DRIVERS.contains(&self.driver.as_str()) {
            return Err(foreign(self.address, &self.driver));
        }
        match self.pool().and_then(|pool| pool.published) {
            Some(false) => Err(unpublished(self.address)),
            _ => Ok(()),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> Address {
        self.address
    }

    /// The driver that gave the memory.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// Its pool as it is now; `None` when it has gone.
    #[must_use]
    pub fn pool(&self) -> Option<P2pmem> {
        let facts = self.machine.facts();
        let directory = facts.link(&format!("/sys/bus/pci/devices/{}", self.address)).ok()?;
        P2pmem::read(facts, &directory)
    }

    /// Allocates and maps `length` bytes, rounded up to pages, and fills them with zeroes: the kernel does not clear
    /// what an earlier user left.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: a length of 0.
    /// - [`Error::ForeignProvider`]: see [`may_be_allocated`](Self::may_be_allocated).
    /// - [`Error::PoolExhausted`]: no run of free memory is that long.
    /// - [`Error::NotAllowed`]: `p2pmem/allocate` is root's until somebody changes its group.
    /// - [`Error::Io`]: mmap failed, or the provider went away meanwhile.
    pub fn allocate(&self, length: usize) -> Result<PeerMemory> {
        self.may_be_allocated()?;
        PeerMemory::allocate(&self.machine, self, length)
    }

    /// Allocates `length` bytes, rounded up to pages and filled with zeroes, by the p2pdma_user module: without root, and
    /// without a mapping. Transfers cost the kernel less than with [`allocate`](Self::allocate).
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: a length of 0.
    /// - [`Error::ForeignProvider`]: see [`may_be_allocated`](Self::may_be_allocated).
    /// - [`Error::PoolExhausted`]: no run of free memory is that long, or this user holds as much as root allows.
    /// - [`Error::NotAllowed`]: the module is not loaded, or this user may not use it.
    pub fn allocate_buffer(&self, length: usize) -> Result<PeerMemory> {
        self.may_be_allocated()?;
        PeerMemory::allocate_buffer(&self.machine, self.address, length)
    }

    /// Takes memory that this device's own driver has exported as a dma-buf, by the p2pdma_user module: a GPU's, whichever
    /// driver it has. Its content is left as it is. The memory stays where it is until this is gone; the descriptor may be
    /// closed.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: no dma-buf, or one whose memory is not this device's.
    /// - [`Error::NotAllowed`]: root has not yet given the device's memory to p2pdma, the module is not loaded, or this user
    ///   may not use it.
    /// - [`Error::Io`]: what the driver that exported it says.
    pub fn register(&self, dmabuf: impl AsFd, hooks: Hooks) -> Result<PeerMemory> {
        PeerMemory::register(&self.machine, self.address, dmabuf, hooks)
    }
}

fn no_pool(facts: &dyn Facts, address: Address, driver: &str) -> Error {
    if let Some(config) = lacks_p2pdma(facts) {
        let cause = format!("this kernel was built without CONFIG_PCI_P2PDMA ({config})");
        return Error::NotAllowed(Refusal::new(address, cause, "boot a kernel with CONFIG_PCI_P2PDMA=y"));
    }
    let cause = format!("its driver ({driver}) has given no memory to p2pdma");
    let device = format!("/sys/bus/pci/devices/{address}");
    let cure = match driver {
        "none" => format!(
            "name an SSD with a CMB, or have root give this device to the p2pdma_user driver: \
             `echo p2pdma_user >{device}/driver_override; echo {address} >/sys/bus/pci/drivers_probe`"
        ),
        _ => format!(
            "name an SSD with a CMB, or have root make this device a provider beside its driver: \
             `echo {address} >/sys/bus/pci/drivers/p2pdma_user/provide`"
        ),
    };
    Error::NotFound(Refusal::new(address, cause, cure))
}

fn foreign(address: Address, driver: &str) -> Error {
    let cause = format!("its memory belongs to the driver `{driver}`, which may use it already");
    let cure = "register a dma-buf of that driver's, or allocate from a device of the nvme or p2pdma_user driver";
    Error::ForeignProvider(Refusal::new(address, cause, cure))
}

fn unpublished(address: Address) -> Error {
    let cause = "its driver has not published the pool (a CMB without read and write data support)";
    Error::ForeignProvider(Refusal::new(address, cause, "use another provider"))
}
