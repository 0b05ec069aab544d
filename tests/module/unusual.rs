//! SSDs that QEMU has only when asked: one that keeps protection information, one with two BARs of memory.

use std::fs;

use p2pdma_sys::*;

use crate::{
    gpu::*,
    objects::*,
    provide::{load, refused_in_words, unload},
    register::agree_scattered,
};

/// An attribute of the SSD.
fn disk(name: &str) -> String {
    format!("/sys/block/{}/{name}", variable("P2PDMA_SSD").trim_start_matches("/dev/"))
}

/// Whether the processor makes (`write_generate`) and verifies (`read_verify`) the checksums of the SSD's blocks.
fn check(name: &str, whether: bool) {
    fs::write(disk(&format!("integrity/{name}")), u8::from(whether).to_string()).expect("protection information");
}

fn is_checked(name: &str) -> bool {
    fs::read_to_string(disk(&format!("integrity/{name}"))).expect("protection information").trim() == "1"
}

#[test]
#[ignore = "needs --topology unusual"]
fn on_unusual_drives_checksums_are_the_drives_alone_or_there_is_no_pair() {
    let _alone = alone();
    let buffer = Buffer::of_gpu(MIB);
    for (reads, writes) in [(true, true), (true, false), (false, true)] {
        check("read_verify", reads);
        check("write_generate", writes);
        assert_eq!(buffer.bind(&ssd()).unwrap_err(), libc::EOPNOTSUPP, "{reads} {writes}");
    }
    check("write_generate", false);
    buffer.bind(&ssd()).expect("a pair");
    drop(buffer);
    agree_scattered(&ssd());
    // What came from the GPU the drive has checksums of, and they are right.
    check("read_verify", true);
    host_read(&ssd(), 0, MIB);
}

/// Linux 6.12 has the processor make and verify them again when it looks at a namespace anew. Then there is no new pair, and one
/// that was made before still moves the right bytes.
#[test]
#[ignore = "needs --topology unusual"]
fn on_unusual_drives_a_rescan_switches_the_processors_checksums_on_again() {
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(MIB), ssd());
    ["read_verify", "write_generate"].into_iter().for_each(|name| check(name, false));
    let pair = buffer.bind(&file).expect("a pair");
    fs::write(disk("device/rescan_controller"), "1").expect("looked for");
    for name in ["read_verify", "write_generate"] {
        eventually("the rescan", || is_checked(name));
    }
    assert_eq!(buffer.bind(&file).unwrap_err(), libc::EOPNOTSUPP);
    host_write(&file, 0, &pattern(95, MIB));
    assert_eq!(pair.io(P2PDMA_USER_READ, 0, 0, MIB), Ok((MIB as u32, 0)));
    assert!(buffer.read(0, MIB).expect("copied") == pattern(95, MIB));
    buffer.write(0, &pattern(96, MIB)).expect("copied");
    assert_eq!(pair.io(P2PDMA_USER_WRITE, 0, 0, MIB), Ok((MIB as u32, 0)));
    assert!(host_read(&file, 0, MIB) == pattern(96, MIB));
}

/// The CMB is BAR 2, and the nvme driver gives it to p2pdma; the PMR is BAR 4.
#[test]
#[ignore = "needs --topology unusual"]
fn on_unusual_drives_a_driver_with_a_pool_is_left_its_other_bar() {
    let _alone = alone();
    let address = variable("P2PDMA_CMB_ADDRESS");
    refused_in_words(&format!("{address} 4"), "its driver gives memory to p2pdma itself; REGISTER may work as it is");
    refused_in_words(&format!("{address} 2"), "another driver has made pages for it; REGISTER may work as it is");
    assert!(fs::exists(format!("/sys/bus/pci/devices/{address}/p2pmem/allocate")).expect("sysfs"));
    Buffer::of(device("CMB"), MIB).expect("as before");
}

/// An earlier load of the module has made pages for one BAR; a claim is for all of a pool, so it may not grow.
#[test]
#[ignore = "needs --topology unusual"]
fn on_unusual_drives_one_bar_is_provided_and_no_second() {
    let _alone = alone();
    let address = variable("P2PDMA_CMB_ADDRESS");
    let _drive = StandIn::of("CMB", "nvme");
    attribute("provide", &format!("{address} 4")).expect("provided");
    unload();
    load();
    refused_in_words(&format!("{address} 2"), "another BAR was provided before; name that one");
    attribute("provide", &format!("{address} 4")).expect("provided again");
}
