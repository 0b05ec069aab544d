//! What becomes of a file's bytes under each policy: they are read into peer memory, inverted there, and written back.
//!
//!     policies                                   on the mock machine
//!     policies FILE PROVIDER ARRIVED POLICY...   on this one; **it inverts bytes of FILE**
//!
//! A line of JSON for each policy (`direct`, `prefer`, `bounce`) and each way to the memory (`p2pmem`, `module`): the summaries
//! of read and write, or why there are none. Each has 256 KiB of the file of its own; what arrived in peer memory is left in
//! the file ARRIVED, at the same places.
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::{error::Error, fs, os::unix::fs::FileExt};

use p2pdma::{
    Result,
    machine::{Access, Machine, Mock, mock::Cpu},
    memory::{Copier, PeerMemory, PeerSlice, Provider},
    pci::Address,
    storage::File,
    transfer::{Lane, Mover, Options, Policy, Queue, Summary},
    verdict::Way,
};
use serde_json::{Value, json};

/// Bytes of the file that each policy has on each way.
const SHARE: usize = 256 << 10;

/// What is left out at both ends where a request need not be aligned.
const ODD: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => {
            let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen)?);
            let names = ["direct", "prefer", "bounce"].map(str::to_owned);
            show(&machine, "/dev/nvme0n1", "0000:05:00.0".parse()?, None, &names)
        }
        [path, provider, arrived, names @ ..] => {
            let arrived = fs::File::options().write(true).create(true).truncate(false).open(arrived)?;
            show(&Machine::host(), path, provider.parse()?, Some(&arrived), names)
        }
        _ => Err("usage: policies [FILE PROVIDER ARRIVED POLICY...]".into()),
    }
}

fn show(
    machine: &Machine,
    path: &str,
    provider: Address,
    arrived: Option<&fs::File>,
    names: &[String],
) -> Result<(), Box<dyn Error>> {
    // What is sealed can still be read.
    let file = File::open(machine, path, Access::ReadWrite).or_else(|_| File::open(machine, path, Access::Read))?;
    let provider = Provider::find(machine, provider)?;
    for name in names {
        let (place, policy) = policy(name)?;
        for (number, way) in [(2 * place, Way::P2pmem), (2 * place + 1, Way::Module)] {
            let case = Case { machine, file: &file, provider: &provider, policy, way, start: number * SHARE };
            let mut line = case.invert(arrived).unwrap_or_else(|error| json!({ "refused": error.to_string() }));
            line["policy"] = json!(name);
            line["way"] = json!(if way == Way::Module { "module" } else { "p2pmem" });
            println!("{line}");
        }
    }
    Ok(())
}

fn policy(name: &str) -> Result<(usize, Policy), String> {
    match name {
        "direct" => Ok((0, Policy::DirectOnly)),
        "prefer" => Ok((1, Policy::PreferDirect)),
        "bounce" => Ok((2, Policy::BounceOnly)),
        _ => Err(format!("{name}: no policy; use direct, prefer or bounce")),
    }
}

/// A policy, a way to peer memory, and their part of the file.
struct Case<'a> {
    machine: &'a Machine,
    file: &'a File,
    provider: &'a Provider,
    policy: Policy,
    way: Way,
    start: usize,
}

impl Case<'_> {
    fn mover(&self) -> Result<Mover> {
        let mover = Mover::new(Queue::new(self.machine, Options::default())?, self.policy);
        if self.policy == Policy::DirectOnly { Ok(mover) } else { mover.with_copier(Copier::new()?, 1 << 20) }
    }

    /// As long as a share, and aligned to pages.
    fn memory(&self) -> Result<PeerMemory> {
        match self.way {
            Way::P2pmem => self.provider.allocate(SHARE),
            Way::Module => self.provider.allocate_buffer(SHARE),
        }
    }

    fn invert(&self, arrived: Option<&fs::File>) -> Result<Value, Box<dyn Error>> {
        let (mut mover, memory) = (self.mover()?, self.memory()?);
        let lane = mover.bind(self.file, &memory)?;
        let odd = if self.policy == Policy::DirectOnly { 0 } else { ODD };
        let (offset, slice) = ((self.start + odd) as u64, memory.slice(odd..SHARE - odd)?);
        let read = mover.read(&lane, offset, &slice)?;
        let bytes = invert(&slice)?;
        arrived.map(|file| file.write_all_at(&bytes, offset)).transpose()?;
        let write = self.write_back(&mut mover, &lane, offset, &slice)?;
        let cache = format!("{:?}", mover.witness(&lane)).to_lowercase();
        Ok(
            json!({ "read": told(read), "write": write, "cache": cache, "refused": lane.refused().map(ToString::to_string) }),
        )
    }

    fn write_back(&self, mover: &mut Mover, lane: &Lane, offset: u64, slice: &PeerSlice) -> Result<Option<Value>> {
        if self.file.access() == Access::Read {
            return Ok(None);
        }
        let written = mover.write(lane, offset, slice)?;
        mover.sync(self.file)?;
        Ok(Some(told(written)))
    }
}

/// Gives the bytes that were there.
fn invert(slice: &PeerSlice) -> Result<Vec<u8>> {
    let (mut copier, mut bytes) = (Copier::new()?, vec![0; slice.len()]);
    copier.read(slice, &mut bytes)?;
    let inverted: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
    copier.write(&inverted, slice)?;
    Ok(bytes)
}

fn told(summary: Summary) -> Value {
    json!({
        "requested": summary.requested(),
        "direct": summary.bytes_direct(),
        "head": summary.bytes_head(),
        "tail": summary.bytes_tail(),
        "whole": summary.bytes_whole(),
        "cached": summary.bytes_cached(),
        "reason": summary.reason().map(|reason| reason.to_string()),
        "evidence": summary.evidence().map(|evidence| evidence.to_string()),
        "suspect": summary.is_suspect(),
        "retries": summary.retries(),
        "error": summary.complete().err().map(|error| error.to_string()),
    })
}
