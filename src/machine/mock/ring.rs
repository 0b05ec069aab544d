//! A mock machine's ring, around the kernel's: it does the module's commands as reads and writes, devices have an end, and
//! faults come as the script says.
//!
//! # Safety
//!
//! It passes operations on as they are or shorter, and none before its `enter`, so that the caller's promise covers what the
//! kernel is told and when; of a command it passes on the part of the buffer's mapping that the command names, which it has
//! found to lie within, and the caller has promised that the buffer stays. What it keeps to itself is told to nobody.
//! Addresses that wait for `enter` are numbers here: only the kernel looks behind them.
#![expect(unsafe_code, reason = "passes on what its caller lends to the kernel")]

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    fault::{Fault, Script},
    file::{Caches, device_end, inode},
    held::{Held, Step},
    late::Late,
    module::{Pair, within},
    pool::Pool,
};
use crate::{
    control::{BUFFERED, Direction, Transfer},
    machine::{
        module::OfModule,
        ring::{Completion, Full, KernelRing, Place, Registrant, Ring, Submission},
    },
    pci::Address,
};

/// The longest that a provider waits for earlier operations before it goes.
const PATIENCE: Duration = Duration::from_secs(10);

/// The kernel's ring, but for what devices and the module do, and for the operations that the script names.
#[derive(Debug)]
pub(super) struct MockRing {
    kernel: KernelRing,
    /// Operations that were pushed to the kernel's ring and not reaped.
    in_kernel: usize,
    script: Arc<Script>,
    pools: BTreeMap<Address, Arc<Pool>>,
    caches: Caches,
    /// By their place in the file table.
    files: Vec<Option<Registered>>,
    /// Commands that were taken and not reaped.
    commands: Vec<Command>,
    /// What comes at the next `enter`, in this order: a provider goes, and operations behind that.
    held: VecDeque<Step>,
    /// Operations that start with the next `enter` and of which the kernel learns nothing.
    own: usize,
    /// Those of them that end there.
    started: VecDeque<Completion>,
    /// These can be reaped now.
    ended: VecDeque<Completion>,
    late: Late,
}

#[derive(Debug)]
struct Registered {
    /// Where a device ends.
    end: Option<u64>,
    pair: Option<Pair>,
    cache: Option<Arc<AtomicU64>>,
}

#[derive(Debug)]
struct Command {
    tag: u64,
    pair: Pair,
    buffered: bool,
}

impl MockRing {
    pub(super) fn new(
        kernel: KernelRing,
        depth: u32,
        script: Arc<Script>,
        pools: BTreeMap<Address, Arc<Pool>>,
        caches: Caches,
    ) -> Self {
        let [started, ended] = [VecDeque::new(), VecDeque::new()];
        let commands = Vec::with_capacity(depth as usize);
        let (files, held) = (Vec::new(), VecDeque::new());
        Self {
            kernel,
            in_kernel: 0,
            script,
            pools,
            caches,
            files,
            commands,
            held,
            own: 0,
            started,
            ended,
            late: Late::default(),
        }
    }

    fn registered(&self, slot: u32) -> Option<&Registered> {
        self.files.get(slot as usize)?.as_ref()
    }

    /// The operation as the kernel is to do it, moving at most so many bytes, or the errno that it ends with.
    fn resolve(&self, submission: &Submission, most: u32) -> Result<Submission, i32> {
        let registered = self.registered(submission.file).ok_or(libc::EBADF)?;
        let Submission { direction, offset: position, length, .. } = *submission;
        let place = match (submission.place, &registered.pair) {
            (Place::Address(address), _) => Place::Address(address),
            (Place::Buffer(offset), Some(pair)) => {
                pair.check(Transfer { direction, offset, position, length })?;
                Place::Address(pair.address(offset))
            }
            (Place::Buffer(_), None) => return Err(libc::EOPNOTSUPP),
        };
        let length = match direction {
            Direction::Write => within(registered.end, position, length)?,
            Direction::Read => length,
        };
        Ok(Submission { place, length: length.min(most), ..*submission })
    }

    /// What it would end with, had it been done.
    fn lie(&self, submission: &Submission) -> Completion {
        let length = |done: Submission| i32::try_from(done.length).unwrap_or(i32::MAX);
        let told = self.resolve(submission, u32::MAX).map_or_else(|errno| -errno, length);
        Completion { tag: submission.tag, result: told }
    }

    /// To the kernel, if it is one that the kernel is to do. Gives the completion of one that is not.
    ///
    /// # Safety
    ///
    /// As [`Ring::push`].
    unsafe fn pass(&mut self, submission: &Submission, most: u32) -> Result<Option<Completion>, Full> {
        match self.resolve(submission, most) {
            Ok(resolved) => {
                // SAFETY: the caller promises that the memory stays, be it named by address or as part of a buffer, whose
                // mapping goes with it; what was resolved is within it.
                unsafe { self.kernel.push(&resolved) }?;
                self.in_kernel += 1;
                Ok(None)
            }
            Err(errno) => Ok(Some(Completion { tag: submission.tag, result: -errno })),
        }
    }

    /// Takes the steps that are held; gives the number of operations that were started meanwhile.
    fn step(&mut self) -> usize {
        let mut started = 0;
        while let Some(step) = self.held.pop_front() {
            match step {
                Step::Unbind(provider) => started += self.unbind(provider),
                // SAFETY: whoever pushed it promised that its memory stays until its completion was reaped, which is
                // yet to come.
                Step::Operation(held) => match unsafe { self.pass(&held.submission(), held.most) } {
                    Ok(None) => {}
                    Ok(Some(completion)) => {
                        self.ended.push_back(completion);
                        started += 1;
                    }
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

    /// Whether nothing ends by the kernel's doing, but something by another `enter`.
    fn waits_in_vain(&self) -> bool {
        self.in_kernel == 0 && !self.late.is_empty()
    }

    /// What the filesystem takes through the page cache is in it from here on.
    fn fill_cache(&self, submission: &Submission) {
        let cache = self.registered(submission.file).and_then(|registered| registered.cache.as_ref());
        if let Some(cache) = cache {
            cache.fetch_add(u64::from(submission.length).div_ceil(4096), Ordering::Relaxed);
        }
    }

    /// A command flies from here on, as far as the module's numbers go.
    fn note(&mut self, submission: &Submission, fault: Option<Fault>) {
        let pair = self.registered(submission.file).and_then(|registered| registered.pair.clone());
        if let (Place::Buffer(_), Some(pair)) = (submission.place, pair) {
            pair.counts().in_flight.fetch_add(1, Ordering::Relaxed);
            let buffered = fault == Some(Fault::Buffered);
            self.commands.push(Command { tag: submission.tag, pair, buffered });
        }
    }

    /// What it ends with, if it was a command: the module says so where the page cache was in the way.
    fn conclude(&mut self, completion: Completion) -> Completion {
        let Some(index) = self.commands.iter().position(|command| command.tag == completion.tag) else {
            return completion;
        };
        let command = self.commands.swap_remove(index);
        command.pair.counts().in_flight.fetch_sub(1, Ordering::Relaxed);
        let bit = if command.buffered && completion.result > 0 { BUFFERED } else { 0 };
        Completion { result: completion.result | bit, ..completion }
    }

    /// Puts one in its place: behind what is held, to the kernel, or among those that end by themselves.
    ///
    /// # Safety
    ///
    /// As [`Ring::push`].
    unsafe fn place(&mut self, submission: &Submission, fault: Option<Fault>) -> Result<(), Full> {
        let most = match fault {
            Some(Fault::Short(bytes)) => bytes,
            _ => u32::MAX,
        };
        let completion = match fault {
            Some(Fault::Withheld) => None,
            Some(Fault::Lie) => Some(self.lie(submission)),
            Some(Fault::Errno(errno)) => Some(Completion { tag: submission.tag, result: -errno.max(1) }),
            _ if !self.held.is_empty() => {
                self.held.push_back(Step::Operation(Held::new(submission, most)));
                return Ok(());
            }
            // SAFETY: the caller's promise is the same.
            _ => match unsafe { self.pass(submission, most) }? {
                None => return Ok(()),
                ended => ended,
            },
        };
        self.own += 1;
        self.started.extend(completion);
        Ok(())
    }
}

impl Ring for MockRing {
    fn files(&self) -> u32 {
        self.kernel.files()
    }

    fn register(&mut self, slot: u32, registrant: Registrant<'_>) -> io::Result<()> {
        self.kernel.register(slot, registrant)?;
        let pair = match registrant {
            Registrant::Pair(pair) => match &pair.0 {
                OfModule::Mock(pair) => Some(pair.clone()),
                OfModule::Host(_) => None,
            },
            Registrant::File(_) => None,
        };
        let cache = inode(registrant.as_fd()).and_then(|inode| self.caches.get(&inode).cloned());
        let at = slot as usize;
        self.files.resize_with(self.files.len().max(at + 1), || None);
        self.files[at] = Some(Registered { end: device_end(registrant.as_fd()), pair, cache });
        Ok(())
    }

    fn unregister(&mut self, slot: u32) -> io::Result<()> {
        if let Some(place) = self.files.get_mut(slot as usize) {
            *place = None;
        }
        self.kernel.unregister(slot)
    }

    unsafe fn push(&mut self, submission: &Submission) -> Result<(), Full> {
        let script = Arc::clone(&self.script);
        let turn = script.turn();
        if let Some(Fault::ProviderGone(provider)) = turn.fault {
            self.held.push_back(Step::Unbind(provider));
        }
        // SAFETY: the caller's promise is the same.
        unsafe { self.place(submission, turn.fault) }?;
        self.note(submission, turn.fault);
        if let Some(Fault::Late(enters)) = turn.fault {
            self.late.expect(submission.tag, enters);
        }
        if turn.fault == Some(Fault::Buffered) {
            self.fill_cache(submission);
        }
        turn.taken();
        Ok(())
    }

    /// Not counted by the script: it moves nothing.
    fn push_sync(&mut self, slot: u32, tag: u64) -> Result<(), Full> {
        self.kernel.push_sync(slot, tag)?;
        self.in_kernel += 1;
        Ok(())
    }

    fn cancel(&mut self, tag: u64) -> io::Result<()> {
        self.kernel.cancel(tag)
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.kernel.as_fd()
    }

    fn enter(&mut self, want: usize, timeout: Duration) -> io::Result<usize> {
        let started = std::mem::take(&mut self.own) + self.step();
        self.ended.append(&mut self.started);
        self.ended.extend(self.late.tick());
        let want = if self.waits_in_vain() { 0 } else { want.saturating_sub(self.ended.len()) };
        match self.kernel.enter(want, timeout) {
            Ok(more) => Ok(started + more),
            // Something was started; what the kernel has to say, it says again.
            Err(_) if started > 0 => Ok(started),
            Err(error) => Err(error),
        }
    }

    fn settle(&mut self, timeout: Duration) -> io::Result<()> {
        self.ended.extend(self.late.tick());
        if self.ended.is_empty() && !self.waits_in_vain() { self.kernel.settle(timeout) } else { Ok(()) }
    }

    fn reap(&mut self) -> Option<Completion> {
        let completion = self.ended.pop_front().or_else(|| {
            loop {
                let completion = self.kernel.reap()?;
                self.in_kernel = self.in_kernel.saturating_sub(1);
                if let Some(completion) = self.late.keep(completion) {
                    return Some(completion);
                }
            }
        })?;
        Some(self.conclude(completion))
    }

    fn gather(&mut self) {
        self.kernel.gather();
    }

    fn renew(&mut self) -> crate::Result<()> {
        self.files.clear();
        self.kernel.renew()
    }
}

/// What it never reaped ends with it, or with the process.
impl Drop for MockRing {
    fn drop(&mut self) {
        for command in &self.commands {
            command.pair.counts().in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
