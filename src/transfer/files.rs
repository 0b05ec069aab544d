//! A ring's file table: who uses which place.

use std::{
    io,
    sync::{Arc, Weak},
};

use super::{pair::Registration, target::Target, witness::Witness};
use crate::{Error, Refusal, Result, machine::Ring, storage::File};

/// The places of a ring's file table, by number.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Pairs and operations share in a registration; without any, the place is free.
    places: Vec<Weak<Registration>>,
    /// Places that were given back while operations used them, or other pairs.
    leaving: Vec<u32>,
}

impl Files {
    /// The place of a target: the one that it has, or the first that nobody uses.
    pub(super) fn take(&mut self, ring: &mut dyn Ring, queue: u64, target: Target) -> Result<Arc<Registration>> {
        let known = self.used().find(|known| known.target.same(&target));
        known.map_or_else(|| self.register(ring, queue, target), Ok)
    }

    fn register(&mut self, ring: &mut dyn Ring, queue: u64, target: Target) -> Result<Arc<Registration>> {
        let unused = self.places.iter().position(|place| place.strong_count() == 0);
        let place = unused.unwrap_or(self.places.len());
        let slot = u32::try_from(place).ok().filter(|&slot| slot < ring.files()).ok_or_else(|| {
            let cause = format!("the queue already works on {place} files");
            let cure = "unbind pairs that are done with, or make another queue";
            Error::QueueFull(Refusal::new(&target.file, cause, cure))
        })?;
        self.leaving.retain(|&leaving| leaving != slot);
        ring.register(slot, target.registrant()).map_err(|source| registered(&target.file, source))?;
        let registration = Arc::new(Registration { queue, slot, target, witness: Witness::default() });
        match self.places.get_mut(place) {
            Some(unused) => *unused = Arc::downgrade(&registration),
            None => self.places.push(Arc::downgrade(&registration)),
        }
        Ok(registration)
    }

    /// Frees a place at once if this was its last user, or when [`tidy`](Self::tidy) finds that it has none.
    pub(super) fn give_back(&mut self, ring: &mut dyn Ring, registration: Arc<Registration>) -> Result<()> {
        let slot = registration.slot;
        match Arc::into_inner(registration) {
            Some(last) => ring.unregister(slot).map_err(|source| registered(&last.target.file, source)),
            None => {
                self.leaving.retain(|&leaving| leaving != slot);
                self.leaving.push(slot);
                Ok(())
            }
        }
    }

    /// An operation has ended: frees what was given back while it was kept.
    pub(super) fn tidy(&mut self, ring: &mut dyn Ring) {
        let Self { places, leaving } = self;
        leaving.retain(|&slot| {
            let kept = places.get(slot as usize).is_some_and(|place| place.strong_count() > 0);
            // What the ring does not let go of now, it does when the place is wanted.
            kept || ring.unregister(slot).is_err()
        });
    }

    /// Those that are used.
    pub(super) fn used(&self) -> impl Iterator<Item = Arc<Registration>> + '_ {
        self.places.iter().filter_map(Weak::upgrade)
    }

    /// Puts all files into a ring that has none.
    pub(super) fn renew(&self, ring: &mut dyn Ring) -> Result<()> {
        for known in self.used() {
            let target = &known.target;
            ring.register(known.slot, target.registrant()).map_err(|source| registered(&target.file, source))?;
        }
        Ok(())
    }

    /// Takes all files out of the ring. The kernel tears a ring down some time after it was closed (`io_ring_exit_work`), and
    /// whoever opens the device or unmounts the filesystem next would find it busy until then.
    pub(super) fn let_go(&self, ring: &mut dyn Ring) {
        for slot in (0..).take(self.places.len()) {
            // What it does not let go of now, it does then.
            let _ = ring.unregister(slot);
        }
    }
}

fn registered(file: &File, source: io::Error) -> Error {
    Error::syscall("io_uring_register", file, source, "see the errno")
}
