//! Every fault at every place: a batch of 8 operations in which one goes wrong, each kind of wrong at each operation in turn.
//! Nothing hangs, the receipts add up, and what the others moved is right.

#![expect(clippy::expect_used, reason = "a test ends where its ground gives way")]

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
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
    transfer::{Fate, Options, Queue, Receipt, leaked_queues},
    verdict::Way,
};

const SSD: &str = "/dev/nvme0n1";
const BATCH: u64 = 8;
const BLOCK: usize = 4096;
/// What a batch does: which way the bytes go, and by which way they get there.
type Kind = (Direction, Way);

const READS: [Kind; 2] = [(Direction::Read, Way::P2pmem), (Direction::Read, Way::Module)];
const WRITES: [Kind; 2] = [(Direction::Write, Way::P2pmem), (Direction::Write, Way::Module)];

/// Long enough for a memcpy on a busy machine, short enough to be waited for.
const DEADLINE: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_millis(50);

/// Leaks are counted for the whole process, so tests that look at the count run one after another.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn provider() -> Address {
    at("0000:02:00.0")
}

fn at(address: &str) -> Address {
    address.parse().expect("an address")
}

/// A small one, as many are needed: an SSD and peer memory, each below a root port.
fn mock() -> Mock {
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
struct Batch {
    machine: Machine,
    memory: PeerMemory,
    queue: Queue,
    /// By the identifier of an operation, which one it is.
    numbers: BTreeMap<p2pdma::transfer::OperationId, u64>,
}

impl Batch {
    fn start((direction, way): Kind, faults: &[(u64, Fault)], deadline: Duration) -> Self {
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
    fn receipts(&mut self, count: u64) -> BTreeMap<u64, Receipt> {
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

fn moved(receipts: &BTreeMap<u64, Receipt>) -> u64 {
    receipts.values().map(Receipt::bytes_direct).sum()
}

/// What is answered for memory that has gone: an address without memory behind it, or the module's own word.
fn gone((_, way): Kind) -> i32 {
    match way {
        Way::P2pmem => errno::EFAULT,
        Way::Module => errno::ENODEV,
    }
}

/// What the host reads of the whole batch's range.
fn on_disk(machine: &Machine) -> Vec<u8> {
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

fn in_memory(memory: &PeerMemory) -> Vec<u8> {
    let mut bytes = vec![0; memory.len()];
    Copier::new().and_then(|mut copier| copier.read(&memory.all(), &mut bytes)).expect("a copy");
    bytes
}

/// The first so many bytes of the block came over, the rest is as it was; every other block came over whole.
fn assert_moved(batch: &Batch, (direction, way): Kind, faulty: u64, bytes: usize) {
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

#[test]
fn what_ends_late_ends_and_is_whole_and_so_are_the_others() {
    for (kind, number, enters) in sweep(&[1, 3]) {
        let mut batch = Batch::start(kind, &[(number, Fault::Late(enters))], DEADLINE);
        let receipts = batch.receipts(BATCH);
        assert!(receipts.values().all(|receipt| receipt.complete().is_ok()), "{receipts:?}");
        assert!(matches!(batch.queue.wait(), Err(Error::Invalid(_))), "nothing ends twice");
        assert_moved(&batch, kind, number, BLOCK);
    }
}

#[test]
fn an_operation_of_another_queue_is_not_cancelled_and_not_said_to_be_over() {
    let mut first = Batch::start(READS[0], &[], DEADLINE);
    let second = Batch::start(READS[0], &[], DEADLINE);
    let id = *second.numbers.keys().next().expect("an operation");
    assert!(matches!(first.queue.cancel(id), Err(Error::Invalid(_))));
    assert!(!first.numbers.contains_key(&id), "no two share a name");
}

#[test]
fn a_short_operation_is_short_and_the_others_are_whole() {
    for (kind, number, bytes) in sweep(&[0, 512, 4092]) {
        let mut batch = Batch::start(kind, &[(number, Fault::Short(bytes))], DEADLINE);
        let receipts = batch.receipts(BATCH);
        assert_eq!(moved(&receipts), 7 * BLOCK as u64 + u64::from(bytes), "{kind:?} {number}");
        assert!(
            receipts.iter().all(|(&at, receipt)| receipt.is_short() == (at == number) && receipt.errno().is_none())
        );
        assert!(matches!(receipts[&number].complete(), Err(Error::Io { .. })));
        assert_moved(&batch, kind, number, bytes as usize);
    }
}

#[test]
fn an_errno_is_its_operations_alone_and_it_moved_nothing() {
    for (kind, number, errno) in sweep(&[errno::EIO, errno::EREMOTEIO, errno::ENODEV]) {
        let mut batch = Batch::start(kind, &[(number, Fault::Errno(errno))], DEADLINE);
        let receipts = batch.receipts(BATCH);
        assert_eq!(moved(&receipts), 7 * BLOCK as u64, "{kind:?} {number}");
        assert!(receipts.iter().all(|(&at, receipt)| receipt.errno() == (at == number).then_some(errno)));
        assert_moved(&batch, kind, number, 0);
    }
}

#[test]
fn a_withheld_operation_ends_the_wait_at_its_deadline_and_leaks_what_it_owns() {
    let _alone = alone();
    for (kind, number, _) in sweep(&[()]) {
        let before = leaked_queues();
        let start = Instant::now();
        let mut batch = Batch::start(kind, &[(number, Fault::Withheld)], SOON);
        let receipts = batch.receipts(BATCH - 1);
        assert_eq!((moved(&receipts), receipts.contains_key(&number)), (7 * BLOCK as u64, false));
        let late = batch.queue.wait().expect_err("the last one never ends");
        assert!(matches!(late, Error::Deadline(_)), "{late}");
        assert!(late.to_string().contains("none of 1 operations ended within 50ms"), "{late}");
        assert_eq!((batch.queue.in_flight(), leaked_queues()), (1, before), "it still flies");
        let Batch { machine, memory, queue, .. } = batch;
        drop((queue, memory));
        assert_eq!(leaked_queues(), before + 1, "{kind:?} {number}");
        let pool = Provider::find(&machine, provider()).expect("a provider").pool().expect("a pool");
        assert_eq!(
            pool.size.zip(pool.available).map(|(size, free)| size - free),
            Some(8 * BLOCK as u64),
            "kept for ever"
        );
        assert!(start.elapsed() < DEADLINE, "nothing hangs");
    }
}

#[test]
fn a_provider_that_goes_fails_that_operation_and_all_later_ones() {
    for (kind, number, ()) in sweep(&[()]) {
        let mut batch = Batch::start(kind, &[(number, Fault::ProviderGone(provider()))], DEADLINE);
        let receipts = batch.receipts(BATCH);
        assert_eq!(moved(&receipts), number * BLOCK as u64, "{kind:?} {number}");
        assert!(receipts.iter().all(|(&at, receipt)| receipt.errno() == (at >= number).then_some(gone(kind))));
        let copied = Copier::new().and_then(|mut copier| copier.read(&batch.memory.all(), &mut [0])).expect_err("gone");
        assert!(copied.to_string().contains("the provider was unbound"), "{copied}");
        let written = Copier::new().and_then(|mut copier| copier.write(&[1], &batch.memory.all())).expect_err("gone");
        assert!(matches!(written, Error::Io { ref source, .. } if source.source.raw_os_error() == Some(gone(kind))));
    }
}

#[test]
fn a_provider_that_has_gone_has_no_memory_any_more_and_says_so() {
    let mut batch = Batch::start(READS[0], &[(0, Fault::ProviderGone(provider()))], DEADLINE);
    assert_eq!(moved(&batch.receipts(BATCH)), 0);
    let found = Provider::find(&batch.machine, provider()).expect_err("it gives none");
    assert!(matches!(found, Error::NotFound(_)) && found.to_string().contains("(none)"), "{found}");
    let topology = p2pdma::topology::Topology::scan(&batch.machine).expect("a topology");
    assert_eq!(topology.providers().count(), 0);
    assert_eq!(topology.device(provider()).expect("the device itself stays").driver, None);
}

#[test]
fn a_provider_of_others_may_go_and_nothing_happens_here() {
    let other = at("0000:01:00.0");
    for kind in READS {
        let mut batch = Batch::start(kind, &[(3, Fault::ProviderGone(other))], DEADLINE);
        assert_eq!(moved(&batch.receipts(BATCH)), 8 * BLOCK as u64);
    }
}

#[test]
fn faults_add_up_and_host_memory_has_them_too() {
    let mut mock = mock();
    mock.fault(0, Fault::Short(512)).fault(2, Fault::Errno(errno::EIO));
    let machine = Machine::mock(mock);
    let file = File::open(&machine, SSD, Access::Read).expect("a file");
    let host = HostMemory::allocate(BLOCK).expect("host memory");
    let ends = (0..4).map(|_| {
        // A queue each: the count goes over all of them.
        let mut queue = Queue::new(&machine, Options::default()).expect("a queue");
        let pair = queue.bind_host(&file).expect("a pair");
        queue.read(&pair, 0, host.all()).expect("taken");
        let receipt = queue.wait().expect("a receipt");
        (receipt.bytes_host(), receipt.errno())
    });
    assert_eq!(ends.collect::<Vec<_>>(), [(512, None), (4096, None), (0, Some(errno::EIO)), (4096, None)]);
}

#[test]
fn every_operation_may_fail_at_once() {
    let _alone = alone();
    for kind in WRITES {
        let all: Vec<_> = (0..BATCH).map(|number| (number, Fault::Errno(errno::EIO))).collect();
        let mut batch = Batch::start(kind, &all, DEADLINE);
        assert!(batch.receipts(BATCH).values().all(|receipt| receipt.errno() == Some(errno::EIO)));
        let all: Vec<_> = (0..BATCH).map(|number| (number, Fault::Withheld)).collect();
        let before = leaked_queues();
        let mut batch = Batch::start(kind, &all, SOON);
        assert!(matches!(batch.queue.wait(), Err(Error::Deadline(_))));
        drop(batch);
        assert_eq!(leaked_queues(), before + 1);
    }
}

#[test]
fn a_cancel_says_whether_dma_may_still_land() {
    let _alone = alone();
    for kind in READS {
        let before = leaked_queues();
        let mut batch = Batch::start(kind, &[(3, Fault::Withheld)], SOON);
        let ids: Vec<_> = batch.numbers.iter().map(|(&id, &number)| (id, number)).collect();
        let flying = ids.iter().filter(|(id, _)| batch.queue.cancel(*id).expect("told") == Fate::Flying);
        assert_eq!(flying.map(|(_, number)| *number).collect::<Vec<_>>(), [3], "the others are over, cancelled or not");
        assert_eq!(batch.queue.in_flight(), 8, "no receipt is lost by it");
        let receipts = batch.receipts(BATCH - 1);
        let whole = |receipt: &Receipt| receipt.bytes_direct() == BLOCK as u64 && receipt.complete().is_ok();
        assert!(
            receipts.values().all(|receipt| whole(receipt) || receipt.errno() == Some(libc::ECANCELED)),
            "{receipts:?}"
        );
        assert!(matches!(batch.queue.wait(), Err(Error::Deadline(_))));
        drop(batch);
        assert_eq!(leaked_queues(), before + 1, "what flies on is kept");
    }
}

/// A queue that is dropped before it started anything has nothing to wait for, whatever the script says.
#[test]
fn what_was_never_started_is_not_withheld_and_leaks_nothing() {
    let _alone = alone();
    let faults = [Fault::Withheld, Fault::Errno(errno::EIO), Fault::ProviderGone(provider())];
    let cases = READS.into_iter().flat_map(|kind| faults.into_iter().enumerate().map(move |case| (kind, case)));
    for (kind, (place, fault)) in cases {
        let before = leaked_queues();
        let Batch { machine, memory, queue, .. } = Batch::start(kind, &[(place as u64, fault)], DEADLINE);
        drop((queue, memory));
        assert_eq!(leaked_queues(), before);
        let pool = Provider::find(&machine, provider()).expect("it never went").pool().expect("a pool");
        assert_eq!(pool.available, pool.size, "all of it went back");
    }
}

#[test]
fn a_queue_with_faults_may_move_to_another_thread() {
    for kind in READS {
        let mut batch = Batch::start(kind, &[(2, Fault::ProviderGone(provider()))], DEADLINE);
        let moved = std::thread::spawn(move || moved(&batch.receipts(BATCH))).join();
        assert_eq!(moved.expect("no panic"), 2 * BLOCK as u64);
    }
}

/// What fails in the middle of a transfer is told in one line: the thing, the cause, the cure, and the kernel's errno.
#[test]
fn each_fault_is_one_line_that_names_thing_cause_and_cure() {
    let _alone = alone();
    let line = |fault| {
        let mut batch = Batch::start(READS[0], &[(0, fault)], DEADLINE);
        let mut receipts = batch.receipts(BATCH);
        receipts.remove(&0).expect("a receipt").complete().expect_err("a failure")
    };
    let cases = [
        (Fault::Errno(libc::EIO), "the device or its driver failed it", "kernel log", Some(libc::EIO)),
        (Fault::Errno(libc::EREMOTEIO), "the kernel refused the route", "p2pbench topo", Some(libc::EREMOTEIO)),
        (Fault::Errno(libc::ENODEV), "the device has gone", "kernel log", Some(libc::ENODEV)),
        (Fault::Errno(libc::ENOSPC), "the filesystem is full", "free some space", Some(libc::ENOSPC)),
        (Fault::ProviderGone(provider()), "its provider was unbound", "bind it again", Some(libc::EFAULT)),
        (Fault::Short(512), "512 of 4096 bytes moved", "within the file", None),
    ];
    for (fault, cause, cure, errno) in cases {
        let Error::Io { refusal, source } = line(fault) else { unreachable!("{fault:?}") };
        assert_eq!(refusal.thing, "read of 4096 bytes");
        assert!(refusal.cause.contains(cause) && refusal.cure.contains(cure), "{refusal}");
        assert_eq!((refusal.to_string().lines().count(), source.source.raw_os_error()), (1, errno), "{refusal}");
    }
}

/// Both directions and both ways, every operation of a batch, every one of these.
fn sweep<T: Copy>(values: &[T]) -> Vec<(Kind, u64, T)> {
    let kinds = READS.into_iter().chain(WRITES);
    let places = kinds.flat_map(|kind| (0..BATCH).map(move |number| (kind, number)));
    places.flat_map(|(kind, number)| values.iter().map(move |&value| (kind, number, value))).collect()
}

/// The numbers of errnos, as Linux has them on every architecture that has PCIe.
mod errno {
    pub(crate) const EIO: i32 = 5;
    pub(crate) const EFAULT: i32 = 14;
    pub(crate) const ENODEV: i32 = 19;
    pub(crate) const EREMOTEIO: i32 = 121;
}

#[test]
fn a_queue_for_one_thread_that_is_dropped_in_another_while_operations_fly_is_leaked_at_once() {
    let _alone = alone();
    let mut mock = mock();
    mock.fault(0, Fault::Withheld);
    let machine = Machine::mock(mock);
    let file = File::open(&machine, SSD, Access::Read).expect("a file");
    let memory = Provider::find(&machine, provider()).and_then(|found| found.allocate(BLOCK)).expect("memory");
    let mut queue = Queue::new(&machine, Options::default().deadline(DEADLINE).single_issuer()).expect("a queue");
    let pair = queue.bind(&file, &memory).expect("a pair");
    queue.read(&pair, 0, memory.all()).expect("taken");
    queue.submit().expect("started");
    let (before, began) = (leaked_queues(), Instant::now());
    std::thread::spawn(|| drop(queue)).join().expect("a drop");
    assert_eq!(leaked_queues(), before + 1);
    assert!(began.elapsed() < DEADLINE, "it can learn of no end there, so it does not wait for one");
}
