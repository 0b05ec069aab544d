//! Whether the bytes that went direct are the right ones. Off the timed path.

use p2pdma::{machine::Machine, storage::File, transfer::Prover};

use super::{ends::Ends, job::Job};
use crate::{failure::Failure, interrupt};

/// Bytes that are compared at the most, from the start of the span: a drive of terabytes would take hours.
const MOST: u64 = 1 << 30;

/// Goes once over the blocks of the job, up to [`MOST`] bytes; gives the number of bytes that were compared and equal. Of a
/// copy, both ways.
pub(super) fn verify(machine: &Machine, job: &Job, ends: &Ends<'_>) -> Result<u64, Failure> {
    let memory = &ends.peer.memory;
    let length = job.memory() / job.depth() as usize;
    let blocks = job.blocks(ends.file).min((MOST / job.block()).max(1));
    let all = |file: &File, prove: fn(&mut Prover, u64) -> p2pdma::Result<()>| {
        let mut prover = Prover::with_length(machine, file, memory, length)?;
        (0..blocks).try_for_each(|index| {
            interrupt::check()?;
            prove(&mut prover, index * job.block()).map_err(Failure::from)
        })
    };
    all(ends.file, if job.rw().writes() { Prover::write } else { Prover::read })?;
    ends.copy_to.map_or(Ok(()), |target| all(target, Prover::write))?;
    Ok(blocks * job.block())
}
