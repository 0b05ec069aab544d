//! The module's ioctls, each with the structure that belongs to it.
//!
//! # Safety
//!
//! The module reads and writes the structure it is given, as many bytes as its field `size` says, and nothing else; but
//! for COPY, which names the caller's memory too, so that memory is borrowed here for the length of the call. What a call
//! that opens something returns is a descriptor that nobody else has.
#![expect(unsafe_code, reason = "ioctls that no dependency wraps")]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use p2pdma_sys::*;

use crate::SyscallError;

/// The structure of one call.
///
/// # Safety
///
/// It is what the call `NUMBER` takes, it begins with its size, and it holds no address.
pub(super) unsafe trait Argument {
    const NUMBER: u32;
    const NAME: &'static str;

    fn set_size(&mut self, size: u32);
}

/// The structure of a call that opens something.
///
/// # Safety
///
/// `opened` is the field that such a call fills in with a new descriptor when it succeeds.
pub(super) unsafe trait Opens: Argument {
    fn opened(&self) -> i32;
}

macro_rules! arguments {
    ($($structure:ident $number:ident $(opens $fd:ident)?),* $(,)?) => { $(
        // SAFETY: the header's comment of the structure names the call; its fields are integers, and none an address.
        unsafe impl Argument for $structure {
            const NUMBER: u32 = $number;
            const NAME: &'static str = stringify!($number);

            fn set_size(&mut self, size: u32) {
                self.size = size;
            }
        }
        $(
            // SAFETY: the header's comment of the field says so.
            unsafe impl Opens for $structure {
                fn opened(&self) -> i32 {
                    self.$fd
                }
            }
        )?
    )* };
}

arguments! {
    p2pdma_user_info P2PDMA_USER_INFO,
    p2pdma_user_distance P2PDMA_USER_DISTANCE,
    p2pdma_user_queue P2PDMA_USER_QUEUE,
    p2pdma_user_stats P2PDMA_USER_STATS,
    p2pdma_user_alloc P2PDMA_USER_ALLOC opens out_fd,
    p2pdma_user_register P2PDMA_USER_REGISTER opens out_fd,
    p2pdma_user_bind P2PDMA_USER_BIND opens out_fd,
    p2pdma_user_io P2PDMA_USER_IO,
}

/// Makes the call.
pub(super) fn call<A: Argument>(fd: BorrowedFd<'_>, args: &mut A) -> Result<(), SyscallError> {
    args.set_size(size::<A>());
    let args: *mut A = args;
    // SAFETY: `args` is the structure of this call, writable, as long as its size says, and without an address.
    let status = unsafe { libc::ioctl(fd.as_raw_fd(), A::NUMBER.into(), args) };
    answered(A::NAME, status)
}

/// Makes a call that opens something.
pub(super) fn open<A: Opens>(fd: BorrowedFd<'_>, args: &mut A) -> Result<OwnedFd, SyscallError> {
    call(fd, args)?;
    let opened = args.opened();
    if opened < 0 {
        let source = io::Error::from_raw_os_error(libc::EBADF);
        return Err(SyscallError { call: A::NAME, source });
    }
    // SAFETY: the call succeeded, so the kernel has just put this descriptor into the table for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(opened) })
}

/// From the caller's memory to the buffer.
pub(super) fn copy_in(fd: BorrowedFd<'_>, offset: u64, from: &[u8]) -> Result<(), SyscallError> {
    let args = p2pdma_user_copy { direction: P2PDMA_USER_COPY_IN, ..copy(offset, from.as_ptr().addr(), from.len()) };
    // SAFETY: the module reads `from`, which is borrowed until it has.
    unsafe { call_copy(fd, &args) }
}

/// From the buffer to the caller's memory.
pub(super) fn copy_out(fd: BorrowedFd<'_>, offset: u64, to: &mut [u8]) -> Result<(), SyscallError> {
    let args = p2pdma_user_copy {
        direction: P2PDMA_USER_COPY_OUT,
        ..copy(offset, to.as_mut_ptr().expose_provenance(), to.len())
    };
    // SAFETY: the module writes to `to`, which is borrowed for us alone until it has.
    unsafe { call_copy(fd, &args) }
}

/// A length that does not fit is one that the module refuses.
fn copy(offset: u64, address: usize, length: usize) -> p2pdma_user_copy {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    p2pdma_user_copy { size: size::<p2pdma_user_copy>(), length, offset, address: address as u64, ..Default::default() }
}

/// # Safety
///
/// The kernel may read, or for COPY_OUT write, `length` bytes of this process at `address`, or those are not mapped.
unsafe fn call_copy(fd: BorrowedFd<'_>, args: &p2pdma_user_copy) -> Result<(), SyscallError> {
    let args: *const p2pdma_user_copy = args;
    // SAFETY: `args` is the structure of this call, whole and readable; the memory it names is the caller's promise.
    let status = unsafe { libc::ioctl(fd.as_raw_fd(), P2PDMA_USER_COPY.into(), args) };
    answered("P2PDMA_USER_COPY", status)
}

/// A structure's size, as its first field takes it.
fn size<A>() -> u32 {
    u32::try_from(size_of::<A>()).unwrap_or(u32::MAX)
}

fn answered(call: &'static str, status: i32) -> Result<(), SyscallError> {
    if status < 0 { Err(SyscallError { call, source: io::Error::last_os_error() }) } else { Ok(()) }
}
