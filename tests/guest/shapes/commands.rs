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
