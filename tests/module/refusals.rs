//! What is refused, and by which errno: the tables of the header, line by line.

use std::{fs::File, fs::OpenOptions, os::fd::AsRawFd, os::unix::fs::OpenOptionsExt};

use io_uring::{
    IoUring,
    opcode::{UringCmd16, UringCmd80},
    squeue::{Entry, Entry128},
    types::Fixed,
};
use p2pdma_sys::*;

use crate::{
    objects::*,
    ring::{Request, Ring, command},
};

const NOWHERE: p2pdma_user_address = p2pdma_user_address { domain: 0xffff_fff0, bus: 0, devfn: 0, reserved: 0 };

fn distance(provider: p2pdma_user_address, client: p2pdma_user_address) -> Result<i32, i32> {
    let size = size::<p2pdma_user_distance>();
    let mut args = p2pdma_user_distance { size, provider, client, ..Default::default() };
    call(&node(), P2PDMA_USER_DISTANCE, &mut args).map(|()| args.out_distance)
}

#[test]
fn distances_are_the_kernels() {
    let _alone = alone();
    assert_eq!(distance(device("GPU"), device("GPU")), Ok(0));
    assert_eq!(distance(NOWHERE, device("SSD")), Err(libc::ENODEV));
    assert_eq!(distance(device("GPU"), NOWHERE), Err(libc::ENODEV));
}

/// `P2PDMA_ROUTE=no` says that the guest's host bridge is one that the kernel does not trust.
#[test]
fn a_pair_is_made_where_there_is_a_route_and_refused_where_there_is_none() {
    let _alone = alone();
    let route = std::env::var("P2PDMA_ROUTE").unwrap_or_default() != "no";
    let expected = if route { 4 } else { -1 };
    assert_eq!(distance(device("GPU"), device("SSD")), Ok(expected));
    let bound = Buffer::of_gpu(4096).bind(&ssd()).map(|pair| pair.bound.out_distance);
    assert_eq!(bound, if route { Ok(expected) } else { Err(libc::EREMOTEIO) });
}

#[test]
fn alloc_refuses_by_its_table() {
    let _alone = alone();
    let refused = |provider, length| Buffer::of(provider, length).unwrap_err();
    assert_eq!(refused(device("GPU"), 0), libc::EINVAL);
    assert_eq!(refused(device("GPU"), usize::MAX), libc::EINVAL);
    assert_eq!(refused(device("GPU"), 65 * MIB), libc::ENOSPC);
    assert_eq!(refused(NOWHERE, 4096), libc::ENODEV);
    assert_eq!(refused(device("SSD"), 4096), libc::ENODEV, "it has no memory");
    let all = Buffer::of_gpu(64 * MIB);
    assert_eq!(refused(device("GPU"), 1), libc::ENOSPC);
    drop(all);
    Buffer::of_gpu(64 * MIB);
}

#[test]
fn memory_is_zero_although_its_last_user_left_data() {
    let _alone = alone();
    let buffer = Buffer::of_gpu(64 * MIB);
    buffer.write(0, &vec![0xa5; 64 * MIB]).expect("copied");
    drop(buffer);
    let buffer = Buffer::of_gpu(64 * MIB);
    assert!(buffer.read(0, 64 * MIB).expect("copied") == vec![0; 64 * MIB]);
}

/// Runs in a child with the rights of an ordinary user; gives what it returns.
fn as_user(work: impl Fn() -> i32) -> i32 {
    // SAFETY: the child executes only system calls and the closure, and ends by `_exit`.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            assert_eq!(libc::setresuid(1000, 1000, 1000), 0);
            libc::_exit(work());
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert!(libc::WIFEXITED(status));
        libc::WEXITSTATUS(status)
    }
}

#[test]
fn root_limits_what_a_user_holds() {
    let _alone = alone();
    let parameter = "/sys/module/p2pdma_user/parameters/user_bytes";
    std::fs::write(parameter, (2 * MIB).to_string()).expect("set");
    let root = Buffer::of_gpu(4 * MIB);
    let (node, provider) = (node(), device("GPU"));
    let size = size::<p2pdma_user_alloc>();
    let status = as_user(|| {
        let alloc = |length: usize| {
            let mut args = p2pdma_user_alloc { size, provider, length: length as u64, ..Default::default() };
            call(&node, P2PDMA_USER_ALLOC, &mut args)
        };
        let answers = [alloc(MIB), alloc(MIB + 1), alloc(MIB), alloc(1)];
        i32::from(answers != [Ok(()), Err(libc::EDQUOT), Ok(()), Err(libc::EDQUOT)])
    });
    std::fs::write(parameter, "0").expect("reset");
    drop(root);
    assert_eq!(status, 0);
}

fn opened(path: &str, flags: i32) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).custom_flags(flags).open(path).expect(path)
}

#[test]
fn bind_refuses_by_its_table() {
    let _alone = alone();
    let buffer = Buffer::of_gpu(4096);
    let refused = |file: &dyn AsRawFd| buffer.bind(&file.as_raw_fd()).unwrap_err();
    let (ssd, direct) = (variable("P2PDMA_SSD"), libc::O_DIRECT);
    assert_eq!(refused(&-1), libc::EBADF);
    assert_eq!(refused(&opened(&ssd, libc::O_PATH)), libc::EBADF);
    assert_eq!(refused(&opened(&ssd, 0)), libc::EINVAL, "no O_DIRECT");
    assert_eq!(refused(&opened(&ssd, direct | libc::O_APPEND)), libc::EINVAL);
    assert_eq!(refused(&node()), libc::EINVAL, "a character device");
    assert_eq!(refused(&buffer.0), libc::EINVAL, "a buffer");
    assert_eq!(refused(&opened("/dev/nullb0", direct)), libc::EOPNOTSUPP, "a queue without the feature");
    assert_eq!(refused(&opened("/dev/shm/file", direct)), libc::EOPNOTSUPP, "tmpfs");
}

#[test]
fn a_pair_has_the_rights_of_the_open_file() {
    let _alone = alone();
    let (buffer, path) = (Buffer::of_gpu(4096), variable("P2PDMA_SSD"));
    let pair = buffer.bind(&open_direct(&path, false)).expect("a pair");
    assert_eq!(pair.bound.out_access, P2PDMA_USER_ACCESS_READ);
    assert_eq!(pair.io(P2PDMA_USER_WRITE, 0, 0, 4096), Err(libc::EBADF));
    let write = Request { op: P2PDMA_USER_WRITE, offset: 0, position: 0, length: 4096 };
    assert_eq!(Ring::new(&pair).one(&write.entry(0)), -libc::EBADF);

    let mut options = OpenOptions::new();
    let pair = buffer.bind(&options.write(true).custom_flags(libc::O_DIRECT).open(path).expect("the SSD"));
    let pair = pair.expect("a pair");
    assert_eq!(pair.bound.out_access, P2PDMA_USER_ACCESS_WRITE);
    assert_eq!(pair.io(P2PDMA_USER_READ, 0, 0, 4096), Err(libc::EBADF));
}

#[test]
fn later_changes_of_the_files_flags_change_nothing() {
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(4096), ssd());
    let pair = buffer.bind(&file).expect("a pair");
    buffer.write(0, &pattern(41, 4096)).expect("copied");
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_APPEND) }, 0);
    assert_eq!(pair.io(P2PDMA_USER_WRITE, 0, 8192, 4096), Ok((4096, 0)));
    assert!(host_read(&ssd(), 8192, 4096) == pattern(41, 4096));
}

#[test]
fn copies_go_to_any_byte_and_nowhere_else() {
    let _alone = alone();
    let buffer = Buffer::of_gpu(MIB);
    let data = pattern(51, 200 * KIB);
    buffer.write(4093, &data[..200 * KIB - 7]).expect("copied");
    assert!(buffer.read(4093, 200 * KIB - 7).expect("copied") == data[..200 * KIB - 7]);
    assert_eq!(buffer.read(4092, 1), Ok(vec![0]));
    assert_eq!(buffer.read(4093 + 200 * KIB - 7, 1), Ok(vec![0]));
    for (offset, length) in [(MIB, 1), (MIB - 1, 2), (usize::MAX, 2), (0, 0), (0, MIB + 1)] {
        assert_eq!(buffer.read(offset, length), Err(libc::EINVAL), "{offset} {length}");
    }
    let size = size::<p2pdma_user_copy>();
    for (direction, expected) in [(0, libc::EINVAL), (1, libc::EFAULT), (2, libc::EFAULT), (3, libc::EINVAL)] {
        let mut args = p2pdma_user_copy { size, direction, length: 1, address: 8, ..Default::default() };
        assert_eq!(call(&buffer.0, P2PDMA_USER_COPY, &mut args), Err(expected), "direction {direction}");
    }
}

/// What both ways of I/O refuse as out of bounds or misaligned: offset, position, length.
const MISPLACED: [(usize, u64, usize); 12] = [
    (2, 0, 4096),
    (0, 256, 4096),
    (0, 0, 4095),
    (0, 0, 256),
    (0, 0, 0),
    (MIB, 0, 4096),
    (MIB - 4096, 0, 8192),
    (usize::MAX - 4095, 0, 8192),
    (0, 0, 65 * MIB),
    (0, u64::MAX - 511, 512),
    (0, 1 << 63, 4096),
    (0, i64::MAX as u64 - 511, 4096),
];

#[test]
fn misplaced_io_is_refused_by_both_ways() {
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(MIB), ssd());
    let pair = buffer.bind(&file).expect("a pair");
    let mut ring = Ring::new(&pair);
    for (offset, position, length) in MISPLACED {
        for op in [P2PDMA_USER_READ, P2PDMA_USER_WRITE] {
            let request = Request { op, offset, position, length };
            assert_eq!(ring.one(&request.entry(0)), -libc::EINVAL, "{request:?}");
            assert_eq!(pair.io(op, offset, position, length), Err(libc::EINVAL), "{request:?}");
        }
    }
    assert_eq!(pair.io(0, 0, 0, 4096), Err(libc::EOPNOTSUPP));
    assert_eq!(pair.io(P2PDMA_USER_IO, 0, 0, 4096), Err(libc::EOPNOTSUPP));
}

/// Changes one byte of an entry, by its place in `struct io_uring_sqe`.
fn with_byte(entry: Entry, at: usize) -> Entry {
    // SAFETY: both are 64 bytes that may hold anything.
    unsafe {
        let mut bytes = std::mem::transmute::<Entry, [u8; 64]>(entry);
        bytes[at] = 1;
        std::mem::transmute::<[u8; 64], Entry>(bytes)
    }
}

#[test]
fn each_reserved_byte_of_a_command_is_refused() {
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(MIB), ssd());
    let pair = buffer.bind(&file).expect("a pair");
    let mut ring = Ring::new(&pair);
    let read = || command(P2PDMA_USER_READ, 0, p2pdma_user_cmd { position: 0, length: 4096, flags: 0 });
    assert_eq!(ring.one(&read()), 4096);
    // len, buf_index, splice_fd_in, flags of the payload
    for at in (24..28).chain(40..42).chain(44..48).chain(60..64) {
        assert_eq!(ring.one(&with_byte(read(), at)), -libc::EOPNOTSUPP, "byte {at}");
    }
    // ioprio and the upper half of off are io_uring's own to refuse
    for at in (2..4).chain(12..16) {
        assert_eq!(ring.one(&with_byte(read(), at)), -libc::EINVAL, "byte {at}");
    }
    for op in [0, P2PDMA_USER_IO, P2PDMA_USER_WRITE + 1] {
        let unknown = UringCmd16::new(Fixed(0), op).build();
        assert_eq!(ring.one(&unknown), -libc::EOPNOTSUPP);
    }
}

#[test]
fn the_second_half_of_a_large_entry_is_reserved() {
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(4096), ssd());
    let pair = buffer.bind(&file).expect("a pair");
    let mut ring: IoUring<Entry128> = IoUring::builder().build(8).expect("a ring");
    ring.submitter().register_files(&[pair.fd.as_raw_fd()]).expect("registered");
    let mut result_with = |at: usize, byte: u8| {
        let mut cmd = [0; 80];
        cmd[8..12].copy_from_slice(&4096_u32.to_le_bytes());
        cmd[at] |= byte;
        let entry = UringCmd80::new(Fixed(0), P2PDMA_USER_READ).addr(Some(0)).cmd(cmd).build();
        // SAFETY: it names no memory of this process.
        unsafe { ring.submission().push(&entry) }.expect("room");
        ring.submit_and_wait(1).expect("submitted");
        ring.completion().next().expect("its end").result()
    };
    assert_eq!(result_with(16, 0), 4096);
    (16..80).for_each(|at| assert_eq!(result_with(at, 1), -libc::EOPNOTSUPP, "byte {at}"));
}
