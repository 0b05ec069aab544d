//! What goes wrong on a mock machine, and when.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::pci::Address;

/// How one operation fails.
///
/// ```
/// use p2pdma::{machine::{Access, Machine, Mock, mock::{Cpu, Fault}}, memory::Provider, storage::File, transfer::Queue};
/// let mut mock = Mock::one_switch(Cpu::AmdZen)?;
/// mock.fault(0, Fault::Late(1)).fault(1, Fault::Errno(5)); // by the number of the operation
/// let machine = Machine::mock(mock);
/// let file = File::open(&machine, "/dev/nvme0n1", Access::Read)?;
/// let memory = Provider::find(&machine, "0000:05:00.0".parse()?)?.allocate(8192)?;
/// let mut queue = Queue::new(&machine, Default::default())?;
/// let pair = queue.bind(&file, &memory)?;
/// let late = queue.read(&pair, 0, memory.slice(..4096)?)?;
/// let failing = queue.read(&pair, 0, memory.slice(4096..)?)?;
/// let first = queue.wait()?;
/// assert_eq!((first.operation(), first.errno()), (failing, Some(5)));
/// assert_eq!(queue.wait()?.operation(), late);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It moves so many bytes and no more.
    Short(u32),
    /// It ends with this errno (`EIO` is 5) and moves nothing.
    Errno(i32),
    /// It says that every byte has moved, and none has: as behind an IOMMU that sends peer traffic elsewhere.
    Lie,
    /// It ends at the so-manieth `enter` after the kernel was done with it, so that others which were taken later end before it. A
    /// queue enters the kernel whenever it waits.
    Late(u32),
    /// It never ends, as on a device that does not answer: its memory and file are not given back while the process lives.
    Withheld,
    /// The filesystem takes it through the page cache, which grows. A command of the module's tells it; of other operations only
    /// who looks at the page cache knows.
    Buffered,
    /// The provider is unbound before it starts, as by `echo ADDRESS > /sys/bus/pci/drivers/.../unbind`: this and every later
    /// operation on the provider's memory, and every copy, ends with EFAULT, those of the module's with ENODEV; its peer
    /// memory vanishes from sysfs.
    /// Operations taken by the same queue before this one have ended by then.
    ProviderGone(Address),
}

/// The faults of a machine by the number of the operation, counted from 0 over all its rings.
#[derive(Debug, Default)]
pub(super) struct Script {
    faults: BTreeMap<u64, Fault>,
    next: Mutex<u64>,
}

/// One operation's place in the script; the next one's turn comes when this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    next: MutexGuard<'a, u64>,
    pub(super) fault: Option<Fault>,
}

impl Script {
    pub(super) fn add(&mut self, operation: u64, fault: Fault) {
        self.faults.insert(operation, fault);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    pub(super) fn turn(&self) -> Turn<'_> {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = self.faults.get(&*next).copied();
        Turn { next, fault }
    }
}

impl Turn<'_> {
    /// The operation was taken. Without this it counts for nothing: a ring that is full takes it later.
    pub(super) fn taken(mut self) {
        *self.next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_operations_that_were_taken_count() {
        let mut script = Script::default();
        script.add(1, Fault::Withheld);
        script.turn().taken();
        assert_eq!(script.turn().fault, Some(Fault::Withheld));
        assert_eq!(script.turn().fault, Some(Fault::Withheld), "it was not taken");
        script.turn().taken();
        assert_eq!(script.turn().fault, None);
    }
}
