//! The kernel module inside a guest with Linux 6.12, as root: its raw ioctls and io_uring commands, without the library.
//!
//! `tests/run` makes `tests/vm/run` cargo's runner for this file. When a test ends, nobody may hold anything of the
//! module any more: [`objects::Alone`] looks.
//!
//! # Safety
//!
//! Unsafe are system calls with pointers to structures and buffers that live on the caller's stack or heap until the
//! call, or the operation that a ring was given, has ended.
#![expect(unsafe_code, reason = "raw system calls are what is tested; the policy is above")]
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test ends where its ground gives way")]
#![expect(clippy::cast_possible_truncation, reason = "the lengths of a test fit into any of the contract's fields")]

mod awake;
mod busy;
mod calls;
mod data;
mod depth;
mod encrypted;
mod faults;
mod files;
mod garbage;
mod gpu;
mod handles;
mod hold;
mod hotplug;
mod life;
mod log;
mod objects;
mod provide;
mod random;
mod refusals;
mod register;
mod repairs;
mod ring;
mod rounds;
mod route;
mod stack;
mod strangers;
mod unusual;
