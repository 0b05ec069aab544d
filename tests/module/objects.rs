//! The module's objects, as thin as can be: an fd each, a call each, errors as errno.

use std::{
    env,
    fs::{File, OpenOptions},
    io::{Error, Write},
    mem::size_of,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    os::unix::fs::OpenOptionsExt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use p2pdma_sys::*;

pub(crate) const KIB: usize = 1 << 10;
pub(crate) const MIB: usize = 1 << 20;

pub(crate) fn variable(name: &str) -> String {
    env::var(name).expect("a variable that tests/vm/run sets")
}

/// A number that lengthens a test.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

/// Past the test harness, which shows only what failed tests print.
pub(crate) fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("stdout");
}

/// The device of a role, as the module takes it: `0000:05:00.0`.
pub(crate) fn device(role: &str) -> p2pdma_user_address {
    let text = variable(&format!("P2PDMA_{role}_ADDRESS"));
    let hex = |part: &str| u32::from_str_radix(part, 16).expect("hexadecimal");
    let parts: Vec<u32> = text.split([':', '.']).map(hex).collect();
    let [domain, bus, device, function] = parts[..] else { panic!("{text} is no address") };
    p2pdma_user_address { domain, bus: bus as u8, devfn: (device << 3 | function) as u8, reserved: 0 }
}

/// Calls with an argument as it is; the errno if it is refused.
pub(crate) fn call<T>(fd: &impl AsRawFd, number: u32, args: &mut T) -> Result<(), i32> {
    call_at(fd, number, (args as *mut T).cast())
}

pub(crate) fn call_at(fd: &impl AsRawFd, number: u32, args: *mut libc::c_void) -> Result<(), i32> {
    // SAFETY: the module writes as many bytes as the argument says it has, or fewer.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), number.into(), args) };
    if result == 0 { Ok(()) } else { Err(Error::last_os_error().raw_os_error().expect("an errno")) }
}

pub(crate) fn size<T>() -> u32 {
    size_of::<T>() as u32
}

fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: the module has just made it for us.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

pub(crate) fn node() -> File {
    OpenOptions::new().read(true).write(true).open(NODE).expect("the node opens")
}

pub(crate) fn stats() -> p2pdma_user_stats {
    let mut args = p2pdma_user_stats { size: size::<p2pdma_user_stats>(), ..Default::default() };
    call(&node(), P2PDMA_USER_STATS, &mut args).expect("numbers");
    args
}

pub(crate) fn nothing() -> p2pdma_user_stats {
    p2pdma_user_stats { size: size::<p2pdma_user_stats>(), ..Default::default() }
}

/// Waits for a thing that the kernel does in its own time.
pub(crate) fn eventually(what: &str, happened: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !happened() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::yield_now();
    }
}

/// One test at a time, since they share devices; and each gives back all it held, also when it fails.
pub(crate) struct Alone(#[expect(dead_code, reason = "held, not read")] MutexGuard<'static, ()>);

pub(crate) fn alone() -> Alone {
    static DEVICES: Mutex<()> = Mutex::new(());
    Alone(DEVICES.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A ring gives its files back some time after it was closed, hence the patience.
impl Drop for Alone {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            eventually("the return of all objects", || stats() == nothing());
        }
    }
}

#[derive(Debug)]
pub(crate) struct Buffer(pub OwnedFd);

impl Buffer {
    pub(crate) fn of(provider: p2pdma_user_address, length: usize) -> Result<Self, i32> {
        let size = size::<p2pdma_user_alloc>();
        let mut args = p2pdma_user_alloc { size, provider, length: length as u64, ..Default::default() };
        call(&node(), P2PDMA_USER_ALLOC, &mut args)?;
        Ok(Self(owned(args.out_fd)))
    }

    pub(crate) fn of_gpu(length: usize) -> Self {
        Self::of(device("GPU"), length).expect("a buffer")
    }

    fn copy(&self, direction: u32, offset: usize, address: *const u8, length: usize) -> Result<(), i32> {
        let (offset, address) = (offset as u64, address as u64);
        let size = size::<p2pdma_user_copy>();
        let mut args = p2pdma_user_copy { size, direction, offset, address, length: length as u32, flags: 0 };
        call(&self.0, P2PDMA_USER_COPY, &mut args)
    }

    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), i32> {
        self.copy(P2PDMA_USER_COPY_IN, offset, bytes.as_ptr(), bytes.len())
    }

    pub(crate) fn read(&self, offset: usize, length: usize) -> Result<Vec<u8>, i32> {
        let mut bytes = vec![0xee; length];
        self.copy(P2PDMA_USER_COPY_OUT, offset, bytes.as_mut_ptr(), length)?;
        Ok(bytes)
    }

    pub(crate) fn bind(&self, file: &impl AsRawFd) -> Result<Pair, i32> {
        let fd = file.as_raw_fd();
        let mut args = p2pdma_user_bind { size: size::<p2pdma_user_bind>(), fd, ..Default::default() };
        call(&self.0, P2PDMA_USER_BIND, &mut args)?;
        Ok(Pair { fd: owned(args.out_fd), bound: args })
    }
}

#[derive(Debug)]
pub(crate) struct Pair {
    pub fd: OwnedFd,
    pub bound: p2pdma_user_bind,
}

impl Pair {
    /// By ioctl; the bytes transferred and the flags.
    pub(crate) fn io(&self, op: u32, offset: usize, position: u64, length: usize) -> Result<(u32, u32), i32> {
        let (size, offset, length) = (size::<p2pdma_user_io>(), offset as u64, length as u32);
        let mut args = p2pdma_user_io { size, op, length, offset, position, ..Default::default() };
        call(&self.fd, P2PDMA_USER_IO, &mut args)?;
        Ok((args.out_length, args.out_flags))
    }
}

/// Opens without the page cache.
pub(crate) fn open_direct(path: &str, write: bool) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(write).custom_flags(libc::O_DIRECT);
    options.open(path).expect("the file opens")
}

pub(crate) fn ssd() -> File {
    open_direct(&variable("P2PDMA_SSD"), true)
}

/// Bytes of which no two blocks, and no two seeds, are alike. Few instructions a byte: the guest's processor is slow.
pub(crate) fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let block: Vec<u8> = (0..512_u32).map(|index| (index * 37 % 251) as u8 + 1).collect();
    let mut bytes = block.repeat(length.div_ceil(512));
    for (index, block) in bytes.chunks_exact_mut(512).enumerate() {
        block[8..16].copy_from_slice(&seed.to_le_bytes());
        block[500..508].copy_from_slice(&index.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Host memory that direct I/O accepts.
pub(crate) struct Host(*mut u8, usize);

impl Host {
    fn layout(length: usize) -> std::alloc::Layout {
        std::alloc::Layout::from_size_align(length, 4096).expect("a layout")
    }

    fn new(length: usize) -> Self {
        // SAFETY: the length is not zero.
        Self(unsafe { std::alloc::alloc_zeroed(Self::layout(length)) }, length)
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: allocated zeroed with this length in `new`, and borrowed as long as the slice.
        unsafe { std::slice::from_raw_parts_mut(self.0, self.1) }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`.
        unsafe { std::alloc::dealloc(self.0, Self::layout(self.1)) }
    }
}

/// The other way to the same bytes: pread, direct, to host memory.
pub(crate) fn host_read(file: &File, position: u64, length: usize) -> Vec<u8> {
    let mut host = Host::new(length);
    std::os::unix::fs::FileExt::read_exact_at(file, host.bytes(), position).expect("the host reads");
    host.bytes().to_vec()
}

pub(crate) fn host_write(file: &File, position: u64, bytes: &[u8]) {
    let mut host = Host::new(bytes.len());
    host.bytes().copy_from_slice(bytes);
    std::os::unix::fs::FileExt::write_all_at(file, host.bytes(), position).expect("the host writes");
}
