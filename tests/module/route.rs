//! Routes are looked at again when root says so, and I/O goes on meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};

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
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                attribute("refresh", "1").expect("refreshed");
                std::thread::yield_now();
            }
        });
        for (_, builder) in modes() {
            buffer.write(0, &vec![0; MIB]).expect("copied");
            assert_eq!(Ring::of(&builder, &pair).all(&all, 32), vec![16 << 10; all.len()]);
            assert!(buffer.read(0, MIB).expect("copied") == pattern(71, MIB));
            assert_eq!(pair.io(P2PDMA_USER_READ, 0, 0, MIB), Ok((MIB as u32, 0)));
        }
        done.store(true, Ordering::Relaxed);
    });
}
