//! What lies under an open file: the block device, the NVMe function, what direct I/O asks for.

mod block;
mod file;

pub use block::{BlockDevice, namespaces};
pub use file::File;
