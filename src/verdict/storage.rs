//! What stands in the way on the storage side: block stack and filesystem. rules: 6.12.

use super::{
    finding::{Finding, Severity, Way, What},
    ssd, stack,
};
use crate::{
    Refusal,
    control::STACK,
    error::quoted,
    machine::{Access, DioAlignment, InodeFlags},
    storage::{DmTarget, Evidence, Layer, LayerKind, Mount, Source, copy_without_holes},
};

/// Everything that lies below a source and matters.
pub(super) fn findings(source: &Source) -> Vec<Finding> {
    let below = source.stack();
    let queues = below.queues().into_iter().filter_map(|layer| queue(source, layer));
    let layers = below.layers().into_iter().filter_map(|(_, layer)| by_cpu(source, layer));
    let checks = below.layers().into_iter().filter_map(|(_, layer)| checked(source, layer));
    let empty = below.layers().into_iter().filter_map(|(_, layer)| ssd::finding(source, layer));
    let mut findings: Vec<_> = queues.chain(layers).chain(checks).chain(empty).collect();
    findings.extend(page_cache(source));
    let said = findings.iter().any(|finding| finding.severity == Severity::No && finding.is_in(Way::Module));
    let beyond = beyond_module(source).filter(|_| !said);
    let stacks = below.queues().into_iter().filter(|layer| is_stacked(layer));
    let unnamed = stacks.filter_map(|layer| stack::finding(source, layer)).filter(|_| !said && beyond.is_none());
    findings.extend(unnamed.collect::<Vec<_>>());
    findings.extend(beyond);
    findings.extend(below.filesystem().and_then(|_| holes(source)));
    findings
        .extend(no_function(source).filter(|_| findings.iter().all(|finding| finding.severity == Severity::Warning)));
    findings
}

/// Nothing speaks against what nothing is known of, so that is said.
fn no_function(source: &Source) -> Option<Finding> {
    let refusal = || {
        let cause = "no NVMe function is known to lie below it";
        Refusal::new(source, cause, "use ext4 or xfs on an NVMe namespace, or the namespace itself")
    };
    source.stack().functions().is_empty().then(|| Finding::new(What::StackUnknown, Severity::Unknown, refusal()))
}

/// Whether its queue lies above that of an NVMe namespace, or is no such one.
fn is_stacked(layer: &Layer) -> bool {
    !matches!(layer.kind, LayerKind::Namespace(_) | LayerKind::Controller { .. } | LayerKind::Hidden(_))
}

/// Only the queue of an NVMe namespace takes mapped peer memory: nothing that is stacked on top inherits
/// `BLK_FEAT_PCI_P2PDMA` (include/linux/blkdev.h, `BLK_FEAT_INHERIT_MASK`).
fn queue(source: &Source, layer: &Layer) -> Option<Finding> {
    let cure = match &layer.kind {
        _ if !is_stacked(layer) => return None,
        LayerKind::MultipathHead => "boot with nvme_core.multipath=N",
        _ => "use the NVMe namespace itself, or ext4 or xfs directly on it",
    };
    let cause =
        format!("it lies on {layer}, whose queue refuses peer memory on Linux 6.12 (only NVMe namespaces take it)");
    let by_module = "go by the p2pdma_user module (`p2pbench run --way module`)";
    let cure = match stack::line(source.stack(), layer) {
        Some(_) if stack::is_named(source, layer) => {
            format!("{cure}; or {by_module}, as root has named what lies below")
        }
        Some(line) => format!("{cure}; or, after root's `echo {line} >{}`, {by_module}", STACK),
        None => cure.to_owned(),
    };
    let refusal = Refusal::new(source, cause, cure);
    let finding = Finding::new(What::QueueRefuses, Severity::No, refusal).seen(layer.evidence.clone());
    Some(if layer.kind == LayerKind::Other { finding } else { finding.only(Way::P2pmem) })
}

/// A layer that touches the bytes stands in the way of either way; one that nobody can name is not assumed to be harmless.
fn by_cpu(source: &Source, layer: &Layer) -> Option<Finding> {
    let (what, severity, cause) = match (layer.passes(), &layer.kind) {
        (Some(true), _) | (_, LayerKind::Other) => return None,
        (Some(false), _) => (What::TouchedByCpu, Severity::No, format!("{layer} moves or reads every byte by CPU")),
        (None, LayerKind::Hidden(why)) => (What::StackUnknown, Severity::Unknown, format!("what lies below: {why}")),
        (None, _) => {
            let cause = format!("{layer} may touch the bytes by CPU: sysfs does not tell its target");
            (What::StackUnknown, Severity::Unknown, cause)
        }
    };
    let cure = match layer.kind {
        LayerKind::Dm(_) if severity == Severity::Unknown => "see `dmsetup table`; name the NVMe namespace itself",
        _ => "use ext4 or xfs on an NVMe namespace, or the namespace itself",
    };
    let finding = Finding::new(what, severity, Refusal::new(source, cause, cure)).seen(layer.evidence.clone());
    // Of dm and md the queue has already said no to mapped memory.
    Some(if layer.is_block() { finding.only(Way::Module) } else { finding })
}

/// What the module refuses for itself.
fn beyond_module(source: &Source) -> Option<Finding> {
    of_no_known_filesystem(source).or_else(|| may_sleep(source))
}

/// Of targets of device mapper that pass memory on, the module refuses one, since it may sleep as those do that read the bytes by
/// CPU, and it cannot tell these apart (`route_distance_to_stack`, kmod/route.c).
fn may_sleep(source: &Source) -> Option<Finding> {
    let mut layers = source.stack().layers().into_iter().map(|(_, layer)| layer);
    let layer = layers.find(|layer| layer.kind == LayerKind::Dm(DmTarget::Multipath))?;
    let cause = format!("it lies on {layer}, whose queue may sleep, and the p2pdma_user module takes no such queue");
    let refusal = Refusal::new(source, cause, "leave the paths to the nvme driver: boot with nvme_core.multipath=Y");
    Some(Finding::new(What::BeyondModule, Severity::No, refusal).only(Way::Module).seen(layer.evidence.clone()))
}

/// The module takes files of two filesystems, whose ways with direct I/O it knows (`pair_check_filesystem`, kmod/pair.c).
fn of_no_known_filesystem(source: &Source) -> Option<Finding> {
    let stack = source.stack();
    let (_, LayerKind::Filesystem(mount)) = stack.layers().first().map(|(depth, layer)| (*depth, &layer.kind))? else {
        return None;
    };
    let by_blocks = source.inode_flags().is_some_and(|flags| !flags.contains(InodeFlags::EXTENTS));
    let cause = match mount.kind.as_str() {
        // Which it is, the module sees.
        "xfs" | "unknown" => return None,
        "ext4" if !by_blocks => return None,
        "ext4" => "it has no extents, and the p2pdma_user module takes no such file of ext4".to_owned(),
        kind => format!("it lies on {kind}, and the p2pdma_user module takes files of ext4 and xfs alone"),
    };
    let refusal = Refusal::new(source, cause, "use ext4 (with extents) or xfs, or mapped memory");
    let finding = Finding::new(What::BeyondModule, Severity::No, refusal);
    Some(finding.only(Way::Module).seen([mount.evidence()]))
}

/// Not a way through host memory, but the CPU has to read peer memory for it, without caches.
fn checked(source: &Source, layer: &Layer) -> Option<Finding> {
    let integrity = layer.integrity.clone()?;
    let cause = format!("the kernel checks the protection information of {layer} by CPU, byte by byte");
    let cure = "switch read_verify and write_generate off beside the file seen, or format the namespace without it";
    Some(Finding::new(What::CheckedByCpu, Severity::Warning, Refusal::new(source, cause, cure)).seen([integrity]))
}

/// Whether its bytes go through the page cache: because the file was opened so, or in spite of `O_DIRECT`.
fn page_cache(source: &Source) -> Option<Finding> {
    if source.is_buffered() {
        let cause = "it is open without O_DIRECT: the CPU copies its bytes to and from the page cache";
        let refusal = Refusal::new(source, cause, "use the file as File::open gives it");
        return Some(Finding::new(What::Buffered, Severity::No, refusal));
    }
    match source.stack().filesystem() {
        Some(mount) => filesystem(source, mount),
        None if no_direct_io(source) => {
            let cause = "it does no direct I/O (it reports an alignment of 0)";
            let refusal = Refusal::new(source, cause, "use an NVMe block device");
            Some(Finding::new(What::SilentlyBuffered, Severity::No, refusal))
        }
        None => None,
    }
}

/// What makes a copy out of the page cache of a transfer between storage and host memory, though `O_DIRECT` was asked for.
pub(super) fn silently_buffered(source: &Source) -> Option<Finding> {
    page_cache(source).filter(|finding| finding.what == What::SilentlyBuffered || no_direct_io(source))
}

/// `ext4_should_use_dio` and its like say so by an alignment of 0.
fn no_direct_io(source: &Source) -> bool {
    matches!(source.dio_alignment(), Some(DioAlignment { memory: 0, .. } | DioAlignment { offset: 0, .. }))
}

/// What the filesystem makes of `O_DIRECT`.
fn filesystem(source: &Source, mount: &Mount) -> Option<Finding> {
    let flags = source.inode_flags().unwrap_or(InodeFlags::empty());
    let has = |flag| flags.contains(flag);
    if mount.kind == "btrfs" {
        return btrfs(source, mount, has(InodeFlags::NOCOW));
    }
    let (what, cause, cure) = match source.dio_alignment() {
        // fscrypt on inline encryption reports a block's alignment; NVMe drives have none, so blk-crypto-fallback.c copies.
        _ if has(InodeFlags::ENCRYPTED) => {
            (What::TouchedByCpu, "it is encrypted: the CPU encrypts every byte", ENCRYPTED)
        }
        Some(DioAlignment { memory: 1.., offset: 1.. }) => return mapped_by_blocks(source, mount, has),
        Some(_) => buffered(mount, has),
        None => (
            What::AlignmentUnknown,
            "the filesystem does not say whether its direct I/O is direct (no STATX_DIOALIGN)",
            "use ext4 or xfs",
        ),
    };
    Some(Finding::new(what, Severity::No, Refusal::new(source, cause, cure)).seen(evidence(source, mount)))
}

const ENCRYPTED: &str = "use a file outside of encrypted directories";

/// A file that reports an alignment of 0 opens with `O_DIRECT` and then copies by CPU, silently. Kernel:
/// `ext4_should_use_dio` (fs/ext4/file.c), `ext4_dio_alignment` (fs/ext4/inode.c), f2fs likewise.
fn buffered(mount: &Mount, has: impl Fn(InodeFlags) -> bool) -> (What, &'static str, &'static str) {
    let (cause, cure) = if mount.has("data=journal") {
        ("ext4 is mounted with data=journal and copies by CPU in spite of O_DIRECT", "mount it with data=ordered")
    } else if has(InodeFlags::JOURNAL_DATA) {
        ("its data go through ext4's journal, by CPU in spite of O_DIRECT", "chattr -j, or use another file")
    } else if has(InodeFlags::VERITY) {
        ("fs-verity checks every byte: it is read by CPU in spite of O_DIRECT", "use a copy without verity")
    } else if has(InodeFlags::INLINE_DATA) {
        ("its data lie in the inode and are copied by CPU", "use a file larger than an inode")
    } else {
        (
            "the filesystem would copy it by CPU in spite of O_DIRECT (it reports a direct I/O alignment of 0)",
            "mount ext4 with data=ordered, and use files without verity, encryption or inline data",
        )
    };
    (What::SilentlyBuffered, cause, cure)
}

/// ext4 fills a hole of a file without extents through the page cache: `ext4_iomap_end` answers `ENOTBLK`.
fn mapped_by_blocks(source: &Source, mount: &Mount, has: impl Fn(InodeFlags) -> bool) -> Option<Finding> {
    let by_blocks = mount.kind == "ext4" && source.inode_flags().is_some() && !has(InodeFlags::EXTENTS);
    let matters = by_blocks && source.access() == Access::ReadWrite && source.has_holes();
    let cause = "it has holes and no extents: ext4 fills holes by CPU in spite of O_DIRECT";
    let refusal = Refusal::new(source, cause, "write it whole once, or use a file with extents (lsattr shows e)");
    let finding = Finding::new(What::SilentlyBuffered, Severity::No, refusal);
    matters.then(|| finding.seen(evidence(source, mount)))
}

/// btrfs writes what it checksums through the page cache and reads it back by CPU; it does so with compressed and inline
/// extents too. A file with NOCOW has neither checksums nor compression; one larger than a block has no inline extent.
/// Kernel: `btrfs_direct_write`, `btrfs_dio_iomap_begin` (fs/btrfs/direct-io.c).
fn btrfs(source: &Source, mount: &Mount, nocow: bool) -> Option<Finding> {
    let block = source.dio_alignment().map_or(0, |dio| dio.offset.min(dio.memory));
    let devices = source.stack().queues().len();
    let (file, copy) = (quoted(&source.to_string()), quoted(&format!("{source}.copy")));
    let (what, cause, cure) = match source.size() {
        _ if !nocow => (
            What::SilentlyBuffered,
            "btrfs checksums it: writes, and reads of compressed parts, are copied by CPU in spite of O_DIRECT, other \
             reads are checked by CPU",
            format!(
                "copy it into one without checksums: `touch {copy} && chattr +C {copy} && cat {file} >{copy}`; or use ext4 or xfs"
            ),
        ),
        _ if devices != 1 => (
            What::TouchedByCpu,
            "btrfs on several devices may compute parity by CPU",
            "use btrfs on one device".to_owned(),
        ),
        Some(size) if size > u64::from(block) && block > 0 => return None,
        _ => (What::SilentlyBuffered, "btrfs may keep so small a file in its tree", "use a larger file".to_owned()),
    };
    Some(Finding::new(what, Severity::No, Refusal::new(source, cause, cure)).seen(evidence(source, mount)))
}

/// iomap writes zeroes into peer memory by CPU where the file has no data (`iomap_dio_hole_iter`, fs/iomap/direct-io.c).
/// Writes are direct there, so the file may be bound; a queue refuses to read such a range.
fn holes(source: &Source) -> Option<Finding> {
    let cause =
        "it has holes or preallocated parts without data: reads of those are refused, since the CPU would write zeroes";
    let refusal = Refusal::new(source, cause, copy_without_holes(source));
    source.has_holes().then(|| Finding::new(What::Holes, Severity::Warning, refusal))
}

/// The mount, what statx said and what the inode says of itself.
fn evidence(source: &Source, mount: &Mount) -> Vec<Evidence> {
    let statx = |alignment| Evidence::new(format!("statx {source} STATX_DIOALIGN"), alignment);
    let statx = match source.dio_alignment() {
        // Its alignment is known otherwise.
        Some(_) if mount.kind == "btrfs" => None,
        Some(DioAlignment { memory, offset }) => Some(statx(format!("memory {memory}, offset {offset}"))),
        None => Some(statx("not told".to_owned())),
    };
    let names = |flags: InodeFlags| flags.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(" ");
    let flags = source.inode_flags().map(names).map(|flags| Evidence::new(format!("FS_IOC_GETFLAGS {source}"), flags));
    [Some(mount.evidence()), statx, flags].into_iter().flatten().collect()
}
