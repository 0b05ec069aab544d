//! Entries for a ring of the caller's own, on the real kernel, by both ways.
#![expect(unsafe_code, reason = "the ring is this test's, and so is the promise to keep the memory")]

use std::os::fd::{AsFd, AsRawFd};

use io_uring::IoUring;
use p2pdma::{
    Error,
    machine::{Access, Direction},
    memory::{Copier, PeerMemory},
    transfer::Pair,
};

use super::{alone, bytes_of, gpu, queue, ssd};

const LENGTH: usize = 65_536;

/// One operation on a ring of this test's.
fn one(ring: &mut IoUring, pair: &Pair, direction: Direction, offset: u64, memory: &PeerMemory) -> (u64, u32) {
    // SAFETY: pair and memory are borrowed until the completion, which is waited for; place 0 of the ring is the pair's.
    let entry = unsafe { pair.prepare(direction, offset, &memory.all().into(), 0, 77) }.expect("an entry");
    // SAFETY: as above.
    unsafe { ring.submission().push(&entry) }.expect("room");
    ring.submit_and_wait(1).expect("submitted");
    let completion = ring.completion().next().expect("it was waited for");
    let moved = pair.moved(completion.result()).expect("no errno");
    assert!(!moved.buffered);
    (completion.user_data(), moved.bytes)
}

#[test]
fn an_entry_on_a_ring_of_the_callers_own_moves_the_bytes_by_both_ways() {
    let _alone = alone();
    let file = ssd(Access::ReadWrite);
    let data: Vec<u8> = (0..LENGTH).map(|at| u8::try_from(at % 251 + 1).expect("a byte")).collect();
    let zeroes = vec![0; LENGTH];
    for memory in [gpu().allocate(LENGTH), gpu().allocate_buffer(LENGTH)] {
        let memory = memory.expect("memory");
        let pair = queue(1).bind(&file, &memory).expect("a route");
        let mut ring = IoUring::new(4).expect("a ring");
        ring.submitter().register_files(&[pair.as_fd().as_raw_fd()]).expect("registered");
        let mut copier = Copier::new().expect("a copier");
        copier.write(&data, &memory.all()).expect("copied");
        assert_eq!(one(&mut ring, &pair, Direction::Write, 8192, &memory), (77, 65_536));
        copier.write(&zeroes, &memory.all()).expect("copied");
        assert_eq!(one(&mut ring, &pair, Direction::Read, 8192, &memory), (77, 65_536));
        assert!(bytes_of(&memory) == data, "there and back");
        // SAFETY: it is refused, so there is nothing to promise.
        let refused = unsafe { pair.prepare(Direction::Read, 1, &memory.all().into(), 0, 0) };
        assert!(matches!(refused, Err(Error::Invalid(_))), "an odd place in the file");
    }
}

/// The last block of a file that grows goes through the page cache, and nothing of it stays there.
#[test]
fn a_file_on_ext4_ends_where_the_write_ended_and_its_neighbours_stay() {
    use p2pdma::transfer::{Mover, Policy};
    let _alone = alone();
    let file = super::module::file_on_ext4("grows", 0);
    let memory = gpu().allocate(LENGTH).expect("memory");
    let data: Vec<u8> = (0..LENGTH).map(|at| u8::try_from(at % 251 + 1).expect("a byte")).collect();
    Copier::new().and_then(|mut copier| copier.write(&data, &memory.all())).expect("copied");
    let mover = Mover::new(queue(8), Policy::PreferDirect);
    let mut mover = mover.with_copier(Copier::new().expect("a copier"), 1 << 20).expect("stages");
    let lane = mover.bind(&file, &memory).expect("a lane");
    let mut at = 0;
    for length in [1000, 24, 5000, 512, 1, 9000] {
        let part = memory.slice(at..at + length).expect("a part");
        let summary = mover.write(&lane, at as u64, &part).expect("a summary");
        assert_eq!((summary.is_suspect(), summary.complete().expect("whole")), (false, length as u64));
        at += length;
        assert_eq!(std::fs::metadata("/run/ext4/grows").expect("its length").len(), at as u64);
    }
    mover.sync(&file).expect("on stable storage");
    assert!(std::fs::read("/run/ext4/grows").expect("its bytes") == data[..at]);
}
