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
mod measured;
mod node;
mod reason;
mod report;
mod text;

use std::{path::PathBuf, sync::mpsc, thread, time::Duration};

use clap::Args;
use p2pdma::{Error, Refusal, machine::Machine};

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

/// Checks in a thread of its own, so that the deadline holds whatever a device does; prints here, so that it prints once.
pub(crate) fn command(machine: &MachineName, options: &CheckOptions, json: bool) -> Result<(), Failure> {
    let (sender, receiver) = mpsc::channel();
    let (name, all) = (machine.clone(), options.clone());
    thread::spawn(move || {
        // Whoever has stopped listening has met the deadline.
        let _ = sender.send(outcome(&name, &all));
    });
    let result =
        receiver.recv_timeout(Duration::from_secs_f64(options.deadline)).unwrap_or_else(|_| Err(late(options)));
    match result {
        Ok((machine, outcome)) => {
            let result = print(&machine, &outcome, json);
            crate::say_what_is_missing(&machine);
            result
        }
        Err(failure) => {
            if !json {
                Output::plain().text(&reason::of_failure(&failure))?;
            }
            Err(failure)
        }
    }
}

fn late(options: &CheckOptions) -> Failure {
    let cause = format!("not done within {} s", options.deadline);
    let cure = "a device or a filesystem may hang: see the kernel's log; or give --deadline more";
    Failure::Library(Error::Deadline(Refusal::new("check", cause, cure)))
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
