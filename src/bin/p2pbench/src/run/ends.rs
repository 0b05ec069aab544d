//! A source and a peer that exchange bytes: what the queues of a run have at their two ends.

use p2pdma::{memory::PeerSlice, storage::File};

use super::{
    job::{Job, Part},
    numa::Pin,
    peer::Peer,
};
use crate::failure::Failure;

/// One pair of source and peer. All pairs of a run work at the same time: each has its part of the source and of the
/// peer's memory for itself.
#[derive(Debug)]
pub(super) struct Ends<'a> {
    /// The number of the pair.
    pub(super) pair: usize,
    pub(super) file: &'a File,
    /// Where the bytes go on to from the peer, if they are copied.
    pub(super) copy_to: Option<&'a File>,
    pub(super) peer: &'a Peer,
    /// Which of how many sources this is, and which of how many peers.
    source: (usize, usize),
    target: (usize, usize),
    /// Where its threads are to work.
    pub(super) pin: Option<Pin>,
}

impl<'a> Ends<'a> {
    /// Each source with each peer.
    pub(super) fn all(
        files: &'a [File],
        pins: &[Option<Pin>],
        peers: &'a [Peer],
        copy_to: Option<&'a File>,
    ) -> Vec<Self> {
        let mut all = Vec::new();
        for (source, file) in files.iter().enumerate() {
            for (target, peer) in peers.iter().enumerate() {
                all.push(Self {
                    pair: all.len(),
                    file,
                    copy_to,
                    peer,
                    source: (source, files.len()),
                    target: (target, peers.len()),
                    pin: pins.get(source).cloned().flatten(),
                });
            }
        }
        all
    }

    /// What of the source falls to this queue of the pair.
    pub(super) fn part(&self, job: &Job, number: u32) -> Part {
        let (index, peers) = (self.target.0 as u64, self.target.1 as u64);
        let jobs = u64::from(job.jobs());
        job.part(self.file, index * jobs + u64::from(number), peers * jobs)
    }

    /// What of the peer's memory falls to this queue of the pair.
    pub(super) fn memory(&self, job: &Job, number: u32) -> Result<PeerSlice, Failure> {
        let start = (self.source.0 * job.jobs() as usize + number as usize) * job.memory();
        Ok(self.peer.memory.slice(start..start + job.memory())?)
    }
}
