//! Writers of one file: parts of a call, handles of an inode, and movers in threads.

use p2pdma::{
    Error,
    machine::{Access, Direction, mock::Fault},
    memory::Copier,
    storage::File,
    transfer::{Mover, Options, Piece, Policy, Queue},
};

use crate::ground::*;

fn another(ground: &Ground, policy: Policy) -> (File, Mover) {
    let file = File::open(&ground.machine, FILE, Access::ReadWrite).expect("the same file");
    let mover = Mover::new(Queue::new(&ground.machine, Options::default()).expect("a queue"), policy);
    let mover = if policy == Policy::DirectOnly {
        mover
    } else {
        mover.with_copier(Copier::new().expect("a copier"), 8192).expect("stages")
    };
    (file, mover)
}

/// The end of one writer's bytes lies in the block before another's, and the file grows by both.
#[test]
fn writers_in_threads_lose_none_of_their_bytes_at_the_end_of_a_file() {
    for round in 0..50 {
        let mut ground = Plot { content: Vec::new(), ..Plot::default() }.lay();
        let (file, mut other) = another(&ground, Policy::DirectOnly);
        let lane = other.bind(&file, &ground.memory).expect("a lane");
        let shard = ground.memory.slice(SHARE..SHARE + 1024).expect("a slice");
        let second = std::thread::spawn(move || other.write(&lane, 1024, &shard).map(|summary| summary.complete()));
        let first = ground.memory.slice(..1000).expect("a slice");
        let first = ground.mover.write(&ground.lane, 0, &first).expect("a summary");
        let second = second.join().expect("no panic").expect("a summary");
        assert_eq!((first.complete().expect("whole"), second.expect("whole")), (1000, 1024));
        let (memory, after) = (in_memory(&ground.memory), on_file(&ground.machine, FILE));
        assert_eq!(after.len(), 2048, "{round}");
        assert!(after[..1000] == memory[..1000] && after[1024..] == memory[SHARE..SHARE + 1024], "{round}");
    }
}

/// A part that writes a block back, whose reading ends late, and a whole block of another piece at the same place: of what both
/// write it is open which stays, of what one writes alone it is not. By one handle and by two.
#[test]
fn a_block_that_is_written_back_does_not_undo_a_piece_that_overlaps_it() {
    for handles in [1, 2] {
        let mut ground = Plot { faults: vec![(0, Fault::Late(3))], ..Plot::default() }.lay();
        let (file, _) = another(&ground, Policy::DirectOnly);
        let second =
            if handles == 2 { ground.mover.bind(&file, &ground.memory).expect("a lane") } else { ground.lane.clone() };
        let [part, block] = [(0, 100), (SHARE, 512)].map(|(at, n)| ground.memory.slice(at..at + n).expect("a slice"));
        let piece = |lane, offset, memory| Piece { direction: Direction::Write, lane, offset, memory };
        let pieces = [piece(&ground.lane, 100, &part), piece(&second, 0, &block)];
        let mut summaries = Vec::new();
        ground.mover.run(&pieces, &mut summaries).expect("moved");
        assert!(summaries.iter().all(|summary| summary.complete().is_ok()), "{summaries:?}");
        let (memory, after) = (in_memory(&ground.memory), on_file(&ground.machine, FILE));
        let of_block = |at: usize| after[at] == memory[SHARE + at];
        assert!((0..100).chain(200..512).all(of_block), "{handles} handles: bytes of the whole block were lost");
    }
}

#[test]
fn a_piece_at_the_end_is_whole_though_another_moves_the_end_meanwhile() {
    for late in 0..4 {
        let content = bytes(700, 0);
        let mut ground =
            Plot { content: content.clone(), faults: vec![(late, Fault::Late(2))], ..Plot::default() }.lay();
        let [inner, far] = [(0, 50), (SHARE, 2048)].map(|(at, n)| ground.memory.slice(at..at + n).expect("a slice"));
        let piece = |offset, memory| Piece { direction: Direction::Write, lane: &ground.lane, offset, memory };
        let mut summaries = Vec::new();
        ground.mover.run(&[piece(600, &inner), piece(2048, &far)], &mut summaries).expect("moved");
        assert!(summaries.iter().all(|summary| summary.complete().is_ok()), "{summaries:?}");
        let (memory, after) = (in_memory(&ground.memory), on_file(&ground.machine, FILE));
        let expected =
            [&content[..600], &memory[..50], &content[650..], &[0; 1348], &memory[SHARE..SHARE + 2048]].concat();
        assert!(after == expected, "{late}");
    }
}

#[test]
fn a_hole_that_a_write_leaves_is_not_read_as_if_it_were_direct() {
    let mut ground = Plot { content: Vec::new(), policy: Policy::DirectOnly, ..Plot::default() }.lay();
    let memory = ground.memory.slice(..4096).expect("a slice");
    ground.mover.write(&ground.lane, 0, &memory).and_then(|summary| summary.complete()).expect("written");
    assert!(ground.mover.read(&ground.lane, 0, &memory).is_ok(), "no hole yet");
    ground.mover.write(&ground.lane, 16_384, &memory).and_then(|summary| summary.complete()).expect("written");
    let refused = ground.mover.read(&ground.lane, 8192, &memory).expect_err("a hole");
    assert!(matches!(refused, Error::NoDirectIo(_)) && refused.to_string().contains("hole"), "{refused}");
    assert!(ground.mover.read(&ground.lane, 16_384, &memory).is_ok());
    // Another handle had found no holes when it was opened.
    let early = File::open(&ground.machine, FILE, Access::Read).expect("a file");
    ground.mover.write(&ground.lane, 65_536, &memory).and_then(|summary| summary.complete()).expect("written");
    let (_, mut other) = another(&ground, Policy::DirectOnly);
    let lane = other.bind(&early, &ground.memory).expect("a lane");
    assert!(matches!(other.read(&lane, 32_768, &memory), Err(Error::NoDirectIo(_))), "behind what it knows");
}

#[test]
fn a_lane_that_was_given_up_is_still_its_clones() {
    let mut ground = Plot::default().lay();
    let (lane, memory) = (ground.lane.clone(), ground.memory.slice(..512).expect("a slice"));
    ground.mover.unbind(ground.lane).expect("it lets go");
    assert!(ground.mover.read(&lane, 0, &memory).and_then(|summary| summary.complete()).is_ok());
    let (_, mut other) = another(&Plot::default().lay(), Policy::DirectOnly);
    assert!(matches!(other.unbind(lane), Err(Error::Invalid(_))), "another mover's");
}
