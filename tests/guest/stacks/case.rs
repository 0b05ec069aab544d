//! One stack: how it is made, what must come of it, and how that is seen.

use serde_json::Value;

use super::policies;
use crate::{
    machine::{Guest, Outcome},
    trace::{self, Command},
};

/// Blocks near the end of the first SSD, which nothing else reads, as marks in the trace: ten for each case.
pub(super) const FIRST_MARK: u64 = 1_040_000;

/// Bytes that each transfer moves.
pub(super) const BYTES: u64 = 1 << 20;

/// What else may move meanwhile: a journal's commit, a tree's blocks.
pub(super) const STRAY: u64 = BYTES / 2;

/// What both refusals of the kernel look like to a program.
const EREMOTEIO: i64 = 121;

/// A stack: how it is made (setting SOURCE) and unmade, and what must come of it.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) make: &'static str,
    pub(super) unmake: &'static str,
    /// The kinds of its layers, top down.
    pub(super) stack: &'static [&'static str],
    pub(super) expect: Expect,
}

pub(super) enum Expect {
    Direct,
    /// Direct to mapped memory; the module refuses.
    Mapped,
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

/// Shell functions for the guest. Tools that would wait for udev, which is not there, are told so.
pub(super) const FUNCTIONS: &str = r#"
set -e
export DM_DISABLE_UDEV=1 MDADM_NO_UDEV=1 PATH=${PATH%%:*}/examples:$PATH:/usr/sbin:/sbin
BLOCK=64k A=$P2PDMA_SSD B=${P2PDMA_SSD1:-} S=$P2PDMA_SHARE GPU=$P2PDMA_GPU_ADDRESS
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
md() { mdadm --create /dev/md0 --quiet --run --metadata=1.2 --assume-clean --level=$1 --raid-devices=2 $A $B; SOURCE=/dev/md0; fill $SOURCE; }
unmd() { mdadm --quiet --stop /dev/md0; mdadm --quiet --zero-superblock $A $B; }
ext4() { mkfs.ext4 -q -F -O verity -E lazy_itable_init=0,lazy_journal_init=0 $1; shift; mount "$@"; }
# An encrypted directory, and the name of a file in it.
secret() {
	mkdir $1/secret; echo password | e4crypt add_key -q -S 0x0123456789abcdef $1/secret >/dev/null; SOURCE=$1/secret/file
}
explain() { status=0; p2pbench explain $SOURCE $GPU --json >$S/$1.explain || status=$?; echo $status >$S/$1.explained; }
ours() {
	status=0
	p2pbench run --source $SOURCE --peer $GPU --path direct --json --rw $2 --destructive --force --size 1M --span 1M --block $BLOCK \
		--depth 4 $3 >$S/$1.$2.run 2>$S/$1.$2.refusal || status=$?
	echo $status >$S/$1.$2.status
}
kernel() {
	before=$(dmesg | grep -c 'critical target error' || true)
	fio --name=x --filename=$SOURCE --rw=$2 --bs=$BLOCK --size=1M --direct=1 --ioengine=psync --thread --allow_file_create=0 \
		--iomem=mmapshared:/sys/bus/pci/devices/$GPU/p2pmem/allocate --output-format=json --output=$S/$1.$2.fio || true
	after=$(dmesg | grep -c 'critical target error' || true)
	echo $((after - before)) >$S/$1.$2.errors
}
"#;

impl Case {
    fn script(&self, mark: u64) -> String {
        let Self { name, make, unmake, .. } = self;
        let observe = match self.expect {
            Expect::Direct | Expect::Mapped => format!(
                "ours {name} read --verify\nmarked {mark} ours {name} read\nmarked {} ours {name} write\n",
                mark + 2
            ),
            _ => format!(
                "marked {mark} ours {name} read\nmarked {} kernel {name} read\nmarked {} kernel {name} write\n",
                mark + 4,
                mark + 6
            ),
        };
        let policies = policies::script(self, mark + 8);
        format!("{make}\nexplain {name}\n{observe}{policies}\n{unmake}\n")
    }

    fn check(&self, outcome: &Outcome, mark: u64) {
        self.check_verdict(outcome);
        match self.expect {
            Expect::Direct | Expect::Mapped => self.check_direct(outcome, mark),
            Expect::Refused { what, .. } => self.check_refused(outcome, what, mark),
            Expect::Silent { reads, writes, .. } => self.check_silent(outcome, reads, writes, mark),
        }
        policies::check(self, outcome);
        policies::check_trace(self, outcome, mark + 8);
    }

    pub(super) fn check_verdict(&self, outcome: &Outcome) {
        let name = self.name;
        let document: Value = serde_json::from_str(&outcome.file(&format!("{name}.explain"))).expect("JSON");
        assert_eq!(document["schema"], "p2pbench.explain/1");
        let stack = document["stack"].as_array().expect("a stack").iter().map(|layer| layer["kind"].as_str());
        assert_eq!(stack.collect::<Vec<_>>(), self.stack.iter().copied().map(Some).collect::<Vec<_>>(), "{name}");
        let (answer, module, what, status) = match self.expect {
            Expect::Direct => ("yes", "yes", None, 0),
            Expect::Mapped => ("yes", "no", Some("beyond_module"), 0),
            // Root has not named it to the module yet.
            Expect::Refused { what, module: "yes" } => ("no", "no", Some(what), 1),
            Expect::Refused { what, module } => ("no", module, Some(what), 1),
            Expect::Silent { what, .. } => ("no", "no", Some(what), 1),
        };
        assert_eq!((&document["answer"], &document["ways"]["module"]), (&answer.into(), &module.into()), "{name}");
        assert_eq!(document["findings"][0]["what"].as_str(), what, "{name}: {document:#}");
        assert_eq!(number(outcome, &format!("{name}.explained")), status, "{name}");
        if let Expect::Refused { module: module @ "yes", .. } = self.expect {
            self.check_named(outcome, &document, module);
        }
    }

    /// What is refused before root names the stack, with the line that root then writes, is open behind it.
    fn check_named(&self, outcome: &Outcome, before: &Value, module: &str) {
        let name = self.name;
        let found = before["findings"].as_array().expect("findings").iter();
        let mut unnamed = found.filter(|finding| finding["what"] == "stack_not_named");
        let unnamed = unnamed.next().expect("a finding about the stack");
        assert_eq!((&unnamed["severity"], &unnamed["ways"][0]), (&"no".into(), &"module".into()), "{name}");
        assert!(unnamed["cure"].as_str().is_some_and(|cure| cure.contains("`echo ")), "{name}: {unnamed}");
        let after: Value = serde_json::from_str(&outcome.file(&format!("{name}.vouched.explain"))).expect("JSON");
        assert_eq!(after["ways"]["module"], module, "{name}: {after:#}");
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
        let parts = refusal.strip_prefix("p2pbench: ").and_then(|line| line.split_once(": ")?.1.split_once("; "));
        assert!(
            parts.is_some_and(|(cause, cure)| !cause.is_empty() && cure.len() > 1),
            "thing, cause, cure: {refusal}"
        );
        let (inside, outside) = moved(outcome, mark, false);
        assert!(inside == 0 && outside < STRAY, "{name}: {inside} and {outside} bytes moved before the refusal");
    }
}

pub(super) fn number(outcome: &Outcome, file: &str) -> i64 {
    outcome.file(file).trim().parse().expect("a number")
}

pub(super) fn row(outcome: &Outcome, file: &str) -> Value {
    let document: Value = serde_json::from_str(&outcome.file(file)).expect("JSON");
    document["rows"][0].clone()
}

/// fio's job; its errors stand before the document.
pub(super) fn fio(outcome: &Outcome, file: &str) -> Value {
    let text = outcome.file(file);
    let start = text.find("\n{").map_or(0, |line| line + 1);
    let document: Value = serde_json::from_str(&text[start..]).expect("JSON");
    document["jobs"][0].clone()
}

/// Bytes of the GPU's BAR, and of other memory, in commands of this direction behind a mark.
pub(super) fn moved(outcome: &Outcome, mark: u64, write: bool) -> (u64, u64) {
    let bar = trace::bar(&outcome.file("bar"));
    let commands = trace::between(&outcome.trace, mark, mark + 1);
    let parts = commands.iter().filter(|command: &&Command| command.write == write).flat_map(|command| &command.memory);
    let (inside, outside): (Vec<_>, Vec<_>) = parts.partition(|part| bar.contains(&part.start));
    let sum = |parts: Vec<&trace::Part>| parts.iter().map(|part| part.length).sum();
    (sum(inside), sum(outside))
}

/// Boots one guest, makes one stack after the other in it, and checks each.
pub(super) fn check(topology: &str, cpu: &'static str, cases: &[Case]) {
    let marks = || (0..).map(|case| FIRST_MARK + 10 * case);
    let scripts: String = cases.iter().zip(marks()).map(|(case, mark)| case.script(mark)).collect();
    let outcome = Guest::new(topology).cpu(cpu).traced().run(&format!("{FUNCTIONS}{}{scripts}", policies::FUNCTIONS));
    assert_eq!(outcome.status, 0, "{}\n{}", outcome.stdout, outcome.stderr);
    cases.iter().zip(marks()).for_each(|(case, mark)| case.check(&outcome, mark));
}
