//! What a caller allows.

use std::fmt;

/// Which ways the bytes of a transfer may take.
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
