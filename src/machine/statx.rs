//! `statx(2)`: the one call that tells what direct I/O asks for; nix does not wrap it.
//!
//! # Safety
//!
//! The only unsafe call here hands the kernel a NUL-terminated string and a buffer of the right type; the buffer is
//! read only after the call succeeded.
#![expect(unsafe_code, reason = "a system call that no dependency wraps")]

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd},
};

use super::file::DioAlignment;

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
