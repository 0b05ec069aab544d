//! `p2pbench topo`.

use std::sync::LazyLock;

use serde_json::Value;

use crate::{golden::assert_golden, program::p2pbench};

/// The switch, as programs see it.
static SWITCH: LazyLock<Value> = LazyLock::new(|| p2pbench("--machine mock topo --format json").json());

/// Tree and JSON of one machine, by the short name of the format; exit code 0 whatever they show.
fn assert_shown(machine: &str, name: &str) {
    let tree = p2pbench(&format!("--machine {machine} topo"));
    assert_eq!((tree.status, tree.stderr.as_str()), (0, ""));
    assert!(tree.stdout.lines().all(|line| line.chars().count() <= 100), "wider than a terminal: {}", tree.stdout);
    assert_golden(&format!("topo-{name}.txt"), &tree.stdout);
    let json = p2pbench(&format!("--machine {machine} topo --json"));
    assert_eq!((json.status, json.stderr.as_str()), (0, ""));
    assert_golden(&format!("topo-{name}.json"), &json.stdout);
}

#[test]
fn one_switch_is_shown() {
    assert_shown("mock", "switch");
}

#[test]
fn one_switch_is_drawn() {
    let drawing = p2pbench("--machine mock topo --format svg");
    assert_eq!((drawing.status, drawing.stderr.as_str()), (0, ""));
    assert_golden("topo-switch.svg", &drawing.stdout);
}

#[test]
fn root_ports_are_shown() {
    assert_shown("mock:root-ports", "root-ports");
}

#[test]
fn a_refused_route_is_shown_and_no_failure() {
    assert_shown("mock:root-ports-intel", "root-ports-intel");
}

#[test]
fn the_keys_that_scripts_rely_on_are_there() {
    let document = &*SWITCH;
    assert_eq!(document["schema"], "p2pbench.topology/1");
    for key in ["kind", "kernel", "module"] {
        assert!(document["machine"].get(key).is_some(), "machine.{key}");
    }
    for key in ["address", "kind", "driver", "numa_node", "link", "p2pmem"] {
        assert!(document["devices"][0].get(key).is_some(), "devices[].{key}");
    }
    for key in ["provider", "client", "map_type", "distance", "acs_redirect", "ceiling_bytes_per_second", "remedy"] {
        assert!(document["pairs"][0].get(key).is_some(), "pairs[].{key}");
    }
}

#[test]
fn every_ssd_is_paired_with_every_provider_in_order() {
    let pairs = SWITCH["pairs"].as_array().expect("pairs");
    let pairs: Vec<_> = pairs.iter().map(|pair| (pair["client"].as_str(), pair["provider"].as_str())).collect();
    let provider = Some("0000:05:00.0");
    assert_eq!(pairs, [(Some("0000:03:00.0"), provider), (Some("0000:04:00.0"), provider)]);
}
