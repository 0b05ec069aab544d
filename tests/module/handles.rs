//! Handles that change hands: forks, sockets, numbers used again, owners that die.

use std::{
    fs::File,
    io::{IoSlice, IoSliceMut},
    mem::size_of_val,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
};

use io_uring::squeue::Flags;
use p2pdma_sys::*;

use crate::{
    files::file_on_ext4,
    life::{ALL, fill, fly, land},
    objects::*,
    ring::{Request, Ring, modes},
};

/// A child that does what it is told and then waits to be killed, which happens when this is dropped.
pub(crate) struct Child(libc::pid_t);

impl Child {
    pub(crate) fn new(work: impl FnOnce()) -> Self {
        let (reader, writer) = nix::unistd::pipe().expect("a pipe");
        // SAFETY: the child never returns from here.
        let child = unsafe { libc::fork() };
        if child == 0 {
            drop(reader);
            work();
            // SAFETY: one byte, that lives; then it sleeps for ever.
            unsafe {
                libc::write(writer.as_raw_fd(), [0_u8].as_ptr().cast(), 1);
                loop {
                    libc::pause();
                }
            }
        }
        drop(writer);
        std::io::Read::read_exact(&mut std::fs::File::from(reader), &mut [0]).expect("the child did its work");
        Self(child)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: the child is ours and not yet waited for; the pointer is to a local.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, &mut 0, 0);
        }
    }
}

/// How a child ended that does its work and exits, by `waitpid`. A panic in it is 101.
pub(crate) fn status_of(work: impl FnOnce()) -> i32 {
    // SAFETY: the child never returns from here.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        // SAFETY: no pointers.
        unsafe { libc::_exit(if result.is_ok() { 0 } else { 101 }) };
    }
    let mut status = 0;
    // SAFETY: the pointer is to a local; the child is ours.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    status
}

#[test]
fn a_forked_child_uses_what_it_inherits_and_so_does_its_parent() {
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(MIB), ssd());
    let pair = buffer.bind(&file).expect("a pair");
    host_write(&file, 0, &pattern(71, MIB));
    let status = status_of(|| {
        assert_eq!(pair.io(P2PDMA_USER_READ, 0, 0, MIB), Ok((MIB as u32, 0)));
        assert!(buffer.read(0, MIB).expect("copied") == pattern(71, MIB));
        buffer.bind(&file).expect("a pair of the child's own");
        buffer.write(0, &pattern(72, MIB)).expect("copied");
    });
    assert_eq!(status, 0);
    assert_eq!(stats().out_pairs, 1, "the child's is gone");
    assert_eq!(pair.io(P2PDMA_USER_WRITE, 0, 0, MIB), Ok((MIB as u32, 0)));
    assert!(host_read(&file, 0, MIB) == pattern(72, MIB));
}

#[test]
fn a_forked_child_that_uses_nothing_keeps_all_until_it_ends() {
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(32 * MIB), ssd());
    let pair = buffer.bind(&file).expect("a pair");
    let mut ring = Ring::new(&pair);
    fly(&mut ring);
    let child = Child::new(|| ());
    assert_eq!(land(&mut ring), vec![512 << 10; ALL]);
    drop((ring, pair, buffer, file));
    assert_eq!((stats().out_buffers, stats().out_pairs), (1, 1));
    drop(child);
    eventually("the end of all that the child held", || stats() == nothing());
}

#[test]
fn a_fork_while_operations_fly_harms_none() {
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(32 * MIB), ssd());
    fill(&file, 3000);
    let pair = buffer.bind(&file).expect("a pair");
    let mut ring = Ring::new(&pair);
    fly(&mut ring);
    assert_eq!(status_of(|| ()), 0);
    assert_eq!(land(&mut ring), vec![512 << 10; ALL]);
    assert!(buffer.read(31 * MIB, MIB).expect("copied") == pattern(3031, MIB));
}

// --- over a socket ---

/// Room for the control message that carries two fds, aligned as its header is.
type Control = [u64; 4];

fn message(part: *mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: a structure of numbers and pointers, all of which may be 0.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (part, 1);
    (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(control));
    message
}

pub(crate) fn send(socket: &UnixStream, fds: [RawFd; 2]) {
    let (mut control, mut part): (Control, _) = ([0; 4], IoSlice::new(&[0]));
    let message = message((&raw mut part).cast(), &mut control);
    // SAFETY: the control message has room for a header and two fds; all that it points to lives until the call is over.
    unsafe {
        let header = &mut *libc::CMSG_FIRSTHDR(&message);
        (header.cmsg_level, header.cmsg_type) = (libc::SOL_SOCKET, libc::SCM_RIGHTS);
        header.cmsg_len = libc::CMSG_LEN(8) as usize;
        libc::CMSG_DATA(header).cast::<[RawFd; 2]>().write_unaligned(fds);
        assert_eq!(libc::sendmsg(socket.as_raw_fd(), &message, 0), 1);
    }
}

pub(crate) fn receive(socket: &UnixStream) -> [OwnedFd; 2] {
    let mut byte = [0];
    let (mut control, mut part): (Control, _) = ([0; 4], IoSliceMut::new(&mut byte));
    let mut message = message((&raw mut part).cast(), &mut control);
    // SAFETY: as in `send`; the fds are new, and nobody else has them.
    unsafe {
        assert_eq!(libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_CMSG_CLOEXEC), 1);
        let data = libc::CMSG_DATA(libc::CMSG_FIRSTHDR(&message));
        data.cast::<[RawFd; 2]>().read_unaligned().map(|fd| OwnedFd::from_raw_fd(fd))
    }
}

/// The owner dies with 64 operations in flight; what it sent lives on.
#[test]
fn fds_sent_over_a_socket_outlive_their_owner() {
    let _alone = alone();
    let (ours, theirs) = UnixStream::pair().expect("sockets");
    host_write(&ssd(), 0, &pattern(81, MIB));
    let owner = Child::new(|| {
        let (buffer, file) = (Buffer::of_gpu(32 * MIB), ssd());
        let pair = buffer.bind(&file).expect("a pair");
        send(&theirs, [buffer.0.as_raw_fd(), pair.fd.as_raw_fd()]);
        let mut ring = Ring::new(&pair);
        fly(&mut ring);
        std::mem::forget((ring, pair, buffer, file));
    });
    drop(owner);
    let [buffer, pair] = receive(&ours);
    let (buffer, pair) = (Buffer(buffer), Pair { fd: pair, bound: Default::default() });
    eventually("the end of the owner's operations", || stats().out_in_flight == 0);
    assert_eq!((stats().out_buffers, stats().out_pairs), (1, 1));
    assert_eq!(pair.io(P2PDMA_USER_READ, 0, 0, MIB), Ok((MIB as u32, 0)));
    assert!(buffer.read(0, MIB).expect("copied") == pattern(81, MIB));
    let mut ring = Ring::new(&pair);
    fly(&mut ring);
    assert_eq!(land(&mut ring), vec![512 << 10; ALL]);
}

// --- a number used again ---

/// Writes with every other one by a worker, which looks at the file long after the submission.
fn fly_writes(ring: &mut Ring) {
    for index in 0..ALL {
        let (offset, position) = (index << 16, (index << 16) as u64);
        let request = Request { op: P2PDMA_USER_WRITE, offset, position, length: 64 * KIB };
        let flags = if index % 2 == 0 { Flags::ASYNC } else { Flags::empty() };
        ring.push(&request.entry(index as u64).flags(flags));
    }
    ring.submit();
}

fn writes_go_to(file: File, other: &File) {
    let (buffer, bound) = (Buffer::of_gpu(4 * MIB), file.try_clone().expect("another number of the same file"));
    host_write(&file, 0, &vec![1; 4 * MIB]);
    host_write(other, 0, &vec![2; 4 * MIB]);
    buffer.write(0, &pattern(91, 4 * MIB)).expect("copied");
    let pair = buffer.bind(&file).expect("a pair");
    let mut ring = Ring::new(&pair);
    fly_writes(&mut ring);
    // SAFETY: no pointers; both are open, and `file` is then the other one.
    assert!(unsafe { libc::dup2(other.as_raw_fd(), file.as_raw_fd()) } >= 0);
    assert_eq!(land(&mut ring), vec![64 << 10; ALL]);
    assert!(host_read(&bound, 0, 4 * MIB) == pattern(91, 4 * MIB), "the file that was bound");
    assert!(host_read(other, 0, 4 * MIB) == vec![2; 4 * MIB], "the file that took its number");
}

#[test]
fn writes_go_to_the_file_that_was_bound_whoever_has_its_number() {
    let _alone = alone();
    writes_go_to(ssd(), &file_on_ext4("other"));
    writes_go_to(file_on_ext4("bound"), &ssd());
}

// --- owners that die ---

/// By each kind of ring, by `kill -9` and by an exit that waits for nothing; reads and writes, a device and a file.
#[test]
fn owners_may_die_in_any_way_with_64_in_flight() {
    let _alone = alone();
    for (name, builder) in modes() {
        for (file, signal) in
            [(ssd(), false), (ssd(), true), (file_on_ext4("killed"), false), (file_on_ext4("killed"), true)]
        {
            let buffer = Buffer::of_gpu(32 * MIB);
            let pair = buffer.bind(&file).expect("a pair");
            let work = || {
                let mut ring = Ring::of(&builder, &pair);
                fly(&mut ring);
                fly_writes(&mut Ring::of(&builder, &pair));
                std::mem::forget(ring);
            };
            if signal {
                drop(Child::new(work));
            } else {
                assert_eq!(status_of(work), 0, "{name}");
            }
            drop((pair, buffer, file));
            eventually("the end of all that the process held", || stats() == nothing());
        }
    }
}
