//! What a caller allows.

use std::fmt;

/// Which ways the bytes of a transfer may take.
///
/// ```
/// use p2pdma::{machine::{Access, Machine, Mock, mock::Cpu}, memory::{Copier, Provider}, storage::File};
/// use p2pdma::transfer::{Mover, Policy, Queue};
/// let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen)?);
/// let file = File::open(&machine, "/dev/nvme0n1", Access::Read)?;
/// let memory = Provider::find(&machine, "0000:05:00.0".parse()?)?.allocate(4096)?;
/// let mut moved = Vec::new();
/// for policy in [Policy::DirectOnly, Policy::PreferDirect, Policy::BounceOnly] {
///     let mover = Mover::new(Queue::new(&machine, Default::default())?, policy);
///     let mut mover = mover.with_copier(Copier::new()?, 1 << 20)?;
///     let lane = mover.bind(&file, &memory)?;
///     // 1000 bytes are a whole block and a part of one.
///     moved.push(mover.read(&lane, 0, &memory.slice(..1000)?).ok().map(|said| (said.bytes_direct(), said.bytes_bounced())));
/// }
/// assert_eq!(moved, [None, Some((512, 488)), Some((0, 1000))]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Policy {
    /// All of them direct, or none: what cannot go direct is an error, before a byte has moved.
    #[default]
    DirectOnly,
    /// Direct where the kernel can; the rest through host memory, each such segment with its [`Reason`](super::Reason).
    PreferDirect,
    /// All of them through host memory.
    BounceOnly,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DirectOnly => "direct only",
            Self::PreferDirect => "prefer direct",
            Self::BounceOnly => "bounce only",
        })
    }
}
