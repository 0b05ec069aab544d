//! Whether the bytes that went direct are the right ones. Off the timed path.

use p2pdma::{machine::Machine, memory::PeerMemory, storage::File, transfer::Prover};

use super::job::Job;
use crate::failure::Failure;

/// Bytes that are compared at the most, from the start of the span: a drive of terabytes would take hours.
const MOST: u64 = 1 << 30;

/// Goes once over the blocks of the job, up to [`MOST`] bytes; gives the number of bytes that were compared and equal.
pub(super) fn verify(machine: &Machine, job: &Job, file: &File, memory: &PeerMemory) -> Result<u64, Failure> {
    let length = job.memory() / job.depth() as usize;
    let mut prover = Prover::with_length(machine, file, memory, length)?;
    let blocks = job.blocks().min((MOST / job.block()).max(1));
    let prove = if job.rw().writes() { Prover::write } else { Prover::read };
    (0..blocks).try_for_each(|index| prove(&mut prover, index * job.block()))?;
    Ok(blocks * job.block())
}
