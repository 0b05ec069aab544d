//! What p2pbench does not do: the exit code, and the one line that says what, why, and what to do.
//!
//! One case for each refusal that a mock or recorded machine can give. Those that take a kernel are in
//! `tests/guest/refusals.rs` and `tests/guest/stacks.rs`, those in the middle of a transfer in `tests/faults`.

use std::fs;

use tempfile::TempDir;

use crate::program::{Outcome, p2pbench};

/// A command that is refused: its exit code, and the parts of its line, in order.
struct Refused {
    arguments: &'static str,
    thing: &'static str,
    cause: &'static str,
    cure: &'static str,
}

/// On a mock machine; `run` of it for short.
const MOCK: &str = "--machine mock run --source /dev/nvme0n1 --peer 0000:05:00.0";

/// 1: no.
const NO: [Refused; 4] = [
    Refused {
        arguments: "--machine mock:root-ports-intel run --source /dev/nvme0n1 --peer 0000:02:00.0 --size 1M",
        thing: "0000:01:00.0 -> 0000:02:00.0",
        cause: "host bridge 8086:29c0 (pci0000:00, 0000:00:00.0) is not in the kernel's list",
        cure: "put both below one PCIe switch",
    },
    Refused {
        arguments: "--machine mock:root-ports-intel",
        thing: "0000:01:00.0 -> 0000:02:00.0",
        cause: "is not in the kernel's list",
        cure: "put both below one PCIe switch",
    },
    Refused {
        arguments: "--machine mock:FOREIGN run --source /dev/nvme0n1 --peer 0000:05:00.0",
        thing: "0000:05:00.0",
        cause: "its memory belongs to the driver `nvidia`",
        cure: "allocate from a device of the nvme or p2pdma_user driver",
    },
    Refused {
        arguments: "--machine mock:UNPUBLISHED run --source /dev/nvme0n1 --peer 0000:05:00.0",
        thing: "0000:05:00.0",
        cause: "its driver has not published the pool",
        cure: "use another provider",
    },
];

/// 2: wrong usage.
const USAGE: [Refused; 32] = [
    Refused { arguments: "frobnicate", thing: "subcommand", cause: "frobnicate", cure: "--help" },
    Refused { arguments: "run", thing: "--source", cause: "--peer", cure: "--help" },
    Refused { arguments: "topo --format xml", thing: "xml", cause: "tree, matrix, json", cure: "--help" },
    Refused {
        arguments: "run --source x --peer 1:2",
        thing: "--peer",
        cause: "\"1:2\" is no PCI address",
        cure: "--help",
    },
    Refused {
        arguments: "run --source x --peer 01:00.0 --path fast",
        thing: "--path",
        cause: "page_cache",
        cure: "--help",
    },
    Refused {
        arguments: "run --source x --peer 01:00.0 --size 0",
        thing: "--size",
        cause: "more than 0",
        cure: "--help",
    },
    Refused {
        arguments: "run --source x --peer 01:00.0 --seconds inf",
        thing: "--seconds",
        cause: "86400",
        cure: "--help",
    },
    Refused {
        arguments: "run --source x --peer 01:00.0 --depth 0",
        thing: "--depth",
        cause: "1..=4096",
        cure: "see p2pbench run --help",
    },
    Refused {
        arguments: "--machine nowhere topo",
        thing: "nowhere",
        cause: "no such machine",
        cure: "mock:root-ports-intel",
    },
    Refused {
        arguments: "--machine mock topo --json --format tree",
        thing: "--json",
        cause: "contradicts",
        cure: "give one",
    },
    Refused {
        arguments: "MOCK --peer 0000:09:00.0",
        thing: "0000:09:00.0",
        cause: "no such PCI device",
        cure: "p2pbench topo",
    },
    Refused { arguments: "MOCK --way p2pmem --way p2pmem", thing: "--way", cause: "multiple times", cure: "--help" },
    Refused { arguments: "MOCK --source /dev/nvme0n1", thing: "--source", cause: "twice", cure: "give each once" },
    Refused { arguments: "MOCK --block 4k,4096", thing: "--block", cause: "twice", cure: "--repeats" },
    Refused { arguments: "MOCK --seconds 1e-12", thing: "--seconds", cause: "at least 0.001", cure: "--help" },
    Refused { arguments: "MOCK --jobs 9999", thing: "--jobs", cause: "1..=256", cure: "--help" },
    Refused { arguments: "MOCK --jobs 64", thing: "/dev/nvme0n1", cause: "16 blocks", cure: "fewer --jobs" },
    Refused { arguments: "MOCK --numa far", thing: "--numa", cause: "auto", cure: "--help" },
    Refused { arguments: "MOCK --json --format html", thing: "--json", cause: "contradicts", cure: "give one" },
    Refused { arguments: "MOCK --job /nowhere", thing: "/nowhere", cause: "cannot be read", cure: "check the name" },
    Refused {
        arguments: "MOCK --job /dev/zero",
        thing: "/dev/zero",
        cause: "longer than 256 MiB",
        cure: "check the name",
    },
    Refused {
        arguments: "compare /dev/zero /dev/zero",
        thing: "/dev/zero",
        cause: "longer than",
        cure: "check the name",
    },
    Refused { arguments: "compare /tmp /tmp", thing: "/tmp", cause: "directory", cure: "check the name" },
    Refused { arguments: "MOCK --preset gaming", thing: "gaming", cause: "model-loading, checkpoint", cure: "--help" },
    Refused {
        arguments: "MOCK --preset checkpoint",
        thing: "/dev/nvme0n1",
        cause: "--rw write",
        cure: "--destructive",
    },
    Refused {
        arguments: "--machine mock run --source /dev/nvme0n1 --peer 0000:09:00.0",
        thing: "0000:09:00.0",
        cause: "no such PCI device",
        cure: "p2pbench topo",
    },
    Refused {
        arguments: "--machine mock run --source /dev/nvme0n1 --peer 0000:03:00.0",
        thing: "0000:03:00.0",
        cause: "given no memory to p2pdma",
        cure: "p2pdma_user",
    },
    Refused {
        arguments: "--machine mock run --source /dev/nvme9n1 --peer 0000:05:00.0",
        thing: "/dev/nvme9n1",
        cause: "no such file",
        cure: "check the name",
    },
    Refused { arguments: "MOCK --rw write", thing: "/dev/nvme0n1", cause: "--rw write", cure: "--destructive" },
    Refused {
        arguments: "MOCK --size 100k --block 64k",
        thing: "/dev/nvme0n1",
        cause: "no multiple",
        cure: "use a multiple",
    },
    Refused { arguments: "MOCK --block 32M", thing: "/dev/nvme0n1", cause: "hold no block", cure: "smaller --block" },
    Refused { arguments: "MOCK --block 4G", thing: "/dev/nvme0n1", cause: "too large", cure: "up to 64M" },
];

/// 3: not allowed, or cannot tell.
const NOT_ALLOWED: [Refused; 3] = [
    Refused {
        arguments: "--machine RECORDED run --source /dev/nvme0n1 --peer 0000:05:00.0",
        thing: "/dev/nvme0n1",
        cause: "on a recorded machine",
        cure: "run this on the machine itself",
    },
    Refused {
        arguments: "--machine RECORDED explain /mnt/file 0000:05:00.0",
        thing: "/mnt/file",
        cause: "it was not recorded",
        cure: "--for PATH",
    },
    Refused {
        arguments: "--machine mock:WITHOUT run --source /dev/nvme0n1 --peer 0000:05:00.0",
        thing: "0000:05:00.0",
        cause: "built without CONFIG_PCI_P2PDMA (/boot/config-6.12.0-mock)",
        cure: "boot a kernel with CONFIG_PCI_P2PDMA=y",
    },
];

/// 4: an operation failed.
const FAILED: [Refused; 2] = [
    Refused {
        arguments: "MOCK --block 16M --depth 8",
        thing: "0000:05:00.0",
        cause: "67108864 bytes of its 67108864 are free",
        cure: "ask for less",
    },
    Refused {
        arguments: "--machine mock record /nowhere/at/all",
        thing: "/nowhere/at/all",
        cause: "cannot be written",
        cure: "name another place",
    },
];

/// Recordings of the mock machine, as they are and changed.
struct Machines(TempDir);

impl Machines {
    fn new() -> Self {
        let machines = Self(TempDir::new().expect("a directory"));
        let recorded = machines.path("RECORDED");
        assert_eq!(p2pbench(&format!("--machine mock record {recorded}")).status, 0);
        let text = fs::read_to_string(&recorded).expect("a recording");
        machines.write("FOREIGN", &replaced(&text, "/drivers/p2pdma_user", "/drivers/nvidia"));
        machines.write("UNPUBLISHED", &replaced(&text, "p2pmem/published read = 1", "p2pmem/published read = 0"));
        let gone = without(&without(&text, "/p2pmem"), "/boot/config");
        let config = "/boot/config-6.12.0-mock read text\n  | CONFIG_PCI=y\n  | # CONFIG_PCI_P2PDMA is not set\n";
        machines.write("WITHOUT", &format!("{}{config}", replaced(&gone, "  p2pmem\n", "")));
        machines
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a machine");
    }

    /// With the machines' names by their paths.
    fn run(&self, arguments: &str) -> Outcome {
        let names = ["RECORDED", "FOREIGN", "UNPUBLISHED", "WITHOUT"];
        let arguments = arguments.replace("MOCK ", &format!("{MOCK} "));
        p2pbench(&names.iter().fold(arguments, |arguments, name| arguments.replace(name, &self.path(name))))
    }
}

/// Without the facts of such paths, and the rows that belong to them.
fn without(text: &str, path: &str) -> String {
    let mut kept = true;
    let mut keep = |line: &&str| {
        kept = if line.starts_with("  ") { kept } else { !line.contains(path) };
        kept
    };
    text.lines().filter(|line| keep(line)).map(|line| format!("{line}\n")).collect()
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from:?} in {text}");
    text.replace(from, to)
}

/// Nothing on stdout but verdicts of an overview; one line on stderr with thing, cause and cure in this order.
fn assert_refused(refused: &Refused, outcome: &Outcome, status: i32) {
    let Refused { arguments, thing, cause, cure } = refused;
    assert_eq!(outcome.status, status, "{arguments}: {}", outcome.stderr);
    let line = outcome.stderr.strip_suffix('\n').expect("a line");
    assert!(line.starts_with("p2pbench: ") && !line.contains('\n'), "{arguments}: {line:?}");
    let mut rest = line;
    for part in [thing, cause, cure] {
        rest = rest.split_once(part).map(|(_, rest)| rest).unwrap_or_else(|| panic!("{part:?} is not in {line:?}"));
    }
    assert!(outcome.stdout.is_empty() || !arguments.contains(' ') || *arguments == "--machine mock:root-ports-intel");
}

fn assert_all(cases: &[Refused], status: i32) {
    let machines = Machines::new();
    for refused in cases {
        assert_refused(refused, &machines.run(refused.arguments), status);
    }
}

#[test]
fn a_no_is_1() {
    assert_all(&NO, 1);
}

#[test]
fn wrong_usage_is_2() {
    assert_all(&USAGE, 2);
}

#[test]
fn what_is_not_allowed_or_cannot_be_told_is_3() {
    assert_all(&NOT_ALLOWED, 3);
}

#[test]
fn an_operation_that_failed_is_4() {
    assert_all(&FAILED, 4);
}

#[test]
fn writes_that_are_allowed_are_0() {
    assert_eq!(p2pbench(&format!("{MOCK} --rw write --size 1M --destructive")).status, 0);
}
