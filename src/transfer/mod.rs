//! Transfers: a queue takes operations, an operation ends in a receipt.
//!
//! ```text
//!   File + PeerMemory --bind: the verdict--> Pair --read, write--> Queue --wait--> Receipt
//! ```
//!
//! Nothing is ever copied silently: a pair that cannot go direct cannot be bound.

mod flight;
mod pair;
mod plan;
mod policy;
mod queue;
mod receipt;

pub use crate::machine::Direction;
pub use pair::Pair;
pub use plan::{Limits, Plan, Reason, Request, Segment, Segments, Way};
pub use policy::Policy;
pub use queue::{Options, Queue, leaked_queues};
pub use receipt::{Evidence, OperationId, Receipt};
