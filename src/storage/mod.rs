//! What lies under a file: filesystem, partition, dm, md, multipath, loop, down to the NVMe functions.
//!
//! ```text
//! /mnt/raid   xfs                         Filesystem
//!  \- md0     md raid0                    Md
//!      |- nvme0n1p1                       Partition
//!      |   \- nvme0n1  0000:01:00.0       Namespace
//!      \- nvme1n1      0000:02:00.0       Namespace
//! ```
//!
//! All of it is read from facts: `/proc/self/mountinfo`, `/sys/dev/block` and the directories it leads to. What direct
//! I/O asks for is the file's own answer (statx). What facts do not tell is a layer of its own, [`LayerKind::Hidden`]:
//! it is said, not guessed.

mod block;
mod btrfs;
mod dm;
mod evidence;
mod file;
mod filesystem;
mod layer;
mod limits;
mod mount;
mod namespaces;

mod source;
mod stack;

pub use dm::DmTarget;
pub use evidence::Evidence;
pub use file::File;
pub use layer::{Layer, LayerKind};
pub use limits::Limits;
pub use mount::Mount;
pub use namespaces::namespaces;
pub use source::Source;
pub(crate) use source::copy_without_holes;
pub use stack::Stack;
