//! The shapes of all ioctls: sizes, unknown flags, reserved fields, and what each says when it is right.

use std::{
    fs::{self, File},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    os::unix::fs::MetadataExt,
};

use p2pdma_sys::*;

use crate::{
    gpu::{StandIn, register},
    objects::*,
};

/// An ioctl with an argument that it accepts, as bytes.
pub(crate) struct Case {
    pub name: &'static str,
    pub fd: RawFd,
    pub number: u32,
    pub args: Vec<u8>,
    /// Where the argument has an fd that the call makes.
    pub makes_fd: Option<usize>,
    /// Bytes that must be 0.
    pub reserved: Vec<usize>,
}

impl AsRawFd for Case {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

impl Case {
    /// With these bytes, of which `size` are said to be there. Closes what a call makes.
    fn run(&self, args: &[u8], size: u32) -> Result<(), i32> {
        let mut args = self.sized(args, size);
        call_at(self, self.number, args.as_mut_ptr().cast())?;
        self.close_what_it_made(&args);
        Ok(())
    }

    pub(crate) fn sized(&self, args: &[u8], size: u32) -> Vec<u8> {
        let mut args = args.to_vec();
        args[..4].copy_from_slice(&size.to_le_bytes());
        args
    }

    /// After a call that succeeded.
    pub(crate) fn close_what_it_made(&self, args: &[u8]) {
        if let Some(at) = self.makes_fd {
            let fd = i32::from_le_bytes(args[at..at + 4].try_into().expect("four bytes"));
            // SAFETY: the call has just made it, and nobody else knows it.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }

    pub(crate) fn len(&self) -> u32 {
        self.args.len() as u32
    }
}

/// What the fds of the cases stand for.
pub(crate) struct Ground {
    pub node: File,
    pub ssd: File,
    pub buffer: Buffer,
    pub pair: Pair,
    pub memory: Vec<u8>,
    /// A dma-buf, where the GPU's memory is had by REGISTER; else by ALLOC.
    exported: Option<(StandIn, OwnedFd)>,
}

/// One after the other, as the GPU has one driver at a time.
const GROUNDS: [fn() -> Ground; 2] = [Ground::new, Ground::exported];

fn each_case(test: impl Fn(&Case)) {
    for ground in GROUNDS {
        let ground = ground();
        ground.cases().iter().for_each(&test);
    }
}

impl Ground {
    pub(crate) fn new() -> Self {
        let (buffer, ssd) = (Buffer::of_gpu(MIB), ssd());
        let pair = buffer.bind(&ssd).expect("a pair");
        Self { node: node(), ssd, buffer, pair, memory: vec![0; 4096], exported: None }
    }

    fn exported() -> Self {
        let gpu = StandIn::provided();
        let dmabuf = gpu.export(0, MIB).expect("a dma-buf");
        let (buffer, ssd) = (register(device("GPU"), &dmabuf).expect("a buffer"), ssd());
        let pair = buffer.bind(&ssd).expect("a pair");
        Self { node: node(), ssd, buffer, pair, memory: vec![0; 4096], exported: Some((gpu, dmabuf)) }
    }

    pub(crate) fn cases(&self) -> Vec<Case> {
        let (provider, client) = (device("GPU"), device("SSD"));
        let fd = self.ssd.as_raw_fd();
        let address = self.memory.as_ptr() as u64;
        let (length, op) = (4096, P2PDMA_USER_READ);
        let distance = p2pdma_user_distance { provider, client, ..Default::default() };
        let alloc = p2pdma_user_alloc { provider, length: 4096, ..Default::default() };
        let copy = p2pdma_user_copy { direction: P2PDMA_USER_COPY_OUT, length, address, ..Default::default() };
        let io = p2pdma_user_io { op, length, ..Default::default() };
        let (node, buffer, pair) = (self.node.as_raw_fd(), self.buffer.0.as_raw_fd(), self.pair.fd.as_raw_fd());
        let case = |name, fd, number, args| Case { name, fd, number, args, makes_fd: None, reserved: vec![] };
        let mut cases = vec![
            case("INFO", node, P2PDMA_USER_INFO, bytes(p2pdma_user_info::default())),
            case("DISTANCE", node, P2PDMA_USER_DISTANCE, bytes(distance)),
            case("QUEUE", node, P2PDMA_USER_QUEUE, bytes(p2pdma_user_queue { fd, ..Default::default() })),
            case("ALLOC", node, P2PDMA_USER_ALLOC, bytes(alloc)),
            case("STATS", node, P2PDMA_USER_STATS, bytes(p2pdma_user_stats::default())),
            case("BIND", buffer, P2PDMA_USER_BIND, bytes(p2pdma_user_bind { fd, ..Default::default() })),
            case("COPY", buffer, P2PDMA_USER_COPY, bytes(copy)),
            case("IO", pair, P2PDMA_USER_IO, bytes(io)),
        ];
        cases[1].reserved = vec![14, 15, 22, 23, 28, 29, 30, 31];
        cases[3].reserved = vec![14, 15, 36, 37, 38, 39];
        cases[3].makes_fd = Some(32);
        cases[5].makes_fd = Some(12);
        if let Some((_, dmabuf)) = &self.exported {
            let args = p2pdma_user_register { provider, fd: dmabuf.as_raw_fd(), ..Default::default() };
            cases[3] = case("REGISTER", node, P2PDMA_USER_REGISTER, bytes(args));
            (cases[3].reserved, cases[3].makes_fd) = (vec![14, 15], Some(20));
        }
        cases
    }
}

pub(crate) fn bytes<T: Copy>(args: T) -> Vec<u8> {
    // SAFETY: the structures of the header have no padding; a test of p2pdma-sys holds that.
    unsafe { std::slice::from_raw_parts((&raw const args).cast::<u8>(), size_of::<T>()) }.to_vec()
}

#[test]
fn the_exact_size_is_accepted_and_every_shorter_one_refused() {
    let _alone = alone();
    each_case(|case| {
        assert_eq!(case.run(&case.args, case.len()), Ok(()), "{}", case.name);
        for size in 0..case.len() {
            assert_eq!(case.run(&case.args, size), Err(libc::EINVAL), "{} with size {size}", case.name);
        }
    });
}

#[test]
fn a_longer_argument_is_accepted_only_if_the_rest_is_zero() {
    let _alone = alone();
    each_case(|case| {
        let mut long = case.args.clone();
        long.resize(5000, 0);
        for size in [case.len() + 1, case.len() + 8, 4096] {
            assert_eq!(case.run(&long, size), Ok(()), "{} with size {size}", case.name);
            long[size as usize - 1] = 1;
            assert_eq!(case.run(&long, size), Err(libc::E2BIG), "{} with garbage at {size}", case.name);
            long[size as usize - 1] = 0;
        }
        assert_eq!(case.run(&long, 4097), Err(libc::E2BIG), "{}", case.name);
        assert_eq!(case.run(&long, u32::MAX), Err(libc::E2BIG), "{}", case.name);
    });
}

#[test]
fn each_unknown_flag_and_each_reserved_byte_is_refused() {
    let _alone = alone();
    each_case(|case| {
        let bits = (32..64).chain(case.reserved.iter().flat_map(|byte| byte * 8..byte * 8 + 8));
        for bit in bits {
            let mut args = case.args.clone();
            args[bit / 8] |= 1 << (bit % 8);
            assert_eq!(case.run(&args, case.len()), Err(libc::EOPNOTSUPP), "{} with bit {bit}", case.name);
        }
    });
}

#[test]
fn an_argument_that_cannot_be_read_or_answered_is_a_fault_and_leaves_nothing() {
    let _alone = alone();
    for ground in GROUNDS {
        let ground = ground();
        for case in ground.cases() {
            assert_eq!(call_at(&case, case.number, std::ptr::null_mut()), Err(libc::EFAULT), "{}", case.name);
        }
        let before = (stats(), open_fds());
        for case in ground.cases() {
            let page = ReadOnly::of(&case.args);
            assert_eq!(call_at(&case, case.number, page.0), Err(libc::EFAULT), "{}", case.name);
        }
        eventually("the end of what could not be answered", || (stats(), open_fds()) == before);
    }
}

pub(crate) fn open_fds() -> usize {
    fs::read_dir("/proc/self/fd").expect("procfs").count()
}

/// A page with an argument that the kernel can read but not write.
struct ReadOnly(*mut libc::c_void);

impl ReadOnly {
    fn of(args: &[u8]) -> Self {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping of one page, in which an argument has room.
        unsafe {
            let page = libc::mmap(std::ptr::null_mut(), 4096, access, flags, -1, 0);
            assert_ne!(page, libc::MAP_FAILED);
            page.cast::<u8>().copy_from_nonoverlapping(args.as_ptr(), args.len());
            page.cast::<u32>().write(args.len() as u32);
            assert_eq!(libc::mprotect(page, 4096, libc::PROT_READ), 0);
            Self(page)
        }
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        // SAFETY: mapped in `of`, and nobody else has its address.
        unsafe { libc::munmap(self.0, 4096) };
    }
}

#[test]
fn an_object_knows_only_its_own_calls() {
    let _alone = alone();
    let ground = Ground::exported();
    let fds = [ground.node.as_raw_fd(), ground.buffer.0.as_raw_fd(), ground.pair.fd.as_raw_fd()];
    for case in ground.cases() {
        for fd in fds.iter().filter(|&&fd| fd != case.fd) {
            let mut args = case.args.clone();
            assert_eq!(call_at(fd, case.number, args.as_mut_ptr().cast()), Err(libc::ENOTTY), "{}", case.name);
        }
        let mut args = case.args.clone();
        let unknown = P2PDMA_USER_TYPE << 8 | 0xff;
        assert_eq!(call_at(&case.fd, unknown, args.as_mut_ptr().cast()), Err(libc::ENOTTY));
    }
}

#[test]
fn the_node_is_for_root_and_its_group() {
    let _alone = alone();
    let mode = fs::metadata(NODE).expect("the node").mode();
    assert_eq!(mode & 0o7777, 0o660);
}

#[test]
fn info_tells_version_and_limits() {
    let _alone = alone();
    let mut args = p2pdma_user_info { size: size::<p2pdma_user_info>(), ..Default::default() };
    call(&node(), P2PDMA_USER_INFO, &mut args).expect("an answer");
    assert_eq!((args.out_major, args.out_max_length), (P2PDMA_USER_MAJOR, P2PDMA_USER_MAX_LENGTH));
    assert_eq!(args.out_features, u64::from(P2PDMA_USER_FEATURE_ALLOC | P2PDMA_USER_FEATURE_REGISTER));
}

#[test]
fn a_drives_queue_takes_peer_memory_and_a_null_device_does_not() {
    let _alone = alone();
    let answer = |path: &str| {
        let file = File::open(path).expect("a block device");
        let (size, fd) = (size::<p2pdma_user_queue>(), file.as_raw_fd());
        let mut args = p2pdma_user_queue { size, fd, ..Default::default() };
        call(&node(), P2PDMA_USER_QUEUE, &mut args).map(|()| args.out_features)
    };
    assert_eq!(answer(&variable("P2PDMA_SSD")), Ok(P2PDMA_USER_QUEUE_P2PDMA));
    assert_eq!(answer("/dev/nullb0"), Ok(0));
    assert_eq!(answer("/dev/null"), Err(libc::ENOTBLK));
    assert_eq!(answer("/proc/self/exe"), Err(libc::ENOTBLK));
}

#[test]
fn stats_count_what_is_held() {
    let _alone = alone();
    let ground = Ground::new();
    let second = ground.buffer.bind(&ground.ssd).expect("a second pair");
    let small = Buffer::of_gpu(1);
    let now = stats();
    assert_eq!((now.out_buffers, now.out_bytes, now.out_pairs, now.out_in_flight), (2, MIB as u64 + 4096, 2, 0));
    drop((second, small));
    let now = stats();
    assert_eq!((now.out_buffers, now.out_bytes, now.out_pairs), (1, MIB as u64, 1));
}

#[test]
fn what_is_made_closes_on_exec_and_has_a_name_and_an_inode_of_its_own() {
    let _alone = alone();
    let ground = Ground::new();
    let link = |fd: RawFd| fs::read_link(format!("/proc/self/fd/{fd}")).expect("a link").display().to_string();
    let inode = |fd: RawFd| fs::metadata(format!("/proc/self/fd/{fd}")).expect("an inode").ino();
    let (buffer, pair) = (ground.buffer.0.as_raw_fd(), ground.pair.fd.as_raw_fd());
    assert_eq!(link(buffer), "anon_inode:[p2pdma_user_buffer]");
    assert_eq!(link(pair), "anon_inode:[p2pdma_user_pair]");
    assert_ne!(inode(buffer), inode(pair));
    for fd in [buffer, pair] {
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::fcntl(fd, libc::F_GETFD) }, libc::FD_CLOEXEC);
    }
}
