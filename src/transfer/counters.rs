//! What was moved, counted while it moves.

use std::{
    collections::BTreeMap,
    ops::AddAssign,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic},
};

use super::receipt::Receipt;
use crate::machine::{Machine, MachineId};

mod tally;

use tally::Tally;

/// What was moved so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Count {
    /// Operations that have ended, well or not.
    pub operations: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Those that moved less than was asked for, and did not fail.
    pub short: u64,
    /// Bytes between storage and peer memory by direct I/O, as far as the receipts' evidence goes.
    pub bytes_direct: u64,
    /// Bytes that were to go direct, and that a filesystem took through the page cache.
    pub bytes_cached: u64,
    /// Bytes between storage and host memory, whole blocks of bounces among them.
    pub bytes_host: u64,
    /// Looks that found the page cache of a file grown, though its bytes were to go direct ([`Sight::Grown`](super::Sight::Grown)).
    pub suspect: u64,
}

/// Reads what a queue counts, from any thread, while it works and after it is gone. Each number is right; together they may be
/// of slightly different moments.
///
/// ```
/// use p2pdma::{machine::{Access, Machine, Mock, mock::Cpu}, memory::Provider, storage::File, transfer::{Counters, Queue}};
/// let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen)?);
/// let file = File::open(&machine, "/dev/nvme0n1", Access::Read)?;
/// let memory = Provider::find(&machine, "0000:05:00.0".parse()?)?.allocate(4096)?;
/// let mut queue = Queue::new(&machine, Default::default())?;
/// let counters = queue.counters();
/// let pair = queue.bind(&file, &memory)?;
/// queue.read(&pair, 0, memory.all())?;
/// queue.wait()?.complete()?;
/// let count = std::thread::spawn(move || counters.read()).join().expect("no panic");
/// assert_eq!((count.operations, count.bytes_direct), (1, 4096));
/// assert_eq!(Counters::of_machine(&machine), count);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Counters(Arc<Tally>);

/// Of each machine: its queues that live, and the sum of those that are gone.
type Register = BTreeMap<MachineId, (Vec<Arc<Tally>>, Count)>;

/// By machine, the counts of its queues, and the sum of those that are gone.
static QUEUES: Mutex<Register> = Mutex::new(BTreeMap::new());

/// Nothing panics while the table is changed.
fn queues() -> MutexGuard<'static, Register> {
    QUEUES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Counters {
    /// For a new queue of a machine.
    pub(super) fn enter(machine: MachineId) -> Self {
        let tally = Arc::new(Tally::default());
        queues().entry(machine).or_default().0.push(Arc::clone(&tally));
        Self(tally)
    }

    /// The queue is gone; what it counted stays in its machine's sum.
    pub(super) fn leave(&self, machine: MachineId) {
        if let Some((live, gone)) = queues().get_mut(&machine) {
            live.retain(|tally| !Arc::ptr_eq(tally, &self.0));
            *gone += self.read();
        }
    }

    /// The count now.
    #[must_use]
    pub fn read(&self) -> Count {
        let [operations, failed, short, bytes_direct, bytes_cached, bytes_host, suspect] = self.0.read();
        Count { operations, failed, short, bytes_direct, bytes_cached, bytes_host, suspect }
    }

    /// What all queues of this process have moved on a machine, those that are gone included.
    #[must_use]
    pub fn of_machine(machine: &Machine) -> Count {
        let queues = queues();
        let Some((live, gone)) = queues.get(&machine.id()) else { return Count::default() };
        let mut sum = *gone;
        live.iter().for_each(|tally| sum += Self(Arc::clone(tally)).read());
        sum
    }

    /// An operation has ended.
    pub(super) fn note(&self, receipt: &Receipt) {
        self.0.add([
            1,
            receipt.errno().is_some().into(),
            receipt.is_short().into(),
            receipt.bytes_direct(),
            receipt.bytes_bounced(),
            receipt.bytes_host(),
            0,
        ]);
    }

    /// A look has found something.
    pub(super) fn suspect(&self) {
        self.0.add([0, 0, 0, 0, 0, 0, 1]);
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        let Self { operations, failed, short, bytes_direct, bytes_cached, bytes_host, suspect } = other;
        self.operations += operations;
        self.failed += failed;
        self.short += short;
        self.bytes_direct += bytes_direct;
        self.bytes_cached += bytes_cached;
        self.bytes_host += bytes_host;
        self.suspect += suspect;
    }
}
