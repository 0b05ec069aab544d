//! Block stacks and filesystems on real Linux 6.12: what `p2pbench explain` says of each, what `p2pbench run` does, and what
//! the kernel makes of the same I/O without us (fio, with the GPU's memory as its buffer), by QEMU's own trace.
//!
//! Three things can happen, and each must be what was said before:
//! - direct: every byte went into or came out of the GPU's BAR;
//! - refused: `EREMOTEIO` and not a byte moved. The block stack's refusal leaves no line in the kernel's log, that of the
//!   route leaves a "critical target error": so the two are told apart;
//! - silent: the kernel reports success and moved every byte through host memory. `p2pbench run` must have refused.

mod case;
mod policies;

use case::{
    BYTES, Case,
    Expect::{self, Direct, Mapped, Refused, Silent},
    FIRST_MARK, FUNCTIONS, check, fio, moved, number, row,
};

use super::machine::Guest;

const QUEUE: &str = "queue_refuses";
const BUFFERED: &str = "silently_buffered";

const fn refused(what: &'static str, module: &'static str) -> Expect {
    Refused { what, module }
}

#[test]
fn block_stacks_are_refused_by_their_queue_and_told_from_one_another() {
    let raid = |name, make, module| Case {
        name,
        make,
        unmake: "unmd",
        stack: &["md", "namespace", "namespace"],
        expect: refused(QUEUE, module),
    };
    let dm = |name, make, unmake, module| Case {
        name,
        make,
        unmake,
        stack: &["dm", "namespace"],
        expect: refused(QUEUE, module),
    };
    let linear = "dmsetup create linear --table \"0 524288 linear $A 0\"; SOURCE=/dev/mapper/linear; fill $SOURCE";
    let crypt = "echo -n key | cryptsetup open --type plain $A crypt; SOURCE=/dev/mapper/crypt; fill $SOURCE";
    let lvm = "pvcreate -q -y $A; vgcreate -q group $A; lvcreate -q -y -Zn -Wn -n volume -L 256M group; \
               SOURCE=/dev/group/volume; fill $SOURCE";
    let file = "md 0; ext4 /dev/md0 /dev/md0 /mnt/a; SOURCE=/mnt/a/file; fill $SOURCE";
    let cases = [
        raid("raid0", "md 0", "yes"),
        raid("raid1", "md 1", "yes"),
        raid("raid5", "md 5", "no"),
        Case {
            name: "ext4-on-raid0",
            make: file,
            unmake: "umount /mnt/a; unmd",
            stack: &["filesystem", "md", "namespace", "namespace"],
            expect: refused(QUEUE, "yes"),
        },
        dm("linear", linear, "dmsetup remove linear", "unknown"),
        dm("crypt", crypt, "cryptsetup close crypt", "no"),
        dm("lvm", lvm, "vgremove -q -f -y group; pvremove -q -y $A", "yes"),
    ];
    check("stacks", "zen", &cases);
}

#[test]
fn what_a_filesystem_would_buffer_silently_is_refused_and_the_rest_goes_direct() {
    let file = |name, make, unmake, expect| Case { name, make, unmake, stack: &["filesystem", "namespace"], expect };
    let partition = "addpart $B 1 2048 524288; SOURCE=${B}p1; fill $SOURCE";
    let looped = "ext4 $A $A /mnt/a; fill /mnt/a/file; SOURCE=$(losetup -f --show /mnt/a/file)";
    let overlay = "mkdir /mnt/a/upper /mnt/a/work /mnt/a/lower; fill /mnt/a/upper/file; fill /mnt/a/lower/below; \
                   mount -t overlay -o lowerdir=/mnt/a/lower,upperdir=/mnt/a/upper,workdir=/mnt/a/work overlay /mnt/b; \
                   SOURCE=/mnt/b/file";
    let overlaid: &[&str] = &["filesystem", "filesystem", "namespace"];
    let journal = "ext4 $A -o data=journal $A /mnt/a; SOURCE=/mnt/a/journal; fill $SOURCE";
    let encrypted = "mkfs.ext4 -q -F -O encrypt -E lazy_itable_init=0,lazy_journal_init=0 $A; mount $A /mnt/a; secret /mnt/a; fill $SOURCE";
    let xfs = "mkfs.xfs -q -f $A; mount $A /mnt/a; SOURCE=/mnt/a/file; fill $SOURCE";
    let btrfs = "mkfs.btrfs -q -f $A; mount $A /mnt/a; SOURCE=/mnt/a/file; fill $SOURCE";
    let nodatasum = "SOURCE=/mnt/a/plain; touch $SOURCE; chattr +C $SOURCE; fill $SOURCE";
    let cases = [
        Case {
            name: "partition",
            make: partition,
            unmake: "delpart $B 1",
            stack: &["partition", "namespace"],
            expect: Direct,
        },
        Case {
            name: "loop",
            make: looped,
            unmake: "losetup -d $SOURCE",
            stack: &["loop", "filesystem", "namespace"],
            expect: refused(QUEUE, "no"),
        },
        Case { name: "overlay", make: overlay, unmake: "", stack: overlaid, expect: Mapped },
        file(
            "verity",
            "umount /mnt/b; SOURCE=/mnt/a/sealed; fill $SOURCE; fsverity enable $SOURCE",
            "umount /mnt/a",
            Silent { what: BUFFERED, reads: true, writes: false },
        ),
        file("encrypted", encrypted, "umount /mnt/a", Silent { what: "touched_by_cpu", reads: true, writes: true }),
        file("journal", journal, "umount /mnt/a", Silent { what: BUFFERED, reads: true, writes: true }),
        file("xfs", xfs, "umount /mnt/a", Direct),
        // What btrfs reads it reads direct, and then checks by CPU.
        file("btrfs", btrfs, "", Silent { what: BUFFERED, reads: false, writes: true }),
        file("btrfs-nodatasum", nodatasum, "umount /mnt/a", Mapped),
    ];
    check("stacks", "zen", &cases);
}

/// The SSD itself.
fn raw(stack: &'static [&'static str], expect: Expect) -> [Case; 1] {
    [Case { name: "raw", make: "SOURCE=$A; fill $A", unmake: "", stack, expect }]
}

#[test]
fn a_multipath_head_is_refused_by_its_queue() {
    check("multipath", "zen", &raw(&["multipath_head", "namespace", "namespace"], refused(QUEUE, "yes")));
}

#[test]
fn the_cure_for_a_multipath_head_works() {
    check("multipath-off", "zen", &raw(&["namespace"], Direct));
}

#[test]
fn two_host_bridges_go_direct_on_amd_zen() {
    check("two-bridges", "zen", &raw(&["namespace"], Direct));
}

#[test]
fn two_host_bridges_of_an_unlisted_intel_are_refused_by_the_route() {
    check("two-bridges", "intel", &raw(&["namespace"], refused("no_route", "no")));
}

/// Below an IOMMU the trace shows translated addresses, so here the data are the witness.
#[test]
fn below_a_translating_iommu_every_byte_arrives() {
    let [case] = raw(&["namespace"], Direct);
    let script = "SOURCE=$A; fill $A; explain raw; ours raw read --verify; ours raw write --verify\n\
                  cat /sys/bus/pci/devices/$P2PDMA_SSD_ADDRESS/iommu_group/type >$S/type";
    let policies = policies::script(&case, FIRST_MARK);
    let outcome = Guest::new("iommu").run(&format!("{FUNCTIONS}{}{script}\n{policies}", policies::FUNCTIONS));
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert!(outcome.file("type").starts_with("DMA"), "it translates: {}", outcome.file("type"));
    case.check_verdict(&outcome);
    policies::check(&case, &outcome);
    for rw in ["read", "write"] {
        let row = row(&outcome, &format!("raw.{rw}.run"));
        assert_eq!((&row["bytes_direct"], &row["bytes_verified"]), (&BYTES.into(), &BYTES.into()), "{rw}");
    }
}

/// Each opens with O_DIRECT, reports an alignment, and the kernel reports success: only we refuse.
#[test]
fn writes_and_reads_that_iomap_would_do_by_cpu_are_refused() {
    let holes = "SOURCE=/mnt/a/holes; truncate -s 2M $SOURCE";
    let script = format!(
        "mkfs.ext4 -q -F -O ^extent,^64bit $A; mount $A /mnt/a; {holes}\n\
         marked {} ours blocks write; marked {} kernel blocks write; umount /mnt/a\n\
         mkfs.xfs -q -f $A; mount $A /mnt/a; fill /mnt/a/file; {holes}\n\
         marked {} ours holes read; kernel holes read; ours holes write\n\
         SOURCE=/mnt/a/shared; cp --reflink=always /mnt/a/file $SOURCE; BLOCK=512\n\
         marked {} ours shared write; marked {} kernel shared write",
        FIRST_MARK,
        FIRST_MARK + 2,
        FIRST_MARK + 4,
        FIRST_MARK + 6,
        FIRST_MARK + 8,
    );
    let outcome = Guest::new("stacks").traced().run(&format!("{FUNCTIONS}{script}"));
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let refusals =
        [("blocks.write", 1, "no extents"), ("holes.read", 1, "a hole"), ("shared.write", 2, "of 4096 bytes")];
    for (name, status, cause) in refusals {
        let refusal = outcome.file(&format!("{name}.refusal"));
        assert_eq!(number(&outcome, &format!("{name}.status")), status, "{name}: {refusal}");
        assert!(refusal.contains(cause), "{name}: {refusal}");
        assert_eq!(fio(&outcome, &format!("{name}.fio"))["error"], 0, "{name}: the kernel reports success");
    }
    for mark in [0, 4, 6].map(|mark| FIRST_MARK + mark) {
        assert_eq!((moved(&outcome, mark, false).0, moved(&outcome, mark, true).0), (0, 0), "refused before any I/O");
    }
    for mark in [2, 8].map(|mark| FIRST_MARK + mark) {
        let (inside, outside) = moved(&outcome, mark, true);
        assert!(inside == 0 && outside >= BYTES, "silently: {inside} bytes of the BAR, {outside} of host memory");
    }
    assert_eq!(number(&outcome, "holes.write.status"), 0, "what has holes can be written direct");
}

/// Where the block layer encrypts, direct I/O has an alignment and the kernel does it: by the CPU, in the memory of the peer.
#[test]
fn a_file_that_the_block_layer_encrypts_is_refused_by_either_way() {
    let script = format!(
        "mkfs.ext4 -q -F -O encrypt -E lazy_itable_init=0,lazy_journal_init=0 $A; mount -o inlinecrypt $A /mnt/a\n\
         secret /mnt/a; fill $SOURCE; explain inline\n\
         marked {} ours p2pmem read '--way p2pmem'; marked {} ours module write '--way module'",
        FIRST_MARK,
        FIRST_MARK + 2,
    );
    let outcome = Guest::new("stacks").traced().run(&format!("{FUNCTIONS}{script}"));
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let explained: serde_json::Value = serde_json::from_str(&outcome.file("inline.explain")).expect("JSON");
    assert_eq!(explained["findings"][0]["what"], "touched_by_cpu", "{explained}");
    let evidence = explained["findings"][0]["evidence"].to_string();
    assert!(evidence.contains("inlinecrypt") && !evidence.contains("memory 0"), "it could be done direct: {evidence}");
    for name in ["p2pmem.read", "module.write"] {
        let refusal = outcome.file(&format!("{name}.refusal"));
        assert_eq!(number(&outcome, &format!("{name}.status")), 1, "{name}: {refusal}");
        assert!(refusal.contains("encrypted") && refusal.lines().count() == 1, "{name}: {refusal}");
    }
    for mark in [FIRST_MARK, FIRST_MARK + 2] {
        assert_eq!((moved(&outcome, mark, false).0, moved(&outcome, mark, true).0), (0, 0), "refused before any I/O");
    }
}

/// The page cache is named by its name: what goes through it is never called direct nor passes for a bounce, it is read anew
/// in each pass, and a filesystem that copies in spite of O_DIRECT gives it and nothing else.
#[test]
fn the_page_cache_is_measured_as_such_and_is_no_bounce() {
    let run = "p2pbench run --source $SOURCE --peer $GPU --json --span 1M --size 2M --block $BLOCK --depth 4 --destructive --force";
    let script = format!(
        "cache() {{ {run} --path page_cache --rw $2 >$S/$1.$2.run; }}
         refuse() {{ status=0; {run} --path $2 --rw read 2>$S/$1.$2.refusal || status=$?; echo $status >$S/$1.$2.status; }}
         SOURCE=$A; fill $A
         marked {} cache raw read; marked {} cache raw write
         {run} --path direct,bounce,page_cache --rw write >$S/all.run
         ext4 $A -o data=journal $A /mnt/a; SOURCE=/mnt/a/file; fill $SOURCE
         refuse journal bounce; refuse journal direct; marked {} cache journal read",
        FIRST_MARK,
        FIRST_MARK + 2,
        FIRST_MARK + 4,
    );
    let outcome = Guest::new("stacks").traced().run(&format!("{FUNCTIONS}{script}"));
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    for (name, rw, mark) in [("raw", "read", 0), ("raw", "write", 2), ("journal", "read", 4)] {
        let row = row(&outcome, &format!("{name}.{rw}.run"));
        assert_eq!((row["path"].as_str(), row["cache"].as_str()), (Some("page_cache"), Some("dropped")));
        assert_eq!((&row["bytes_direct"], &row["bytes_bounced"]), (&0.into(), &(2 * BYTES).into()), "{name} {rw}");
        let (inside, outside) = moved(&outcome, FIRST_MARK + mark, rw == "write");
        assert!(
            inside == 0 && outside >= 2 * BYTES,
            "{name} {rw}: {inside} bytes of the BAR, {outside} of host memory"
        );
    }
    for path in ["direct", "bounce"] {
        let refusal = outcome.file(&format!("journal.{path}.refusal"));
        assert_eq!(number(&outcome, &format!("journal.{path}.status")), 1, "{refusal}");
        assert!(refusal.contains("data=journal") && refusal.lines().count() == 1, "{refusal}");
    }
    let all: serde_json::Value = serde_json::from_str(&outcome.file("all.run")).expect("JSON");
    let ways = |row: &serde_json::Value| (row["bytes_direct"].as_u64(), row["bytes_bounced"].as_u64());
    let rows: Vec<_> = all["rows"].as_array().expect("rows").iter().map(ways).collect();
    let (all, none) = (Some(2 * BYTES), Some(0));
    assert_eq!(rows, [(all, none), (none, all), (none, all)]);
}
