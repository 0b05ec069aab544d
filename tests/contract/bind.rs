//! What may be bound to what, and what comes of it.

use std::{fs, os::unix::fs::OpenOptionsExt};

use p2pdma::machine::{Access, Direction, module::Transfer};

use crate::{World, errno, held, pattern, reopened};

const READ: Transfer = Transfer { direction: Direction::Read, offset: 0, position: 0, length: 4096 };
const WRITE: Transfer = Transfer { direction: Direction::Write, ..READ };

/// `P2PDMA_ROUTE=no` says that there is none.
#[test]
fn a_pair_is_made_where_there_is_a_route_and_refused_where_there_is_none() {
    let world = World::new();
    let buffer = world.module().alloc(world.gpu, 4096).expect("a buffer");
    let pair = buffer.bind(world.file(Access::Read));
    if std::env::var("P2PDMA_ROUTE").as_deref() == Ok("no") {
        return assert_eq!(errno(pair), libc::EREMOTEIO);
    }
    let bound = pair.expect("a pair").bound();
    assert_eq!((bound.memory_alignment, bound.offset_alignment, bound.distance), (4, 512, 4));
}

#[test]
fn bind_refuses_by_its_table() {
    let world = World::new();
    let buffer = world.module().alloc(world.gpu, 4096).expect("a buffer");
    let ssd = world.file(Access::Read);
    let anew = |flags| reopened(&ssd, fs::File::options().read(true), flags);
    assert_eq!(errno(buffer.bind(anew(libc::O_PATH))), libc::EBADF);
    assert_eq!(errno(buffer.bind(anew(0))), libc::EINVAL, "no O_DIRECT");
    assert_eq!(errno(buffer.bind(anew(libc::O_DIRECT | libc::O_APPEND))), libc::EINVAL);
    assert_eq!(errno(buffer.bind(fs::File::open("/dev/null").expect("a file"))), libc::EINVAL, "a character device");
    let mut options = fs::File::options();
    let tmpfs = options.read(true).write(true).create(true).truncate(false).custom_flags(libc::O_DIRECT);
    let tmpfs = tmpfs.open("/dev/shm/p2pdma-contract").expect("a file on tmpfs");
    fs::remove_file("/dev/shm/p2pdma-contract").expect("it goes");
    assert_eq!(errno(buffer.bind(tmpfs)), libc::EOPNOTSUPP, "tmpfs lies on no device");
}

#[test]
fn a_pair_has_the_rights_of_the_open_file() {
    let world = World::new();
    let buffer = world.module().alloc(world.gpu, 4096).expect("a buffer");
    let ssd = world.file(Access::Read);
    let reader = buffer.bind(&ssd).expect("a pair");
    assert_eq!((reader.bound().readable, reader.bound().writable), (true, false));
    assert_eq!(errno(reader.io(WRITE)), libc::EBADF);
    assert_eq!(errno(reader.io(READ)), 0);
    let writer = buffer.bind(reopened(&ssd, fs::File::options().write(true), libc::O_DIRECT)).expect("a pair");
    assert_eq!((writer.bound().readable, writer.bound().writable), (false, true));
    assert_eq!(errno(writer.io(READ)), libc::EBADF);
    assert_eq!(errno(writer.io(WRITE)), 0);
}

#[test]
fn each_keeps_the_one_below_it() {
    let world = World::new();
    let module = world.module();
    let buffer = module.alloc(world.gpu, 4096).expect("a buffer");
    buffer.write(0, &pattern(7, 4096)).expect("copied");
    let pair = buffer.bind(world.file(Access::ReadWrite)).expect("a pair");
    let other = buffer.bind(world.file(Access::Read)).expect("another");
    drop((buffer, module));
    assert_eq!(held(&world.module()), (1, 4096, 2, 0), "the pairs keep buffer and file");
    assert_eq!(pair.io(WRITE).expect("written").bytes, 4096);
    drop(pair);
    assert_eq!(other.io(READ).expect("read").bytes, 4096);
}
