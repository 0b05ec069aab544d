//! A recorded machine with what its tree of memory cannot have: drivers, BARs, namespaces (`tests/machines/NAME.overlay`).

use std::{collections::BTreeMap, fs};

use p2pdma::pci::Address;
use tempfile::TempDir;

/// The recording NAME with the facts of NAME.overlay in the place of its own, in a file that goes with the directory.
pub(crate) fn overlaid(machines: &str, name: &str) -> (TempDir, String) {
    let read = |ending: &str| fs::read_to_string(format!("{machines}{name}{ending}")).expect("a file of the machine");
    let (recorded, added) = (read(""), read(".overlay"));
    let (version, mut facts) = parsed(&recorded);
    let directories = facts.keys().filter_map(|fact| fact.strip_suffix(" link")?.strip_prefix("/sys/bus/pci/devices/"));
    let directories: Vec<_> = directories.map(|address| (address.to_owned(), directory(&recorded, address))).collect();
    let expanded = |word: &str| {
        let (first, rest) = word.split_once('/').unwrap_or((word, ""));
        let known =
            first.parse::<Address>().ok().and_then(|_| directories.iter().find(|(address, _)| address == first));
        known.map_or(word.to_owned(), |(_, directory)| format!("{directory}/{rest}"))
    };
    for (fact, text) in parsed(&added).1 {
        let words: Vec<_> = text.split('\n').next().unwrap_or_default().split(' ').map(expanded).collect();
        let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
        let fact = fact.split(' ').map(expanded).collect::<Vec<_>>().join(" ");
        assert_ne!(facts.get(&fact).map(String::as_str), Some(text.as_str()), "{name}: {fact} was recorded so");
        facts.insert(fact, format!("{}\n{rest}", words.join(" ")));
    }
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join(name);
    fs::write(&path, version + &facts.into_values().collect::<String>()).expect("a machine");
    (directory, path.display().to_string())
}

/// What stands before the facts, and each fact with its lines by path and question.
fn parsed(text: &str) -> (String, BTreeMap<String, String>) {
    let (mut version, mut facts, mut last) = (String::new(), BTreeMap::<String, String>::new(), String::new());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if !line.starts_with(['/', ' ']) && !line.contains(':') {
            version += &format!("{line}\n");
            continue;
        }
        if !line.starts_with(' ') {
            last = line.split(' ').take(2).collect::<Vec<_>>().join(" ");
        }
        *facts.entry(last.clone()).or_default() += &format!("{line}\n");
    }
    (version, facts)
}

fn directory(recorded: &str, address: &str) -> String {
    let start = format!("/sys/bus/pci/devices/{address} link ");
    let line = recorded.lines().find_map(|line| line.strip_prefix(&start));
    line.expect("a link to the device's directory").to_owned()
}
