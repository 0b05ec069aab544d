//! Every fault at every operation of a mover: it ends by the deadline, the summaries add up, and what they say has moved is there.

use std::{
    cell::Cell,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use p2pdma::{
    Error,
    machine::{Direction, mock::Fault},
    transfer::{Summary, leaked_queues},
    verdict::Way,
};

use crate::ground::*;

/// Leaks are counted for the whole process, so tests that leak run one after another.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Each fault at each operation of a job in turn, both ways and directions, through stages and past them.
fn sweep(fault: Fault, deadline: Duration, check: impl Fn(&Job, &Plot, &mut Ground, p2pdma::Result<()>, &[Summary])) {
    for way in [Way::P2pmem, Way::Module] {
        for direction in [Direction::Read, Direction::Write] {
            let job = Job { direction, cuts: vec![300, 2000, 5632, 6000], shift: 300 };
            // Long enough for the longest of them: what comes later finds no operation.
            for operation in 0..14 {
                let plot = Plot { way, deadline, faults: vec![(operation, fault)], ..Plot::default() };
                let mut ground = plot.lay();
                let (end, summaries) = job.run(&mut ground);
                assert!(summaries.iter().all(adds_up), "{way:?} {direction} {operation}: {summaries:?}");
                check(&job, &plot, &mut ground, end, &summaries);
            }
        }
    }
}

#[test]
fn what_falls_short_goes_on_and_is_counted() {
    for fault in [Fault::Short(512), Fault::Short(1000), Fault::Errno(libc::EAGAIN), Fault::Late(1), Fault::Late(3)] {
        sweep(fault, DEADLINE, |job, plot, ground, end, summaries| {
            assert!(end.is_ok());
            assert_moved(job, plot, ground, summaries);
            let retries: u32 = summaries.iter().map(Summary::retries).sum();
            assert!(retries <= 1 && summaries.iter().all(is_whole), "{:?} {summaries:?}", plot.faults);
        });
    }
}

#[test]
fn what_moves_nothing_is_short_and_says_so() {
    sweep(Fault::Short(0), DEADLINE, |job, plot, ground, end, summaries| {
        assert!(end.is_ok());
        assert_told(job, plot, ground, summaries);
        let short = summaries.iter().filter(|summary| summary.is_short()).count();
        assert!(short <= 1, "{:?} {summaries:?}", plot.faults);
        assert!(summaries.iter().all(|summary| summary.is_short() == summary.complete().is_err()));
    });
}

#[test]
fn an_errno_fails_its_piece_and_no_other() {
    for errno in [libc::EIO, libc::EREMOTEIO] {
        let failures = Cell::new(0);
        sweep(Fault::Errno(errno), DEADLINE, |job, plot, ground, end, summaries| {
            assert!(end.is_ok());
            assert_told(job, plot, ground, summaries);
            let failed: Vec<_> = summaries.iter().filter(|summary| !is_whole(summary)).collect();
            assert!(failed.len() <= 1 && failed.iter().all(|summary| summary.errno() == Some(errno)));
            failures.set(failures.get() + failed.len());
        });
        assert!(failures.get() > 20, "the faults were met: {}", failures.get());
    }
}

#[test]
fn a_provider_that_goes_fails_pieces_with_its_own_errno() {
    let failures = Cell::new(0);
    sweep(Fault::ProviderGone(provider()), DEADLINE, |job, plot, ground, end, summaries| {
        assert!(end.is_ok(), "{end:?}");
        // Its memory has gone with it: what was read cannot be looked at, and what was written before is there.
        let file = on_file(&ground.machine, FILE);
        match job.direction {
            Direction::Read => assert!(file == plot.content, "{:?}: a read changes no file", plot.faults),
            Direction::Write => assert_arrived(job, plot, &file, summaries),
        }
        let gone = if plot.way == Way::Module { libc::ENODEV } else { libc::EFAULT };
        for summary in summaries.iter().filter(|summary| !is_whole(summary)) {
            assert_eq!(summary.errno(), Some(gone), "{:?} {summaries:?}", plot.faults);
            failures.set(failures.get() + 1);
        }
    });
    assert!(failures.get() > 20, "the provider went in the middle: {}", failures.get());
}

#[test]
fn what_is_withheld_ends_the_call_at_the_deadline_and_the_mover_works_on() {
    let _alone = alone();
    for way in [Way::P2pmem, Way::Module] {
        let plot = Plot { way, deadline: SOON, budget: 4096, faults: vec![(0, Fault::Withheld)], ..Plot::default() };
        let mut ground = plot.lay();
        let start = Instant::now();
        let job = Job { direction: Direction::Read, cuts: vec![300, 2000], shift: 0 };
        let (end, summaries) = job.run(&mut ground);
        assert!(matches!(end, Err(Error::Deadline(_))), "{end:?}");
        assert!(summaries[0].is_short() && !ground.mover.settle());
        // The only stage is held by what flies for ever: another bounce waits for it, and not for ever.
        let (end, _) = job.run(&mut ground);
        assert!(matches!(end, Err(Error::Deadline(_))), "{end:?}");
        let memory = ground.memory.slice(SHARE..SHARE + 512).expect("a slice");
        // It needs no stage. The deadline may be short for a busy machine.
        let direct = std::iter::repeat_with(|| ground.mover.read(&ground.lane, 512, &memory));
        let direct = direct.take_while(|_| start.elapsed() < DEADLINE).find_map(Result::ok).expect("a summary");
        assert_eq!(direct.complete().expect("it is whole"), 512);
    }
}

/// As [`assert_arrived`], and where the bytes come from they are as they were.
fn assert_told(job: &Job, plot: &Plot, ground: &Ground, summaries: &[Summary]) {
    let (memory, file) = (in_memory(&ground.memory), on_file(&ground.machine, FILE));
    let (kept, after) = match job.direction {
        Direction::Read => (file == plot.content, memory),
        Direction::Write => (memory == bytes(SHARE * PIECES, 100), file),
    };
    assert!(kept, "{:?}: where the bytes come from", plot.faults);
    assert_arrived(job, plot, &after, summaries);
}

/// Of what each piece is about, a byte is as it was or as it is to be, and no fewer have moved than was told; the rest is as it was.
fn assert_arrived(job: &Job, plot: &Plot, after: &[u8], summaries: &[Summary]) {
    let (mut file, mut memory) = (plot.content.clone(), bytes(SHARE * PIECES, 100));
    let before = if job.direction == Direction::Read { memory.clone() } else { file.clone() };
    let whole: Vec<u64> = summaries.iter().map(Summary::requested).collect();
    job.model(&mut file, &mut memory, &whole);
    let expected = if job.direction == Direction::Read { memory } else { file };
    assert_eq!(after.len(), expected.len(), "{:?}", plot.faults);
    let came = |at: usize| after[at] == expected[at];
    assert!((0..after.len()).all(|at| came(at) || after[at] == before[at]), "{:?}: strange bytes", plot.faults);
    for ((on_file, in_memory), summary) in job.ranges().zip(summaries) {
        let range = if job.direction == Direction::Read { in_memory } else { on_file };
        let moved = range.filter(|&at| came(at)).count() as u64;
        assert!(moved >= summary.bytes(), "{:?}: {moved} bytes came, told: {summary:?}", plot.faults);
    }
}

#[test]
fn what_is_withheld_at_any_operation_is_short_kept_and_counted_as_a_leak() {
    let _alone = alone();
    let (before, withheld) = (leaked_queues(), Cell::new(0));
    sweep(Fault::Withheld, SOON, |job, plot, ground, end, summaries| {
        if ground.mover.settle() {
            // It was not met. A busy machine may be late all the same.
            let late = matches!(end, Err(Error::Deadline(_)));
            assert!(late || end.is_ok() && summaries.iter().all(is_whole), "{:?} {end:?} {summaries:?}", plot.faults);
            return;
        }
        withheld.set(withheld.get() + 1);
        assert!(matches!(end, Err(Error::Deadline(_))), "{:?} {end:?}", plot.faults);
        assert!(summaries.iter().any(Summary::is_short), "{:?} {summaries:?}", plot.faults);
        let cut = summaries.iter().filter(|summary| summary.is_short());
        assert!(cut.clone().all(|summary| matches!(summary.complete(), Err(Error::Deadline(_)))), "the cause");
        // The deadline may be short for a busy machine.
        let start = Instant::now();
        while ground.mover.queue().in_flight() > 1 && start.elapsed() < DEADLINE {
            assert!(!ground.mover.settle());
        }
        assert_eq!(ground.mover.queue().in_flight(), 1, "the others have ended");
        assert_told(job, plot, ground, summaries);
    });
    assert!(withheld.get() > 20, "the faults were met: {}", withheld.get());
    assert!(leaked_queues() >= before + withheld.get(), "each is a queue that was leaked");
}
