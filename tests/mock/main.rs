//! The library on the mock machine: every line above the seam, without hardware.

#![expect(clippy::expect_used, reason = "a test ends where its ground gives way")]

mod issuer;
mod memory;
mod module;
mod proof;
mod queue;
mod routes;
mod transfer;

use std::time::Duration;

use p2pdma::{
    Result,
    machine::{Machine, Mock, mock::Cpu},
    memory::{Arena, Copier, HostMemory, PeerMemory, Provider},
    pci::Address,
    storage::File,
    topology::Topology,
    transfer::{Options, Queue},
};

const SSD: &str = "/dev/nvme0n1";

fn switch() -> Machine {
    Machine::mock(Mock::one_switch(Cpu::AmdZen).expect("a mock machine"))
}

fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

fn peer(machine: &Machine, length: usize) -> Result<PeerMemory> {
    Provider::find(machine, address("0000:05:00.0"))?.allocate(length)
}

fn queue(machine: &Machine) -> Queue {
    Queue::new(machine, Options::default().depth(8).deadline(Duration::from_secs(10))).expect("a queue")
}

fn contents(memory: &PeerMemory) -> Vec<u8> {
    let mut bytes = vec![0; memory.len()];
    Copier::new().and_then(|mut copier| copier.read(&memory.all(), &mut bytes)).expect("a copy");
    bytes
}

/// What the host reads, by its own path.
fn host_read(queue: &mut Queue, file: &File, offset: u64, length: usize) -> Vec<u8> {
    let memory = HostMemory::allocate(length).expect("host memory");
    let pair = queue.bind_host(file).expect("a pair");
    queue.read(&pair, offset, memory.all()).expect("a read");
    let receipt = queue.wait().expect("a receipt");
    assert_eq!((receipt.bytes_direct(), receipt.bytes_host()), (0, length as u64));
    let mut bytes = vec![0; length];
    memory.all().read(&mut bytes).expect("its bytes");
    bytes
}

#[test]
fn what_callers_hand_to_threads_may_be_handed() {
    fn check<T: Send>() {}
    fn check_shared<T: Send + Sync>() {}
    check::<Queue>();
    check::<Copier>();
    check_shared::<(Machine, File, PeerMemory, HostMemory, Arena, Provider, Topology)>();
}
