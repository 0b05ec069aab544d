//! The least that reads through io_uring: no table, no receipt, no clock, nothing checked but the length.
//!
//! # Safety
//!
//! The memory that the entries name is a mapping of this function's; the ring is dropped first, when nothing flies.
#![expect(unsafe_code, reason = "io_uring names memory by address")]

use std::{
    cell::Cell,
    fs,
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::Path,
    time::Duration,
};

use io_uring::{IoUring, opcode, types};
use memmap2::MmapOptions;

use crate::{BLOCK, DEPTH, How, Offsets, rate};

/// Operations a second: a ring set up as the library's, with the file registered, and as many operations a system call.
pub(crate) fn turn(path: &Path, how: How, time: Duration) -> f64 {
    let flags = if how == How::Direct { libc::O_DIRECT } else { 0 };
    let file = fs::File::options().read(true).custom_flags(flags).open(path).expect("a file");
    let memory = MmapOptions::new().len(BLOCK * DEPTH as usize).map_anon().map(memmap2::MmapRaw::from).expect("memory");
    let mut ring: IoUring =
        IoUring::builder().setup_submit_all().setup_single_issuer().setup_defer_taskrun().build(DEPTH).expect("a ring");
    ring.submitter().register_files(&[file.as_raw_fd()]).expect("a registered file");
    let mut next = (0..DEPTH as usize).cycle().zip(Offsets::default());
    let in_flight = Cell::new(0);
    let mut step = |depth: u32| {
        while in_flight.get() < depth {
            let (index, offset) = next.next().expect("there is no end");
            let address = memory.as_mut_ptr().wrapping_add(index * BLOCK);
            let length = u32::try_from(BLOCK).expect("a length");
            let read = opcode::Read::new(types::Fixed(0), address, length).offset(offset).build();
            // SAFETY: the block lies in the mapping, which nobody references and which outlives the ring's operations.
            unsafe { ring.submission().push(&read) }.expect("room in the ring");
            in_flight.set(in_flight.get() + 1);
        }
        ring.submit_and_wait(1).expect("one ends");
        let mut ended = 0;
        for completion in ring.completion() {
            assert_eq!(usize::try_from(completion.result()), Ok(BLOCK), "a complete read");
            ended += 1;
        }
        in_flight.set(in_flight.get() - ended);
        u64::from(ended)
    };
    let rate = rate(how, time, || step(DEPTH));
    while in_flight.get() > 0 {
        step(0);
    }
    rate
}
