//! 1, 8, 64 and 1,024 operations in flight, of 4 KiB and of 1 MiB, at any 4-byte address; every byte compared.

use std::{fs::File, thread};

use p2pdma_sys::*;

use crate::{
    files::{Xfs, big_file_on_ext4},
    gpu::{Layout, StandIn},
    objects::*,
    ring::{Request, Ring},
};

/// One operation's place in a buffer that begins anywhere, and its place in the file.
pub(crate) struct Piece {
    pub offset: usize,
    pub position: u64,
    pub length: usize,
}

impl Piece {
    pub(crate) fn request(&self, op: u32) -> Request {
        Request { op, offset: self.offset, position: self.position, length: self.length }
    }

    pub(crate) fn pattern(&self, seed: u64) -> Vec<u8> {
        pattern(seed ^ self.position, self.length)
    }
}

/// `depth` pieces, one in eight of 1 MiB, up to 32 of these. In memory they lie `step` bytes apart, so that with a step of 4 they
/// are 4, 8, 12, ... bytes off any page; in the file one block apart and the other way round.
pub(crate) fn pieces(depth: usize, step: usize) -> Vec<Piece> {
    let large = |index: usize| index % 8 == 0 && index < 256;
    let lengths = (0..depth).map(|index| if large(index) { MIB } else { 4 * KIB });
    let mut end = step;
    let mut pieces: Vec<Piece> = lengths
        .map(|length| {
            let offset = end;
            end += length + step;
            Piece { offset, position: 0, length }
        })
        .collect();
    let mut position = 512;
    for piece in pieces.iter_mut().rev() {
        piece.position = position;
        position += piece.length as u64 + 512;
    }
    pieces
}

pub(crate) fn room_for(pieces: &[Piece]) -> usize {
    pieces.iter().map(|piece| piece.offset + piece.length).max().expect("a piece")
}

/// Calls `transfer` with the pieces to be read, then to be written; holds the one against what the host wrote, the other
/// against what the host reads.
pub(crate) fn both_directions(file: &File, pieces: &[Piece], buffer: &Buffer, mut transfer: impl FnMut(u32)) {
    for piece in pieces {
        host_write(file, piece.position, &piece.pattern(1));
    }
    transfer(P2PDMA_USER_READ);
    for piece in pieces {
        let got = buffer.read(piece.offset, piece.length).expect("copied");
        assert!(got == piece.pattern(1), "read of {} bytes into {}", piece.length, piece.offset);
        buffer.write(piece.offset, &piece.pattern(2)).expect("copied");
    }
    transfer(P2PDMA_USER_WRITE);
    for piece in pieces {
        let got = host_read(file, piece.position, piece.length);
        assert!(got == piece.pattern(2), "write of {} bytes to {}", piece.length, piece.position);
    }
}

fn together(file: &File, pieces: &[Piece], buffer: &Buffer) {
    let pair = buffer.bind(file).expect("a pair");
    let mut ring = Ring::deep(&pair, pieces.len() as u32);
    let wanted: Vec<i32> = pieces.iter().map(|piece| piece.length as i32).collect();
    both_directions(file, pieces, buffer, |op| {
        let all: Vec<Request> = pieces.iter().map(|piece| piece.request(op)).collect();
        assert_eq!(ring.together(&all), wanted, "depth {}", pieces.len());
    });
}

fn all_at_once(file: &File, depth: usize) {
    let pieces = pieces(depth, 4);
    together(file, &pieces, &Buffer::of_gpu(room_for(&pieces)));
}

/// As many threads as operations, each with an ioctl of its own.
fn by_threads(file: &File, depth: usize) {
    let pieces = pieces(depth, 4);
    let buffer = Buffer::of_gpu(room_for(&pieces));
    let pair = buffer.bind(file).expect("a pair");
    both_directions(file, &pieces, &buffer, |op| {
        thread::scope(|scope| {
            for piece in &pieces {
                let Piece { offset, position, length } = *piece;
                let pair = &pair;
                scope.spawn(move || assert_eq!(pair.io(op, offset, position, length), Ok((length as u32, 0))));
            }
        });
    });
}

pub(crate) const DEPTHS: [usize; 4] = [1, 8, 64, 1024];

#[test]
fn a_thousand_commands_in_flight_on_a_raw_device() {
    let _alone = alone();
    DEPTHS.iter().for_each(|depth| all_at_once(&ssd(), *depth));
}

#[test]
fn a_thousand_commands_in_flight_on_ext4() {
    let _alone = alone();
    let file = big_file_on_ext4("depth");
    DEPTHS.iter().for_each(|depth| all_at_once(&file, *depth));
}

#[test]
fn a_thousand_commands_in_flight_on_xfs() {
    let _alone = alone();
    let mounted = Xfs::mount();
    let file = mounted.big_file("depth");
    DEPTHS.iter().for_each(|depth| all_at_once(&file, *depth));
}

#[test]
fn a_thousand_commands_in_flight_on_a_gpus_memory_at_any_four_byte_address() {
    let _alone = alone();
    let gpu = StandIn::provided();
    for file in [ssd(), big_file_on_ext4("depth")] {
        let pieces = pieces(1024, 4);
        let registered = gpu.register(0, room_for(&pieces).next_multiple_of(4 * KIB), Layout::default());
        together(&file, &pieces, &registered.buffer);
    }
}

/// Half a thousand runs, backwards in the BAR: 1 MiB goes over 16 of them, and of the small ones, a block apart, many go over two.
#[test]
fn a_thousand_commands_in_flight_on_memory_of_many_runs() {
    let _alone = alone();
    let gpu = StandIn::provided();
    let layout = Layout { segment: 64 * KIB, gap: 4 * KIB, reverse: true };
    for file in [ssd(), big_file_on_ext4("runs")] {
        let pieces = pieces(1024, 512);
        let registered = gpu.register(0, room_for(&pieces).next_multiple_of(layout.segment), layout);
        together(&file, &pieces, &registered.buffer);
    }
}

#[test]
fn many_threads_with_an_ioctl_each() {
    let _alone = alone();
    for file in [ssd(), big_file_on_ext4("threads")] {
        [8, 64].iter().for_each(|depth| by_threads(&file, *depth));
    }
}

#[test]
fn less_than_four_bytes_and_a_block_is_refused_on_a_file_too() {
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(MIB), big_file_on_ext4("aligned"));
    let pair = buffer.bind(&file).expect("a pair");
    let (memory, block) = (pair.bound.out_memory_align, u64::from(pair.bound.out_offset_align));
    assert_eq!((memory, block), (4, 512));
    let refused = |offset, position, length| {
        for op in [P2PDMA_USER_READ, P2PDMA_USER_WRITE] {
            assert_eq!(pair.io(op, offset, position, length), Err(libc::EINVAL), "{offset} {position} {length}");
        }
    };
    [1, 2, 3, 4095].iter().for_each(|offset| refused(*offset, 0, 4096));
    (0..9).for_each(|bit| refused(0, 1 << bit, 4096));
    (0..9).for_each(|bit| refused(0, 0, 4096 | 1 << bit));
}
