//! Whether a route does what it says.
//!
//! The kernel's yes is not enough: where an IOMMU or a virtual machine's switch disagrees with it, operations end well and
//! nothing arrives. So a route is proved before it is trusted: the peer memory is filled with the complement of what the file
//! holds, the file is read direct, and what arrived is compared with the host's reading. Every byte must change, so that what
//! was there before cannot look right; zeroes compared with zeroes would prove nothing.

mod known;

use super::{Options, Pair, Queue, causes};
use crate::{
    Error, Refusal, Result,
    machine::{Direction, Machine},
    memory::{Copier, HostMemory, PeerMemory, PeerSlice, Slice},
    pci::Address,
    storage::File,
};
pub(super) use known::demand;

/// Bytes that are compared, if the memory has as many.
const ENOUGH: usize = 64 << 10;

/// What to do about a route that lies.
const CURE: &str = "do not use this route; look for an IOMMU or switch that redirects peer traffic";

/// Proves routes, by moving bytes and comparing them. What was proved or disproved is remembered while the process lives, and
/// [`Queue::bind`] goes by it: a route that is unknown is bound when it was proved, and one that was disproved is not bound,
/// whatever the kernel says. Pairs that were bound before stay.
///
/// A proof says that these bytes arrived at that time. It says nothing about a topology that has changed since, nor which way
/// they took: that is the receipts' to say.
///
/// What is proved is the route between an NVMe function and a provider's memory, so any file on the function will do, and a
/// proof is good for every other. Below md, dm or a multipath head lie several functions, and nobody can tell which one has
/// moved a block: a proof of such a file finds a liar, but **each function is to be proved by itself**, by a file of which it is the
/// only one: its namespace, another partition, or a scratch file there, before the stack is assembled if need be.
///
/// ```
/// use p2pdma::{machine::{Access, Direction, Machine, Mock, mock::Cpu}, memory::Provider, storage::File, transfer::Prover};
/// let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen)?);
/// let file = File::open(&machine, "/dev/nvme0n1", Access::Read)?;
/// let memory = Provider::find(&machine, "0000:05:00.0".parse()?)?.allocate(65_536)?;
/// assert!(!Prover::knows(&file, memory.provider(), Direction::Read));
/// Prover::new(&machine, &file, &memory)?.read(0)?; // an error where bytes do not arrive
/// assert!(Prover::knows(&file, memory.provider(), Direction::Read));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Prover {
    queue: Queue,
    direct: Pair,
    through_host: Pair,
    peer: PeerSlice,
    host: HostMemory,
    copier: Copier,
    file: File,
    provider: Address,
    /// What is to arrive, and what does.
    expected: Vec<u8>,
    arrived: Vec<u8>,
}

impl Prover {
    /// Proves with the first bytes of `memory`, as many whole blocks as it has up to 64 KiB. Their content is lost.
    ///
    /// # Errors
    ///
    /// As [`Queue::bind`], but for what a proof is to settle, and [`Queue::bind_host`]; [`Error::Invalid`] for memory of less than
    /// a block.
    pub fn new(machine: &Machine, file: &File, memory: &PeerMemory) -> Result<Self> {
        Self::with_length(machine, file, memory, ENOUGH.min(memory.len()))
    }

    /// Proves with so many bytes at a time, cut to whole blocks.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_length(machine: &Machine, file: &File, memory: &PeerMemory, length: usize) -> Result<Self> {
        let mut queue = Queue::new(machine, Options::default().depth(1))?;
        let direct = queue.bind_unproved(file, memory)?;
        let through_host = queue.bind_host(file)?;
        let block = direct.offset_alignment().max(through_host.offset_alignment()) as usize;
        let length = length / block * block;
        if length == 0 {
            let cause = format!("a proof needs a block of {block} bytes");
            return Err(Error::Invalid(Refusal::new(memory.provider(), cause, "give it more memory")));
        }
        Ok(Self {
            peer: memory.slice(..length)?,
            host: HostMemory::allocate(length)?,
            copier: Copier::new()?,
            file: file.clone(),
            provider: memory.provider(),
            expected: vec![0; length],
            arrived: vec![0; length],
            queue,
            direct,
            through_host,
        })
    }

    /// Waits no longer than this for any one operation, in place of 30 seconds.
    #[must_use]
    pub fn deadline(mut self, deadline: std::time::Duration) -> Self {
        self.queue.set_deadline(deadline);
        self
    }

    /// Bytes that one proof compares.
    #[must_use]
    pub fn length(&self) -> usize {
        self.peer.len()
    }

    /// Proves that what is read at `offset` arrives in peer memory.
    ///
    /// # Errors
    ///
    /// [`Error::Disproved`] when it does not, though the operation ended well; [`Error::Io`] when it did not end well, or
    /// the file ends before; [`Error::NoDirectIo`] for a range with a hole; [`Error::Deadline`] when an operation did not end, be
    /// it one of the proof before: as long as it flies its memory is no good for another.
    pub fn read(&mut self, offset: u64) -> Result<()> {
        self.read_by_host(offset)?;
        self.copier.write(&complement(&self.expected), &self.peer)?;
        self.move_one(Direction::Read, &self.direct.clone(), offset, self.peer.clone())?;
        self.copier.read(&self.peer, &mut self.arrived)?;
        self.compare(Direction::Read, offset)
    }

    /// Proves that what is written from peer memory arrives at `offset`, and that it can be read back, so that both ways are
    /// proved. **It overwrites the file there**: use a scratch file, on the same device.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), and [`Error::Invalid`] for a file opened for reading.
    pub fn write(&mut self, offset: u64) -> Result<()> {
        self.read_by_host(offset)?;
        let written = complement(&self.expected);
        self.copier.write(&written, &self.peer)?;
        self.move_one(Direction::Write, &self.direct.clone(), offset, self.peer.clone())?;
        self.read_by_host(offset)?;
        self.arrived.copy_from_slice(&self.expected);
        self.expected.copy_from_slice(&written);
        self.compare(Direction::Write, offset)?;
        self.read(offset)
    }

    /// Whether this process has proved the routes between all NVMe functions below a file and a provider's memory, this way.
    #[must_use]
    pub fn knows(file: &File, provider: Address, direction: Direction) -> bool {
        known::knows(file, provider, direction)
    }

    fn read_by_host(&mut self, offset: u64) -> Result<()> {
        self.move_one(Direction::Read, &self.through_host.clone(), offset, self.host.all())?;
        self.host.all().read(&mut self.expected)
    }

    fn move_one(&mut self, direction: Direction, pair: &Pair, offset: u64, slice: impl Into<Slice>) -> Result<()> {
        // What an earlier deadline left flying may land in the memory that is compared.
        while self.queue.in_flight() > 0 {
            let _late = self.queue.wait()?;
        }
        match direction {
            Direction::Read => self.queue.read(pair, offset, slice)?,
            Direction::Write => self.queue.write(pair, offset, slice)?,
        };
        self.queue.wait()?.complete().map(drop)
    }

    fn compare(&self, direction: Direction, offset: u64) -> Result<()> {
        if self.arrived == self.expected {
            known::proved(&self.file, self.provider, direction);
            return Ok(());
        }
        // Whatever was proved before is no longer so.
        known::disproved(&self.file, self.provider, direction);
        let wrong = self.arrived.iter().zip(&self.expected).filter(|(arrived, expected)| arrived != expected).count();
        let thing = format!("{} at {offset}", self.file);
        let cause = format!(
            "direct and host path differ in {wrong} of {} bytes: {} took or gave other bytes, though the {direction} ended well",
            self.length(),
            self.provider,
        );
        let refusal = Refusal::new(thing, cause, CURE);
        causes::disproved(&refusal);
        Err(Error::Disproved(refusal))
    }
}

fn complement(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| !byte).collect()
}
