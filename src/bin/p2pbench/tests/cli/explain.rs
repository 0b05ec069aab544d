//! `p2pbench explain`.

use crate::{
    golden::assert_golden,
    program::{Outcome, p2pbench},
};

fn explain(machine: &str, pair: &str) -> Outcome {
    p2pbench(&format!("--machine {machine} explain {pair}"))
}

/// Text and JSON of one pair, both with this exit code and nothing on stderr: the verdict is on stdout.
fn assert_explained(machine: &str, pair: &str, name: &str, status: i32) {
    for (form, extension) in [("", "txt"), (" --json", "json")] {
        let outcome = explain(machine, &format!("{pair}{form}"));
        assert_eq!((outcome.status, outcome.stderr.as_str()), (status, ""), "{}", outcome.stdout);
        assert_golden(&format!("explain-{name}.{extension}"), &outcome.stdout);
    }
}

#[test]
fn a_direct_pair_is_0() {
    assert_explained("mock", "/dev/nvme0n1 0000:05:00.0", "switch", 0);
}

#[test]
fn a_pair_without_route_is_1_and_says_why() {
    assert_explained("mock:root-ports-intel", "/dev/nvme0n1 0000:02:00.0", "root-ports-intel", 1);
}

#[test]
fn the_verdict_is_the_first_line() {
    let first = |outcome: &Outcome| outcome.stdout.lines().next().map(str::to_owned);
    let line = "MOCK  DIRECT  0000:03:00.0 -> 0000:05:00.0  (p2pmem yes, module yes)";
    assert_eq!(first(&explain("mock", "0000:03:00.0 0000:05:00.0")).as_deref(), Some(line));
    let line = "MOCK  NOT DIRECT  /dev/nvme0n1 -> 0000:04:00.0  (p2pmem no, module no)";
    assert_eq!(first(&explain("mock", "/dev/nvme0n1 0000:04:00.0")).as_deref(), Some(line));
}

#[test]
fn the_keys_that_scripts_rely_on_are_there() {
    let document = explain("mock:root-ports-intel", "/dev/nvme0n1 0000:02:00.0 --json").json();
    assert_eq!(document["schema"], "p2pbench.explain/1");
    for key in ["machine", "rules", "source", "peer", "answer", "ways", "dio_alignment", "routes", "stack", "findings"]
    {
        assert!(document.get(key).is_some(), "{key}");
    }
    for key in ["what", "severity", "ways", "thing", "cause", "cure", "evidence"] {
        assert!(document["findings"][0].get(key).is_some(), "findings[].{key}");
    }
    for key in ["depth", "name", "kind", "what", "number", "function", "options", "passes", "limits", "evidence"] {
        assert!(document["stack"][0].get(key).is_some(), "stack[].{key}");
    }
}

#[test]
fn what_is_not_there_is_2_and_one_line() {
    let pairs = [
        "/dev/nvme9n1 0000:05:00.0",
        "/dev/nvme0n1 0000:09:00.0",
        "0000:09:00.0 0000:05:00.0",
        "0000:05:00.0 0000:05:00.0",
    ];
    for pair in pairs {
        let outcome = explain("mock", pair);
        assert_eq!((outcome.status, outcome.stdout.as_str(), outcome.stderr.lines().count()), (2, "", 1), "{pair}");
    }
}
