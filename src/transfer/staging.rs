//! Host memory that bounces go through.

use crate::{
    Error, Refusal, Result,
    memory::{Copier, HostMemory, HostSlice},
};

/// Bytes of one stage, at the most: long enough to keep a drive busy, and in scattered pages still one request of it.
const STAGE: usize = 256 << 10;

/// Stages that a small budget is divided into, so that as many bounces fly at once.
const FEW: usize = 8;

/// Stages of host memory, taken once: as many bounces fly at a time, and no more.
#[derive(Debug)]
pub(super) struct Staging {
    pub(super) copier: Copier,
    memory: HostMemory,
    /// Bytes of each stage, a multiple of 4096.
    pub(super) size: usize,
    free: Vec<usize>,
}

impl Staging {
    /// Stages of `budget` bytes together.
    pub(super) fn new(copier: Copier, budget: usize) -> Result<Self> {
        let size = (budget / FEW).clamp(4096, STAGE) / 4096 * 4096;
        if budget < size {
            let cause = format!("{budget} bytes hold no block");
            return Err(Error::Invalid(Refusal::new(
                "bounce budget",
                cause,
                "allow 4096 bytes or more; 4 MiB is plenty",
            )));
        }
        let count = budget / size;
        let memory = HostMemory::allocate(count * size)?;
        Ok(Self { copier, memory, size, free: (0..count).rev().collect() })
    }

    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    pub(super) fn take(&mut self) -> Option<usize> {
        self.free.pop()
    }

    pub(super) fn give(&mut self, stage: usize) {
        self.free.push(stage);
    }

    /// A range of a stage.
    pub(super) fn slice(&self, stage: usize, from: u64, to: u64) -> Result<HostSlice> {
        let at = |offset: u64| stage * self.size + usize::try_from(offset).unwrap_or(self.size).min(self.size);
        self.memory.slice(at(from)..at(to))
    }
}
