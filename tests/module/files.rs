//! What file systems do on their own: extents, extension, journals, freezing.

use std::{
    fs::{self, File},
    os::fd::AsRawFd,
    process::Command,
    sync::OnceLock,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use io_uring::IoUring;
use p2pdma_sys::*;

use crate::{
    data::{AREA, sizes_and_depths},
    life::{Unbound, Victim},
    objects::*,
    ring::{Request, Ring},
};

fn shell(script: &str) -> bool {
    Command::new("sh").args(["-c", script]).status().expect("a shell").success()
}

/// An ext4 file system on the second SSD, mounted as long as this process lives; with `nodelalloc`, as `chattr +j` would
/// have no effect otherwise.
fn ext4() -> &'static str {
    static MOUNTED: OnceLock<()> = OnceLock::new();
    MOUNTED.get_or_init(|| {
        let device = variable("P2PDMA_CMB");
        let mount = format!("mkdir -p /run/ext4 && mount -o nodelalloc {device} /run/ext4");
        assert!(shell(&format!("mkfs.ext4 -q -F {device} && {mount}")));
    });
    "/run/ext4"
}

fn new_file(path: &str) -> File {
    File::create(path).expect("a file");
    open_direct(path, true)
}

/// A file of so many `AREA`s, all written, so that reads and overwrites are truly asynchronous.
fn written(path: &str, areas: u64) -> File {
    let file = new_file(path);
    (0..areas).for_each(|part| host_write(&file, part * AREA as u64, &pattern(99, AREA)));
    file
}

/// A file of `AREA` bytes.
pub(crate) fn file_on_ext4(name: &str) -> File {
    written(&format!("{}/{name}", ext4()), 1)
}

/// 64 MiB.
pub(crate) fn big_file_on_ext4(name: &str) -> File {
    written(&format!("{}/{name}", ext4()), 4)
}

/// An xfs file system on the SSD that others use raw.
pub(crate) struct Xfs;

impl Xfs {
    const ROOT: &'static str = "/run/xfs";

    pub(crate) fn mount() -> Self {
        let device = variable("P2PDMA_SSD");
        let script = format!("mkfs.xfs -q -f {device} && mkdir -p {0} && mount {device} {0}", Self::ROOT);
        assert!(shell(&script));
        Self
    }

    /// A file of `AREA` bytes, all written.
    pub(crate) fn file(&self, name: &str) -> File {
        written(&format!("{}/{name}", Self::ROOT), 1)
    }

    /// 64 MiB, all written likewise.
    pub(crate) fn big_file(&self, name: &str) -> File {
        written(&format!("{}/{name}", Self::ROOT), 4)
    }
}

/// A ring keeps a registered pair, and that the file, for some time after it was closed.
impl Drop for Xfs {
    fn drop(&mut self) {
        eventually("the umount", || shell(&format!("umount {} 2>/dev/null", Self::ROOT)));
    }
}

#[test]
fn commands_and_the_host_agree_on_xfs() {
    let _alone = alone();
    let mounted = Xfs::mount();
    sizes_and_depths(&mounted.file("agree"));
}

/// Calls fallocate.
fn allocate(file: &File, mode: i32, position: usize, length: usize) {
    // SAFETY: no pointers.
    let result = unsafe { libc::fallocate(file.as_raw_fd(), mode, position as i64, length as i64) };
    assert_eq!(result, 0);
}

/// An operation that goes over many extents meets a lock that another holds: the submitter may not wait for it, and io_uring
/// has already been told that the operation is on its way.
#[test]
fn a_file_whose_extents_are_being_changed_is_read_all_the_same() {
    let _alone = alone();
    let _mounted = Xfs::mount();
    let file = new_file("/run/xfs/extents");
    host_write(&file, 0, &pattern(61, MIB));
    let hole = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    (0..MIB).step_by(16 * KIB).for_each(|at| allocate(&file, hole, at, 4 * KIB));
    let (buffer, done) = (Buffer::of_gpu(8 * MIB), AtomicBool::new(false));
    let pair = buffer.bind(&file).expect("a pair");
    let mut ring = Ring::new(&pair);
    let read = |index| Request { op: P2PDMA_USER_READ, offset: index * MIB, position: 0, length: MIB };
    let round: Vec<Request> = (0..8).map(read).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                allocate(&file, 0, 2 * MIB, MIB);
                allocate(&file, hole, 2 * MIB, MIB);
            }
        });
        let results: Vec<i32> = (0..20).flat_map(|_| ring.all(&round, 8)).collect();
        done.store(true, Ordering::Relaxed);
        assert_eq!(results, vec![MIB as i32; 160]);
    });
    assert!(buffer.read(7 * MIB, MIB).expect("copied") == host_read(&file, 0, MIB));
}

#[test]
fn writes_beyond_the_end_extend_a_file() {
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(MIB), new_file(&format!("{}/extended", ext4())));
    let pair = buffer.bind(&file).expect("a pair");
    buffer.write(0, &pattern(5, MIB)).expect("copied");
    let part = |index: usize| (index << 14, (index << 14) as u64);
    let all: Vec<Request> = (0..64)
        .map(part)
        .map(|(offset, position)| Request { op: P2PDMA_USER_WRITE, offset, position, length: 16 * KIB })
        .collect();
    assert_eq!(Ring::new(&pair).all(&all, 64), vec![16 * KIB as i32; 64]);
    assert!(host_read(&file, 0, MIB) == pattern(5, MIB));
}

/// `chattr +j`: from now on ext4 takes all writes and reads of the file through its page cache.
fn journal_data(file: &File) {
    let mut flags: libc::c_long = 0;
    // SAFETY: both calls read or write one long.
    assert_eq!(unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, &mut flags) }, 0);
    flags |= 0x4000; // FS_JOURNAL_DATA_FL
    // SAFETY: as above.
    assert_eq!(unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_SETFLAGS, &flags) }, 0);
}

#[test]
fn a_file_system_that_went_through_the_page_cache_is_told_on() {
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(MIB), file_on_ext4("journalled"));
    let pair = buffer.bind(&file).expect("a pair");
    assert_eq!(pair.io(P2PDMA_USER_READ, 0, 0, 4096), Ok((4096, 0)));
    assert_eq!(pair.io(P2PDMA_USER_WRITE, 0, 0, 4096), Ok((4096, 0)));
    journal_data(&file);
    assert_eq!(pair.io(P2PDMA_USER_READ, 0, 8192, 4096), Ok((4096, P2PDMA_USER_IO_BUFFERED)));
    assert_eq!(pair.io(P2PDMA_USER_WRITE, 0, 16_384, 4096), Ok((4096, P2PDMA_USER_IO_BUFFERED)));
    let read = Request { op: P2PDMA_USER_READ, offset: 0, position: 32_768, length: 4096 };
    let told = 4096 | P2PDMA_USER_RESULT_BUFFERED as i32;
    assert_eq!(Ring::of(&IoUring::builder(), &pair).one(&read.entry(0)), told);
    assert_eq!(buffer.bind(&file).unwrap_err(), libc::EOPNOTSUPP);
}

/// Nobody writes to the ext4 file system until this is dropped.
struct Frozen(File);

impl Frozen {
    const FIFREEZE: u64 = 0xc004_5877;
    const FITHAW: u64 = 0xc004_5878;

    fn new() -> Self {
        let root = File::open(ext4()).expect("the root");
        // SAFETY: the argument is not looked at.
        assert_eq!(unsafe { libc::ioctl(root.as_raw_fd(), Self::FIFREEZE, 0) }, 0);
        Self(root)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // SAFETY: the argument is not looked at.
        unsafe { libc::ioctl(self.0.as_raw_fd(), Self::FITHAW, 0) };
    }
}

#[test]
fn a_frozen_file_system_holds_up_writes_but_no_submitter_and_no_unbind() {
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(MIB), file_on_ext4("frozen"));
    let pair = buffer.bind(&file).expect("a pair");
    let mut ring = Ring::new(&pair);
    let write = |data| Request { op: P2PDMA_USER_WRITE, offset: 0, position: 0, length: 4096 }.entry(data);
    let frozen = Frozen::new();
    ring.push(&write(1));
    ring.submit();
    let read = Request { op: P2PDMA_USER_READ, offset: 0, position: 0, length: 4096 };
    assert_eq!(pair.io(read.op, 0, 0, 4096), Ok((4096, 0)), "reads go on");
    assert!(ring.0.completion().next().is_none());
    drop(frozen);
    assert_eq!(ring.wait(), (1, 4096));

    let frozen = Frozen::new();
    ring.push(&write(2));
    ring.submit();
    let unbound = Unbound::new();
    drop(frozen);
    assert_eq!(ring.wait(), (2, -libc::ENODEV));
    drop(unbound);
}

/// Freeze protection is given back when the DMA ends, not when the task looks at the result.
#[test]
fn a_stopped_process_holds_up_no_freeze() {
    let _alone = alone();
    let (buffer, file) = (Buffer::of_gpu(32 * MIB), file_on_ext4("stopped"));
    let pair = buffer.bind(&file).expect("a pair");
    let child = Victim::new(&pair);
    child.signal(libc::SIGSTOP);
    drop(Frozen::new());
    drop(child);
    fs::metadata(ext4()).expect("it works again");
}

/// Into the holes of such a file ext4 writes through the page cache, and empties that again: nobody could tell.
#[test]
fn a_file_without_extents_is_refused() {
    let _alone = alone();
    // More than a few blocks would not fit in a map of blocks, for the kernel.
    let (buffer, file) = (Buffer::of_gpu(MIB), new_file(&format!("{}/blocks", ext4())));
    host_write(&file, 0, &pattern(99, 4096));
    drop(buffer.bind(&file).expect("a pair"));
    assert!(shell(&format!("chattr -e {}/blocks", ext4())));
    assert_eq!(buffer.bind(&file).unwrap_err(), libc::EOPNOTSUPP);
}
