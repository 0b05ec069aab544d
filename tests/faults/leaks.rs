//! Operations that never end: nothing waits for them beyond the deadline, and what they own is kept and counted.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use p2pdma::{
    Error,
    machine::{Access, Machine, mock::Fault},
    memory::Provider,
    storage::File,
    transfer::{Fate, Options, Queue, Receipt, leaked_queues},
};

use crate::batch::*;

/// Leaks are counted for the whole process, so tests that look at the count run one after another.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
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
fn every_operation_may_fail_at_once() {
    let _alone = alone();
    for kind in WRITES {
        let all: Vec<_> = (0..BATCH).map(|number| (number, Fault::Errno(libc::EIO))).collect();
        let mut batch = Batch::start(kind, &all, DEADLINE);
        assert!(batch.receipts(BATCH).values().all(|receipt| receipt.errno() == Some(libc::EIO)));
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
    let faults = [Fault::Withheld, Fault::Errno(libc::EIO), Fault::ProviderGone(provider())];
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
