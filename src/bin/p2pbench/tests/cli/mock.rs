//! What ran on no hardware says so.

use serde_json::Value;

use crate::program::p2pbench;

const RUN: &str =
    "--machine mock run --source /dev/nvme0n1 --peer 0000:05:00.0 --path direct,bounce,page_cache --size 4M --verify";

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
    assert_eq!((row(2)["path"].as_str(), ways(row(2))), (Some("page_cache"), (Some(0), Some(4 << 20))));
    let cache = |row: &Value| row["cache"].as_str().map(str::to_owned);
    assert_eq!([0, 1, 2].map(|index| cache(row(index))), [None, None, Some("warm".to_owned())]);
    assert_eq!((row(2)["evidence"].as_str(), row(2)["bytes_verified"].as_u64()), (None, None));
}

#[test]
fn a_refused_overview_shows_the_pair_and_is_1() {
    let outcome = p2pbench("--machine mock:root-ports-intel");
    assert_eq!(outcome.status, 1);
    assert_labelled(&outcome.stdout);
    assert!(outcome.stdout.contains("0000:01:00.0 -> 0000:02:00.0  NO ROUTE  not_supported"), "{}", outcome.stdout);
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
}

/// More than one pass over the span, in time or in bytes, ends when it should.
#[test]
fn the_page_cache_is_written_and_read_for_as_long_as_it_was_asked_for() {
    let run =
        "--machine mock run --source /dev/nvme0n1 --peer 0000:05:00.0 --path page_cache --json --span 1M --block 64k";
    let bytes = |options: &str| p2pbench(&format!("{run} {options}")).json()["rows"][0]["bytes"].as_u64();
    assert_eq!(bytes("--size 5M"), Some(5 << 20));
    assert_eq!(bytes("--size 64k --rw randread"), Some(65_536));
    assert_eq!(bytes("--size 3M --rw write --destructive"), Some(3 << 20));
    assert!(bytes("--seconds 0.2") > Some(0));
}
