//! Standard output, which says MOCK on every line that comes from no hardware.

use std::io::{self, Write};

use p2pdma::machine::MachineKind;

/// Lines for people, or one JSON document.
#[derive(Debug)]
pub(crate) struct Output {
    label: &'static str,
}

impl Output {
    pub(crate) fn new(kind: MachineKind) -> Self {
        Self { label: label(kind) }
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

/// What a line that is torn out of its context must still say. Figures of a mock machine look like measurements, so each
/// line says what they are. Of a recorded machine nothing can be measured; what it says is what the machine itself would
/// say, line by line, and the headline and `machine.kind` in JSON tell that it was recorded.
fn label(kind: MachineKind) -> &'static str {
    match kind {
        MachineKind::Host | MachineKind::Recorded => "",
        _ => "MOCK  ",
    }
}
