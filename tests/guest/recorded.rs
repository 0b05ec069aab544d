//! A machine recorded in the guest is looked at on the host, where none of it is.
//!
//! `P2PBENCH_BLESS=1` also renews the recordings in `tests/machines`, which p2pbench's own tests look at without a guest.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

use super::machine::{Guest, Outcome};

/// Every form of the topology, each into a file named after its form: of the live machine, and of its recording. Root and
/// nobody record; nobody sees no config space.
const SCRIPT: &str = r#"
set -e
cd $P2PDMA_SHARE
nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
forms() { for form in tree matrix json; do "${@:2}" topo --format $form >$1.$form; done; }
mkdir -m 777 public
forms live p2pbench
p2pbench record machine >said
forms replayed p2pbench --machine machine
forms live.nobody nobody p2pbench
nobody p2pbench record public/machine.nobody >said.nobody
mv public/machine.nobody .
forms replayed.nobody p2pbench --machine machine.nobody
"#;

/// What p2pbench prints here of a recording.
fn on_the_host(recording: &str, form: &str) -> String {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("machine");
    fs::write(&file, recording).expect("a recording");
    let test = std::env::current_exe().expect("this program");
    let program = test.ancestors().nth(2).expect("target/<profile>").join("p2pbench");
    let output = Command::new(program).arg("--machine").arg(file).args(["topo", "--format", form]).output();
    let output = output.expect("p2pbench");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "nothing is missing in the recording");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The bytes are those that the guest printed: from the recording all of them, live all but the word for the kind of
/// machine, which must differ.
fn same_everywhere(outcome: &Outcome, user: &str) -> String {
    let recording = outcome.file(&format!("machine{user}"));
    for form in ["tree", "matrix", "json"] {
        let live = outcome.file(&format!("live{user}.{form}"));
        let replayed = outcome.file(&format!("replayed{user}.{form}"));
        assert_eq!(on_the_host(&recording, form), replayed, "{form}{user}: guest and host");
        let (was, is) = match form {
            "json" => (r#""kind": "host""#, r#""kind": "recorded""#),
            _ => ("machine: host", "machine: recorded"),
        };
        assert_eq!(live.replacen(was, is, 1), replayed, "{form}{user}: live and recorded");
        assert_ne!(live, replayed);
    }
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
}

#[test]
fn root_ports_recorded_by_nobody_hold_what_nobody_could_read() {
    let outcome = recorded("root-ports", "intel");
    bless("root-ports-intel", &same_everywhere(&outcome, ""));
    bless("root-ports-intel-nobody", &same_everywhere(&outcome, ".nobody"));
    assert!(outcome.file("replayed.tree").contains("is not in the kernel's list"));
    assert!(outcome.file("said.nobody").contains("record as root"), "{}", outcome.file("said.nobody"));
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
