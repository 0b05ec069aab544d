//! Operations in flight, and what they own.

use std::sync::Arc;

use super::{
    pair::Registration,
    receipt::{OperationId, Outcome, Receipt},
};
use crate::{
    control::Moved,
    machine::{Completion, Direction},
    memory::View,
    verdict::Way,
};

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Read,
    Write,
    /// A write that ends on stable storage.
    WriteThrough,
    /// What was written before goes to stable storage.
    Sync,
}

impl Action {
    pub(super) fn direction(self) -> Direction {
        match self {
            Self::Read => Direction::Read,
            Self::Write | Self::WriteThrough | Self::Sync => Direction::Write,
        }
    }
}

/// What an operation owns until its completion is reaped: DMA may land in the memory until then.
#[derive(Debug)]
pub(super) struct Operation {
    action: Action,
    requested: u32,
    /// `None` where nothing moves.
    memory: Option<View>,
    /// Its file, and the place in the ring's table that names it: nobody else's while the operation may still start.
    registration: Arc<Registration>,
}

/// A table of operations in flight, as long as the queue is deep. It allocates nothing after it was made.
///
/// # Invariants
///
/// A place is in `free` exactly when it holds no operation.
#[derive(Debug)]
pub(super) struct Flight {
    queue: u64,
    places: Vec<Place>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Place {
    operation: Option<Operation>,
    /// Counts the operations that were here, so that an identifier never names a later one.
    generation: u32,
}

impl Flight {
    pub(super) fn new(queue: u64, depth: u32) -> Self {
        let places = (0..depth).map(|_| Place::default()).collect();
        Self { queue, places, free: (0..depth).rev().collect() }
    }

    fn id(&self, tag: u64) -> OperationId {
        OperationId { queue: self.queue, tag }
    }

    pub(super) fn depth(&self) -> usize {
        self.places.len()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Takes an operation in; gives it back when all places are taken.
    pub(super) fn take(&mut self, operation: Operation) -> Result<OperationId, Operation> {
        let Some(index) = self.free.pop() else { return Err(operation) };
        let Some(place) = self.places.get_mut(index as usize) else { return Err(operation) };
        place.operation = Some(operation);
        let tag = u64::from(place.generation) << 32 | u64::from(index);
        Ok(self.id(tag))
    }

    /// Ends the operation that a completion names. `None` for a completion of nothing that is in flight.
    pub(super) fn end(&mut self, completion: Completion) -> Option<Receipt> {
        let id = self.id(completion.tag);
        Some(self.remove(id)?.receipt(id, completion))
    }

    /// Whether an operation of this queue is still in flight.
    pub(super) fn holds(&self, id: OperationId) -> bool {
        let place = self.places.get(id.place());
        place.is_some_and(|place| place.operation.is_some() && u64::from(place.generation) == id.tag >> 32)
    }

    /// Takes out an operation that flies, or that was never submitted.
    pub(super) fn remove(&mut self, id: OperationId) -> Option<Operation> {
        let index = u32::try_from(id.tag & u64::from(u32::MAX)).ok()?;
        let place = self.places.get_mut(index as usize)?;
        if u64::from(place.generation) != id.tag >> 32 {
            return None;
        }
        let operation = place.operation.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(index);
        Some(operation)
    }
}

impl Operation {
    pub(super) fn new(action: Action, requested: u32, memory: Option<View>, registration: &Arc<Registration>) -> Self {
        Self { action, requested, memory, registration: Arc::clone(registration) }
    }

    fn receipt(&self, operation: OperationId, completion: Completion) -> Receipt {
        let owner = self.memory.as_ref().and_then(View::owner);
        let way = owner.map(|owner| if owner.buffer.is_some() { Way::Module } else { Way::P2pmem });
        let moved = match way {
            Some(Way::Module) => Moved::of_command(completion.result),
            _ => Moved::of_call(completion.result),
        };
        let outcome = match moved {
            Ok(moved) if moved.bytes <= self.requested => Outcome::Moved(moved),
            // More than was asked for: whatever that is, it is not success.
            Ok(_) => Outcome::Failed(libc::EOVERFLOW),
            Err(errno) => Outcome::Failed(errno),
        };
        if self.action.direction() == Direction::Write
            && !matches!(outcome, Outcome::Moved(moved) if moved.bytes == self.requested)
        {
            self.registration.target.file.failed();
        }
        Receipt { operation, action: self.action, way, requested: self.requested, outcome }
    }
}
