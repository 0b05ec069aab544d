//! p2pbench: measure, show and explain NVMe <-> peer memory transfers.
//!
//! Exit codes: 0 yes or passed; 1 no or failed; 2 wrong usage; 3 cannot tell or not allowed; 4 an operation failed.

mod block;
mod check;
mod cli;
mod compare;
mod explain;
mod facts;
mod failure;
mod input;
mod interrupt;
mod machine;
mod output;
mod overview;
mod pairs;
mod record;
mod run;
mod text;
mod topo;

use std::{io::Write, process::ExitCode};

use clap::{ArgMatches, CommandFactory, FromArgMatches};
use p2pdma::machine::Machine;

use cli::{Cli, Command};
use failure::Failure;
use output::Output;
use run::Workload;

fn main() -> ExitCode {
    let parsed = Cli::command().try_get_matches().and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, arguments) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error),
    };
    match execute(&cli, &arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_silent() {
                // Whoever has closed stderr does not want to know.
                let _ = writeln!(std::io::stderr(), "p2pbench: {}", text::printable(&failure.to_string()));
            }
            failure.exit_code()
        }
    }
}

/// Help and version as clap prints them; wrong usage in one line.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Whoever has closed stdout does not want to know.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let _ = writeln!(std::io::stderr(), "{}", in_one_line(error, &words));
    ExitCode::from(2)
}

/// With the page of help on which the options are that were meant.
fn in_one_line(error: &clap::Error, words: &[String]) -> String {
    let is_command = |word: &&String| Cli::command().get_subcommands().any(|command| command.get_name() == *word);
    let command = words.iter().skip(1).find(is_command).map_or(String::new(), |command| format!(" {command}"));
    format!("p2pbench: {}; see p2pbench{command} --help", reason(error))
}

/// What is wrong, without where to read more.
fn reason(error: &clap::Error) -> String {
    let text = error.to_string().replace('\r', " ");
    let reason: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage")).collect();
    let reason = reason.join(" ");
    let reason = reason.trim_start_matches("error: ").trim().trim_end_matches("For more information, try '--help'.");
    reason.trim().to_owned()
}

fn execute(cli: &Cli, arguments: &ArgMatches) -> Result<(), Failure> {
    if let Some(Command::Check(options)) = &cli.command {
        return check::command(&cli.machine, options, cli.json);
    }
    let machine = cli.machine.make()?;
    let mut output = Output::new(machine.kind());
    let result = command(cli, arguments, &machine, &mut output);
    // A command that ends in a line of its own has said what it lacks.
    if result.as_ref().err().is_none_or(Failure::is_silent) {
        say_what_is_missing(&machine);
    }
    result
}

fn command(cli: &Cli, arguments: &ArgMatches, machine: &Machine, output: &mut Output) -> Result<(), Failure> {
    match &cli.command {
        None => overview::overview(machine, output, cli.json),
        Some(Command::Topo(options)) => topo::command(machine, options, output, cli.json),
        Some(Command::Explain(options)) => explain::command(machine, options, output, cli.json),
        // It makes the machine itself, below its deadline.
        Some(Command::Check(options)) => check::command(&cli.machine, options, cli.json),
        Some(Command::Run(options)) => {
            let workloads = Workload::all(options, arguments.subcommand_matches("run").unwrap_or(arguments))?;
            run::command(machine, &workloads, run::format(options, cli.json)?, output)
        }
        Some(Command::Compare(options)) => compare::command(options, cli.json),
        Some(Command::Record(options)) => record::command(machine, options, output, cli.json),
    }
}

/// An older recording may lack what a newer version looks at: then part of what was shown as unreadable is just not known.
fn say_what_is_missing(machine: &Machine) {
    let missing = machine.missing();
    if let Some(first) = missing.first() {
        let count = missing.len();
        let line = format!("{count} facts were not recorded and count as unreadable ({first}, ...)");
        // Whoever has closed stderr does not want to know.
        let _ = writeln!(
            std::io::stderr(),
            "p2pbench: --machine: {}; record the machine anew with this version",
            text::printable(&line)
        );
    }
}
