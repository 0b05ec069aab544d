//! One path: a queue, its memory, and the loop that keeps it full.

use std::time::Instant;

use p2pdma::{
    machine::Machine,
    memory::{Copier, HostMemory, HostSlice, PeerMemory, PeerSlice},
    storage::File,
    transfer::{Evidence, OperationId, Options, Pair, Queue, Receipt},
};

use super::{
    cache::Cache,
    job::{Budget, Job, Offsets},
    progress::Progress,
    tally::Tally,
};
use crate::{cli::Path, failure::Failure, interrupt};

/// A path that operations take, and what was counted on it.
#[derive(Debug)]
pub(super) struct Lane {
    path: Path,
    queue: Queue,
    pair: Pair,
    /// The page cache, for the path that uses it.
    pub(super) cache: Option<Cache>,
    offsets: Offsets,
    /// Where each operation's bytes end up or come from; as many as the queue is deep.
    buffers: Vec<Buffer>,
    free: Vec<usize>,
    /// By the operation's place: its buffer, and when it was taken.
    flying: Vec<(usize, Instant)>,
    copier: Copier,
    pub(super) tally: Tally,
    /// What the direct bytes rest on; `None` while there are none.
    pub(super) evidence: Option<Evidence>,
}

/// Peer memory, and on the way through the host a stage in front of it.
#[derive(Debug)]
struct Buffer {
    peer: PeerSlice,
    stage: Option<HostSlice>,
}

impl Lane {
    pub(super) fn new(
        machine: &Machine,
        job: &Job,
        file: &File,
        memory: &PeerMemory,
        path: Path,
    ) -> Result<Self, Failure> {
        let mut queue = Queue::new(machine, Options::default().depth(job.depth()))?;
        let (pair, cache) = match path {
            Path::Direct => (queue.bind(file, memory)?, None),
            Path::Bounce => (queue.bind_host(file)?, None),
            Path::PageCache => {
                let file = file.buffered()?;
                (queue.bind_host(&file)?, Some(Cache::of(machine, file)))
            }
        };
        let buffers = buffers(job, memory, path)?;
        Ok(Self {
            path,
            queue,
            pair,
            cache,
            offsets: job.offsets(),
            free: (0..buffers.len()).collect(),
            flying: vec![(0, Instant::now()); buffers.len()],
            buffers,
            copier: Copier::new()?,
            tally: Tally::new().map_err(std::io::Error::other)?,
            evidence: None,
        })
    }

    pub(super) fn path(&self) -> Path {
        self.path
    }

    /// Starts counting anew.
    pub(super) fn forget(&mut self) -> Result<(), Failure> {
        self.tally = Tally::new().map_err(std::io::Error::other)?;
        Ok(())
    }

    /// One turn. What comes out of the page cache must have got into it within the turn, for the first time in this pass.
    ///
    /// # Errors
    ///
    /// [`Failure::Interrupted`] when it was asked to stop: then nothing flies, and what has moved is counted.
    pub(super) fn run(&mut self, job: &Job, budget: Budget, progress: &mut Progress) -> Result<(), Failure> {
        let Some(cache) = self.cache.clone() else { return self.stretch(job, budget, u64::MAX, progress).map(|_| ()) };
        let mut rest = Some(budget);
        while let Some(budget) = rest {
            cache.empty()?;
            rest = self.stretch(job, budget, job.blocks(), progress)?;
        }
        Ok(())
    }

    /// Up to `most` operations, under the clock. What is left of the budget, if it was not spent.
    fn stretch(
        &mut self,
        job: &Job,
        budget: Budget,
        most: u64,
        progress: &mut Progress,
    ) -> Result<Option<Budget>, Failure> {
        let turn = self.tally.start();
        let mut started = 0;
        loop {
            while started < most && budget.has_more(started, turn.elapsed()) && !interrupt::came() {
                let Some(buffer) = self.free.pop() else { break };
                self.start(job, buffer)?;
                started += 1;
            }
            if self.queue.in_flight() == 0 {
                break;
            }
            let receipt = self.queue.wait()?;
            let now = self.finish(job, receipt)?;
            progress.moved(now, self.path, job, &self.tally);
        }
        if let (Some(cache), true) = (&self.cache, job.rw().writes()) {
            cache.sync()?;
        }
        let elapsed = turn.elapsed();
        self.tally.end(&turn);
        interrupt::check()?;
        Ok(budget.rest(started, elapsed))
    }

    fn start(&mut self, job: &Job, index: usize) -> Result<(), Failure> {
        let offset = self.offsets.next(job);
        let taken = Instant::now();
        let id = submit(&mut self.queue, &self.pair, &self.copier, &self.buffers[index], job, offset)?;
        self.flying[id.place()] = (index, taken);
        Ok(())
    }

    /// Counts an operation that has ended; tells when that was.
    fn finish(&mut self, job: &Job, receipt: Receipt) -> Result<Instant, Failure> {
        let (index, taken) = self.flying[receipt.operation().place()];
        receipt.complete()?;
        if let (Some(stage), false) = (&self.buffers[index].stage, job.rw().writes()) {
            self.copier.to_peer(stage, &self.buffers[index].peer)?;
        }
        let now = Instant::now();
        self.tally.latency(now.duration_since(taken));
        self.tally.operations += 1;
        self.tally.bytes_direct += receipt.bytes_direct();
        self.tally.bytes_bounced += receipt.bytes_host();
        self.evidence = (receipt.bytes_direct() > 0).then(|| receipt.evidence()).or(self.evidence);
        self.free.push(index);
        Ok(now)
    }
}

fn buffers(job: &Job, memory: &PeerMemory, path: Path) -> Result<Vec<Buffer>, Failure> {
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
    buffer: &Buffer,
    job: &Job,
    offset: u64,
) -> Result<OperationId, Failure> {
    Ok(match (job.rw().writes(), &buffer.stage) {
        (false, None) => queue.read(pair, offset, buffer.peer.clone())?,
        (false, Some(stage)) => queue.read(pair, offset, stage.clone())?,
        (true, None) => queue.write(pair, offset, buffer.peer.clone())?,
        (true, Some(stage)) => {
            copier.to_host(&buffer.peer, stage)?;
            queue.write(pair, offset, stage.clone())?
        }
    })
}
