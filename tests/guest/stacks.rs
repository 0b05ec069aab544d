//! Block stacks and filesystems on real Linux 6.12: what `p2pbench explain` says of each, what `p2pbench run` does, and what
//! the kernel makes of the same I/O without us (fio, with the GPU's memory as its buffer), by QEMU's own trace.
//!
//! Three things can happen, and each must be what was said before:
//! - direct: every byte went into or came out of the GPU's BAR;
//! - refused: `EREMOTEIO` and not a byte moved. The block stack's refusal leaves no line in the kernel's log, that of the
//!   route leaves a "critical target error": so the two are told apart;
//! - silent: the kernel reports success and moved every byte through host memory. `p2pbench run` must have refused.

use serde_json::Value;

use super::{
    machine::{Guest, Outcome},
    trace::{self, Command},
};

/// Blocks near the end of the first SSD, which nothing else reads, as marks in the trace: ten for each case.
const FIRST_MARK: u64 = 1_040_000;

/// Bytes that each transfer moves.
const BYTES: u64 = 1 << 20;

/// What else may move meanwhile: a journal's commit, a tree's blocks.
const STRAY: u64 = BYTES / 2;

/// What both refusals of the kernel look like to a program.
const EREMOTEIO: i64 = 121;

/// A stack: how it is made (setting SOURCE) and unmade, and what must come of it.
struct Case {
    name: &'static str,
    make: &'static str,
    unmake: &'static str,
    /// The kinds of its layers, top down.
    stack: &'static [&'static str],
    expect: Expect,
}

enum Expect {
    Direct,
    Refused {
        what: &'static str,
        module: &'static str,
    },
    /// What the kernel buffers silently: reads, writes.
    Silent {
        what: &'static str,
        reads: bool,
        writes: bool,
    },
}

use Expect::{Direct, Refused, Silent};

const QUEUE: &str = "queue_refuses";
const BUFFERED: &str = "silently_buffered";

/// Shell functions for the guest. Tools that would wait for udev, which is not there, are told so.
const FUNCTIONS: &str = r#"
set -e
export DM_DISABLE_UDEV=1 MDADM_NO_UDEV=1 PATH=$PATH:/usr/sbin:/sbin
A=$P2PDMA_SSD B=${P2PDMA_SSD1:-} S=$P2PDMA_SHARE GPU=$P2PDMA_GPU_ADDRESS
mkdir -p /mnt/a /mnt/b
echo $P2PDMA_GPU_BAR >$S/bar
mark() { dd if=$A of=/dev/null iflag=direct bs=512 skip=$1 count=1 status=none; }
fill() { dd if=/dev/urandom of=$1 bs=1M count=2 status=none conv=fsync; }
# Marks NUMBER and NUMBER + 1 around a command, with nothing left to write and nothing cached.
marked() {
	number=$1; shift
	sync; echo 3 >/proc/sys/vm/drop_caches
	mark $number; "$@"; sync; mark $((number + 1))
}
md() { mdadm --create /dev/md0 --quiet --run --metadata=1.2 --assume-clean --level=$1 --raid-devices=2 $A $B; SOURCE=/dev/md0; }
unmd() { mdadm --quiet --stop /dev/md0; mdadm --quiet --zero-superblock $A $B; }
ext4() { mkfs.ext4 -q -F -O verity -E lazy_itable_init=0,lazy_journal_init=0 $1; shift; mount "$@"; }
explain() { status=0; p2pbench explain $SOURCE $GPU --json >$S/$1.explain || status=$?; echo $status >$S/$1.explained; }
ours() {
	status=0
	p2pbench run --source $SOURCE --peer $GPU --path direct --json --rw $2 --destructive --size 1M --span 1M --block 64k \
		--depth 4 $3 >$S/$1.$2.run 2>$S/$1.$2.refusal || status=$?
	echo $status >$S/$1.$2.status
}
kernel() {
	before=$(dmesg | grep -c 'critical target error' || true)
	fio --name=x --filename=$SOURCE --rw=$2 --bs=64k --size=1M --direct=1 --ioengine=psync --thread --allow_file_create=0 \
		--iomem=mmapshared:/sys/bus/pci/devices/$GPU/p2pmem/allocate --output-format=json --output=$S/$1.$2.fio || true
	after=$(dmesg | grep -c 'critical target error' || true)
	echo $((after - before)) >$S/$1.$2.errors
}
"#;

impl Case {
    fn script(&self, mark: u64) -> String {
        let Self { name, make, unmake, .. } = self;
        let observe = match self.expect {
            Direct => format!(
                "ours {name} read --verify\nmarked {mark} ours {name} read\nmarked {} ours {name} write\n",
                mark + 2
            ),
            _ => format!(
                "marked {mark} ours {name} read\nmarked {} kernel {name} read\nmarked {} kernel {name} write\n",
                mark + 4,
                mark + 6
            ),
        };
        format!("{make}\nexplain {name}\n{observe}{unmake}\n")
    }

    fn check(&self, outcome: &Outcome, mark: u64) {
        self.check_verdict(outcome);
        match self.expect {
            Direct => self.check_direct(outcome, mark),
            Refused { what, .. } => self.check_refused(outcome, what, mark),
            Silent { reads, writes, .. } => self.check_silent(outcome, reads, writes, mark),
        }
    }

    fn check_verdict(&self, outcome: &Outcome) {
        let name = self.name;
        let document: Value = serde_json::from_str(&outcome.file(&format!("{name}.explain"))).expect("JSON");
        assert_eq!(document["schema"], "p2pbench.explain/1");
        let stack = document["stack"].as_array().expect("a stack").iter().map(|layer| layer["kind"].as_str());
        assert_eq!(stack.collect::<Vec<_>>(), self.stack.iter().copied().map(Some).collect::<Vec<_>>(), "{name}");
        let (answer, module, what, status) = match self.expect {
            Direct => ("yes", "yes", None, 0),
            Refused { what, module } => ("no", module, Some(what), 1),
            Silent { what, .. } => ("no", "no", Some(what), 1),
        };
        assert_eq!((&document["answer"], &document["ways"]["module"]), (&answer.into(), &module.into()), "{name}");
        assert_eq!(document["findings"][0]["what"].as_str(), what, "{name}: {document:#}");
        assert_eq!(number(outcome, &format!("{name}.explained")), status, "{name}");
    }

    fn check_direct(&self, outcome: &Outcome, mark: u64) {
        for (rw, mark) in [("read", mark), ("write", mark + 2)] {
            let row = row(outcome, &format!("{}.{rw}.run", self.name));
            assert_eq!((&row["bytes_direct"], &row["bytes_bounced"]), (&BYTES.into(), &0.into()), "{} {rw}", self.name);
            let (inside, outside) = moved(outcome, mark, rw == "write");
            assert_eq!(inside, BYTES, "{} {rw}: bytes of the BAR", self.name);
            assert!(outside < STRAY, "{} {rw}: {outside} bytes of host memory", self.name);
        }
    }

    /// Our refusal in one line that says why, before any byte moved; then the kernel's own.
    fn check_refused(&self, outcome: &Outcome, what: &str, mark: u64) {
        self.check_run_is_refused(outcome, mark);
        for (rw, mark) in [("read", mark + 4), ("write", mark + 6)] {
            let fio = fio(outcome, &format!("{}.{rw}.fio", self.name));
            assert_eq!(fio["error"], EREMOTEIO, "{} {rw}: {fio}", self.name);
            assert_eq!(fio[rw]["io_bytes"], 0, "{} {rw}", self.name);
            assert_eq!(moved(outcome, mark, rw == "write").0, 0, "{} {rw}: bytes of the BAR", self.name);
            let logged = number(outcome, &format!("{}.{rw}.errors", self.name)) > 0;
            assert_eq!(logged, what == "no_route", "{} {rw}: the kernel logs the route's refusal alone", self.name);
        }
    }

    /// The kernel's success, and where the bytes were: not in the BAR.
    fn check_silent(&self, outcome: &Outcome, reads: bool, writes: bool, mark: u64) {
        self.check_run_is_refused(outcome, mark);
        let ways = [("read", reads, mark + 4), ("write", writes, mark + 6)];
        for (rw, _, mark) in ways.into_iter().filter(|(_, silent, _)| *silent) {
            let fio = fio(outcome, &format!("{}.{rw}.fio", self.name));
            assert_eq!((&fio["error"], &fio[rw]["io_bytes"]), (&0.into(), &BYTES.into()), "{} {rw}", self.name);
            let (inside, outside) = moved(outcome, mark, rw == "write");
            assert_eq!(inside, 0, "{} {rw}: bytes of the BAR", self.name);
            assert!(outside >= BYTES, "{} {rw}: only {outside} bytes of host memory", self.name);
        }
    }

    fn check_run_is_refused(&self, outcome: &Outcome, mark: u64) {
        let name = self.name;
        let refusal = outcome.file(&format!("{name}.read.refusal"));
        assert_eq!(number(outcome, &format!("{name}.read.status")), 1, "{name}: {refusal}");
        assert_eq!((outcome.file(&format!("{name}.read.run")).as_str(), refusal.lines().count()), ("", 1), "{refusal}");
        let (inside, outside) = moved(outcome, mark, false);
        assert!(inside == 0 && outside < STRAY, "{name}: {inside} and {outside} bytes moved before the refusal");
    }
}

fn number(outcome: &Outcome, file: &str) -> i64 {
    outcome.file(file).trim().parse().expect("a number")
}

fn row(outcome: &Outcome, file: &str) -> Value {
    let document: Value = serde_json::from_str(&outcome.file(file)).expect("JSON");
    document["rows"][0].clone()
}

/// fio's job; its errors stand before the document.
fn fio(outcome: &Outcome, file: &str) -> Value {
    let text = outcome.file(file);
    let start = text.find("\n{").map_or(0, |line| line + 1);
    let document: Value = serde_json::from_str(&text[start..]).expect("JSON");
    document["jobs"][0].clone()
}

/// Bytes of the GPU's BAR, and of other memory, in commands of this direction behind a mark.
fn moved(outcome: &Outcome, mark: u64, write: bool) -> (u64, u64) {
    let bar = trace::bar(&outcome.file("bar"));
    let commands = trace::between(&outcome.trace, mark, mark + 1);
    let parts = commands.iter().filter(|command: &&Command| command.write == write).flat_map(|command| &command.memory);
    let (inside, outside): (Vec<_>, Vec<_>) = parts.partition(|part| bar.contains(&part.start));
    let sum = |parts: Vec<&trace::Part>| parts.iter().map(|part| part.length).sum();
    (sum(inside), sum(outside))
}

/// Boots one guest, makes one stack after the other in it, and checks each.
fn check(topology: &str, cpu: &'static str, cases: &[Case]) {
    let marks = || (0..).map(|case| FIRST_MARK + 10 * case);
    let scripts: String = cases.iter().zip(marks()).map(|(case, mark)| case.script(mark)).collect();
    let outcome = Guest::new(topology).cpu(cpu).traced().run(&format!("{FUNCTIONS}{scripts}"));
    assert_eq!(outcome.status, 0, "{}\n{}", outcome.stdout, outcome.stderr);
    cases.iter().zip(marks()).for_each(|(case, mark)| case.check(&outcome, mark));
}

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
    let linear = "dmsetup create linear --table \"0 524288 linear $A 0\"; SOURCE=/dev/mapper/linear";
    let crypt = "echo -n key | cryptsetup open --type plain $A crypt; SOURCE=/dev/mapper/crypt";
    let lvm = "pvcreate -q -y $A; vgcreate -q group $A; lvcreate -q -y -Zn -Wn -n volume -L 256M group; \
               SOURCE=/dev/group/volume";
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
    let partition = "addpart $B 1 2048 524288; SOURCE=${B}p1";
    let looped = "ext4 $A $A /mnt/a; fill /mnt/a/file; SOURCE=$(losetup -f --show /mnt/a/file)";
    let overlay = "mkdir /mnt/a/upper /mnt/a/work /mnt/a/lower; fill /mnt/a/upper/file; fill /mnt/a/lower/below; \
                   mount -t overlay -o lowerdir=/mnt/a/lower,upperdir=/mnt/a/upper,workdir=/mnt/a/work overlay /mnt/b; \
                   SOURCE=/mnt/b/file";
    let overlaid: &[&str] = &["filesystem", "filesystem", "namespace"];
    let journal = "mount -o data=journal $A /mnt/a; SOURCE=/mnt/a/journal; fill $SOURCE";
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
        Case { name: "overlay", make: overlay, unmake: "", stack: overlaid, expect: Direct },
        file(
            "verity",
            "umount /mnt/b; SOURCE=/mnt/a/sealed; fill $SOURCE; fsverity enable $SOURCE",
            "umount /mnt/a",
            Silent { what: BUFFERED, reads: true, writes: false },
        ),
        file("journal", journal, "umount /mnt/a", Silent { what: BUFFERED, reads: true, writes: true }),
        file("xfs", xfs, "umount /mnt/a", Direct),
        // What btrfs reads it reads direct, and then checks by CPU.
        file("btrfs", btrfs, "", Silent { what: BUFFERED, reads: false, writes: true }),
        file("btrfs-nodatasum", nodatasum, "umount /mnt/a", Direct),
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
    let script = "SOURCE=$A; fill $A; explain raw; ours raw read --verify; ours raw write --verify\n\
                  cat /sys/bus/pci/devices/$P2PDMA_SSD_ADDRESS/iommu_group/type >$S/type";
    let outcome = Guest::new("iommu").run(&format!("{FUNCTIONS}{script}"));
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert!(outcome.file("type").starts_with("DMA"), "it translates: {}", outcome.file("type"));
    let [case] = raw(&["namespace"], Direct);
    case.check_verdict(&outcome);
    for rw in ["read", "write"] {
        let row = row(&outcome, &format!("raw.{rw}.run"));
        assert_eq!((&row["bytes_direct"], &row["bytes_verified"]), (&BYTES.into(), &BYTES.into()), "{rw}");
    }
}
