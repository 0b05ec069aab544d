//! Every fault at every place: a batch of 8 operations in which one goes wrong, each kind of wrong at each operation in turn.
//! Nothing hangs, the receipts add up, and what the others moved is right.

#![expect(clippy::expect_used, reason = "a test ends where its ground gives way")]

mod batch;
mod leaks;
mod provider;

use p2pdma::{
    Error,
    machine::{Access, Machine, mock::Fault},
    memory::HostMemory,
    storage::File,
    transfer::{Options, Queue},
};

use crate::batch::*;

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
    for (kind, number, errno) in sweep(&[libc::EIO, libc::EREMOTEIO, libc::ENODEV]) {
        let mut batch = Batch::start(kind, &[(number, Fault::Errno(errno))], DEADLINE);
        let receipts = batch.receipts(BATCH);
        assert_eq!(moved(&receipts), 7 * BLOCK as u64, "{kind:?} {number}");
        assert!(receipts.iter().all(|(&at, receipt)| receipt.errno() == (at == number).then_some(errno)));
        assert_moved(&batch, kind, number, 0);
    }
}

#[test]
fn faults_add_up_and_host_memory_has_them_too() {
    let mut mock = mock();
    mock.fault(0, Fault::Short(512)).fault(2, Fault::Errno(libc::EIO));
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
    assert_eq!(ends.collect::<Vec<_>>(), [(512, None), (4096, None), (0, Some(libc::EIO)), (4096, None)]);
}

/// What fails in the middle of a transfer is told in one line: the thing, the cause, the cure, and the kernel's errno.
#[test]
fn each_fault_is_one_line_that_names_thing_cause_and_cure() {
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
