//! A file and peer memory, as a mover sees them: the direct way, the way through the host, or both.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{
    pair::{MOST, Pair},
    plan::{Limits, Plan, Reason, Request},
    policy::Policy,
};
use crate::{
    Error, Refusal, Result,
    machine::{Access, Direction, Place},
    memory::{Owner, PeerSlice},
    storage::File,
    verdict::Way,
};

/// A file and a provider's memory, bound in a [`Mover`](super::Mover). Cheap to clone; clones are the same.
///
/// ```
/// use p2pdma::{machine::{Access, Machine, Mock, mock::Cpu}, memory::Provider, storage::File};
/// use p2pdma::transfer::{Direction, Mover, Policy, Queue};
/// let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen)?);
/// let file = File::open(&machine, "/dev/nvme0n1", Access::Read)?;
/// let memory = Provider::find(&machine, "0000:05:00.0".parse()?)?.allocate(4096)?;
/// let mut mover = Mover::new(Queue::new(&machine, Default::default())?, Policy::DirectOnly);
/// let lane = mover.bind(&file, &memory)?;
/// assert!(lane.refused().is_none()); // nothing stands in the way
/// let plan = lane.plan(Policy::PreferDirect, Direction::Read, 0, &memory.slice(..1000)?);
/// assert!(plan.is_err()); // its last 488 bytes would bounce, and this mover has no copier
/// assert_eq!(lane.plan(Policy::DirectOnly, Direction::Read, 0, &memory.all())?.bytes(), (4096, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Lane {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    owner: Owner,
    direct: Option<Pair>,
    host: Option<Pair>,
    /// Through the page cache, for blocks that reach behind the end of the file. Beside `host`, of a file that can grow.
    exact: Option<Pair>,
    /// Why nothing goes direct, in the words of who refused it.
    refused: Option<Refusal>,
    /// But for the end of the file.
    limits: Limits,
    /// Where the file ends, as far as it was looked at and written here.
    end: AtomicU64,
    /// Bytes of a page of the page cache, or of a block of the file if that is more.
    page: u64,
}

impl Lane {
    /// At least one of the two pairs is there.
    pub(super) fn new(
        file: &File,
        owner: Owner,
        direct: Result<Pair, Refusal>,
        host: Option<Pair>,
        exact: Option<Pair>,
    ) -> Result<Self> {
        let (direct, refused) = direct.map_or_else(|refusal| (None, Some(refusal)), |pair| (Some(pair), None));
        let aligned = |pair: &Pair| (pair.offset_alignment(), pair.memory_alignment());
        let of_direct = direct.as_ref().map(aligned);
        let (offset_alignment, memory_alignment) =
            of_direct.or(host.as_ref().map(|host| (host.offset_alignment(), 1))).unwrap_or((1, 1));
        let unit = offset_alignment.max(memory_alignment);
        let most = file.longest_request().and_then(|longest| u32::try_from(longest).ok()).unwrap_or(u32::MAX);
        let limits = Limits {
            offset_alignment,
            memory_alignment,
            most: most.min(u32::try_from(MOST).unwrap_or(u32::MAX)).max(unit),
            end: file.size(),
            grows: !file.is_block_device(),
            barrier: refused.as_ref().map(|_| Reason::Verdict),
        };
        let (file, end) = (file.clone(), AtomicU64::new(file.end()?));
        let page = page_size().max(unit.into());
        Ok(Self { inner: Arc::new(Inner { file, owner, direct, host, exact, refused, limits, end, page }) })
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.inner.file
    }

    /// Why nothing goes direct; `None` where bytes can.
    #[must_use]
    pub fn refused(&self) -> Option<&Refusal> {
        self.inner.refused.as_ref()
    }

    /// What one request will do, before it does it. It may ask the filesystem where the file ends and where its holes are.
    ///
    /// # Errors
    ///
    /// As [`Plan::new`], and [`Error::Invalid`] for memory of another provider or buffer, or a write to a file opened for
    /// reading.
    pub fn plan(&self, policy: Policy, direction: Direction, offset: u64, memory: &PeerSlice) -> Result<Plan> {
        let Inner { file, owner, limits, .. } = &*self.inner;
        let bad = |cause, cure| Err(Error::Invalid(Refusal::new(file, cause, cure)));
        if memory.view().owner() != Some(*owner) {
            return bad("memory of another provider or buffer than the lane's", "bind the file to it too");
        }
        if direction == Direction::Write && file.access() == Access::Read {
            return bad("a write to a file opened for reading", "open it with Access::ReadWrite");
        }
        let length = memory.len() as u64;
        let address = match memory.view().place() {
            Place::Address(address) => address.addr() as u64,
            Place::Buffer(at) => at,
        };
        let hole = limits.barrier.is_none() && direction == Direction::Read && file.has_hole_in(offset, length);
        let barrier = if hole { Some(Reason::Hole) } else { limits.barrier };
        // Where a file ends, a write does not ask: it may end behind that.
        let grown = direction == Direction::Write && limits.grows;
        let end = if grown { limits.end } else { self.end_for(offset.saturating_add(length))? };
        let limits = Limits { end, barrier, ..*limits };
        let plan = Plan::new(&limits, policy, &Request { direction, offset, length, address })?;
        self.allow_bounces(&plan)?;
        Ok(plan)
    }

    /// A bounce needs a way through the host.
    fn allow_bounces(&self, plan: &Plan) -> Result<()> {
        let bounced = plan.bytes().1;
        if bounced == 0 || self.inner.host.is_some() {
            return Ok(());
        }
        let cause = format!("{bounced} bytes would have to go through host memory, and there is no copier");
        let cure = "give the mover a copier and a budget (Mover::with_copier), or align the request";
        Err(Error::NoDirectIo(Refusal::new(self.file(), cause, cure)))
    }

    /// Where the file ends, looked at anew if a request reaches behind the end that is known.
    fn end_for(&self, reach: u64) -> Result<u64> {
        let known = self.end();
        if reach <= known {
            return Ok(known);
        }
        let end = self.inner.file.end()?;
        // A write that has reached further meanwhile, in another thread, is not forgotten.
        let _ = self.inner.end.compare_exchange(known, end, Ordering::Relaxed, Ordering::Relaxed);
        Ok(end)
    }

    /// Whether the file has all bytes before `end`.
    pub(super) fn holds(&self, end: u64) -> Result<bool> {
        Ok(!self.inner.limits.grows || self.end_for(end)? >= end)
    }

    fn end(&self) -> u64 {
        self.inner.end.load(Ordering::Relaxed)
    }

    /// A write has reached there.
    pub(super) fn reached(&self, end: u64) {
        self.inner.end.fetch_max(end, Ordering::Relaxed);
    }

    /// The page cache lets go of what an exact write left there.
    pub(super) fn forget_pages(&self, start: u64, length: u64) {
        let page = self.page();
        let first = start - start % page;
        self.file().forget_pages(first, (start + length).next_multiple_of(page) - first);
    }

    pub(super) fn page(&self) -> u64 {
        self.inner.page
    }

    /// By which of the two ways its memory is had.
    pub(super) fn way(&self) -> Option<Way> {
        Some(if self.inner.owner.buffer.is_some() { Way::Module } else { Way::P2pmem })
    }

    pub(super) fn direct(&self) -> Option<&Pair> {
        self.inner.direct.as_ref()
    }

    pub(super) fn host(&self) -> Option<&Pair> {
        self.inner.host.as_ref()
    }

    pub(super) fn exact(&self) -> Option<&Pair> {
        self.inner.exact.as_ref()
    }

    /// Bytes that an operation through the host is aligned to in the file.
    pub(super) fn block(&self) -> u64 {
        let pair = self.inner.host.as_ref().or(self.inner.direct.as_ref());
        pair.map_or(1, |pair| pair.offset_alignment().into())
    }

    /// Bytes that a direct operation can be cut at.
    pub(super) fn unit(&self) -> u64 {
        let Limits { offset_alignment, memory_alignment, .. } = self.inner.limits;
        offset_alignment.max(memory_alignment).into()
    }
}

fn page_size() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| u64::try_from(size).ok()).filter(|size| size.is_power_of_two()).unwrap_or(4096)
}
