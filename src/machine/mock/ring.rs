//! A ring with faults, around the kernel's.
//!
//! # Safety
//!
//! It passes operations on as they are or shorter, and none before its `enter`, so that the caller's promise covers what the
//! kernel is told and when. What it keeps to itself is told to nobody. Addresses that wait for `enter` are numbers here: only
//! the kernel looks behind them.
#![expect(unsafe_code, reason = "passes on what its caller lends to the kernel")]

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    os::fd::BorrowedFd,
    ptr,
    sync::Arc,
    time::Duration,
};

use super::{
    fault::{Fault, Script},
    pool::Pool,
};
use crate::{
    machine::ring::{Completion, Direction, Full, KernelRing, Ring, Submission},
    pci::Address,
};

/// The longest that a provider waits for earlier operations before it goes.
const PATIENCE: Duration = Duration::from_secs(10);

/// The kernel's ring, but for the operations that the script names.
#[derive(Debug)]
pub(super) struct MockRing {
    kernel: KernelRing,
    /// Operations that were pushed to the kernel's ring and not reaped.
    in_kernel: usize,
    script: Arc<Script>,
    pools: BTreeMap<Address, Arc<Pool>>,
    /// What comes at the next `enter`, in this order: a provider goes, and operations behind that.
    held: VecDeque<Step>,
    /// Operations that start with the next `enter` and of which the kernel learns nothing.
    own: usize,
    /// Those of them that end there.
    started: VecDeque<Completion>,
    /// These can be reaped now.
    ended: VecDeque<Completion>,
}

#[derive(Debug)]
enum Step {
    Unbind(Address),
    Operation(Held),
}

/// A submission whose address is a number, so that the ring may move to another thread.
#[derive(Debug)]
struct Held {
    direction: Direction,
    file: u32,
    offset: u64,
    address: usize,
    length: u32,
    tag: u64,
}

impl Held {
    fn new(submission: &Submission, length: u32) -> Self {
        let Submission { direction, file, offset, address, tag, .. } = *submission;
        Self { direction, file, offset, address: address.expose_provenance(), length, tag }
    }

    fn submission(&self) -> Submission {
        let Self { direction, file, offset, address, length, tag } = *self;
        Submission { direction, file, offset, address: ptr::with_exposed_provenance_mut(address), length, tag }
    }
}

impl MockRing {
    pub(super) fn new(kernel: KernelRing, script: Arc<Script>, pools: BTreeMap<Address, Arc<Pool>>) -> Self {
        let (started, ended) = (VecDeque::new(), VecDeque::new());
        Self { kernel, in_kernel: 0, script, pools, held: VecDeque::new(), own: 0, started, ended }
    }

    /// To the kernel, or behind what is held.
    ///
    /// # Safety
    ///
    /// As [`Ring::push`]; `length` is at most the submission's.
    unsafe fn pass(&mut self, submission: &Submission, length: u32) -> Result<(), Full> {
        if !self.held.is_empty() {
            self.held.push_back(Step::Operation(Held::new(submission, length)));
            return Ok(());
        }
        // SAFETY: the caller promises that `address .. address + submission.length` stays, and `length` is no more.
        unsafe { self.kernel.push(&Submission { length, ..*submission }) }?;
        self.in_kernel += 1;
        Ok(())
    }

    /// Takes the steps that are held; gives the number of operations that the kernel started meanwhile.
    fn step(&mut self) -> usize {
        let mut started = 0;
        while let Some(step) = self.held.pop_front() {
            match step {
                Step::Unbind(provider) => started += self.unbind(provider),
                // SAFETY: whoever pushed it promised that its memory stays until its completion was reaped, which is
                // yet to come.
                Step::Operation(held) => match unsafe { self.kernel.push(&held.submission()) } {
                    Ok(()) => self.in_kernel += 1,
                    Err(Full) => {
                        self.held.push_front(Step::Operation(held));
                        break;
                    }
                },
            }
        }
        started
    }

    /// Unbinds a provider, when what was pushed before is over. Failing that, it flies while the provider goes, which a
    /// real one does not mind either.
    fn unbind(&mut self, provider: Address) -> usize {
        let started = self.kernel.enter(self.in_kernel, PATIENCE).unwrap_or(0);
        if let Some(pool) = self.pools.get(&provider) {
            pool.go();
        }
        started
    }
}

impl Ring for MockRing {
    fn files(&self) -> u32 {
        self.kernel.files()
    }

    fn register(&mut self, slot: u32, file: BorrowedFd<'_>) -> io::Result<()> {
        self.kernel.register(slot, file)
    }

    fn unregister(&mut self, slot: u32) -> io::Result<()> {
        self.kernel.unregister(slot)
    }

    unsafe fn push(&mut self, submission: &Submission) -> Result<(), Full> {
        let script = Arc::clone(&self.script);
        let turn = script.turn();
        let length = match turn.fault {
            Some(Fault::Withheld | Fault::Errno(_)) => None,
            Some(Fault::Short(bytes)) => Some(bytes.min(submission.length)),
            Some(Fault::ProviderGone(_)) | None => Some(submission.length),
        };
        match (turn.fault, length) {
            (Some(Fault::ProviderGone(provider)), _) => self.held.push_back(Step::Unbind(provider)),
            (Some(Fault::Errno(errno)), _) => {
                self.started.push_back(Completion { tag: submission.tag, result: -errno.max(1) });
            }
            _ => {}
        }
        match length {
            // SAFETY: the caller's promise is the same, and `length` is at most the submission's.
            Some(length) => unsafe { self.pass(submission, length) }?,
            None => self.own += 1,
        }
        turn.taken();
        Ok(())
    }

    fn enter(&mut self, want: usize, timeout: Duration) -> io::Result<usize> {
        let started = std::mem::take(&mut self.own) + self.step();
        self.ended.append(&mut self.started);
        match self.kernel.enter(want.saturating_sub(self.ended.len()), timeout) {
            Ok(more) => Ok(started + more),
            // Something was started; what the kernel has to say, it says again.
            Err(_) if started > 0 => Ok(started),
            Err(error) => Err(error),
        }
    }

    fn settle(&mut self, timeout: Duration) -> io::Result<()> {
        if self.ended.is_empty() { self.kernel.settle(timeout) } else { Ok(()) }
    }

    fn reap(&mut self) -> Option<Completion> {
        self.ended.pop_front().or_else(|| {
            let completion = self.kernel.reap()?;
            self.in_kernel = self.in_kernel.saturating_sub(1);
            Some(completion)
        })
    }
}
