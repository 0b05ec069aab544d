//! What is done in place of what was asked for is said once for each cause, through `tracing`.
#![expect(clippy::expect_used, reason = "a test ends where its ground gives way")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use p2pdma::{
    machine::{
        Access, Machine, Mock,
        mock::{Cpu, Fault},
    },
    memory::{Copier, HostMemory, PeerMemory, Provider},
    storage::File,
    transfer::{Mover, Options, Policy, Prover, Queue, Sight},
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// Keeps each event's message and reason.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<String>>>);

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if ["reason", "message"].contains(&field.name()) {
            self.0.lock().expect("no panic").push(format!("{value:?}"));
        }
    }
}

impl Subscriber for Said {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("p2pdma")
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[test]
fn each_cause_is_said_once_and_what_goes_direct_not_at_all() {
    let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen).expect("a mock machine"));
    let file = File::open(&machine, "/dev/nvme0n1", Access::Read).expect("a file");
    let provider = Provider::find(&machine, "0000:05:00.0".parse().expect("an address")).expect("a provider");
    let memory = provider.allocate(1 << 20).expect("memory");
    let queue = Queue::new(&machine, Default::default()).expect("a queue");
    let copier = Copier::new().expect("a copier");
    let mut mover = Mover::new(queue, Policy::PreferDirect).with_copier(copier, 1 << 20).expect("stages");
    let lane = mover.bind(&file, &memory).expect("a lane");
    let said = Said::default();
    let reasons = || said.0.lock().expect("no panic").clone();
    tracing::subscriber::with_default(said.clone(), || {
        let mut read = |offset, range| {
            let slice = memory.slice(range).expect("a slice");
            mover.read(&lane, offset, &slice).and_then(|summary| summary.complete()).expect("a complete read");
        };
        read(0, 0..8192);
        assert_eq!(reasons(), Vec::<String>::new());
        for _ in 0..3 {
            // A head and a tail, and the memory is as far from its alignment as the file is.
            read(100, 100..8000);
        }
    });
    let mut reasons: Vec<_> = reasons().into_iter().filter(|said| said != "bytes go through host memory").collect();
    reasons.sort();
    assert_eq!(reasons, ["it begins within a block", "it ends within a block"], "each once");
}

fn mock(faults: &[(u64, Fault)], cpu: Cpu) -> Machine {
    let mut mock = Mock::root_ports(cpu).expect("a mock machine");
    for &(operation, fault) in faults {
        mock.fault(operation, fault);
    }
    Machine::mock(mock)
}

fn ground(machine: &Machine) -> (File, PeerMemory) {
    let file = File::open(machine, "/dev/nvme0n1", Access::Read).expect("a file");
    let provider = Provider::find(machine, "0000:02:00.0".parse().expect("an address")).expect("a provider");
    (file, provider.allocate_buffer(8192).expect("memory"))
}

fn heard(what: impl FnOnce()) -> Vec<String> {
    let said = Said::default();
    tracing::subscriber::with_default(said.clone(), what);
    said.0.lock().expect("no panic").clone()
}

#[test]
fn a_filesystem_that_copies_is_said_once() {
    let machine = mock(&[(0, Fault::Buffered), (1, Fault::Buffered)], Cpu::AmdZen);
    let (file, memory) = ground(&machine);
    let mut mover = Mover::new(Queue::new(&machine, Default::default()).expect("a queue"), Policy::PreferDirect);
    let lane = mover.bind(&file, &memory).expect("a lane");
    let said = heard(|| {
        for _ in 0..2 {
            assert!(mover.read(&lane, 0, &memory.all()).expect("a summary").bytes_cached() > 0);
        }
        assert_eq!(mover.witness(&lane), Sight::Grown);
    });
    let cached = said.iter().filter(|line| *line == "the filesystem went through the page cache");
    assert_eq!(cached.count(), 1, "{said:?}");
    assert!(said.iter().any(|line| line.contains("page cache of a file grew")), "{said:?}");
}

#[test]
fn a_verdict_is_a_cause_of_its_own_for_each_refusal() {
    let machine = mock(&[], Cpu::IntelUnlisted);
    let (file, memory) = ground(&machine);
    let mover = Mover::new(Queue::new(&machine, Default::default()).expect("a queue"), Policy::PreferDirect);
    let mut mover = mover.with_copier(Copier::new().expect("a copier"), 1 << 20).expect("stages");
    let lane = mover.bind(&file, &memory).expect("it bounces");
    let said = heard(|| {
        for _ in 0..3 {
            assert!(mover.read(&lane, 0, &memory.all()).expect("a summary").bytes_whole() > 0);
        }
    });
    assert_eq!(said.iter().filter(|line| *line == "the verdict is no").count(), 1, "{said:?}");
}

#[test]
fn a_deadline_a_leak_and_a_lie_are_said() {
    let machine = mock(&[(1, Fault::Lie), (2, Fault::Withheld)], Cpu::AmdZen);
    let (file, memory) = ground(&machine);
    let mut prover = Prover::new(&machine, &file, &memory).expect("a prover");
    let said = heard(|| drop(prover.read(0).expect_err("it lies")));
    assert!(said.iter().any(|line| line.contains("disproved")), "{said:?}");
    let options = Options::default().deadline(Duration::from_millis(1));
    let mut queue = Queue::new(&machine, options).expect("a queue");
    let pair = queue.bind_host(&file).expect("a pair");
    queue.read(&pair, 0, HostMemory::allocate(512).expect("memory").all()).expect("taken");
    let said = heard(|| {
        (0..3).for_each(|_| drop(queue.wait().expect_err("it never ends")));
        drop(queue);
    });
    assert_eq!(said.iter().filter(|line| line.contains("deadline is over")).count(), 1, "{said:?}");
    assert!(said.iter().any(|line| line.contains("leaked")), "{said:?}");
}
