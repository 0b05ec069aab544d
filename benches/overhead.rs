//! What the library costs on top of the kernel, on the mock machine: scan, route, one read through a queue and through a
//! mover, and the Copier's system calls beside a copy by the processor alone.
//!
//! `cargo bench --bench overhead`. No figure of this is one of hardware. It fails (exit status 1) when a plan and a receipt
//! together cost more than [`LIMIT`].
#![expect(clippy::expect_used, reason = "a measurement ends where its ground gives way")]
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::{hint::black_box, time::Instant};

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

/// What a plan and a receipt may cost an operation, in nanoseconds.
const LIMIT: f64 = 150.0;

/// A receipt by itself, and with the plan before it: what a caller does with both, and no I/O.
fn truth(criterion: &mut Criterion) {
    let machine = switch();
    let file = File::open(&machine, "/dev/nvme0n1", Access::Read).expect("a file");
    let memory = Provider::find(&machine, address("0000:05:00.0")).and_then(|p| p.allocate(4096)).expect("memory");
    let mut queue = Queue::new(&machine, Options::default().depth(1)).expect("a queue");
    let pair = queue.bind(&file, &memory).expect("a pair");
    queue.read(&pair, 4096, memory.all()).expect("taken");
    let ended = queue.wait().expect("a receipt");
    let mut mover = Mover::new(queue, Policy::DirectOnly);
    let (lane, slice) = (mover.bind(&file, &memory).expect("a lane"), memory.all());
    let receipt = || {
        let receipt = black_box(ended);
        black_box((receipt.bytes_direct(), receipt.evidence(), receipt.complete().expect("a complete read")))
    };
    let both = || {
        let plan = lane.plan(Policy::DirectOnly, Direction::Read, 4096, &slice).expect("a plan");
        black_box((plan.bytes(), plan.segments().count()));
        receipt()
    };
    criterion.bench_function("receipt", |bencher| bencher.iter(receipt));
    criterion.bench_function("plan and receipt", |bencher| bencher.iter(both));
    let nanoseconds = least(&both);
    println!("plan and receipt: {nanoseconds:.0} ns an operation, of {LIMIT} ns allowed");
    if nanoseconds > LIMIT {
        std::process::exit(1);
    }
}

/// Nanoseconds of one of many, in the best of some rounds: what others do meanwhile is not its cost.
fn least<T>(work: &impl Fn() -> T) -> f64 {
    const MANY: u32 = 100_000;
    let round = |_| {
        let start = Instant::now();
        (0..MANY).for_each(|_| drop(black_box(work())));
        start.elapsed().as_secs_f64() * 1e9 / f64::from(MANY)
    };
    (0..20).map(round).fold(f64::INFINITY, f64::min)
}

criterion_group!(benches, topology, reads, movers, copies, truth);
criterion_main!(benches);
