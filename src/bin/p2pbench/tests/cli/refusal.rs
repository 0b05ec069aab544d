//! What p2pbench does not do: the exit code, and the one line that says why.

use crate::program::{Outcome, p2pbench};

/// Nothing on stdout, one line with all of these on stderr.
fn assert_refused(outcome: &Outcome, status: i32, parts: &[&str]) {
    assert_eq!((outcome.status, outcome.stdout.as_str()), (status, ""), "{}", outcome.stderr);
    let line = outcome.stderr.strip_suffix('\n').expect("a line");
    assert!(line.starts_with("p2pbench: ") && !line.contains('\n'), "{line:?}");
    for part in parts {
        assert!(line.contains(part), "{part:?} is missing in {line:?}");
    }
}

#[test]
fn wrong_usage_is_2_and_one_line() {
    assert_refused(&p2pbench("frobnicate"), 2, &["frobnicate", "--help"]);
    assert_refused(&p2pbench("run"), 2, &["--source", "--peer"]);
    assert_refused(&p2pbench("topo --format xml"), 2, &["xml", "tree, matrix, json"]);
    assert_refused(&p2pbench("run --source x --peer 1:2"), 2, &["\"1:2\" is no PCI address"]);
}

#[test]
fn an_unknown_machine_is_2_and_names_those_that_exist() {
    assert_refused(&p2pbench("--machine nowhere topo"), 2, &["nowhere", "host", "mock:root-ports-intel"]);
}

#[test]
fn formats_that_contradict_are_2() {
    assert_refused(&p2pbench("--machine mock topo --json --format tree"), 2, &["--json", "--format"]);
}

#[test]
fn a_refused_route_is_1_and_names_devices_cause_and_cure() {
    let outcome = p2pbench("--machine mock:root-ports-intel run --source /dev/nvme0n1 --peer 0000:02:00.0 --size 1M");
    let cause = "host bridge 8086:29c0 (pci0000:00, 0000:00:00.0) is not in the kernel's list";
    assert_refused(&outcome, 1, &["0000:01:00.0 -> 0000:02:00.0", cause, "put both below one PCIe switch"]);
}

#[test]
fn a_peer_that_is_not_there_is_2() {
    let outcome = p2pbench("--machine mock run --source /dev/nvme0n1 --peer 0000:09:00.0 --size 1M");
    assert_refused(&outcome, 2, &["0000:09:00.0", "no such PCI device", "p2pbench topo"]);
}

#[test]
fn a_peer_without_peer_memory_is_2_and_told_how_to_get_some() {
    let outcome = p2pbench("--machine mock run --source /dev/nvme0n1 --peer 0000:03:00.0 --size 1M");
    assert_refused(&outcome, 2, &["0000:03:00.0", "given no memory to p2pdma", "p2pdma_user"]);
}

#[test]
fn writes_are_2_until_they_are_allowed() {
    let write = "--machine mock run --source /dev/nvme0n1 --peer 0000:05:00.0 --rw write --size 1M";
    assert_refused(&p2pbench(write), 2, &["/dev/nvme0n1", "--rw write", "--destructive"]);
    assert_eq!(p2pbench(&format!("{write} --destructive")).status, 0);
}
