//! Job files and presets; several queues, sources and peers.

use std::fs;

use serde_json::Value;

use crate::program::p2pbench;

const FILE: &str = r#"
[defaults]
peer = "0000:05:00.0"
source = "/dev/nvme0n1"
size = "1M"

[[run]]
name = "small <&>"
rw = "randread"
block = ["4k", "8k"]

[[run]]
name = "large"
depth = 2
path = ["direct", "bounce"]
"#;

fn with_file(text: &str, options: &str) -> crate::program::Outcome {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("job.toml");
    fs::write(&path, text).expect("written");
    p2pbench(&format!("--machine mock run --job {} {options}", path.display()))
}

fn rows(document: &Value) -> &Vec<Value> {
    document["rows"].as_array().expect("rows")
}

#[test]
fn the_runs_of_a_file_come_one_after_the_other_and_name_their_rows() {
    let document = with_file(FILE, "--json").json();
    let row = |row: &Value| (row["run"].to_string(), row["block_bytes"].as_u64(), row["depth"].as_u64());
    let rows: Vec<_> = rows(&document).iter().map(row).collect();
    let small = "\"small <&>\"".to_owned();
    assert_eq!(rows[..2], [(small.clone(), Some(4096), Some(8)), (small, Some(8192), Some(8))]);
    assert_eq!(rows[2..], vec![("\"large\"".to_owned(), Some(1 << 20), Some(2)); 2]);
}

#[test]
fn what_is_typed_holds_before_the_file() {
    let document = with_file(FILE, "--json --block 64k --source /dev/nvme1n1").json();
    let all = rows(&document);
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|row| row["block_bytes"] == 65536 && row["source"] == "/dev/nvme1n1"), "{all:?}");
}

#[test]
fn names_are_a_column_and_a_part_of_the_page() {
    let table = with_file(FILE, "").stdout;
    assert!(table.contains("\nMOCK   run ") && table.contains("\nMOCK   small <&>"), "{table}");
    let page = with_file(FILE, "--format html").stdout;
    assert!(page.contains("<td>small &lt;&amp;&gt;</td>") && !page.contains("small <"), "{page}");
    assert!(
        !p2pbench("--machine mock run --source /dev/nvme0n1 --peer 0000:05:00.0 --size 1M").stdout.contains(" run ")
    );
}

#[test]
fn each_run_is_drawn_over_what_it_sweeps() {
    let page = with_file(&FILE.replace("depth = 2", "depth = [1, 2]"), "--format html").stdout;
    for title in ["throughput over block size", "throughput over operations in flight"] {
        assert_eq!(page.matches(&format!("<title>MOCK  {title}</title>")).count(), 1, "{title}");
    }
}

#[test]
fn a_key_that_is_none_is_2_with_its_name_and_line() {
    let outcome = with_file(&FILE.replace("depth = 2", "deepness = 2"), "");
    assert_eq!((outcome.status, outcome.stderr.lines().count()), (2, 1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("line 14: `deepness` is no option of `run`"), "{}", outcome.stderr);
}

#[test]
fn a_run_that_cannot_be_had_ends_the_file_before_anything_is_measured() {
    let outcome = with_file(&FILE.replace("depth = 2", "source = '/dev/nvme7n1'"), "");
    assert_eq!((outcome.status, outcome.stdout.as_str()), (2, ""), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("/dev/nvme7n1"), "{}", outcome.stderr);
}

#[test]
fn presets_measure_all_paths_and_wait_for_storage_where_they_write() {
    let run = "--machine mock --json run --source /dev/nvme0n1 --peer 0000:05:00.0 --seconds 0.05";
    let loading = p2pbench(&format!("{run} --preset model-loading")).json();
    assert_eq!((rows(&loading).len(), &rows(&loading)[8]["run"]), (9, &Value::from("small tensors")));
    let checkpoint = p2pbench(&format!("{run} --preset checkpoint --destructive")).json();
    assert_eq!(rows(&checkpoint).len(), 6);
    assert!(rows(&checkpoint).iter().all(|row| row["rw"] == "write" && row["synced"] == true), "{checkpoint}");
}

#[test]
fn two_ssds_into_one_peer_are_three_rows_and_the_last_says_what_limits_it() {
    let run = "--machine mock --json run --source /dev/nvme0n1 --source /dev/nvme1n1 --peer 0000:05:00.0";
    let document = p2pbench(&format!("{run} --jobs 2 --block 64k --seconds 0.3")).json();
    let [first, second, sum] = &rows(&document)[..] else { panic!("{document}") };
    assert_eq!((first["aggregate"].as_bool(), first["limit"].is_null()), (Some(false), true));
    assert_eq!(sum["source"], "/dev/nvme0n1 + /dev/nvme1n1");
    let number = |row: &Value, key: &str| row[key].as_f64().expect("a number");
    assert!((number(first, "bytes") + number(second, "bytes") - number(sum, "bytes")).abs() < 1.0);
    let limit = &sum["limit"];
    let busy = number(sum, "cpu_seconds") / number(sum, "seconds") / number(limit, "processors");
    assert!((number(limit, "cpu_busy") - busy).abs() < 1e-9, "{limit}");
    let link = number(sum, "bytes_per_second") / number(limit, "link_ceiling_bytes_per_second");
    assert!((number(limit, "link_busy") - link).abs() < 1e-9, "{limit}");
}

#[test]
fn a_mock_machine_says_that_it_pins_nothing() {
    let run = "--machine mock run --source /dev/nvme0n1 --peer 0000:05:00.0 --size 1M --numa auto";
    let text = p2pbench(run).stdout;
    assert!(
        text.contains("MOCK  --numa, /dev/nvme0n1: node 0, not pinned: a mock machine has no processors"),
        "{text}"
    );
    let numa = &p2pbench(&format!("{run} --json")).json()["rows"][0]["numa"][0];
    assert_eq!((numa["node"].as_u64(), numa["cpus"].is_null()), (Some(0), true));
}

#[test]
fn what_a_machine_does_not_count_is_null_with_the_reason_and_never_a_nought() {
    let run = "--machine mock run --source /dev/nvme0n1 --peer 0000:05:00.0 --size 1M";
    let row = p2pbench(&format!("{run} --json")).json()["rows"][0].clone();
    assert_eq!((&row["host_memory"]["bytes"], &row["host_memory"]["bytes_per_byte"]), (&Value::Null, &Value::Null));
    assert!(row["host_memory"]["reason"].as_str().is_some_and(|reason| reason.contains("/sys/fs/resctrl")), "{row}");
    assert!(p2pbench(run).stdout.contains("MOCK  host memory traffic is not measurable here: "));
    let sum =
        row["cpu_user_seconds"].as_f64().zip(row["cpu_system_seconds"].as_f64()).map(|(user, system)| user + system);
    assert!((sum.expect("both") - row["cpu_seconds"].as_f64().expect("their sum")).abs() < 1e-9, "{row}");
}
