//! Loads pieces of a file, such as tensors, into peer memory: one arena, many reads in flight, a receipt each.
//!
//! ```sh
//! cargo run --release --example load                                   # on the mock machine
//! cargo run --release --example load -- /data/model.bin 0000:05:00.0   # on this one
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use p2pdma::{
    Result,
    machine::{Access, Machine, Mock, mock::Cpu},
    memory::{Arena, PeerMemory, Provider},
    pci::Address,
    storage::File,
    transfer::{Options, Queue},
};

/// A piece of the file; real ones come from its header.
struct Tensor {
    offset: u64,
    length: usize,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (machine, path, provider) = match arguments.as_slice() {
        [path, provider] => (Machine::host(), path.clone(), provider.parse()?),
        _ => (Machine::mock(Mock::one_switch(Cpu::AmdZen)?), "/dev/nvme0n1".to_owned(), "0000:05:00.0".parse()?),
    };
    let tensors: Vec<Tensor> = (0..16).map(|index| Tensor { offset: index << 16, length: 65_536 }).collect();
    let loaded = load(&machine, &path, provider, &tensors)?;
    println!("{}: {} tensors in memory of {provider}, all of it direct", machine.kind(), loaded.len());
    Ok(())
}

/// Every tensor in memory of its own, in the order of `tensors`. A tensor that does not arrive whole is an error.
fn load(machine: &Machine, path: &str, provider: Address, tensors: &[Tensor]) -> Result<Vec<PeerMemory>> {
    let file = File::open(machine, path, Access::Read)?;
    let arena = Arena::new(&Provider::find(machine, provider)?, tensors.iter().map(|tensor| tensor.length).sum())?;
    let memories = tensors.iter().map(|tensor| arena.allocate(tensor.length, 4096)).collect::<Result<Vec<_>>>()?;
    let mut queue = Queue::new(machine, Options::default().depth(8).single_issuer())?;
    let Some(first) = memories.first() else { return Ok(memories) };
    let pair = queue.bind(&file, first)?; // one provider, so one pair does for all of the arena
    for (tensor, memory) in tensors.iter().zip(&memories) {
        if queue.in_flight() == 8 {
            queue.wait()?.complete()?;
        }
        queue.read(&pair, tensor.offset, memory.all())?;
    }
    while queue.in_flight() > 0 {
        queue.wait()?.complete()?;
    }
    Ok(memories)
}
