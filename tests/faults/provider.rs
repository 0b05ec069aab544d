//! A provider that goes while a batch flies: what was written before is there, and nothing is written behind it.

use p2pdma::{
    Error,
    machine::{Direction, Machine, mock::Fault},
    memory::{Copier, Provider},
    topology::Topology,
    verdict::Way,
};

use crate::batch::*;

/// What is answered for memory that has gone: an address without memory behind it, or the module's own word.
fn gone((_, way): Kind) -> i32 {
    match way {
        Way::P2pmem => libc::EFAULT,
        Way::Module => libc::ENODEV,
    }
}

/// The first so many blocks were written, and nothing behind them; a batch of reads writes none.
fn assert_written(batch: &Batch, (direction, way): Kind, blocks: u64) {
    let mut expected = on_disk(&Machine::mock(mock()));
    assert!(expected.chunks(BLOCK).all(|block| block != [0; BLOCK]), "the memory's zeroes are found where they come");
    if direction == Direction::Write {
        expected[..usize::try_from(blocks).expect("a small number") * BLOCK].fill(0);
    }
    assert!(on_disk(&batch.machine) == expected, "{direction} {way:?}: other than {blocks} blocks are there");
}

#[test]
fn a_provider_that_goes_fails_that_operation_and_all_later_ones() {
    for (kind, number, ()) in sweep(&[()]) {
        let mut batch = Batch::start(kind, &[(number, Fault::ProviderGone(provider()))], DEADLINE);
        let receipts = batch.receipts(BATCH);
        assert_eq!(moved(&receipts), number * BLOCK as u64, "{kind:?} {number}");
        assert!(receipts.iter().all(|(&at, receipt)| receipt.errno() == (at >= number).then_some(gone(kind))));
        // Its memory went with it: of reads nothing is there to look at.
        assert_written(&batch, kind, number);
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
    let topology = Topology::scan(&batch.machine).expect("a topology");
    assert_eq!(topology.providers().count(), 0);
    assert_eq!(topology.device(provider()).expect("the device itself stays").driver, None);
}

#[test]
fn a_provider_of_others_may_go_and_nothing_happens_here() {
    let other = at("0000:01:00.0");
    for kind in READS {
        let mut batch = Batch::start(kind, &[(3, Fault::ProviderGone(other))], DEADLINE);
        assert_eq!(moved(&batch.receipts(BATCH)), 8 * BLOCK as u64);
        assert_moved(&batch, kind, 3, BLOCK);
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
