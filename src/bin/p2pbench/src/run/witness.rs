//! What the host reads, held against what lies in peer memory.

use std::time::{Duration, Instant};

use p2pdma::{
    Error, Refusal,
    memory::{Copier, HostMemory, PeerSlice},
    storage::File,
    transfer::{Pair, Queue, Receipt},
};

use super::job::Job;
use crate::failure::Failure;

/// The longest that one reading takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads blocks of a file past the page cache, into host memory.
#[derive(Debug)]
pub(super) struct Witness {
    file: File,
    pair: Pair,
    host: HostMemory,
    /// What the host reads, and what the peer holds.
    read: Vec<u8>,
    held: Vec<u8>,
}

impl Witness {
    pub(super) fn new(queue: &mut Queue, file: &File, job: &Job) -> Result<Self, Failure> {
        let block = job.memory() / job.depth() as usize;
        let pair = queue.bind_host(file)?;
        let host = HostMemory::allocate(block)?;
        Ok(Self { file: file.clone(), pair, host, read: vec![0; block], held: vec![0; block] })
    }

    /// Whether the slot with this number holds what is at `offset`. Gives the number of bytes that were compared: all of
    /// them, since a checksum would only say less.
    pub(super) fn compare(
        &mut self,
        queue: &mut Queue,
        copier: &mut Copier,
        slot: &PeerSlice,
        offset: u64,
        number: usize,
    ) -> Result<u64, Failure> {
        let host = self.host.all().slice(..slot.len())?;
        let (read, held) = (&mut self.read[..slot.len()], &mut self.held[..slot.len()]);
        queue.read(&self.pair, offset, host.clone())?;
        wait(queue)?.complete()?;
        host.read(read)?;
        copier.read(slot, held)?;
        match read.iter().zip(&*held).position(|(read, held)| read != held) {
            None => Ok(slot.len() as u64),
            Some(byte) => {
                let cause = format!(
                    "after the last turn, slot {number} of the peer's memory differs from what the host reads at byte {}",
                    offset + byte as u64
                );
                Err(Failure::Failed(Refusal::new(&self.file, cause, "do not trust this route; see `p2pbench explain`")))
            }
        }
    }
}

/// The queue's own waits are short.
fn wait(queue: &mut Queue) -> Result<Receipt, Failure> {
    let since = Instant::now();
    loop {
        match queue.wait() {
            Err(Error::Deadline(_)) if since.elapsed() < PATIENCE => {}
            other => return Ok(other?),
        }
    }
}
