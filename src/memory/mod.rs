//! Memory that storage moves data to and from: a provider's, and the host's.
//!
//! ```text
//! Provider --allocate---------> mapped from p2pmem/allocate            \
//!          --allocate_buffer--> p2pdma_user: from the provider's pool   > PeerMemory -> PeerSlice, Arena
//!          --register---------> p2pdma_user: a dma-buf of a GPU's      /
//! ```
//!
//! Nobody can borrow any of it as a slice. Peer memory may vanish under a mapping when its provider is unbound, and then a
//! load is a SIGBUS; a system call on the same address answers EFAULT instead. So every CPU access is a system call
//! (see [`Copier`]), and I/O names memory by handles that own the mapping.

mod arena;
mod buffer;
mod config;
mod copier;
mod host;
mod mapping;
mod peer;
mod provider;
mod ranges;
mod slice;
mod view;

pub use arena::Arena;
pub use buffer::Hooks;
pub use copier::Copier;
pub use host::{HostMemory, HostSlice};
pub use peer::{PeerMemory, PeerSlice};
pub use provider::Provider;
pub use slice::Slice;
pub(crate) use view::{BufferId, Owner, View};
