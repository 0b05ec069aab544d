//! Movers on the mock machine: whatever is asked for, under any policy and with any fault, the bytes are where they belong and
//! the summaries add up.

#![expect(clippy::expect_used, reason = "a test ends where its ground gives way")]

mod faults;
mod ground;
mod many;
mod shared;

use p2pdma::{
    Error,
    machine::{
        Direction,
        mock::{Cpu, Fault},
    },
    transfer::{Evidence, Mover, Options, Policy, Queue, Reason, Sight, Summary},
    verdict::Way,
};
use proptest::prelude::*;

use crate::ground::*;

fn any_plot() -> impl Strategy<Value = Plot> {
    let way = prop_oneof![Just(Way::P2pmem), Just(Way::Module)];
    let policy = prop_oneof![Just(Policy::PreferDirect), Just(Policy::BounceOnly)];
    // Below the listed processor no route is known, and all of it bounces.
    let cpu = prop_oneof![3 => Just(Cpu::AmdZen), 1 => Just(Cpu::IntelUnlisted)];
    (way, policy, cpu, 0_usize..20_000, 1_u32..6, 1_usize..4).prop_map(|(way, policy, cpu, length, depth, stages)| {
        Plot { way, policy, cpu, content: bytes(length, 0), depth, budget: stages * 4096, ..Plot::default() }
    })
}

fn any_job() -> impl Strategy<Value = Job> {
    let direction = prop_oneof![Just(Direction::Read), Just(Direction::Write)];
    let aligned = prop_oneof![Just(1_u64), Just(4), Just(512)];
    (direction, aligned, prop::collection::btree_set(0_u64..24_000, 2..=PIECES + 1), 0_usize..600).prop_map(
        |(direction, aligned, cuts, shift)| {
            let mut cuts: Vec<u64> = cuts.into_iter().map(|cut| cut / aligned * aligned).collect();
            cuts.dedup();
            if cuts.len() < 2 {
                cuts.push(cuts[0] + aligned);
            }
            Job { direction, cuts, shift: shift / usize::try_from(aligned).unwrap_or(1) * 4 }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_asked_for_arrives_and_adds_up(plot in any_plot(), job in any_job()) {
        let mut ground = plot.lay();
        let (mut file, mut memory) = (plot.content.clone(), in_memory(&ground.memory));
        let (end, summaries) = job.run(&mut ground);
        prop_assert!(end.is_ok(), "{end:?}");
        prop_assert!(summaries.iter().all(|summary| adds_up(summary) && is_whole(summary)), "{summaries:?}");
        job.model(&mut file, &mut memory, &moved(&summaries));
        prop_assert!(on_file(&ground.machine, FILE) == file, "the file");
        prop_assert!(in_memory(&ground.memory) == memory, "the memory");
    }

    /// Whole blocks of a device or a file, and nothing but direct.
    #[test]
    fn what_is_aligned_goes_direct_and_nothing_else_does(
        way in prop_oneof![Just(Way::P2pmem), Just(Way::Module)],
        path in prop_oneof![Just(FILE), Just(SSD)],
        (direction, cuts) in (any::<bool>(), prop::collection::btree_set(0_u64..40, 2..=PIECES + 1)),
        depth in 1_u32..6,
    ) {
        let content = bytes(20_480, 0);
        let mut ground = Plot { path, content, way, policy: Policy::DirectOnly, depth, ..Plot::default() }.lay();
        let direction = if direction { Direction::Read } else { Direction::Write };
        let job = Job { direction, cuts: cuts.into_iter().map(|cut| cut * 512).collect(), shift: 4 };
        let (mut file, mut memory) = (on_file(&ground.machine, path), in_memory(&ground.memory));
        let (end, summaries) = job.run(&mut ground);
        prop_assert!(end.is_ok(), "{end:?}");
        let direct = |summary: &Summary| adds_up(summary) && summary.bytes_direct() == summary.requested();
        prop_assert!(summaries.iter().all(direct), "{summaries:?}");
        job.model(&mut file, &mut memory, &moved(&summaries));
        prop_assert!(on_file(&ground.machine, path) == file && in_memory(&ground.memory) == memory);
    }

    /// A device, through stages and past them.
    #[test]
    fn a_device_takes_whatever_lies_within_it(plot in any_plot(), job in any_job()) {
        let mut ground = Plot { path: SSD, ..plot }.lay();
        let (mut file, mut memory) = (on_file(&ground.machine, SSD), in_memory(&ground.memory));
        let (end, summaries) = job.run(&mut ground);
        prop_assert!(end.is_ok(), "{end:?}");
        prop_assert!(summaries.iter().all(|summary| adds_up(summary) && is_whole(summary)), "{summaries:?}");
        job.model(&mut file, &mut memory, &moved(&summaries));
        prop_assert!(on_file(&ground.machine, SSD) == file && in_memory(&ground.memory) == memory);
    }

    #[test]
    fn a_plan_and_its_summary_agree(plot in any_plot(), job in any_job()) {
        let mut ground = plot.lay();
        let plans: Vec<_> = job.ranges().zip(&job.cuts).map(|((_, range), &offset)| {
            let memory = ground.memory.slice(range).expect("a slice");
            ground.lane.plan(plot.policy, job.direction, offset, &memory).expect("a plan").bytes()
        }).collect();
        let (_, summaries) = job.run(&mut ground);
        // What lies behind the end at first is written by the piece before, in a write of many: the plan is of the start.
        let told: Vec<_> = summaries.iter().map(|summary| (summary.bytes_direct(), summary.bytes_bounced())).collect();
        prop_assert_eq!(told, plans);
    }
}

#[test]
fn direct_only_refuses_before_a_byte_moves() {
    let mut ground = Plot { policy: Policy::DirectOnly, ..Plot::default() }.lay();
    let job = Job { direction: Direction::Write, cuts: vec![0, 512, 1000], shift: 0 };
    let (end, summaries) = job.run(&mut ground);
    let refused = end.expect_err("the second piece ends within a block");
    assert!(matches!(refused, Error::NoDirectIo(_)) && summaries.is_empty());
    assert!(refused.to_string().contains("cannot go direct"), "{refused}");
    assert!(on_file(&ground.machine, FILE) == bytes(10_000, 0), "the first was not written either");
}

#[test]
fn without_a_copier_what_must_bounce_is_refused() {
    let Ground { machine, file, memory, .. } = Plot::default().lay();
    let mut mover = Mover::new(Queue::new(&machine, Options::default()).expect("a queue"), Policy::PreferDirect);
    let lane = mover.bind(&file, &memory).expect("a lane");
    let refused = mover.read(&lane, 1, &memory.slice(..100).expect("a slice")).expect_err("no copier");
    assert!(matches!(refused, Error::NoDirectIo(_)) && refused.to_string().contains("no copier"), "{refused}");
    assert_eq!(mover.read(&lane, 0, &memory.slice(..512).expect("a slice")).expect("direct").bytes_direct(), 512);
    let mut bounce = Mover::new(Queue::new(&machine, Options::default()).expect("a queue"), Policy::BounceOnly);
    let refused = bounce.bind(&file, &memory).expect_err("no copier");
    assert!(matches!(refused, Error::NoDirectIo(_)) && refused.to_string().contains("with_copier"), "{refused}");
}

#[test]
fn where_the_verdict_is_no_all_of_it_bounces_and_says_why() {
    let mut ground = Plot { cpu: Cpu::IntelUnlisted, ..Plot::default() }.lay();
    assert!(ground.lane.refused().is_some());
    let summary =
        ground.mover.read(&ground.lane, 0, &ground.memory.slice(..4096).expect("a slice")).expect("it bounces");
    assert_eq!((summary.bytes_direct(), summary.bytes_whole(), summary.reason()), (0, 4096, Some(Reason::Verdict)));
    assert_eq!(summary.complete().expect("it is allowed"), 4096);
}

#[test]
fn the_pages_that_a_filesystem_copied_are_told_and_refused_under_direct_only() {
    for policy in [Policy::DirectOnly, Policy::PreferDirect] {
        let faults = vec![(0, Fault::Buffered)];
        let mut ground = Plot { way: Way::Module, policy, faults, ..Plot::default() }.lay();
        let memory = ground.memory.slice(..4096).expect("a slice");
        let summary = ground.mover.read(&ground.lane, 0, &memory).expect("a summary");
        assert_eq!((summary.bytes_cached(), summary.reason()), (4096, Some(Reason::PageCache)));
        assert_eq!(summary.complete().is_err(), policy == Policy::DirectOnly);
        let again = ground.mover.read(&ground.lane, 0, &memory).expect("a summary");
        assert_eq!((again.bytes_direct(), again.evidence()), (4096, Some(Evidence::Observed)));
    }
}

#[test]
fn a_device_is_neither_padded_nor_cut() {
    let mut ground = Plot { path: SSD, ..Plot::default() }.lay();
    let before = on_file(&ground.machine, SSD);
    let job = Job { direction: Direction::Write, cuts: vec![65_000, 65_100, 65_536], shift: 0 };
    let (end, summaries) = job.run(&mut ground);
    assert!(end.is_ok() && summaries.iter().all(is_whole), "{end:?} {summaries:?}");
    let after = on_file(&ground.machine, SSD);
    assert!(after.len() == before.len() && after[..65_000] == before[..65_000]);
    let memory = ground.memory.slice(..512).expect("a slice");
    assert!(matches!(ground.mover.write(&ground.lane, 65_400, &memory), Err(Error::Invalid(_))), "behind its end");
}

#[test]
fn a_movers_lane_is_no_other_movers() {
    let (first, mut second) = (Plot::default().lay(), Plot::default().lay());
    let refused = second.mover.read(&first.lane, 0, &first.memory.all()).expect_err("another queue's");
    assert!(matches!(refused, Error::Invalid(_)), "{refused}");
    assert!(second.mover.bind(&first.file, &second.memory).is_err(), "another machine's");
}

#[test]
fn pieces_that_share_a_block_do_not_undo_one_another() {
    for policy in [Policy::PreferDirect, Policy::BounceOnly] {
        let plot = Plot { policy, depth: 8, budget: 65_536, ..Plot::default() };
        let mut ground = plot.lay();
        let job = Job { direction: Direction::Write, cuts: vec![100, 150, 200, 700, 1400], shift: 0 };
        let (end, summaries) = job.run(&mut ground);
        assert!(end.is_ok() && summaries.iter().all(is_whole), "{end:?} {summaries:?}");
        assert_moved(&job, &plot, &ground, &summaries);
    }
}

#[test]
fn a_copy_that_nobody_tells_of_is_seen_in_the_page_cache() {
    let faults = vec![(1, Fault::Buffered)];
    let Ground { memory, mut mover, lane, .. } = Plot { faults, ..Plot::default() }.lay();
    let memory = memory.slice(..4096).expect("a slice");
    assert_eq!(mover.witness(&lane), Sight::Unknown, "nothing to compare with");
    let first = mover.read(&lane, 0, &memory).expect("a summary");
    assert_eq!((first.evidence(), first.is_suspect()), (Some(Evidence::Witnessed), false));
    let copied = mover.read(&lane, 0, &memory).expect("a summary");
    assert_eq!(copied.evidence(), Some(Evidence::Inferred), "not looked at within a second, or seen on a slow machine");
    assert!(copied.is_suspect() || mover.witness(&lane) == Sight::Grown);
    assert_eq!(mover.witness(&lane), Sight::Unknown, "what is cached already cannot come in");
    let cached = mover.read(&lane, 0, &memory).expect("a summary");
    assert_eq!(cached.evidence(), Some(Evidence::Inferred), "so nothing witnesses it");
}

#[test]
fn a_copy_in_the_first_call_makes_it_suspect() {
    let mut ground = Plot { faults: vec![(0, Fault::Buffered)], ..Plot::default() }.lay();
    let summary =
        ground.mover.read(&ground.lane, 0, &ground.memory.slice(..4096).expect("a slice")).expect("a summary");
    assert_eq!((summary.evidence(), summary.is_suspect()), (Some(Evidence::Inferred), true));
}
