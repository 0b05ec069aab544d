//! Giving up on an operation.

use std::io;

use super::Queue;
use crate::{Error, Refusal, Result, SyscallError, transfer::receipt::OperationId};

/// Where an operation is that was to be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is over, cancelled or not: its receipt comes out of [`Queue::wait`] or has come out before. No DMA of it lands any more.
    Completed,
    /// It flies on: DMA cannot be recalled, and may land in its memory until its receipt is out. The memory stays with it.
    Flying,
}

impl Queue {
    /// Gives up on an operation, if it can still be kept from the device, and says whether its DMA may yet land. What was
    /// taken is started first. A device has what it was given: most operations fly on, and only their end tells.
    ///
    /// ```
    /// use p2pdma::{machine::{Access, Machine, Mock, mock::{Cpu, Fault}}, memory::Provider, storage::File};
    /// use p2pdma::transfer::{Fate, Options, Queue};
    /// let mut mock = Mock::one_switch(Cpu::AmdZen)?;
    /// mock.fault(0, Fault::Withheld); // a device that does not answer
    /// let machine = Machine::mock(mock);
    /// let file = File::open(&machine, "/dev/nvme0n1", Access::Read)?;
    /// let memory = Provider::find(&machine, "0000:05:00.0".parse()?)?.allocate(4096)?;
    /// let mut queue = Queue::new(&machine, Options::default().deadline(std::time::Duration::ZERO))?;
    /// let pair = queue.bind(&file, &memory)?;
    /// let id = queue.read(&pair, 0, memory.all())?;
    /// assert_eq!(queue.cancel(id)?, Fate::Flying); // dropping the queue now leaks it, and the memory with it
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for another queue's operation; [`Error::Io`] when the ring does not start what was taken, or knows no
    /// cancelling.
    #[doc(alias = "IORING_OP_ASYNC_CANCEL")]
    pub fn cancel(&mut self, id: OperationId) -> Result<Fate> {
        if id.queue != self.id {
            return Err(Error::Invalid(Refusal::new("queue", "the operation is another queue's", "cancel it there")));
        }
        self.submit()?;
        if self.flight.holds(id) {
            self.ring.cancel(id.tag).or_else(not_found).map_err(refused)?;
        }
        self.ring.gather();
        while let Some(receipt) = self.reap() {
            self.ended.push_back(receipt);
        }
        Ok(if self.flight.holds(id) { Fate::Flying } else { Fate::Completed })
    }
}

/// There is nothing left to cancel, or what there is cannot be: the completion tells which.
fn not_found(error: io::Error) -> io::Result<()> {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::EALREADY | libc::ETIME | libc::EINTR) => Ok(()),
        _ => Err(error),
    }
}

fn refused(source: io::Error) -> Error {
    let refusal = Refusal::new("queue", "the ring cancels nothing", "use Linux 6.12, or wait for the operation");
    Error::Io { refusal, source: SyscallError { call: "io_uring_register", source } }
}
