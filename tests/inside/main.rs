//! The library inside a guest with Linux 6.12, as root: what only a real kernel can answer.
//!
//! `tests/run` makes `tests/vm/run` cargo's runner for this file. The devices are those that the guest names in its
//! environment; tests that unbind one bind it again.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test ends where its ground gives way")]

mod module;
mod prepare;

use std::{
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use p2pdma::{
    Error,
    machine::{Access, Machine},
    memory::{Copier, HostMemory, PeerMemory, Provider},
    pci::Address,
    storage::File,
    topology::{MapType, Topology},
    transfer::{Options, Pair, Queue, leaked_queues},
};

/// One test at a time: they share devices.
fn alone() -> MutexGuard<'static, ()> {
    static DEVICES: Mutex<()> = Mutex::new(());
    DEVICES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn variable(name: &str) -> String {
    std::env::var(name).expect("a variable that tests/vm/run sets")
}

fn device(name: &str) -> Address {
    variable(&format!("P2PDMA_{name}_ADDRESS")).parse().expect("an address")
}

fn gpu() -> Provider {
    Provider::find(&Machine::host(), device("GPU")).expect("the GPU gives memory")
}

fn ssd(access: Access) -> File {
    File::open(&Machine::host(), variable("P2PDMA_SSD"), access).expect("the SSD opens")
}

fn queue(depth: u32) -> Queue {
    Queue::new(&Machine::host(), Options::default().depth(depth).deadline(Duration::from_secs(20))).expect("a queue")
}

fn bytes_of(memory: &PeerMemory) -> Vec<u8> {
    let mut bytes = vec![0; memory.len()];
    Copier::new().and_then(|mut copier| copier.read(&memory.all(), &mut bytes)).expect("a copy");
    bytes
}

fn available() -> u64 {
    gpu().pool().and_then(|pool| pool.available).expect("the pool tells")
}

/// Waits for a thing that the kernel does in its own time.
fn eventually(what: &str, happened: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !happened() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::yield_now();
    }
}

/// Takes the GPU from its driver; gives it back on drop.
struct Unbound(Address);

impl Unbound {
    fn new(address: Address) -> Self {
        let unbind = format!("/sys/bus/pci/devices/{address}/driver/unbind");
        fs::write(unbind, address.to_string()).expect("unbind");
        Self(address)
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        fs::write("/sys/bus/pci/drivers_probe", self.0.to_string()).expect("bind");
    }
}

#[test]
fn memory_is_zero_although_its_last_user_left_data() {
    let _alone = alone();
    let memory = gpu().allocate(1 << 20).expect("memory");
    Copier::new().unwrap().write(&vec![0xa5; 1 << 20], &memory.all()).unwrap();
    drop(memory);
    let memory = gpu().allocate(64 << 20).expect("all of the pool, so the same memory too");
    assert!(bytes_of(&memory).iter().all(|&byte| byte == 0));
}

#[test]
fn an_allocation_goes_back_with_its_last_handle() {
    let _alone = alone();
    let before = available();
    let memory = gpu().allocate(1 << 20).expect("memory");
    let slice = memory.slice(4096..8192).expect("a slice");
    drop(memory);
    assert_eq!(available(), before - (1 << 20));
    drop(slice);
    assert_eq!(available(), before);
}

#[test]
fn a_pool_that_is_too_small_is_named_with_its_numbers() {
    let _alone = alone();
    let refused = gpu().allocate(65 << 20).unwrap_err();
    assert!(matches!(refused, Error::PoolExhausted(_)));
    assert!(refused.to_string().contains("67108864 of its 67108864 bytes are free"), "{refused}");
}

#[test]
fn a_mapping_stays_out_of_forks_and_core_dumps() {
    let _alone = alone();
    let _memory = gpu().allocate(1 << 20).expect("memory");
    let maps = fs::read_to_string("/proc/self/smaps").expect("smaps");
    let mapping = maps.split_once("p2pmem/allocate").expect("the mapping").1;
    let flags = mapping.lines().find(|line| line.starts_with("VmFlags:")).expect("its flags");
    assert!(flags.contains(" dc") && flags.contains(" dd"), "{flags}");
}

#[test]
fn copies_at_any_byte_arrive() {
    let _alone = alone();
    let memory = gpu().allocate(1 << 20).expect("memory");
    let mut copier = Copier::new().unwrap();
    let data: Vec<u8> = (0..70_001_u32).map(|index| (index % 253) as u8).collect();
    copier.write(&data, &memory.slice(4093..).unwrap()).unwrap();
    let mut back = vec![0; data.len()];
    copier.read(&memory.slice(4093..).unwrap(), &mut back).unwrap();
    assert_eq!(back, data);
    assert_eq!(bytes_of(&memory)[..4093], [0; 4093]);
}

#[test]
fn a_provider_that_was_unbound_answers_errors_and_no_signal() {
    let _alone = alone();
    let memory = gpu().allocate(1 << 20).expect("memory");
    let file = ssd(Access::Read);
    let mut queue = queue(4);
    let pair = queue.bind(&file, &memory).expect("a route");
    let unbound = Unbound::new(device("GPU"));

    let mut byte = [0];
    let copied = Copier::new().unwrap().read(&memory.all(), &mut byte).unwrap_err();
    assert!(matches!(copied, Error::Io { .. }));
    assert!(copied.to_string().contains("was unbound"), "{copied}");

    queue.read(&pair, 0, memory.all()).expect("taken");
    let receipt = queue.wait().expect("a receipt");
    assert_eq!((receipt.bytes(), receipt.errno()), (0, Some(libc::EFAULT)));

    let found = Provider::find(&Machine::host(), device("GPU")).unwrap_err();
    assert!(matches!(found, Error::NotFound(_)), "{found}");
    drop(unbound);
    assert_eq!(available(), 64 << 20);
}

/// 64 operations fly while the provider is unbound; each of them ends, whole or with an error.
fn unbind_in_flight(file: &File) {
    let memory = gpu().allocate(32 << 20).expect("memory");
    let mut queue = queue(64);
    let pair = queue.bind(file, &memory).expect("a route");
    for index in 0..64 {
        let part = memory.slice(index << 19..(index + 1) << 19).expect("a part");
        queue.read(&pair, (index as u64) << 19, part).expect("taken");
    }
    queue.submit().expect("started");
    let unbinding = std::thread::spawn(|| Unbound::new(device("GPU")));
    let mut ended = 0;
    while queue.in_flight() > 0 {
        let receipt = queue.wait().expect("a receipt within the deadline");
        assert!(receipt.bytes() == 1 << 19 || receipt.errno() == Some(libc::EFAULT), "{receipt:?}");
        ended += 1;
    }
    assert_eq!(ended, 64);
    let unbound = unbinding.join().expect("the unbind ended");
    assert!(Copier::new().unwrap().read(&memory.all(), &mut [0]).is_err(), "a copy from memory that has gone");
    drop(unbound);
}

#[test]
fn a_hundred_unbinds_while_operations_fly_end_them_all_and_hang_nothing() {
    let _alone = alone();
    let file = ssd(Access::Read);
    for _ in 0..100 {
        unbind_in_flight(&file);
    }
    assert_eq!(leaked_queues(), 0);
}

#[test]
fn a_queue_dropped_in_flight_gives_memory_back_only_after_its_operations() {
    let _alone = alone();
    let before = available();
    let memory = gpu().allocate(32 << 20).expect("memory");
    let file = ssd(Access::Read);
    let mut queue = queue(64);
    let pair = queue.bind(&file, &memory).expect("a route");
    for index in 0..64 {
        let part = memory.slice(index << 19..(index + 1) << 19).expect("a part");
        queue.read(&pair, (index as u64) << 19, part).expect("taken");
    }
    queue.submit().expect("started");
    drop((memory, file, pair));
    drop(queue);
    assert_eq!(leaked_queues(), 0);
    eventually("the return of the memory", || available() == before);
}

#[test]
fn a_device_is_free_as_soon_as_its_queue_is_gone() {
    let _alone = alone();
    for _ in 0..20 {
        // Exclusive: it fails while anybody holds the device for writing.
        let file = ssd(Access::ReadWrite);
        let memory = gpu().allocate(1 << 20).expect("memory");
        let mut queue = queue(8);
        let pair = queue.bind(&file, &memory).expect("a route");
        queue.read(&pair, 0, memory.all()).expect("taken");
        queue.wait().expect("a receipt").complete().expect("all of it");
    }
}

/// Reads 64 KiB direct and by the host; gives both.
fn both_ways(queue: &mut Queue, pair: &Pair, memory: &PeerMemory, offset: u64) -> (Vec<u8>, Vec<u8>) {
    let host = HostMemory::allocate(65_536).expect("host memory");
    let host_pair = queue.bind_host(pair.file()).expect("a pair");
    queue.read(&host_pair, offset, host.all()).expect("taken");
    assert_eq!(queue.wait().expect("a receipt").bytes_host(), 65_536);
    queue.read(pair, offset, memory.slice(4..65_540).expect("a slice")).expect("taken");
    assert_eq!(queue.wait().expect("a receipt").bytes_direct(), 65_536);
    let mut expected = vec![0; 65_536];
    host.all().read(&mut expected).expect("its bytes");
    (bytes_of(memory)[4..65_540].to_vec(), expected)
}

#[test]
fn memory_at_four_bytes_and_files_at_logical_blocks_are_enough() {
    let _alone = alone();
    let file = ssd(Access::ReadWrite);
    let memory = gpu().allocate(1 << 20).expect("memory");
    let mut queue = queue(4);
    let pair = queue.bind(&file, &memory).expect("a route");
    assert_eq!((pair.memory_alignment(), pair.offset_alignment()), (4, 512));
    let data: Vec<u8> = (0..65_536_u32).map(|index| (index % 251) as u8 + 1).collect();
    Copier::new().unwrap().write(&data, &memory.slice(8..).unwrap()).unwrap();
    queue.write(&pair, 512, memory.slice(8..65_544).unwrap()).expect("taken");
    queue.wait().expect("a receipt").complete().expect("all of it");
    let (direct, host) = both_ways(&mut queue, &pair, &memory, 512);
    assert_eq!(host, data, "what was written from a 4-byte address");
    assert_eq!(direct, data, "what was read to a 4-byte address");
}

#[test]
fn the_end_of_the_device_is_a_short_read() {
    let _alone = alone();
    let file = ssd(Access::Read);
    let memory = gpu().allocate(8192).expect("memory");
    let mut queue = queue(1);
    let pair = queue.bind(&file, &memory).expect("a route");
    queue.read(&pair, file.size() - 4096, memory.all()).expect("taken");
    let receipt = queue.wait().expect("a receipt");
    assert!(receipt.is_short());
    assert_eq!(receipt.bytes(), 4096);
}

#[test]
fn the_scan_knows_the_switch_that_qemu_made() {
    let topology = Topology::scan(&Machine::host()).expect("a scan");
    let route = topology.route(device("GPU"), device("SSD")).expect("a route");
    assert_eq!((route.map_type, route.distance), (MapType::BusAddr, Some(4)));
    assert_eq!(ssd(Access::Read).stack().functions(), [device("SSD")]);
    let published = topology.device(device("CMB")).and_then(|device| device.p2pmem).expect("a CMB");
    assert_eq!((published.size, published.published), (Some(64 << 20), Some(true)));
}
