//! Operations that are certainly in flight: below them lies dm-linear, suspended, which keeps what it is given until it is resumed.
//! What happens meanwhile happens to all of them.

use std::{
    fs::File,
    os::{fd::AsRawFd, unix::net::UnixStream},
    thread,
};

use p2pdma_sys::*;

use crate::{
    depth::{DEPTHS, Piece, both_directions, pieces, room_for},
    files::file_on_ext4,
    gpu::{Layout, StandIn},
    handles::{Child, receive, send},
    life::{ALL, assert_filled, fill, fly, land},
    objects::*,
    ring::{Request, Ring},
    stack::{Stack, shell},
};

/// Nothing that is submitted to dm-linear ends before this is dropped.
struct Held;

impl Held {
    /// Without flushing, which would wait for what is on its way, and without freezing a file system.
    fn new() -> Self {
        shell("dmsetup suspend --noflush --nolockfs linear");
        Self
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        shell("dmsetup resume linear");
    }
}

/// A suspended device refuses whoever must not sleep; a worker then has it keep the operation.
fn in_flight(count: usize) {
    eventually(&format!("{count} in flight"), || stats().out_in_flight == count as u64);
}

/// A request for each piece; all of them in flight at once before the first may end.
fn all_in_flight(pair: &Pair, pieces: &[Piece], op: u32) {
    let mut ring = Ring::deep(pair, pieces.len() as u32);
    let held = Held::new();
    ring.launch(&pieces.iter().map(|piece| piece.request(op)).collect::<Vec<_>>());
    in_flight(pieces.len());
    assert!(ring.0.completion().next().is_none(), "held");
    drop(held);
    let wanted: Vec<i32> = pieces.iter().map(|piece| piece.length as i32).collect();
    assert_eq!(ring.gather(pieces.len()), wanted);
    assert_eq!(stats().out_in_flight, 0);
}

/// As a thousand and twenty-four do, so do the fewer.
fn each_depth_in_flight(file: &File, memory_of: impl Fn(usize) -> Buffer) {
    let step = memory_of(4096).bind(file).expect("a pair").bound.out_memory_align as usize;
    for depth in DEPTHS {
        let pieces = pieces(depth, step);
        let buffer = memory_of(room_for(&pieces).next_multiple_of(4 * KIB));
        let pair = buffer.bind(file).expect("a pair");
        both_directions(file, &pieces, &buffer, |op| all_in_flight(&pair, &pieces, op));
    }
}

#[test]
fn a_thousand_commands_are_in_flight_at_once() {
    let _alone = alone();
    let stack = Stack::named_linear();
    each_depth_in_flight(&stack.open(), Buffer::of_gpu);
}

#[test]
fn a_thousand_commands_are_in_flight_at_once_on_a_gpus_memory() {
    let _alone = alone();
    let (gpu, stack) = (StandIn::provided(), Stack::named_linear());
    each_depth_in_flight(&stack.open(), |length| gpu.register(0, length, Layout::default()).buffer);
}

#[test]
fn as_many_ioctls_are_in_flight_as_threads_wait_in_them() {
    let _alone = alone();
    let stack = Stack::named_linear();
    let (file, pieces) = (stack.open(), pieces(64, 512));
    let buffer = Buffer::of_gpu(room_for(&pieces));
    let pair = buffer.bind(&file).expect("a pair");
    both_directions(&file, &pieces, &buffer, |op| {
        thread::scope(|scope| {
            let held = Held::new();
            for piece in &pieces {
                let (Request { offset, position, length, .. }, pair) = (piece.request(op), &pair);
                scope.spawn(move || assert_eq!(pair.io(op, offset, position, length), Ok((length as u32, 0))));
            }
            in_flight(pieces.len());
            drop(held);
        });
    });
}

/// The process is gone before the first operation has ended, and all of them arrive all the same: DMA cannot be called back.
#[test]
fn what_a_killed_process_had_in_flight_arrives_in_memory_that_another_still_has() {
    let _alone = alone();
    let stack = Stack::named_linear();
    let (file, buffer) = (stack.open(), Buffer::of_gpu(32 * MIB));
    fill(&file, 4000);
    let pair = buffer.bind(&file).expect("a pair");
    let held = Held::new();
    drop(Child::new(|| {
        let mut ring = Ring::new(&pair);
        fly(&mut ring);
        in_flight(ALL);
        std::mem::forget(ring);
    }));
    assert_eq!(stats().out_in_flight, ALL as u64, "it is dead, they are not");
    drop(held);
    in_flight(0);
    assert_filled(&buffer, 4000);
}

#[test]
fn what_only_a_killed_process_had_lasts_as_long_as_its_operations() {
    let _alone = alone();
    let stack = Stack::named_linear();
    let held = Held::new();
    drop(Child::new(|| {
        let (buffer, file) = (Buffer::of_gpu(32 * MIB), stack.open());
        let mut ring = Ring::new(&buffer.bind(&file).expect("a pair"));
        fly(&mut ring);
        in_flight(ALL);
        std::mem::forget(ring);
    }));
    let now = stats();
    assert_eq!((now.out_buffers, now.out_pairs, now.out_in_flight), (1, 1, ALL as u64));
    drop(held);
    eventually("the end of all that the process held", || stats() == nothing());
}

/// The receiver adds as many of its own to those that the owner left.
#[test]
fn fds_sent_over_a_socket_are_good_while_the_dead_owners_operations_fly() {
    let _alone = alone();
    let stack = Stack::named_linear();
    fill(&stack.open(), 5000);
    let (ours, theirs) = UnixStream::pair().expect("sockets");
    let held = Held::new();
    drop(Child::new(|| {
        let (buffer, file) = (Buffer::of_gpu(32 * MIB), stack.open());
        let pair = buffer.bind(&file).expect("a pair");
        send(&theirs, [buffer.0.as_raw_fd(), pair.fd.as_raw_fd()]);
        let mut ring = Ring::new(&pair);
        fly(&mut ring);
        in_flight(ALL);
        std::mem::forget(ring);
    }));
    assert_eq!(stats().out_in_flight, ALL as u64, "the owner's");
    let [buffer, pair] = receive(&ours);
    let (buffer, pair) = (Buffer(buffer), Pair { fd: pair, bound: Default::default() });
    let mut ring = Ring::new(&pair);
    fly(&mut ring);
    in_flight(2 * ALL);
    drop(held);
    assert_eq!(land(&mut ring), vec![512 << 10; ALL]);
    in_flight(0);
    assert_filled(&buffer, 5000);
}

#[test]
fn a_number_used_again_while_writes_fly_moves_none_of_them() {
    let _alone = alone();
    let stack = Stack::named_linear();
    let (file, bound, other) = (stack.open(), stack.open(), file_on_ext4("other"));
    let (pieces, untouched) = (pieces(ALL, 512), host_read(&other, 0, 16 * MIB));
    let buffer = Buffer::of_gpu(room_for(&pieces));
    let pair = buffer.bind(&file).expect("a pair");
    for piece in &pieces {
        host_write(&bound, piece.position, &piece.pattern(1));
        buffer.write(piece.offset, &piece.pattern(2)).expect("copied");
    }
    let mut ring = Ring::new(&pair);
    let held = Held::new();
    ring.launch(&pieces.iter().map(|piece| piece.request(P2PDMA_USER_WRITE)).collect::<Vec<_>>());
    in_flight(ALL);
    // SAFETY: no pointers; both are open, and `file` is then the other one.
    assert!(unsafe { libc::dup2(other.as_raw_fd(), file.as_raw_fd()) } >= 0);
    drop(held);
    assert_eq!(ring.gather(ALL), pieces.iter().map(|piece| piece.length as i32).collect::<Vec<_>>());
    for piece in &pieces {
        assert!(host_read(&bound, piece.position, piece.length) == piece.pattern(2), "the file that was bound");
    }
    assert!(host_read(&other, 0, 16 * MIB) == untouched, "the file that took its number");
}
