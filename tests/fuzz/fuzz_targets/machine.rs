//! A file that somebody sent as a recording, and everything that may be asked of it: a tree with verdicts, or one clear error.
//!
//! Run with AddressSanitizer from the seeds in `corpus/machine`, one job each time; none of the inputs crashed or took 10 s:
//!
//! | when | seconds | inputs | edges | corpus |
//! |---|---|---|---|---|
//! | first | 601 | 371,536 | | |
//! | whether root has named a stack is read | 601 | 580,370 | 5,390 | 1,249 |
//! | disks are judged by both ways too, from `seed-stack` also | 601 | 452,831 | 5,402 | 1,159 |
#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pdma::{
    machine::{Machine, Snapshot},
    storage::Source,
    topology::Topology,
    verdict::{Judge, Way},
};

/// Pairs are asked of as many functions; more tell nothing new.
const MOST: usize = 32;

fuzz_target!(|text: &str| {
    let Ok(snapshot) = text.parse::<Snapshot>() else { return };
    let machine = Machine::recorded(snapshot);
    match Topology::scan(&machine) {
        Ok(topology) => ask(&machine, &topology),
        Err(error) => assert_eq!(error.to_string().lines().count(), 1),
    }
});

fn ask(machine: &Machine, topology: &Topology) {
    let judge = Judge::new(machine, topology);
    let addresses: Vec<_> = topology.devices().map(|device| device.address).take(MOST).collect();
    for client in &addresses {
        let source = Source::of_function(machine, *client).ok();
        let judged = source.as_ref().map(|source| judge.source(source));
        for provider in &addresses {
            if let Ok(route) = topology.route(*provider, *client) {
                let _ = (route.cause(), route.remedies());
            }
            if let Some(Ok(verdict)) = judged.as_ref().map(|judged| judged.with_memory(*provider)) {
                let _ = Way::ALL.map(|way| verdict.clone().require(way));
            }
        }
    }
    for name in machine.facts().list("/sys/class/block").unwrap_or_default() {
        let Ok(source) = Source::of_block_device(machine, &format!("/dev/{name}")) else { continue };
        if let Some(Ok(verdict)) = addresses.first().map(|provider| judge.source(&source).with_memory(*provider)) {
            let _ = Way::ALL.map(|way| verdict.clone().require(way));
        }
    }
}
