//! A queue at work allocates nothing: counted by the allocator, operation by operation.
#![expect(clippy::expect_used, reason = "a test ends where its ground gives way")]
#![expect(unsafe_code, reason = "an allocator is an unsafe trait; this one counts and passes on")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use p2pdma::{
    machine::{Access, Machine, Mock, mock::Cpu},
    memory::{Copier, PeerMemory, Provider},
    storage::File,
    transfer::{Mover, Options, Policy, Queue},
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting the calls of each thread.
struct Counting;

// SAFETY: every call is passed on unchanged; counting neither allocates nor unwinds (the cell needs no destructor).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on: `pointer` came from `alloc` above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Keeps a queue full for `operations` reads.
fn work(queue: &mut Queue, step: impl Fn(&mut Queue), operations: u32) {
    for _ in 0..operations {
        while queue.in_flight() < 8 {
            step(queue);
        }
        queue.wait().and_then(|receipt| receipt.complete()).expect("a complete read");
    }
}

/// How often 10,000 reads allocate, and that the count counts.
fn allocations(allocate: impl Fn(&Provider) -> p2pdma::Result<PeerMemory>) -> u64 {
    let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen).expect("a mock machine"));
    let file = File::open(&machine, "/dev/nvme0n1", Access::Read).expect("a file");
    let address = "0000:05:00.0".parse().expect("an address");
    let memory = Provider::find(&machine, address).and_then(|provider| allocate(&provider)).expect("memory");
    let mut queue = Queue::new(&machine, Options::default().depth(8)).expect("a queue");
    let pair = queue.bind(&file, &memory).expect("a pair");
    let slice = memory.slice(..4096).expect("a slice");
    let step = |queue: &mut Queue| {
        queue.read(&pair, 4096, slice.clone()).expect("taken");
    };
    work(&mut queue, step, 100);
    let before = ALLOCATIONS.get();
    work(&mut queue, step, 10_000);
    let counted = ALLOCATIONS.get() - before;
    let control = Box::new(ALLOCATIONS.get());
    assert_eq!(ALLOCATIONS.get() - before, counted + 1, "the count counts: {control}");
    counted
}

#[test]
fn a_queue_at_work_allocates_nothing() {
    assert_eq!(allocations(|provider| provider.allocate(65_536)), 0);
}

#[test]
fn a_queue_at_work_allocates_nothing_on_the_modules_way() {
    assert_eq!(allocations(|provider| provider.allocate_buffer(65_536)), 0);
}

/// How often requests that go direct in the middle and bounce at both ends allocate, reads and writes.
fn bounces(allocate: impl Fn(&Provider) -> p2pdma::Result<PeerMemory>) -> u64 {
    let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen).expect("a mock machine"));
    let file = File::open(&machine, "/dev/nvme0n1", Access::ReadWrite).expect("a file");
    let address = "0000:05:00.0".parse().expect("an address");
    let memory = Provider::find(&machine, address).and_then(|provider| allocate(&provider)).expect("memory");
    let queue = Queue::new(&machine, Options::default().depth(8)).expect("a queue");
    let mover = Mover::new(queue, Policy::PreferDirect);
    let mut mover = mover.with_copier(Copier::new().expect("a copier"), 16_384).expect("stages");
    let lane = mover.bind(&file, &memory).expect("a lane");
    let slice = memory.slice(12..5000).expect("a slice");
    let mut work = |rounds: u32| {
        for _ in 0..rounds {
            let [read, written] = [mover.read(&lane, 524, &slice), mover.write(&lane, 524, &slice)];
            assert_eq!([read, written].map(|summary| summary.expect("a summary").bytes_direct()), [4096; 2]);
        }
    };
    work(10);
    let before = ALLOCATIONS.get();
    work(1000);
    ALLOCATIONS.get() - before
}

#[test]
fn a_mover_at_work_allocates_nothing_though_it_bounces() {
    assert_eq!(bounces(|provider| provider.allocate(65_536)), 0);
}

#[test]
fn a_mover_at_work_allocates_nothing_on_the_modules_way() {
    assert_eq!(bounces(|provider| provider.allocate_buffer(65_536)), 0);
}
