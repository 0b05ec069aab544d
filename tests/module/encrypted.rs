//! Files whose bytes the processor encrypts, in the filesystem or, with `inlinecrypt`, below it in the block layer: peer memory
//! would be read and written by it, whichever of the two does it.

use std::{
    fs::{self, File},
    mem::zeroed,
    os::fd::AsRawFd,
    process::Command,
};

use crate::{objects::*, stack::shell};

const ROOT: &str = "/run/encrypted";

/// `FS_IOC_ADD_ENCRYPTION_KEY`: the kernel names a key that it was given (`struct fscrypt_add_key_arg`).
#[repr(C)]
struct AddKey {
    kind: u32,
    reserved: u32,
    name: [u8; 32],
    length: u32,
    id: u32,
    reserved_too: [u32; 8],
    key: [u8; 64],
}

/// `FS_IOC_SET_ENCRYPTION_POLICY`: how the files of a directory are encrypted (`struct fscrypt_policy_v2`).
#[repr(C)]
struct Policy {
    version: u8,
    contents: u8,
    names: u8,
    flags: u8,
    data_unit: u8,
    reserved: [u8; 3],
    key: [u8; 16],
}

fn ask<T>(directory: &File, number: libc::c_ulong, argument: &mut T) {
    // SAFETY: the argument is the structure of the call, and lives during it.
    let result = unsafe { libc::ioctl(directory.as_raw_fd(), number, argument as *mut T) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// What is made in it is encrypted: AES-256-XTS, names by AES-256-CTS.
fn encrypt(directory: &File) {
    let mut key =
        AddKey { kind: 2, reserved: 0, name: [0; 32], length: 64, id: 0, reserved_too: [0; 8], key: [0x5a; 64] };
    ask(directory, 0xc050_6617, &mut key);
    let name = key.name.first_chunk().expect("a name");
    let mut policy = Policy { version: 2, contents: 1, names: 4, flags: 3, data_unit: 0, reserved: [0; 3], key: *name };
    ask(directory, 0x800c_6613, &mut policy);
}

/// A filesystem on the SSD until this is dropped, with an encrypted directory in it.
struct Encrypted;

impl Encrypted {
    fn mount(options: &str) -> Self {
        let ssd = variable("P2PDMA_SSD");
        shell(&format!(
            "mkfs.ext4 -q -F -O encrypt {ssd}; mkdir -p {ROOT}; mount {options} {ssd} {ROOT}; mkdir {ROOT}/secret"
        ));
        encrypt(&File::open(format!("{ROOT}/secret")).expect("the directory"));
        Self
    }

    fn file(&self, name: &str) -> File {
        let path = format!("{ROOT}/{name}");
        fs::write(&path, pattern(91, MIB)).expect("written");
        open_direct(&path, true)
    }
}

impl Drop for Encrypted {
    fn drop(&mut self) {
        let ended = Command::new("umount").arg(ROOT).status().is_ok_and(|status| status.success());
        assert!(ended || std::thread::panicking(), "umount");
    }
}

/// 0 where there is no direct I/O.
fn memory_alignment(file: &File) -> u32 {
    // SAFETY: the path is a string, and the structure lives during the call.
    unsafe {
        let mut stat = zeroed::<libc::statx>();
        let what = libc::STATX_DIOALIGN;
        assert_eq!(libc::statx(file.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, what, &mut stat), 0);
        assert!(stat.stx_mask & what != 0, "the filesystem tells");
        stat.stx_dio_mem_align
    }
}

fn is_refused(mounted: &Encrypted, direct: bool) {
    let buffer = Buffer::of_gpu(MIB);
    let (secret, plain) = (mounted.file("secret/file"), mounted.file("plain"));
    assert_eq!(memory_alignment(&secret) != 0, direct);
    assert_eq!(buffer.bind(&secret).unwrap_err(), libc::EOPNOTSUPP);
    buffer.bind(&plain).expect("a pair: the filesystem is not the cause");
}

#[test]
fn a_file_that_the_filesystem_encrypts_is_refused() {
    let _alone = alone();
    is_refused(&Encrypted::mount(""), false);
}

/// The filesystem does direct I/O on it.
#[test]
fn a_file_that_the_block_layer_encrypts_is_refused() {
    let _alone = alone();
    is_refused(&Encrypted::mount("-o inlinecrypt"), true);
}
