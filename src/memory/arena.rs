//! One piece of peer memory, many allocations.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{PeerMemory, Provider, ranges::Ranges};
use crate::{Error, Refusal, Result};

/// Peer memory to allocate from without asking the kernel: one piece, parts of it by best fit.
///
/// The kernel's pool hands out whole pages, gives a mapping back page by page, and searches a bitmap for each; a program
/// that lives for days takes its memory once and divides it here. A file that is bound to one part of a buffer of the module's
/// is bound to all of them. Cheap to clone; clones are the same arena. The memory goes back to the provider when the arena and everything allocated from it are gone.
///
/// ```
/// use p2pdma::{machine::{Machine, Mock, mock::Cpu}, memory::{Arena, Provider}};
/// let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen)?);
/// let provider = Provider::find(&machine, "0000:05:00.0".parse()?)?;
/// let arena = Arena::new(&provider, 32 << 20)?;
/// let tensor = arena.allocate(1_000_000, 4096)?;
/// assert_eq!(tensor.len(), 1_000_000);
/// assert_eq!(arena.free(), (32 << 20) - 1_000_000);
/// drop(tensor);
/// assert_eq!(arena.longest(), 32 << 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Arena {
    memory: PeerMemory,
    /// From the start of the mapping or buffer, which is aligned to pages; the memory may be any part of it.
    ranges: Arc<Mutex<Ranges>>,
}

/// A part of the arena, given back on drop.
struct Share {
    ranges: Arc<Mutex<Ranges>>,
    start: usize,
    length: usize,
}

impl Arena {
    /// Allocates and maps `length` bytes of `provider`, zeroed once.
    ///
    /// # Errors
    ///
    /// As [`Provider::allocate`].
    pub fn new(provider: &Provider, length: usize) -> Result<Self> {
        provider.allocate(length).map(Self::of)
    }

    /// Divides memory of either kind. Whoever holds clones of it shares its bytes with the arena.
    #[must_use]
    pub fn of(memory: PeerMemory) -> Self {
        let start = memory.view.offset;
        Self { ranges: Arc::new(Mutex::new(Ranges::new(start..start + memory.len()))), memory }
    }

    /// Takes `length` bytes at an address that is a multiple of `alignment`. 4 is all that NVMe asks for; prefer 4096.
    ///
    /// The bytes are what this process last left there: they are not zeroed again.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: a length of 0, or an alignment that is no power of two or above 4096 (the memory itself is
    ///   aligned to pages, no more).
    /// - [`Error::PoolExhausted`]: no free range is long enough; the message says how long the longest is.
    pub fn allocate(&self, length: usize, alignment: usize) -> Result<PeerMemory> {
        let bad = |cause: String, cure| Err(Error::Invalid(Refusal::new(self.memory.provider(), cause, cure)));
        if length == 0 {
            return bad("an allocation of 0 bytes".into(), "ask for at least one byte");
        }
        if !alignment.is_power_of_two() || alignment > 4096 {
            return bad(format!("an alignment of {alignment} bytes"), "use a power of two up to 4096");
        }
        // A statement of its own: the message below locks again.
        let taken = lock(&self.ranges).take(length, alignment);
        let start = taken.ok_or_else(|| self.exhausted(length))?;
        let share = Share { ranges: Arc::clone(&self.ranges), start, length };
        let at = start - self.memory.view.offset;
        let view = self.memory.view.part(at..at + length)?.into_block(Box::new(share));
        Ok(PeerMemory { view, owner: self.memory.owner })
    }

    /// Free bytes, in all ranges together.
    #[must_use]
    pub fn free(&self) -> usize {
        lock(&self.ranges).free()
    }

    /// The longest free range, in bytes: what can be had in one piece.
    #[must_use]
    pub fn longest(&self) -> usize {
        lock(&self.ranges).longest()
    }

    fn exhausted(&self, length: usize) -> Error {
        let (free, longest) = (self.free(), self.longest());
        let cause = format!("no free range of {length} bytes: {free} are free, {longest} in one piece");
        Error::PoolExhausted(Refusal::new(
            self.memory.provider(),
            cause,
            "free other allocations, or use a larger arena",
        ))
    }
}

/// A panic of another thread leaves the ranges whole: nothing panics while they are changed.
fn lock(ranges: &Mutex<Ranges>) -> MutexGuard<'_, Ranges> {
    ranges.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Share {
    fn drop(&mut self) {
        lock(&self.ranges).give(self.start, self.length);
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({}..{})", self.start, self.start + self.length)
    }
}
