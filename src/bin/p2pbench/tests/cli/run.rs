//! `run`: sweeps, forms, and what is left of a run that ends early.

use std::{
    fs,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::program::{Outcome, command, p2pbench};

const RUN: &str = "--machine mock run --source /dev/nvme0n1 --peer 0000:05:00.0";

#[test]
fn every_combination_is_a_row_in_the_order_of_the_options() {
    let outcome = p2pbench(&format!("{RUN} --json --rw read,randread --block 4k,64k --depth 1,8 --size 256k"));
    let document = outcome.json();
    let work = |row: &serde_json::Value| (row["rw"].to_string(), row["block_bytes"].as_u64(), row["depth"].as_u64());
    let rows: Vec<_> = document["rows"].as_array().expect("rows").iter().map(work).collect();
    assert_eq!(rows.len(), 8);
    assert_eq!(rows[0], ("\"read\"".into(), Some(4096), Some(1)));
    assert_eq!(rows[1], ("\"read\"".into(), Some(4096), Some(8)));
    assert_eq!(rows[7], ("\"randread\"".into(), Some(65536), Some(8)));
    assert!(document["rows"].as_array().expect("rows").iter().all(|row| row["bytes"] == 256 << 10));
}

/// 4 KiB to 1 MiB in one row: the same operations on every path, whatever is drawn, and every byte of the memory is right.
#[test]
fn sizes_are_mixed_in_their_shares_and_alike_on_every_path() {
    for rw in ["read", "randread", "randwrite --destructive"] {
        let mix = "--block 4k/60:64k/30:1M/10 --depth 4 --size 256M --verify --path direct,bounce,page_cache";
        let document = p2pbench(&format!("{RUN} --json --rw {rw} {mix}")).json();
        let rows = document["rows"].as_array().expect("rows");
        let number = |row: &serde_json::Value, name: &str| row[name].as_f64().expect("a number");
        for row in rows {
            assert_eq!((&row["block_bytes"], &row["bytes"]), (&(1 << 20).into(), &rows[0]["bytes"]), "{rw}");
            assert_eq!(row["block_mix"][1], serde_json::json!({ "bytes": 65_536, "percent": 30 }), "{rw}");
            // What was drawn from the mix is near to its mean: of some 2,000 operations, within a quarter.
            let mean = f64::from(4096 * 60 + 65_536 * 30 + (1 << 20) * 10) / 100.0;
            let moved = number(row, "bytes") / (number(row, "iops") * number(row, "seconds"));
            assert!((0.75..1.25).contains(&(moved / mean)), "{rw}: {moved} bytes an operation, of {mean}");
        }
        let verified = number(&rows[0], "bytes_verified_after");
        assert!(verified > 0.0 && verified < f64::from(4 << 20), "{rw}: of each slot what was moved there: {verified}");
    }
}

#[test]
fn a_mix_that_cannot_be_is_refused_in_a_line() {
    let refused = |options: &str, status: i32, parts: [&str; 2]| {
        let outcome = p2pbench(&format!("{RUN} {options}"));
        assert_eq!((outcome.status, outcome.stderr.lines().count()), (status, 1), "{}", outcome.stderr);
        assert!(parts.iter().all(|part| outcome.stderr.contains(part)), "{}", outcome.stderr);
    };
    refused("--block 4k/60:64k/30", 2, ["'--block", "the shares add up to 90, not 100"]);
    refused("--block 4k/50:1M/50 --copy-to /dev/nvme1n1 --destructive", 2, ["a mix leaves some out", "one size"]);
    refused("--block 4k/50:128M/50", 2, ["--block 134217728 is too large", "use up to 64M"]);
    refused("--block 4k/50:1M/50 --size 64k", 2, ["--size is less than --block 4KiB/50:1MiB/50", "use more"]);
    refused("--block 100/50:64k/50 --size 1M", 2, ["not multiples of 512 bytes", "align"]);
}

#[test]
fn csv_has_a_line_for_each_row_and_each_says_mock() {
    let outcome = p2pbench(&format!("{RUN} --format csv --path direct,bounce --size 1M"));
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", outcome.stdout);
    assert!(lines[0].starts_with("label,") && lines[0].contains("latency_us_p99") && lines[0].contains("path"));
    assert!(lines[1..].iter().all(|line| line.starts_with("MOCK,")));
    let went = lines[0].split(',').position(|key| key == "went").expect("a column");
    let said: Vec<_> = lines[1..].iter().map(|line| line.split(',').nth(went)).collect();
    assert_eq!(said, [Some("direct"), Some("BOUNCED")]);
    let columns: Vec<usize> = lines.iter().map(|line| line.split(',').count()).collect();
    assert!(columns.iter().all(|&count| count == columns[0]), "{columns:?}");
}

/// The row of one of several pairs has no limit, and that of all of them has one.
#[test]
fn csv_has_equally_many_cells_in_rows_that_know_differently_much() {
    let outcome = p2pbench(&format!("{RUN} --source /dev/nvme1n1 --format csv --size 2M"));
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    let lines: Vec<Vec<&str>> = outcome.stdout.lines().map(|line| line.split(',').collect()).collect();
    assert!(lines.len() == 4 && lines.iter().all(|cells| cells.len() == lines[0].len()), "{}", outcome.stdout);
    let met = lines[0].iter().position(|&key| key == "limit_met").expect("a column");
    assert_eq!([lines[1][met], lines[2][met]], ["", ""]);
    assert!(!lines[3][met].is_empty(), "{}", outcome.stdout);
}

#[test]
fn turns_are_as_many_as_asked_for_and_their_spread_is_told() {
    let document = p2pbench(&format!("{RUN} --json --size 9M --repeats 9")).json();
    let row = &document["rows"][0];
    assert_eq!(row["turns_bytes_per_second"].as_array().map(Vec::len), Some(9));
    let low = row["spread"]["interval_95"][0].as_f64().expect("nine turns tell");
    assert!(row["spread"]["min"].as_f64() <= Some(low) && Some(low) <= row["spread"]["median"].as_f64());
}

#[test]
fn the_warm_up_is_told_and_can_be_left_away() {
    let warmup =
        |options: &str| p2pbench(&format!("{RUN} --json {options}")).json()["rows"][0]["warmup_seconds"].as_f64();
    assert_eq!(warmup("--seconds 0.2"), Some(0.01));
    assert_eq!(warmup("--seconds 0.2 --warmup 0"), Some(0.0));
    assert_eq!(warmup("--size 1M"), Some(0.0), "each byte is asked for and counted");
    assert_eq!(warmup("--size 1M --warmup 0.1"), Some(0.1));
}

#[test]
fn a_table_fits_on_a_terminal_and_says_of_each_row_which_way_its_bytes_went() {
    let sweep = "--path direct,bounce,page_cache --block 4k,1M --size 2M";
    for more in ["", "--rw read,randread", "--source /dev/nvme1n1", "--depth 1,8 --jobs 1,2"] {
        let text = p2pbench(&format!("{RUN} {sweep} {more}")).stdout;
        let widest = text.lines().filter(|line| line.contains("0.") || line.contains("GB/s")).map(str::len).max();
        assert!(widest <= Some(120), "{more}: {widest:?}\n{text}");
        let says = |path: &str, went: &str| {
            let mut rows = text.lines().filter(|line| line.starts_with(&format!("MOCK   {path} ")));
            rows.all(|line| line.split_whitespace().nth(2) == Some(went))
        };
        for column in ["GB/s", "IOPS", "CPU s/GB", "p50 us", "p99.9 us", "max us"] {
            let header =
                text.lines().filter(|line| line.split_whitespace().nth(2) == Some("went") && line.contains(column));
            assert_eq!(header.count(), 1, "{column}: {text}");
        }
        assert!(says("direct", "direct") && says("bounce", "BOUNCED") && says("page_cache", "BOUNCED"), "{text}");
        assert!(text.contains("MOCK  BOUNCED: each queue's thread copies by the CPU"), "{text}");
    }
}

/// script(1) is a terminal.
#[test]
fn what_moves_is_shown_on_a_terminal_and_nowhere_else() {
    let run = format!("stty cols 100; {} {RUN} --seconds 1", env!("CARGO_BIN_EXE_p2pbench"));
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &run, "/dev/null"]).env("TERM", "xterm").stdin(Stdio::null());
    let shown = Outcome::new(terminal.output().expect("script"));
    let live = shown.stdout.split(['\r', '\n']).find(|line| line.contains("turns  direct read 1 MiB depth 8: "));
    assert!(live.is_some_and(|line| line.contains(" GB/s")), "{:?}", shown.stdout);
    assert_eq!(p2pbench(&format!("{RUN} --seconds 1")).stderr, "");
}

/// A run of hours, and a signal when it is on its way.
fn interrupted(signal: Signal, hours: &str) -> (Outcome, Duration) {
    let mut command = command(&format!("{RUN} --json {hours}"));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("p2pbench");
    until(|| catches(child.id(), signal));
    let before = ticks(child.id());
    until(|| ticks(child.id()) > before + 20);
    let sent = Instant::now();
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), signal).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    (Outcome::new(output), sent.elapsed())
}

fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "it does not get going");
        sleep(Duration::from_millis(5));
    }
}

/// Whether the process has a handler for the signal (proc(5), `SigCgt`).
fn catches(pid: u32, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("a mask");
    u64::from_str_radix(mask.trim(), 16).expect("hexadecimal") >> (signal as i32 - 1) & 1 == 1
}

/// User and system time that it has used, in clock ticks: fields 14 and 15 of proc(5)'s stat, the name left out.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let fields = stat.rsplit(')').next().expect("fields").split_whitespace();
    fields.skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks")).sum()
}

#[test]
fn a_run_that_is_stopped_ends_within_a_second_and_shows_what_it_has() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let (outcome, took) = interrupted(signal, "--size 4096G");
        assert_eq!((outcome.status, outcome.stderr.lines().count()), (4, 1), "{}", outcome.stderr);
        assert!(took < Duration::from_secs(1), "{took:?}");
        let document = outcome.json();
        assert_eq!(document["interrupted"], true);
        assert!(document["rows"][0]["bytes"].as_u64() > Some(0));
    }
}

#[test]
fn a_run_that_is_stopped_in_its_warm_up_has_nothing_to_show_and_says_so() {
    let (outcome, _) = interrupted(Signal::SIGINT, "--seconds 7200 --warmup 7200");
    assert_eq!((outcome.status, outcome.stdout.as_str()), (4, ""));
    let line = "p2pbench: run: interrupted before anything was measured; nothing flies any more";
    assert!(outcome.stderr.starts_with(line) && outcome.stderr.lines().count() == 1, "{}", outcome.stderr);
}

#[test]
fn both_ways_are_measured_and_the_modules_bytes_are_observed() {
    let row = |way: &str| {
        p2pbench(&format!("{RUN} --way {way} --json --verify --block 64k --size 256k")).json()["rows"][0].clone()
    };
    let [p2pmem, module] = ["p2pmem", "module"].map(row);
    assert_eq!((p2pmem["way"].as_str(), p2pmem["evidence"].as_str()), (Some("p2pmem"), Some("witnessed")));
    assert_eq!((module["way"].as_str(), module["evidence"].as_str()), (Some("module"), Some("observed")));
    for row in [p2pmem, module] {
        assert_eq!((row["bytes_direct"].as_u64(), row["bytes_bounced"].as_u64()), (Some(256 << 10), Some(0)));
        assert_eq!(row["bytes_verified"].as_u64(), Some(16 << 20));
    }
}

#[test]
fn memory_that_nobody_lends_and_a_way_that_it_has_not_are_wrong_usage() {
    let socket = "--machine mock run --source /dev/nvme0n1 --peer socket:/nowhere";
    let nobody = p2pbench(socket);
    assert_eq!(nobody.status, 2);
    assert!(nobody.stderr.contains("start the program that lends it"), "{}", nobody.stderr);
    let mapped = p2pbench(&format!("{socket} --way p2pmem"));
    assert_eq!(mapped.status, 2);
    assert!(mapped.stderr.contains("has no mapping"), "{}", mapped.stderr);
}
