//! `p2pbench check`: a node against what it should be. For a prolog: an exit code, and a first line that fits anywhere.
//!
//! ```text
//! machine ── node ──┬── judge ──> entries ──┐
//!                   └── compare ─> entries ──┴── report ──> text or JSON, exit code
//! FILE ──── expect ───┘
//! ```

mod compare;
mod entry;
mod expect;
mod json;
mod judge;
mod look;
mod measured;
mod node;
mod reason;
mod report;
mod stable;
mod text;

use std::path::PathBuf;

use clap::Args;
use p2pdma::machine::Machine;

use crate::{cli, failure::Failure, machine::MachineName, output::Output, record::write};
use expect::Expectation;
use measured::Measured;
use node::Node;
use report::Report;

/// What `check` holds a node against.
#[derive(Debug, Clone, Args)]
pub(crate) struct CheckOptions {
    /// What this node should be: a TOML file, as --write-expect makes it. Without it, every SSD is to reach every provider.
    #[arg(long, value_name = "FILE")]
    pub(crate) expect: Option<PathBuf>,

    /// Write such a file from this node, which is taken to be a good one, instead of checking it.
    #[arg(long, value_name = "FILE", conflicts_with = "expect")]
    pub(crate) write_expect: Option<PathBuf>,

    /// What `run --json` printed here: measured rates, to be held against the file's minima. May be given again.
    #[arg(long, value_name = "FILE")]
    pub(crate) measured: Vec<PathBuf>,

    /// Give up after so many seconds, with exit code 4.
    #[arg(long, default_value_t = 30.0, value_parser = cli::seconds, value_name = "SECONDS")]
    pub(crate) deadline: f64,
}

/// What one check comes to, ready to be printed.
enum Outcome {
    Checked(Box<Report>),
    Written(String),
}

/// Has another process look, so that the deadline holds whatever a device does.
pub(crate) fn command(machine: &MachineName, options: &CheckOptions, json: bool) -> Result<(), Failure> {
    if !look::is_here() {
        return look::from_outside(options.deadline, json);
    }
    match outcome(machine, options) {
        Ok((machine, outcome)) => {
            let result = print(&machine, &outcome, json);
            crate::say_what_is_missing(&machine);
            result
        }
        Err(failure) => look::refuse(failure, json),
    }
}

fn outcome(name: &MachineName, options: &CheckOptions) -> Result<(Machine, Outcome), Failure> {
    let expectation = options.expect.as_deref().map(Expectation::read).transpose()?;
    let machine = name.make()?;
    let measured = Measured::read(&machine, &options.measured)?;
    let node = Node::look(&machine)?;
    let outcome = match &options.write_expect {
        None => Outcome::Checked(Box::new(Report::new(node, expectation.as_ref(), &measured))),
        Some(path) => {
            write::atomically(path, &expect::document(&node, &measured)?)?;
            Outcome::Written(format!("wrote {}: {}", path.display(), node.sum()))
        }
    };
    Ok((machine, outcome))
}

fn print(machine: &Machine, outcome: &Outcome, json: bool) -> Result<(), Failure> {
    let mut output = Output::new(machine.kind());
    let report = match outcome {
        Outcome::Written(line) => return Ok(output.text(line)?),
        Outcome::Checked(report) => report,
    };
    if json {
        output.json(&json::Document::new(report))?;
    } else {
        output.text(&text::text(report))?;
    }
    match report.exit_code() {
        0 => Ok(()),
        code => Err(Failure::Said(code)),
    }
}
