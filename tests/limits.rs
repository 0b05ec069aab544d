//! What the benches judge by: a figure beyond a limit is said, one within it is not.
#![expect(clippy::expect_used, reason = "a test ends where its ground gives way")]

#[path = "../benches/beside_fio/limits.rs"]
mod limits;
#[path = "../benches/beside_fio/ratio.rs"]
#[expect(dead_code, reason = "the benches pair figures")]
mod ratio;
#[path = "../benches/beside_fio/results.rs"]
#[expect(dead_code, reason = "the benches say what they ran on")]
mod results;

use limits::{Compared, missed};
use ratio::Ratio;

const DEPTH_8: &str = "1 MiB read, depth 8";
const RANDOM: &str = "4 KiB random read, depth 16";

/// With such a throughput and interval, and such CPU time.
fn compared(cell: &'static str, lanes: (&'static str, &'static str), throughput: [f64; 3], cpu: f64) -> Compared {
    let [lowest, median, highest] = throughput;
    let cpu = Ratio { median: cpu, lowest: cpu, highest: cpu };
    Compared { cell, lanes, throughput: Ratio { median, lowest, highest }, cpu, busy: (1.0, 1.0) }
}

fn good() -> Vec<Compared> {
    vec![
        compared(DEPTH_8, ("p2pmem", "fio"), [0.97, 1.0, 1.1], 1.0),
        compared(RANDOM, ("p2pmem", "fio"), [0.98, 1.01, 1.1], 0.9),
        compared("64 KiB read, depth 16", ("p2pmem", "fio"), [0.97, 0.98, 1.1], 1.1),
        compared(DEPTH_8, ("module", "p2pmem"), [3.0, 3.3, 3.5], 0.2),
        compared(RANDOM, ("module", "p2pmem"), [1.15, 1.2, 1.3], 0.8),
        compared(RANDOM, ("module", "fio-host"), [0.9, 0.98, 1.01], 1.0),
        compared(DEPTH_8, ("module", "fio"), [0.1, 0.1, 0.1], 9.0),
    ]
}

#[test]
fn what_meets_every_limit_is_not_said() {
    assert_eq!(missed(&good(), 9), Vec::<String>::new());
}

#[test]
fn each_limit_that_is_missed_is_said_with_its_cell() {
    let cases = [
        (0, [0.96, 1.0, 1.1], "1 MiB read, depth 8: p2pmem / fio: the lower end 0.960 is below 0.97"),
        (3, [2.99, 3.3, 3.5], "1 MiB read, depth 8: module / p2pmem: the lower end 2.990 is below 3"),
        (4, [1.14, 1.2, 1.3], "4 KiB random read, depth 16: module / p2pmem: the lower end 1.140 is below 1.15"),
        (
            5,
            [0.9, 0.95, 0.99],
            "4 KiB random read, depth 16: module / fio-host: all of the interval is below 1, up to 0.990",
        ),
        (3, [f64::NAN; 3], "1 MiB read, depth 8: module / p2pmem: the lower end NaN is below 3"),
    ];
    for (index, throughput, line) in cases {
        let mut all = good();
        all[index] = compared(all[index].cell, all[index].lanes, throughput, 1.0);
        let busy = if line.contains("lower end") { ", with 1.00 and 1.00 CPUs busy" } else { "" };
        assert_eq!(missed(&all, 9), [format!("{line}{busy}")]);
    }
}

#[test]
fn most_cells_are_more_than_half_of_them() {
    let mut all = good();
    all[1] = compared(RANDOM, ("p2pmem", "fio"), [0.98, 0.99, 1.1], 1.2);
    let missed = missed(&all, 9);
    assert!(missed[0].contains("throughput is at least 1 in 1 of 3 cells"), "{missed:?}");
    assert!(missed[1].contains("at most fio's in 1 of 3 cells"), "{missed:?}");
}

#[test]
fn few_rounds_judge_nothing() {
    assert_eq!(missed(&good(), 8), ["8 rounds are too few to judge by: 9 at least"]);
}

#[test]
fn a_bench_replaces_its_own_section_and_no_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("RESULTS.md");
    results::write(&path, "One", "first");
    results::write(&path, "Two", "second");
    results::write(&path, "One", "third\n");
    let text = std::fs::read_to_string(&path).expect("results");
    assert_eq!(text, "# Measured\n\n## Two\n\nsecond\n\n## One\n\nthird\n");
}
