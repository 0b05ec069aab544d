//! What is done in place of what was asked for is said once for each cause, through `tracing`.
#![expect(clippy::expect_used, reason = "a test ends where its ground gives way")]

use std::sync::{Arc, Mutex};

use p2pdma::{
    machine::{Access, Machine, Mock, mock::Cpu},
    memory::{Copier, Provider},
    storage::File,
    transfer::{Mover, Policy, Queue},
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// Keeps each warning's reason.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<String>>>);

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "reason" {
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
    let mut reasons = reasons();
    reasons.sort();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    reasons.dedup();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
}
