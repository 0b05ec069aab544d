//! One run of the program.

use std::process::{Command, Output};

use serde_json::Value;

/// What came out of it.
pub(crate) struct Outcome {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The program, with these arguments (one blank between them).
pub(crate) fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_p2pbench"));
    command.args(arguments.split_whitespace());
    command
}

pub(crate) fn p2pbench(arguments: &str) -> Outcome {
    Outcome::new(command(arguments).output().expect("p2pbench"))
}

impl Outcome {
    pub(crate) fn new(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let status = output.status.code().expect("an exit status, not a signal");
        Self { status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).expect("a JSON document")
    }
}
