//! What one program did in one turn.

use std::{fs, path::Path};

use serde_json::Value;

/// Figures of one turn.
pub(crate) struct Turn {
    pub(crate) operations_per_second: f64,
    /// Seconds, of the program and of the kernel's workers that it has; what starting and ending it costs is taken off.
    pub(crate) cpu_per_operation: f64,
}

impl Turn {
    /// Reads what `guest.sh` left.
    pub(crate) fn load(share: &Path, lane: &str, cell: usize, round: u32) -> Self {
        let path = |suffix: &str| share.join(format!("{lane}.{cell}.{round}{suffix}"));
        let (rate, operations) = figures(&path(""));
        let (_, few) = figures(&path(".idle"));
        let cpu = (cpu(&path(".cpu")) - cpu(&path(".idle.cpu"))) / (operations - few);
        Self { operations_per_second: rate, cpu_per_operation: cpu }
    }
}

/// Operations a second, and operations.
fn figures(path: &Path) -> (f64, f64) {
    let text = fs::read_to_string(path).expect("a result");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    match document.get("rows") {
        Some(rows) => ours(&rows[0]),
        None => fio(&document["jobs"][0]),
    }
}

fn ours(row: &Value) -> (f64, f64) {
    assert_eq!(row["bytes"], row["bytes_direct"], "all of it direct");
    (number(&row["iops"]), number(&row["bytes"]) / number(&row["block_bytes"]))
}

fn fio(job: &Value) -> (f64, f64) {
    let sides = ["read", "write"].map(|side| (number(&job[side]["iops"]), number(&job[side]["total_ios"])));
    (sides[0].0 + sides[1].0, sides[0].1 + sides[1].1)
}

/// User and system seconds, on one line.
fn cpu(path: &Path) -> f64 {
    let text = fs::read_to_string(path).expect("times");
    text.split_whitespace().map(|seconds| seconds.parse::<f64>().expect("seconds")).sum()
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}
