//! Lifetimes: what happens to I/O under way when an fd, a process or the provider goes.

use std::{
    fs::{self, File},
    os::fd::AsRawFd,
    thread,
};

use p2pdma_sys::*;

use crate::{
    objects::*,
    ring::{Request, Ring},
};

pub(crate) const ALL: usize = 64;

/// 64 reads of half a MiB each into their own part of a buffer.
pub(crate) fn fly(ring: &mut Ring) {
    for index in 0..ALL {
        let (offset, position) = (index << 19, (index << 19) as u64);
        let request = Request { op: P2PDMA_USER_READ, offset, position, length: 512 * KIB };
        ring.push(&request.entry(index as u64));
    }
    ring.submit();
}

pub(crate) fn land(ring: &mut Ring) -> Vec<i32> {
    (0..ALL).map(|_| ring.wait().1).collect()
}

pub(crate) fn fill(file: &File, seed: u64) {
    for part in 0..32 {
        host_write(file, part * MIB as u64, &pattern(seed + part, MIB));
    }
}

pub(crate) fn assert_filled(buffer: &Buffer, seed: u64) {
    for part in 0..32 {
        let got = buffer.read(part as usize * MIB, MIB).expect("copied");
        assert!(got == pattern(seed + part, MIB), "part {part}");
    }
}

#[test]
fn closing_every_fd_in_flight_harms_no_operation() {
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(32 * MIB), ssd());
    fill(&file, 1000);
    let kept = Buffer(buffer.0.try_clone().expect("a second fd"));
    let pair = buffer.bind(&file).expect("a pair");
    let mut ring = Ring::new(&pair);
    fly(&mut ring);
    drop((pair, buffer, file));
    ring.0.submitter().unregister_files().expect("unregistered");
    assert_eq!(land(&mut ring), vec![512 << 10; ALL]);
    assert_filled(&kept, 1000);
}

#[test]
fn another_file_under_the_same_number_changes_nothing() {
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(32 * MIB), ssd());
    fill(&file, 2000);
    let other = open_direct(&variable("P2PDMA_CMB"), false);
    let pair = buffer.bind(&file).expect("a pair");
    let mut ring = Ring::new(&pair);
    fly(&mut ring);
    // SAFETY: no pointers; both stay open.
    assert!(unsafe { libc::dup2(other.as_raw_fd(), file.as_raw_fd()) } >= 0);
    assert_eq!(land(&mut ring), vec![512 << 10; ALL]);
    assert_filled(&buffer, 2000);
}

#[test]
fn a_buffer_lives_as_long_as_its_pairs() {
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(MIB), ssd());
    let pair = buffer.bind(&file).expect("a pair");
    drop((buffer, file));
    assert_eq!(stats().out_buffers, 1);
    assert_eq!(pair.io(P2PDMA_USER_READ, 0, 0, MIB), Ok((MIB as u32, 0)));
    drop(pair);
    assert_eq!(stats(), nothing());
}

/// A child that keeps a ring busy with reads and writes; killed when dropped.
pub(crate) struct Victim(libc::pid_t);

impl Victim {
    pub(crate) fn new(pair: &Pair) -> Self {
        let (reader, writer) = nix::unistd::pipe().expect("a pipe");
        // SAFETY: the child works with a ring of its own and never returns.
        let child = unsafe { libc::fork() };
        if child == 0 {
            Self::work(pair, &writer);
        }
        std::io::Read::read_exact(&mut std::fs::File::from(reader), &mut [0]).expect("the child flies");
        Self(child)
    }

    fn work(pair: &Pair, started: &impl AsRawFd) -> ! {
        let mut ring = Ring::new(pair);
        fly(&mut ring);
        // SAFETY: one byte, that lives.
        unsafe { libc::write(started.as_raw_fd(), [0_u8].as_ptr().cast(), 1) };
        loop {
            ring.wait();
            let again = Request { op: P2PDMA_USER_WRITE, offset: 0, position: 0, length: MIB };
            ring.push(&again.entry(0));
            ring.submit();
        }
    }

    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: no pointers; the child is ours and not yet waited for.
        assert_eq!(unsafe { libc::kill(self.0, signal) }, 0);
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
        // SAFETY: the pointer is to a local; the child is ours.
        unsafe { libc::waitpid(self.0, &mut 0, 0) };
    }
}

#[test]
fn a_killed_process_leaves_nothing() {
    let _alone = alone();
    for _ in 0..16 {
        let (buffer, file) = (Buffer::of_gpu(32 * MIB), ssd());
        let pair = buffer.bind(&file).expect("a pair");
        let child = Victim::new(&pair);
        drop((pair, buffer, file));
        assert_eq!(stats().out_pairs, 1, "the child's");
        drop(child);
        eventually("the end of all that the process held", || stats() == nothing());
    }
}

/// Takes the GPU from its driver; gives it back on drop.
pub(crate) struct Unbound(String);

impl Unbound {
    pub(crate) fn new() -> Self {
        let address = variable("P2PDMA_GPU_ADDRESS");
        fs::write(format!("/sys/bus/pci/devices/{address}/driver/unbind"), &address).expect("unbind");
        Self(address)
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        fs::write("/sys/bus/pci/drivers_probe", &self.0).expect("bind");
    }
}

#[test]
fn an_unbind_takes_the_memory_and_leaves_objects_that_say_so() {
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(MIB), ssd());
    let pair = buffer.bind(&file).expect("a pair");
    let unbound = Unbound::new();
    assert_eq!(buffer.read(0, 1), Err(libc::ENODEV));
    assert_eq!(buffer.bind(&file).unwrap_err(), libc::ENODEV);
    assert_eq!(pair.io(P2PDMA_USER_READ, 0, 0, MIB), Err(libc::ENODEV));
    let read = Request { op: P2PDMA_USER_READ, offset: 0, position: 0, length: 4096 };
    assert_eq!(Ring::new(&pair).one(&read.entry(0)), -libc::ENODEV);
    assert_eq!(Buffer::of(device("GPU"), 1).unwrap_err(), libc::ENODEV);
    drop(unbound);
    assert_eq!(buffer.read(0, 1), Err(libc::ENODEV), "the memory may be another's now");
    let young = Buffer::of_gpu(64 * MIB);
    assert_eq!(stats().out_buffers, 2);
    drop((buffer, pair));
    young.write(0, &[1]).expect("the end of the old buffer does not touch it");
}

#[test]
fn an_unbind_waits_for_operations_under_way_and_no_longer() {
    let _alone = alone();
    for round in 0..4 {
        let (buffer, file) = (Buffer::of_gpu(32 * MIB), ssd());
        let pair = buffer.bind(&file).expect("a pair");
        let mut ring = Ring::new(&pair);
        fly(&mut ring);
        let unbinding = thread::spawn(Unbound::new);
        let results = land(&mut ring);
        let unbound = unbinding.join().expect("the unbind ended");
        assert!(results.iter().all(|&result| result == 512 << 10 || result == -libc::ENODEV), "{round}: {results:?}");
        assert_eq!(stats().out_in_flight, 0);
        drop(unbound);
    }
}

/// The memory is given back when the DMA ends, not when the task looks at the result.
#[test]
fn a_stopped_process_holds_up_no_unbind() {
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(32 * MIB), ssd());
    let pair = buffer.bind(&file).expect("a pair");
    let child = Victim::new(&pair);
    child.signal(libc::SIGSTOP);
    let unbound = Unbound::new();
    assert_eq!(stats().out_in_flight, 0);
    drop(child);
    drop(unbound);
}

#[test]
fn objects_pin_the_module() {
    let _alone = alone();
    let uses = || fs::read_to_string("/sys/module/p2pdma_user/refcnt").expect("a count").trim().to_owned();
    eventually("the end of earlier uses", || uses() == "0");
    let buffer = Buffer::of_gpu(4096);
    assert_eq!(uses(), "1");
    drop(buffer);
    assert_eq!(uses(), "0");
}
