//! Memory that storage moves data to and from: a provider's, mapped from `p2pmem/allocate`, and the host's.
//!
//! Nobody can borrow either as a slice. Peer memory may vanish under a mapping when its provider is unbound, and then a
//! load is a SIGBUS; a system call on the same address answers EFAULT instead. So every CPU access is a system call
//! (see [`Copier`]), and I/O names memory by handles that own the mapping.

mod arena;
mod copier;
mod host;
mod mapping;
mod peer;
mod provider;
mod ranges;
mod slice;

pub use arena::Arena;
pub use copier::Copier;
pub use host::{HostMemory, HostSlice};
pub(crate) use mapping::{Owner, View};
pub use peer::{PeerMemory, PeerSlice};
pub use provider::Provider;
pub use slice::Slice;
