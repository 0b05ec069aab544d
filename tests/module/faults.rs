//! Each allocation of each call fails in turn, and so does each access to the caller's memory: `fail-nth`, as in the kernel's
//! `Documentation/fault-injection/fault-injection.rst`. Needs the debug kernel, which has failslab.

use std::{
    cell::RefCell,
    fmt,
    fs::{self, File},
    os::fd::{AsRawFd, RawFd},
    os::unix::fs::FileExt,
};

use p2pdma_sys::*;

use crate::{
    calls::{Case, Ground, bytes, open_fds},
    files::file_on_ext4,
    gpu::{Layout, StandIn, attribute, provide},
    log::Log,
    objects::*,
    ring::{Request, Ring},
    stack::Stack,
};

/// A call that fails more often than this does so for another reason.
const MOST: u32 = 1000;

/// Answers and questions in the caller's memory and the stack, and nothing else.
const WITHOUT_ALLOCATION: [&str; 4] = ["INFO", "DISTANCE", "QUEUE", "STATS"];

/// Makes the nth thing fail that this thread asks the kernel for.
struct FailNth {
    nth: File,
    log: Log,
}

const KINDS: [&str; 3] = ["failslab", "fail_page_alloc", "fail_usercopy"];

fn set(name: &str, value: &str) {
    fs::write(format!("/sys/kernel/debug/{name}"), value).expect("fault injection, which the debug kernel has");
}

/// What a function of the kernel and those below it ask for does not fail, nor is it counted, as long as this lives.
struct Spared;

impl Spared {
    fn new(function: &str) -> Self {
        let text = fs::read_to_string("/proc/kallsyms").expect("the kernel's symbols");
        let symbol = |line: &str| u64::from_str_radix(&line[..16], 16).expect("an address");
        let line = text.lines().find(|line| line.ends_with(&format!(" T {function}"))).expect("the function");
        let start = symbol(line);
        let end = text.lines().map(symbol).filter(|&address| address > start).min().expect("another");
        for kind in KINDS {
            set(&format!("{kind}/reject-end"), &format!("{end:#x}"));
            set(&format!("{kind}/reject-start"), &format!("{start:#x}"));
        }
        Self
    }
}

impl Drop for Spared {
    fn drop(&mut self) {
        for kind in KINDS {
            set(&format!("{kind}/reject-start"), "0");
            set(&format!("{kind}/reject-end"), "0");
        }
    }
}

impl FailNth {
    fn new() -> Self {
        for kind in KINDS {
            set(&format!("{kind}/verbose"), "1");
        }
        set("failslab/ignore-gfp-wait", "N");
        set("fail_page_alloc/ignore-gfp-wait", "N");
        set("fail_page_alloc/min-order", "0");
        let nth = File::options().read(true).write(true).open("/proc/thread-self/fail-nth").expect("fail-nth");
        Self { nth, log: Log::open() }
    }

    fn arm(&self, nth: u32) {
        self.nth.write_all_at(nth.to_string().as_bytes(), 0).expect("armed");
    }

    /// Whether the failure has happened. Where it has not, it may meet the very read that asks, or the write thereafter.
    fn disarm(&self) -> bool {
        let mut left = [0; 16];
        let fired = self.nth.read_at(&mut left, 0).is_ok_and(|length| &left[..length] == b"0\n");
        if self.nth.write_at(b"0", 0).is_err() {
            self.arm(0);
        }
        fired
    }
}

/// What failed in one call, each once.
#[derive(Default)]
struct Injected {
    slab: u32,
    pages: u32,
    user_memory: u32,
    /// Asked for with `__GFP_NOWARN`, hence without a word in the log; an allocation too.
    quiet: u32,
    survived: u32,
}

impl Injected {
    fn count(&mut self, log: &[String], result: Result<(), i32>) {
        let what = [("failslab", &mut self.slab), ("fail_page_alloc", &mut self.pages)];
        let [slab, pages] = what.map(|(name, count)| (format!("name {name},"), count));
        let all = [slab, pages, ("name fail_usercopy,".to_owned(), &mut self.user_memory)];
        let said = all.into_iter().find(|(name, _)| log.iter().any(|line| line.contains(name)));
        *said.map_or(&mut self.quiet, |(_, count)| count) += 1;
        self.survived += u32::from(result.is_ok());
    }

    fn allocations(&self) -> u32 {
        self.slab + self.pages + self.quiet
    }
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { slab, pages, user_memory, survived, .. } = self;
        let all = self.allocations();
        write!(f, "{all} allocations failed ({slab} logged of slabs, {pages} of pages), ")?;
        write!(f, "{user_memory} accesses to the caller's memory; {survived} times the call succeeded all the same")
    }
}

/// Lets the call fail at its first allocation, its second, ... until there is none left. `settle` tells how the call ended, and
/// takes back what it did.
fn sweep<T>(
    faults: &mut FailNth,
    prepare: impl Fn() -> T,
    act: impl Fn(&mut T) -> Result<(), i32>,
    settle: impl Fn(T, Result<(), i32>) -> Result<(), i32>,
) -> Injected {
    let mut injected = Injected::default();
    let before = (stats(), open_fds());
    for nth in 1..=MOST {
        let mut things = prepare();
        faults.log.read();
        faults.arm(nth);
        let result = act(&mut things);
        let fired = faults.disarm();
        let result = settle(things, result);
        eventually("the end of what a failed call had begun", || (stats(), open_fds()) == before);
        if !fired {
            assert_eq!(result, Ok(()), "nothing failed in the call, hence it did not");
            return injected;
        }
        injected.count(&faults.log.read(), result);
        let plausible = matches!(result, Ok(()) | Err(libc::ENOMEM | libc::EFAULT));
        assert!(plausible, "failure {nth} ended in {result:?}");
    }
    panic!("still failing after {MOST} failures")
}

fn report(name: &str, allocates: bool, injected: &Injected) {
    say(&format!("fail-nth: {name}: {injected}"));
    assert!(!allocates || injected.allocations() > 0, "{name} allocates, and nothing failed");
}

fn sweep_call(faults: &mut FailNth, case: &Case) {
    let prepare = || case.sized(&case.args, case.len());
    let act = |args: &mut Vec<u8>| call_at(case, case.number, args.as_mut_ptr().cast());
    let settle = |args: Vec<u8>, result: Result<(), i32>| result.inspect(|()| case.close_what_it_made(&args));
    let injected = sweep(faults, prepare, act, settle);
    report(case.name, !WITHOUT_ALLOCATION.contains(&case.name), &injected);
}

/// A call that is in no table of shapes: the same on other ground.
pub(crate) fn another(name: &'static str, fd: RawFd, number: u32, args: Vec<u8>, makes_fd: Option<usize>) -> Case {
    Case { name, fd, number, args, makes_fd, reserved: vec![] }
}

#[test]
#[ignore = "needs the debug kernel, which can fail allocations; tests/run has a stage for it"]
fn each_allocation_of_each_ioctl_may_fail() {
    let _alone = alone();
    let (ground, file) = (Ground::new(), file_on_ext4("faults"));
    let on_ext4 = ground.buffer.bind(&file).expect("a pair");
    let mut faults = FailNth::new();
    for case in ground.cases() {
        sweep_call(&mut faults, &case);
    }
    let alloc = p2pdma_user_alloc { provider: device("CMB"), length: 4096, ..Default::default() };
    let bind = p2pdma_user_bind { fd: file.as_raw_fd(), ..Default::default() };
    let write = p2pdma_user_io { op: P2PDMA_USER_WRITE, length: 4096, ..Default::default() };
    let (node, buffer, pair) = (ground.node.as_raw_fd(), ground.buffer.0.as_raw_fd(), on_ext4.fd.as_raw_fd());
    for case in [
        another("ALLOC, the first of a provider", node, P2PDMA_USER_ALLOC, bytes(alloc), Some(32)),
        another("BIND of a file on ext4", buffer, P2PDMA_USER_BIND, bytes(bind), Some(12)),
        another("IO, a write on ext4", pair, P2PDMA_USER_IO, bytes(write), None),
    ] {
        sweep_call(&mut faults, &case);
    }
}

#[test]
#[ignore = "needs the debug kernel, which can fail allocations; tests/run has a stage for it"]
fn each_allocation_of_register_may_fail() {
    let _alone = alone();
    let stand_in = StandIn::provided();
    let memory = stand_in.export(0, MIB).expect("a dma-buf");
    let args = p2pdma_user_register { provider: device("GPU"), fd: memory.as_raw_fd(), ..Default::default() };
    let node = node();
    let case = another("REGISTER", node.as_raw_fd(), P2PDMA_USER_REGISTER, bytes(args), Some(20));
    sweep_call(&mut FailNth::new(), &case);
}

/// A ring of its own each time: io_uring keeps what it has once allocated.
fn sweep_command(faults: &mut FailNth, name: &str, pair: &Pair, op: u32) {
    let entry = Request { op, offset: 0, position: 0, length: 4096 }.entry(0);
    let prepare = || {
        let mut ring = Ring::new(pair);
        ring.push(&entry);
        ring
    };
    // What this call itself cannot begin for want of memory it begins when called again, in `settle`.
    let act = |ring: &mut Ring| ring.0.submit_and_wait(1).map(|_| ()).or(Ok(()));
    let settle = |mut ring: Ring, _| match ring.wait().1 {
        4096 => Ok(()),
        error => Err(-error),
    };
    let injected = sweep(faults, prepare, act, settle);
    report(name, true, &injected);
}

#[test]
#[ignore = "needs the debug kernel, which can fail allocations; tests/run has a stage for it"]
fn each_allocation_of_each_command_may_fail() {
    let _alone = alone();
    let (buffer, raw, file) = (Buffer::of_gpu(MIB), ssd(), file_on_ext4("faults"));
    let mut faults = FailNth::new();
    // Both live until the end, as a ring gives a pair back some time after it was closed.
    let pairs =
        [("a raw device", &raw), ("ext4", &file)].map(|(what, file)| (what, buffer.bind(file).expect("a pair")));
    for (what, pair) in &pairs {
        sweep_command(&mut faults, &format!("command, a read of {what}"), pair, P2PDMA_USER_READ);
        sweep_command(&mut faults, &format!("command, a write to {what}"), pair, P2PDMA_USER_WRITE);
    }
}

/// Writes to one of root's switches; `undo` hears how that ended, and takes back what it did.
fn sweep_switch(name: &'static str, text: &str, undo: impl Fn(Result<(), i32>)) {
    let path = format!("/sys/bus/pci/drivers/{DRIVER}/{name}");
    let prepare = || File::options().write(true).open(&path).expect("the attribute");
    let act = |file: &mut File| match file.write_at(text.as_bytes(), 0) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.raw_os_error().expect("an errno")),
    };
    let settle = |_, result| {
        undo(result);
        result
    };
    let injected = sweep(&mut FailNth::new(), prepare, act, settle);
    report(&format!("a write to {name}"), true, &injected);
}

#[test]
#[ignore = "needs the debug kernel, which can fail allocations; tests/run has a stage for it"]
fn each_allocation_of_naming_a_stack_may_fail() {
    let _alone = alone();
    let stack = Stack::linear();
    let text = format!("{}={}", stack.number(), variable("P2PDMA_SSD_ADDRESS"));
    sweep_switch("stack", &text, |_| attribute("stack", &format!("{}=", stack.number())).expect("taken back"));
}

/// And what failed may be tried again at once, whatever there is of it.
///
/// But for those below `arch_add_memory`, the page tables and the memory map of the BAR: Linux 6.12 writes to a table that it has
/// not got (`alloc_low_page` in `arch/x86/mm/init.c`), and warns of a map that it has not got (`add_pages` in `init_64.c`).
#[test]
#[ignore = "needs the debug kernel, which can fail allocations; tests/run has a stage for it"]
fn each_allocation_of_provide_may_fail() {
    let _alone = alone();
    let (gpu, _spared) = (RefCell::new(StandIn::new()), Spared::new("arch_add_memory"));
    sweep_switch("provide", &variable("P2PDMA_GPU_ADDRESS"), |result| {
        result.or_else(|_| provide()).expect("provided at the second attempt");
        drop(gpu.borrow().register(0, MIB, Layout::default()));
        gpu.borrow().unbind();
        gpu.borrow_mut().rebind();
    });
    provide().expect("provided");
}
