//! Machines that were recorded in guests (`tests/machines`, made by `tests/guest/recorded.rs`), as p2pbench shows them.

use crate::{golden::assert_golden, program::p2pbench};

/// Every form of what was recorded; nothing is missing in it, or these recordings are to be renewed.
fn assert_shown(name: &str) {
    let machine = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/machines/");
    for (form, ending) in [("tree", "txt"), ("matrix", "matrix.txt"), ("json", "json")] {
        let outcome = p2pbench(&format!("--machine {machine}{name} topo --format {form}"));
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{name} {form}");
        assert_golden(&format!("machine-{name}.{ending}"), &outcome.stdout);
    }
}

#[test]
fn a_switch_is_shown_as_in_its_guest() {
    assert_shown("switch");
}

#[test]
fn root_ports_are_shown_as_in_their_guest() {
    assert_shown("root-ports-intel");
}

#[test]
fn what_nobody_could_read_is_shown_as_unknown() {
    assert_shown("root-ports-intel-nobody");
}
