//! Where the bytes of an operation are, and what is known of one in flight.

use std::time::Instant;

use p2pdma::memory::{HostSlice, PeerSlice, Slice};

use crate::failure::Failure;

/// An operation in flight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flying {
    pub(super) buffer: usize,
    /// When its first part was.
    pub(super) taken: Instant,
    /// Where in the file it works.
    pub(super) offset: u64,
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
    /// Where in the file the bytes of the last operation are that ended in it.
    pub(super) holds: Option<u64>,
}

impl Flying {
    /// One that is about to start.
    pub(super) fn of(buffer: usize, offset: u64, taken: Instant) -> Self {
        Self { buffer, taken, offset, moved: 0, direct: 0, read_direct: None }
    }
}

impl Buffer {
    /// All of it but the first `moved` bytes.
    pub(super) fn rest(&self, moved: u64) -> Result<Self, Failure> {
        let from = usize::try_from(moved).unwrap_or(usize::MAX);
        let peer = self.peer.slice(from..self.peer.len())?;
        let stage = self.stage.as_ref().map(|stage| stage.slice(from..stage.len())).transpose()?;
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
