//! A ring for the module's commands.

use std::os::fd::AsRawFd;

use io_uring::{
    Builder, IoUring,
    opcode::UringCmd16,
    squeue::Entry,
    types::{Fixed, SubmitArgs, Timespec},
};
use p2pdma_sys::*;

use crate::objects::Pair;

/// What a command asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub op: u32,
    pub offset: usize,
    pub position: u64,
    pub length: usize,
}

impl Request {
    /// On the pair that is registered at index 0.
    pub(crate) fn entry(self, data: u64) -> Entry {
        let payload = p2pdma_user_cmd { position: self.position, length: self.length as u32, flags: 0 };
        command(self.op, self.offset as u64, payload).user_data(data)
    }
}

pub(crate) fn command(op: u32, offset: u64, payload: p2pdma_user_cmd) -> Entry {
    // SAFETY: both are 16 bytes without padding; a test of p2pdma-sys holds that.
    let payload = unsafe { std::mem::transmute::<p2pdma_user_cmd, [u8; 16]>(payload) };
    UringCmd16::new(Fixed(0), op).addr(Some(offset)).cmd(payload).build()
}

/// How rings are set up that the module may meet.
pub(crate) fn modes() -> [(&'static str, Builder); 3] {
    let mut deferred = IoUring::builder();
    deferred.setup_single_issuer().setup_defer_taskrun();
    let mut polled = IoUring::builder();
    polled.setup_sqpoll(100);
    [("plain", IoUring::builder()), ("defer_taskrun", deferred), ("sqpoll", polled)]
}

pub(crate) struct Ring(pub IoUring);

impl Ring {
    pub(crate) fn new(pair: &Pair) -> Self {
        Self::of(&IoUring::builder(), pair)
    }

    pub(crate) fn of(builder: &Builder, pair: &Pair) -> Self {
        Self::sized(builder, pair, 64)
    }

    /// With room for so many operations at once.
    pub(crate) fn deep(pair: &Pair, depth: u32) -> Self {
        Self::sized(&IoUring::builder(), pair, depth)
    }

    fn sized(builder: &Builder, pair: &Pair, depth: u32) -> Self {
        let ring = builder.build(depth).expect("a ring");
        ring.submitter().register_files(&[pair.fd.as_raw_fd()]).expect("registered");
        Self(ring)
    }

    pub(crate) fn push(&mut self, entry: &Entry) {
        // SAFETY: it names no memory of this process, only offsets in a buffer.
        unsafe { self.0.submission().push(entry) }.expect("room");
    }

    pub(crate) fn submit(&mut self) {
        self.0.submit().expect("submitted");
    }

    pub(crate) fn wait(&mut self) -> (u64, i32) {
        loop {
            if let Some(completion) = self.0.completion().next() {
                return (completion.user_data(), completion.result());
            }
            self.0.submit_and_wait(1).expect("a wait");
        }
    }

    /// `None` if nothing ended for this many seconds.
    pub(crate) fn wait_at_most(&mut self, seconds: u64) -> Option<(u64, i32)> {
        let time = Timespec::new().sec(seconds);
        let until = SubmitArgs::new().timespec(&time);
        loop {
            if let Some(completion) = self.0.completion().next() {
                return Some((completion.user_data(), completion.result()));
            }
            match self.0.submitter().submit_with_args(1, &until) {
                Err(error) if error.raw_os_error() == Some(libc::ETIME) => return None,
                result => result.expect("a wait"),
            };
        }
    }

    pub(crate) fn one(&mut self, entry: &Entry) -> i32 {
        self.push(entry);
        self.submit();
        self.wait().1
    }

    /// All of them, with at most `depth` at a time; the results in the order of the requests.
    pub(crate) fn all(&mut self, requests: &[Request], depth: usize) -> Vec<i32> {
        let mut results = vec![0; requests.len()];
        let mut flying = 0;
        for (index, request) in requests.iter().enumerate() {
            self.push(&request.entry(index as u64));
            self.submit();
            flying += 1;
            if flying == depth {
                self.collect(&mut results);
                flying -= 1;
            }
        }
        (0..flying).for_each(|_| self.collect(&mut results));
        results
    }

    /// All of them in one submission; the results in the order of the requests.
    pub(crate) fn together(&mut self, requests: &[Request]) -> Vec<i32> {
        self.launch(requests);
        self.gather(requests.len())
    }

    /// All of them in one submission.
    pub(crate) fn launch(&mut self, requests: &[Request]) {
        requests.iter().enumerate().for_each(|(index, request)| self.push(&request.entry(index as u64)));
        self.submit();
    }

    /// The results of so many that were launched, in their order.
    pub(crate) fn gather(&mut self, count: usize) -> Vec<i32> {
        let mut results = vec![0; count];
        (0..count).for_each(|_| self.collect(&mut results));
        results
    }

    fn collect(&mut self, results: &mut [i32]) {
        let (index, result) = self.wait();
        results[index as usize] = result;
    }
}
