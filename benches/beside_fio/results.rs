//! benches/RESULTS.md: a section for each bench, which writes its own and leaves the others alone.

use std::{fs, path::Path, process::Command};

/// Puts a bench's section in the place of the one that it wrote before.
pub(crate) fn write(path: &Path, title: &str, section: &str) {
    let before = fs::read_to_string(path).unwrap_or_else(|_| "# Measured\n".to_owned());
    fs::write(path, replaced(&before, title, section)).expect("room for the results");
}

fn replaced(text: &str, title: &str, section: &str) -> String {
    let heading = format!("## {title}\n");
    let (mut kept, mut skips) = (String::new(), false);
    for line in text.split_inclusive('\n') {
        if line.starts_with("## ") {
            skips = line == heading;
        }
        if !skips {
            kept += line;
        }
    }
    format!("{}\n\n{heading}\n{}\n", kept.trim_end(), section.trim_end())
}

/// The first line of what a program says.
pub(crate) fn says(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(|line| line.trim().to_owned())
}

/// When, and of which state of the source.
pub(crate) fn provenance() -> String {
    let said = |program, arguments: &[&str]| says(program, arguments).unwrap_or_else(|| "unknown".to_owned());
    let changed = says("git", &["status", "--porcelain", "--untracked-files=no"]).map_or("", |_| ", with changes");
    format!("{}, commit {}{changed}", said("date", &["+%F"]), said("git", &["rev-parse", "--short=12", "HEAD"]))
}

/// Words of the command line: `--write FILE`, and the rest in its order. cargo adds `--bench`.
pub(crate) fn arguments() -> (Option<String>, Vec<String>) {
    let (mut write, mut rest) = (None, Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--write" => write = Some(words.next().expect("--write FILE")),
            word if word.starts_with("--") => {}
            _ => rest.push(word),
        }
    }
    (write, rest)
}
