//! Whole requests: any offset, any length, any address.
//!
//! ```text
//!   Piece --plan--> segments --parts--> Queue --receipts--> Summary
//!                                 \--stages, Copier--/
//! ```
//!
//! A [`Queue`] moves what is aligned, an operation at a time. A mover takes a request apart, sends each part the way that it
//! can go and the [`Policy`] allows, and puts the receipts together.

mod land;
mod part;
mod pump;

use std::time::Instant;

use super::{
    causes::Causes, lane::Lane, plan::Plan, policy::Policy, queue::Queue, staging::Staging, summary::Summary,
    witness::Sight,
};
use crate::{
    Error, Refusal, Result,
    machine::{Access, Direction},
    memory::{Copier, PeerMemory, PeerSlice},
    storage::File,
};
use part::Part;

/// A range of a file, as long as the memory, and which way its bytes are to go.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// Which way, seen from storage.
    pub direction: Direction,
    /// The file, and whose memory.
    pub lane: &'a Lane,
    /// Where in the file, in bytes. Any.
    pub offset: u64,
    /// Where in memory. Any address, any length.
    pub memory: &'a PeerSlice,
}

/// Moves requests of any offset, length and address between files and peer memory: direct what can go direct, the rest
/// through host memory or not at all, as the [`Policy`] says. Every request ends in a [`Summary`].
///
/// What bounces is read in whole blocks and copied by the processor. A write that begins or ends within a block reads that
/// block, changes its part and writes it back: **while it does, nobody else may write to the same block**, or one of the two
/// writes is lost. Requests of one call may share blocks.
///
/// # For writers of checkpoints
///
/// Where a write begins or ends in a block that reaches behind the end of a file, its bytes there are written by themselves,
/// through the page cache and on to stable storage: the file gets as long as was asked for and never longer, and what another
/// writer puts behind it stays. That costs a flush of the drive, once for each such block. The page cache knows
/// whole pages: **while such a block is written, nobody else may write to the same page** (4096 bytes on x86) of data that is
/// already there. A direct write beside it that lands between the cache's reading of the page and its writing would be
/// undone. Writers that share a file are safe if each begins at a multiple of the page; parts of one mover's calls wait for one another.
///
/// ```
/// use p2pdma::{machine::{Access, Machine, Mock, mock::Cpu}, memory::{Copier, Provider}, storage::File};
/// use p2pdma::transfer::{Mover, Policy, Queue, Reason};
/// let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen)?);
/// let file = File::open(&machine, "/dev/nvme0n1", Access::Read)?;
/// let memory = Provider::find(&machine, "0000:05:00.0".parse()?)?.allocate(1 << 20)?;
///
/// let queue = Queue::new(&machine, Default::default())?;
/// let mut mover = Mover::new(queue, Policy::PreferDirect).with_copier(Copier::new()?, 4 << 20)?;
/// let lane = mover.bind(&file, &memory)?;
/// let summary = mover.read(&lane, 500, &memory.slice(500..100_500)?)?;
/// assert_eq!(summary.complete()?, 100_000);
/// assert_eq!((summary.bytes_direct(), summary.bytes_head(), summary.bytes_tail()), (99_840, 12, 148));
/// assert_eq!(summary.reason(), Some(Reason::Head));
///
/// let mut strict = Mover::new(Queue::new(&machine, Default::default())?, Policy::DirectOnly);
/// let lane = strict.bind(&file, &memory)?;
/// assert!(strict.read(&lane, 500, &memory.slice(500..1000)?).is_err()); // and no byte has moved
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Mover {
    queue: Queue,
    policy: Policy,
    staging: Option<Staging>,
    /// Parts in flight, by the place of their operation.
    flying: Vec<Option<Part>>,
    /// Calls of [`run`](Self::run): what flies longer than its own call is nobody's but its stage's.
    run: u64,
    /// Parts of this call in flight.
    active: usize,
    /// Of this call, a plan each.
    plans: Vec<Plan>,
    /// Parts in flight that write back what they, or the page cache, have read.
    rewriting: usize,
    causes: Causes,
}

impl Mover {
    /// A mover that has no way through the host: what would have to bounce is refused, under any policy.
    #[must_use]
    pub fn new(queue: Queue, policy: Policy) -> Self {
        let flying = (0..queue.depth()).map(|_| None).collect();
        let (staging, plans) = (None, Vec::new());
        Self { queue, policy, staging, flying, run: 0, active: 0, plans, rewriting: 0, causes: Causes::default() }
    }

    /// Lets it bounce, with so many bytes of host memory, taken here and now. They are divided into stages of 4 to 256 KiB:
    /// as many bounces fly at once, and the others wait for one of these to end.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a budget of less than 4096 bytes; [`Error::Io`] when there is no such memory.
    pub fn with_copier(self, copier: Copier, budget: usize) -> Result<Self> {
        Ok(Self { staging: Some(Staging::new(copier, budget)?), ..self })
    }

    /// Binds a file to a provider's memory. Where the verdict is no, or cannot be known, and the policy allows it, all of the
    /// lane's bytes bounce; [`Lane::refused`] says why. A file without direct I/O bounces through the page cache.
    ///
    /// # Errors
    ///
    /// As [`Queue::bind`] under [`Policy::DirectOnly`], and where there is no copier to bounce with.
    pub fn bind(&mut self, file: &File, memory: &PeerMemory) -> Result<Lane> {
        self.queue.check_memory(file, memory)?;
        let direct = match self.policy {
            Policy::BounceOnly => Err(Refusal::new(file, "asked to bounce", "use another policy")),
            Policy::DirectOnly => Ok(self.queue.bind(file, memory)?),
            Policy::PreferDirect => match self.queue.bind(file, memory) {
                Err(
                    Error::NoRoute(refusal)
                    | Error::NoDirectIo(refusal)
                    | Error::NotAllowed(refusal)
                    | Error::Disproved(refusal),
                ) => Err(refusal),
                other => Ok(other?),
            },
        };
        let host = self.bind_host(file)?;
        let exact = self.bind_exact(file, host.as_ref())?;
        if let (Err(refusal), None) = (&direct, &host) {
            let cause = format!("it cannot go direct ({}), and there is no copier to bounce with", refusal.cause);
            return Err(Error::NoDirectIo(Refusal::new(file, cause, "give the mover a copier (Mover::with_copier)")));
        }
        Lane::new(file, memory.owner(), direct, host, exact)
    }

    /// Lets go of a lane: the queue is done with its file, and has room for another, when the last clone and the last operation
    /// on it are gone. A lane that is just dropped keeps its places until they are wanted.
    ///
    /// ```
    /// # use p2pdma::{machine::{Access, Machine, Mock, mock::Cpu}, memory::Provider, storage::File};
    /// # use p2pdma::transfer::{Mover, Policy, Queue};
    /// # let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen)?);
    /// # let memory = Provider::find(&machine, "0000:05:00.0".parse()?)?.allocate(4096)?;
    /// let mut mover = Mover::new(Queue::new(&machine, Default::default())?, Policy::DirectOnly);
    /// for _ in 0..1000 {
    ///     let file = File::open(&machine, "/dev/nvme0n1", Access::Read)?;
    ///     let lane = mover.bind(&file, &memory)?;
    ///     mover.read(&lane, 0, &memory.all())?.complete()?;
    ///     mover.unbind(lane)?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Queue::unbind`].
    pub fn unbind(&mut self, lane: Lane) -> Result<()> {
        let pairs = [lane.direct(), lane.host(), lane.exact()].map(Option::<&super::Pair>::cloned);
        drop(lane);
        pairs.into_iter().flatten().try_for_each(|pair| self.queue.unbind(pair))
    }

    /// The way through the page cache, for the ends of files that grow.
    fn bind_exact(&mut self, file: &File, host: Option<&super::Pair>) -> Result<Option<super::Pair>> {
        let grows = !file.is_block_device() && file.access() == Access::ReadWrite;
        match host {
            Some(host) if grows && !host.file().is_buffered() => self.queue.bind_host(&file.buffered()?).map(Some),
            _ => Ok(None),
        }
    }

    /// The way through the host, if this mover has one.
    fn bind_host(&mut self, file: &File) -> Result<Option<super::Pair>> {
        let (Some(staging), true) = (&self.staging, self.policy != Policy::DirectOnly) else { return Ok(None) };
        let pair = match self.queue.bind_host(file) {
            // What the kernel copies anyway need not pretend to be direct.
            Err(Error::NoDirectIo(_)) => self.queue.bind_host(&file.buffered()?)?,
            other => other?,
        };
        if pair.offset_alignment() as usize > staging.size {
            let cause = format!("a block of {} bytes does not fit into a stage", pair.offset_alignment());
            return Err(Error::Invalid(Refusal::new(file, cause, "give the mover a larger budget")));
        }
        Ok(Some(pair))
    }

    /// Reads `memory.len()` bytes at `offset` of the lane's file, and waits for them.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run). An operation that fails is no error here but a summary that says so.
    pub fn read(&mut self, lane: &Lane, offset: u64, memory: &PeerSlice) -> Result<Summary> {
        self.one(Piece { direction: Direction::Read, lane, offset, memory })
    }

    /// Writes all of `memory` to `offset` of the lane's file, and waits for it.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn write(&mut self, lane: &Lane, offset: u64, memory: &PeerSlice) -> Result<Summary> {
        self.one(Piece { direction: Direction::Write, lane, offset, memory })
    }

    fn one(&mut self, piece: Piece<'_>) -> Result<Summary> {
        let mut summary = [self.blank(&piece)];
        self.plan(&[piece])?;
        self.pump(&[piece], &mut summary)?;
        Ok(summary[0])
    }

    /// Moves many pieces, and waits for all of them. They start in this order, and many fly at a time; pieces that overlap
    /// in a file or in memory end in no particular order. `summaries` gets one each, in the same order.
    ///
    /// # Errors
    ///
    /// All pieces are planned before a byte moves: as [`Lane::plan`] for any of them. [`Error::Deadline`] when nothing ended
    /// within the queue's deadline: what had ended is in `summaries`, the rest is short there and may still land, until
    /// [`settle`](Self::settle) says otherwise. [`Error::Io`] when the ring or the host's own copy fails.
    pub fn run(&mut self, pieces: &[Piece<'_>], summaries: &mut Vec<Summary>) -> Result<()> {
        summaries.clear();
        self.plan(pieces)?;
        summaries.extend(pieces.iter().map(|piece| self.blank(piece)));
        self.pump(pieces, summaries)
    }

    fn blank(&self, piece: &Piece<'_>) -> Summary {
        Summary::new(piece.direction, piece.memory.len() as u64, self.policy == Policy::DirectOnly)
    }

    /// Plans all pieces, or refuses all of them.
    fn plan(&mut self, pieces: &[Piece<'_>]) -> Result<()> {
        self.plans.clear();
        for &Piece { direction, lane, offset, memory } in pieces {
            [lane.direct(), lane.host()].into_iter().flatten().try_for_each(|pair| self.queue.check_own(pair))?;
            let plan = lane.plan(self.policy, direction, offset, memory)?;
            self.causes.note(lane, &plan);
            self.plans.push(plan);
        }
        Ok(())
    }

    /// Has what was written to a file on stable storage when it returns (fdatasync(2)), its length included.
    ///
    /// # Errors
    ///
    /// As [`Queue::sync`]; [`Error::Io`] when the file does not take it; [`Error::Deadline`].
    pub fn sync(&mut self, file: &File) -> Result<()> {
        let id = self.queue.sync(file)?;
        loop {
            let receipt = self.queue.wait()?;
            self.forget(&receipt);
            if receipt.operation() == id {
                return receipt.complete().map(drop);
            }
        }
    }

    /// As [`Queue::witness`], of a lane's direct way.
    #[must_use]
    pub fn witness(&mut self, lane: &Lane) -> Sight {
        lane.direct().map_or(Sight::Unknown, |pair| self.queue.witness(pair))
    }

    /// Waits until nothing flies that an earlier call gave up. Whether that was so before the deadline.
    pub fn settle(&mut self) -> bool {
        let deadline = Instant::now() + self.queue.deadline();
        while self.queue.in_flight() > 0 && Instant::now() < deadline {
            match self.queue.wait() {
                Ok(receipt) => self.forget(&receipt),
                Err(Error::Deadline(_)) => {}
                // The ring is broken, and will be at the next try.
                Err(_) => return false,
            }
        }
        self.queue.in_flight() == 0
    }

    /// The queue below.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.queue
    }
}
