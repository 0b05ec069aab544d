//! Each cure that is printed was tried: applied as it stands there, it turns the verdict to yes.
//!
//! | cure | where |
//! |---|---|
//! | the kernel parameters for ACS, setpci, nvme_core.multipath=N, no swiotlb=force, another processor, sysctl, seccomp, modprobe, chgrp | here |
//! | cp, chattr, mount options, driver_override, provide, drivers_probe, unbind, remove and rescan, the stack switch | `commands.rs` |
//! | the same one after the other, from a refusal's line alone | `operator.rs` |
//! | `p2pbench run --verify` as a proof | `lying.rs`, `stacks.rs` |
//!
//! Not tried, as no guest can: VMD off in the firmware, other slots, a reseated card, another Xeon, a kernel of another configuration,
//! leaving a confidential machine. Nor, for want of a device that has it here: protection information off, nvme-create-ns(1).

use std::fmt::Write;

use serde_json::Value;

use super::{acs, shown};
use crate::machine::Guest;

/// Explains a pair into a file.
fn explained(name: &str, pair: &str) -> String {
    format!("p2pbench explain {pair} --json >{name}.json || true\n")
}

fn route(document: &str) -> Value {
    serde_json::from_str::<Value>(document).expect("JSON")["routes"][0].clone()
}

/// The first cure for a redirect that begins so, up to the blank behind the parameter.
fn cure(route: &Value, begins: &str) -> String {
    let remedies = route["remedy"].as_array().expect("cures").iter().filter_map(Value::as_str);
    let words = remedies.flat_map(str::split_whitespace).find(|word| word.starts_with(&format!("`{begins}")));
    words.unwrap_or_else(|| panic!("no cure begins with {begins}: {route}")).trim_matches('`').to_owned()
}

/// The verdict of the tree with ports that redirect, on a kernel with this parameter, and the kernel's own.
fn with_parameter(parameter: Option<&str>) -> (Value, String) {
    let tree = acs();
    let (ssd, gpu) = (&tree.ssds[0], &tree.peers[0]);
    let mut script = shown(&tree) + &explained("pair", &format!("{ssd} {gpu}"));
    let _ = writeln!(script, "echo 'ask {gpu} {ssd}' >&3; dd bs=64K count=1 status=none <&3 >answer");
    let outcome = Guest::new("trees").cpu("intel").kernel(parameter).run(&script);
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    (route(&outcome.file("pair.json")), outcome.file("answer"))
}

#[test]
fn a_redirect_ends_by_either_kernel_parameter() {
    let (refused, answer) = with_parameter(None);
    assert_eq!((refused["map_type"].as_str(), answer.trim()), (Some("not_supported"), "-1 1"), "{refused}");
    for begins in ["pci=disable_acs_redir=", "pci=config_acs="] {
        let parameter = cure(&refused, begins);
        let (cured, answer) = with_parameter(Some(&parameter));
        assert_eq!((cured["map_type"].as_str(), answer.trim()), (Some("bus_addr"), "4 2"), "{parameter}: {cured}");
    }
}

/// What `check` prints for the same machine as it was recorded (its golden text): one parameter for both pairs. That of one pair
/// leaves the other as it was.
#[test]
fn the_one_parameter_that_check_prints_ends_the_redirects_of_all_pairs() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bin/p2pbench/tests/golden/machine-acs.check.txt");
    let said = std::fs::read_to_string(golden).expect("the text of a check");
    let all = said.split('`').find(|part| part.starts_with("pci=disable_acs_redir=")).expect("a parameter").to_owned();
    let one = all.rsplit_once(';').expect("several ports").0.to_owned();
    let tree = acs();
    let questions: String = tree.ssds.iter().map(|ssd| format!("ask {} {ssd}\n", tree.peers[0])).collect();
    let script =
        shown(&tree) + &format!("echo '{questions}' | grep ask >&3; dd bs=64K count=1 status=none <&3 >answers");
    let answers = [one, all].map(|parameter| {
        let outcome = Guest::new("trees").cpu("intel").kernel(Some(&parameter)).run(&script);
        assert_eq!(outcome.status, 0, "{parameter}: {}{}", outcome.stdout, outcome.stderr);
        outcome.file("answers")
    });
    assert_eq!(answers.each_ref().map(|text| text.trim()), ["4 2\n-1 1", "4 2\n4 2"]);
}

#[test]
fn a_redirect_ends_by_setpci_until_the_next_boot() {
    let tree = acs();
    let (ssd, gpu) = (&tree.ssds[0], &tree.peers[0]);
    let pair = format!("{ssd} {gpu}");
    let mut script = shown(&tree) + &explained("before", &pair);
    // The printed line, whole, as people read it.
    let _ = writeln!(script, "p2pbench explain {pair} >said || true; grep -o '`setpci .*`' said | tr -d '`' >commands");
    script += "test $(wc -l <commands) = 1; . ./commands\n";
    script += &explained("after", &pair);
    let _ = writeln!(script, "echo 'ask {gpu} {ssd}' >&3; dd bs=64K count=1 status=none <&3 >answer");
    let outcome = Guest::new("trees").cpu("intel").run(&script);
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    assert_eq!(route(&outcome.file("before.json"))["map_type"], "not_supported");
    assert_eq!(outcome.file("commands").matches("setpci -s ").count(), 2, "{}", outcome.file("commands"));
    let after = route(&outcome.file("after.json"));
    assert_eq!((after["map_type"].as_str(), outcome.file("answer").trim()), (Some("bus_addr"), "4 2"), "{after}");
}

/// What the printed cure says; the pair is one that the same machine refuses on a processor that does not pass.
#[test]
fn a_processor_that_passes_turns_no_to_yes() {
    let explain = "p2pbench explain $P2PDMA_SSD $P2PDMA_GPU_ADDRESS";
    let refused = Guest::new("root-ports").cpu("intel").run(explain);
    assert_eq!(refused.status, 1, "{}", refused.stderr);
    assert!(refused.stdout.contains("use an AMD Zen processor"), "{}", refused.stdout);
    let cured = Guest::new("root-ports").cpu("zen").run(explain);
    assert_eq!(cured.status, 0, "{}{}", cured.stdout, cured.stderr);
}

#[test]
fn multipath_switched_off_turns_no_to_yes() {
    let explain = "p2pbench explain $P2PDMA_SSD $P2PDMA_GPU_ADDRESS";
    let refused = Guest::new("multipath").run(explain);
    assert_eq!(refused.status, 1, "{}", refused.stderr);
    assert!(refused.stdout.contains("boot with nvme_core.multipath=N"), "{}", refused.stdout);
    let cured = Guest::new("multipath").kernel(Some("nvme_core.multipath=N")).run(explain);
    assert_eq!(cured.status, 0, "{}{}", cured.stdout, cured.stderr);
}

/// An ordinary user, before and after root has given the group of `allocate` to it. Between two host bridges nothing else is
/// unknown to it, and there is but one pair, which `check` judges too.
#[test]
fn permission_on_the_group_turns_cannot_tell_to_yes() {
    let script = "cd $P2PDMA_SHARE\n\
                  nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups p2pbench \"$@\"; }\n\
                  look() {\n\
                  status=0; nobody explain $P2PDMA_SSD $P2PDMA_GPU_ADDRESS >$1 || status=$?; echo $status >$1.status\n\
                  status=0; nobody check >$1.check || status=$?; echo $status >$1.check.status\n\
                  }\n\
                  look before\n\
                  grep -o '`chgrp .*`' before | grep -v /dev/p2pdma_user | tr -d '`' | sed s/GROUP/65534/g >commands\n\
                  test $(wc -l <commands) = 2 && . ./commands; look after";
    let outcome = Guest::new("two-bridges").run(script);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    // Which of the two ways is open: the module's node still is root's alone.
    let is_told = |name: &str| {
        outcome.file(name).contains("cannot tell, by p2pmem")
            || outcome.file(name).contains("cannot tell: no_permission")
    };
    assert_eq!(["before", "before.check", "after", "after.check"].map(is_told), [true, true, false, false]);
    let statuses =
        ["before", "before.check", "after", "after.check"].map(|name| outcome.file(&format!("{name}.status")));
    assert_eq!(statuses.each_ref().map(|status| status.trim()), ["3", "3", "0", "0"], "{}", outcome.file("after"));
}

/// A filter as a container's profile makes it: `io_uring_setup` (425) answers EPERM.
const SECCOMP: &str = r#"
seccomp() {
	perl -e 'my $filter = pack("SCCL" x 4, 0x20,0,0,0, 0x15,0,1,425, 6,0,0,0x50001, 6,0,0,0x7fff0000);
		my $program = pack("S x6 P", 4, $filter);
		syscall(157, 38, 1, 0, 0, 0) == 0 && syscall(157, 22, 2, $program) == 0 or die "prctl";
		exec @ARGV' "$@"
}
sysctl() { busybox sysctl "$@"; }
look() {
	name=$1; shift
	status=0; "$@" p2pbench explain $P2PDMA_SSD $P2PDMA_GPU_ADDRESS >$name || status=$?
	echo $status >$name.status
	status=0; "$@" p2pbench check >$name.check || status=$?
	echo $status >$name.check.status
}
"#;

/// One errno, two causes; `explain` and `check` tell them apart, and each cure is applied.
#[test]
fn io_uring_that_a_sysctl_or_seccomp_forbids_is_told_and_allowed_again() {
    let script = format!(
        "cd $P2PDMA_SHARE; {SECCOMP}\n\
         sysctl -w kernel.io_uring_disabled=2; look sysctl env\n\
         grep -o '`sysctl .*`' sysctl | tr -d '`' >command; . ./command\n\
         sysctl -w kernel.io_uring_disabled=1; look one setpriv --reuid 65534 --regid 65534 --clear-groups; . ./command\n\
         look seccomp seccomp; look allowed env"
    );
    let outcome = Guest::new("switch").run(&script);
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    let cures = [
        ("sysctl", "`sysctl -w kernel.io_uring_disabled=0`"),
        ("one", "or join that group"),
        ("seccomp", "in the container's seccomp profile"),
    ];
    for (name, cure) in cures {
        for form in ["", ".check"] {
            let said = outcome.file(&format!("{name}{form}")).split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(said.contains("ring_forbidden") && said.contains(cure), "{name}{form}: {said}");
            assert_eq!(outcome.file(&format!("{name}{form}.status")).trim(), "1", "{name}{form}: {said}");
        }
    }
    assert!(outcome.file("allowed").starts_with("DIRECT"), "{}", outcome.file("allowed"));
    assert!(outcome.file("allowed.check").starts_with("PASS"), "{}", outcome.file("allowed.check"));
}

/// By the very command that the refusal ends with. `modprobe` finds the module where a package would have put it.
#[test]
fn a_module_that_is_loaded_turns_a_refusal_to_yes() {
    let script = r#"
set -e
cd $P2PDMA_SHARE
run() { p2pbench run --source $P2PDMA_SSD --peer $P2PDMA_CMB_ADDRESS --path direct --way module --span 64k --size 64k --block 64k "$@"; }
busybox rmmod p2pdma_user
run 2>refused >&2 && exit 9
modules=/lib/modules/$(uname -r)
mkdir -p $modules
cp $P2PDMA_MODULES/p2pdma_user.ko $modules
cd $modules
busybox depmod
modprobe() { busybox modprobe "$@"; }
cure=$(grep -o '`[^`]*`' $P2PDMA_SHARE/refused | tr -d '`')
echo "$cure" >$P2PDMA_SHARE/cure
$cure
run
"#;
    let outcome = Guest::new("switch").run(script);
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    let refused = outcome.file("refused");
    assert!(refused.contains("/dev/p2pdma_user: the p2pdma_user module is not loaded"), "{refused}");
    assert_eq!(outcome.file("cure"), "modprobe p2pdma_user\n");
    assert!(outcome.stdout.contains(" direct "), "{}", outcome.stdout);
}

/// The kernel would try such I/O for ever, so none is tried: the same machine, booted without.
#[test]
fn a_boot_without_forced_bounce_buffers_turns_no_to_yes() {
    let explain = "p2pbench explain $P2PDMA_SSD $P2PDMA_GPU_ADDRESS";
    let refused = Guest::new("root-ports").kernel(Some("swiotlb=force")).run(explain);
    assert_eq!(refused.status, 1, "{}", refused.stderr);
    assert!(
        refused.stdout.contains("bounce_forced") && refused.stdout.contains("boot without swiotlb=force"),
        "{}",
        refused.stdout
    );
    let cured = Guest::new("root-ports").run(explain);
    assert_eq!(cured.status, 0, "{}{}", cured.stdout, cured.stderr);
}
