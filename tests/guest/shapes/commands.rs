//! The commands of cures for files and providers, each taken from what was printed and run as it stands there.

use crate::machine::Guest;

/// `cured NAME BEGINNING`: explains $SOURCE with $PEER, runs the printed command that begins so, explains $AFTER.
const FUNCTIONS: &str = r#"
set -e
cd $P2PDMA_SHARE
PEER=$P2PDMA_GPU_ADDRESS
explain() { status=0; p2pbench explain $2 $PEER --json >$1.json || status=$?; echo $status >>statuses; }
cured() {
	explain $1.before $SOURCE
	p2pbench explain $SOURCE $PEER >said || true
	grep -o "\`$2 [^\`]*\`" said | head -1 | tr -d '`' >command
	cat command >>commands
	test -s command
	. ./command
	explain $1.after $AFTER
}
"#;

fn findings(outcome: &crate::machine::Outcome, name: &str) -> Vec<String> {
    let document: serde_json::Value = serde_json::from_str(&outcome.file(&format!("{name}.json"))).expect("JSON");
    let findings = document["findings"].as_array().expect("findings").iter();
    findings.map(|finding| finding["what"].as_str().expect("a word").to_owned()).collect()
}

/// Holes, and extents that were allocated and never written: on ext4 and on xfs, which clones where it may.
#[test]
fn a_copy_without_holes_has_none_and_is_read_direct() {
    let mut script = FUNCTIONS.to_owned();
    for (kind, mkfs) in [("ext4", "mkfs.ext4 -q -F -E lazy_itable_init=0"), ("xfs", "mkfs.xfs -q -f")] {
        script += &format!(
            "{mkfs} $P2PDMA_SSD; mkdir -p /mnt/x; mount $P2PDMA_SSD /mnt/x\n\
             truncate -s 1M /mnt/x/hole; fallocate -l 1M /mnt/x/unwritten\n\
             for name in hole unwritten; do\n\
             SOURCE=/mnt/x/$name AFTER=/mnt/x/$name.copy; cured {kind}.$name cp; sync\n\
             p2pbench run --source $AFTER --peer $PEER --path direct --span 1M --size 1M --block 64k --verify >/dev/null\n\
             ! p2pbench run --source $SOURCE --peer $PEER --path direct --span 1M --size 1M --block 64k 2>>refusals >/dev/null\n\
             done; umount /mnt/x\n"
        );
    }
    let outcome = Guest::new("switch").run(&script);
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    for name in ["ext4.hole", "ext4.unwritten", "xfs.hole", "xfs.unwritten"] {
        assert_eq!(findings(&outcome, &format!("{name}.before")), ["holes"], "{name}");
        assert_eq!(findings(&outcome, &format!("{name}.after")), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_btrfs_file_copied_without_checksums_is_direct() {
    let script = "mkfs.btrfs -q -f $P2PDMA_SSD; mkdir -p /mnt/x; mount $P2PDMA_SSD /mnt/x\n\
                  dd if=/dev/urandom of=/mnt/x/file bs=1M count=1 status=none conv=fsync\n\
                  SOURCE=/mnt/x/file AFTER=/mnt/x/file.copy; cured btrfs touch";
    let outcome = Guest::new("switch").run(&format!("{FUNCTIONS}{script}"));
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    assert_eq!(outcome.file("statuses"), "1\n0\n", "{}", outcome.file("commands"));
}

/// A device without a driver becomes one of p2pdma_user's; one with a driver of its own a provider beside that.
#[test]
fn a_device_that_gives_no_memory_gives_it_after_the_printed_command() {
    let script = "SOURCE=$P2PDMA_SSD AFTER=$P2PDMA_SSD; device=/sys/bus/pci/devices/$PEER\n\
                  busybox insmod $P2PDMA_MODULES/p2pdma_test_gpu.ko\n\
                  echo $PEER >$device/driver/unbind; echo >$device/driver_override\n\
                  cured none 'echo p2pdma_user'\n\
                  echo $PEER >$device/driver/unbind; echo p2pdma_test_gpu >$device/driver_override\n\
                  echo $PEER >/sys/bus/pci/drivers_probe\n\
                  cured own \"echo $PEER\"";
    let outcome = Guest::new("switch").run(&format!("{FUNCTIONS}{script}"));
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    assert_eq!(
        ["none.before", "none.after"].map(|name| findings(&outcome, name)),
        [vec!["no_pool".to_owned()], vec![]]
    );
    assert_eq!(findings(&outcome, "own.before"), ["no_pool"]);
    assert_eq!(findings(&outcome, "own.after"), ["foreign_memory"], "by the module alone: lent as a dma-buf");
}

/// An SSD that was given away, and one that was not taken: each back by the command.
#[test]
fn an_ssd_without_its_driver_gets_it_back() {
    let script = "SOURCE=$P2PDMA_SSD_ADDRESS AFTER=$P2PDMA_SSD_ADDRESS; device=/sys/bus/pci/devices/$SOURCE\n\
                  modprobe() { test $1 = nvme; }\n\
                  echo $SOURCE >$device/driver/unbind\n\
                  cured none modprobe\n\
                  echo 1 >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode\n\
                  echo $SOURCE >$device/driver/unbind; echo vfio-pci >$device/driver_override; echo $SOURCE >/sys/bus/pci/drivers_probe\n\
                  cured vfio \"echo $SOURCE\"";
    let outcome = Guest::new("switch").run(&format!("{FUNCTIONS}{script}"));
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    for name in ["none", "vfio"] {
        assert_eq!(findings(&outcome, &format!("{name}.before")), ["no_namespace"], "{name}");
        assert_eq!(findings(&outcome, &format!("{name}.after")), Vec::<String>::new(), "{name}");
    }
}

/// Its BAR is taken away, so that its registers read as ones and the kernel gives it up; its namespace stays, with no capacity.
#[test]
fn a_dead_ssd_is_removed_and_found_again() {
    let script = "SOURCE=$P2PDMA_SSD_ADDRESS AFTER=$P2PDMA_SSD_ADDRESS; device=/sys/bus/pci/devices/$SOURCE\n\
                  setpci -s $SOURCE BASE_ADDRESS_0=0; echo 1 >$(echo $device/nvme/nvme*/reset_controller) || true\n\
                  state() { for second in $(seq 60); do ! grep -qs $1 $device/nvme/nvme*/state || return 0; sleep 1; done; return 1; }\n\
                  found() { for second in $(seq 60); do ! ls $device/nvme/nvme*/nvme*n1 >/dev/null 2>&1 || return 0; sleep 1; done; return 1; }\n\
                  state dead; explain dead.before $SOURCE\n\
                  p2pbench explain $SOURCE $PEER >said || true\n\
                  grep -o '`echo 1 [^`]*`' said | head -1 | tr -d '`' >command; test -s command; . ./command\n\
                  state live; found; explain dead.after $AFTER";
    let outcome = Guest::new("switch").run(&format!("{FUNCTIONS}{script}"));
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    assert_eq!(findings(&outcome, "dead.before"), ["no_namespace"]);
    assert_eq!(findings(&outcome, "dead.after"), Vec::<String>::new());
    assert_eq!(outcome.file("statuses"), "1\n0\n");
}

/// The stack alone, then the module and the stack: by the commands of one cure each.
#[test]
fn a_mirror_goes_by_the_module_after_the_printed_commands() {
    let script = "export MDADM_NO_UDEV=1 PATH=$PATH:/usr/sbin:/sbin; SOURCE=/dev/md0 AFTER=/dev/md0\n\
                  modules=/lib/modules/$(uname -r); mkdir -p $modules; cp $P2PDMA_MODULES/p2pdma_user.ko $modules; (cd $modules; busybox depmod)\n\
                  modprobe() { busybox modprobe \"$@\"; }\n\
                  mdadm --create $SOURCE --quiet --run --metadata=1.2 --assume-clean --level=1 --raid-devices=2 $P2PDMA_SSD $P2PDMA_SSD1\n\
                  chgrp 65534 /dev/p2pdma_user; chmod g+rw /dev/p2pdma_user\n\
                  setpriv --reuid 65534 --regid 65534 --clear-groups p2pbench explain $SOURCE $PEER --json >nobody.json || true\n\
                  cured told \"echo $(stat -c %Hr:%Lr $SOURCE)=[^ ]*\"\n\
                  busybox rmmod p2pdma_user\n\
                  cured loaded modprobe\n\
                  cured both \"echo $(stat -c %Hr:%Lr $SOURCE)=[^ ]*\"";
    let outcome = Guest::new("stacks").run(&format!("{FUNCTIONS}{script}"));
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    let module = |name: &str| {
        let document: serde_json::Value = serde_json::from_str(&outcome.file(&format!("{name}.json"))).expect("JSON");
        document["ways"]["module"].as_str().expect("an answer").to_owned()
    };
    assert_eq!(module("nobody"), "unknown", "the switch is root's to read");
    assert_eq!(["told.before", "told.after"].map(module), ["no", "yes"], "{}", outcome.file("commands"));
    assert_eq!(["loaded.before", "both.before", "both.after"].map(module), ["no", "no", "yes"]);
}

/// What ext4 copies by CPU, and the command or the mount option that each cure names. Where allocation is delayed, as by default, it
/// takes no notice of a file's flag (`ext4_inode_journal_mode`, fs/ext4/ext4_jbd2.c).
#[test]
fn a_file_that_ext4_buffers_is_direct_after_the_named_command() {
    let script = "mkfs.ext4 -q -F -E lazy_itable_init=0 $P2PDMA_SSD; mkdir -p /mnt/x; mount -o nodelalloc $P2PDMA_SSD /mnt/x\n\
                  SOURCE=/mnt/x/file; dd if=/dev/urandom of=$SOURCE bs=1M count=1 status=none conv=fsync\n\
                  chattr +j $SOURCE; explain flag.before $SOURCE; chattr -j $SOURCE; sync; explain flag.after $SOURCE\n\
                  umount /mnt/x; mount -o data=journal $P2PDMA_SSD /mnt/x; explain mount.before $SOURCE\n\
                  umount /mnt/x; mount -o data=ordered $P2PDMA_SSD /mnt/x; explain mount.after $SOURCE\n\
                  umount /mnt/x; mkfs.ext4 -q -F -O verity $P2PDMA_SSD; mount $P2PDMA_SSD /mnt/x\n\
                  dd if=/dev/urandom of=$SOURCE bs=1M count=1 status=none conv=fsync; fsverity enable $SOURCE\n\
                  explain verity.before $SOURCE; cp $SOURCE $SOURCE.copy; sync; explain verity.after $SOURCE.copy\n\
                  umount /mnt/x; mkfs.ext4 -q -F -O inline_data $P2PDMA_SSD; mount $P2PDMA_SSD /mnt/x\n\
                  echo few >$SOURCE; sync; explain inline.before $SOURCE\n\
                  dd if=/dev/urandom of=$SOURCE.larger bs=1M count=1 status=none conv=fsync; explain inline.after $SOURCE.larger";
    let outcome = Guest::new("switch").run(&format!("{FUNCTIONS}{script}"));
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    let cures = [
        ("flag", "chattr -j"),
        ("mount", "mount it with data=ordered"),
        ("verity", "use a copy without verity"),
        ("inline", "use a file larger than an inode"),
    ];
    for (name, cure) in cures {
        assert_eq!(findings(&outcome, &format!("{name}.before")), ["silently_buffered"], "{name}");
        assert!(outcome.file(&format!("{name}.before.json")).contains(cure), "{name}");
        assert_eq!(findings(&outcome, &format!("{name}.after")), Vec::<String>::new(), "{name}");
    }
}
