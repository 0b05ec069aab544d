//! Whether the bytes arrive: each way is held against the host's own direct reads and writes.

use std::fs::File;

use p2pdma_sys::*;

use crate::{
    files::file_on_ext4,
    objects::*,
    ring::{Request, Ring, modes},
};

pub(crate) const AREA: usize = 16 * MIB;

fn requests(op: u32, length: usize) -> Vec<Request> {
    // Backwards in the file, so that an offset taken for a position is found out.
    let request = |offset: usize| Request { op, offset, position: (AREA - length - offset) as u64, length };
    (0..AREA).step_by(AREA / 64).map(request).collect()
}

/// Reads by commands and compares with what the host wrote, then the other way round.
fn both_directions(ring: &mut Ring, buffer: &Buffer, file: &File, length: usize, depth: usize, seed: u64) {
    host_write(file, 0, &pattern(seed, AREA));
    buffer.write(0, &pattern(seed + 1, AREA)).expect("copied");
    let wanted = pattern(seed, AREA);
    let all = requests(P2PDMA_USER_READ, length);
    assert_eq!(ring.all(&all, depth), vec![length as i32; all.len()]);
    for request in &all {
        let at = request.position as usize;
        let got = buffer.read(request.offset, length).expect("copied");
        assert!(got == wanted[at..at + length], "read of {length} at depth {depth}: {request:?}");
    }

    let wanted = pattern(seed + 2, AREA);
    buffer.write(0, &wanted).expect("copied");
    let all = requests(P2PDMA_USER_WRITE, length);
    assert_eq!(ring.all(&all, depth), vec![length as i32; all.len()]);
    for request in &all {
        let got = host_read(file, request.position, length);
        assert!(got == wanted[request.offset..request.offset + length], "write of {length} at depth {depth}");
    }
}

pub(crate) fn sizes_and_depths(file: &File) {
    let buffer = Buffer::of_gpu(AREA);
    let pair = buffer.bind(file).expect("a pair");
    let mut ring = Ring::new(&pair);
    for (seed, (length, depth)) in [(4 * KIB, 64), (64 * KIB, 1), (64 * KIB, 8), (256 * KIB, 64)].iter().enumerate() {
        both_directions(&mut ring, &buffer, file, *length, *depth, seed as u64 * 3);
    }
}

#[test]
fn commands_and_the_host_agree_on_a_raw_device() {
    let _alone = alone();
    sizes_and_depths(&ssd());
}

#[test]
fn commands_and_the_host_agree_on_ext4() {
    let _alone = alone();
    sizes_and_depths(&file_on_ext4("agree"));
}

#[test]
fn every_kind_of_ring_will_do() {
    let _alone = alone();
    let buffer = Buffer::of_gpu(AREA);
    let file = ssd();
    let pair = buffer.bind(&file).expect("a pair");
    for (seed, (_, builder)) in modes().iter().enumerate() {
        let mut ring = Ring::of(builder, &pair);
        both_directions(&mut ring, &buffer, &file, 16 * KIB, 16, 100 + seed as u64 * 3);
    }
}

#[test]
fn one_command_may_be_much_larger_than_the_drive_takes_at_once() {
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(AREA), ssd());
    let pair = buffer.bind(&file).expect("a pair");
    host_write(&file, 0, &pattern(7, AREA));
    let request = Request { op: P2PDMA_USER_READ, offset: 0, position: 0, length: AREA };
    assert_eq!(Ring::new(&pair).one(&request.entry(0)), AREA as i32);
    assert!(buffer.read(0, AREA).expect("copied") == pattern(7, AREA));
}

#[test]
fn a_command_may_be_punted_to_a_worker() {
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(MIB), file_on_ext4("punted"));
    let pair = buffer.bind(&file).expect("a pair");
    let mut ring = Ring::new(&pair);
    for index in 0..64 {
        let offset = index << 14;
        let request = Request { op: P2PDMA_USER_READ, offset, position: offset as u64, length: 16 * KIB };
        ring.push(&request.entry(0).flags(io_uring::squeue::Flags::ASYNC));
    }
    ring.submit();
    (0..64).for_each(|_| assert_eq!(ring.wait().1, 16 * KIB as i32));
    assert!(buffer.read(0, MIB).expect("copied") == pattern(99, AREA)[..MIB]);
}

#[test]
fn the_ioctl_and_the_host_agree() {
    let _alone = alone();
    for file in [ssd(), file_on_ext4("ioctl")] {
        let buffer = Buffer::of_gpu(MIB);
        let pair = buffer.bind(&file).expect("a pair");
        host_write(&file, 8192, &pattern(11, 64 * KIB));
        assert_eq!(pair.io(P2PDMA_USER_READ, 4096, 8192, 64 * KIB), Ok((65_536, 0)));
        assert!(buffer.read(4096, 64 * KIB).expect("copied") == pattern(11, 64 * KIB));
        buffer.write(0, &pattern(12, MIB)).expect("copied");
        assert_eq!(pair.io(P2PDMA_USER_WRITE, 0, MIB as u64, MIB), Ok((MIB as u32, 0)));
        assert!(host_read(&file, MIB as u64, MIB) == pattern(12, MIB));
    }
}

#[test]
fn four_bytes_of_memory_and_a_block_of_storage_are_alignment_enough() {
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(MIB), ssd());
    let pair = buffer.bind(&file).expect("a pair");
    assert_eq!((pair.bound.out_memory_align, pair.bound.out_offset_align), (4, 512));
    host_write(&file, 0, &pattern(21, MIB));
    assert_eq!(pair.io(P2PDMA_USER_READ, 4092, 512, 512 * KIB), Ok((512 << 10, 0)));
    assert!(buffer.read(4092, 512 * KIB).expect("copied") == pattern(21, MIB)[512..512 + (512 << 10)]);
}

#[test]
fn the_end_of_a_device_is_a_short_read_and_breaks_no_chain() {
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(MIB), ssd());
    let pair = buffer.bind(&file).expect("a pair");
    let mut ring = Ring::new(&pair);
    let end = (512 * MIB - 4096) as u64;
    let short = Request { op: P2PDMA_USER_READ, offset: 0, position: end, length: MIB };
    let next = Request { op: P2PDMA_USER_READ, offset: 0, position: 0, length: 4096 };
    ring.push(&short.entry(1).flags(io_uring::squeue::Flags::IO_LINK));
    ring.push(&next.entry(2));
    ring.submit();
    assert_eq!([ring.wait(), ring.wait()], [(1, 4096), (2, 4096)]);
}

#[test]
fn memory_of_a_drive_serves_as_well() {
    let _alone = alone();
    let buffer = Buffer::of(device("CMB"), 64 * KIB).expect("a buffer of the CMB");
    let file = ssd();
    let pair = buffer.bind(&file).expect("a pair");
    host_write(&file, 0, &pattern(31, 64 * KIB));
    assert_eq!(pair.io(P2PDMA_USER_READ, 0, 0, 64 * KIB), Ok((65_536, 0)));
    assert!(buffer.read(0, 64 * KIB).expect("copied") == pattern(31, 64 * KIB));
}

/// A bio_vec counts 32 bits of bytes: contiguous memory is cut into runs of 2 GiB.
#[test]
#[ignore = "needs --topology large"]
fn a_buffer_of_more_than_four_gigabytes_is_whole() {
    const RUN: usize = 2 << 30;
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(2 * RUN + MIB), ssd());
    let pair = buffer.bind(&file).expect("a pair");
    host_write(&file, 0, &pattern(31, MIB));
    for border in [RUN, 2 * RUN] {
        let from = border - 512 * KIB;
        assert_eq!(pair.io(P2PDMA_USER_READ, from, 0, MIB), Ok((MIB as u32, 0)));
        assert!(buffer.read(from, MIB).expect("copied") == pattern(31, MIB), "over {border:#x}");
        assert!(buffer.read(from - MIB, MIB).expect("copied") == vec![0; MIB], "below {border:#x}");
    }
    assert!(buffer.read(0, MIB).expect("copied") == vec![0; MIB], "the beginning is as it was");
}
