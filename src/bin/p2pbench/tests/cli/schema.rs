//! What programs are given is what `schema/` says: no key is missing, of another type, or not described.

use std::{fs, path::Path};

use serde_json::Value;

use crate::program::p2pbench;

fn schema(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema").join(name).with_extension("json");
    serde_json::from_str(&fs::read_to_string(path).expect("a schema")).expect("JSON")
}

/// The same, but that it takes no key that it does not describe: users may meet newer ones, these tests may not.
fn closed(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(object) => {
            let closed_below = object.iter_mut().map(|(key, value)| (key.clone(), closed(value.take())));
            let mut closed_below: serde_json::Map<_, _> = closed_below.collect();
            if closed_below.contains_key("properties") {
                closed_below.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            Value::Object(closed_below)
        }
        Value::Array(array) => Value::Array(array.iter_mut().map(|value| closed(value.take())).collect()),
        other => other.take(),
    }
}

fn errors(schema: &Value, document: &Value) -> Vec<String> {
    let validator = jsonschema::validator_for(schema).expect("a schema that is one");
    validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn assert_described(name: &str, arguments: &str) {
    let document = p2pbench(arguments).json();
    assert_eq!(errors(&schema(name), &document), Vec::<String>::new(), "{arguments}");
    assert_eq!(errors(&closed(schema(name)), &document), Vec::<String>::new(), "{arguments}");
}

const MACHINES: [&str; 6] = [
    "mock",
    "mock:root-ports",
    "mock:root-ports-intel",
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/machines/switch"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/machines/root-ports-intel"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/machines/root-ports-intel-nobody"),
];

#[test]
fn topologies_are_as_described() {
    MACHINES.iter().for_each(|machine| assert_described("topology", &format!("--machine {machine} topo --json")));
}

#[test]
fn checks_are_as_described() {
    MACHINES.iter().for_each(|machine| assert_described("check", &format!("--machine {machine} check --json")));
}

#[test]
fn explanations_are_as_described() {
    for (machine, pair) in [
        ("mock", "/dev/nvme0n1 0000:05:00.0"),
        ("mock:root-ports-intel", "/dev/nvme0n1 0000:02:00.0"),
        (MACHINES[3], "0000:03:00.0 0000:05:00.0"),
    ] {
        assert_described("explain", &format!("--machine {machine} explain {pair} --json"));
    }
}

#[test]
fn runs_are_as_described() {
    let run = "--machine mock run --source /dev/nvme0n1 --peer 0000:05:00.0 --size 1M --json";
    assert_described("run", &format!("{run} --path direct,bounce"));
    assert_described("run", &format!("{run} --source /dev/nvme1n1 --jobs 2 --numa auto --path direct,page_cache"));
    assert_described("run", &format!("{run} --copy-to /dev/nvme1n1 --destructive"));
    assert_described("run", &format!("{run} --rw write --destructive --fdatasync --way module --block 64k"));
}

#[test]
fn a_document_that_is_not_as_described_is_found_out() {
    let mut document = p2pbench("--machine mock check --json").json();
    document["answer"] = "perhaps".into();
    assert_eq!(errors(&schema("check"), &document).len(), 1);
    let mut document = p2pbench("--machine mock topo --json").json();
    document["devices"][0]["colour"] = "blue".into();
    assert_eq!(errors(&schema("topology"), &document), Vec::<String>::new(), "keys may be added");
    assert_eq!(errors(&closed(schema("topology")), &document).len(), 1, "but not unnoticed");
}
