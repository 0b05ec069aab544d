//! One queue, its memory, and the loop that keeps it full.

use std::{
    sync::RwLock,
    time::{Duration, Instant},
};

use p2pdma::{
    machine::Machine,
    memory::{Copier, HostMemory, HostSlice, PeerSlice, Slice},
    storage::File,
    transfer::{OperationId, Options, Pair, Queue, Receipt},
};

use super::{
    cache::{self, Cache},
    ends::Ends,
    job::{Budget, Job, Offsets, Part},
    numa::Pin,
    progress::{Progress, Shared},
    tally::{Aside, Tally},
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
    part: Part,
    offsets: Offsets,
    /// Where each operation's bytes end up or come from; as many as the queue is deep.
    buffers: Vec<Buffer>,
    free: Vec<usize>,
    /// By the operation's place.
    flying: Vec<Flying>,
    copier: Copier,
    pub(super) tally: Tally,
    pub(super) aside: Aside,
    pin: Option<Pin>,
}

/// An operation in flight.
#[derive(Debug, Clone, Copy)]
struct Flying {
    buffer: usize,
    /// When its first part was.
    taken: Instant,
    /// Where in the file it works.
    offset: u64,
    /// Bytes that have moved, of an operation that fell short; of a copy, of the half under way.
    moved: u64,
    /// Of these, and of the half that is over, those that went direct.
    direct: u64,
    /// Of the second half of a copy: how many bytes of the first went direct.
    read_direct: Option<u64>,
}

/// Peer memory, and on the way through the host a stage in front of it.
#[derive(Debug)]
struct Buffer {
    peer: PeerSlice,
    stage: Option<HostSlice>,
}

impl Flying {
    /// One that is about to start.
    fn of(buffer: usize, offset: u64, taken: Instant) -> Self {
        Self { buffer, taken, offset, moved: 0, direct: 0, read_direct: None }
    }
}

impl Buffer {
    /// All of it but the first `moved` bytes.
    fn rest(&self, moved: u64) -> Result<Self, Failure> {
        let from = usize::try_from(moved).unwrap_or(usize::MAX);
        let peer = self.peer.slice(from..self.peer.len())?;
        let stage = self.stage.as_ref().map(|stage| stage.slice(from..stage.len())).transpose()?;
        Ok(Self { peer, stage })
    }

    /// Where storage finds the bytes.
    fn nearest(self) -> Slice {
        self.stage.map_or_else(|| self.peer.into(), Into::into)
    }
}

/// What the queues of one turn have in common.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) job: &'a Job,
    pub(super) shared: Shared,
    /// Opens when all threads are there.
    pub(super) gate: RwLock<()>,
}

/// How a turn of one queue ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Without what no clock counts.
    pub(super) took: Duration,
    pub(super) failure: Option<Failure>,
}

impl Worker {
    /// The queue with this number of the pair's.
    pub(super) fn new(machine: &Machine, job: &Job, ends: &Ends<'_>, number: u32, path: Path) -> Result<Self, Failure> {
        // What is allocated here is to lie on the node that works with it.
        let _pinned = ends.pin.as_ref().map(Pin::enter).transpose()?;
        let mut queue = Queue::new(machine, Options::default().depth(job.depth()).single_issuer())?;
        let part = ends.part(job, number);
        let (file, bound) = bind(&mut queue, ends.file, ends, path)?;
        let copy_to = ends.copy_to.map(|target| bind(&mut queue, target, ends, path)).transpose()?;
        let cache = (path == Path::PageCache).then(|| Cache::of(machine, file.clone(), part.range(job)));
        let buffers = buffers(job, &ends.memory(job, number)?, path)?;
        Ok(Self {
            pair: ends.pair,
            queue,
            bound,
            file,
            copy_to,
            cache,
            part,
            offsets: part.offsets(job),
            free: (0..buffers.len()).collect(),
            flying: vec![Flying::of(0, 0, Instant::now()); buffers.len()],
            buffers,
            copier: Copier::new()?,
            tally: Tally::new().map_err(std::io::Error::other)?,
            aside: Aside::default(),
            pin: ends.pin.clone(),
        })
    }

    /// Starts counting anew.
    pub(super) fn forget(&mut self) -> Result<(), Failure> {
        self.tally = Tally::new().map_err(std::io::Error::other)?;
        Ok(())
    }

    /// One turn. After a failure the other queues stop too, and nothing of this one flies any more, unless its device does
    /// not answer.
    pub(super) fn turn(
        &mut self,
        turn: &Turn<'_>,
        number: usize,
        budget: Budget,
        progress: Option<&mut Progress>,
    ) -> Ended {
        self.aside = Aside::default();
        let pinned = self.pin.as_ref().map(Pin::enter).transpose();
        drop(turn.gate.read());
        let started = Instant::now();
        let end = pinned.and_then(|_pinned| self.work(turn, number, budget, progress));
        let took = started.elapsed().saturating_sub(self.aside.time);
        self.tally.close_turn();
        if end.is_err() {
            turn.shared.fail();
            self.settle();
        }
        Ended { took, failure: end.err() }
    }

    fn work(
        &mut self,
        turn: &Turn<'_>,
        number: usize,
        budget: Budget,
        mut progress: Option<&mut Progress>,
    ) -> Result<(), Failure> {
        let before = self.tally.bytes();
        self.passes(turn.job, budget, &turn.shared, |worker, now| {
            turn.shared.moved(number, worker.tally.bytes() - before);
            if let Some(progress) = &mut progress {
                progress.moved(now, turn.job, &turn.shared);
            }
        })
    }

    /// What comes out of the page cache must have got into it within the turn, for the first time in this pass.
    fn passes(
        &mut self,
        job: &Job,
        budget: Budget,
        shared: &Shared,
        mut moved: impl FnMut(&Self, Instant),
    ) -> Result<(), Failure> {
        let Some(cache) = self.cache.clone() else {
            return self.stretch(job, budget, u64::MAX, shared, &mut moved).map(|_| ());
        };
        let mut rest = Some(budget);
        while let Some(budget) = rest.filter(|_| !shared.is_over()) {
            self.aside.spend(|| cache.empty())?;
            rest = self.stretch(job, budget, self.part.blocks, shared, &mut moved)?;
        }
        Ok(())
    }

    /// Up to `most` operations, under the clock. What is left of the budget, if it was not spent.
    fn stretch(
        &mut self,
        job: &Job,
        budget: Budget,
        most: u64,
        shared: &Shared,
        moved: &mut impl FnMut(&Self, Instant),
    ) -> Result<Option<Budget>, Failure> {
        let began = Instant::now();
        // The clock is read once an operation: when one has ended, which is when the next is taken.
        let (mut started, mut now) = (0, began);
        let (all, end) = budget.limits(began);
        loop {
            while started < most.min(all) && end.is_none_or(|end| now < end) && !shared.is_over() {
                let Some(buffer) = self.free.pop() else { break };
                let offset = self.offsets.next(job);
                self.fly(job, Flying::of(buffer, offset, now))?;
                started += 1;
            }
            if self.queue.in_flight() == 0 {
                break;
            }
            let receipt = self.queue.wait()?;
            now = self.finish(job, &receipt)?;
            moved(self, now);
        }
        if job.writes() && (self.cache.is_some() || job.fdatasync) {
            cache::sync(self.copy_to.as_ref().map_or(&self.file, |(target, _)| target))?;
        }
        interrupt::check()?;
        Ok(budget.rest(started, began.elapsed()))
    }

    /// Starts what of it has not moved yet.
    fn fly(&mut self, job: &Job, flying: Flying) -> Result<(), Failure> {
        let rest = self.buffers[flying.buffer].rest(flying.moved)?;
        let offset = flying.offset + flying.moved;
        let id = match &self.copy_to {
            Some((_, target)) if flying.read_direct.is_some() => self.queue.write(target, offset, rest.nearest())?,
            _ => submit(&mut self.queue, &self.bound, &self.copier, rest, job, offset)?,
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
        let buffer = &self.buffers[flying.buffer];
        if let (Some(stage), false) = (&buffer.stage, job.writes()) {
            self.copier.to_peer(stage, &buffer.peer)?;
        }
        let now = Instant::now();
        self.tally.latency(now.duration_since(flying.taken));
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
        while self.queue.in_flight() > 0 && self.queue.wait().is_ok() {}
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

fn buffers(job: &Job, memory: &PeerSlice, path: Path) -> Result<Vec<Buffer>, Failure> {
    let stages = match path {
        Path::Direct => None,
        Path::Bounce | Path::PageCache => Some(HostMemory::allocate(job.memory())?),
    };
    let length = job.memory() / job.depth() as usize;
    let buffer = |index: usize| {
        let range = index * length..(index + 1) * length;
        let stage = stages.as_ref().map(|stages| stages.slice(range.clone())).transpose()?;
        Ok(Buffer { peer: memory.slice(range)?, stage })
    };
    (0..job.depth() as usize).map(buffer).collect()
}

fn submit(
    queue: &mut Queue,
    pair: &Pair,
    copier: &Copier,
    buffer: Buffer,
    job: &Job,
    offset: u64,
) -> Result<OperationId, Failure> {
    if !job.rw().writes() {
        return Ok(queue.read(pair, offset, buffer.nearest())?);
    }
    if let Some(stage) = &buffer.stage {
        copier.to_host(&buffer.peer, stage)?;
    }
    Ok(queue.write(pair, offset, buffer.nearest())?)
}
