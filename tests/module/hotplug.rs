//! Devices and the module itself going away: removed by sysfs, unplugged, unloaded; with I/O under way and with mappings left.

use std::{
    cell::Cell,
    fs::{self, File, OpenOptions},
    io::Error,
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::Path,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use p2pdma_sys::*;

use crate::{
    gpu::{Layout, StandIn, held},
    handles::status_of,
    life::{ALL, fly, land},
    objects::*,
    provide::Events,
    ring::Ring,
};

const MODULE: &str = "/sys/module/p2pdma_user";

fn sysfs(address: &str, file: &str) -> String {
    format!("/sys/bus/pci/devices/{address}/{file}")
}

fn write(path: &str, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{text} to {path}: {error}"));
}

/// A PCI device that is no more; found again on drop.
struct Removed {
    address: String,
    is_provider: bool,
}

impl Removed {
    fn new(role: &str) -> Self {
        let address = variable(&format!("P2PDMA_{role}_ADDRESS"));
        write(&sysfs(&address, "remove"), "1");
        Self { address, is_provider: role == "GPU" }
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        if self.is_provider {
            write("/sys/bus/pci/rescan", "1");
            donate(&self.address);
        } else {
            rescan_for_ssd(&self.address);
        }
    }
}

/// Gives the GPU's BAR to p2pdma, as its first user had. A device shows before its driver may bind.
fn donate(address: &str) {
    write(&sysfs(address, "driver_override"), "p2pdma_user");
    eventually("the donor", || {
        write("/sys/bus/pci/drivers_probe", address);
        Path::new(&sysfs(address, "p2pmem/allocate")).exists()
    });
}

/// Its name is in use as long as anybody has the old one open, be it a ring that is going away: then it has another name, and
/// goes once more.
fn rescan_for_ssd(address: &str) {
    let wanted = variable("P2PDMA_SSD");
    eventually("the SSD's return", || {
        write("/sys/bus/pci/rescan", "1");
        eventually("a namespace", || namespace(address).is_some());
        let is_it = namespace(address).is_some_and(|name| wanted == format!("/dev/{name}"));
        if !is_it {
            write(&sysfs(address, "remove"), "1");
        }
        is_it
    });
    eventually("its node", || File::open(&wanted).is_ok());
}

/// What an NVMe controller calls its namespace: `nvme0n1`, or `nvme0n2` while the old one is not forgotten.
fn namespace(address: &str) -> Option<String> {
    let controller = fs::read_dir(sysfs(address, "nvme")).ok()?.next()?.ok()?;
    let mut names =
        fs::read_dir(controller.path()).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.find(|name| name.strip_prefix("nvme").is_some_and(|rest| rest.contains('n') && !rest.contains('c')))
}

/// Flies 64 reads, lets `remove` take a device away meanwhile, and gives the results.
fn meanwhile<T: Send>(buffer: &Buffer, remove: impl FnOnce() -> T + Send) -> (Pair, Vec<i32>, T) {
    let pair = buffer.bind(&ssd()).expect("a pair");
    let mut ring = Ring::new(&pair);
    fly(&mut ring);
    let (results, removed) = thread::scope(|scope| {
        let removing = scope.spawn(remove);
        (land(&mut ring), removing.join().expect("it ended"))
    });
    assert_eq!(stats().out_in_flight, 0);
    (pair, results, removed)
}

fn assert_each_is(results: &[i32], errors: &[i32]) {
    let fits = |result: &i32| *result == 512 << 10 || errors.contains(&-result);
    assert!(results.len() == ALL && results.iter().all(fits), "{results:?}");
}

#[test]
fn a_provider_removed_while_operations_fly_leaves_objects_that_say_so() {
    let _alone = alone();
    for _ in 0..3 {
        let buffer = Buffer::of_gpu(32 * MIB);
        let (pair, results, removed) = meanwhile(&buffer, || Removed::new("GPU"));
        assert_each_is(&results, &[libc::ENODEV]);
        assert_eq!(buffer.read(0, 1), Err(libc::ENODEV));
        assert_eq!(pair.io(P2PDMA_USER_READ, 0, 0, 4096), Err(libc::ENODEV));
        assert_eq!(Buffer::of(device("GPU"), 4096).unwrap_err(), libc::ENODEV);
        drop(removed);
        assert_eq!(buffer.read(0, 1), Err(libc::ENODEV), "it is another device now");
        Buffer::of_gpu(64 * MIB);
    }
}

/// One that root made a provider for its own driver, which finds nothing of ours left.
#[test]
fn a_provided_device_removed_while_operations_fly_leaves_objects_that_say_so() {
    let _alone = alone();
    for _ in 0..3 {
        let (gpu, events) = (StandIn::provided(), Events::new());
        let buffer = gpu.register(0, 32 * MIB, Layout { segment: 64 * KIB, gap: 4 * KIB, reverse: true }).buffer;
        let (pair, results, removed) = meanwhile(&buffer, || Removed::new("GPU"));
        assert_each_is(&results, &[libc::ENODEV]);
        assert_eq!((events.values(), held()), (vec!["none".to_owned()], [0; 4]));
        assert_eq!(buffer.read(0, 1), Err(libc::ENODEV));
        assert_eq!(pair.io(P2PDMA_USER_READ, 0, 0, 4096), Err(libc::ENODEV));
        drop((pair, buffer));
        eventually("the end of all objects", || stats() == nothing());
        drop(removed);
        drop(gpu);
        Buffer::of_gpu(64 * MIB);
    }
}

#[test]
fn an_ssd_removed_while_operations_fly_ends_them() {
    let _alone = alone();
    for _ in 0..3 {
        let buffer = Buffer::of_gpu(32 * MIB);
        let (pair, results, removed) = meanwhile(&buffer, || Removed::new("SSD"));
        assert_each_is(&results, &[libc::EIO, libc::ENODEV, libc::ENXIO]);
        let after = pair.io(P2PDMA_USER_READ, 0, 0, 4096);
        assert!(matches!(after, Err(libc::EIO | libc::ENODEV | libc::ENXIO) | Ok((0, 0))), "{after:?}");
        buffer.write(0, &[1]).expect("the memory is still there");
        drop((buffer, pair));
        drop(removed);
        let buffer = Buffer::of_gpu(4096);
        assert_eq!(buffer.bind(&ssd()).expect("a pair").io(P2PDMA_USER_READ, 0, 0, 4096), Ok((4096, 0)));
    }
}

fn monitor(command: &str) {
    let mut port = OpenOptions::new().write(true).open(variable("P2PDMA_MONITOR")).expect("the monitor");
    std::io::Write::write_all(&mut port, format!("{command}\n").as_bytes()).expect("a command");
}

/// Whether the slot of a device has a card, as its port sees it.
fn slot_is_full(address: &str) -> bool {
    let of_device =
        |slot: &Path| fs::read_to_string(slot.join("address")).is_ok_and(|text| address.starts_with(text.trim()));
    let mut slots = fs::read_dir("/sys/bus/pci/slots").expect("slots").flatten().map(|slot| slot.path());
    let slot = slots.find(|slot| of_device(slot)).expect("the slot");
    fs::read_to_string(slot.join("adapter")).is_ok_and(|text| text.trim() == "1")
}

/// What QEMU calls the card: as the topology does, or as one of those that were plugged in since.
static CARDS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn pull_out() {
    monitor("device_del gpu0");
    CARDS.lock().expect("no panic").drain(..).for_each(|card| monitor(&format!("device_del {card}")));
}

/// The port is the one that tests/vm/topologies/switch gave the old card. A second attempt, should QEMU still refuse the first,
/// only while there is no card, or it would press the slot's button again; and with memory of its own, since QEMU dies of the
/// same memory plugged in twice.
fn plug_in(address: &str) {
    static TRIES: AtomicUsize = AtomicUsize::new(0);
    eventually("the old card's end", || !slot_is_full(address));
    let next = Cell::new(Instant::now());
    eventually("the plugging in", || {
        if Instant::now() >= next.get() {
            let name = format!("new{}", TRIES.fetch_add(1, Ordering::Relaxed));
            monitor(&format!("object_add memory-backend-ram,id={name}-memory,size=64M,share=on"));
            monitor(&format!("device_add ivshmem-plain,id={name},memdev={name}-memory,bus=switch-port2"));
            CARDS.lock().expect("no panic").push(name);
            next.set(Instant::now() + Duration::from_secs(1));
        }
        slot_is_full(address)
    });
}

/// As pulling the card: QEMU presses the slot's button, the kernel waits five seconds, then powers it off.
fn unplug_while_operations_fly(buffer: Buffer) {
    let address = variable("P2PDMA_GPU_ADDRESS");
    let there = || Path::new(&sysfs(&address, "config")).exists();
    let (pair, events) = (buffer.bind(&ssd()).expect("a pair"), Events::new());
    let mut ring = Ring::new(&pair);
    pull_out();
    while there() {
        fly(&mut ring);
        assert_each_is(&land(&mut ring), &[libc::ENODEV]);
    }
    assert_eq!(pair.io(P2PDMA_USER_READ, 0, 0, 4096), Err(libc::ENODEV));
    assert_eq!((stats().out_in_flight, events.values()), (0, vec!["none".to_owned()]));
    plug_in(&address);
    eventually("the device", there);
    donate(&address);
    assert_eq!(buffer.read(0, 1), Err(libc::ENODEV), "it is another device now");
    Buffer::of_gpu(64 * MIB);
}

#[test]
fn a_provider_unplugged_while_operations_fly_leaves_objects_that_say_so() {
    let _alone = alone();
    unplug_while_operations_fly(Buffer::of_gpu(32 * MIB));
}

#[test]
fn a_provider_unplugged_while_operations_fly_finds_nothing_of_ours_left_though_another_driver_has_it() {
    let _alone = alone();
    let gpu = StandIn::provided();
    unplug_while_operations_fly(gpu.register(0, 32 * MIB, Layout::default()).buffer);
    assert_eq!(held(), [0; 4]);
}

// --- the module ---

fn unload() -> Result<(), i32> {
    // SAFETY: a name that lives.
    let result = unsafe { libc::syscall(libc::SYS_delete_module, c"p2pdma_user".as_ptr(), libc::O_NONBLOCK) };
    if result == 0 { Ok(()) } else { Err(Error::last_os_error().raw_os_error().expect("an errno")) }
}

/// Loads the module again, which finds the GPU by its driver_override.
fn load() {
    let path = format!("{}/p2pdma_user.ko", variable("P2PDMA_MODULES"));
    assert!(Command::new("insmod").arg(path).status().expect("insmod").success());
    eventually("the node", || File::open(NODE).is_ok());
    assert!(Path::new(&sysfs(&variable("P2PDMA_GPU_ADDRESS"), "p2pmem/allocate")).exists());
}

/// The kernel's word for a module in use is EWOULDBLOCK; rmmod says "in use".
#[test]
fn the_module_stays_while_anybody_has_an_fd_of_it() {
    let _alone = alone();
    let node = node();
    assert_eq!(unload(), Err(libc::EWOULDBLOCK), "a node is open");
    let buffer = Buffer::of_gpu(MIB);
    drop(node);
    assert_eq!(unload(), Err(libc::EWOULDBLOCK), "a buffer is open");
    let pair = buffer.bind(&ssd()).expect("a pair");
    drop(buffer);
    assert_eq!(unload(), Err(libc::EWOULDBLOCK), "a pair is open");
    let mut ring = Ring::new(&pair);
    drop(pair);
    assert_eq!(unload(), Err(libc::EWOULDBLOCK), "a ring has a pair");
    assert_eq!(ring.one(&crate::ring::command(0, 0, Default::default())), -libc::EOPNOTSUPP);
}

/// A page of `p2pmem/allocate`.
struct Mapping(*mut u8);

impl Mapping {
    fn new() -> Self {
        let path = sysfs(&variable("P2PDMA_GPU_ADDRESS"), "p2pmem/allocate");
        let file =
            OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path).expect("allocate");
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping of one page, which outlives the file.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        assert_ne!(page, libc::MAP_FAILED);
        Self(page.cast())
    }

    fn touch(&self) {
        // SAFETY: mapped; if the memory is gone, the process dies of it, which is what is looked at.
        unsafe { self.0.write_volatile(1) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`; nobody else has its address.
        unsafe { libc::munmap(self.0.cast(), 4096) };
    }
}

#[test]
fn udev_hears_that_the_module_goes_and_comes() {
    let _alone = alone();
    let events = Events::new();
    eventually("the end of earlier uses", || unload() == Ok(()));
    assert_eq!(events.values(), ["none"]);
    load();
    assert_eq!(events.values(), ["provider"]);
}

#[test]
fn the_module_goes_when_only_a_mapping_is_left_which_then_faults() {
    let _alone = alone();
    let uses = || fs::read_to_string(format!("{MODULE}/refcnt")).expect("a count").trim().to_owned();
    eventually("the end of earlier uses", || uses() == "0");
    let mapping = Mapping::new();
    mapping.touch();
    assert_eq!(status_of(|| ()), 0);
    assert_eq!(unload(), Ok(()));
    assert!(!Path::new(MODULE).exists() && !Path::new(NODE).exists());
    let status = status_of(|| mapping.touch());
    load();
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGBUS, "{status:#x}");
    Buffer::of_gpu(64 * MIB);
}
