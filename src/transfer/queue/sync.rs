//! For writers of checkpoints: what is written is to stay.

use super::{Queue, full};
use crate::{
    Result,
    machine::Place,
    memory::Slice,
    storage::File,
    transfer::{
        flight::{Action, Operation},
        pair::Pair,
        receipt::OperationId,
        target::Target,
    },
};

impl Queue {
    /// Takes a write that ends when its bytes, and what is needed to find them again, are on stable storage
    /// (`RWF_DSYNC`). For many writes, one [`sync`](Self::sync) behind all of them costs less.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write); [`Error::Invalid`](crate::Error::Invalid) on the module's way, whose commands have no flags: write, and then sync.
    pub fn write_through(&mut self, pair: &Pair, offset: u64, slice: impl Into<Slice>) -> Result<OperationId> {
        let slice = slice.into();
        if let Place::Buffer(_) = slice.view().place() {
            return Err(pair.bad("the module's commands know no write-through", "write, wait and then sync the file"));
        }
        self.push(Action::WriteThrough, pair, offset, slice)
    }

    /// Takes a data-sync of a file (fdatasync(2), `IORING_OP_FSYNC`): when it ends, what was written by operations that
    /// had ended before it was taken is on stable storage. Those that still fly may be or not.
    ///
    /// ```
    /// use p2pdma::{machine::{Access, Machine, Mock, mock::Cpu}, memory::Provider, storage::File, transfer::Queue};
    /// let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen)?);
    /// let file = File::open(&machine, "/dev/nvme0n1", Access::ReadWrite)?;
    /// let memory = Provider::find(&machine, "0000:05:00.0".parse()?)?.allocate(4096)?;
    /// let mut queue = Queue::new(&machine, Default::default())?;
    /// let pair = queue.bind(&file, &memory)?;
    /// queue.write(&pair, 0, memory.all())?;
    /// queue.wait()?.complete()?;
    /// queue.sync(&file)?;
    /// queue.wait()?.complete()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::QueueFull`](crate::Error::QueueFull), and [`Error::Io`](crate::Error::Io) when the file cannot be registered.
    #[doc(alias = "fdatasync")]
    pub fn sync(&mut self, file: &File) -> Result<OperationId> {
        self.check_machine(file)?;
        let pair = self.pair(Target::file(file), None)?;
        let operation = Operation::new(Action::Sync, 0, None, &pair.registration);
        let id = self.flight.take(operation).map_err(|_| full(&pair))?;
        let pushed = self.ring.push_sync(pair.registration.slot, id.tag);
        self.taken(id, pushed, &pair)
    }
}
