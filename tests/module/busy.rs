//! Memory that its driver still clears or moves: REGISTER waits for the driver's fence, but no longer than ten seconds.

use std::{
    fs,
    os::fd::OwnedFd,
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use p2pdma_sys::*;

use crate::{gpu::*, objects::*};

/// Longer than REGISTER waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// A piece of a GPU that is at work on it.
fn busy(gpu: &StandIn, dynamic: i32) -> OwnedFd {
    let _parameters = [Parameter::set("busy", 1), Parameter::set("dynamic", dynamic)];
    gpu.export(0, MIB).expect("a dma-buf")
}

/// It is mapped, and the wait is what comes then.
fn is_waited_for() {
    eventually("the wait", || held()[2] == 1);
}

fn sleeps(thread: &Path) -> bool {
    let stat = fs::read_to_string(thread.join("stat"));
    stat.is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" S ")))
}

#[test]
fn register_waits_until_the_driver_has_done_its_work() {
    let _alone = alone();
    let (gpu, file) = (StandIn::provided(), ssd());
    host_write(&file, 0, &pattern(81, MIB));
    for dynamic in [0, 1] {
        let dmabuf = busy(&gpu, dynamic);
        let (sender, receiver) = mpsc::channel();
        let buffer = thread::scope(|scope| {
            let registering = scope.spawn(|| {
                sender.send(fs::canonicalize("/proc/thread-self").expect("a thread")).expect("heard");
                register(device("GPU"), &dmabuf)
            });
            let thread = receiver.recv().expect("a thread");
            is_waited_for();
            eventually("the sleep of the thread", || sleeps(&thread));
            gpu.finish(&dmabuf);
            registering.join().expect("no panic")
        });
        let buffer = buffer.expect("a buffer");
        let pair = buffer.bind(&file).expect("a pair");
        assert_eq!(pair.io(P2PDMA_USER_READ, 0, 0, MIB), Ok((MIB as u32, 0)));
        assert!(buffer.read(0, MIB).expect("copied") == pattern(81, MIB));
    }
}

#[test]
fn register_gives_up_after_ten_seconds() {
    let _alone = alone();
    let gpu = StandIn::provided();
    for dynamic in [0, 1] {
        let (dmabuf, begun) = (busy(&gpu, dynamic), Instant::now());
        assert_eq!(register(device("GPU"), &dmabuf).unwrap_err(), libc::ETIMEDOUT);
        let waited = begun.elapsed();
        assert!(waited > PATIENCE * 9 / 10 && waited < PATIENCE * 6, "{waited:?}");
        assert_eq!(held(), [0; 4]);
        gpu.finish(&dmabuf);
        register(device("GPU"), &dmabuf).expect("the work is done");
    }
}

#[test]
fn a_killed_process_waits_no_longer() {
    let _alone = alone();
    let gpu = StandIn::provided();
    let (dmabuf, begun) = (busy(&gpu, 1), Instant::now());
    // SAFETY: the child makes the one call and ends by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let answer = register(device("GPU"), &dmabuf);
        // SAFETY: no pointers.
        unsafe { libc::_exit(answer.map_or_else(|errno| errno, |_| 0)) };
    }
    is_waited_for();
    let mut status = 0;
    // SAFETY: the child is ours and not yet waited for; the pointer is to a local.
    unsafe {
        assert_eq!(libc::kill(child, libc::SIGKILL), 0);
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
    }
    assert!(libc::WIFSIGNALED(status) && begun.elapsed() < PATIENCE, "{status:x} after {:?}", begun.elapsed());
    assert_eq!(held(), [0; 4]);
}
