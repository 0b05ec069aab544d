//! A machine recorded in the guest is looked at on the host, where none of it is.
//!
//! `P2PBENCH_BLESS=1` also renews the recordings in `tests/machines`, which p2pbench's own tests look at without a guest.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

use super::machine::{Guest, Outcome};

/// Every form of the topology, each into a file named after its form, and every explanation: of the live machine, and of its
/// recording. Root and nobody record; nobody sees no config space, and may not open one of the files.
const SCRIPT: &str = r#"
set -e
cd $P2PDMA_SHARE
part=${P2PDMA_SSD}p1
echo 'start=2048, type=83' | sfdisk -q $P2PDMA_SSD
mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 $part
mkdir /mnt/part
mount $part /mnt/part
dd if=/dev/urandom of=/mnt/part/file bs=1M count=1 status=none conv=fsync
install -m 600 /mnt/part/file /mnt/part/secret
truncate -s 1M /mnt/part/holes
for source in $P2PDMA_SSD_ADDRESS $P2PDMA_SSD $part /mnt/part/file /mnt/part/secret /mnt/part/holes; do
	echo "$source $P2PDMA_GPU_ADDRESS"; echo "$source $P2PDMA_GPU_ADDRESS --json"
done >pairs
echo "$P2PDMA_SSD $P2PDMA_CMB_ADDRESS" >>pairs
nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
forms() {
	for form in tree matrix json; do "${@:2}" topo --format $form >$1.$form; done
	while read -r pair; do
		status=0
		"${@:2}" explain $pair 2>&1 || status=$?
		echo "exit code $status"
	done <pairs >$1.explain
}
record() { "${@:2}" p2pbench record $1 --for /mnt/part/file --for /mnt/part/secret --for /mnt/part/holes; }
mkdir -m 777 public
forms live p2pbench
record machine env >said
forms replayed p2pbench --machine machine
forms live.nobody nobody p2pbench
record public/machine.nobody nobody >said.nobody
mv public/machine.nobody .
forms replayed.nobody p2pbench --machine machine.nobody
"#;

/// A recording, here on the host.
struct Here {
    directory: TempDir,
}

impl Here {
    fn new(recording: &str) -> Self {
        let directory = TempDir::new().expect("a directory");
        fs::write(directory.path().join("machine"), recording).expect("a recording");
        Self { directory }
    }

    /// What p2pbench does with it.
    fn p2pbench(&self, arguments: &str) -> Output {
        let test = std::env::current_exe().expect("this program");
        let program = test.ancestors().nth(2).expect("target/<profile>").join("p2pbench");
        let machine = self.directory.path().join("machine");
        let output = Command::new(program).arg("--machine").arg(machine).args(arguments.split(' ')).output();
        output.expect("p2pbench")
    }

    fn topo(&self, form: &str) -> String {
        let output = self.p2pbench(&format!("topo --format {form}"));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "nothing is missing in the recording");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// As the guest's script writes it down.
    fn explain(&self, pair: &str) -> String {
        let Output { status, stdout, stderr } = self.p2pbench(&format!("explain {pair}"));
        let code = status.code().expect("an exit code");
        format!("{}{}exit code {code}\n", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
    }
}

/// The bytes are those that the guest printed: from the recording all of them, live all but the word for the kind of
/// machine, which must differ.
fn same_everywhere(outcome: &Outcome, user: &str) -> String {
    let recording = outcome.file(&format!("machine{user}"));
    let here = Here::new(&recording);
    for form in ["tree", "matrix", "json"] {
        let live = outcome.file(&format!("live{user}.{form}"));
        let replayed = outcome.file(&format!("replayed{user}.{form}"));
        assert_eq!(here.topo(form), replayed, "{form}{user}: guest and host");
        let (was, is) = match form {
            "json" => (r#""kind": "host""#, r#""kind": "recorded""#),
            _ => ("machine: host", "machine: recorded"),
        };
        assert_eq!(live.replacen(was, is, 1), replayed, "{form}{user}: live and recorded");
        assert_ne!(live, replayed);
    }
    let (live, replayed) = (format!("live{user}.explain"), outcome.file(&format!("replayed{user}.explain")));
    let explained: String = outcome.file("pairs").lines().map(|pair| here.explain(pair)).collect();
    assert_eq!(explained, replayed, "explain{user}: guest and host");
    let live = outcome.file(&live).replace("machine: host", "machine: recorded");
    assert_eq!(
        live.replace(r#""kind": "host""#, r#""kind": "recorded""#),
        replayed,
        "explain{user}: live and recorded"
    );
    recording
}

fn recorded(topology: &str, cpu: &'static str) -> Outcome {
    let outcome = Guest::new(topology).cpu(cpu).run(SCRIPT);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    outcome
}

/// Where `p2pbench`'s tests find it.
fn bless(name: &str, recording: &str) {
    if std::env::var_os("P2PBENCH_BLESS").is_some_and(|value| value == "1") {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machines").join(name);
        fs::write(path, recording).expect("a recording to renew");
    }
}

#[test]
fn a_switch_recorded_in_the_guest_is_the_same_on_the_host() {
    let outcome = recorded("switch", "zen");
    bless("switch", &same_everywhere(&outcome, ""));
    assert!(outcome.file("replayed.tree").contains("0000:03:00.0 -> 0000:05:00.0  direct  bus_addr  distance 4"));
    assert!(!outcome.file("said").contains("lacks"), "{}", outcome.file("said"));
    let explained = outcome.file("replayed.explain");
    let pairs = outcome.file("pairs");
    // Which of its SSDs is nvme0 is for the kernel to say: it looks at all of them at once.
    let disks = pairs.split_whitespace().filter(|word| word.starts_with("/dev/nvme"));
    for direct in disks.chain(["/mnt/part/file", "/mnt/part/secret"]) {
        assert!(
            explained.contains(&format!("DIRECT  {direct} -> 0000:05:00.0  (p2pmem yes, ")),
            "{direct}: {explained}"
        );
    }
    assert!(explained.contains("warning: holes"), "{explained}");
}

#[test]
fn root_ports_recorded_by_nobody_hold_what_nobody_could_read() {
    let outcome = recorded("root-ports", "intel");
    bless("root-ports-intel", &same_everywhere(&outcome, ""));
    bless("root-ports-intel-nobody", &same_everywhere(&outcome, ".nobody"));
    assert!(outcome.file("replayed.tree").contains("is not in the kernel's list"));
    assert!(outcome.file("said.nobody").contains("record as root"), "{}", outcome.file("said.nobody"));
    assert!(
        outcome
            .file("replayed.nobody.explain")
            .contains("/mnt/part/secret: this user may not open it (Permission denied (os error 13))")
    );
}

/// One SSD by two ways, and a verdict on its head, live and recorded.
#[test]
fn a_multipath_head_recorded_in_the_guest_is_the_same_on_the_host() {
    let script = "set -e; cd $P2PDMA_SHARE; p2pbench record machine >said\n\
                  status=0; p2pbench explain $P2PDMA_SSD $P2PDMA_GPU_ADDRESS >explained || status=$?; test $status = 1\n\
                  echo $P2PDMA_SSD $P2PDMA_GPU_ADDRESS >pair";
    let outcome = Guest::new("multipath").run(script);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let recording = outcome.file("machine");
    bless("multipath", &recording);
    let explained = Here::new(&recording).explain(outcome.file("pair").trim());
    let live = outcome.file("explained").replace("machine: host", "machine: recorded");
    assert_eq!(explained, format!("{live}exit code 1\n"));
    assert!(explained.contains("nvme_core.multipath=N"), "{explained}");
}

#[test]
fn the_serial_numbers_of_the_guest_are_not_in_the_recording() {
    let outcome = Guest::new("switch").run(
        "set -e; cd $P2PDMA_SHARE; p2pbench record machine >/dev/null\n\
         cat /sys/class/nvme/nvme*/serial /sys/class/block/nvme*/wwid >secrets",
    );
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let (recording, secrets) = (outcome.file("machine"), outcome.file("secrets"));
    assert!(secrets.lines().count() >= 4, "{secrets}");
    for secret in secrets.lines().map(str::trim) {
        assert!(!recording.contains(secret), "{secret}");
    }
    assert!(recording.contains("/nvme/nvme0/serial read = REDACTED-"), "{recording}");
}
