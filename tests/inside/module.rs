//! The module's way: memory without an address, with the same queue, receipts and slices.

use std::{
    fs,
    process::Command,
    sync::{MutexGuard, OnceLock},
};

use p2pdma::{
    Error,
    machine::{Access, Direction, Machine, module::Stats},
    memory::{Arena, Copier, HostMemory, PeerMemory, PeerSlice},
    storage::File,
    transfer::{Evidence, Pair, Queue, Receipt, leaked_queues},
};

use super::{Unbound, available, bytes_of, device, eventually, gpu, queue, ssd, variable};

const MIB: usize = 1 << 20;

fn buffer(length: usize) -> PeerMemory {
    gpu().allocate_buffer(length).expect("a buffer")
}

/// One test at a time, and each gives back all it held.
struct Alone(#[expect(dead_code, reason = "held, not read")] MutexGuard<'static, ()>);

fn alone() -> Alone {
    Alone(super::alone())
}

/// A ring gives its files back some time after it was closed, hence the patience.
impl Drop for Alone {
    fn drop(&mut self) {
        let stats = || Machine::host().module().expect("the node opens").stats().expect("numbers");
        if !std::thread::panicking() {
            eventually("the return of all objects", || stats() == Stats::default());
            assert_eq!(leaked_queues(), 0);
        }
    }
}

/// No two blocks and no two seeds are alike, and nothing in it is zero for long.
fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let words = (0..length.div_ceil(8) as u64).map(|word| (word + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed);
    let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    bytes.truncate(length);
    bytes
}

fn one(queue: &mut Queue, direction: Direction, pair: &Pair, offset: u64, slice: PeerSlice) -> Receipt {
    match direction {
        Direction::Read => queue.read(pair, offset, slice).expect("taken"),
        Direction::Write => queue.write(pair, offset, slice).expect("taken"),
    };
    queue.wait().expect("a receipt")
}

/// What the host reads, direct and to its own memory.
fn host_read(file: &File, offset: u64, length: usize) -> Vec<u8> {
    let host = HostMemory::allocate(length).expect("host memory");
    let mut queue = queue(1);
    let pair = queue.bind_host(file).expect("a pair");
    queue.read(&pair, offset, host.all()).expect("taken");
    assert_eq!(queue.wait().expect("a receipt").bytes_host(), length as u64);
    let mut bytes = vec![0; length];
    host.all().read(&mut bytes).expect("its bytes");
    bytes
}

/// An ext4 file system on the second SSD, mounted as long as this process lives; its files as long as `length`, all written.
pub(super) fn file_on_ext4(name: &str, length: usize) -> File {
    static MOUNTED: OnceLock<()> = OnceLock::new();
    MOUNTED.get_or_init(|| {
        let script =
            format!("mkfs.ext4 -q -F {0} && mkdir -p /run/ext4 && mount {0} /run/ext4", variable("P2PDMA_CMB"));
        assert!(Command::new("sh").args(["-c", &script]).status().expect("a shell").success());
    });
    let path = format!("/run/ext4/{name}");
    fs::write(&path, pattern(99, length)).expect("written");
    fs::File::open(&path).and_then(|file| file.sync_all()).expect("synced");
    File::open(&Machine::host(), path, Access::ReadWrite).expect("it opens")
}

/// Writes 1 MiB from odd places of a buffer, and reads it to other ones; every byte is compared by the host's own reading.
/// Gives the alignment in memory, of which the odd places are multiples.
fn there_and_back(file: &File) -> usize {
    let memory = buffer(4 * MIB);
    let mut queue = queue(8);
    let pair = queue.bind(file, &memory).expect("a route");
    assert_eq!(pair.provider(), Some(device("GPU")));
    let odd = pair.memory_alignment() as usize;
    let block = pair.offset_alignment() as usize;
    let data = pattern(5, MIB);
    Copier::new().unwrap().write(&data, &memory.slice(odd..).unwrap()).expect("copied");
    let written = one(&mut queue, Direction::Write, &pair, block as u64, memory.slice(odd..MIB + odd).unwrap());
    assert_eq!(
        (written.bytes_direct(), written.bytes_bounced(), written.bytes_host()),
        (MIB as u64, 0, 0),
        "{written:?}"
    );
    assert_eq!((written.evidence(), written.complete().expect("whole")), (Evidence::Observed, MIB as u64));
    assert!(host_read(file, block as u64, MIB) == data, "what was written from an odd offset");

    for (index, part) in data.chunks(MIB / 8).enumerate() {
        let at = 2 * MIB + 3 * odd + index * part.len();
        queue
            .read(&pair, (block + index * part.len()) as u64, memory.slice(at..at + part.len()).unwrap())
            .expect("taken");
    }
    let direct = (0..8).map(|_| queue.wait().expect("a receipt").complete().expect("whole")).sum::<u64>();
    assert_eq!(direct, MIB as u64);
    assert!(bytes_of(&memory)[2 * MIB + 3 * odd..3 * MIB + 3 * odd] == data, "what was read to an odd offset");
    odd
}

#[test]
fn bytes_go_both_ways_between_a_buffer_and_a_raw_device() {
    let _alone = alone();
    assert_eq!(there_and_back(&ssd(Access::ReadWrite)), 4);
}

#[test]
fn bytes_go_both_ways_between_a_buffer_and_a_file_on_ext4() {
    let _alone = alone();
    assert_eq!(there_and_back(&file_on_ext4("data", 2 * MIB)), 4);
}

#[test]
fn the_end_of_a_file_is_a_short_read() {
    let _alone = alone();
    let file = file_on_ext4("short", 8192 + 100);
    let memory = buffer(8192);
    let mut queue = queue(1);
    let pair = queue.bind(&file, &memory).expect("a route");
    let receipt = one(&mut queue, Direction::Read, &pair, 4096, memory.all());
    assert!(receipt.is_short());
    assert_eq!((receipt.bytes(), receipt.bytes_direct()), (4196, 4196));
    assert!(bytes_of(&memory)[..4196] == pattern(99, 8292)[4096..]);
}

#[test]
fn a_hole_is_refused_and_what_fills_it_is_no_silent_copy() {
    let _alone = alone();
    let path = "/run/ext4/hole";
    drop(file_on_ext4("hole", 4096));
    fs::File::options().write(true).open(path).and_then(|file| file.set_len(MIB as u64)).expect("a hole");
    let file = File::open(&Machine::host(), path, Access::ReadWrite).expect("it opens");
    let memory = buffer(65_536);
    let mut queue = queue(1);
    let pair = queue.bind(&file, &memory).expect("a route");
    let refused = queue.read(&pair, 4096, memory.all()).expect_err("the CPU would write zeroes");
    assert!(matches!(refused, Error::NoDirectIo(_)), "{refused}");
    let data = pattern(6, 65_536);
    Copier::new().unwrap().write(&data, &memory.all()).expect("copied");
    let filled = one(&mut queue, Direction::Write, &pair, 4096, memory.all());
    assert_eq!((filled.bytes_direct(), filled.bytes_bounced()), (65_536, 0));
    assert!(host_read(&file, 4096, 65_536) == data);
}

#[test]
fn a_buffer_is_zero_is_copied_to_by_the_byte_and_goes_back_with_its_last_handle() {
    let _alone = alone();
    let before = available();
    let memory = buffer(MIB + 1);
    assert_eq!((memory.len(), available()), (MIB + 1, before - (MIB + 4096) as u64), "whole pages");
    assert!(bytes_of(&memory).iter().all(|&byte| byte == 0));
    let mut copier = Copier::new().unwrap();
    let data = pattern(7, 70_001);
    copier.write(&data, &memory.slice(4093..).unwrap()).unwrap();
    let host = HostMemory::allocate(70_001).expect("host memory");
    copier.to_host(&memory.slice(4093..4093 + 70_001).unwrap(), &host.all()).expect("copied");
    copier.to_peer(&host.all(), &memory.slice(200_001..).unwrap()).expect("copied");
    let bytes = bytes_of(&memory);
    assert!(bytes[4093..74_094] == data && bytes[200_001..270_002] == data && bytes[4092] == 0 && bytes[74_094] == 0);
    let slice = memory.slice(4096..8192).expect("a slice");
    drop(memory);
    assert!(available() < before);
    drop(slice);
    eventually("the return of the memory", || available() == before);
}

#[test]
fn one_bind_serves_all_of_an_arena() {
    let _alone = alone();
    let arena = Arena::of(buffer(MIB));
    let file = ssd(Access::Read);
    let (first, second) = (arena.allocate(4096, 4096).unwrap(), arena.allocate(4096, 4).unwrap());
    let mut queue = queue(2);
    let pair = queue.bind(&file, &first).expect("a route");
    for (memory, offset) in [(&first, 0), (&second, 4096)] {
        assert_eq!(one(&mut queue, Direction::Read, &pair, offset, memory.all()).bytes_direct(), 4096);
        assert!(bytes_of(memory) == host_read(&file, offset, 4096));
    }
    let other = buffer(4096);
    assert!(matches!(queue.read(&pair, 0, other.all()), Err(Error::Invalid(_))), "another buffer is another pair's");
}

#[test]
fn a_buffer_that_is_too_large_and_a_provider_that_has_gone_say_so_in_a_line() {
    let _alone = alone();
    let refused = gpu().allocate_buffer(65 * MIB).unwrap_err();
    assert!(matches!(refused, Error::PoolExhausted(_)), "{refused}");
    let memory = buffer(MIB);
    let mut queue = queue(1);
    let pair = queue.bind(&ssd(Access::Read), &memory).expect("a route");
    let unbound = Unbound::new(device("GPU"));
    let copied = Copier::new().unwrap().read(&memory.all(), &mut [0]).unwrap_err();
    assert!(matches!(copied, Error::Io { .. }) && copied.to_string().contains("was unbound"), "{copied}");
    let receipt = one(&mut queue, Direction::Read, &pair, 0, memory.all());
    assert_eq!((receipt.bytes(), receipt.errno()), (0, Some(libc::ENODEV)));
    assert!(receipt.complete().unwrap_err().to_string().contains("was unbound"));
    drop(unbound);
}

/// 32 operations fly while the provider is unbound; each of them ends, whole or with an error.
fn unbind_in_flight(file: &File) {
    let memory = buffer(16 * MIB);
    let mut queue = queue(32);
    let pair = queue.bind(file, &memory).expect("a route");
    for index in 0..32 {
        let part = memory.slice(index << 19..(index + 1) << 19).expect("a part");
        queue.read(&pair, (index as u64) << 19, part).expect("taken");
    }
    queue.submit().expect("started");
    let unbinding = std::thread::spawn(|| Unbound::new(device("GPU")));
    for _ in 0..32 {
        let receipt = queue.wait().expect("a receipt within the deadline");
        assert!(receipt.bytes_direct() == 1 << 19 || receipt.errno() == Some(libc::ENODEV), "{receipt:?}");
    }
    drop(unbinding.join().expect("the unbind ended"));
}

#[test]
fn twenty_unbinds_while_operations_fly_end_them_all_and_hang_nothing() {
    let _alone = alone();
    let file = ssd(Access::Read);
    (0..20).for_each(|_| unbind_in_flight(&file));
}

#[test]
fn a_queue_dropped_in_flight_gives_the_buffer_back_only_after_its_operations() {
    let _alone = alone();
    let before = available();
    let memory = buffer(16 * MIB);
    let file = ssd(Access::Read);
    let mut queue = queue(32);
    let pair = queue.bind(&file, &memory).expect("a route");
    for index in 0..32 {
        let part = memory.slice(index << 19..(index + 1) << 19).expect("a part");
        queue.read(&pair, (index as u64) << 19, part).expect("taken");
    }
    queue.submit().expect("started");
    drop((memory, file, pair));
    drop(queue);
    eventually("the return of the memory", || available() == before);
}

/// A dm device over the SSD, as long as this lives; root has named nothing below it afterwards.
struct Linear;

impl Linear {
    fn new() -> Self {
        shell("dmsetup create linear --table \"0 65536 linear $P2PDMA_SSD 0\"");
        Self
    }

    /// Root tells the module which functions lie below it.
    fn name(functions: &str) {
        let number = "$((0x$(stat -Lc %t /dev/mapper/linear))):$((0x$(stat -Lc %T /dev/mapper/linear)))";
        shell(&format!("echo {number}={functions} >/sys/bus/pci/drivers/p2pdma_user/stack"));
    }
}

impl Drop for Linear {
    fn drop(&mut self) {
        Self::name("");
        // Rings give their files back in their own time, and the device with them.
        shell("for i in $(seq 200); do dmsetup remove linear && exit 0; sleep 0.1; done 2>/dev/null; exit 1");
    }
}

fn shell(script: &str) {
    let script = format!("export DM_DISABLE_UDEV=1 PATH=$PATH:/usr/sbin:/sbin\n{script}");
    assert!(Command::new("sh").args(["-ec", &script]).status().expect("a shell").success(), "{script}");
}

#[test]
fn a_stack_is_refused_until_root_vouches_for_it_and_then_goes_direct() {
    let _alone = alone();
    let _linear = Linear::new();
    let file = File::open(&Machine::host(), "/dev/mapper/linear", Access::ReadWrite).expect("it opens");
    let refused = queue(1).bind(&file, &buffer(4096)).expect_err("nobody vouched for it");
    assert!(matches!(refused, Error::NoDirectIo(_)) && refused.to_string().contains("it lies on dm-"), "{refused}");
    Linear::name(&device("SSD").to_string());
    assert_eq!(there_and_back(&file), 512, "device mapper's own");
    let mapped = gpu().allocate(4096).expect("memory");
    assert!(matches!(queue(1).bind(&file, &mapped), Err(Error::NoDirectIo(_))), "a mapping goes no new way");
}
