//! One queue, its memory, and the loop that keeps it full.

use std::{
    sync::RwLock,
    time::{Duration, Instant},
};

use p2pdma::{
    Error, Refusal,
    machine::Machine,
    memory::Copier,
    storage::File,
    transfer::{OperationId, Options, Pair, Queue, Receipt},
};

use super::{
    buffer::{Buffer, Flying},
    cache::{self, Cache},
    ends::Ends,
    job::{Budget, Job, Offsets},
    numa::Pin,
    progress::Shared,
    sight::Looks,
    tally::{Aside, Tally},
    witness::Witness,
};
use crate::{cli::Path, failure::Failure, interrupt};

/// A queue between one source and one peer, and what was counted on it.
#[derive(Debug)]
pub(super) struct Worker {
    /// Which of the run's pairs of source and peer.
    pub(super) pair: usize,
    queue: Queue,
    bound: Pair,
    /// As it is bound.
    file: File,
    /// Where what was read goes on to, and how that is bound.
    copy_to: Option<(File, Pair)>,
    /// The page cache, for the path that uses it.
    pub(super) cache: Option<Cache>,
    offsets: Offsets,
    /// Where each operation's bytes end up or come from; as many as the queue is deep.
    buffers: Vec<Buffer>,
    free: Vec<usize>,
    /// By the operation's place.
    flying: Vec<Flying>,
    copier: Copier,
    pub(super) tally: Tally,
    pub(super) aside: Aside,
    /// At the page cache, on the path where nothing may come into it.
    looks: Option<Looks>,
    pin: Option<Pin>,
    /// Its device was waited for in vain.
    gave_up: bool,
}

/// The longest that a device is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// One wait of the queue's, so that a signal is seen in between, and a queue whose device does not answer is not waited for
/// much longer when it is dropped.
const SLICE: Duration = Duration::from_millis(100);
/// Of so many operations one is looked at more closely: a clock costs.
const SAMPLED: u64 = 128;

/// What the queues of one turn have in common.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) job: &'a Job,
    pub(super) shared: Shared,
    /// Opens when all threads are there.
    pub(super) gate: RwLock<()>,
}

impl Worker {
    /// The queue with this number of the pair's.
    pub(super) fn new(machine: &Machine, job: &Job, ends: &Ends<'_>, number: u32, path: Path) -> Result<Self, Failure> {
        // What is allocated here is to lie on the node that works with it.
        let _pinned = ends.pin.as_ref().map(Pin::enter).transpose()?;
        let mut queue = Queue::new(machine, Options::default().depth(job.depth()).deadline(SLICE).single_issuer())?;
        let part = ends.part(job, number);
        let (file, bound) = bind(&mut queue, ends.file, ends, path)?;
        let copy_to = ends.copy_to.map(|target| bind(&mut queue, target, ends, path)).transpose()?;
        let cache = (path == Path::PageCache).then(|| Cache::of(machine, file.clone(), part.range(job)));
        let watched = [(&file, &bound)].into_iter().chain(copy_to.iter().map(|(target, pair)| (target, pair)));
        let watched = watched.map(|(file, pair)| (pair.clone(), Cache::of(machine, file.clone(), part.range(job))));
        let looks = (path == Path::Direct).then(|| Looks::of(watched.collect()));
        let copier = Copier::new()?;
        let buffers = Buffer::all(job, &ends.memory(job, number)?, path, &copier)?;
        Ok(Self {
            pair: ends.pair,
            queue,
            bound,
            file,
            copy_to,
            cache,
            offsets: part.offsets(job),
            free: (0..buffers.len()).collect(),
            flying: vec![Flying::of(0, (0, 0), Instant::now()); buffers.len()],
            buffers,
            copier,
            tally: Tally::new().map_err(std::io::Error::other)?,
            aside: Aside::default(),
            looks,
            pin: ends.pin.clone(),
            gave_up: false,
        })
    }

    /// Starts counting anew.
    pub(super) fn forget(&mut self) -> Result<(), Failure> {
        self.tally = Tally::new().map_err(std::io::Error::other)?;
        Ok(())
    }

    /// One turn, and why it ended early. After a failure the other queues stop too, and nothing of this one flies any more,
    /// unless its device does not answer.
    pub(super) fn turn(&mut self, turn: &Turn<'_>, number: usize, budget: Budget) -> Option<Failure> {
        self.aside = Aside::default();
        let pinned = self.pin.as_ref().map(Pin::enter).transpose();
        drop(turn.gate.read());
        let started = Instant::now();
        let before = self.tally.bytes();
        let moved = |worker: &Self| turn.shared.moved(number, worker.tally.bytes() - before);
        let end = pinned.and_then(|_pinned| self.passes(turn.job, budget, &turn.shared, moved));
        self.tally.close_turn(started.elapsed().saturating_sub(self.aside.time));
        let end = end.and_then(|()| self.leave());
        if end.is_err() {
            turn.shared.fail();
            self.settle();
        }
        end.err()
    }

    /// Before the first turn and between turns, when nothing flies and no clock runs.
    pub(super) fn begin_looking(&mut self) {
        if let Some(looks) = &mut self.looks {
            looks.begin(&mut self.queue, self.tally.bytes());
        }
    }

    /// Behind a turn: I/O that is direct in name alone fills the page cache, and its receipts do not say so.
    pub(super) fn look(&mut self) {
        if let Some(looks) = &self.looks {
            self.tally.seen = self.tally.seen.max(looks.end(&mut self.queue, self.tally.bytes()));
        }
    }

    /// What it has left in the page cache would serve, and slow, the paths that come after it.
    fn leave(&mut self) -> Result<(), Failure> {
        self.cache.clone().map_or(Ok(()), |cache| self.aside.spend(|| cache.empty()))
    }

    /// What comes out of the page cache must have got into it within the turn, for the first time in this pass.
    fn passes(
        &mut self,
        job: &Job,
        budget: Budget,
        shared: &Shared,
        mut moved: impl FnMut(&Self),
    ) -> Result<(), Failure> {
        let Some(cache) = self.cache.clone() else {
            return self.stretch(job, budget, u64::MAX, shared, &mut moved).map(|_| ());
        };
        let mut rest = Some(budget);
        while let Some(budget) = rest.filter(|_| !shared.is_over()) {
            self.aside.spend(|| cache.empty())?;
            rest = self.stretch(job, budget, self.offsets.until_again(), shared, &mut moved)?;
        }
        interrupt::check()
    }

    /// Up to `most` operations, under the clock. What is left of the budget, if it was not spent.
    fn stretch(
        &mut self,
        job: &Job,
        budget: Budget,
        most: u64,
        shared: &Shared,
        moved: &mut impl FnMut(&Self),
    ) -> Result<Option<Budget>, Failure> {
        let began = Instant::now();
        // The clock is read once an operation: when one has ended, which is when the next is taken.
        let (mut started, mut now) = (0, began);
        let (all, end) = budget.limits(began);
        loop {
            while started < most.min(all) && end.is_none_or(|end| now < end) && !shared.is_over() {
                let Some(buffer) = self.free.pop() else { break };
                let flying = Flying::of(buffer, self.offsets.next(job), now);
                if started % SAMPLED == 0 {
                    self.fly_watched(job, flying)?
                } else {
                    self.fly(job, flying)?
                }
                started += 1;
            }
            if self.queue.in_flight() == 0 {
                break;
            }
            let receipt = self.wait()?;
            now = self.finish(job, &receipt)?;
            moved(self);
        }
        // Whoever has asked to stop does not wait for storage as well.
        interrupt::check()?;
        if job.writes() && (self.cache.is_some() || job.fdatasync) {
            cache::sync(self.copy_to.as_ref().map_or(&self.file, |(target, _)| target))?;
        }
        Ok(budget.rest(started, began.elapsed()))
    }

    /// As the queue's, up to [`PATIENCE`], or to a short while after a signal.
    fn wait(&mut self) -> Result<Receipt, Failure> {
        let mut since = None;
        loop {
            match self.queue.wait() {
                Err(Error::Deadline(_)) => self.may_wait_on(*since.get_or_insert_with(Instant::now))?,
                other => return Ok(other?),
            }
        }
    }

    fn may_wait_on(&mut self, since: Instant) -> Result<(), Failure> {
        let flying = self.queue.in_flight();
        let (interrupted, late) = (interrupt::is_overdue(), since.elapsed() >= PATIENCE);
        self.gave_up = interrupted || late;
        if interrupted {
            return Err(Failure::Interrupted { flying });
        }
        if late {
            let cause = format!("none of {flying} operations ended within {PATIENCE:?}");
            return Err(Error::Deadline(Refusal::new(&self.file, cause, "see what the kernel log says")).into());
        }
        Ok(())
    }

    /// As [`fly`](Self::fly), by itself and with the clock in hand.
    fn fly_watched(&mut self, job: &Job, flying: Flying) -> Result<(), Failure> {
        self.queue.submit()?;
        let began = Instant::now();
        self.fly(job, flying)?;
        let taken = Instant::now();
        self.queue.submit()?;
        self.tally.parts.started(taken - began, taken.elapsed());
        Ok(())
    }

    /// Starts what of it has not moved yet.
    fn fly(&mut self, job: &Job, flying: Flying) -> Result<(), Failure> {
        let part;
        let mut buffer = &self.buffers[flying.buffer];
        if flying.moved > 0 || !buffer.is_filled_by(flying.length) {
            part = buffer.part(flying.moved..flying.length)?;
            buffer = &part;
        }
        let offset = flying.offset + flying.moved;
        let id = match &self.copy_to {
            Some((_, target)) if flying.read_direct.is_some() => self.queue.write(target, offset, buffer.nearest())?,
            _ => submit(&mut self.queue, &self.bound, &self.copier, buffer, job, offset)?,
        };
        self.flying[id.place()] = flying;
        Ok(())
    }

    /// Counts an operation that has ended, or starts what is left of it: the rest of one that fell short, since memory that is
    /// taken away cuts an operation before it fails one, and the next tells why; the second half of a copy. Tells when it
    /// ended.
    fn finish(&mut self, job: &Job, receipt: &Receipt) -> Result<Instant, Failure> {
        let mut flying = self.flying[receipt.operation().place()];
        flying.moved += receipt.bytes();
        flying.direct += receipt.bytes_direct();
        let goes_on = self.copy_to.is_some() && flying.read_direct.is_none();
        if !goes_on {
            self.count(receipt, &flying);
        }
        if receipt.is_short() && receipt.bytes() > 0 {
            return self.fly(job, flying).map(|()| Instant::now());
        }
        receipt.complete().map_err(|error| Failure::At(self.place(&flying), error))?;
        if goes_on {
            let second = Flying { moved: 0, direct: 0, read_direct: Some(flying.direct), ..flying };
            return self.fly(job, second).map(|()| Instant::now());
        }
        let began = (self.tally.operations % SAMPLED == 0).then(Instant::now);
        let buffer = &mut self.buffers[flying.buffer];
        if let (Some(stage), false) = (&buffer.stage, job.writes()) {
            // The device works while the processor copies.
            self.queue.submit()?;
            if buffer.is_filled_by(flying.length) {
                self.copier.to_peer(stage, &buffer.peer)?;
            } else {
                let part = buffer.part(0..flying.length)?;
                part.stage.iter().try_for_each(|stage| self.copier.to_peer(stage, &part.peer))?;
            }
        }
        buffer.holds = Some((flying.offset, flying.length));
        let now = Instant::now();
        self.tally.latency(now.duration_since(flying.taken));
        if let Some(began) = began {
            self.tally.parts.completed(now.duration_since(began));
        }
        self.tally.operations += 1;
        self.free.push(flying.buffer);
        Ok(now)
    }

    /// Of a copy only that went direct which did so both ways.
    fn count(&mut self, receipt: &Receipt, flying: &Flying) {
        let before = flying.direct - receipt.bytes_direct();
        let most = flying.read_direct.map_or(u64::MAX, |read| read.saturating_sub(before));
        let direct = receipt.bytes_direct().min(most);
        self.tally.bytes_direct += direct;
        self.tally.bytes_bounced += receipt.bytes() - direct;
        self.tally.evidence = (direct > 0).then(|| receipt.evidence()).or(self.tally.evidence);
    }

    fn place(&self, flying: &Flying) -> String {
        let file =
            self.copy_to.as_ref().filter(|_| flying.read_direct.is_some()).map_or(&self.file, |(target, _)| target);
        format!("{file}, at byte {}", flying.offset + flying.moved)
    }

    /// Waits for what flies and counts it no more: a thread must not end before its operations, nor wait for ever.
    fn settle(&mut self) {
        while !self.gave_up && self.queue.in_flight() > 0 && self.wait().is_ok() {}
    }

    /// Compares what each slot of peer memory holds with what the host reads where it came from or went to, byte by byte.
    /// Gives the number of bytes that were compared. Off the clock, when nothing flies, and before another path uses the
    /// memory or the file.
    pub(super) fn check(&mut self, job: &Job) -> Result<u64, Failure> {
        let (source, target) = (self.file.clone(), self.copy_to.as_ref().map(|(target, _)| target.clone()));
        let files: Vec<File> = [source].into_iter().chain(target).collect();
        let mut compared = 0;
        for file in &files {
            let mut witness = Witness::new(&mut self.queue, file, job)?;
            for (number, buffer) in self.buffers.iter().enumerate() {
                let Some((offset, length)) = buffer.holds else { continue };
                // Of two writes to one place nobody knows which came last.
                let there = |other: &&Buffer| other.holds.is_some_and(|(other, _)| other == offset);
                let twice = self.buffers.iter().filter(there).count() > 1;
                if !(job.rw().writes() && twice) {
                    interrupt::check()?;
                    let slot = buffer.part(0..length)?.peer;
                    compared += witness.compare(&mut self.queue, &mut self.copier, &slot, offset, number)?;
                }
            }
        }
        Ok(compared)
    }
}

/// A file as a path uses it.
fn bind(queue: &mut Queue, file: &File, ends: &Ends<'_>, path: Path) -> Result<(File, Pair), Failure> {
    let file = if path == Path::PageCache { file.buffered()? } else { file.clone() };
    let pair = match path {
        Path::Direct => queue.bind(&file, &ends.peer.memory)?,
        Path::Bounce | Path::PageCache => queue.bind_host(&file)?,
    };
    Ok((file, pair))
}

fn submit(
    queue: &mut Queue,
    pair: &Pair,
    copier: &Copier,
    buffer: &Buffer,
    job: &Job,
    offset: u64,
) -> Result<OperationId, Failure> {
    if !job.rw().writes() {
        return Ok(queue.read(pair, offset, buffer.nearest())?);
    }
    if let Some(stage) = &buffer.stage {
        // The device works while the processor copies.
        queue.submit()?;
        copier.to_host(&buffer.peer, stage)?;
    }
    Ok(queue.write(pair, offset, buffer.nearest())?)
}
