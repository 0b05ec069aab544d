//! What ran on no hardware says so.

use serde_json::Value;

use crate::program::p2pbench;

const RUN: &str =
    "--machine mock run --source /dev/nvme0n1 --peer 0000:05:00.0 --path direct,bounce --size 4M --verify";

#[test]
fn every_line_for_people_says_mock() {
    for arguments in [RUN, "--machine mock topo"] {
        assert_labelled(&p2pbench(arguments).stdout);
    }
}

fn assert_labelled(stdout: &str) {
    assert!(!stdout.is_empty() && stdout.lines().all(|line| line.starts_with("MOCK")), "{stdout}");
}

#[test]
fn json_names_the_machine_carries_no_label_and_says_what_went_which_way() {
    let outcome = p2pbench(&format!("{RUN} --json"));
    let document = outcome.json();
    assert_eq!((outcome.status, document["schema"].as_str()), (0, Some("p2pbench.run/1")));
    assert_eq!(document["machine"]["kind"], "mock");
    let row = |row: usize| &document["rows"][row];
    let ways = |row: &Value| (row["bytes_direct"].as_u64(), row["bytes_bounced"].as_u64());
    assert_eq!((row(0)["path"].as_str(), ways(row(0))), (Some("direct"), (Some(4 << 20), Some(0))));
    assert_eq!((row(1)["path"].as_str(), ways(row(1))), (Some("bounce"), (Some(0), Some(4 << 20))));
}

#[test]
fn a_refused_overview_shows_the_pair_and_is_1() {
    let outcome = p2pbench("--machine mock:root-ports-intel");
    assert_eq!(outcome.status, 1);
    assert_labelled(&outcome.stdout);
    assert!(outcome.stdout.contains("0000:01:00.0 -> 0000:02:00.0  NO ROUTE  not_supported"), "{}", outcome.stdout);
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
}
