//! Rules that every plan keeps, over random files, ranges, alignments, limits and policies.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits =
    Limits { offset_alignment: 512, memory_alignment: 4, most: 1 << 20, end: 1 << 24, grows: true, barrier: None };

fn read(offset: u64, length: u64, address: u64) -> Request {
    Request { direction: Direction::Read, offset, length, address }
}

fn plan(limits: &Limits, policy: Policy, request: &Request) -> Vec<(Way, u64, u64, u64)> {
    let plan = Plan::new(limits, policy, request).unwrap();
    plan.segments().map(|Segment { way, offset, length, bytes }| (way, offset, length, bytes)).collect()
}

#[test]
fn an_aligned_request_is_direct_in_pieces() {
    let segments = plan(&LIMITS, Policy::DirectOnly, &read(512, 3 << 20, 0));
    let starts: Vec<u64> = segments.iter().map(|segment| segment.1).collect();
    assert_eq!(starts, [512, 512 + (1 << 20), 512 + (2 << 20)]);
    assert!(segments.iter().all(|&(way, _, length, bytes)| way == Way::Direct && length == 1 << 20 && bytes == length));
}

#[test]
fn a_read_takes_the_block_in_which_the_file_ends_where_there_is_room() {
    let limits = Limits { end: 1000, ..LIMITS };
    let roomy = plan(&limits, Policy::DirectOnly, &read(0, 2048, 0));
    assert_eq!(roomy, [(Way::Direct, 0, 1024, 1000), (Way::End, 1000, 1048, 1048)]);
    let tight = plan(&limits, Policy::PreferDirect, &read(0, 1001, 0));
    assert_eq!(tight, [(Way::Direct, 0, 512, 512), (Way::Bounce(Reason::Tail), 512, 488, 488), (Way::End, 1000, 1, 1)]);
}

#[test]
fn behind_the_end_there_is_nothing() {
    assert_eq!(plan(&LIMITS, Policy::DirectOnly, &read(1 << 25, 7, 3)), [(Way::End, 1 << 25, 7, 7)]);
}

#[test]
fn memory_that_no_block_fits_bounces_and_says_so() {
    let request = read(0, 4096, 2);
    assert_eq!(plan(&LIMITS, Policy::PreferDirect, &request), [(Way::Bounce(Reason::Memory), 0, 4096, 4096)]);
    let refusal = Plan::new(&LIMITS, Policy::DirectOnly, &request).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "4096 bytes at 0: they cannot go direct: the memory is not aligned to the file's blocks; let memory begin at the \
         file's offset modulo 4 bytes, or allow Policy::PreferDirect"
    );
}

#[test]
fn a_device_is_not_written_past_its_end() {
    let limits = Limits { grows: false, ..LIMITS };
    let request = Request { direction: Direction::Write, ..read((1 << 24) - 512, 1024, 0) };
    let refusal = Plan::new(&limits, Policy::PreferDirect, &request).unwrap_err();
    assert!(matches!(refusal, Error::Invalid(_)));
    assert!(Plan::new(&LIMITS, Policy::PreferDirect, &request).is_ok());
}

#[test]
fn the_ends_of_numbers_are_refused_not_reached() {
    for (offset, length) in [(u64::MAX, 1), (u64::MAX, u64::MAX), (0, u64::MAX), (i64::MAX as u64, 1), (0, 0)] {
        assert!(matches!(Plan::new(&LIMITS, Policy::PreferDirect, &read(offset, length, 0)), Err(Error::Invalid(_))));
    }
}

prop_compose! {
    fn any_limits()(
        offset in 9_u32..=14, memory in 0_u32..=13, most in 14_u32..=17, odd in 0_u32..5000,
        end in 0_u64..200_000, grows: bool, barrier in prop::option::of(Just(Reason::Verdict)),
    ) -> Limits {
        Limits { offset_alignment: 1 << offset, memory_alignment: 1 << memory, most: (1 << most) + odd, end, grows, barrier }
    }
}

prop_compose! {
    fn any_request()(
        write: bool, offset in 0_u64..200_000, length in 1_u64..200_000, address: u64, aligned in 0_u32..3,
    ) -> Request {
        let cut = |value: u64| value >> (5 * aligned) << (5 * aligned);
        let direction = if write { Direction::Write } else { Direction::Read };
        Request { direction, offset: cut(offset), length: cut(length).max(1), address: cut(address) }
    }
}

fn any_policy() -> impl Strategy<Value = Policy> {
    prop_oneof![Just(Policy::DirectOnly), Just(Policy::PreferDirect), Just(Policy::BounceOnly)]
}

/// What an operation of its own would be refused for.
fn keeps_the_rules(limits: &Limits, request: &Request, segment: &Segment) -> bool {
    let address = request.address.wrapping_add(segment.offset - request.offset);
    let fits =
        segment.length <= limits.most.into() && segment.offset + segment.length <= request.offset + request.length;
    let aligned = |value: u64, to: u32| value % u64::from(to) == 0;
    match segment.way {
        Way::Direct => {
            fits && aligned(segment.offset | segment.length, limits.offset_alignment)
                && aligned(address, limits.memory_alignment)
        }
        Way::Bounce(_) => fits && segment.bytes == segment.length,
        Way::End => segment.bytes == segment.length,
    }
}

proptest! {
    #[test]
    fn a_plan_covers_its_request_once_and_breaks_no_rule(limits in any_limits(), request in any_request(), policy in any_policy()) {
        let Ok(plan) = Plan::new(&limits, policy, &request) else { return Ok(()) };
        let mut at = request.offset;
        for segment in plan.segments() {
            prop_assert_eq!(segment.offset, at);
            prop_assert!(segment.bytes > 0 && segment.bytes <= segment.length);
            prop_assert!(keeps_the_rules(&limits, &request, &segment), "{:?}", segment);
            prop_assert_eq!(segment.way == Way::End, request.direction == Direction::Read && at >= limits.end);
            at += segment.bytes;
        }
        prop_assert_eq!(at, request.offset + request.length);
    }

    #[test]
    fn bytes_add_up(limits in any_limits(), request in any_request(), policy in any_policy()) {
        let Ok(plan) = Plan::new(&limits, policy, &request) else { return Ok(()) };
        let sum = |way: fn(Way) -> bool| plan.segments().filter(|s| way(s.way)).map(|s| s.bytes).sum::<u64>();
        prop_assert_eq!(plan.bytes(), (sum(|way| way == Way::Direct), sum(|way| matches!(way, Way::Bounce(_)))));
    }

    #[test]
    fn policies_mean_what_they_say(limits in any_limits(), request in any_request()) {
        let bounced = |plan: &Plan| plan.bytes().1;
        let prefer = Plan::new(&limits, Policy::PreferDirect, &request);
        match (Plan::new(&limits, Policy::DirectOnly, &request), prefer) {
            (Ok(strict), Ok(prefer)) => prop_assert!(strict == prefer && bounced(&strict) == 0),
            (Err(Error::NoDirectIo(_)), Ok(prefer)) => prop_assert!(bounced(&prefer) > 0),
            (strict, prefer) => prop_assert!(matches!((strict, prefer), (Err(Error::Invalid(_)), Err(Error::Invalid(_))))),
        }
        if let Ok(plan) = Plan::new(&limits, Policy::BounceOnly, &request) {
            prop_assert_eq!(plan.bytes().0, 0);
        }
    }

    /// What could go direct does: at most a block beside the body bounces at either end.
    #[test]
    fn a_plan_bounces_no_more_than_it_must(limits in any_limits(), request in any_request()) {
        let limits = Limits { barrier: None, ..limits };
        let Ok(plan) = Plan::new(&limits, Policy::PreferDirect, &request) else { return Ok(()) };
        let unit = u64::from(limits.offset_alignment.max(limits.memory_alignment));
        let whole = plan.segments().any(|segment| segment.way == Way::Bounce(Reason::Memory));
        prop_assert!(whole || plan.bytes().1 < 2 * unit);
    }
}
