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
    /// By the operation's place.
    flying: Vec<Flight>,
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

/// A block under way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    buffer: usize,
    offset: u64,
    /// Bytes that have moved, of an operation that fell short.
    moved: u64,
    taken: Instant,
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
            flying: vec![Flight { buffer: 0, offset: 0, moved: 0, taken: Instant::now() }; buffers.len()],
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
        // The clock is read once an operation: when one has ended, which is when the next is taken.
        let (mut started, mut now) = (0, turn.started());
        let (all, end) = budget.limits(now);
        loop {
            while started < most.min(all) && end.is_none_or(|end| now < end) && !interrupt::came() {
                let Some(buffer) = self.free.pop() else { break };
                self.start(job, buffer, now)?;
                started += 1;
            }
            if self.queue.in_flight() == 0 {
                break;
            }
            let receipt = self.queue.wait()?;
            now = Instant::now();
            if self.finish(job, receipt, now)? {
                progress.moved(now, self.path, job, &self.tally);
            }
        }
        if let (Some(cache), true) = (&self.cache, job.rw().writes()) {
            cache.sync()?;
        }
        let elapsed = turn.started().elapsed();
        self.tally.end(&turn);
        interrupt::check()?;
        Ok(budget.rest(started, elapsed))
    }

    fn start(&mut self, job: &Job, buffer: usize, taken: Instant) -> Result<(), Failure> {
        let offset = self.offsets.next(job);
        self.fly(job, Flight { buffer, offset, moved: 0, taken })
    }

    fn fly(&mut self, job: &Job, flight: Flight) -> Result<(), Failure> {
        let rest = self.buffers[flight.buffer].rest(flight.moved)?;
        let offset = flight.offset + flight.moved;
        let id = submit(&mut self.queue, &self.pair, &self.copier, rest, job, offset)?;
        self.flying[id.place()] = flight;
        Ok(())
    }

    /// Counts an operation that has ended, and tells whether its block is whole. One that fell short goes on, as memory that is
    /// taken away cuts an operation before it fails one: the next tells why.
    fn finish(&mut self, job: &Job, receipt: Receipt, now: Instant) -> Result<bool, Failure> {
        let flight = self.flying[receipt.operation().place()];
        self.tally.bytes_direct += receipt.bytes_direct();
        self.tally.bytes_bounced += receipt.bytes_host();
        self.evidence = (receipt.bytes_direct() > 0).then(|| receipt.evidence()).or(self.evidence);
        if receipt.is_short() && receipt.bytes() > 0 {
            let moved = flight.moved + receipt.bytes();
            return self.fly(job, Flight { moved, ..flight }).map(|()| false);
        }
        receipt.complete()?;
        let buffer = &self.buffers[flight.buffer];
        if let (Some(stage), false) = (&buffer.stage, job.rw().writes()) {
            self.copier.to_peer(stage, &buffer.peer)?;
        }
        self.tally.latency(now.duration_since(flight.taken));
        self.tally.operations += 1;
        self.free.push(flight.buffer);
        Ok(true)
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
    Buffer { peer, stage }: Buffer,
    job: &Job,
    offset: u64,
) -> Result<OperationId, Failure> {
    Ok(match (job.rw().writes(), stage) {
        (false, None) => queue.read(pair, offset, peer)?,
        (false, Some(stage)) => queue.read(pair, offset, stage)?,
        (true, None) => queue.write(pair, offset, peer)?,
        (true, Some(stage)) => {
            copier.to_host(&peer, &stage)?;
            queue.write(pair, offset, stage)?
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use nix::errno::Errno;
    use p2pdma::machine::{
        Access, Mock,
        mock::{Cpu, Fault},
    };

    use super::*;
    use crate::{
        cli::{Cli, Command},
        run::peer::Peer,
    };

    const COMMAND: &str = "p2pbench run --source /dev/nvme0n1 --peer 0000:05:00.0 --block 64K --depth 1 --path direct";

    /// Blocks of 64 KiB, one after the other, on a machine with these faults.
    fn run(faults: &[(u64, Fault)]) -> (Result<(), Failure>, Tally) {
        let mut mock = Mock::one_switch(Cpu::AmdZen).expect("a mock");
        for &(operation, fault) in faults {
            mock.fault(operation, fault);
        }
        let machine = Machine::mock(mock);
        let file = File::open(&machine, "/dev/nvme0n1", Access::Read).expect("a file");
        let Command::Run(options) = Cli::parse_from(COMMAND.split(' ')).command.expect("run") else { unreachable!() };
        let jobs = Job::all(&file, &options).expect("a job");
        let peer = Peer::new(&machine, &options, jobs[0].memory()).expect("memory");
        let mut lane = Lane::new(&machine, &jobs[0], &file, &peer.memory, Path::Direct).expect("a lane");
        let end = lane.run(&jobs[0], Budget::Operations(3), &mut Progress::new(1));
        (end, lane.tally)
    }

    #[test]
    fn a_block_that_falls_short_goes_on_and_counts_once() {
        let (end, tally) = run(&[(1, Fault::Short(4096)), (2, Fault::Short(512))]);
        end.expect("all of it moved");
        assert_eq!((tally.operations, tally.bytes_direct), (3, 3 * 65536));
    }

    #[test]
    fn what_cuts_a_block_is_told_by_the_next_operation() {
        let (end, tally) = run(&[(1, Fault::Short(4096)), (2, Fault::Errno(Errno::EFAULT as i32))]);
        let error = end.expect_err("memory that has gone").to_string();
        assert!(error.contains("the peer memory has gone"), "{error}");
        assert_eq!((tally.operations, tally.bytes_direct), (1, 65536 + 4096));
    }
}
