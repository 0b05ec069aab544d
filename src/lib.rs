//! p2pdma: NVMe <-> GPU (or any PCIe peer memory) without touching host memory, on Linux 6.12's own p2pdma.

mod error;
pub mod machine;
pub mod pci;
pub mod topology;

pub use error::{Error, Refusal, Result, SyscallError};
