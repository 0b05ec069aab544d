//! Counts what the processors of an emulated guest execute: a plugin of QEMU's (docs/devel/tcg-plugins.rst; version 1 of its
//! interface, which QEMU 6.0 to 8.1 have).
//!
//! A guest asks by making the file `NAME.mark` in the directory that the plugin was told (`directory=`). The answer is
//! `NAME.count`: for each block of code an address and how many instructions were executed there since the last answer.
//!
//! # Safety
//!
//! The interface is C. What QEMU passes is used while the call lasts; what QEMU keeps, counters, lives for ever.
#![expect(unsafe_code, reason = "the interface is C")]

use std::{
    collections::HashMap,
    ffi::{CStr, OsStr, c_char, c_int, c_uint, c_void},
    fmt::Write,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// A translated block of the guest's code.
#[repr(C)]
struct Block {
    _opaque: [u8; 0],
}

/// `QEMU_PLUGIN_INLINE_ADD_U64`
const ADD: c_uint = 0;

unsafe extern "C" {
    fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    fn qemu_plugin_tb_vaddr(block: *const Block) -> u64;
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, translated: extern "C" fn(u64, *mut Block));
    fn qemu_plugin_register_vcpu_tb_exec_inline(block: *mut Block, op: c_uint, counter: *mut c_void, step: u64);
}

/// How often a block ran, and how much of that was told.
struct Count {
    runs: &'static AtomicU64,
    told: u64,
}

/// By address and number of instructions. A block is translated again when the emulator has dropped it.
static COUNTS: Mutex<Option<HashMap<(u64, usize), Count>>> = Mutex::new(None);

fn counts() -> MutexGuard<'static, Option<HashMap<(u64, usize), Count>>> {
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The version of the interface that this was written for.
// No other symbol of this object has the name.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = 1;

/// Called by QEMU when it has loaded the plugin. Not 0: it has no directory, and the guest is not to start.
///
/// # Safety
///
/// `argv` is an array of `argc` strings.
// No other symbol of this object has the name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _: *const c_void,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    let argument = |index: usize| {
        // SAFETY: `index` is below `argc`, and the caller says that these are strings.
        unsafe { CStr::from_ptr(*argv.add(index)) }.to_bytes()
    };
    let mut arguments = (0..usize::try_from(argc).unwrap_or(0)).map(argument);
    let Some(directory) = arguments.find_map(|argument| argument.strip_prefix(b"directory=")) else { return 1 };
    let directory = PathBuf::from(OsStr::from_bytes(directory));
    thread::spawn(move || answer(&directory));
    // SAFETY: `id` is what QEMU has just given for such calls.
    unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, translated) };
    0
}

extern "C" fn translated(_: u64, block: *mut Block) {
    // SAFETY: QEMU passes a block that lives as long as this call.
    let key = unsafe { (qemu_plugin_tb_vaddr(block), qemu_plugin_tb_n_insns(block)) };
    let mut counts = counts();
    let counts = counts.get_or_insert_default();
    let count = counts.entry(key).or_insert_with(|| Count { runs: Box::leak(Box::default()), told: 0 });
    // SAFETY: the block lives as long as this call, the counter for ever, and is an integer that may be changed at any time.
    unsafe { qemu_plugin_register_vcpu_tb_exec_inline(block, ADD, count.runs.as_ptr().cast(), 1) };
}

/// Answers whoever asks, as long as the emulator runs.
fn answer(directory: &Path) {
    loop {
        thread::sleep(Duration::from_millis(2));
        let paths = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
        let marks = paths.filter(|path| path.extension().is_some_and(|extension| extension == "mark"));
        for mark in marks.filter(|mark| !mark.with_extension("count").exists()) {
            // Without an answer the guest's own deadline ends the run.
            let _ = tell(&mark);
        }
    }
}

fn tell(mark: &Path) -> io::Result<()> {
    let mut text = String::new();
    for ((address, instructions), count) in counts().get_or_insert_default() {
        let runs = count.runs.load(Ordering::Relaxed);
        let executed = (runs - count.told) * *instructions as u64;
        count.told = runs;
        if executed > 0 {
            // A string grows.
            let _ = writeln!(text, "{address:x} {executed}");
        }
    }
    // Whole when it is seen.
    fs::write(mark.with_extension("counting"), text)?;
    fs::rename(mark.with_extension("counting"), mark.with_extension("count"))
}
