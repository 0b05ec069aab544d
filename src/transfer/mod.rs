//! Transfers: a queue takes operations, an operation ends in a receipt.
//!
//! ```text
//!   File + PeerMemory --bind: the verdict--> Pair --read, write--> Queue --wait--> Receipt
//! ```
//!
//! The memory decides which way the data go. Mapped memory has an address, and io_uring's own READ and WRITE take it; a buffer
//! of the p2pdma_user module's has none, and its operations are commands of the module's. The calls are the same.
//!
//! Nothing is ever copied silently: a pair that cannot go direct cannot be bound. A [`Mover`] on top of a queue takes requests of
//! any offset, length and address; what it copies, its [`Policy`] allows and its [`Summary`] says.

mod causes;
mod counters;
mod files;
mod flight;
mod lane;
mod mover;
mod options;
mod pair;
mod plan;
mod policy;
mod prepare;
mod proof;
mod queue;
mod receipt;
mod staging;
mod summary;
mod target;
mod witness;

pub use crate::machine::Direction;
pub use counters::{Count, Counters};
pub use lane::Lane;
pub use mover::{Mover, Piece};
pub use options::Options;
pub use pair::Pair;
pub use plan::{Limits, Plan, Reason, Request, Segment, Segments, Way};
pub use policy::Policy;
pub use proof::Prover;
pub use queue::{Fate, Queue, leaked_queues};
pub use receipt::{Evidence, OperationId, Receipt};
pub use summary::Summary;
pub use witness::Sight;
