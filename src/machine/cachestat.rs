//! How much of a file the page cache holds.
//!
//! # Safety
//!
//! One system call, with two structures that live on the stack during it and that the kernel knows by their layout
//! (include/uapi/linux/mman.h).
#![expect(unsafe_code, reason = "libc has no wrapper for cachestat(2)")]

use std::{
    ops,
    os::fd::{AsRawFd, BorrowedFd},
};

/// The number of cachestat(2), the same on every architecture that has PCIe.
const CACHESTAT: libc::c_long = 451;

#[repr(C)]
struct Range {
    offset: u64,
    /// 0 would mean: to the end of the file.
    length: u64,
}

#[repr(C)]
#[derive(Default)]
struct Stat {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Pages of a range of it; `None` where the kernel has no such call, or does not tell this user.
pub(super) fn pages(file: BorrowedFd<'_>, range: ops::Range<u64>) -> Option<u64> {
    if range.is_empty() {
        return Some(0);
    }
    let range = Range { offset: range.start, length: range.end - range.start };
    let mut stat = Stat::default();
    // SAFETY: the kernel reads a range and writes a stat, both of the layout it knows and alive during the call; the
    // descriptor is open as long as it is borrowed.
    let result = unsafe { libc::syscall(CACHESTAT, file.as_raw_fd(), &raw const range, &raw mut stat, 0) };
    (result == 0).then_some(stat.cached)
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::fd::AsFd};

    use super::*;

    #[test]
    fn what_was_written_through_the_page_cache_is_in_it_where_the_kernel_tells() {
        let mut file = tempfile::tempfile().unwrap();
        let before = pages(file.as_fd(), 0..u64::MAX);
        file.write_all(&[1; 65_536]).unwrap();
        let grown = before.zip(pages(file.as_fd(), 0..u64::MAX)).map(|(before, after)| after - before);
        assert!(matches!(grown, None | Some(16)), "{grown:?}");
        let part = pages(file.as_fd(), 4096..8192);
        assert!(matches!(part, None | Some(1)), "{part:?}");
    }
}
