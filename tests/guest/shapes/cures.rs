//! Each cure that is printed was tried: applied as it stands there, it turns the verdict to yes.

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
    let words = remedies.flat_map(str::split_whitespace).find(|word| word.starts_with(begins));
    words.unwrap_or_else(|| panic!("no cure begins with {begins}: {route}")).to_owned()
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

#[test]
fn a_redirect_ends_by_setpci_until_the_next_boot() {
    let tree = acs();
    let (ssd, gpu) = (&tree.ssds[0], &tree.peers[0]);
    let pair = format!("{ssd} {gpu}");
    let mut script = shown(&tree) + &explained("before", &pair);
    // The printed line, from the first `setpci` to the last mask.
    script += "grep -o 'setpci -s [0-9a-f:.]* ECAP_ACS+6.w=0:2c' before.json | sort -u >commands; test -s commands; . ./commands\n";
    script += &explained("after", &pair);
    let _ = writeln!(script, "echo 'ask {gpu} {ssd}' >&3; dd bs=64K count=1 status=none <&3 >answer");
    let outcome = Guest::new("trees").cpu("intel").run(&script);
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    assert_eq!(route(&outcome.file("before.json"))["map_type"], "not_supported");
    assert_eq!(outcome.file("commands").lines().count(), 2, "{}", outcome.file("commands"));
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

/// An ordinary user, before and after root has given the group of `allocate` to it.
#[test]
fn permission_on_the_group_turns_cannot_tell_to_yes() {
    let nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups p2pbench explain $P2PDMA_SSD $P2PDMA_GPU_ADDRESS";
    let script = format!(
        "cd $P2PDMA_SHARE; status=0; {nobody} >before || status=$?; echo $status >before.status\n\
         chgrp 65534 /sys/bus/pci/devices/$P2PDMA_GPU_ADDRESS/p2pmem/allocate\n\
         status=0; {nobody} >after || status=$?; echo $status >after.status"
    );
    let outcome = Guest::new("switch").run(&script);
    assert!(outcome.file("before").contains("no_permission"), "{}", outcome.file("before"));
    assert_eq!(outcome.file("before.status").trim(), "3");
    assert!(!outcome.file("after").contains("no_permission"), "{}", outcome.file("after"));
}

#[test]
fn io_uring_that_a_sysctl_forbids_is_told_and_allowed_again() {
    let script = "cd $P2PDMA_SHARE; explain() { p2pbench explain $P2PDMA_SSD $P2PDMA_GPU_ADDRESS; }\n\
                  sysctl() { echo ${1#*=} >/proc/sys/${1%%=*}; }\n\
                  sysctl kernel/io_uring_disabled=2; explain >before && exit 9\n\
                  sysctl kernel/io_uring_disabled=0; explain >after";
    let outcome = Guest::new("switch").run(script);
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    let before = outcome.file("before");
    assert!(before.contains("ring_forbidden") && before.contains("set sysctl kernel.io_uring_disabled=0"), "{before}");
    assert!(outcome.file("after").starts_with("DIRECT"), "{}", outcome.file("after"));
}
