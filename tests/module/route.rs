//! Routes are looked at again when root says so, and I/O goes on meanwhile.

use std::{
    os::fd::AsRawFd,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use io_uring::IoUring;
use p2pdma_sys::*;

use crate::{
    gpu::attribute,
    objects::*,
    ring::{Request, Ring, modes},
};

#[test]
fn refresh_takes_a_one_and_nothing_else() {
    attribute("refresh", "1").expect("refreshed");
    attribute("refresh", "1\n").expect("refreshed");
    for text in ["0", "11", "yes"] {
        assert_eq!(attribute("refresh", text), Err(libc::EINVAL), "{text}");
    }
}

/// Ends a thread that looks at the flag, also when the test fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Submitters that may not sleep leave the look at the route to a worker.
#[test]
fn io_goes_on_while_routes_are_refreshed() {
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(MIB), ssd());
    let pair = buffer.bind(&file).expect("a pair");
    host_write(&file, 0, &pattern(71, MIB));
    let part = |offset: usize| Request { op: P2PDMA_USER_READ, offset, position: offset as u64, length: 16 * KIB };
    let all: Vec<Request> = (0..MIB).step_by(16 * KIB).map(part).collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _done = Done(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                attribute("refresh", "1").expect("refreshed");
                thread::yield_now();
            }
        });
        for (_, builder) in modes() {
            buffer.write(0, &vec![0; MIB]).expect("copied");
            assert_eq!(Ring::of(&builder, &pair).all(&all, 32), vec![16 << 10; all.len()]);
            assert!(buffer.read(0, MIB).expect("copied") == pattern(71, MIB));
            assert_eq!(pair.io(P2PDMA_USER_READ, 0, 0, MIB), Ok((MIB as u32, 0)));
        }
    });
}

/// Linux 6.12 issues a command that was put off again from its copy of the entry, but tells the module where the entry
/// was: there, another may have been put in the meantime.
#[test]
fn a_command_that_is_put_off_is_not_taken_for_the_next() {
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(MIB), ssd());
    let pair = buffer.bind(&file).expect("a pair");
    host_write(&file, 0, &pattern(81, MIB));
    let ring = IoUring::builder().setup_cqsize(64).build(2).expect("a ring");
    ring.submitter().register_files(&[pair.fd.as_raw_fd()]).expect("registered");
    let mut ring = Ring(ring);
    for _ in 0..8 {
        buffer.write(0, &vec![0; MIB]).expect("copied");
        for part in 0..64 {
            let (offset, position) = (part << 14, (part << 14) as u64);
            attribute("refresh", "1").expect("refreshed");
            ring.push(&Request { op: P2PDMA_USER_READ, offset, position, length: 16 * KIB }.entry(0));
            ring.submit();
        }
        (0..64).for_each(|_| assert_eq!(ring.wait(), (0, 16 << 10)));
        assert!(buffer.read(0, MIB).expect("copied") == pattern(81, MIB));
    }
}
