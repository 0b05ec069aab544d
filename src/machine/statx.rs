//! `statx(2)` and `FS_IOC_GETFLAGS`: the two calls that tell what direct I/O on a file comes to; nix does not wrap the first.
//!
//! # Safety
//!
//! The unsafe calls here hand the kernel a NUL-terminated string and buffers that are large enough; a buffer is read
//! only after its call succeeded.
#![expect(unsafe_code, reason = "system calls that no dependency wraps")]

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd},
};

use super::{file::DioAlignment, inode::InodeFlags};

/// What direct I/O on this file asks for; `None` where the filesystem does not say (Linux before 6.1, tmpfs, btrfs).
pub(super) fn dio_alignment(fd: BorrowedFd<'_>) -> io::Result<Option<DioAlignment>> {
    let mut buffer = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY:
    // - the descriptor is open for as long as it is borrowed;
    // - the path is a NUL-terminated literal, empty as AT_EMPTY_PATH wants it;
    // - the buffer is writable and of the type that the call fills.
    let status = unsafe {
        libc::statx(fd.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, libc::STATX_DIOALIGN, buffer.as_mut_ptr())
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed above, and a struct of integers: every bit pattern is a value.
    let stat = unsafe { buffer.assume_init() };
    let said = stat.stx_mask & libc::STATX_DIOALIGN != 0;
    Ok(said.then_some(DioAlignment { memory: stat.stx_dio_mem_align, offset: stat.stx_dio_offset_align }))
}

/// The inode's flags; `None` where the filesystem has none, or does not pass the question on (overlay).
pub(super) fn inode_flags(fd: BorrowedFd<'_>) -> Option<InodeFlags> {
    // The kernel fills in an int, but the number of the call promises a long and FUSE takes it by its word.
    let mut flags: [libc::c_uint; 2] = [0; 2];
    // SAFETY:
    // - the descriptor is open for as long as it is borrowed;
    // - the buffer is writable and holds the 8 bytes of a long.
    let status = unsafe { libc::ioctl(fd.as_raw_fd(), libc::FS_IOC_GETFLAGS, flags.as_mut_ptr()) };
    (status == 0).then(|| InodeFlags::from_bits_retain(flags[0]))
}
