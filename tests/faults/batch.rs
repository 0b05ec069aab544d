//! A batch of 8 operations on a small machine, with a script of faults; what it moved.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use p2pdma::{
    Error,
    machine::{
        Access, Direction, Machine, Mock,
        mock::{Cpu, Fault, Function, Port},
    },
    memory::{Copier, HostMemory, PeerMemory, Provider},
    pci::Address,
    storage::File,
    transfer::{OperationId, Options, Queue, Receipt},
    verdict::Way,
};

pub(crate) const SSD: &str = "/dev/nvme0n1";
pub(crate) const BATCH: u64 = 8;
pub(crate) const BLOCK: usize = 4096;
/// What a batch does: which way the bytes go, and by which way they get there.
pub(crate) type Kind = (Direction, Way);

pub(crate) const READS: [Kind; 2] = [(Direction::Read, Way::P2pmem), (Direction::Read, Way::Module)];
pub(crate) const WRITES: [Kind; 2] = [(Direction::Write, Way::P2pmem), (Direction::Write, Way::Module)];

/// Long enough for a memcpy on a busy machine, short enough to be waited for.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
pub(crate) const SOON: Duration = Duration::from_millis(50);

pub(crate) fn provider() -> Address {
    at("0000:02:00.0")
}

pub(crate) fn at(address: &str) -> Address {
    address.parse().expect("an address")
}

/// A small one, as many are needed: an SSD and peer memory, each below a root port.
pub(crate) fn mock() -> Mock {
    let mut mock = Mock::new(Cpu::AmdZen);
    let ports = ["0000:00:01.0", "0000:00:02.0"].map(at);
    for port in ports {
        mock.function(&Function::port(port, None, Port::Root));
    }
    mock.ssd(at("0000:01:00.0"), Some(ports[0]), 16 * BLOCK as u64).expect("an SSD");
    mock.provider(provider(), Some(ports[1]), 16 * BLOCK as u64);
    mock
}

/// A machine, an open file, its peer memory, and a queue on which a batch flies.
pub(crate) struct Batch {
    pub machine: Machine,
    pub memory: PeerMemory,
    pub queue: Queue,
    /// By the identifier of an operation, which one it is.
    pub numbers: BTreeMap<OperationId, u64>,
}

impl Batch {
    pub(crate) fn start((direction, way): Kind, faults: &[(u64, Fault)], deadline: Duration) -> Self {
        let mut mock = mock();
        for &(operation, fault) in faults {
            mock.fault(operation, fault);
        }
        let machine = Machine::mock(mock);
        let file = File::open(&machine, SSD, Access::ReadWrite).expect("a file");
        let provider = Provider::find(&machine, provider()).expect("a provider");
        let memory = match way {
            Way::P2pmem => provider.allocate(8 * BLOCK),
            Way::Module => provider.allocate_buffer(8 * BLOCK),
        };
        let memory = memory.expect("memory");
        let mut queue = Queue::new(&machine, Options::default().depth(8).deadline(deadline)).expect("a queue");
        let pair = queue.bind(&file, &memory).expect("a route");
        let numbers = (0..BATCH).map(|number| {
            let at = usize::try_from(number).expect("a small number") * BLOCK;
            let part = memory.slice(at..at + BLOCK).expect("a part");
            let taken = match direction {
                Direction::Read => queue.read(&pair, at as u64, part),
                Direction::Write => queue.write(&pair, at as u64, part),
            };
            (taken.expect("taken"), number)
        });
        let numbers = numbers.collect();
        Self { machine, memory, queue, numbers }
    }

    /// `count` receipts, by the number of their operation. A queue's own deadline may be shorter than a busy machine needs.
    pub(crate) fn receipts(&mut self, count: u64) -> BTreeMap<u64, Receipt> {
        let start = Instant::now();
        let mut receipts = BTreeMap::new();
        while (receipts.len() as u64) < count {
            match self.queue.wait() {
                Ok(receipt) => {
                    assert!(receipts.insert(self.numbers[&receipt.operation()], receipt).is_none(), "one each")
                }
                Err(error) => assert!(start.elapsed() < DEADLINE && matches!(error, Error::Deadline(_)), "{error}"),
            }
        }
        receipts
    }
}

pub(crate) fn moved(receipts: &BTreeMap<u64, Receipt>) -> u64 {
    receipts.values().map(Receipt::bytes_direct).sum()
}

/// What the host reads of the whole batch's range.
pub(crate) fn on_disk(machine: &Machine) -> Vec<u8> {
    let file = File::open(machine, SSD, Access::Read).expect("a file");
    let host = HostMemory::allocate(8 * BLOCK).expect("host memory");
    let mut queue = Queue::new(machine, Options::default()).expect("a queue");
    let pair = queue.bind_host(&file).expect("a pair");
    queue.read(&pair, 0, host.all()).expect("taken");
    assert_eq!(queue.wait().expect("a receipt").bytes(), 8 * BLOCK as u64);
    let mut bytes = vec![0; 8 * BLOCK];
    host.all().read(&mut bytes).expect("its bytes");
    bytes
}

pub(crate) fn in_memory(memory: &PeerMemory) -> Vec<u8> {
    let mut bytes = vec![0; memory.len()];
    Copier::new().and_then(|mut copier| copier.read(&memory.all(), &mut bytes)).expect("a copy");
    bytes
}

/// The first so many bytes of the block came over, the rest is as it was; every other block came over whole.
pub(crate) fn assert_moved(batch: &Batch, (direction, way): Kind, faulty: u64, bytes: usize) {
    let pattern = on_disk(&Machine::mock(mock()));
    let (from, before, after) = match direction {
        Direction::Read => (pattern, vec![0; 8 * BLOCK], in_memory(&batch.memory)),
        Direction::Write => (vec![0; 8 * BLOCK], pattern, on_disk(&batch.machine)),
    };
    let start = usize::try_from(faulty).expect("a small number") * BLOCK;
    let (missed, end) = (start + bytes, start + BLOCK);
    let expected = [&from[..missed], &before[missed..end], &from[end..]].concat();
    assert!(after == expected, "{direction} {way:?} {faulty}: other bytes than {bytes} of the block are there");
    assert_ne!(from[start..end], before[start..end], "the comparison says something");
}

/// Both directions and both ways, every operation of a batch, every one of these.
pub(crate) fn sweep<T: Copy>(values: &[T]) -> Vec<(Kind, u64, T)> {
    let kinds = READS.into_iter().chain(WRITES);
    let places = kinds.flat_map(|kind| (0..BATCH).map(move |number| (kind, number)));
    places.flat_map(|(kind, number)| values.iter().map(move |&value| (kind, number, value))).collect()
}
