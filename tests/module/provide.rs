//! `provide`: root makes a device of another driver a provider.

use std::{
    fs,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    os::unix::{fs::MetadataExt, process::CommandExt},
    process::Command,
};

use p2pdma_sys::*;

use crate::{gpu::*, log::Log, objects::*};

fn p2pmem(name: &str) -> Option<String> {
    let path = format!("/sys/bus/pci/devices/{}/p2pmem/{name}", variable("P2PDMA_GPU_ADDRESS"));
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn is_there(name: &str) -> bool {
    fs::exists(format!("/sys/bus/pci/devices/{}/p2pmem/{name}", variable("P2PDMA_GPU_ADDRESS"))).expect("sysfs")
}

#[test]
fn what_is_provided_is_there_for_nobody_else() {
    let _alone = alone();
    let mut gpu = StandIn::new();
    assert!(!is_there("size"));
    provide().expect("provided");
    assert_eq!(p2pmem("size"), Some((64 * MIB).to_string()));
    assert_eq!(p2pmem("available"), Some("0".to_owned()));
    assert_eq!(p2pmem("published"), Some("0".to_owned()));
    assert!(!is_there("allocate"));
    assert_eq!(Buffer::of(device("GPU"), 4096).unwrap_err(), libc::EACCES);
    gpu.unbind();
    assert!(!is_there("size"));
    gpu.rebind();
    provide().expect("the next driver's");
}

#[test]
fn provide_refuses_what_it_would_break() {
    let _alone = alone();
    let address = variable("P2PDMA_GPU_ADDRESS");
    assert_eq!(provide(), Err(libc::EINVAL), "the donor has given it already");
    let mut gpu = StandIn::new();
    for (text, errno) in [
        ("", libc::EINVAL),
        ("nonsense", libc::EINVAL),
        ("0000:00:20.0", libc::EINVAL),
        ("fffffff0:00:00.0", libc::ENODEV),
        (&format!("{address} x"), libc::EINVAL),
        (&format!("{address} "), libc::EINVAL),
        (&format!("{address}y"), libc::EINVAL),
        (&format!("{address}\n2"), libc::EINVAL),
        (&format!("{address} 2 3"), libc::EINVAL),
        (&format!("{address} 99999999999"), libc::EINVAL),
        (&address[..address.len() - 1], libc::EINVAL),
        (&"9".repeat(4000), libc::EINVAL),
        (&format!("{address} {}", "2".repeat(4000)), libc::EINVAL),
        (&format!("{address} 6"), libc::EINVAL),
        (&format!("{address} 0"), libc::EINVAL),
        (&format!("{address} 5"), libc::EINVAL),
    ] {
        // An empty write does not get as far as the attribute.
        assert!(text.is_empty() || attribute("provide", text) == Err(errno), "{text}");
    }
    gpu.unbind();
    assert_eq!(provide(), Err(libc::ENODEV), "no driver");
    gpu.rebind();
    attribute("provide", &format!("{address} 2\n")).expect("provided");
    assert_eq!(provide(), Err(libc::EEXIST));
}

#[test]
fn the_switches_are_roots_alone() {
    for (name, mode) in [("provide", 0o200), ("refresh", 0o200), ("stack", 0o600)] {
        let path = format!("/sys/bus/pci/drivers/{DRIVER}/{name}");
        let metadata = fs::metadata(&path).expect("the attribute");
        assert_eq!((metadata.mode() & 0o777, metadata.uid()), (mode, 0), "{name}");
        let script = format!("echo 1 >{path}");
        let status = Command::new("/bin/sh").args(["-c", &script]).uid(1000).gid(1000).status().expect("a shell");
        assert!(!status.success(), "{name}");
    }
}

#[test]
fn refresh_takes_a_1_and_nothing_else() {
    for text in ["0", "11", "1 1", "x", "\n", &"1".repeat(4000)] {
        assert_eq!(attribute("refresh", text), Err(libc::EINVAL), "{text}");
    }
    attribute("refresh", "1\n").expect("refreshed");
}

/// Refused, and the log says so in these words.
pub(crate) fn refused_in_words(text: &str, words: &str) {
    let mut log = Log::open();
    assert_eq!(attribute("provide", text), Err(libc::EINVAL), "{text}");
    let log = log.read();
    assert!(log.iter().any(|line| line.contains(words)), "{text}: {log:?}");
}

/// Whatever BARs a device has, or none.
#[test]
fn a_device_without_a_bar_to_give_is_named_in_the_log() {
    let _alone = alone();
    refused_in_words(&variable("P2PDMA_SSD_ADDRESS"), "it has no BAR that can be given; choose another device");
}

#[test]
fn a_pool_that_a_driver_made_itself_stays_the_drivers() {
    let _alone = alone();
    let mut gpu = StandIn::new();
    let _parameter = Parameter::set("own_pool", 1);
    gpu.unbind();
    gpu.rebind();
    let address = variable("P2PDMA_GPU_ADDRESS");
    for text in [address.clone(), format!("{address} 2")] {
        refused_in_words(&text, "another driver has made pages for it; REGISTER may work as it is");
    }
    drop(gpu.register(0, MIB, Layout::default()));
    assert!(is_there("allocate"));
    assert_eq!(p2pmem("available"), Some((64 * MIB).to_string()));
}

fn module(command: &str, argument: &str) {
    assert!(Command::new(command).arg(argument).status().expect(command).success(), "{command}");
}

pub(crate) fn unload() {
    eventually("the end of all uses", || {
        fs::read_to_string("/sys/module/p2pdma_user/refcnt").expect("a count").trim() == "0"
    });
    module("rmmod", "p2pdma_user");
}

pub(crate) fn load() {
    module("insmod", &format!("{}/p2pdma_user.ko", variable("P2PDMA_MODULES")));
}

#[test]
fn a_module_that_comes_back_finds_the_pages_and_claims_them_again() {
    let _alone = alone();
    let (mut gpu, events) = (StandIn::provided(), Events::new());
    drop(gpu.register(0, MIB, Layout::default()));
    unload();
    assert_eq!(events.values(), ["none"]);
    assert_eq!(p2pmem("available"), Some((64 * MIB).to_string()), "given back");
    assert!(!is_there("allocate"));
    load();
    let dmabuf = gpu.export(0, MIB).expect("a dma-buf");
    register(device("GPU"), &dmabuf).expect("the pages are there");
    assert!(events.values().is_empty(), "it is no provider yet");
    provide().expect("claimed again");
    assert_eq!(events.values(), ["provider"]);
    assert_eq!(p2pmem("available"), Some("0".to_owned()));
    drop(gpu.register(0, MIB, Layout::default()));
    gpu.unbind();
    assert!(!is_there("size"));
    gpu.rebind();
}

/// What the kernel tells udev.
pub(crate) struct Events(OwnedFd);

impl Events {
    pub(crate) fn new() -> Self {
        // SAFETY: an address that lives during the call; the socket is ours.
        unsafe {
            let flags = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            let socket = libc::socket(libc::AF_NETLINK, flags, libc::NETLINK_KOBJECT_UEVENT);
            assert!(socket >= 0);
            let mut address = std::mem::zeroed::<libc::sockaddr_nl>();
            address.nl_family = libc::AF_NETLINK as u16;
            address.nl_groups = 1;
            let size = size::<libc::sockaddr_nl>();
            assert_eq!(libc::bind(socket, (&raw const address).cast(), size), 0);
            Self(OwnedFd::from_raw_fd(socket))
        }
    }

    /// Of the GPU's events those that have our key: its values, in order.
    pub(crate) fn values(&self) -> Vec<String> {
        let mut values = vec![];
        let mut event = [0_u8; 8192];
        loop {
            // SAFETY: the buffer is as long as is said.
            let length = unsafe { libc::recv(self.0.as_raw_fd(), event.as_mut_ptr().cast(), event.len(), 0) };
            let Ok(length) = usize::try_from(length) else { return values };
            let text = String::from_utf8_lossy(&event[..length]);
            if text.starts_with("change@") && text.contains(&variable("P2PDMA_GPU_ADDRESS")) {
                values.extend(text.split('\0').filter_map(|line| line.strip_prefix("P2PDMA_USER=")).map(str::to_owned));
            }
        }
    }
}

#[test]
fn udev_hears_when_a_device_becomes_a_provider_and_when_it_ceases_to_be_one() {
    let _alone = alone();
    let events = Events::new();
    let gpu = StandIn::new();
    assert_eq!(events.values(), ["none"], "the donor lost it");
    provide().expect("provided");
    assert_eq!(events.values(), ["provider"]);
    gpu.unbind();
    assert_eq!(events.values(), ["none"]);
    drop(gpu);
    assert_eq!(events.values(), ["provider"], "the donor has it back");
}
