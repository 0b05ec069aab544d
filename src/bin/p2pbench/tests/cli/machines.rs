//! Machines that were recorded in guests (`tests/machines`, made by `tests/guest/recorded.rs`), as p2pbench shows them.

use crate::{golden::assert_golden, overlay::overlaid, program::p2pbench};

const MACHINES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/machines/");

/// Every form of what was recorded; nothing is missing in it, or these recordings are to be renewed.
fn assert_shown(name: &str) {
    for (form, ending) in [("tree", "txt"), ("matrix", "matrix.txt"), ("json", "json")] {
        let outcome = p2pbench(&format!("--machine {MACHINES}{name} topo --format {form}"));
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{name} {form}");
        assert_golden(&format!("machine-{name}.{ending}"), &outcome.stdout);
    }
}

/// An SSD, its partition, and files in that: one that anybody may open, one that root alone may, one with holes.
const SOURCES: [&str; 5] = ["/dev/nvme0n1", "/dev/nvme0n1p1", "/mnt/part/file", "/mnt/part/secret", "/mnt/part/holes"];

/// By root or by nobody, who reads less and passes no more.
#[test]
fn the_check_of_a_guests_recording_is_that_of_who_recorded() {
    let names = [("switch", 0), ("root-ports-intel", 1), ("root-ports-intel-nobody", 1), ("multipath", 1)];
    for (name, status) in names {
        let outcome = p2pbench(&format!("--machine {MACHINES}{name} check"));
        assert_eq!((outcome.status, outcome.stderr.as_str()), (status, ""), "{name}: {}", outcome.stdout);
        assert_golden(&format!("machine-{name}.check.txt"), &outcome.stdout);
    }
}

/// What is said of every source with this peer, refusals and exit codes too.
fn assert_explained(name: &str, peer: &str) {
    for (form, ending) in [("", "txt"), ("--json", "json.txt")] {
        let explain = |source| {
            let outcome = p2pbench(&format!("--machine {MACHINES}{name} explain {source} {peer} {form}"));
            format!("{}{}exit code {}\n\n", outcome.stdout, outcome.stderr, outcome.status)
        };
        assert_golden(&format!("machine-{name}.explain.{ending}"), &SOURCES.map(explain).concat());
    }
}

#[test]
fn a_switch_is_shown_as_in_its_guest() {
    assert_shown("switch");
    assert_explained("switch", "0000:05:00.0");
}

#[test]
fn root_ports_are_shown_as_in_their_guest() {
    assert_shown("root-ports-intel");
    assert_explained("root-ports-intel", "0000:03:00.0");
}

#[test]
fn what_nobody_could_read_is_shown_as_unknown() {
    assert_shown("root-ports-intel-nobody");
    assert_explained("root-ports-intel-nobody", "0000:03:00.0");
}

#[test]
fn a_file_that_was_not_recorded_is_3_and_says_how_to_record_it() {
    let outcome = p2pbench(&format!("--machine {MACHINES}switch explain /mnt/part/other 0000:05:00.0"));
    let cure = "record the machine with `p2pbench record FILE --for PATH`";
    let line = format!("p2pbench: /mnt/part/other: it was not recorded; {cure}\n");
    assert_eq!((outcome.status, outcome.stdout.as_str(), outcome.stderr), (3, "", line));
}

/// By either path it is the head that is explained, with both paths below it.
#[test]
fn a_multipath_head_is_shown_as_in_its_guest() {
    assert_shown("multipath");
    let explained = ["0000:03:00.0", "0000:04:00.0"].map(|path| {
        let outcome = p2pbench(&format!("--machine {MACHINES}multipath explain {path} 0000:05:00.0"));
        assert_eq!((outcome.status, outcome.stderr.as_str()), (1, ""), "{path}");
        outcome.stdout
    });
    assert_golden("machine-multipath.explain.txt", &explained.concat());
}

/// Tree, matrix, check, and the explanation of the pair that the kernel was asked first. All of what was recorded below real
/// shapes of memory (`tests/guest/shapes`), with drivers and peer memory added to them (NAME.overlay). A pair whose route is
/// refused fails the check.
fn assert_shape(name: &str, check: i32, explained: i32) {
    let answers = std::fs::read_to_string(format!("{MACHINES}{name}.kernel")).expect("the kernel's answers");
    let pair: Vec<&str> = answers.split_whitespace().take(2).collect();
    let explain = format!("explain {} {}", pair[1], pair[0]);
    let (_directory, machine) = overlaid(MACHINES, name);
    let forms = [
        ("topo", "txt", 0),
        ("topo --format matrix", "matrix.txt", 0),
        ("check", "check.txt", check),
        (explain.as_str(), "explain.txt", explained),
    ];
    for (command, ending, status) in forms {
        let outcome = p2pbench(&format!("--machine {machine} {command}"));
        assert_eq!((outcome.status, outcome.stderr.as_str()), (status, ""), "{name} {command}: {}", outcome.stdout);
        assert_golden(&format!("machine-{name}.{ending}"), &outcome.stdout);
    }
}

/// With the exit code of the check, and that of the explanation. Of one SSD with virtual functions the pair with the physical one
/// is explained; those are given to vfio-pci, which the check says.
#[test]
fn machines_of_real_life_are_shown_checked_and_explained() {
    let reach = ["dgx", "epyc", "xeon", "downtrained"].map(|name| (name, 0, 0));
    let do_not = ["desktop", "acs", "vmd"].map(|name| (name, 1, 1));
    for (name, check, explain) in reach.into_iter().chain(do_not).chain([("sriov", 1, 0)]) {
        assert_shape(name, check, explain);
    }
}
