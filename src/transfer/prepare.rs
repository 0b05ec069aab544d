//! Operations for a ring that is not a queue's: engines that have one already.
//!
//! # Safety
//!
//! Nothing is submitted here. The one unsafe function makes its caller promise what a queue's table of operations in flight
//! keeps: memory that stays until the operation has ended.
#![expect(unsafe_code, reason = "the caller, not a queue, keeps the memory of the operations")]

use std::os::fd::{AsFd, BorrowedFd};

use super::Pair;
use crate::{
    Result,
    machine::{Direction, Entry, Registrant, Submission, module::Moved, prepare},
    memory::Slice,
};

impl Pair {
    /// Fills a submission entry for a ring of the caller's own: the same operation, with the same checks, that
    /// [`Queue::read`](super::Queue::read) and [`Queue::write`](super::Queue::write) take. `file` is the place in that ring's
    /// file table where the caller has registered this pair's descriptor ([`AsFd`]); `tag` becomes the entry's `user_data`.
    /// Its completion's result is read by [`moved`](Self::moved).
    ///
    /// ```
    /// use std::os::fd::{AsFd, AsRawFd};
    /// use io_uring::IoUring;
    /// use p2pdma::{machine::{Access, Direction, Machine, Mock, mock::Cpu}, memory::Provider, storage::File, transfer::Queue};
    /// let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen)?);
    /// let file = File::open(&machine, "/dev/nvme0n1", Access::Read)?;
    /// let memory = Provider::find(&machine, "0000:05:00.0".parse()?)?.allocate_buffer(4096)?;
    /// let pair = Queue::new(&machine, Default::default())?.bind(&file, &memory)?;
    ///
    /// let mut ring = IoUring::new(4)?;
    /// ring.submitter().register_files(&[pair.as_fd().as_raw_fd()])?;
    /// // SAFETY: `memory` and `pair` outlive the completion, which is waited for; place 0 is the pair's.
    /// let entry = unsafe { pair.prepare(Direction::Read, 4096, &memory.all().into(), 0, 7) }?;
    /// // SAFETY: as above.
    /// unsafe { ring.submission().push(&entry) }?;
    /// ring.submit_and_wait(1)?;
    /// let completion = ring.completion().next().expect("it was waited for");
    /// assert_eq!(pair.moved(completion.result()).map(|moved| (moved.bytes, moved.buffered)), Ok((4096, false)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Queue::read`](super::Queue::read), but for a full queue.
    ///
    /// # Safety
    ///
    /// Until the completion of the entry was reaped, or for ever if it never is:
    /// - `slice`, or a clone of it, is kept: a device may write to its memory until then, whatever was cancelled or closed;
    /// - this pair, or a clone of it, is kept;
    /// - nobody reads or writes that memory and counts on what is there.
    ///
    /// Until the entry was submitted, place `file` of the ring's table holds this pair's descriptor, and no other. The entry is
    /// submitted once, unchanged but for its flags that order, drain or link, to a ring without `IORING_SETUP_IOPOLL`, by a process
    /// that has the memory mapped (not a child after fork). Of what a fault-scripted mock machine does, such a ring knows nothing.
    pub unsafe fn prepare(
        &self,
        direction: Direction,
        offset: u64,
        slice: &Slice,
        file: u32,
        tag: u64,
    ) -> Result<Entry> {
        let length = self.check(direction, offset, slice)?;
        let place = slice.view().place();
        let submission = Submission { direction, through: false, file, offset, place, length, tag };
        prepare(self.registration.target.registrant(), &submission)
            .ok_or_else(|| self.bad("the range is not within the buffer", "bind the file to the buffer anew"))
    }

    /// What the result of a completion says: bytes, or a positive errno. Of this pair's operations alone: the module's results
    /// carry a bit that others have not.
    ///
    /// # Errors
    ///
    /// The errno.
    pub fn moved(&self, result: i32) -> std::result::Result<Moved, i32> {
        // The bit is above any length, so that a call's result is read alike.
        Moved::of_command(result)
    }
}

/// What a ring registers for this pair: the file, or on the module's way the module's own descriptor.
impl AsFd for Pair {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.registration.target.registrant() {
            Registrant::File(file) => file,
            Registrant::Pair(pair) => pair.as_fd(),
        }
    }
}
