//! The module's way: memory without an address, and what only it can tell.

use std::{
    fs, io,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use p2pdma::{
    Error,
    machine::{
        Access, Machine, Mock,
        mock::{Cpu, Fault, Function},
        module::Stats,
    },
    memory::{Arena, Copier, Hooks, HostMemory, PeerMemory, Provider},
    storage::File,
    transfer::Evidence,
};

use crate::{SSD, address, contents, host_read, queue, switch};

const GPU: &str = "0000:05:00.0";

fn buffer(machine: &Machine, length: usize) -> PeerMemory {
    Provider::find(machine, address(GPU)).and_then(|gpu| gpu.allocate_buffer(length)).expect("a buffer")
}

fn stats(machine: &Machine) -> Stats {
    machine.module().expect("the module").stats().expect("numbers")
}

#[test]
fn both_ways_move_the_same_bytes_with_the_same_calls() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::ReadWrite).unwrap();
    let provider = Provider::find(&machine, address(GPU)).unwrap();
    let expected = host_read(&mut queue(&machine), &file, 4096, 65_536);
    for memory in [provider.allocate(1 << 20).unwrap(), provider.allocate_buffer(1 << 20).unwrap()] {
        let mut queue = queue(&machine);
        let pair = queue.bind(&file, &memory).unwrap();
        assert_eq!((pair.memory_alignment(), pair.offset_alignment()), (4, 512));
        queue.read(&pair, 4096, memory.slice(12..65_548).unwrap()).unwrap();
        assert_eq!(queue.wait().unwrap().bytes_direct(), 65_536);
        assert!(contents(&memory)[12..65_548] == expected);
        Copier::new().unwrap().write(&[7; 4096], &memory.slice(4..).unwrap()).unwrap();
        queue.write(&pair, 0, memory.slice(4..4100).unwrap()).unwrap();
        assert_eq!(queue.wait().unwrap().complete().unwrap(), 4096);
        assert_eq!(host_read(&mut queue, &file, 0, 4096), [7; 4096]);
    }
    assert_eq!(stats(&machine), Stats::default());
}

#[test]
fn what_the_module_saw_is_observed_and_what_went_through_the_page_cache_is_no_direct_byte() {
    let mut mock = Mock::one_switch(Cpu::AmdZen).unwrap();
    mock.fault(1, Fault::Buffered);
    let machine = Machine::mock(mock);
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = buffer(&machine, 4096);
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    let mut read = || {
        queue.read(&pair, 0, memory.all()).unwrap();
        queue.wait().unwrap()
    };
    let [direct, bounced] = [read(), read()];
    assert_eq!((direct.bytes_direct(), direct.bytes_bounced(), direct.evidence()), (4096, 0, Evidence::Observed));
    assert_eq!((bounced.bytes_direct(), bounced.bytes_bounced(), bounced.bytes_host()), (0, 4096, 0));
    assert_eq!((bounced.bytes(), bounced.is_short()), (4096, false));
    let refused = bounced.complete().unwrap_err();
    assert!(matches!(refused, Error::NoDirectIo(_)) && refused.to_string().contains("page cache"), "{refused}");
}

#[test]
fn a_pair_is_one_buffers_and_serves_all_parts_of_an_arena() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let (arena, other) = (Arena::of(buffer(&machine, 65_536)), buffer(&machine, 4096));
    let (first, second) = (arena.allocate(4096, 4096).unwrap(), arena.allocate(512, 4).unwrap());
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &first).unwrap();
    queue.read(&pair, 0, second.all()).unwrap();
    assert_eq!(queue.wait().unwrap().complete().unwrap(), 512);
    assert_eq!(contents(&second), host_read(&mut queue, &file, 0, 512));
    assert!(matches!(queue.read(&pair, 0, other.all()), Err(Error::Invalid(_))));
    assert!(matches!(queue.read(&pair, 0, HostMemory::allocate(512).unwrap().all()), Err(Error::Invalid(_))));
    let again = queue.bind(&file, &second).unwrap();
    queue.unbind(pair).unwrap();
    queue.read(&again, 0, second.all()).unwrap();
    assert_eq!(queue.wait().unwrap().complete().unwrap(), 512, "the other pair of the same buffer stays");
}

#[test]
fn operations_keep_buffer_pair_and_file_until_they_end() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = buffer(&machine, 4096);
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    queue.read(&pair, 0, memory.all()).unwrap();
    queue.submit().unwrap();
    queue.unbind(pair).unwrap();
    drop((memory, file));
    let held = stats(&machine);
    assert_eq!((held.buffers, held.pairs, held.in_flight), (1, 1, 1));
    assert_eq!(queue.wait().unwrap().complete().unwrap(), 4096);
    assert_eq!(stats(&machine), Stats::default());
}

#[test]
fn a_route_that_the_kernel_has_not_is_refused_with_every_word_of_the_verdict() {
    let machine = Machine::mock(Mock::root_ports(Cpu::IntelUnlisted).unwrap());
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = Provider::find(&machine, address("0000:02:00.0")).unwrap().allocate_buffer(4096).unwrap();
    let refused = queue(&machine).bind(&file, &memory).unwrap_err();
    assert!(matches!(refused, Error::NoRoute(_)) && refused.to_string().contains("host bridge 8086:29c0"), "{refused}");
    let buffered = File::open(&machine, SSD, Access::Read).unwrap().buffered().unwrap();
    let refused = queue(&machine).bind(&buffered, &memory).unwrap_err();
    assert!(matches!(refused, Error::NoDirectIo(_) | Error::NoRoute(_)), "{refused}");
}

#[test]
fn without_the_module_there_are_no_buffers_and_mapped_memory_as_ever() {
    for (errno, cure) in [(2, "modprobe p2pdma_user"), (13, "`chgrp GROUP /dev/p2pdma_user")] {
        let mut mock = Mock::one_switch(Cpu::AmdZen).unwrap();
        mock.without_module(errno);
        let provider = Provider::find(&Machine::mock(mock), address(GPU)).unwrap();
        let refused = provider.allocate_buffer(4096).unwrap_err();
        assert!(matches!(refused, Error::NotAllowed(_)) && refused.to_string().contains(cure), "{refused}");
        assert!(provider.allocate(4096).is_ok());
    }
}

/// A GPU with its own driver, one that has given its memory to p2pdma, and 1 MiB of it exported.
fn gpu() -> (Machine, Provider, fs::File) {
    let mut mock = Mock::one_switch(Cpu::AmdZen).expect("a mock GPU");
    let gpu = address(GPU);
    let port = Some(address("0000:02:02.0"));
    mock.function(&Function { driver: Some("nvidia".into()), ..Function::provider(gpu, port, 64 << 20) });
    let dmabuf = mock.export(gpu, 1 << 20).expect("a mock GPU").into();
    let machine = Machine::mock(mock);
    let provider = Provider::find(&machine, gpu).expect("a mock GPU");
    (machine, provider, dmabuf)
}

#[test]
fn what_a_foreign_driver_exports_is_registered_as_it_is_and_its_pool_is_left_alone() {
    let (machine, gpu, dmabuf) = gpu();
    for refused in [gpu.allocate(4096), gpu.allocate_buffer(4096)].map(Result::unwrap_err) {
        assert!(matches!(refused, Error::ForeignProvider(_)) && refused.to_string().contains("nvidia"), "{refused}");
    }
    dmabuf.write_all_at(&[3; 4096], 8192).unwrap();
    let memory = gpu.register(&dmabuf, Hooks::new()).unwrap();
    assert_eq!((memory.len(), &contents(&memory)[8192..12_288]), (1 << 20, &[3; 4096][..]), "nobody cleared it");
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    queue.read(&pair, 512, memory.slice(..4096).unwrap()).unwrap();
    assert_eq!(queue.wait().unwrap().bytes_direct(), 4096);
    let mut seen = vec![0; 4096];
    dmabuf.read_exact_at(&mut seen, 0).unwrap();
    assert_eq!(seen, host_read(&mut queue, &file, 512, 4096), "what the GPU itself sees");
    memory.flush().unwrap();
}

#[test]
fn what_is_no_dma_buf_of_this_device_is_refused_by_name() {
    let (machine, gpu, dmabuf) = gpu();
    let no_dmabuf = gpu.register(fs::File::open("/dev/null").unwrap(), Hooks::new()).unwrap_err();
    assert!(matches!(no_dmabuf, Error::Invalid(_)) && no_dmabuf.to_string().contains("no dma-buf"), "{no_dmabuf}");
    let module = machine.module().unwrap();
    let errno = |at: &str| module.register(address(at), &dmabuf).unwrap_err().source.raw_os_error();
    assert_eq!(errno("0000:03:00.0"), Some(libc::ENXIO), "it has given no memory to p2pdma");
    assert_eq!(errno("0000:99:00.0"), Some(libc::ENODEV));
}

#[test]
fn a_vendors_copies_and_flush_are_used_and_their_failures_told() {
    let (_machine, gpu, dmabuf) = gpu();
    let calls = Arc::new(AtomicU32::new(0));
    let count = || {
        let calls = Arc::clone(&calls);
        move || calls.fetch_add(1, Ordering::Relaxed)
    };
    let (wrote, read, flushed) = (count(), count(), count());
    let view = dmabuf.try_clone().unwrap();
    let device = dmabuf.try_clone().unwrap();
    let hooks = Hooks::new()
        .copy(
            move |offset, from| {
                wrote();
                device.write_all_at(from, offset as u64)
            },
            move |_, _| {
                read();
                Err(io::Error::from_raw_os_error(libc::EIO))
            },
        )
        .flush(move || {
            flushed();
            Ok(())
        });
    let memory = gpu.register(&dmabuf, hooks).unwrap();
    let mut copier = Copier::new().unwrap();
    let host = HostMemory::allocate(100_000).unwrap();
    host.all().write(&[9; 100_000]).unwrap();
    copier.to_peer(&host.all(), &memory.slice(5..).unwrap()).unwrap();
    let mut seen = vec![0; 100_000];
    view.read_exact_at(&mut seen, 5).unwrap();
    assert_eq!(seen, [9; 100_000]);
    assert!(matches!(copier.read(&memory.all(), &mut [0]), Err(Error::Io { .. })));
    memory.flush().unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 4, "two steps in, one out, one flush");
}

#[test]
fn a_copy_between_host_memory_and_a_buffer_is_whole_at_any_byte() {
    let machine = switch();
    let memory = buffer(&machine, 1 << 20);
    let (from, to) = (HostMemory::allocate(200_001).unwrap(), HostMemory::allocate(200_001).unwrap());
    let data: Vec<u8> = (0..200_001_u32).map(|index| (index % 251) as u8).collect();
    from.all().write(&data).unwrap();
    let copier = Copier::new().unwrap();
    copier.to_peer(&from.all(), &memory.slice(4093..).unwrap()).unwrap();
    copier.to_host(&memory.slice(4093..204_094).unwrap(), &to.all()).unwrap();
    let mut back = vec![0; data.len()];
    to.all().read(&mut back).unwrap();
    assert!(back == data);
    assert!(copier.to_peer(&from.all(), &memory.slice((1 << 20) - 200_000..).unwrap()).is_err(), "one byte too long");
}
