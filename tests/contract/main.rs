//! One suite of the module's typed calls for two machines: the mock here, and the real module inside a guest with Linux 6.12
//! (`tests/run` makes `tests/vm/run` cargo's runner for this file). Where they differ, one of them is wrong.
#![expect(clippy::expect_used, reason = "a test ends where its ground gives way")]

mod bind;
mod commands;
mod exported;
mod io;
mod node;

use std::{
    fs,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::OpenOptionsExt,
    },
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use p2pdma::{
    machine::{
        Access, Machine, Mock, Module,
        mock::{Cpu, Fault},
        module::Answer,
    },
    pci::Address,
    storage::File,
};

const MIB: u64 = 1 << 20;

/// A machine with an SSD and, below the same switch, 64 MiB of peer memory; with `P2PDMA_ROUTE=no` each below a root port of a
/// processor that the kernel does not trust.
struct World {
    machine: Machine,
    gpu: Address,
    ssd: Address,
    path: PathBuf,
    /// One test at a time, since they share devices and counts.
    _alone: MutexGuard<'static, ()>,
}

impl World {
    fn new() -> Self {
        Self::with(false)
    }

    /// Of a mock machine, the provider loses its driver at the first operation of a ring.
    fn losing_its_provider() -> Self {
        Self::with(true)
    }

    fn with(losing: bool) -> Self {
        static DEVICES: Mutex<()> = Mutex::new(());
        let alone = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
        let variable = |name: &str| std::env::var(format!("P2PDMA_{name}")).ok();
        let (machine, [gpu, ssd], path) = match variable("GPU_ADDRESS").zip(variable("SSD_ADDRESS")) {
            Some((gpu, ssd)) => (Machine::host(), [gpu, ssd], variable("SSD").expect("the guest names its SSD")),
            None => mock(variable("ROUTE").as_deref() != Some("no"), losing),
        };
        let [gpu, ssd] = [gpu, ssd].map(|address| address.parse().expect("an address"));
        Self { machine, gpu, ssd, path: path.into(), _alone: alone }
    }

    fn is_mock(&self) -> bool {
        std::env::var_os("P2PDMA_GPU_ADDRESS").is_none()
    }

    /// One that is not the GPU: in the guest, an SSD with a memory buffer.
    fn other_provider(&self) -> Address {
        let guests = std::env::var("P2PDMA_CMB_ADDRESS");
        guests.as_deref().unwrap_or("0000:07:00.0").parse().expect("an address")
    }

    fn module(&self) -> Module {
        self.machine.module().expect("the node opens")
    }

    fn file(&self, access: Access) -> File {
        File::open(&self.machine, &self.path, access).expect("the SSD opens")
    }
}

fn mock(route: bool, losing: bool) -> (Machine, [String; 2], String) {
    let (mock, addresses) = match route {
        true => (Mock::one_switch(Cpu::AmdZen), ["0000:05:00.0", "0000:03:00.0"]),
        false => (Mock::root_ports(Cpu::IntelUnlisted), ["0000:02:00.0", "0000:01:00.0"]),
    };
    let mut mock = mock.expect("a mock machine");
    if losing {
        mock.fault(0, Fault::ProviderGone(addresses[0].parse().expect("an address")));
    }
    (Machine::mock(mock), addresses.map(str::to_owned), "/dev/nvme0n1".to_owned())
}

/// Whatever a test held is given back when it ends. The kernel takes its time for some of it.
impl Drop for World {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !std::thread::panicking() && held(&self.module()) != (0, 0, 0, 0) {
            assert!(Instant::now() < deadline, "the test keeps {:?}", self.module().stats());
            std::thread::yield_now();
        }
    }
}

/// Buffers, bytes, pairs, I/O in flight.
fn held(module: &Module) -> (u64, u64, u64, u64) {
    let stats = module.stats().expect("numbers");
    (stats.buffers, stats.bytes, stats.pairs, stats.in_flight)
}

/// The errno of a call that was refused.
fn errno<T>(answer: Answer<T>) -> i32 {
    match answer {
        Ok(_) => 0,
        Err(error) => error.source.raw_os_error().expect("an errno"),
    }
}

/// What is open, opened anew with other flags.
fn reopened(file: &impl AsFd, options: &mut fs::OpenOptions, flags: i32) -> fs::File {
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    options.custom_flags(flags).open(path).expect("it opens anew")
}

/// Bytes of which no two blocks are alike.
fn pattern(seed: u8, length: usize) -> Vec<u8> {
    let byte = |at: usize| ((at / 512 * 31 + at % 251) % 256).try_into().unwrap_or(0_u8);
    (0..length).map(|at| byte(at) ^ seed).collect()
}
