//! NVMe <-> GPU (or any PCIe peer memory) without touching host memory, on Linux 6.12's own p2pdma.
//!
//! ```
//! use p2pdma::{
//!     machine::{Access, Machine, Mock, mock::Cpu},
//!     memory::{Copier, Provider},
//!     storage::File,
//!     transfer::{Options, Queue},
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen)?); // Machine::host() for the real one
//! let file = File::open(&machine, "/dev/nvme0n1", Access::Read)?;
//! let memory = Provider::find(&machine, "0000:05:00.0".parse()?)?.allocate(1 << 20)?;
//!
//! let mut queue = Queue::new(&machine, Options::default())?;
//! let pair = queue.bind(&file, &memory)?; // refused here if the bytes cannot go direct
//! for block in 0..16 {
//!     queue.read(&pair, block * 65536, memory.slice(block as usize * 65536..)?.slice(..65536)?)?;
//! }
//! while queue.in_flight() > 0 {
//!     assert_eq!(queue.wait()?.bytes_direct(), 65536);
//! }
//!
//! let mut start = [0; 8];
//! Copier::new()?.read(&memory.all(), &mut start)?;
//! assert_ne!(start, [0; 8]);
//! # Ok(())
//! # }
//! ```
//!
//! # What it does not do
//!
//! - **It offers no way round the kernel's rules.** A route that the kernel refuses is an error; forced routes corrupt
//!   data silently.
//! - **It never copies silently.** What cannot go direct is an error that names its cure. Staging in host memory is
//!   something a caller asks for, and its receipts say so.
//! - **It gives no reference to peer memory.** Its provider can be unbound at any time, and then a load would be a
//!   SIGBUS. CPU access is by system call: [`memory::Copier`].
//! - **It gives no address**, neither physical nor of a bus.
//! - **A receipt is not a proof.** The kernel's yes is not enough where an IOMMU or a virtual machine's switch disagrees:
//!   such a machine reports success and delivers nothing. Prove a route once before trusting it
//!   ([`transfer::Prover`], `p2pbench run --verify`). A route that cannot be known is bound only when this process has proved
//!   it, and one that was disproved is not bound.
//! - **Completion is not visibility to a GPU.** Before a kernel reads what arrived, make the vendor's flush call.
//!
//! # The house
//!
//! A room uses only the floors below it; `tests/floors.rs` parses every path and holds the code to this.
//!
//! ```text
//! 5  transfer                     Queue, Pair, Receipt | Mover, Plan, Summary | Prover
//! 4  verdict                      may a file's bytes go direct, and if not, why
//! 3  topology  storage  memory    facts -> tree and routes | what lies under a file | peer memory, copies
//! 2  machine                      the only seam: where facts are read, who executes I/O; host, mock, recorded
//! 1  control                      the p2pdma_user module (the only room that sees the crate p2pdma-sys)
//! 0  error  pci                   refusals with their cure | addresses and config space, decoded
//! ```
//!
//! One byte's way: [`storage::File`] + [`memory::PeerSlice`] -> [`verdict::Verdict`] -> [`transfer::Pair`] ->
//! [`transfer::Queue`] -> [`transfer::Receipt`]. No step goes back up. What is not aligned goes by a [`transfer::Mover`] above the
//! queue: a [`transfer::Plan`] before, a [`transfer::Summary`] after.
//!
//! Memory is of two kinds, mapped or behind a buffer of the module's, and below [`transfer::Pair`] nobody asks which but
//! `transfer/target.rs`, which binds it: the data then go downhill by themselves. An operation owns its memory (a view, which
//! keeps mapping or buffer) and its target (the file, and the descriptor that binds it to the buffer), and the ring has it by
//! its place in the file table.
//!
//! A queue takes calls of any thread. For one thread the kernel can do with fewer interrupts
//! ([`transfer::Options::single_issuer`]), as fio has it.
//!
//! `unsafe` stands in nine files, each with its policy at the top: `control/ioctl.rs`, `machine/statx.rs`,
//! `machine/cachestat.rs`, `machine/ring/mod.rs` (the trait's promise), `machine/ring/kernel.rs`, `machine/mock/ring.rs`,
//! `memory/copier.rs`, `transfer/queue.rs`, `transfer/prepare.rs` (what engines with a ring of their own promise).

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

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
