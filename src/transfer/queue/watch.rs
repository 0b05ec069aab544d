//! When a queue looks at the page cache of its files.

use std::{os::fd::AsFd, time::Instant};

use super::Queue;
use crate::{
    machine::Module,
    storage::File,
    transfer::{
        causes,
        pair::{Pair, Registration},
        witness::{INTERVAL, Look, Sight},
    },
};

/// A queue's next look, and whom it asks.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// When it is due; `None` while nothing has moved.
    due: Option<Instant>,
    /// `Some(None)`: this machine has no module, or not for this user.
    module: Option<Option<Module>>,
}

impl Queue {
    /// What the page cache of a pair's file, and the queue below it, show now of the operations since the look before. The queue
    /// looks by itself before the first operation, about once a second while it waits, and when it lets go of the file; what it
    /// finds then is counted ([`Count::suspect`](super::super::Count::suspect)) and said in the log. See [`Sight`] for what a look can show.
    ///
    /// ```
    /// use p2pdma::{machine::{Access, Machine, Mock, mock::{Cpu, Fault}}, memory::Provider, storage::File};
    /// use p2pdma::transfer::{Queue, Sight};
    /// let mut mock = Mock::one_switch(Cpu::AmdZen)?;
    /// mock.fault(1, Fault::Buffered); // a filesystem that copies, and says nothing
    /// let machine = Machine::mock(mock);
    /// let file = File::open(&machine, "/dev/nvme0n1", Access::Read)?;
    /// let memory = Provider::find(&machine, "0000:05:00.0".parse()?)?.allocate(4096)?;
    /// let mut queue = Queue::new(&machine, Default::default())?;
    /// let pair = queue.bind(&file, &memory)?;
    /// for seen in [Sight::Still, Sight::Grown] {
    ///     queue.read(&pair, 0, memory.all())?;
    ///     queue.wait()?.complete()?;
    ///     assert_eq!(queue.witness(&pair), seen);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn witness(&mut self, pair: &Pair) -> Sight {
        if pair.registration.witness.has_begun() { self.look(&pair.registration) } else { Sight::Unknown }
    }

    /// Behind the operations of a mover's call.
    pub(in crate::transfer) fn sight(&mut self, pair: &Pair, call: u64) -> Option<Sight> {
        pair.registration.witness.end(call, || self.look(&pair.registration))
    }

    /// An operation between a file and peer memory is taken.
    pub(super) fn touch(&mut self, pair: &Pair, offset: u64, length: u32) {
        let Self { machine, watch, .. } = self;
        let registration = &pair.registration;
        let first = registration.witness.touch(offset, length, || watch.see(machine, registration));
        if first {
            self.watch.due.get_or_insert_with(|| Instant::now() + INTERVAL);
        }
    }

    /// Time has passed.
    pub(super) fn watch(&mut self, now: Instant) {
        if self.watch.due.is_some_and(|due| now >= due) {
            self.watch.due = Some(now + INTERVAL);
            self.look_at_all();
        }
    }

    #[cold]
    pub(super) fn look_at_all(&mut self) {
        let begun: Vec<_> = self.files.used().filter(|registration| registration.witness.has_begun()).collect();
        for registration in begun {
            self.look(&registration);
        }
    }

    pub(super) fn look(&mut self, registration: &Registration) -> Sight {
        let sight = registration.witness.look(self.watch.see(&self.machine, registration));
        if sight == Sight::Grown {
            self.counters.suspect();
            causes::suspect(&registration.target.file);
        }
        sight
    }
}

impl Watch {
    fn see(&mut self, machine: &crate::machine::Machine, registration: &Registration) -> Look {
        let file = &registration.target.file;
        let cached = |range| machine.cached(file.as_fd(), range);
        let touched = cached(registration.witness.touched());
        Look { all: cached(0..u64::MAX), touched, queue: self.takes_peer_memory(machine, file) }
    }

    /// Of a block device, where the module answers.
    pub(super) fn takes_peer_memory(&mut self, machine: &crate::machine::Machine, file: &File) -> Option<bool> {
        if !file.is_block_device() {
            return None;
        }
        let module = self.module.get_or_insert_with(|| machine.module().ok());
        module.as_ref()?.queue(file).ok()
    }
}
