//! The stack switch: root names what lies below md, dm and multipath heads, and peer memory goes through them.

use std::{fs, fs::File, os::unix::fs::MetadataExt, process::Command};

use p2pdma_sys::*;

use crate::{gpu::attribute, objects::*, register, ring::*};

const AREA: usize = 8 * MIB;

pub(crate) fn shell(script: &str) {
    let script = format!("export DM_DISABLE_UDEV=1 MDADM_NO_UDEV=1 PATH=$PATH:/usr/sbin:/sbin\n{script}");
    assert!(Command::new("sh").args(["-ec", &script]).status().expect("a shell").success());
}

/// A stacked block device, until it is dropped; root has named nothing below it afterwards.
pub(crate) struct Stack {
    path: String,
    undo: String,
}

impl Stack {
    fn new(make: &str, path: &str, undo: &str) -> Self {
        shell(make);
        Self { path: path.to_owned(), undo: undo.to_owned() }
    }

    pub(crate) fn linear() -> Self {
        Self::mapped("linear", &format!("0 131072 linear {} 0", variable("P2PDMA_SSD")))
    }

    /// Root has named what lies below it.
    pub(crate) fn named_linear() -> Self {
        let stack = Self::linear();
        stack.name(&addresses(&["SSD"])).expect("named");
        stack
    }

    fn crypt() -> Self {
        Self::mapped(
            "crypt",
            &format!("0 65536 crypt aes-xts-plain64 {} 0 {} 0", "5a".repeat(64), variable("P2PDMA_SSD")),
        )
    }

    fn mapped(name: &str, table: &str) -> Self {
        let make = format!("dmsetup create {name} --table '{table}'");
        Self::new(&make, &format!("/dev/mapper/{name}"), &format!("dmsetup remove {name}"))
    }

    pub(crate) fn number(&self) -> String {
        let device = fs::metadata(&self.path).expect("the device").rdev();
        format!("{}:{}", libc::major(device), libc::minor(device))
    }

    pub(crate) fn open(&self) -> File {
        open_direct(&self.path, true)
    }

    /// Root names these functions.
    fn name(&self, functions: &str) -> Result<(), i32> {
        attribute("stack", &format!("{}={functions}", self.number()))
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.name("").expect("taken back");
            eventually("the end of all uses of the stack", || stats() == nothing());
            shell(&self.undo);
        }
    }
}

fn addresses(roles: &[&str]) -> String {
    roles.iter().map(|role| variable(&format!("P2PDMA_{role}_ADDRESS"))).collect::<Vec<_>>().join(",")
}

fn listed() -> String {
    fs::read_to_string(format!("/sys/bus/pci/drivers/{DRIVER}/stack")).expect("the attribute")
}

/// Whole pieces, the end of the file first.
fn requests(op: u32) -> Vec<Request> {
    let length = 256 * KIB;
    let request = |offset: usize| Request { op, offset, position: (AREA - length - offset) as u64, length };
    (0..AREA).step_by(length).map(request).collect()
}

fn agree(file: &File) {
    let buffer = Buffer::of_gpu(AREA);
    let pair = buffer.bind(file).expect("a pair");
    let mut ring = Ring::new(&pair);
    let (stored, wanted) = (pattern(1, AREA), pattern(2, AREA));
    host_write(file, 0, &stored);
    let all = requests(P2PDMA_USER_READ);
    assert_eq!(ring.all(&all, 8), vec![256 << 10; all.len()]);
    for request in &all {
        let got = buffer.read(request.offset, request.length).expect("copied");
        assert!(got == stored[request.position as usize..][..request.length], "{request:?}");
    }
    buffer.write(0, &wanted).expect("copied");
    let all = requests(P2PDMA_USER_WRITE);
    assert_eq!(ring.all(&all, 8), vec![256 << 10; all.len()]);
    let stored = host_read(file, 0, AREA);
    for request in &all {
        assert!(stored[request.position as usize..][..request.length] == wanted[request.offset..][..request.length]);
    }
    let (offset, position) = (pair.bound.out_memory_align as usize, pair.bound.out_offset_align as usize);
    assert_eq!(pair.io(P2PDMA_USER_READ, offset, position as u64, MIB), Ok((MIB as u32, 0)), "aligned as BIND said");
    assert!(buffer.read(offset, MIB).expect("copied") == stored[position..][..MIB]);
}

/// Refused as long as root says nothing; then the bytes agree; refused again when root takes it back.
fn goes_by_the_switch(stack: &Stack, functions: &str) {
    let (file, buffer) = (stack.open(), Buffer::of_gpu(MIB));
    assert_eq!(buffer.bind(&file).unwrap_err(), libc::EOPNOTSUPP);
    stack.name(functions).expect("named");
    assert_eq!(listed(), format!("{}={functions}\n", stack.number()));
    let pair = buffer.bind(&file).expect("a pair");
    assert_eq!(pair.bound.out_distance, 4);
    agree(&file);
    stack.name("").expect("taken back");
    assert_eq!(listed(), "");
    assert_eq!(pair.io(P2PDMA_USER_READ, 0, 0, 4096), Err(libc::EREMOTEIO));
    let read = Request { op: P2PDMA_USER_READ, offset: 0, position: 0, length: 4096 };
    assert_eq!(Ring::new(&pair).one(&read.entry(0)), -libc::EREMOTEIO);
    assert_eq!(buffer.bind(&file).unwrap_err(), libc::EOPNOTSUPP);
}

/// So does memory that a GPU's driver exports, scattered in its BAR.
fn exchanges_bytes_with_a_gpu(stack: &Stack, functions: &str) {
    stack.name(functions).expect("named");
    register::agree_scattered(&stack.open());
}

#[test]
fn a_linear_mapping_goes_by_the_switch() {
    let _alone = alone();
    let (stack, functions) = (Stack::linear(), addresses(&["SSD"]));
    goes_by_the_switch(&stack, &functions);
    exchanges_bytes_with_a_gpu(&stack, &functions);
}

#[test]
fn a_file_system_on_a_stack_goes_by_the_switch() {
    let _alone = alone();
    let stack = Stack::linear();
    shell("mkfs.ext4 -q -F /dev/mapper/linear; mkdir -p /run/stacked; mount /dev/mapper/linear /run/stacked");
    let path = "/run/stacked/file";
    File::create(path).expect("a file").set_len(AREA as u64).expect("a length");
    let file = open_direct(path, true);
    assert_eq!(Buffer::of_gpu(MIB).bind(&file).unwrap_err(), libc::EOPNOTSUPP);
    stack.name(&addresses(&["SSD"])).expect("named");
    agree(&file);
    drop(file);
    eventually("the end of all uses", || stats() == nothing());
    eventually("the umount", || Command::new("umount").arg("/run/stacked").status().expect("umount").success());
}

/// Device mapper gives numbers out again. What root said was of the device that had it then.
#[test]
fn a_number_that_another_device_gets_is_not_known_by_it() {
    let _alone = alone();
    let stack = Stack::linear();
    stack.name(&addresses(&["SSD"])).expect("named");
    let number = stack.number();
    let buffer = Buffer::of_gpu(MIB);
    drop(buffer.bind(&stack.open()).expect("a pair"));
    shell("dmsetup remove linear");
    let table = format!("0 65536 linear {} 65536", variable("P2PDMA_SSD"));
    shell(&format!("dmsetup create linear --table '{table}'"));
    assert_eq!(stack.number(), number);
    assert_eq!(buffer.bind(&stack.open()).unwrap_err(), libc::EOPNOTSUPP);
    drop(buffer);
}

#[test]
fn what_root_said_of_a_device_that_is_gone_can_be_taken_back() {
    let _alone = alone();
    let stack = Stack::linear();
    stack.name(&addresses(&["SSD"])).expect("named");
    let number = stack.number();
    shell("dmsetup remove linear");
    assert_eq!(listed(), format!("{number}={}\n", addresses(&["SSD"])));
    attribute("stack", &format!("{number}=")).expect("taken back");
    assert_eq!(listed(), "");
    let table = format!("0 65536 linear {} 0", variable("P2PDMA_SSD"));
    shell(&format!("dmsetup create linear --table '{table}'"));
}

#[test]
fn the_switch_refuses_what_it_cannot_mean() {
    let _alone = alone();
    let stack = Stack::linear();
    let (number, ssd) = (stack.number(), addresses(&["SSD"]));
    let drive = fs::metadata(variable("P2PDMA_SSD")).expect("the SSD").rdev();
    let drive = format!("{}:{}", libc::major(drive), libc::minor(drive));
    for (text, errno) in [
        ("nonsense".to_owned(), libc::EINVAL),
        (number.clone(), libc::EINVAL),
        (format!("{number}=nonsense"), libc::EINVAL),
        (format!("{number}={ssd}nonsense"), libc::EINVAL),
        (format!("{number}={}", &ssd[..ssd.len() - 1]), libc::EINVAL),
        (format!("{number}=,{ssd}"), libc::EINVAL),
        (format!("{number}=\n{ssd}{}", "x".repeat(3000)), libc::EINVAL),
        ("8".repeat(4000), libc::EINVAL),
        (format!(":{number}={ssd}"), libc::EINVAL),
        (format!("{drive}={ssd}"), libc::EINVAL),
        (format!("4095:7={ssd}"), libc::ENXIO),
        (format!("{number}={}", addresses(&["GPU"])), libc::ENODEV),
        (format!("{number}={ssd},fffffff0:00:00.0"), libc::ENODEV),
        (format!("{number}={}", [&ssd; 129].map(String::as_str).join(",")), libc::ENOSPC),
    ] {
        assert_eq!(attribute("stack", &text), Err(errno), "{text}");
    }
    assert_eq!(listed(), "", "all or nothing");
    let most = [&ssd; 128].map(String::as_str).join(",");
    attribute("stack", &format!("{number}={most}")).expect("128 are not too many");
    assert_eq!(listed(), format!("{number}={most}\n"));
}

#[test]
#[ignore = "needs --topology stacks"]
fn on_two_drives_a_striped_array_goes_by_the_switch() {
    let _alone = alone();
    let (first, second) = (variable("P2PDMA_SSD"), variable("P2PDMA_SSD1"));
    let make = format!(
        "mdadm --create /dev/md0 --quiet --run --metadata=1.2 --level=0 --raid-devices=2 --chunk=64 {first} {second}"
    );
    let undo = format!("mdadm --quiet --stop /dev/md0; mdadm --quiet --zero-superblock {first} {second}");
    let (stack, functions) = (Stack::new(&make, "/dev/md0", &undo), addresses(&["SSD", "SSD1"]));
    goes_by_the_switch(&stack, &functions);
    exchanges_bytes_with_a_gpu(&stack, &functions);
}

#[test]
#[ignore = "needs --topology stacks"]
fn on_two_drives_a_member_that_goes_takes_the_route_with_it() {
    let _alone = alone();
    let (stack, buffer) = (Stack::linear(), Buffer::of_gpu(MIB));
    stack.name(&addresses(&["SSD", "SSD1"])).expect("named");
    let pair = buffer.bind(&stack.open()).expect("a pair");
    let read = Request { op: P2PDMA_USER_READ, offset: 0, position: 0, length: 4096 };
    let mut ring = Ring::new(&pair);
    assert_eq!(ring.one(&read.entry(0)), 4096);
    fs::write(format!("/sys/bus/pci/devices/{}/remove", addresses(&["SSD1"])), "1").expect("removed");
    assert_eq!(ring.one(&read.entry(0)), -libc::EREMOTEIO);
    assert_eq!(pair.io(P2PDMA_USER_READ, 0, 0, 4096), Err(libc::EREMOTEIO));
    assert_eq!(buffer.bind(&stack.open()).unwrap_err(), libc::EREMOTEIO);
    fs::write("/sys/bus/pci/rescan", "1").expect("found again");
    assert_eq!(ring.one(&read.entry(0)), 4096);
    drop((ring, pair, buffer));
}

#[test]
#[ignore = "needs --topology multipath"]
fn on_a_multipath_head_memory_goes_by_the_switch() {
    let _alone = alone();
    let head = Stack { path: variable("P2PDMA_SSD"), undo: "true".to_owned() };
    let controllers = fs::read_dir("/sys/class/nvme").expect("sysfs").map(|entry| entry.expect("sysfs").path());
    let functions = controllers.map(|path| fs::read_to_string(path.join("address")).expect("an address"));
    let functions: Vec<String> = functions.map(|text| text.trim().to_owned()).collect();
    assert_eq!(functions.len(), 2);
    goes_by_the_switch(&head, &functions.join(","));
    exchanges_bytes_with_a_gpu(&head, &functions.join(","));
}

/// Its bytes would be right, but it is the processor that would read and write them in the BAR.
#[test]
fn encryption_is_refused_whatever_root_says_and_what_lies_on_it() {
    let _alone = alone();
    let crypt = Stack::crypt();
    let refused_though_named = |stack: &Stack| {
        stack.name(&addresses(&["SSD"])).expect("named");
        let refused = Buffer::of_gpu(MIB).bind(&stack.open()).expect_err("refused");
        assert_eq!(refused, libc::EOPNOTSUPP, "{}", stack.path);
    };
    refused_though_named(&crypt);
    let above = Stack::mapped("above", &format!("0 65536 linear {} 0", crypt.path));
    refused_though_named(&above);
}
