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
const KNOWN: [(u64, &[u8], &str); 31] = [
    (0x438, b"\x53\xef", "an ext2, ext3 or ext4 filesystem"),
    (0, b"XFSB", "an xfs filesystem"),
    (0x1_0040, b"_BHRfS_M", "a btrfs filesystem"),
    (0x400, b"\x10\x20\xf5\xf2", "an f2fs filesystem"),
    (3, b"NTFS    ", "an NTFS filesystem"),
    (0x52, b"FAT32", "a FAT filesystem"),
    (0x36, b"FAT1", "a FAT filesystem"),
    (0xff6, b"SWAPSPACE2", "swap space"),
    (0, b"LUKS\xba\xbe", "an encrypted volume (LUKS)"),
    // Its label is in one of the first four sectors.
    (0x18, b"LVM2 001", "a physical volume of LVM"),
    (0x218, b"LVM2 001", "a physical volume of LVM"),
    (0x418, b"LVM2 001", "a physical volume of LVM"),
    (0x618, b"LVM2 001", "a physical volume of LVM"),
    (0, b"bluestore block device", "an object store of Ceph (BlueStore)"),
    (0x1018, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", "a part of a bcache"),
    (0x1018, b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef", "a bcachefs filesystem"),
    (3, b"EXFAT   ", "an exFAT filesystem"),
    (0, b"hsqs", "a squashfs filesystem"),
    (0x400, b"\xe2\xe1\xf5\xe0", "an erofs filesystem"),
    (0x8001, b"CD001", "an ISO 9660 filesystem"),
    (0x8000, b"JFS1", "a JFS filesystem"),
    (0x1_0000, b"\x01\x16\x19\x70", "a GFS2 filesystem"),
    // Of each of its sizes of a block, the third.
    (0x400, b"OCFSV2", "an OCFS2 filesystem"),
    (0x800, b"OCFSV2", "an OCFS2 filesystem"),
    (0x1000, b"OCFSV2", "an OCFS2 filesystem"),
    (0x2000, b"OCFSV2", "an OCFS2 filesystem"),
    (0x1000, b"\xfc\x4e\x2b\xa9", "a member of software RAID"),
    (0, b"\xfc\x4e\x2b\xa9", "a member of software RAID"),
    (0x200, b"EFI PART", "a partition table"),
    (0x1000, b"EFI PART", "a partition table"),
    (0x1fe, b"\x55\xaa", "a partition table or boot sector"),
];

/// As much of a device's start as is looked at.
const START: usize = 0x4_0000;

/// In which of its slots the newest uberblock of a pool stands, nobody knows (`struct uberblock`, a slot is at least 1 KiB).
const ZFS: (&[u8], &str) = (b"\x0c\xb1\xba\x00", "a part of a ZFS pool");

/// Of software RAID whose metadata stand at the end: formats 0.90 and 1.0 (`mdadm/super0.c`, `super1.c`).
const RAID: (&[u8], &str) = (b"\xfc\x4e\x2b\xa9", "a member of software RAID");

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
    let found = known(&read(&file, 0, START)?).map_or_else(|| at_the_end(&file), |what| Ok(Some(what)));
    advise(&file, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    found
}

/// Says how the page cache is wanted. It is a wish: a file that has no page cache refuses it, and needs it not.
fn advise(file: &File, advice: PosixFadviseAdvice) {
    let _ = posix_fadvise(file.as_fd(), 0, 0, advice);
}

/// So many bytes, or all there is.
fn read(file: &File, offset: u64, length: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = vec![0; length];
    let mut read = 0;
    while read < bytes.len() {
        match pread(file.as_fd(), &mut bytes[read..], i64::try_from(offset + read as u64).unwrap_or(i64::MAX)) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(errno) => {
                let cause = format!("what it holds cannot be read: {}", std::io::Error::from(errno));
                return Err(Failure::Operation(Refusal::new(file, cause, "see what the kernel log says")));
            }
        }
    }
    bytes.truncate(read);
    Ok(bytes)
}

fn known(start: &[u8]) -> Option<&'static str> {
    let is = |offset: u64, magic: &[u8]| {
        start.get(usize::try_from(offset).unwrap_or(usize::MAX)..).is_some_and(|rest| rest.starts_with(magic))
    };
    let (magic, what) = ZFS;
    let zfs = (0x2_0000..START as u64).step_by(0x400).any(|offset| is(offset, magic)).then_some(what);
    zfs.or_else(|| KNOWN.into_iter().find(|(offset, magic, _)| is(*offset, magic)).map(|(_, _, what)| what))
}

fn at_the_end(file: &File) -> Result<Option<&'static str>, Failure> {
    let (magic, what) = RAID;
    for place in places_of_raid(file.size()).into_iter().flatten() {
        if read(file, place, magic.len())? == magic {
            return Ok(Some(what));
        }
    }
    Ok(None)
}

/// Where format 0.90 stands on a device of so many bytes: at the last boundary of 64 KiB that leaves as much behind it; and
/// where 1.0 does: at the last of 4 KiB that leaves 8 KiB.
fn places_of_raid(size: u64) -> [Option<u64>; 2] {
    [(size & !0xffff).checked_sub(0x1_0000), size.checked_sub(0x2000).map(|place| place & !0xfff)]
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
            let mut start = vec![0; START];
            let place = usize::try_from(offset).unwrap();
            start[place..place + magic.len()].copy_from_slice(magic);
            assert_eq!(known(&start), Some(what));
            start.remove(0);
            assert_eq!(known(&start), None, "{what}, one byte too early");
        }
        assert_eq!([known(&[]), known(&[0; 4096])], [None, None]);
        let mut start = vec![0; START];
        start[0x2_0000 + 77 * 0x400..][..4].copy_from_slice(ZFS.0);
        assert_eq!(known(&start), Some(ZFS.1));
    }

    #[test]
    fn metadata_of_raid_stand_where_mdadm_puts_them() {
        // Of a disk of 1 GiB and 5,000 bytes, by MD_NEW_SIZE_SECTORS and by super1.c's (size - 16) & ~7, in sectors.
        assert_eq!(
            places_of_raid((1 << 30) + 5120),
            [Some((1 << 30) - 65536), Some(((((1 << 30) + 5120) / 512 - 16) & !7) * 512)]
        );
        assert_eq!(places_of_raid(0), [None, None]);
    }
}
