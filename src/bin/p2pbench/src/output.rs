//! Standard output, which says MOCK on every line that does not come from hardware.

use std::io::{self, Write};

use p2pdma::machine::MachineKind;

/// Lines for people, or one JSON document.
#[derive(Debug)]
pub(crate) struct Output {
    label: &'static str,
}

impl Output {
    pub(crate) fn new(kind: MachineKind) -> Self {
        // Anything but the host is no hardware.
        Self { label: if kind == MachineKind::Host { "" } else { "MOCK  " } }
    }

    /// Prints text, each line behind the label.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        for line in text.lines() {
            writeln!(stdout, "{}", format!("{}{line}", self.label).trim_end())?;
        }
        stdout.flush()
    }

    /// Prints a JSON document. It names the machine's kind itself.
    pub(crate) fn json(&mut self, document: &impl serde::Serialize) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        serde_json::to_writer_pretty(&mut stdout, document)?;
        writeln!(stdout)
    }
}
