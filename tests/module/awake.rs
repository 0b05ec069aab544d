//! Runtime power management: a device that lends memory is not suspended, and one that does not may be.
//!
//! The stand-in's device is as a GPU's: its driver holds no reference, so that what keeps it awake is what is counted.

use std::fs;

use p2pdma_sys::*;

use crate::{gpu::*, objects::*};

fn power(name: &str) -> String {
    format!("/sys/bus/pci/devices/{}/power/{name}", variable("P2PDMA_GPU_ADDRESS"))
}

/// User space holds a reference of its own ("on", as it is from the beginning) or none ("auto").
fn control(text: &str) {
    fs::write(power("control"), text).expect("runtime power management");
}

/// The device may be suspended, until this is dropped.
struct Sleepy;

impl Sleepy {
    fn new() -> Self {
        control("auto");
        Self
    }
}

impl Drop for Sleepy {
    fn drop(&mut self) {
        control("on");
    }
}

fn status() -> String {
    fs::read_to_string(power("runtime_status")).expect("runtime power management").trim().to_owned()
}

fn is_suspended_in_the_end(gpu: &StandIn) {
    assert_eq!(gpu.awake(), 0);
    eventually("the suspension", || status() == "suspended");
}

#[test]
fn each_buffer_keeps_its_provider_awake_and_the_last_one_lets_it_sleep() {
    let _alone = alone();
    let (gpu, _sleepy) = (StandIn::provided(), Sleepy::new());
    for dynamic in [0, 1] {
        let _parameter = Parameter::set("dynamic", dynamic);
        is_suspended_in_the_end(&gpu);
        let first = gpu.register(0, MIB, Layout::default());
        assert_eq!((gpu.awake(), status()), (1, "active".to_owned()));
        let second = gpu.register(MIB, MIB, Layout::default());
        assert_eq!(gpu.awake(), 2);
        let pair = second.buffer.bind(&ssd()).expect("a pair");
        drop((first, second));
        assert_eq!((gpu.awake(), status()), (1, "active".to_owned()), "the pair's buffer");
        assert_eq!(pair.io(P2PDMA_USER_READ, 0, 0, MIB), Ok((MIB as u32, 0)));
        drop(pair);
    }
    is_suspended_in_the_end(&gpu);
}

#[test]
fn what_is_refused_keeps_nothing_awake() {
    let _alone = alone();
    let (gpu, _sleepy) = (StandIn::provided(), Sleepy::new());
    let _parameter = Parameter::set("fail_map", 1);
    let dmabuf = gpu.export(0, MIB).expect("a dma-buf");
    assert_eq!(register(device("GPU"), &dmabuf).unwrap_err(), libc::ENOMEM);
    is_suspended_in_the_end(&gpu);
}

/// Closed later, a buffer does not give back a second time what the unbind gave back.
#[test]
fn an_unbind_lets_the_device_sleep_and_what_is_closed_later_changes_nothing() {
    let _alone = alone();
    let (mut gpu, _sleepy) = (StandIn::provided(), Sleepy::new());
    let buffers = [0, MIB].map(|start| gpu.register(start, MIB, Layout::default()));
    let pair = buffers[0].buffer.bind(&ssd()).expect("a pair");
    assert_eq!(gpu.awake(), 2);
    gpu.unbind();
    is_suspended_in_the_end(&gpu);
    control("on");
    assert_eq!(gpu.awake(), 1, "user space's own");
    drop((buffers, pair));
    assert_eq!(gpu.awake(), 1);
    gpu.rebind();
}
