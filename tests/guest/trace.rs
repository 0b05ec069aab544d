//! QEMU's trace of what its SSDs were told: an independent witness, from outside the guest.

use std::{ops::RangeInclusive, path::Path};

/// A read or write command, and the memory it was given.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) write: bool,
    /// First logical block, of 512 bytes.
    pub(crate) block: u64,
    pub(crate) memory: Vec<Part>,
}

/// A run of bus addresses.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) start: u64,
    pub(crate) length: u64,
}

/// Reads a trace file. A line that opens a command is followed by the lines of its memory; what comes before the first
/// command belongs to the controller's start.
pub(crate) fn read(path: &Path) -> Vec<Command> {
    let text = std::fs::read_to_string(path).expect("a trace");
    let mut commands: Vec<Command> = Vec::new();
    for line in text.lines() {
        let (event, values) = line.split_once(' ').expect("an event with values");
        match (event, commands.last_mut()) {
            ("pci_nvme_read" | "pci_nvme_write", _) => {
                let command = Command { write: event == "pci_nvme_write", block: value(values, "lba"), memory: vec![] };
                commands.push(command);
            }
            ("pci_nvme_map_addr", Some(command)) => {
                command.memory.push(Part { start: value(values, "addr"), length: value(values, "len") });
            }
            _ => {}
        }
    }
    commands
}

/// The commands between two marks, without them.
pub(crate) fn between(commands: &[Command], first: u64, last: u64) -> &[Command] {
    let at = |mark: u64| {
        let mut places =
            commands.iter().enumerate().filter(|(_, command)| command.block == mark).map(|(place, _)| place);
        let place = places.next().expect("a mark in the trace");
        assert_eq!(places.next(), None, "a mark stands once");
        place
    };
    &commands[at(first) + 1..at(last)]
}

/// Lines of two numbers, first and last.
pub(crate) fn ranges(text: &str) -> Vec<RangeInclusive<u64>> {
    let range = |line: &str| {
        let (first, last) = line.split_once(' ').expect("two numbers");
        number(first)..=number(last)
    };
    text.lines().map(range).collect()
}

/// `0xFIRST-0xLAST`.
pub(crate) fn bar(text: &str) -> RangeInclusive<u64> {
    let (first, last) = text.trim().split_once('-').expect("two addresses");
    number(first)..=number(last)
}

fn value(values: &str, name: &str) -> u64 {
    let mut words = values.split_whitespace();
    words.find(|word| *word == name).and_then(|_| words.next()).map(number).expect("a value of that name")
}

fn number(text: &str) -> u64 {
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .expect("a number")
}
