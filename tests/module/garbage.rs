//! Random garbage to every ioctl and every field of a command, by an ordinary user who was given the fds: whatever is said to
//! it, the module stays whole, and keeps quiet in the kernel's log.
//!
//! | variable | holds |
//! |---|---|
//! | `P2PDMA_GARBAGE_SECONDS` | how long (5) |
//! | `P2PDMA_SEED` | of the random numbers (by the clock); the kernel's log has it too, for when it dies |

use std::{
    fs::File,
    io::Read,
    os::fd::{AsRawFd, RawFd},
    thread,
    time::{Duration, Instant},
};

use io_uring::squeue::Entry;
use p2pdma_sys::*;

use crate::{
    calls::{Case, Ground, bytes},
    faults::another,
    log::{Log, note},
    objects::*,
    random::{Random, seed},
    ring::{Request, Ring, modes},
    strangers::{dma_buf, strangers},
};

/// Memory with an end: what lies behind it faults.
struct Area {
    start: *mut u8,
    length: usize,
}

impl Area {
    fn new(length: usize) -> Self {
        let (flags, access) = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: a new mapping, of which the second half is for nobody.
        let start = unsafe {
            let start = libc::mmap(std::ptr::null_mut(), 2 * length, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(start, libc::MAP_FAILED);
            assert_eq!(libc::mprotect(start, length, access), 0);
            start.cast()
        };
        Self { start, length }
    }

    fn fill(&mut self, at: usize, bytes: &[u8]) {
        let length = bytes.len().min(self.length - at);
        // SAFETY: within the half that may be written, which only this thread uses.
        unsafe { self.start.add(at).copy_from_nonoverlapping(bytes.as_ptr(), length) };
    }

    fn bytes(&self, at: usize, length: usize) -> Vec<u8> {
        assert!(at + length <= self.length);
        // SAFETY: within the half that may be read, and nobody writes now.
        unsafe { std::slice::from_raw_parts(self.start.add(at), length) }.to_vec()
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`; nobody else has its address.
        unsafe { libc::munmap(self.start.cast(), 2 * self.length) };
    }
}

/// Null, the kernel's half, no address at all, the very end.
const NOWHERE: [u64; 4] = [0, 0xffff_8880_0000_0000, 1 << 63, u64::MAX - 3];
/// Values at which something changes.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    3,
    4,
    511,
    512,
    4095,
    4096,
    1 << 20,
    64 << 20,
    (64 << 20) + 1,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 63,
    u64::MAX,
];

/// Overwrites 1, 4 or 8 bytes somewhere from `from` on.
fn garble(bytes: &mut [u8], from: usize, random: &mut Random, fds: &[RawFd]) {
    let width = random.one_of(&[1, 4, 4, 8]);
    if bytes.len() < from + width {
        return;
    }
    let at = (from + random.below((bytes.len() - from - width + 1) as u64) as usize) / width * width;
    let value = match random.below(3_u8) {
        0 => random.one_of(&EDGES),
        1 => random.one_of(fds) as u64,
        _ => random.below(u64::MAX),
    };
    let at = at.max(from);
    bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    sent: u64,
    accepted: u64,
}

struct Ioctls<'a> {
    cases: &'a [Case],
    fds: &'a [RawFd],
    random: Random,
    args: Area,
    memory: Area,
    tally: Tally,
}

impl Ioctls<'_> {
    fn one(&mut self) {
        let case = &self.cases[self.random.below(self.cases.len() as u64) as usize];
        let (any_fd, any_number) = (self.random.percent(10), self.random.percent(5));
        let fd = if any_fd { self.random.one_of(self.fds) } else { case.fd };
        let number = if any_number { self.random.below(1_u32 << 24) << 8 | P2PDMA_USER_TYPE } else { case.number };
        let mut args = self.arguments(case);
        self.keep_from_own_memory(number, &mut args);
        let (address, at) = self.place(&args);
        self.tally.sent += 1;
        if call_at(&fd, number, address as *mut libc::c_void).is_ok() {
            self.tally.accepted += 1;
            let made = self.cases.iter().find(|case| case.number == number).expect("only what it knows is accepted");
            made.close_what_it_made(&self.args.bytes(at, made.args.len()));
        }
    }

    /// Right but for something, or not at all; sizes short, exact, long with zeroes, long with garbage, anything.
    fn arguments(&mut self, case: &Case) -> Vec<u8> {
        let random = &mut self.random;
        let exact = case.len();
        let mut args = case.args.clone();
        let size = match random.below(6_u8) {
            0 => random.below(exact),
            1 => exact + 1 + random.below(4096 - exact),
            2 => random.one_of(&[4096, 4097, 5000, u32::MAX, 0]),
            _ => exact,
        };
        args.resize(5000, 0);
        if random.percent(20) {
            let all = (exact..4096).chain(4..exact).take(if random.percent(50) { 4096 } else { 1 });
            all.for_each(|at| args[at as usize] = random.below(255_u8));
        }
        for _ in 0..random.below(4_u8) {
            garble(&mut args[..exact as usize], 4, random, self.fds);
        }
        args[..4].copy_from_slice(&size.to_le_bytes());
        args
    }

    /// A copy to a random address would be a copy over this very test.
    fn keep_from_own_memory(&mut self, number: u32, args: &mut [u8]) {
        if number == P2PDMA_USER_COPY {
            let ours = self.memory.start as u64 + self.random.below(self.memory.length as u64);
            let address = if self.random.percent(80) { ours } else { self.random.one_of(&NOWHERE) };
            args[24..32].copy_from_slice(&address.to_le_bytes());
        }
    }

    /// Where the argument is: aligned, not aligned, reaching over the end, nowhere.
    fn place(&mut self, args: &[u8]) -> (u64, usize) {
        let at = match self.random.below(10_u8) {
            0 => self.random.below(8_u64) as usize,
            1 => self.args.length - self.random.below(64_u64) as usize,
            2 => return (self.random.one_of(&NOWHERE), 0),
            _ => 0,
        };
        self.args.fill(at, args);
        (self.args.start as u64 + at as u64, at)
    }
}

struct Commands<'a> {
    fds: &'a [RawFd],
    random: Random,
    tally: Tally,
}

impl Commands<'_> {
    /// A ring for some hundred batches.
    fn ring(&mut self, pair: &Pair, until: Instant) {
        let modes = modes();
        let (_, builder) = &modes[self.random.below(modes.len() as u64) as usize];
        let mut ring = Ring::of(builder, pair);
        for _ in 0..200 {
            let batch = self.batch();
            batch.iter().for_each(|entry| ring.push(entry));
            ring.submit();
            let mut wait = || ring.wait_at_most(60).unwrap_or_else(|| panic!("one of these never ends: {batch:?}"));
            self.tally.accepted += batch.iter().filter(|_| wait().1 >= 0).count() as u64;
            self.tally.sent += batch.len() as u64;
            if Instant::now() > until {
                return;
            }
        }
    }

    /// Reads of one batch do not meet in the memory, a write takes the place of one that would: to the debug kernel's DMA API two
    /// transfers into one cache line are a driver's mistake, be they what a user asked for.
    fn batch(&mut self) -> Vec<Entry> {
        let mut entries: Vec<[u8; 64]> = Vec::new();
        for _ in 0..1 + self.random.below(8_u64) {
            let mut entry = self.entry();
            if entries.iter().any(|other| meet(other, &entry)) {
                entry[OP..OP + 4].copy_from_slice(&P2PDMA_USER_WRITE.to_le_bytes());
            }
            entries.push(entry);
        }
        // SAFETY: both are 64 bytes that may hold anything.
        entries.into_iter().map(|entry| unsafe { std::mem::transmute::<[u8; 64], Entry>(entry) }).collect()
    }

    /// Always an URING_CMD that tells when it ends; all else is garbage.
    fn entry(&mut self) -> [u8; 64] {
        const OPCODE: usize = 0;
        const FLAGS: usize = 1;
        let random = &mut self.random;
        let op = random.one_of(&[P2PDMA_USER_READ, P2PDMA_USER_WRITE]);
        let (offset, position) = (random.below(1_u64 << 20) as usize & !3, random.below(1_u64 << 20) & !511);
        let right = Request { op, offset, position, length: 4096 }.entry(0);
        // SAFETY: both are 64 bytes that may hold anything.
        let mut bytes = unsafe { std::mem::transmute::<Entry, [u8; 64]>(right) };
        if random.percent(10) {
            (4..64).for_each(|at| bytes[at] = random.below(255_u8));
        }
        for _ in 0..random.below(4_u8) {
            garble(&mut bytes, 2, random, self.fds);
        }
        let fixed = random.percent(90);
        bytes[OPCODE] = io_uring::opcode::UringCmd16::CODE;
        // Not IOSQE_IO_DRAIN: behind refused commands, to /dev/null as well, 6.12 forgets some that wait for their turn.
        bytes[FLAGS] = random.one_of(&[0, 0, 0, 4, 8, 16, 32]) | u8::from(fixed);
        let fd = if fixed { 0 } else { random.one_of(self.fds) };
        bytes[4..8].copy_from_slice(&fd.to_le_bytes());
        bytes
    }
}

/// Where an entry has its `cmd_op`, the offset in the buffer, and the length.
const OP: usize = 8;
const OFFSET: usize = 16;
const LENGTH: usize = 56;

/// Whether both would write to one cache line of the memory.
fn meet(one: &[u8; 64], other: &[u8; 64]) -> bool {
    const LINE: u64 = 64;
    let lines = |entry: &[u8; 64]| {
        let word = |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
        let start = u64::from(word(OFFSET)) | u64::from(word(OFFSET + 4)) << 32;
        let end = start.saturating_add(word(LENGTH).into());
        (word(OP) == P2PDMA_USER_READ).then_some(start / LINE..end.div_ceil(LINE))
    };
    matches!((lines(one), lines(other)), (Some(one), Some(other)) if one.start < other.end && other.start < one.end)
}

/// This thread alone: the kernel knows threads, libc keeps them alike.
fn become_ordinary() {
    // SAFETY: no pointers but that to an empty list.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()), 0);
        assert_eq!(libc::syscall(libc::SYS_setresgid, 1000, 1000, 1000), 0);
        assert_eq!(libc::syscall(libc::SYS_setresuid, 1000, 1000, 1000), 0);
    }
    File::open("/proc/1/environ").expect_err("not root any more");
}

#[test]
fn garbage_is_refused_without_a_word() {
    let _alone = alone();
    let seconds = setting("P2PDMA_GARBAGE_SECONDS", 5);
    let seed = seed();
    note(&format!("garbage: P2PDMA_SEED={seed}"));
    // Memory for each thread, for the reason that is given at `Commands::batch`.
    let (ground, commanded, strangers, dma_buf) = (Ground::new(), Ground::new(), strangers(), dma_buf());
    let mut cases = ground.cases();
    // Memory of the host's, so it is never right; what it gets from a GPU's driver is in calls.rs and register.rs.
    let register = p2pdma_user_register { provider: device("GPU"), fd: dma_buf.as_raw_fd(), ..Default::default() };
    cases.push(another("REGISTER", ground.node.as_raw_fd(), P2PDMA_USER_REGISTER, bytes(register), Some(20)));
    let mut fds: Vec<RawFd> = strangers.iter().map(|(_, fd)| fd.as_raw_fd()).collect();
    fds.extend([-1, 1 << 20]);
    let mut commands_fds = fds.clone();
    fds.extend(cases.iter().map(Case::as_raw_fd));
    commands_fds.extend(commanded.cases().iter().map(Case::as_raw_fd));
    let mut log = Log::open();
    let until = Instant::now() + Duration::from_secs(seconds);
    let (mut random, tally) = (Random::new(seed), Tally::default());
    let mut other_random = Random::new(random.below(u64::MAX));
    let (ioctls, commands) = thread::scope(|scope| {
        let ioctls = scope.spawn(|| {
            become_ordinary();
            let (args, memory) = (Area::new(8192), Area::new(MIB));
            let mut ioctls = Ioctls { cases: &cases, fds: &fds, random, args, memory, tally };
            while Instant::now() < until {
                ioctls.one();
            }
            ioctls.tally
        });
        let commands = scope.spawn(|| {
            become_ordinary();
            let random = Random::new(other_random.below(u64::MAX));
            let mut commands = Commands { fds: &commands_fds, random, tally };
            while Instant::now() < until {
                commands.ring(&commanded.pair, until);
            }
            commands.tally
        });
        (ioctls.join().expect("no panic"), commands.join().expect("no panic"))
    });
    say(&format!("garbage: {seconds} s, P2PDMA_SEED={seed}; ioctls: {ioctls:?}; commands: {commands:?}"));
    assert_eq!(log.read(), Vec::<String>::new(), "an ordinary user's mistakes are not for the kernel's log");
    for tally in [ioctls, commands] {
        assert!(tally.accepted > 0 && tally.sent > 2 * tally.accepted, "{tally:?} is no garbage");
    }
    for ground in [ground, commanded] {
        assert_eq!(ground.pair.io(P2PDMA_USER_READ, 0, 0, 4096), Ok((4096, 0)), "it still works");
    }
}

#[test]
fn what_an_ordinary_user_may_read_names_no_kernel_address() {
    let _alone = alone();
    let ground = Ground::new();
    let fds = [&ground.buffer.0, &ground.pair.fd].map(AsRawFd::as_raw_fd);
    thread::scope(|scope| {
        scope.spawn(|| {
            become_ordinary();
            assert_eq!(File::options().read(true).open(NODE).unwrap_err().raw_os_error(), Some(libc::EACCES));
            let mut all: Vec<String> = fds.iter().map(|fd| format!("/proc/thread-self/fdinfo/{fd}")).collect();
            for directory in
                ["/sys/module/p2pdma_user", "/sys/bus/pci/drivers/p2pdma_user", "/sys/class/misc/p2pdma_user"]
            {
                files_below(directory, 4, &mut all);
            }
            let texts: Vec<(String, String)> = all.into_iter().filter_map(|path| Some((read(&path)?, path))).collect();
            assert!(texts.len() > 5, "little could be read: {texts:?}");
            for (text, path) in texts {
                assert!(!names_kernel_address(&text), "{path}: {text}");
            }
        });
    });
}

fn read(path: &str) -> Option<String> {
    let mut text = Vec::new();
    File::open(path).ok()?.read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn files_below(directory: &str, depth: u32, all: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path().display().to_string(), entry.file_type().expect("a kind"));
        if kind.is_file() {
            all.push(path);
        } else if kind.is_dir() && depth > 0 {
            files_below(&path, depth - 1, all);
        }
    }
}

/// The upper half of the address space, as the kernel prints it.
fn names_kernel_address(text: &str) -> bool {
    let words = text.split(|letter: char| !letter.is_ascii_hexdigit());
    words.into_iter().any(|word| word.len() == 16 && word.to_ascii_lowercase().starts_with("ffff"))
}
