//! Fds of wrong kinds.

use std::{
    fs::File,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

use p2pdma_sys::*;

use crate::objects::*;

fn owned(fd: libc::c_long) -> OwnedFd {
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: a system call has just made it for us.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

/// A dma-buf of the host's memory, by /dev/udmabuf.
pub(crate) fn dma_buf() -> OwnedFd {
    const UDMABUF_CREATE: u64 = 0x4018_7542;
    let node = File::open("/dev/udmabuf").expect("udmabuf");
    // SAFETY: a name that lives, no other pointers.
    let memory = owned(unsafe { libc::memfd_create(c"dma-buf".as_ptr(), libc::MFD_ALLOW_SEALING).into() });
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::ftruncate(memory.as_raw_fd(), 4096) }, 0);
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::fcntl(memory.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) }, 0);
    // struct udmabuf_create: memfd, flags, offset, size
    let create = [memory.as_raw_fd() as u64, 0, 4096];
    // SAFETY: 24 bytes that live, as its number says.
    owned(unsafe { libc::ioctl(node.as_raw_fd(), UDMABUF_CREATE, create.as_ptr()) }.into())
}

/// One of each kind that is neither the module's nor storage.
pub(crate) fn strangers() -> Vec<(&'static str, OwnedFd)> {
    let (reader, _) = nix::unistd::pipe().expect("a pipe");
    let (socket, _) = std::os::unix::net::UnixStream::pair().expect("sockets");
    let file = |path: &str| OwnedFd::from(File::open(path).expect(path));
    // SAFETY: a name that lives, no other pointers.
    let (epoll, memory, event) =
        unsafe { (libc::epoll_create1(0), libc::memfd_create(c"memory".as_ptr(), 0), libc::eventfd(0, 0)) };
    vec![
        ("a pipe", reader),
        ("a socket", socket.into()),
        ("an epoll", owned(epoll.into())),
        ("a memfd", owned(memory.into())),
        ("an eventfd", owned(event.into())),
        ("a directory", file("/proc")),
        ("a file of procfs", file("/proc/self/maps")),
        ("a character device", file("/dev/null")),
        ("a dma-buf of the host's memory", dma_buf()),
    ]
}

#[test]
fn an_fd_of_any_other_kind_is_refused() {
    let _alone = alone();
    let buffer = Buffer::of_gpu(4096);
    let pair = buffer.bind(&ssd()).expect("a pair");
    let queue = |fd: RawFd| {
        let mut args = p2pdma_user_queue { size: size::<p2pdma_user_queue>(), fd, ..Default::default() };
        call(&node(), P2PDMA_USER_QUEUE, &mut args)
    };
    for (what, fd) in strangers() {
        assert_eq!(buffer.bind(&fd).unwrap_err(), libc::EINVAL, "{what} as a file");
        assert_eq!(queue(fd.as_raw_fd()), Err(libc::ENOTBLK), "{what} as a block device");
    }
    assert_eq!(buffer.bind(&pair.fd).unwrap_err(), libc::EINVAL, "a pair as a file");
    assert_eq!(queue(buffer.0.as_raw_fd()), Err(libc::ENOTBLK), "a buffer as a block device");
}
