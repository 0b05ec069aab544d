//! Where the bytes of an operation are, and what is known of one in flight.

use std::{ops::Range, time::Instant};

use p2pdma::memory::{Copier, HostMemory, HostSlice, PeerSlice, Slice};

use super::job::Job;
use crate::{cli::Path, failure::Failure, interrupt};

/// An operation in flight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flying {
    pub(super) buffer: usize,
    /// When its first part was.
    pub(super) taken: Instant,
    /// Where in the file it works, and how many bytes it is to move.
    pub(super) offset: u64,
    pub(super) length: u64,
    /// Bytes that have moved, of an operation that fell short; of a copy, of the half under way.
    pub(super) moved: u64,
    /// Of these, and of the half that is over, those that went direct.
    pub(super) direct: u64,
    /// Of the second half of a copy: how many bytes of the first went direct.
    pub(super) read_direct: Option<u64>,
}

/// Peer memory, and on the way through the host a stage in front of it.
#[derive(Debug)]
pub(super) struct Buffer {
    pub(super) peer: PeerSlice,
    pub(super) stage: Option<HostSlice>,
    /// Where in the file the bytes of the last operation are that ended in it, and how many.
    pub(super) holds: Option<(u64, u64)>,
}

impl Flying {
    /// One that is about to start.
    pub(super) fn of(buffer: usize, (offset, length): (u64, u64), taken: Instant) -> Self {
        Self { buffer, taken, offset, length, moved: 0, direct: 0, read_direct: None }
    }
}

impl Buffer {
    /// As many as a queue is deep, all of its memory. What lies in host memory is touched, so that no turn pays for its pages.
    pub(super) fn all(job: &Job, memory: &PeerSlice, path: Path, copier: &Copier) -> Result<Vec<Self>, Failure> {
        let stages = match path {
            Path::Direct => None,
            Path::Bounce | Path::PageCache => Some(HostMemory::allocate(job.memory())?),
        };
        let length = job.memory() / job.depth() as usize;
        let buffer = |index: usize| {
            interrupt::check()?;
            let range = index * length..(index + 1) * length;
            let stage = stages.as_ref().map(|stages| stages.slice(range.clone())).transpose()?;
            let peer = memory.slice(range)?;
            stage.iter().try_for_each(|stage| copier.to_host(&peer, stage))?;
            Ok(Self { peer, stage, holds: None })
        };
        (0..job.depth() as usize).map(buffer).collect()
    }

    pub(super) fn is_filled_by(&self, length: u64) -> bool {
        self.peer.len() as u64 == length
    }

    /// A part of it.
    pub(super) fn part(&self, range: Range<u64>) -> Result<Self, Failure> {
        let [from, to] = [range.start, range.end].map(|end| usize::try_from(end).unwrap_or(usize::MAX));
        let peer = self.peer.slice(from..to)?;
        let stage = self.stage.as_ref().map(|stage| stage.slice(from..to)).transpose()?;
        Ok(Self { peer, stage, holds: None })
    }

    /// Where storage finds the bytes.
    pub(super) fn nearest(&self) -> Slice {
        match &self.stage {
            Some(stage) => stage.clone().into(),
            None => self.peer.clone().into(),
        }
    }
}
