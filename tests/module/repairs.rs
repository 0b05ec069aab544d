//! What once was wrong, one test each.

use std::{fs, os::unix::fs::FileTypeExt, path::Path};

use p2pdma_sys::*;

use crate::{
    gpu::*,
    objects::*,
    ring::{Request, Ring},
};

/// How often this thread gave its processor away by itself: it slept.
fn sleeps() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").expect("a status");
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.expect("a count").trim().parse().expect("a number")
}

/// Of the SSD's queue; what it was is put back.
struct Tags(String, String);

impl Tags {
    fn few() -> Self {
        let ssd = variable("P2PDMA_SSD");
        assert!(fs::metadata(&ssd).expect("the SSD").file_type().is_block_device());
        let name = Path::new(&ssd).file_name().expect("a name").to_string_lossy().into_owned();
        let path = format!("/sys/class/block/{name}/queue/nr_requests");
        let before = fs::read_to_string(&path).expect("a number");
        fs::write(&path, "4").expect("4 tags");
        Self(path, before)
    }
}

impl Drop for Tags {
    fn drop(&mut self) {
        fs::write(&self.0, self.1.trim()).expect("as before");
    }
}

#[test]
fn a_submission_does_not_sleep_when_a_raw_device_has_no_tags_left() {
    let _alone = alone();
    let (ssd, _tags) = (ssd(), Tags::few());
    let stored = pattern(31, 2 * MIB);
    host_write(&ssd, 0, &stored);
    let buffer = Buffer::of_gpu(MIB);
    let pair = buffer.bind(&ssd).expect("a pair");
    let mut ring = Ring::new(&pair);
    // Every other piece of the device, or the kernel would make few large requests of them
    let place = |index: usize| (index * 16 * KIB, index * 32 * KIB);
    for index in 0..64 {
        let (offset, position) = place(index);
        let request = Request { op: P2PDMA_USER_READ, offset, position: position as u64, length: 16 * KIB };
        ring.push(&request.entry(index as u64));
    }
    let before = sleeps();
    ring.submit();
    let slept = sleeps() - before;
    for _ in 0..64 {
        assert_eq!(ring.wait().1, 16 * KIB as i32);
    }
    let read = buffer.read(0, MIB).expect("copied");
    for (offset, position) in (0..64).map(place) {
        assert!(read[offset..][..16 * KIB] == stored[position..][..16 * KIB], "{offset}");
    }
    assert_eq!(slept, 0, "in io_uring_enter");
}

#[test]
fn nothing_is_written_to_a_dma_buf_that_may_only_be_read() {
    let _alone = alone();
    let (gpu, ssd) = (StandIn::provided(), ssd());
    let _readonly = Parameter::set("readonly", 1);
    let registered = gpu.register(0, MIB, Layout::default());
    let content = pattern(41, MIB);
    registered.put(0, &content);
    let pair = registered.buffer.bind(&ssd).expect("a pair");
    assert_eq!(pair.bound.out_access, P2PDMA_USER_ACCESS_WRITE);
    assert_eq!(registered.buffer.write(0, &[1]), Err(libc::EBADF));
    assert_eq!(pair.io(P2PDMA_USER_READ, 0, 0, 4096), Err(libc::EBADF));
    let read = Request { op: P2PDMA_USER_READ, offset: 0, position: 0, length: 4096 };
    assert_eq!(Ring::new(&pair).one(&read.entry(0)), -libc::EBADF);
    assert!(registered.see(0, MIB) == content);
    assert!(registered.buffer.read(0, MIB).expect("copied") == content);
    assert_eq!(pair.io(P2PDMA_USER_WRITE, 0, 0, MIB), Ok((MIB as u32, 0)));
    assert!(host_read(&ssd, 0, MIB) == content);
}

/// Runs in a child; gives what it returns.
fn in_child(work: impl FnOnce() -> i32) -> libc::pid_t {
    // SAFETY: the child executes only system calls and the closure, and ends by `_exit`.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(work());
        }
        child
    }
}

fn status_of(child: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: the status lives during the call.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(libc::WIFEXITED(status));
    libc::WEXITSTATUS(status)
}

/// 1000 makes a user namespace, to which root maps another id, as newuidmap does; there it becomes that other.
#[test]
fn subordinate_ids_are_no_way_round_the_limit() {
    let _alone = alone();
    let parameter = "/sys/module/p2pdma_user/parameters/user_bytes";
    fs::write(parameter, MIB.to_string()).expect("set");
    let (node, provider, size) = (node(), device("GPU"), size::<p2pdma_user_alloc>());
    let alloc = |length: usize| {
        let mut args = p2pdma_user_alloc { size, provider, length: length as u64, ..Default::default() };
        call(&node, P2PDMA_USER_ALLOC, &mut args)
    };
    let (made, mapped) = (Pipe::new(), Pipe::new());
    let child = in_child(|| {
        // SAFETY: no pointers.
        let ready = unsafe { libc::setresuid(1000, 1000, 1000) == 0 && libc::unshare(libc::CLONE_NEWUSER) == 0 };
        made.say();
        mapped.hear();
        // SAFETY: no pointers.
        let other = unsafe { alloc(MIB) == Ok(()) && libc::setresuid(1, 1, 1) == 0 };
        i32::from(!(ready && other && alloc(4096) == Err(libc::EDQUOT)))
    });
    made.hear();
    fs::write(format!("/proc/{child}/uid_map"), "0 1000 1\n1 100000 1\n").expect("mapped");
    mapped.say();
    let status = status_of(child);
    fs::write(parameter, "0").expect("reset");
    assert_eq!(status, 0);
}

/// One byte from one process to another.
struct Pipe([i32; 2]);

impl Pipe {
    fn new() -> Self {
        let mut ends = [0; 2];
        // SAFETY: room for two descriptors.
        assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
        Self(ends)
    }

    fn say(&self) {
        // SAFETY: one byte, which lives during the call.
        assert_eq!(unsafe { libc::write(self.0[1], [1_u8].as_ptr().cast(), 1) }, 1);
    }

    fn hear(&self) {
        // SAFETY: room for one byte.
        assert_eq!(unsafe { libc::read(self.0[0], [0_u8].as_mut_ptr().cast(), 1) }, 1);
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // SAFETY: both are ours.
        self.0.iter().for_each(|&end| assert_eq!(unsafe { libc::close(end) }, 0));
    }
}

#[test]
fn a_stack_is_named_by_a_number_that_a_device_can_have() {
    let _alone = alone();
    // 4,096 shifted by 20 bits is 0: it would name what 0:9 names
    for name in ["4096:9", "0:1048576", "4294967295:0"] {
        assert_eq!(attribute("stack", &format!("{name}=")), Err(libc::EINVAL), "{name}");
    }
    attribute("stack", "4095:1048575=").expect("in range");
}

#[test]
fn what_a_devices_own_driver_gave_stays_as_it_is() {
    let _alone = alone();
    let allocate = format!("/sys/bus/pci/devices/{}/p2pmem/allocate", variable("P2PDMA_GPU_ADDRESS"));
    assert_eq!(provide(), Err(libc::EINVAL));
    assert!(fs::exists(&allocate).expect("sysfs"));
}

#[test]
fn the_module_has_a_version() {
    let version = fs::read_to_string("/sys/module/p2pdma_user/version").expect("a version");
    assert_eq!(version.trim(), env!("CARGO_PKG_VERSION"));
}
