//! How the library's verdicts scale: a recorded machine of 4,096 functions, with 64 providers and 512 SSDs, on one core.
//!
//! `cargo bench --bench scale`. Scan and all 32,768 verdicts, with the way down through each SSD's namespace, are to take less
//! than 50 ms: else it ends with exit code 1. It is the processor's time that is
//! measured: what else the machine does at the time does not count.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measurement ends where its ground gives way, and tells"
)]

use std::{hint::black_box, time::Duration};

use criterion::{
    Criterion, criterion_group, criterion_main,
    measurement::{Measurement, ValueFormatter, WallTime},
};
use nix::time::{ClockId, clock_gettime};
use p2pdma::{
    machine::{
        Machine, Mock, Recorder,
        mock::{Cpu, Function, Port},
    },
    pci::Address,
    storage::Source,
    topology::{MapType, Topology},
    verdict::{Answer, Judge},
};

const SWITCHES: u32 = 64;
const PORTS: u8 = 31;
const SSDS: u8 = 8;
const LIMIT: Duration = Duration::from_millis(50);

/// 64 switches, each below a root port of a domain of its own: 8 SSDs, one device with peer memory, 22 network adapters.
fn machine() -> Machine {
    let mut mock = Mock::new(Cpu::AmdZen);
    for domain in 1..=SWITCHES {
        switch(&mut mock, domain);
    }
    let machine = Machine::mock(mock);
    let recorder = Recorder::new(&machine);
    let topology = Topology::scan(recorder.machine()).expect("a scan");
    verdicts(recorder.machine(), &topology);
    Machine::recorded(recorder.snapshot())
}

fn switch(mock: &mut Mock, domain: u32) {
    let at = |bus, device| Address { domain, bus, device, function: 0 };
    mock.function(&Function::port(at(0, 1), None, Port::Root));
    mock.function(&Function::port(at(1, 0), Some(at(0, 1)), Port::Upstream));
    for device in 0..PORTS {
        mock.function(&Function::port(at(2, device), Some(at(1, 0)), Port::Downstream));
        let (address, parent) = (at(3 + device, 0), Some(at(2, device)));
        mock.function(&match device {
            0 => Function::provider(address, parent, 64 << 20),
            device if device <= SSDS => {
                mock.ssd(address, parent, 4096).expect("an SSD");
                continue;
            }
            _ => Function { parent, link: Some((5, 16)), ..Function::new(address, 0x15b3, 0x1021, 0x02_0000) },
        });
    }
}

/// The kernel's answers for every pair.
fn routes(topology: &Topology) -> usize {
    let pairs = topology.clients().flat_map(|client| topology.providers().map(move |provider| (provider, client)));
    let routes = pairs.map(|(provider, client)| topology.route(provider.address, client.address).expect("a route"));
    routes.filter(|route| route.map_type != MapType::NotSupported).count()
}

/// The same with storage, platform and memory, as `p2pbench check` asks.
fn verdicts(machine: &Machine, topology: &Topology) -> usize {
    let judge = Judge::new(machine, topology);
    let sources = topology.clients().map(|client| Source::of_function(machine, client.address).expect("an SSD"));
    let answers = |source: Source| {
        let source = judge.source(&source);
        let verdicts = topology.providers().map(|provider| source.with_memory(provider.address));
        verdicts.filter(|verdict| verdict.as_ref().expect("a verdict").answer() != Answer::No).count()
    };
    sources.map(answers).sum()
}

/// The best of several: what else the machine does makes any of them slower, and none faster.
fn assert_below_the_limit(machine: &Machine) {
    let clock = Processor;
    let best = (0..20).map(|_| {
        let start = clock.start();
        verdicts(machine, &Topology::scan(machine).expect("a scan"));
        clock.end(start)
    });
    let best = best.min().unwrap_or_default();
    println!("scan and 32,768 verdicts: {best:?}, of {LIMIT:?}");
    if best > LIMIT {
        std::process::exit(1);
    }
}

/// The time that this thread had a processor.
struct Processor;

impl Measurement for Processor {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock").into()
    }

    fn end(&self, start: Duration) -> Duration {
        self.start().saturating_sub(start)
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn scale(criterion: &mut Criterion<Processor>) {
    let machine = machine();
    let topology = Topology::scan(&machine).expect("a scan");
    assert_eq!((topology.devices().count(), topology.providers().count(), topology.clients().count()), (4097, 64, 512));
    assert_eq!((routes(&topology), verdicts(&machine, &topology)), (32_768, 32_768));
    criterion.bench_function("scan of 4,096 functions", |bencher| bencher.iter(|| Topology::scan(&machine)));
    assert_below_the_limit(&machine);
    criterion.bench_function("32,768 routes", |bencher| bencher.iter(|| routes(black_box(&topology))));
    criterion.bench_function("scan and 32,768 verdicts", |bencher| {
        bencher.iter(|| verdicts(&machine, &Topology::scan(&machine).expect("a scan")))
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(Processor).sample_size(20);
    targets = scale
}
criterion_main!(benches);
