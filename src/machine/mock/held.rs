//! What waits for the next `enter` of a mock machine's ring.

use std::ptr;

use crate::{
    control::Direction,
    machine::ring::{Place, Submission},
    pci::Address,
};

/// What comes at the next `enter`.
#[derive(Debug)]
pub(super) enum Step {
    /// A provider goes.
    Unbind(Address),
    /// An operation goes to the kernel.
    Operation(Held),
}

/// A submission whose address is a number, so that the ring may move to another thread.
#[derive(Debug)]
pub(super) struct Held {
    direction: Direction,
    through: bool,
    file: u32,
    offset: u64,
    place: HeldPlace,
    length: u32,
    tag: u64,
    /// The most bytes that it moves.
    pub(super) most: u32,
}

#[derive(Debug, Clone, Copy)]
enum HeldPlace {
    Address(usize),
    Buffer(u64),
}

impl Held {
    pub(super) fn new(submission: &Submission, most: u32) -> Self {
        let Submission { direction, through, file, offset, place, length, tag } = *submission;
        let place = match place {
            Place::Address(address) => HeldPlace::Address(address.expose_provenance()),
            Place::Buffer(at) => HeldPlace::Buffer(at),
        };
        Self { direction, through, file, offset, place, length, tag, most }
    }

    pub(super) fn submission(&self) -> Submission {
        let Self { direction, through, file, offset, place, length, tag, .. } = *self;
        let place = match place {
            HeldPlace::Address(address) => Place::Address(ptr::with_exposed_provenance_mut(address)),
            HeldPlace::Buffer(at) => Place::Buffer(at),
        };
        Submission { direction, through, file, offset, place, length, tag }
    }
}
