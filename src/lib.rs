//! p2pdma

mod control;
mod error;
pub mod machine;
pub mod memory;
pub mod pci;
pub mod storage;
pub mod topology;
pub mod transfer;
pub mod verdict;

pub use error::{Error, Refusal, Result, SyscallError};
