//! `compare`: what a gate on regressions sees.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{Outcome, p2pbench};

const RUN: &str = "--machine mock --json run --source /dev/nvme0n1 --peer 0000:05:00.0 --path direct,bounce --size 4M";

/// A run of the mock machine, and the same with a change.
struct Pair {
    directory: TempDir,
}

impl Pair {
    fn new(change: impl FnOnce(&mut Value)) -> Self {
        Self::of(|_| (), change)
    }

    /// With a change of both before.
    fn of(both: impl FnOnce(&mut Value), change: impl FnOnce(&mut Value)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut document = p2pbench(RUN).json();
        both(&mut document);
        fs::write(directory.path().join("base"), document.to_string()).expect("written");
        change(&mut document);
        fs::write(directory.path().join("new"), document.to_string()).expect("written");
        Self { directory }
    }

    fn compare(&self, options: &str) -> Outcome {
        let path = self.directory.path().display();
        p2pbench(&format!("compare {path}/base {path}/new {options}"))
    }
}

#[test]
fn a_run_is_no_regression_of_itself_and_still_says_mock() {
    let outcome = Pair::new(|_| ()).compare("");
    assert_eq!(outcome.status, 0, "{}", outcome.stdout);
    assert!(outcome.stdout.contains("no regression in 2 rows"), "{}", outcome.stdout);
    assert!(outcome.stdout.lines().all(|line| line.starts_with("MOCK")), "{}", outcome.stdout);
}

#[test]
fn a_slower_row_is_1_unless_it_is_tolerated() {
    let halve = |document: &mut Value| {
        let row = &mut document["rows"][0];
        row["bytes_per_second"] = json!(row["bytes_per_second"].as_f64().expect("a rate") * 0.9);
        row["turns_bytes_per_second"] = json!([]);
    };
    let pair = Pair::new(halve);
    let outcome = pair.compare("");
    assert_eq!(outcome.status, 1, "{}", outcome.stdout);
    assert!(
        outcome.stdout.contains("SLOWER") && outcome.stdout.contains("REGRESSED: 1 of 2 rows"),
        "{}",
        outcome.stdout
    );
    assert_eq!(outcome.stderr, "");
    assert_eq!(pair.compare("--tolerance 15%").status, 0);
}

#[test]
fn bytes_that_bounce_now_and_rows_that_are_gone_are_1() {
    let bounced = Pair::new(|document| document["rows"][0]["bytes_direct"] = json!(0));
    assert!(bounced.compare("").stdout.contains("LESS DIRECT"));
    assert_eq!(bounced.compare("").status, 1);
    let suspect = Pair::new(|document| document["rows"][0]["suspect"] = json!(true));
    assert_eq!(suspect.compare("--json").json()[0]["rows"][0]["change"], "less_direct");
    let gone = Pair::new(|document| drop(document["rows"].as_array_mut().expect("rows").pop()));
    assert_eq!(gone.compare("--json").json()[0]["rows"][1]["change"], "missing");
    assert_eq!(gone.compare("").status, 1);
}

#[test]
fn what_was_measured_in_another_way_is_another_row_and_what_was_cut_short_is_said() {
    for (key, value) in
        [("copy_to", json!("/dev/nvme1n1")), ("synced", json!(true)), ("numa", json!([{"source": "x", "node": 1}]))]
    {
        let other = Pair::new(|document| document["rows"][0][key] = value);
        assert_eq!(other.compare("--json").json()[0]["rows"][0]["change"], "missing", "{key}");
    }
    let short = Pair::new(|document| document["rows"][0]["cut_short"] = json!(true));
    assert!(short.compare("").stdout.contains("CUT SHORT: 1 rows of "), "{}", short.compare("").stdout);
    assert_eq!(short.compare("--json").json()[0]["cut_short"], json!([0, 1]));
}

#[test]
fn a_table_says_what_its_rows_are_of_and_how_many_were_compared_with_nothing() {
    let more = |document: &mut Value| {
        let mut row = document["rows"][0].clone();
        row["depth"] = json!(99);
        document["rows"].as_array_mut().expect("rows").push(row);
    };
    let added = Pair::new(more);
    let outcome = added.compare("");
    assert_eq!(outcome.status, 0, "{}", outcome.stdout);
    assert!(outcome.stdout.contains("NOT COMPARED: 1 rows of "), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("| 1 MiB ") && !outcome.stdout.contains("| run "), "{}", outcome.stdout);
    assert_eq!(added.compare("--json").json()[0]["added"], 1);
    let named = Pair::of(
        |document| {
            document["rows"][0]["run"] = json!("nightly");
            document["rows"][0]["copy_to"] = json!("/dev/nvme1n1");
            document["rows"][0]["block_mix"] = json!([{"bytes": 4096, "percent": 40}, {"bytes": 65536, "percent": 60}]);
        },
        |_| (),
    );
    let text = named.compare("").stdout;
    let parts =
        ["| run ", "| nightly | direct (p2pmem) | read | /dev/nvme0n1 > /dev/nvme1n1 |", "| 4KiB/40:64KiB/60 |"];
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
}

#[test]
fn what_is_no_run_is_named_in_one_line() {
    let strange = Pair::new(|document| document["schema"] = json!("p2pbench.topology/1"));
    let other = Pair::new(|document| document["machine"]["kind"] = json!("host"));
    let empty = Pair::new(|document| document["rows"] = json!([]));
    for pair in [strange, other, empty] {
        let outcome = pair.compare("");
        assert_eq!((outcome.status, outcome.stderr.lines().count()), (2, 1), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("/new: "), "{}", outcome.stderr);
    }
    assert_eq!(p2pbench("compare /nonexistent /nonexistent").status, 2);
}
