//! What a program says of its run, be it p2pbench or fio.

use std::{fs, path::Path};

use serde_json::Value;

/// Operations a second, and operations.
pub(crate) fn figures(path: &Path) -> (f64, f64) {
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

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}
