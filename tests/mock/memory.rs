//! Pools and arenas.

use p2pdma::{
    Error,
    machine::Access,
    memory::{Arena, Provider},
    storage::File,
};

use crate::{SSD, address, contents, host_read, peer, queue, switch};

#[test]
fn a_pool_is_limited_and_takes_back_what_is_dropped() {
    let machine = switch();
    let most = peer(&machine, 64 << 20).unwrap();
    let full = peer(&machine, 4096).unwrap_err();
    assert!(matches!(full, Error::PoolExhausted(_)));
    assert!(full.to_string().contains("0 bytes of its 67108864"), "{full}");
    drop(most);
    assert!(peer(&machine, 4096).is_ok());
}

#[test]
fn memory_is_zero_at_first_and_ranges_are_held_to_it() {
    let machine = switch();
    let memory = peer(&machine, 4096).unwrap();
    assert_eq!(contents(&memory), vec![0; 4096]);
    assert!(memory.slice(4000..4097).is_err());
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is tested")]
    let backwards = memory.slice(10..5);
    assert!(backwards.is_err());
    assert!(memory.slice(100..200).unwrap().slice(50..101).is_err());
    assert!(memory.slice(..=usize::MAX).is_err());
    assert!(matches!(peer(&machine, 0), Err(Error::Invalid(_))));
}

#[test]
fn parts_of_an_arena_are_apart_and_go_back_after_their_operations() {
    let machine = switch();
    let provider = Provider::find(&machine, address("0000:05:00.0")).unwrap();
    let arena = Arena::new(&provider, 1 << 20).unwrap();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let (first, second) = (arena.allocate(4096, 4096).unwrap(), arena.allocate(4096, 4).unwrap());
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &first).unwrap();
    queue.read(&pair, 0, first.all()).unwrap();
    queue.read(&pair, 4096, second.all()).unwrap();
    assert_eq!(queue.wait().unwrap().bytes_direct() + queue.wait().unwrap().bytes_direct(), 8192);
    assert_eq!([contents(&first), contents(&second)].concat(), host_read(&mut queue, &file, 0, 8192));

    queue.read(&pair, 0, second.all()).unwrap();
    drop(second);
    assert_eq!(arena.free(), (1 << 20) - 8192, "an operation in flight keeps its part");
    queue.wait().unwrap().complete().unwrap();
    assert_eq!(arena.free(), (1 << 20) - 4096);
    drop((first, arena));
    assert_eq!(provider.pool().unwrap().available, provider.pool().unwrap().size);
}

#[test]
fn an_arena_within_an_arena_keeps_its_memory_from_the_outer_one() {
    let outer = Arena::of(peer(&switch(), 65_536).unwrap());
    let inner = Arena::of(outer.allocate(65_536, 4).unwrap());
    let part = inner.allocate(4096, 4).unwrap();
    drop(inner);
    assert_eq!(outer.free(), 0, "a part of it lives");
    assert!(matches!(outer.allocate(4096, 4), Err(Error::PoolExhausted(_))), "the same bytes twice");
    drop(part);
    assert_eq!(outer.free(), 65_536);
}

#[test]
fn alignment_counts_from_the_memory_and_not_from_the_part_that_an_arena_divides() {
    let machine = switch();
    let outer = Arena::of(peer(&machine, 65_536).unwrap());
    let _odd = outer.allocate(4, 4).unwrap();
    let inner = Arena::of(outer.allocate(32_768, 4).unwrap());
    let aligned = inner.allocate(4096, 4096).unwrap();
    // 4096 bytes would be refused as misaligned by a device that asks for it; the address tells.
    assert_eq!(inner.longest(), 32_768 - 4092 - 4096, "4092 bytes before it are left out");
    assert_eq!(aligned.len(), 4096);
}

#[test]
fn an_arena_refuses_what_it_has_not_got_with_the_numbers() {
    let provider = Provider::find(&switch(), address("0000:05:00.0")).unwrap();
    let arena = Arena::new(&provider, 65_536).unwrap();
    let _kept = arena.allocate(4096, 4096).unwrap();
    let full = arena.allocate(65_536, 4).unwrap_err();
    assert!(matches!(full, Error::PoolExhausted(_)));
    assert!(full.to_string().contains("61440 are free, 61440 in one piece"), "{full}");
    assert!(matches!(arena.allocate(0, 4), Err(Error::Invalid(_))));
    assert!(matches!(arena.allocate(4096, 3), Err(Error::Invalid(_))));
    assert!(matches!(arena.allocate(4096, 8192), Err(Error::Invalid(_))));
}
