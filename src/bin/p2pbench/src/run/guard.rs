//! What writes may destroy. The library opens no block device for writing that is in use; this looks at what lies on one
//! that is not.

use std::os::fd::AsFd;

use nix::{
    fcntl::{PosixFadviseAdvice, posix_fadvise},
    sys::{stat::fstat, uio::pread},
};
use p2pdma::{Error, Refusal, machine::Machine, storage::File};

use super::job::Job;
use crate::{cli::RunOptions, failure::Failure};

/// Where what is known by which bytes. From the sources of the kernel and of those who write them: `fs/*/`, `struct
/// ext4_super_block`, `lvm2/lib/label`, `mdadm/super1.c`, cryptsetup's on-disk format.
const KNOWN: [(u64, &[u8], &str); 15] = [
    (0x438, b"\x53\xef", "an ext2, ext3 or ext4 filesystem"),
    (0, b"XFSB", "an xfs filesystem"),
    (0x1_0040, b"_BHRfS_M", "a btrfs filesystem"),
    (0x400, b"\x10\x20\xf5\xf2", "an f2fs filesystem"),
    (3, b"NTFS    ", "an NTFS filesystem"),
    (0x52, b"FAT32", "a FAT filesystem"),
    (0x36, b"FAT1", "a FAT filesystem"),
    (0xff6, b"SWAPSPACE2", "swap space"),
    (0, b"LUKS\xba\xbe", "an encrypted volume (LUKS)"),
    (0x218, b"LVM2 001", "a physical volume of LVM"),
    (0x1000, b"\xfc\x4e\x2b\xa9", "a member of software RAID"),
    (0, b"\xfc\x4e\x2b\xa9", "a member of software RAID"),
    (0x200, b"EFI PART", "a partition table"),
    (0x1000, b"EFI PART", "a partition table"),
    (0x1fe, b"\x55\xaa", "a partition table or boot sector"),
];

/// Refuses what nobody has allowed, before anything is written.
pub(super) fn allow(
    machine: &Machine,
    options: &RunOptions,
    jobs: &[Job],
    files: &[File],
    copy_to: Option<&File>,
) -> Result<(), Failure> {
    if let Some(target) = copy_to {
        return check_copy(options, jobs, files, target).and_then(|()| allow_on(machine, options, target));
    }
    let mut written = files.iter().filter(|_| jobs.iter().any(Job::writes));
    written.try_for_each(|file| allow_on(machine, options, file))
}

fn allow_on(machine: &Machine, options: &RunOptions, file: &File) -> Result<(), Failure> {
    if !file.is_block_device() {
        return Ok(());
    }
    if is_read_only(machine, file) {
        let refusal = Refusal::new(file, "it is read-only", "allow writes (blockdev --setrw), or name another device");
        return Err(Failure::Library(Error::NotAllowed(refusal)));
    }
    // Who forces it destroys it whatever it holds: then not a byte is read that the run did not ask for.
    if options.force {
        return Ok(());
    }
    match holds(file)? {
        None => Ok(()),
        Some(what) => {
            let cure = "name another device, or add --force if it may be destroyed";
            Err(Failure::Usage(Refusal::new(file, format!("it holds {what}"), cure)))
        }
    }
}

/// A block device that is set so opens for writing all the same, and fails the first write.
fn is_read_only(machine: &Machine, file: &File) -> bool {
    let number = file.stack().top().number;
    let directory = number.and_then(|number| machine.facts().link(&format!("/sys/dev/block/{number}")).ok());
    directory.is_some_and(|directory| machine.facts().number(&format!("{directory}/ro")) == Some(1))
}

fn check_copy(options: &RunOptions, jobs: &[Job], files: &[File], target: &File) -> Result<(), Failure> {
    let usage = |cause: &str, cure: &str| Err(Failure::Usage(Refusal::new(target, cause, cure)));
    let [source] = files else { return usage("there are several sources to copy from", "name one --source") };
    if options.rw.iter().any(|rw| rw.writes()) {
        return usage("--copy-to reads from the source and writes to this", "use --rw read or randread");
    }
    if is_same(source, target)? || lies_on(source, target) || lies_on(target, source) {
        return usage("it lies on what it is to be copied from, or the other way round", "name another target");
    }
    match jobs.iter().map(|job| job.end(source)).max() {
        Some(end) if end > target.size() => {
            let cause = format!("it is too short: {} bytes, and {end} are copied", target.size());
            usage(&cause, "use a smaller --span or a larger target")
        }
        _ => Ok(()),
    }
}

/// The first of [`KNOWN`] that is there.
///
/// Nothing of it stays in the page cache: direct writes would look there, each of them, for pages to invalidate.
fn holds(file: &File) -> Result<Option<&'static str>, Failure> {
    let file = file.buffered()?;
    advise(&file, PosixFadviseAdvice::POSIX_FADV_RANDOM);
    let start = start_of(&file)?;
    advise(&file, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    Ok(known(&start))
}

/// Says how the page cache is wanted. It is a wish: a file that has no page cache refuses it, and needs it not.
fn advise(file: &File, advice: PosixFadviseAdvice) {
    let _ = posix_fadvise(file.as_fd(), 0, 0, advice);
}

/// As much of the start as [`KNOWN`] reaches, or all there is.
fn start_of(file: &File) -> Result<Vec<u8>, Failure> {
    let mut start = vec![0; 0x1_0048];
    let mut read = 0;
    while read < start.len() {
        match pread(file.as_fd(), &mut start[read..], i64::try_from(read).unwrap_or(i64::MAX)) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(errno) => {
                let cause = format!("what it holds cannot be read: {}", std::io::Error::from(errno));
                return Err(Failure::Operation(Refusal::new(file, cause, "see what the kernel log says")));
            }
        }
    }
    start.truncate(read);
    Ok(start)
}

fn known(start: &[u8]) -> Option<&'static str> {
    let is = |offset: u64, magic: &[u8]| {
        start.get(usize::try_from(offset).unwrap_or(usize::MAX)..).is_some_and(|rest| rest.starts_with(magic))
    };
    KNOWN.into_iter().find(|(offset, magic, _)| is(*offset, magic)).map(|(_, _, what)| what)
}

/// Whether both are one file, or one device.
fn is_same(one: &File, other: &File) -> Result<bool, Failure> {
    let number = |file: &File| match fstat(file.as_fd()) {
        Ok(stat) if file.is_block_device() && stat.st_rdev != 0 => Ok((0, stat.st_rdev)),
        Ok(stat) => Ok((stat.st_dev, stat.st_ino)),
        Err(errno) => Err(Failure::Output(errno.into())),
    };
    Ok(number(one)? == number(other)?)
}

/// Whether a block device is among the layers below a file.
fn lies_on(file: &File, device: &File) -> bool {
    let number = device.stack().top().number.filter(|_| device.is_block_device());
    number.is_some() && file.stack().layers().iter().any(|(_, layer)| layer.number == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_the_known_is_known_at_its_place_and_nowhere_else() {
        for (offset, magic, what) in KNOWN {
            let mut start = vec![0; 0x1_0048];
            let place = usize::try_from(offset).unwrap();
            start[place..place + magic.len()].copy_from_slice(magic);
            assert_eq!(known(&start), Some(what));
            start.remove(0);
            assert_eq!(known(&start), None, "{what}, one byte too early");
        }
        assert_eq!([known(&[]), known(&[0; 4096])], [None, None]);
    }
}
