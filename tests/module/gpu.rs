//! A stand-in for a GPU: the guest's GPU under the driver of `kmod/test`, which exports its memory as dma-bufs.

use std::{
    fs::{self, File, OpenOptions},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    os::unix::fs::FileExt,
    process::Command,
    sync::Arc,
};

use p2pdma_sys::*;

use crate::objects::*;

const STAND_IN: &str = "p2pdma_test_gpu";

fn bind(address: &str, driver: &str) {
    let device = format!("/sys/bus/pci/devices/{address}");
    if fs::exists(format!("{device}/driver")).expect("sysfs") {
        fs::write(format!("{device}/driver/unbind"), address).expect("unbind");
    }
    fs::write(format!("{device}/driver_override"), driver).expect("an override");
    fs::write("/sys/bus/pci/drivers_probe", address).expect("bind");
}

/// Writes to an attribute of the module's driver; the errno if that is refused.
pub(crate) fn attribute(name: &str, text: &str) -> Result<(), i32> {
    let written = fs::write(format!("/sys/bus/pci/drivers/{DRIVER}/{name}"), text);
    written.map_err(|error| error.raw_os_error().expect("an errno"))
}

/// Root makes the GPU a provider.
pub(crate) fn provide() -> Result<(), i32> {
    attribute("provide", &variable("P2PDMA_GPU_ADDRESS"))
}

/// A device, the GPU mostly, is the stand-in's until this is dropped; then it is again the driver's that it is of otherwise.
pub(crate) struct StandIn {
    address: String,
    usual: &'static str,
    window: Arc<File>,
}

impl StandIn {
    pub(crate) fn new() -> Self {
        Self::of("GPU", DRIVER)
    }

    /// The device of a role, in place of its usual driver.
    pub(crate) fn of(role: &str, usual: &'static str) -> Self {
        if !fs::exists(format!("/sys/module/{STAND_IN}")).expect("sysfs") {
            let module = format!("{}/{STAND_IN}.ko", variable("P2PDMA_MODULES"));
            assert!(Command::new("insmod").arg(module).status().expect("insmod").success());
        }
        let address = variable(&format!("P2PDMA_{role}_ADDRESS"));
        bind(&address, STAND_IN);
        let window = Self::open(&address);
        Self { address, usual, window }
    }

    /// And it is a provider.
    pub(crate) fn provided() -> Self {
        let stand_in = Self::new();
        provide().expect("provided");
        stand_in
    }

    pub(crate) fn unbind(&self) {
        fs::write(format!("/sys/bus/pci/drivers/{STAND_IN}/unbind"), &self.address).expect("unbind");
    }

    pub(crate) fn rebind(&mut self) {
        bind(&self.address, STAND_IN);
        self.window = Self::open(&self.address);
    }

    fn open(address: &str) -> Arc<File> {
        let node = format!("/dev/{STAND_IN}-{address}");
        Arc::new(OpenOptions::new().read(true).write(true).open(node).expect("the window"))
    }

    pub(crate) fn export(&self, start: usize, length: usize) -> Result<OwnedFd, i32> {
        let argument = [start as u64, length as u64];
        let export = 1 << 30 | 16 << 16 | 0xb7 << 8 | 0x80;
        // SAFETY: the argument is the two numbers that the stand-in reads.
        let fd = unsafe { libc::ioctl(self.window.as_raw_fd(), export, argument.as_ptr()) };
        if fd < 0 {
            return Err(errno());
        }
        // SAFETY: it was made for us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// One of the calls that take a number.
    fn ask(&self, number: libc::c_ulong, argument: i32) -> i32 {
        // SAFETY: no pointers.
        unsafe { libc::ioctl(self.window.as_raw_fd(), 0xb7 << 8 | number, argument) }
    }

    /// The driver moves what it exported, though it is pinned.
    pub(crate) fn announce_move(&self, dmabuf: &OwnedFd) {
        assert_eq!(self.ask(0x81, dmabuf.as_raw_fd()), 0);
    }

    /// Memory that was exported `busy` is so no longer.
    pub(crate) fn finish(&self, dmabuf: &OwnedFd) {
        assert_eq!(self.ask(0x82, dmabuf.as_raw_fd()), 0);
    }

    /// How many references keep the device from being suspended.
    pub(crate) fn awake(&self) -> i32 {
        self.ask(0x83, 0)
    }

    /// A buffer of it, from `start` on, as the layout has it.
    pub(crate) fn register(&self, start: usize, length: usize, layout: Layout) -> Registered {
        let _parameters = layout.set();
        let dmabuf = self.export(start, length).expect("a dma-buf");
        let buffer = register(device("GPU"), &dmabuf).expect("a buffer");
        Registered { buffer, window: Arc::clone(&self.window), start, length, layout }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        bind(&self.address, self.usual);
    }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().expect("an errno")
}

pub(crate) fn register_args(provider: p2pdma_user_address, fd: &impl AsRawFd) -> p2pdma_user_register {
    let size = size::<p2pdma_user_register>();
    p2pdma_user_register { size, provider, fd: fd.as_raw_fd(), ..Default::default() }
}

pub(crate) fn register(provider: p2pdma_user_address, dmabuf: &impl AsRawFd) -> Result<Buffer, i32> {
    let mut args = register_args(provider, dmabuf);
    call(&node(), P2PDMA_USER_REGISTER, &mut args)?;
    // SAFETY: the module has just made it for us.
    Ok(Buffer(unsafe { OwnedFd::from_raw_fd(args.out_fd) }))
}

/// A parameter of the stand-in, as long as this lives.
pub(crate) struct Parameter(&'static str);

impl Parameter {
    pub(crate) fn set(name: &'static str, value: impl ToString) -> Self {
        fs::write(Self::path(name), value.to_string()).expect("a parameter");
        Self(name)
    }

    fn path(name: &str) -> String {
        format!("/sys/module/{STAND_IN}/parameters/{name}")
    }
}

impl Drop for Parameter {
    fn drop(&mut self) {
        fs::write(Self::path(self.0), "0").expect("a parameter");
    }
}

/// How many attachments, pins and mappings there are, and how many there were when a device was unbound.
pub(crate) fn held() -> [i32; 4] {
    ["attached", "pinned", "mapped", "left"].map(|name| {
        let text = fs::read_to_string(Parameter::path(name)).expect("a count");
        text.trim().parse().expect("a number")
    })
}

/// How a buffer lies in the BAR: in pieces of `segment` bytes (0: one), with gaps between them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Layout {
    pub segment: usize,
    pub gap: usize,
    pub reverse: bool,
}

impl Layout {
    pub(crate) fn set(self) -> [Parameter; 3] {
        let reverse = u8::from(self.reverse);
        [Parameter::set("segment", self.segment), Parameter::set("gap", self.gap), Parameter::set("reverse", reverse)]
    }
}

/// A registered buffer, and the GPU's own view of its memory.
pub(crate) struct Registered {
    pub buffer: Buffer,
    window: Arc<File>,
    start: usize,
    length: usize,
    layout: Layout,
}

impl Registered {
    /// The pieces of a part of the buffer: where they lie in the BAR, and how long they are.
    fn pieces(&self, offset: usize, length: usize) -> Vec<(u64, usize)> {
        let segment = if self.layout.segment == 0 { self.length } else { self.layout.segment };
        let last = self.length / segment - 1;
        let mut pieces = vec![];
        let mut at = offset;
        while at < offset + length {
            let (index, within) = (at / segment, at % segment);
            let index = if self.layout.reverse { last - index } else { index };
            let piece = (segment - within).min(offset + length - at);
            pieces.push(((self.start + index * (segment + self.layout.gap) + within) as u64, piece));
            at += piece;
        }
        pieces
    }

    /// What the GPU has in the gaps.
    pub(crate) fn between(&self) -> Vec<u8> {
        let Layout { segment, gap, .. } = self.layout;
        let count = self.length.checked_div(segment).unwrap_or(1);
        let mut bytes = vec![0; (count - 1) * gap];
        for (index, here) in bytes.chunks_exact_mut(gap.max(1)).enumerate() {
            let at = self.start + index * (segment + gap) + segment;
            self.window.read_exact_at(here, at as u64).expect("the window reads");
        }
        bytes
    }

    /// What the GPU has there.
    pub(crate) fn see(&self, offset: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let mut rest = &mut bytes[..];
        for (at, piece) in self.pieces(offset, length) {
            let (here, behind) = rest.split_at_mut(piece);
            self.window.read_exact_at(here, at).expect("the window reads");
            rest = behind;
        }
        bytes
    }

    /// The GPU writes.
    pub(crate) fn put(&self, offset: usize, bytes: &[u8]) {
        let mut rest = bytes;
        for (at, piece) in self.pieces(offset, bytes.len()) {
            let (here, behind) = rest.split_at(piece);
            self.window.write_all_at(here, at).expect("the window writes");
            rest = behind;
        }
    }
}
