//! What the library costs on top of the kernel, on the mock machine: scan, route, one read through a queue and through a
//! mover, and the Copier's system calls beside a copy by the processor alone.
//!
//! `cargo bench --bench overhead`. No figure of this is one of hardware.
#![expect(clippy::expect_used, reason = "a measurement ends where its ground gives way")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use p2pdma::{
    machine::{Access, Direction, Machine, Mock, mock::Cpu},
    memory::{Copier, Provider},
    pci::Address,
    storage::File,
    topology::Topology,
    transfer::{Mover, Options, Policy, Queue, Summary},
};

fn switch() -> Machine {
    Machine::mock(Mock::one_switch(Cpu::AmdZen).expect("a mock machine"))
}

fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

fn topology(criterion: &mut Criterion) {
    let machine = switch();
    criterion.bench_function("scan of 9 functions", |bencher| bencher.iter(|| Topology::scan(&machine)));
    let topology = Topology::scan(&machine).expect("a scan");
    let (provider, client) = (address("0000:05:00.0"), address("0000:03:00.0"));
    criterion.bench_function("route", |bencher| bencher.iter(|| topology.route(provider, client)));
}

fn reads(criterion: &mut Criterion) {
    let machine = switch();
    let file = File::open(&machine, "/dev/nvme0n1", Access::Read).expect("a file");
    let memory = Provider::find(&machine, address("0000:05:00.0")).and_then(|p| p.allocate(4096)).expect("memory");
    let mut queue = Queue::new(&machine, Options::default().depth(1)).expect("a queue");
    let pair = queue.bind(&file, &memory).expect("a pair");
    criterion.bench_function("MOCK read of 4 KiB, depth 1", |bencher| {
        bencher.iter(|| {
            queue.read(&pair, 4096, memory.all()).expect("taken");
            queue.wait().and_then(|receipt| receipt.complete()).expect("a complete read")
        });
    });
}

/// What path truth costs: the same operation by a queue, by a mover, and the plan by itself.
fn movers(criterion: &mut Criterion) {
    let machine = switch();
    let file = File::open(&machine, "/dev/nvme0n1", Access::Read).expect("a file");
    let memory = Provider::find(&machine, address("0000:05:00.0")).and_then(|p| p.allocate(4096)).expect("memory");
    let queue = Queue::new(&machine, Options::default().depth(1)).expect("a queue");
    let mut mover = Mover::new(queue, Policy::DirectOnly);
    let lane = mover.bind(&file, &memory).expect("a lane");
    let slice = memory.all();
    criterion.bench_function("MOCK read of 4 KiB by a mover", |bencher| {
        bencher.iter(|| mover.read(&lane, 4096, &slice).and_then(Summary::complete).expect("a complete read"));
    });
    criterion.bench_function("plan of 4 KiB", |bencher| {
        bencher.iter(|| lane.plan(Policy::DirectOnly, Direction::Read, 4096, &slice).expect("a plan"));
    });
}

/// Into peer memory and out of it, beside the same bytes between two vectors.
fn copies(criterion: &mut Criterion) {
    let machine = switch();
    let memory = Provider::find(&machine, address("0000:05:00.0")).and_then(|p| p.allocate(1 << 20)).expect("memory");
    let mut copier = Copier::new().expect("a copier");
    let mut group = criterion.benchmark_group("MOCK copy");
    for (name, length) in [("4 KiB", 4096), ("1 MiB", 1 << 20)] {
        let slice = memory.slice(..length).expect("a part");
        let (from, mut to) = (vec![0x5a; length], vec![0; length]);
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(format!("{name} to the peer"), |bencher| {
            bencher.iter(|| copier.write(black_box(&from), &slice).expect("a copy"));
        });
        group.bench_function(format!("{name} from the peer"), |bencher| {
            bencher.iter(|| copier.read(&slice, black_box(&mut to)).expect("a copy"));
        });
        group.bench_function(format!("{name} by memcpy"), |bencher| {
            bencher.iter(|| black_box(&mut to).copy_from_slice(black_box(&from)));
        });
    }
}

criterion_group!(benches, topology, reads, movers, copies);
criterion_main!(benches);
