//! What is asked of the module, and what it answers.

use std::fmt;

/// Which way the bytes go, seen from storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the file into memory.
    Read,
    /// From memory into the file.
    Write,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

bitflags::bitflags! {
    /// The ways to make a buffer. Unknown bits are carried along.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Features: u64 {
        /// From a provider's own pool.
        #[doc(alias = "P2PDMA_USER_FEATURE_ALLOC")]
        const ALLOC = p2pdma_sys::P2PDMA_USER_FEATURE_ALLOC as u64;
        /// From a dma-buf of another driver's.
        #[doc(alias = "P2PDMA_USER_FEATURE_REGISTER")]
        const REGISTER = p2pdma_sys::P2PDMA_USER_FEATURE_REGISTER as u64;
    }
}

/// What the module says of itself.
#[doc(alias = "P2PDMA_USER_INFO")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// The version of its contract.
    pub major: u32,
    /// Most bytes of one transfer and of one copy.
    pub max_length: u32,
    /// The ways to make a buffer.
    pub features: Features,
}

/// What all users of the module hold together. When nobody uses it, all are 0.
#[doc(alias = "P2PDMA_USER_STATS")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Buffers that exist.
    pub buffers: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Pairs that exist.
    pub pairs: u64,
    /// Transfers that have begun and whose DMA may not have ended.
    pub in_flight: u64,
}

/// What a buffer and a file came to when they were bound.
#[doc(alias = "P2PDMA_USER_BIND")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bound {
    /// Whether the file was opened for reading.
    pub readable: bool,
    /// Whether the file was opened for writing.
    pub writable: bool,
    /// Offsets in the buffer are multiples of so many bytes.
    pub memory_alignment: u32,
    /// Positions in the file and lengths are multiples of so many bytes.
    pub offset_alignment: u32,
    /// The kernel's distance from the memory to the storage.
    pub distance: u32,
}

/// One transfer between a buffer and the file it is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// Which way.
    pub direction: Direction,
    /// Where in the buffer, in bytes.
    pub offset: u64,
    /// Where in the file, in bytes.
    pub position: u64,
    /// How many bytes, up to 64 MiB.
    pub length: u32,
}

/// How a transfer ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moved {
    /// How many bytes; fewer than asked for at the end of the file.
    pub bytes: u32,
    /// The filesystem went through the page cache: the processor copied them.
    pub buffered: bool,
}
