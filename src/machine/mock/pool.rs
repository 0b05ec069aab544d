//! A provider's memory: its accounts, and how it goes.

use std::{
    fmt,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use crate::{Result, machine::file::memfd};

/// What a pool counts in.
const PAGE: u64 = 4096;

/// A provider's memory. The bytes are in a memfd for each allocation.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) size: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: u64,
    gone: bool,
    /// What is allocated, if it has to be taken away one day.
    lent: Vec<Weak<OwnedFd>>,
}

/// An allocation's share of its pool, given back on drop.
pub(super) struct Lease {
    pool: Arc<Pool>,
    length: u64,
    _lent: Option<Arc<OwnedFd>>,
}

/// Why there is no memory.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// Its provider was unbound.
    Gone,
    /// Only so many bytes are free.
    Free(u64),
}

impl Pool {
    pub(super) fn new(size: u64) -> Arc<Self> {
        Arc::new(Self { size, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn available(&self) -> u64 {
        self.size - self.state().used
    }

    pub(super) fn is_gone(&self) -> bool {
        self.state().gone
    }

    /// Lends `length` bytes, of which it counts whole pages, as the kernel's pools do; with `revocable`, keeps a hand on them for [`go`](Self::go).
    pub(super) fn lend(
        self: &Arc<Self>,
        length: u64,
        revocable: bool,
    ) -> Result<std::result::Result<(OwnedFd, Lease), Lack>> {
        let pages = length.next_multiple_of(PAGE);
        let mut state = self.state();
        let free = self.size - state.used;
        if state.gone || pages > free {
            return Ok(Err(if state.gone { Lack::Gone } else { Lack::Free(free) }));
        }
        let fd = memfd(c"p2pdma mock peer memory", length)?;
        let lent = revocable.then(|| fd.try_clone().map(Arc::new)).transpose();
        let lent = lent
            .map_err(|source| crate::Error::syscall("dup", "peer memory", source, "raise the limit on open files"))?;
        state.lent.retain(|lent| lent.strong_count() > 0);
        state.lent.extend(lent.as_ref().map(Arc::downgrade));
        state.used += pages;
        Ok(Ok((fd, Lease { pool: Arc::clone(self), length: pages, _lent: lent })))
    }

    /// Takes the memory away from all who have it mapped: behind the end of a file there is none, so that the kernel
    /// answers EFAULT to a copy and to I/O, as it does where a BAR was unmapped.
    pub(super) fn go(&self) {
        let mut state = self.state();
        state.gone = true;
        for lent in state.lent.drain(..).filter_map(|lent| lent.upgrade()) {
            // A file of our own becomes shorter: there is no reason for which that fails.
            let _ = nix::unistd::ftruncate(&*lent, 0);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.state().used -= self.length;
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} bytes)", self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_lends_no_more_than_it_has_and_takes_back() {
        let pool = Pool::new(3 * PAGE);
        let (_fd, lease) = pool.lend(PAGE + 1, false).unwrap().unwrap();
        assert_eq!(pool.lend(PAGE + 1, false).unwrap().err(), Some(Lack::Free(PAGE)));
        assert_eq!(pool.available(), PAGE, "it counts whole pages");
        drop(lease);
        assert_eq!(pool.available(), 3 * PAGE);
    }

    #[test]
    fn what_goes_takes_its_memory_along_and_lends_no_more() {
        let pool = Pool::new(PAGE);
        let (fd, lease) = pool.lend(60, true).unwrap().unwrap();
        pool.go();
        assert_eq!(nix::sys::stat::fstat(&fd).unwrap().st_size, 0);
        assert_eq!(pool.lend(1, true).unwrap().err(), Some(Lack::Gone));
        drop(lease);
        assert_eq!(pool.available(), PAGE);
    }
}
