//! Copies and transfers: where they may go, and what arrives.

use std::os::unix::fs::FileExt;

use p2pdma::machine::{
    Access, Direction,
    module::{Buffer, Pair, Transfer},
};

use crate::{MIB, World, errno, pattern};

const READ: Transfer = Transfer { direction: Direction::Read, offset: 0, position: 0, length: 4096 };
const BOTH: [Direction; 2] = [Direction::Read, Direction::Write];

fn buffer(world: &World) -> Buffer {
    world.module().alloc(world.gpu, MIB).expect("a buffer")
}

fn bound(world: &World, buffer: &Buffer) -> Pair {
    buffer.bind(world.file(Access::ReadWrite)).expect("a pair")
}

/// What the host reads, by its own path: through the page cache, which direct writes invalidate.
fn host_read(world: &World, position: u64, length: usize) -> Vec<u8> {
    let file = world.file(Access::Read).buffered().expect("it opens for the page cache");
    let file = std::fs::File::from(std::os::fd::AsFd::as_fd(&file).try_clone_to_owned().expect("a descriptor"));
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, position).expect("the host reads");
    bytes
}

#[test]
fn copies_go_to_any_byte_and_nowhere_else() {
    let world = World::new();
    let buffer = buffer(&world);
    let data = pattern(3, 200_001);
    buffer.write(4093, &data).expect("copied");
    let read = |offset, length| {
        let mut bytes = vec![0xee; length];
        buffer.read(offset, &mut bytes).map(|()| bytes)
    };
    assert!(read(4093, data.len()).expect("copied") == data);
    assert_eq!(read(4092, 1).expect("copied"), [0]);
    assert_eq!(read(4093 + data.len() as u64, 1).expect("copied"), [0]);
    for (offset, length) in [(MIB, 1), (MIB - 1, 2), (u64::MAX, 2), (0, 0), (0, (1 << 20) + 1)] {
        assert_eq!(errno(read(offset, length)), libc::EINVAL, "{offset} {length}");
        assert_eq!(errno(buffer.write(offset, &vec![0; length])), libc::EINVAL, "{offset} {length}");
    }
}

#[test]
fn what_is_misplaced_is_refused() {
    let world = World::new();
    let buffer = buffer(&world);
    let pair = bound(&world, &buffer);
    let misplaced = [
        Transfer { offset: 2, ..READ },
        Transfer { position: 256, ..READ },
        Transfer { length: 4095, ..READ },
        Transfer { length: 256, ..READ },
        Transfer { length: 0, ..READ },
        Transfer { offset: MIB, ..READ },
        Transfer { offset: MIB - 4096, length: 8192, ..READ },
        Transfer { offset: u64::MAX - 4095, length: 8192, ..READ },
        Transfer { length: 65 << 20, ..READ },
        Transfer { position: u64::MAX - 511, length: 512, ..READ },
        Transfer { position: 1 << 63, ..READ },
        Transfer { position: i64::MAX as u64 - 511, ..READ },
    ];
    for (transfer, direction) in misplaced.into_iter().flat_map(|at| BOTH.map(|direction| (at, direction))) {
        let transfer = Transfer { direction, ..transfer };
        assert_eq!(errno(pair.io(transfer)), libc::EINVAL, "{transfer:?}");
    }
    assert_eq!(errno(pair.io(Transfer { offset: MIB - 508, length: 512, ..READ })), libc::EINVAL, "4 bytes too many");
    assert_eq!(errno(pair.io(Transfer { offset: MIB - 512, length: 512, ..READ })), 0);
}

#[test]
fn what_is_written_is_what_the_host_reads_and_what_is_read_again() {
    let world = World::new();
    let buffer = buffer(&world);
    let pair = bound(&world, &buffer);
    let data = pattern(5, 65_536);
    buffer.write(8, &data).expect("copied");
    let write = Transfer { direction: Direction::Write, offset: 8, position: 512, length: 65_536 };
    let moved = pair.io(write).expect("written");
    assert_eq!((moved.bytes, moved.buffered), (65_536, false));
    assert!(host_read(&world, 512, data.len()) == data);
    let read = Transfer { direction: Direction::Read, offset: 131_076, ..write };
    assert_eq!(pair.io(read).expect("read").bytes, 65_536);
    let mut back = vec![0; data.len()];
    buffer.read(131_076, &mut back).expect("copied");
    assert!(back == data);
}

#[test]
fn at_the_end_of_the_device_transfers_are_short_and_behind_it_there_is_nothing() {
    let world = World::new();
    let (buffer, end) = (buffer(&world), world.file(Access::Read).size());
    let pair = bound(&world, &buffer);
    let at = |direction, position| Transfer { direction, position, length: 8192, ..READ };
    for direction in BOTH {
        assert_eq!(pair.io(at(direction, end - 4096)).expect("short").bytes, 4096, "{direction}");
    }
    assert_eq!(pair.io(at(Direction::Read, end)).expect("nothing").bytes, 0);
    assert_eq!(errno(pair.io(at(Direction::Write, end))), libc::ENOSPC);
    assert_eq!(world.file(Access::Read).size(), end, "a device does not grow");
}
