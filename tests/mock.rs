//! The library on the mock machine: every line above the seam, without hardware.

#![expect(clippy::expect_used, reason = "a test ends where its ground gives way")]

use std::time::Duration;

use p2pdma::{
    Error, Result,
    machine::{Access, Machine, Mock, mock::Cpu},
    memory::{Arena, Copier, HostMemory, PeerMemory, Provider},
    pci::Address,
    storage::{File, LayerKind, namespaces},
    topology::Topology,
    transfer::{Options, Queue},
    verdict::{Answer, Verdict},
};

const SSD: &str = "/dev/nvme0n1";

fn switch() -> Machine {
    Machine::mock(Mock::one_switch(Cpu::AmdZen).expect("a mock machine"))
}

fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

fn peer(machine: &Machine, length: usize) -> Result<PeerMemory> {
    Provider::find(machine, address("0000:05:00.0"))?.allocate(length)
}

fn queue(machine: &Machine) -> Queue {
    Queue::new(machine, Options::default().depth(8).deadline(Duration::from_secs(10))).expect("a queue")
}

fn contents(memory: &PeerMemory) -> Vec<u8> {
    let mut bytes = vec![0; memory.len()];
    Copier::new().and_then(|mut copier| copier.read(&memory.all(), &mut bytes)).expect("a copy");
    bytes
}

/// What the host reads, by its own path.
fn host_read(queue: &mut Queue, file: &File, offset: u64, length: usize) -> Vec<u8> {
    let memory = HostMemory::allocate(length).expect("host memory");
    let pair = queue.bind_host(file).expect("a pair");
    queue.read(&pair, offset, memory.all()).expect("a read");
    let receipt = queue.wait().expect("a receipt");
    assert_eq!((receipt.bytes_direct(), receipt.bytes_host()), (0, length as u64));
    let mut bytes = vec![0; length];
    memory.all().read(&mut bytes).expect("its bytes");
    bytes
}

#[test]
fn what_is_read_direct_is_what_the_host_reads() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 1 << 20).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    for index in 0..8 {
        let part = memory.slice(index * 131_072..(index + 1) * 131_072).unwrap();
        queue.read(&pair, 4096 + index as u64 * 131_072, part).unwrap();
    }
    let mut direct = 0;
    while queue.in_flight() > 0 {
        direct += queue.wait().unwrap().complete().unwrap();
    }
    assert_eq!(direct, 1 << 20);
    assert_eq!(contents(&memory), host_read(&mut queue, &file, 4096, 1 << 20));
}

#[test]
fn what_is_written_direct_is_what_the_host_reads() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::ReadWrite).unwrap();
    let memory = peer(&machine, 65_536).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    let pattern: Vec<u8> = (0..65_536_u32).map(|index| (index % 251) as u8 + 1).collect();
    Copier::new().unwrap().write(&pattern, &memory.all()).unwrap();
    queue.write(&pair, 512, memory.all()).unwrap();
    assert_eq!(queue.wait().unwrap().bytes_direct(), 65_536);
    assert_eq!(host_read(&mut queue, &file, 512, 65_536), pattern);
}

#[test]
fn a_file_lies_on_its_ssd_and_goes_the_same_way() {
    let mut mock = Mock::one_switch(Cpu::AmdZen).unwrap();
    mock.file("/data/model", SSD, &[7; 8192]).unwrap();
    let machine = Machine::mock(mock);
    let file = File::open(&machine, "/data/model", Access::Read).unwrap();
    assert_eq!(file.stack().functions(), [address("0000:03:00.0")]);
    let memory = peer(&machine, 8192).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    queue.read(&pair, 0, memory.all()).unwrap();
    assert_eq!(queue.wait().unwrap().bytes_direct(), 8192);
    assert_eq!(contents(&memory), vec![7; 8192]);
}

#[test]
fn a_short_read_is_visible_and_never_complete() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 8192).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    queue.read(&pair, file.size() - 4096, memory.all()).unwrap();
    let receipt = queue.wait().unwrap();
    assert!(receipt.is_short());
    assert_eq!((receipt.requested(), receipt.bytes()), (8192, 4096));
    assert!(matches!(receipt.complete(), Err(Error::Io { .. })));
}

#[test]
fn two_root_ports_of_an_unlisted_intel_are_refused_before_any_io() {
    let machine = Machine::mock(Mock::root_ports(Cpu::IntelUnlisted).unwrap());
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = Provider::find(&machine, address("0000:02:00.0")).unwrap().allocate(4096).unwrap();
    let mut queue = queue(&machine);
    let refused = queue.bind(&file, &memory).unwrap_err();
    assert!(matches!(refused, Error::NoRoute(_)));
    let line = refused.to_string();
    for part in ["0000:01:00.0", "0000:02:00.0", "host bridge 8086:29c0", "below one PCIe switch"] {
        assert!(line.contains(part), "{part:?} is missing in {line:?}");
    }
    assert_eq!(line.lines().count(), 1);
}

#[test]
fn two_root_ports_of_amd_zen_go_through_the_host_bridge() {
    let machine = Machine::mock(Mock::root_ports(Cpu::AmdZen).unwrap());
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let topology = Topology::scan(&machine).unwrap();
    let verdict = Verdict::judge(&topology, &file, address("0000:02:00.0")).unwrap();
    assert_eq!(verdict.answer(), Answer::Yes);
    let route = verdict.route().unwrap();
    assert_eq!((route.map_type.as_str(), route.distance), ("thru_host_bridge", Some(4)));
}

#[test]
fn misaligned_or_oversized_operations_are_refused_with_the_alignment_named() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 8192).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    let refusal = |result: Result<_>| result.map(|_| ()).unwrap_err().to_string();
    assert!(refusal(queue.read(&pair, 100, memory.slice(..512).unwrap())).contains("512 bytes"));
    assert!(refusal(queue.read(&pair, 0, memory.slice(..100).unwrap())).contains("512 bytes"));
    assert!(refusal(queue.read(&pair, 0, memory.slice(2..514).unwrap())).contains("4 bytes"));
    assert!(refusal(queue.read(&pair, 0, memory.slice(..0).unwrap())).contains("0 bytes"));
    assert!(refusal(queue.write(&pair, 0, memory.slice(..512).unwrap())).contains("opened for reading"));
    assert!(queue.read(&pair, 0, memory.slice(4..516).unwrap()).is_ok(), "4-byte memory alignment is enough");
    assert_eq!(queue.wait().unwrap().bytes(), 512);
}

#[test]
fn a_pair_takes_neither_foreign_memory_nor_a_foreign_queue() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 4096).unwrap();
    let mut first = queue(&machine);
    let mut second = queue(&machine);
    let pair = first.bind(&file, &memory).unwrap();
    let host = HostMemory::allocate(4096).unwrap();
    assert!(matches!(first.read(&pair, 0, host.all()), Err(Error::Invalid(_))));
    assert!(matches!(second.read(&pair, 0, memory.all()), Err(Error::Invalid(_))));
}

#[test]
fn a_full_queue_says_so_and_goes_on_after_a_wait() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 512).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    for _ in 0..8 {
        queue.read(&pair, 0, memory.all()).unwrap();
    }
    assert!(matches!(queue.read(&pair, 0, memory.all()), Err(Error::QueueFull(_))));
    queue.wait().unwrap().complete().unwrap();
    queue.read(&pair, 0, memory.all()).unwrap();
}

#[test]
fn no_two_operations_that_fly_share_a_name_or_a_place() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 512).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let id = queue.read(&pair, 0, memory.all()).unwrap();
        assert!(names.insert(id));
        assert!(id.place() < 8);
        assert_eq!(queue.wait().unwrap().operation(), id);
    }
}

#[test]
fn waiting_for_nothing_is_an_error_and_no_hang() {
    assert!(matches!(queue(&switch()).wait(), Err(Error::Invalid(_))));
}

#[test]
fn a_queue_dropped_in_flight_keeps_memory_and_file_until_the_end() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 4 << 20).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    for index in 0..8 {
        let part = memory.slice(index << 19..(index + 1) << 19).unwrap();
        queue.read(&pair, 0, part).unwrap();
    }
    queue.submit().unwrap();
    drop((memory, file, pair));
    drop(queue);
    let pool = Provider::find(&machine, address("0000:05:00.0")).unwrap().pool().unwrap();
    assert_eq!(pool.available, pool.size, "all of it went back");
}

#[test]
fn a_pool_is_limited_and_takes_back_what_is_dropped() {
    let machine = switch();
    let most = peer(&machine, 64 << 20).unwrap();
    let full = peer(&machine, 4096).unwrap_err();
    assert!(matches!(full, Error::PoolExhausted(_)));
    assert!(full.to_string().contains("0 bytes of its 67108864"), "{full}");
    drop(most);
    assert!(peer(&machine, 4096).is_ok());
}

#[test]
fn memory_is_zero_at_first_and_ranges_are_held_to_it() {
    let machine = switch();
    let memory = peer(&machine, 4096).unwrap();
    assert_eq!(contents(&memory), vec![0; 4096]);
    assert!(memory.slice(4000..4097).is_err());
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is tested")]
    let backwards = memory.slice(10..5);
    assert!(backwards.is_err());
    assert!(memory.slice(100..200).unwrap().slice(50..101).is_err());
    assert!(memory.slice(..=usize::MAX).is_err());
    assert!(matches!(peer(&machine, 0), Err(Error::Invalid(_))));
}

#[test]
fn what_is_no_provider_is_refused_by_name() {
    let machine = switch();
    let find = |text: &str| Provider::find(&machine, address(text)).unwrap_err();
    assert!(matches!(find("0000:03:00.0"), Error::NotFound(_)), "an SSD without CMB");
    assert!(matches!(find("0000:99:00.0"), Error::NotFound(_)), "no such device");
}

#[test]
fn memory_of_a_foreign_driver_is_never_mapped() {
    use p2pdma::machine::mock::Function;
    let mut mock = Mock::new(Cpu::AmdZen);
    let gpu = address("0000:01:00.0");
    mock.function(&Function { driver: Some("nvidia".into()), ..Function::provider(gpu, None, 64 << 20) });
    let refused = Provider::find(&Machine::mock(mock), gpu).and_then(|gpu| gpu.allocate(4096)).unwrap_err();
    assert!(matches!(refused, Error::ForeignProvider(_)));
    assert!(refused.to_string().contains("nvidia"));
}

#[test]
fn a_function_tells_its_namespaces() {
    let machine = switch();
    assert_eq!(namespaces(&machine, address("0000:04:00.0")), [std::path::PathBuf::from("/dev/nvme1n1")]);
    assert!(namespaces(&machine, address("0000:05:00.0")).is_empty());
    let file = File::open(&machine, "/dev/nvme1n1", Access::Read).unwrap();
    let layers = file.stack().layers();
    assert_eq!(
        (layers[0].1.name.as_str(), &layers[0].1.kind),
        ("nvme1n1", &LayerKind::Namespace(address("0000:04:00.0")))
    );
}

#[test]
fn a_queue_may_move_to_another_thread() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 4096).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    queue.read(&pair, 0, memory.all()).unwrap();
    let moved = std::thread::spawn(move || queue.wait().map(|receipt| receipt.bytes()));
    assert_eq!(moved.join().unwrap().unwrap(), 4096);
}

#[test]
fn parts_of_an_arena_are_apart_and_go_back_after_their_operations() {
    let machine = switch();
    let provider = Provider::find(&machine, address("0000:05:00.0")).unwrap();
    let arena = Arena::new(&provider, 1 << 20).unwrap();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let (first, second) = (arena.allocate(4096, 4096).unwrap(), arena.allocate(4096, 4).unwrap());
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &first).unwrap();
    queue.read(&pair, 0, first.all()).unwrap();
    queue.read(&pair, 4096, second.all()).unwrap();
    assert_eq!(queue.wait().unwrap().bytes_direct() + queue.wait().unwrap().bytes_direct(), 8192);
    assert_eq!([contents(&first), contents(&second)].concat(), host_read(&mut queue, &file, 0, 8192));

    queue.read(&pair, 0, second.all()).unwrap();
    drop(second);
    assert_eq!(arena.free(), (1 << 20) - 8192, "an operation in flight keeps its part");
    queue.wait().unwrap().complete().unwrap();
    assert_eq!(arena.free(), (1 << 20) - 4096);
    drop((first, arena));
    assert_eq!(provider.pool().unwrap().available, provider.pool().unwrap().size);
}

#[test]
fn an_arena_refuses_what_it_has_not_got_with_the_numbers() {
    let provider = Provider::find(&switch(), address("0000:05:00.0")).unwrap();
    let arena = Arena::new(&provider, 65_536).unwrap();
    let _kept = arena.allocate(4096, 4096).unwrap();
    let full = arena.allocate(65_536, 4).unwrap_err();
    assert!(matches!(full, Error::PoolExhausted(_)));
    assert!(full.to_string().contains("61440 are free, 61440 in one piece"), "{full}");
    assert!(matches!(arena.allocate(0, 4), Err(Error::Invalid(_))));
    assert!(matches!(arena.allocate(4096, 3), Err(Error::Invalid(_))));
    assert!(matches!(arena.allocate(4096, 8192), Err(Error::Invalid(_))));
}

#[test]
fn memory_and_queue_of_two_machines_do_not_mix() {
    let (one, other) = (switch(), switch());
    let file = File::open(&one, SSD, Access::Read).unwrap();
    let foreign = peer(&other, 4096).unwrap();
    let mut queue = queue(&one);
    let refused = queue.bind(&file, &foreign).unwrap_err();
    assert!(matches!(refused, Error::Invalid(_)) && refused.to_string().contains("another machine"), "{refused}");
    let strange = File::open(&other, SSD, Access::Read).unwrap();
    assert!(queue.bind_host(&strange).unwrap_err().to_string().contains("another machine"));
    let pair = queue.bind(&file, &peer(&one, 4096).unwrap()).unwrap();
    assert!(matches!(queue.read(&pair, 0, foreign.all()), Err(Error::Invalid(_))), "the same address is not the same");
}

#[test]
fn a_deadline_without_end_is_cut_and_panics_nowhere() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 4096).unwrap();
    let mut queue = Queue::new(&machine, Options::default().deadline(Duration::MAX)).unwrap();
    let pair = queue.bind(&file, &memory).unwrap();
    queue.read(&pair, 0, memory.all()).unwrap();
    assert_eq!(queue.wait().unwrap().bytes(), 4096);
}

#[test]
fn a_write_that_was_never_started_does_not_start_when_the_queue_is_dropped() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::ReadWrite).unwrap();
    let memory = peer(&machine, 4096).unwrap();
    let before = host_read(&mut queue(&machine), &file, 0, 4096);
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    queue.write(&pair, 0, memory.all()).unwrap();
    drop(queue);
    assert_eq!(host_read(&mut self::queue(&machine), &file, 0, 4096), before);
    drop(memory);
    let pool = Provider::find(&machine, address("0000:05:00.0")).unwrap().pool().unwrap();
    assert_eq!(pool.available, pool.size, "the pair keeps no memory, and the queue kept none");
}

#[test]
fn a_queue_lets_go_of_files_and_works_on_any_number_in_turn() {
    let machine = switch();
    let memory = peer(&machine, 512).unwrap();
    let mut queue = queue(&machine);
    for _ in 0..600 {
        let file = File::open(&machine, SSD, Access::Read).unwrap();
        let pair = queue.bind_host(&file).unwrap();
        let again = queue.bind_host(&file).unwrap();
        queue.unbind(again).unwrap();
        let host = HostMemory::allocate(512).unwrap();
        queue.read(&pair, 0, host.all()).unwrap();
        assert_eq!(queue.wait().unwrap().bytes_host(), 512, "a second pair keeps the file");
    }
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let pair = queue.bind(&file, &memory).unwrap();
    queue.read(&pair, 0, memory.all()).unwrap();
    assert_eq!(queue.wait().unwrap().bytes_direct(), 512);
    queue.unbind(pair).unwrap();
}

#[test]
fn absurd_offsets_are_refused_by_name() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 512).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    for offset in [1 << 63, u64::MAX - 511, (1 << 63) - 512] {
        let refused = queue.read(&pair, offset, memory.all()).unwrap_err();
        assert!(refused.to_string().contains("out of range"), "{refused}");
    }
    assert!(matches!(HostMemory::allocate(0), Err(Error::Invalid(_))));
}

#[test]
fn what_callers_hand_to_threads_may_be_handed() {
    fn check<T: Send>() {}
    fn check_shared<T: Send + Sync>() {}
    check::<Queue>();
    check::<Copier>();
    check_shared::<(Machine, File, PeerMemory, HostMemory, Arena, Provider, Topology)>();
}

#[test]
fn a_buffered_file_gives_the_host_the_same_bytes_and_is_refused_for_peer_memory() {
    let machine = switch();
    let direct = File::open(&machine, SSD, Access::Read).unwrap();
    let buffered = direct.buffered().unwrap();
    assert!(buffered.is_buffered() && !direct.is_buffered());
    let mut queue = queue(&machine);
    assert_eq!(host_read(&mut queue, &buffered, 512, 8192), host_read(&mut queue, &direct, 512, 8192));
    let refused = queue.bind(&buffered, &peer(&machine, 4096).unwrap()).unwrap_err();
    assert!(matches!(refused, Error::NoDirectIo(_)));
    let line = refused.to_string();
    for part in [SSD, "without O_DIRECT", "File::open"] {
        assert!(line.contains(part), "{part:?} is missing in {line:?}");
    }
    assert_eq!(line.lines().count(), 1);
}

#[test]
fn a_buffered_file_takes_writes_at_any_byte_if_the_direct_one_was_opened_for_them() {
    let machine = switch();
    let buffered = File::open(&machine, SSD, Access::ReadWrite).unwrap().buffered().unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind_host(&buffered).unwrap();
    let memory = HostMemory::allocate(4096).unwrap();
    memory.all().write(&[7; 4096]).unwrap();
    queue.write(&pair, 3, memory.slice(..5).unwrap()).unwrap();
    assert_eq!(queue.wait().unwrap().complete().unwrap(), 5);
    assert_eq!(host_read(&mut queue, &buffered, 3, 5), [7; 5]);
    let read_only = File::open(&machine, SSD, Access::Read).unwrap().buffered().unwrap();
    let pair = queue.bind_host(&read_only).unwrap();
    assert!(matches!(queue.write(&pair, 0, memory.all()), Err(Error::Invalid(_))));
}
