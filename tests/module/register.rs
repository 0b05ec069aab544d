//! Memory that another driver exports: whose bytes arrive where, what is refused, and what is left when it ends.

use std::{
    fs::File,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    thread,
};

use p2pdma_sys::*;

use crate::{
    files::{Xfs, file_on_ext4},
    gpu::*,
    objects::*,
    ring::{Request, Ring},
};

const AREA: usize = 4 * MIB;

const SCATTERED: Layout = Layout { segment: 16 * KIB, gap: 4 * KIB, reverse: true };

const LAYOUTS: [Layout; 5] = [
    Layout { segment: 0, gap: 0, reverse: false },
    Layout { segment: 256 * KIB, gap: 64 * KIB, reverse: false },
    Layout { segment: 64 * KIB, gap: 0, reverse: true },
    SCATTERED,
    Layout { segment: 4 * KIB, gap: 4 * KIB, reverse: true },
];

/// The end of the file comes first, so that an offset taken for a position is found out.
fn requests(op: u32, length: usize) -> Vec<Request> {
    let request = |offset: usize| Request { op, offset, position: (AREA - length - offset) as u64, length };
    (0..AREA).step_by(length).map(request).collect()
}

/// One after another, or several at once; what each came to.
type Way = fn(&Pair, &[Request]) -> Vec<i32>;

const WAYS: [Way; 2] = [
    |pair, requests| Ring::new(pair).all(requests, 16),
    |pair, requests| requests.iter().map(|request| by_ioctl(pair, *request)).collect(),
];

fn by_ioctl(pair: &Pair, request: Request) -> i32 {
    let Request { op, offset, position, length } = request;
    match pair.io(op, offset, position, length) {
        Ok((length, 0)) => length as i32,
        Ok(buffered) => panic!("through the page cache: {buffered:?}"),
        Err(errno) => -errno,
    }
}

/// What the host wrote to storage the GPU sees, and nothing beside it; and what the GPU wrote the host reads.
fn both_directions(registered: &Registered, file: &File, way: Way, length: usize, seed: u64) {
    let pair = registered.buffer.bind(file).expect("a pair");
    let stored = pattern(seed, AREA);
    host_write(file, 0, &stored);
    registered.put(0, &pattern(seed + 1, AREA));
    let between = registered.between();
    let all = requests(P2PDMA_USER_READ, length);
    assert_eq!(way(&pair, &all), vec![length as i32; all.len()]);
    let seen = registered.see(0, AREA);
    for request in &all {
        let at = request.position as usize;
        assert!(seen[request.offset..][..length] == stored[at..][..length], "{request:?}");
    }
    assert!(registered.between() == between, "what lies between the runs is not the buffer's");

    let wanted = pattern(seed + 2, AREA);
    registered.put(0, &wanted);
    let all = requests(P2PDMA_USER_WRITE, length);
    assert_eq!(way(&pair, &all), vec![length as i32; all.len()]);
    let stored = host_read(file, 0, AREA);
    for request in &all {
        let at = request.position as usize;
        assert!(stored[at..][..length] == wanted[request.offset..][..length], "{request:?}");
    }
}

/// In each of the layouts, by both ways.
fn agree(file: &File) {
    agree_in(&LAYOUTS, file);
}

/// In runs of 16 KiB, each a page away from the next, the last one first.
pub(crate) fn agree_scattered(file: &File) {
    agree_in(&[SCATTERED], file);
}

fn agree_in(layouts: &[Layout], file: &File) {
    let gpu = StandIn::provided();
    let mut seed = 0;
    for layout in layouts {
        let registered = gpu.register(8 * MIB, AREA, *layout);
        for length in [4 * KIB, AREA / 16, AREA] {
            for way in WAYS {
                both_directions(&registered, file, way, length, seed);
                seed += 3;
            }
        }
    }
    eventually("the return of all memory", || held() == [0; 4]);
}

#[test]
fn a_gpus_memory_and_a_raw_device_exchange_their_bytes() {
    let _alone = alone();
    agree(&ssd());
}

#[test]
fn a_gpus_memory_and_a_file_on_ext4_exchange_their_bytes() {
    let _alone = alone();
    agree(&file_on_ext4("registered"));
}

#[test]
fn a_gpus_memory_and_a_file_on_xfs_exchange_their_bytes() {
    let _alone = alone();
    let mounted = Xfs::mount();
    agree(&mounted.file("registered"));
}

#[test]
#[ignore = "needs --topology iommu"]
fn behind_an_iommu_a_gpus_memory_and_a_raw_device_exchange_their_bytes() {
    let _alone = alone();
    let path = format!("/sys/bus/pci/devices/{}/iommu_group/type", variable("P2PDMA_GPU_ADDRESS"));
    assert!(std::fs::read_to_string(path).expect("an IOMMU").starts_with("DMA"), "it translates");
    agree(&ssd());
}

#[test]
fn the_ioctl_and_copies_go_over_runs_as_well() {
    let _alone = alone();
    let (gpu, file) = (StandIn::provided(), ssd());
    for layout in LAYOUTS {
        let registered = gpu.register(0, AREA, layout);
        let pair = registered.buffer.bind(&file).expect("a pair");
        host_write(&file, 8192, &pattern(11, MIB));
        assert_eq!(pair.io(P2PDMA_USER_READ, 4096, 8192, MIB), Ok((MIB as u32, 0)));
        assert!(registered.see(4096, MIB) == pattern(11, MIB), "{layout:?}");
        registered.put(0, &pattern(12, AREA));
        assert_eq!(pair.io(P2PDMA_USER_WRITE, 512, 0, MIB), Ok((MIB as u32, 0)));
        assert!(host_read(&file, 0, MIB) == pattern(12, AREA)[512..][..MIB], "{layout:?}");

        registered.buffer.write(4093, &pattern(13, 300 * KIB)).expect("copied");
        assert!(registered.see(4093, 300 * KIB) == pattern(13, 300 * KIB), "{layout:?}");
        assert!(registered.see(0, 4093) == pattern(12, AREA)[..4093], "{layout:?}");
        let copied = registered.buffer.read(1, AREA - 1).expect("copied");
        assert!(copied == registered.see(1, AREA - 1), "{layout:?}");
    }
}

/// Runs that lie behind one another are one run, so that nothing stands in the way of an unaligned address.
#[test]
fn an_unaligned_transfer_may_cross_entries_but_no_border_of_runs() {
    let _alone = alone();
    let (gpu, file) = (StandIn::provided(), ssd());
    host_write(&file, 0, &pattern(21, MIB));
    let read = |layout: Layout, offset: usize, length: usize| {
        let registered = gpu.register(0, AREA, layout);
        let pair = registered.buffer.bind(&file).expect("a pair");
        let by_ring = Request { op: P2PDMA_USER_READ, offset, position: 0, length };
        let by_ring = Ring::new(&pair).one(&by_ring.entry(0));
        let by_ioctl = pair.io(P2PDMA_USER_READ, offset, 0, length);
        assert_eq!(by_ioctl.map_or_else(|errno| -errno, |(length, _)| length as i32), by_ring);
        assert!(by_ring < 0 || registered.see(offset, length) == pattern(21, MIB)[..length]);
        by_ring
    };
    let entries = Layout { segment: 64 * KIB, ..Default::default() };
    let runs = Layout { gap: 64 * KIB, ..entries };
    let border = 64 * KIB - 4;
    assert_eq!(read(entries, border, 4096), 4096);
    assert_eq!(read(runs, border, 4096), -libc::EINVAL);
    assert_eq!(read(runs, border - 4096 + 4, 4096), 4096, "up to the border");
    assert_eq!(read(runs, border - 508, 128 * KIB), 128 << 10, "a whole block before the border");
    assert_eq!(read(runs, 4, 32 * KIB), 32 << 10, "within a run");
}

#[test]
fn a_scattered_transfer_that_is_unaligned_is_refused_on_a_file_system_too() {
    let _alone = alone();
    let (gpu, file) = (StandIn::provided(), file_on_ext4("unaligned"));
    let registered = gpu.register(0, AREA, Layout { segment: 64 * KIB, gap: 4 * KIB, reverse: false });
    let pair = registered.buffer.bind(&file).expect("a pair");
    for op in [P2PDMA_USER_READ, P2PDMA_USER_WRITE] {
        assert_eq!(pair.io(op, 64 * KIB - 4, 0, 8192), Err(libc::EINVAL));
        assert_eq!(pair.io(op, 64 * KIB - 512, 0, 8192), Ok((8192, 0)));
    }
}

// --- what is refused ---

/// Memory of the host behind a dma-buf; and the file that it is.
fn udmabuf() -> (File, OwnedFd) {
    #[repr(C)]
    struct Create {
        memfd: u32,
        flags: u32,
        offset: u64,
        size: u64,
    }
    // SAFETY: the name is a string; the file is ours.
    let memfd = unsafe { File::from_raw_fd(libc::memfd_create(c"host".as_ptr(), libc::MFD_ALLOW_SEALING)) };
    memfd.set_len(MIB as u64).expect("a length");
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::fcntl(memfd.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) }, 0);
    let create = Create { memfd: memfd.as_raw_fd() as u32, flags: 1, offset: 0, size: MIB as u64 };
    let node = File::options().read(true).write(true).open("/dev/udmabuf").expect("the kernel has udmabuf");
    // SAFETY: the structure lives during the call, which makes an fd for us.
    let fd = unsafe { libc::ioctl(node.as_raw_fd(), 0x4018_7542, &raw const create) };
    assert!(fd >= 0);
    // SAFETY: as above.
    (memfd, unsafe { OwnedFd::from_raw_fd(fd) })
}

fn refused(provider: p2pdma_user_address, dmabuf: &impl AsRawFd) -> i32 {
    let errno = register(provider, dmabuf).unwrap_err();
    assert_eq!(held(), [0; 4]);
    errno
}

#[test]
fn register_refuses_by_its_table() {
    let _alone = alone();
    let mut gpu = StandIn::new();
    let dmabuf = gpu.export(0, MIB).expect("a dma-buf");
    assert_eq!(refused(device("GPU"), &dmabuf), libc::ENXIO, "the BAR has no pages");
    provide().expect("provided");
    let nowhere = p2pdma_user_address { domain: 0xffff_fff0, ..device("GPU") };
    assert_eq!(refused(device("GPU"), &-1), libc::EBADF);
    assert_eq!(refused(device("GPU"), &ssd()), libc::EINVAL, "no dma-buf");
    assert_eq!(refused(nowhere, &dmabuf), libc::ENODEV);
    assert_eq!(refused(device("SSD"), &dmabuf), libc::ENXIO, "another device's, which has no pages");
    assert_eq!(refused(device("CMB"), &dmabuf), libc::EXDEV, "another provider's");
    assert_eq!(refused(device("GPU"), &udmabuf().1), libc::EXDEV, "the host's");
    gpu.unbind();
    assert_eq!(refused(device("GPU"), &dmabuf), libc::ENODEV, "no driver");
    gpu.rebind();
}

#[test]
fn memory_that_moves_though_it_is_pinned_is_used_no_more() {
    let _alone = alone();
    let gpu = StandIn::provided();
    for dynamic in [0, 1] {
        let _parameter = Parameter::set("dynamic", dynamic);
        let dmabuf = gpu.export(0, MIB).expect("a dma-buf");
        let buffer = register(device("GPU"), &dmabuf).expect("a buffer");
        let pair = buffer.bind(&ssd()).expect("a pair");
        let read = Request { op: P2PDMA_USER_READ, offset: 0, position: 0, length: 4096 };
        assert_eq!(pair.io(read.op, 0, 0, 4096), Ok((4096, 0)));
        gpu.announce_move(&dmabuf);
        assert_eq!(pair.io(read.op, 0, 0, 4096), Err(libc::ENODEV));
        assert_eq!(Ring::new(&pair).one(&read.entry(0)), -libc::ENODEV);
        assert_eq!(buffer.read(0, 4096).unwrap_err(), libc::ENODEV);
        assert_eq!(buffer.write(0, &[1]).unwrap_err(), libc::ENODEV);
        register(device("GPU"), &dmabuf).expect("where it is now");
        drop((pair, buffer));
        eventually("the return of all memory", || held() == [0; 4]);
    }
}

#[test]
fn what_the_exporter_does_not_give_is_not_taken() {
    let _alone = alone();
    let gpu = StandIn::provided();
    let answer = |names: &[&'static str]| {
        let _parameters: Vec<_> = names.iter().map(|name| Parameter::set(name, 1)).collect();
        let dmabuf = gpu.export(0, MIB).expect("a dma-buf");
        refused(device("GPU"), &dmabuf)
    };
    assert_eq!(answer(&["dynamic", "refuse_pin"]), libc::EBUSY);
    assert_eq!(answer(&["dynamic", "move"]), libc::EXDEV, "it went to the host when pinned");
    assert_eq!(answer(&["dynamic", "fail_map"]), libc::ENOMEM);
    assert_eq!(answer(&["fail_map"]), libc::ENOMEM);
    assert_eq!(answer(&["unaligned"]), libc::EXDEV);
}

// --- how long it lives ---

#[test]
fn a_buffer_keeps_what_it_needs_and_no_longer() {
    let _alone = alone();
    let gpu = StandIn::provided();
    for dynamic in [0, 1] {
        let _parameter = Parameter::set("dynamic", dynamic);
        let registered = gpu.register(MIB, MIB, Layout::default());
        assert_eq!(held(), [1, dynamic, 1, 0]);
        assert_eq!((stats().out_buffers, stats().out_bytes), (1, MIB as u64));
        registered.put(0, &[7]);
        assert_eq!(registered.buffer.read(0, 1), Ok(vec![7]), "the content is left as it is");
        let pair = registered.buffer.bind(&ssd()).expect("a pair");
        drop(registered);
        assert_eq!(held(), [1, dynamic, 1, 0]);
        assert_eq!(pair.io(P2PDMA_USER_READ, 0, 0, MIB), Ok((MIB as u32, 0)));
        drop(pair);
        assert_eq!(held(), [0; 4]);
    }
}

#[test]
fn a_driver_that_goes_in_flight_finds_nothing_of_ours_left() {
    let _alone = alone();
    let (mut gpu, file) = (StandIn::provided(), ssd());
    for dynamic in [0, 1, 0, 1] {
        let _parameter = Parameter::set("dynamic", dynamic);
        let layout = Layout { segment: 64 * KIB, gap: 0, reverse: true };
        let registered = gpu.register(0, 32 * MIB, layout);
        let pair = registered.buffer.bind(&file).expect("a pair");
        let mut ring = Ring::new(&pair);
        let read = |index: usize| Request { op: P2PDMA_USER_READ, offset: index << 19, position: 0, length: 512 * KIB };
        (0..64).for_each(|index| ring.push(&read(index).entry(index as u64)));
        ring.submit();
        let results: Vec<i32> = thread::scope(|scope| {
            scope.spawn(|| gpu.unbind());
            (0..64).map(|_| ring.wait().1).collect()
        });
        assert!(results.iter().all(|&result| result == 512 << 10 || result == -libc::ENODEV), "{results:?}");
        assert_eq!(held(), [0; 4]);
        assert_eq!(stats().out_in_flight, 0);
        assert_eq!(pair.io(P2PDMA_USER_READ, 0, 0, MIB), Err(libc::ENODEV));
        assert_eq!(registered.buffer.read(0, 1), Err(libc::ENODEV));
        assert_eq!(registered.buffer.bind(&file).unwrap_err(), libc::ENODEV);
        assert_eq!(gpu.export(0, MIB).unwrap_err(), libc::ENODEV, "the node that was open");
        gpu.rebind();
        assert_eq!(registered.buffer.read(0, 1), Err(libc::ENODEV), "for good");
        provide().expect("provided again");
    }
}
