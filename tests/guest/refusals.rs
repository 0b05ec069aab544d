//! Refusals that take a real kernel to be made: the exit code, and one line that says what, why, and what to do. Those of
//! block stacks and filesystems are in `stacks.rs`; those that a mock can make in p2pbench's own tests.

use super::machine::Guest;

/// A command that is refused.
struct Refused {
    name: &'static str,
    /// What is done before and after it.
    before: &'static str,
    command: &'static str,
    after: &'static str,
    status: i32,
    /// The thing, the cause and the cure, in this order.
    parts: [&'static str; 3],
}

/// `run` of the SSD and the GPU, and with fewer rights.
const FUNCTIONS: &str = r#"
set -e
S=$P2PDMA_SHARE
run="p2pbench run --source $P2PDMA_SSD --peer $P2PDMA_GPU_ADDRESS"
gpu=/sys/bus/pci/devices/$P2PDMA_GPU_ADDRESS
nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
# As a container's profile does it: io_uring_setup (425) answers EPERM.
seccomp() {
	perl -e 'my $filter = pack("SCCL" x 4, 0x20,0,0,0, 0x15,0,1,425, 6,0,0,0x50001, 6,0,0,0x7fff0000);
		my $program = pack("S x6 P", 4, $filter);
		syscall(157, 38, 1, 0, 0, 0) == 0 && syscall(157, 22, 2, $program) == 0 or die "prctl";
		exec @ARGV' "$@"
}
# Does something in the middle of a run: when the SSD has been read. What has ended by then is waited for in vain.
reads() { awk '{ print $1 }' /sys/class/block/${P2PDMA_SSD##*/}/stat; }
amidst() {
	before=$(reads)
	$run --seconds 100 & pid=$!
	while [ $(reads) -lt $((before + 100)) ]; do kill -0 $pid; done
	eval "$1"
	wait $pid
}
refused() { name=$1; shift; status=0; "$@" >$S/$name.out 2>$S/$name.err || status=$?; echo $status >$S/$name.status; }
"#;

const CASES: [Refused; 9] = [
    Refused {
        name: "node",
        before: "",
        command: "nobody $run",
        after: "",
        status: 3,
        parts: ["/dev/nvme", "Permission denied (os error 13)", "`chgrp GROUP /dev/nvme"],
    },
    Refused {
        name: "allocate",
        before: "chmod 666 $P2PDMA_SSD",
        command: "nobody $run",
        after: "",
        status: 3,
        parts: ["/p2pmem/allocate", "Permission denied (os error 13)", "`chgrp GROUP /sys/bus/pci/devices/0000:"],
    },
    Refused {
        name: "config",
        before: "chmod 666 $gpu/p2pmem/allocate",
        command: "nobody $run",
        after: "",
        status: 3,
        parts: [" -> ", "unknown: ACS of", "run as the host's root"],
    },
    Refused {
        name: "sysctl",
        before: "echo 2 >/proc/sys/kernel/io_uring_disabled",
        command: "$run",
        after: "echo 0 >/proc/sys/kernel/io_uring_disabled",
        status: 4,
        parts: ["io_uring", "sysctl kernel.io_uring_disabled=2", "`sysctl -w kernel.io_uring_disabled=0`"],
    },
    Refused {
        name: "seccomp",
        before: "",
        command: "seccomp $run",
        after: "",
        status: 4,
        parts: ["io_uring", "a seccomp filter", "the container's seccomp profile"],
    },
    Refused {
        name: "full",
        before: "",
        command: "$run --block 16M --depth 8",
        after: "",
        status: 4,
        parts: ["0000:", "67108864 of its 67108864 bytes are free", "ask for less"],
    },
    Refused {
        name: "amidst",
        before: "",
        command: "amidst 'echo $P2PDMA_GPU_ADDRESS >$gpu/driver/unbind'",
        after: "",
        status: 4,
        parts: ["read of ", "the peer memory has gone: its provider was unbound", "bind it again"],
    },
    Refused {
        name: "unbound",
        before: "",
        command: "$run",
        after: "echo $P2PDMA_GPU_ADDRESS >/sys/bus/pci/drivers_probe",
        status: 2,
        parts: ["0000:", "its driver (none) has given no memory to p2pdma", "p2pdma_user"],
    },
    Refused {
        name: "removed",
        before: "",
        command: "amidst 'echo 1 >/sys/bus/pci/devices/$P2PDMA_SSD_ADDRESS/remove'",
        after: "",
        status: 4,
        // One that flies fails; one that comes later finds a device without length. Either may be heard of first.
        parts: ["read of ", "the device ", "see what the kernel log says"],
    },
];

#[test]
fn every_refusal_of_a_real_kernel_has_its_exit_code_and_one_line() {
    let script = |case: &Refused| {
        let Refused { name, before, command, after, .. } = case;
        format!("{before}\nrefused {name} {command}\n{after}\n")
    };
    let scripts: String = CASES.iter().map(script).collect();
    // Intel, so that the switch is all there is to trust: without privilege the route is unknown.
    let outcome = Guest::new("switch").cpu("intel").run(&format!("{FUNCTIONS}{scripts}"));
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    for Refused { name, status, parts, .. } in &CASES {
        let line = outcome.file(&format!("{name}.err"));
        assert_eq!(outcome.file(&format!("{name}.status")).trim(), status.to_string(), "{name}: {line}");
        assert_eq!(outcome.file(&format!("{name}.out")), "", "{name}: {line}");
        assert!(line.starts_with("p2pbench: ") && line.lines().count() == 1, "{name}: {line}");
        let mut rest = line.as_str();
        for part in parts {
            rest = rest.split_once(part).map(|(_, rest)| rest).unwrap_or_else(|| panic!("{name}: {part:?} in {line}"));
        }
    }
}
