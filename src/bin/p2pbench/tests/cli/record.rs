//! `p2pbench record`, and looking at what it wrote.

use std::{fs, os::unix::fs::symlink, path::Path};

use tempfile::TempDir;

use crate::program::{Outcome, p2pbench};

/// A recording of a mock machine.
fn recording(of: &str) -> (TempDir, String) {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("machine").display().to_string();
    let outcome = p2pbench(&format!("--machine {of} record {file}"));
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    assert!(outcome.stdout.contains(&format!("p2pbench --machine {file} topo")), "{}", outcome.stdout);
    (directory, file)
}

/// A mock machine's lines as that machine would print them, if it were recorded.
fn as_recorded(outcome: &Outcome) -> String {
    let unlabelled =
        |line: &'_ str| line.strip_prefix("MOCK").map(|line| line.strip_prefix("  ").unwrap_or(line).to_owned());
    let line = |line: &str| unlabelled(line).expect("a label") + "\n";
    let text: String = outcome.stdout.lines().map(line).collect();
    text.replacen("machine: mock", "machine: recorded", 1)
}

#[test]
fn a_recorded_machine_shows_what_the_machine_itself_showed() {
    for machine in ["mock", "mock:root-ports", "mock:root-ports-intel"] {
        let (_directory, file) = recording(machine);
        for format in ["tree", "matrix"] {
            let live = p2pbench(&format!("--machine {machine} topo --format {format}"));
            let replayed = p2pbench(&format!("--machine {file} topo --format {format}"));
            assert_eq!((replayed.status, replayed.stderr.as_str()), (0, ""), "nothing is missing");
            assert_eq!(replayed.stdout, as_recorded(&live), "{machine} {format}");
        }
        let (mut live, mut replayed) = (
            p2pbench(&format!("--machine {machine} topo --json")).json(),
            p2pbench(&format!("--machine {file} topo --json")).json(),
        );
        assert_eq!(replayed["machine"]["kind"].take(), "recorded");
        assert_eq!(live["machine"]["kind"].take(), "mock");
        assert_eq!(replayed, live, "{machine}");
    }
}

#[test]
fn an_overview_of_it_judges_and_does_not_measure() {
    let (_directory, file) = recording("mock");
    let outcome = p2pbench(&format!("--machine {file}"));
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    assert!(outcome.stdout.contains("0000:03:00.0 -> 0000:05:00.0  direct"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("nothing is measured") && !outcome.stdout.contains("MOCK"), "{}", outcome.stdout);
    let (_directory, file) = recording("mock:root-ports-intel");
    assert_eq!(p2pbench(&format!("--machine {file}")).status, 1);
    assert_eq!(p2pbench(&format!("--machine {file} --json")).status, 1);
}

#[test]
fn to_measure_on_it_is_3_and_says_where_to() {
    let (_directory, file) = recording("mock");
    let outcome = p2pbench(&format!("--machine {file} run --source /dev/nvme0n1 --peer 0000:05:00.0 --size 1M"));
    assert_eq!((outcome.status, outcome.stdout.as_str()), (3, ""));
    assert!(outcome.stderr.contains("recorded machine") && outcome.stderr.contains("on the machine itself"));
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
}

#[test]
fn a_recording_of_a_recording_is_the_same() {
    let (directory, file) = recording("mock");
    let second = directory.path().join("second");
    assert_eq!(p2pbench(&format!("--machine {file} record {}", second.display())).status, 0);
    let facts = |path: &Path| -> Vec<String> {
        let text = fs::read_to_string(path).expect("a recording");
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    assert_eq!(facts(&second), facts(Path::new(&file)));
}

#[test]
fn what_an_older_recording_lacks_is_told_on_stderr() {
    let (_directory, file) = recording("mock");
    let text = fs::read_to_string(&file).expect("a recording");
    let older: String =
        text.lines().filter(|line| !line.contains("/numa_node ")).map(|line| line.to_owned() + "\n").collect();
    fs::write(&file, older).expect("an older recording");
    let outcome = p2pbench(&format!("--machine {file} topo"));
    assert_eq!((outcome.status, outcome.stderr.lines().count()), (0, 1), "{}", outcome.stderr);
    for part in ["9 facts were not recorded", "/0000:00:00.0/numa_node", "record the machine anew"] {
        assert!(outcome.stderr.contains(part), "{part:?} is missing in {}", outcome.stderr);
    }
}

#[test]
fn a_file_that_is_no_recording_is_2_with_its_line() {
    let (_directory, file) = recording("mock");
    let text = fs::read_to_string(&file).expect("a recording");
    fs::write(&file, text.replacen(" link ", " lnik ", 1)).expect("a damaged recording");
    let outcome = p2pbench(&format!("--machine {file} topo"));
    assert_eq!((outcome.status, outcome.stdout.as_str(), outcome.stderr.lines().count()), (2, "", 1));
    assert!(outcome.stderr.contains(", line ") && outcome.stderr.contains("lnik"), "{}", outcome.stderr);
    assert_eq!(p2pbench("--machine ./nothing-here topo").status, 2);
}

#[test]
fn a_recording_replaces_a_file_as_a_whole_and_leaves_nothing_beside_it() {
    let (directory, file) = recording("mock");
    fs::write(&file, "older").expect("an older file");
    assert_eq!(p2pbench(&format!("--machine mock record {file}")).status, 0);
    assert!(fs::read_to_string(&file).expect("a recording").contains("p2pdma machine 1\n"));
    assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1);
}

/// `record /dev/stdout` once put a file in the place of that link.
#[test]
fn a_link_a_directory_or_a_device_is_not_replaced() {
    let (directory, file) = recording("mock");
    let link = directory.path().join("link");
    symlink(&file, &link).expect("a link");
    for path in [link.as_path(), directory.path(), Path::new("/dev/null")] {
        let outcome = p2pbench(&format!("--machine mock record {}", path.display()));
        assert_eq!((outcome.status, outcome.stdout.as_str()), (2, ""));
        assert!(outcome.stderr.contains("no regular file"), "{}", outcome.stderr);
    }
    assert!(fs::symlink_metadata(&link).expect("the link").is_symlink());
}

#[test]
fn a_place_that_is_not_there_is_4_and_named() {
    let outcome = p2pbench("--machine mock record /nowhere/machine");
    assert_eq!((outcome.status, outcome.stdout.as_str(), outcome.stderr.lines().count()), (4, "", 1));
    assert!(outcome.stderr.contains("/nowhere/machine"), "{}", outcome.stderr);
}

#[test]
fn programs_learn_what_was_written() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("machine");
    let document = p2pbench(&format!("--machine mock record {} --json", file.display())).json();
    assert_eq!((document["schema"].as_str(), document["denied"].as_u64()), (Some("p2pbench.record/1"), Some(0)));
    assert_eq!(document["file"].as_str(), file.to_str());
    assert!(document["facts"].as_u64() > Some(100));
}

#[test]
fn a_pair_of_a_recorded_machine_is_explained_as_on_the_machine_itself() {
    for (machine, ssd, peer) in
        [("mock", "0000:03:00.0", "0000:05:00.0"), ("mock:root-ports-intel", "0000:01:00.0", "0000:02:00.0")]
    {
        let (_directory, file) = recording(machine);
        let live = p2pbench(&format!("--machine {machine} explain {ssd} {peer}"));
        let replayed = p2pbench(&format!("--machine {file} explain {ssd} {peer}"));
        assert_eq!((replayed.status, replayed.stderr.as_str()), (live.status, ""), "nothing is missing");
        assert_eq!(replayed.stdout, as_recorded(&live), "{machine}");
        let disk = p2pbench(&format!("--machine {file} explain /dev/nvme0n1 {peer}"));
        assert_eq!((disk.status, disk.stderr.as_str()), (live.status, ""), "by facts, as it cannot be opened");
    }
}

#[test]
fn a_file_that_is_named_is_recorded_and_one_that_is_not_there_is_2() {
    let directory = TempDir::new().expect("a directory");
    let (file, named) = (directory.path().join("machine"), directory.path().join("named"));
    fs::write(&named, [1; 4096]).expect("a file");
    let record = |name: &str| p2pbench(&format!("record {} --for {name}", file.display()));
    let outcome = record(&named.display().to_string());
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    assert!(outcome.stdout.contains(&format!("explain {} PEER", named.display())), "{}", outcome.stdout);
    let text = fs::read_to_string(&file).expect("a recording");
    assert!(text.contains(&format!("{} open", named.display())), "{text}");
    for wrong in ["/nowhere/at/all", "/dev/null"] {
        let outcome = record(wrong);
        assert_eq!((outcome.status, outcome.stderr.lines().count()), (2, 1), "{wrong}: {}", outcome.stderr);
    }
}
