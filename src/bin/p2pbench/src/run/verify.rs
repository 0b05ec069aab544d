//! Whether the bytes that went direct are the right ones. Off the timed path.

use p2pdma::{
    Refusal,
    machine::Machine,
    memory::{Copier, HostMemory, PeerMemory, PeerSlice},
    storage::File,
    transfer::{Options, Pair, Queue},
};

use super::job::Job;
use crate::failure::Failure;

/// Bytes that are compared at the most, from the start of the span: a drive of terabytes would take hours.
const MOST: u64 = 1 << 30;

/// A file seen two ways: direct into peer memory, and by the host.
struct Verifier {
    queue: Queue,
    direct: Pair,
    through_host: Pair,
    peer: PeerSlice,
    host: HostMemory,
    copier: Copier,
}

/// Goes once over the blocks of the job, up to [`MOST`] bytes; gives the number of bytes that were compared and equal.
pub(super) fn verify(machine: &Machine, job: &Job, file: &File, memory: &PeerMemory) -> Result<u64, Failure> {
    let length = job.memory() / job.depth() as usize;
    let mut queue = Queue::new(machine, Options::default().depth(1))?;
    let mut verifier = Verifier {
        direct: queue.bind(file, memory)?,
        through_host: queue.bind_host(file)?,
        queue,
        peer: memory.slice(..length)?,
        host: HostMemory::allocate(length)?,
        copier: Copier::new()?,
    };
    let blocks = job.blocks().min((MOST / job.block()).max(1));
    let check = if job.rw().writes() { Verifier::write } else { Verifier::read };
    for index in 0..blocks {
        let offset = index * job.block();
        if !check(&mut verifier, offset)? {
            return Err(differs(file, memory, offset));
        }
    }
    Ok(blocks * job.block())
}

impl Verifier {
    /// The peer memory is filled with the complement first: what does not arrive cannot look equal.
    fn read(&mut self, offset: u64) -> Result<bool, Failure> {
        let expected = self.host_bytes(offset)?;
        let complement: Vec<u8> = expected.iter().map(|byte| !byte).collect();
        self.copier.write(&complement, &self.peer)?;
        self.queue.read(&self.direct, offset, self.peer.clone())?;
        self.queue.wait()?.complete()?;
        let mut arrived = vec![0; expected.len()];
        self.copier.read(&self.peer, &mut arrived)?;
        Ok(arrived == expected)
    }

    /// What is written differs in every byte from what the file held before.
    fn write(&mut self, offset: u64) -> Result<bool, Failure> {
        let written: Vec<u8> = self.host_bytes(offset)?.iter().map(|byte| !byte).collect();
        self.copier.write(&written, &self.peer)?;
        self.queue.write(&self.direct, offset, self.peer.clone())?;
        self.queue.wait()?.complete()?;
        Ok(self.host_bytes(offset)? == written)
    }

    fn host_bytes(&mut self, offset: u64) -> Result<Vec<u8>, Failure> {
        self.queue.read(&self.through_host, offset, self.host.all())?;
        self.queue.wait()?.complete()?;
        let mut bytes = vec![0; self.host.len()];
        self.host.all().read(&mut bytes)?;
        Ok(bytes)
    }
}

fn differs(file: &File, memory: &PeerMemory, offset: u64) -> Failure {
    let thing = format!("{file} at {offset}");
    let cause = format!("direct and host path differ: {} took or gave other bytes", memory.provider());
    let cure = "do not use this route; look for an IOMMU or switch that redirects peer traffic";
    Failure::Failed(Refusal::new(thing, cause, cure))
}
