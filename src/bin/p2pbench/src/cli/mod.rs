//! The command line: the commands, and the options of those that have few. Those of `run` are in [`run`], and what
//! numbers look like is in [`quantity`].

mod quantity;
mod run;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use p2pdma::pci::Address;

use crate::machine::MachineName;
use quantity::percent;
pub(crate) use quantity::{seconds, size};
pub(crate) use run::{Numa, Path, Peer, RunFormat, RunOptions, Rw, Way};

/// Measure, show and explain NVMe <-> peer memory transfers on Linux 6.12's p2pdma.
///
/// Without a command: what this machine can do, then a short measurement of direct against bounce. On a machine without
/// peer memory the same runs on the mock machine, and every line says so.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, args_conflicts_with_subcommands = false)]
#[command(after_help = "Exit codes: 0 yes or passed; 1 no or failed; 2 wrong usage; 3 cannot tell or not allowed; \
                        4 an operation failed.")]
pub(crate) struct Cli {
    /// What to do; without it, an overview.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// The machine to look at and to run on: host, mock, mock:root-ports, mock:root-ports-intel, or a file that `record`
    /// wrote (mock:./FILE runs on it, with memory for devices).
    #[arg(long, global = true, value_name = "MACHINE", default_value = "host")]
    pub(crate) machine: MachineName,

    /// Print JSON for programs instead of text for people.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the PCIe tree, and what the kernel says of every SSD with every provider of peer memory.
    ///
    /// What takes no part in transfers is folded in the tree; the JSON has it all. Root sees more: an ordinary user
    /// cannot read ACS. Exit code 0 whatever it shows.
    Topo(TopoOptions),

    /// Say whether a file or SSD and peer memory can exchange data directly, and if not, why and what helps.
    ///
    /// The verdict comes first; then the way hop by hop, the storage layer by layer, and every finding with what was read
    /// and the cure. Nothing is transferred. Exit code 0 yes, 1 no, 3 cannot tell.
    Explain(ExplainOptions),

    /// Hold this node against what it should be: for a prolog, and for whoever looks after many nodes.
    ///
    /// The first line says it all in 80 columns; below it are all findings of all pairs, each with the cure. Equal nodes print
    /// equal text. Needs neither PATH nor HOME. Exit code 0 passed, 1 failed, 3 cannot tell, 4 could not be checked in time.
    Check(crate::check::CheckOptions),

    /// Measure transfers between an SSD or file and peer memory.
    Run(Box<RunOptions>),

    /// Hold documents of `run --json` against the first of them, row by row.
    ///
    /// A row regressed when it is slower by more than the tolerance and by more than its turns differ anyway, when fewer of
    /// its bytes went direct, or when it is missing. Exit code 0 no regression, 1 some.
    Compare(CompareOptions),

    /// Write what this machine says of itself into a file, to look at elsewhere with --machine FILE.
    ///
    /// A text file of facts from sysfs and procfs, as they were read, with what could not be read and why. Serial numbers,
    /// UUIDs and names of the machine are replaced. Root records more: an ordinary user cannot read ACS.
    Record(RecordOptions),
}

/// What `compare` compares.
#[derive(Debug, Clone, Args)]
pub(crate) struct CompareOptions {
    /// What it was: a file that `run --json` wrote.
    #[arg(value_name = "BASE")]
    pub(crate) base: PathBuf,

    /// What it is now; several are compared one by one.
    #[arg(value_name = "NEW", required = true)]
    pub(crate) new: Vec<PathBuf>,

    /// How much slower a row may be.
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = percent)]
    pub(crate) tolerance: f64,
}

/// Where `record` writes.
#[derive(Debug, Clone, Args)]
pub(crate) struct RecordOptions {
    /// The file; one that is there already is replaced, as a whole or not at all.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// A file or block device to record what `explain` asks of it; may be given several times. Disks and SSDs are in it
    /// anyway, by the names that the kernel gave them.
    #[arg(long = "for", value_name = "PATH")]
    pub(crate) sources: Vec<PathBuf>,
}

/// Which pair `explain` explains.
#[derive(Debug, Clone, Args)]
pub(crate) struct ExplainOptions {
    /// A file, a block device or an NVMe function's PCI address.
    pub(crate) source: PathBuf,

    /// The provider of the peer memory, by PCI address.
    pub(crate) peer: Address,
}

/// How `topo` shows it.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TopoOptions {
    /// The form; --json stands for --format json [default: tree].
    #[arg(long, value_name = "FORMAT", hide_default_value = true)]
    pub(crate) format: Option<TopoFormat>,
}

/// A form of the topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TopoFormat {
    /// The PCIe tree and its pairs, for people.
    Tree,
    /// Clients against providers, for people.
    Matrix,
    /// For programs.
    Json,
    /// A drawing of the tree and its pairs, for reports; browsers show it.
    Svg,
}

/// What people type, nearly right; and anything at all.
#[cfg(test)]
fn word() -> impl proptest::strategy::Strategy<Value = String> {
    proptest::prop_oneof![
        "--(machine|json|source|peer|path|rw|block|depth|size|seconds|span|verify|destructive|format|for|x)(=.{0,12})?",
        "run|topo|explain|record|help|host|mock(:.{0,8})?|read|direct(,(bounce|page_cache|.{0,4})){0,3}",
        "[0-9a-f]{0,9}:?[0-9a-f]{2}:[0-9a-f]{2}\\.[0-9]",
        "-?[0-9]{0,25}(\\.[0-9]{1,9})?(e[0-9]{1,5})?[ ]?([kKMGTPE]i?B?)?",
        proptest::prelude::any::<String>(),
    ]
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    proptest! {
        #[test]
        fn any_machine_has_a_name_or_is_refused_in_one_line(text in word()) {
            if let Err(line) = text.parse::<MachineName>() {
                prop_assert!(line.lines().count() == 1, "{line:?}");
            }
        }

        #[test]
        fn any_command_line_is_taken_or_refused_in_one_line(words in proptest::collection::vec(word(), 0..8)) {
            let words: Vec<String> = std::iter::once("p2pbench".to_owned()).chain(words).collect();
            if let Err(error) = Cli::try_parse_from(&words) {
                let line = crate::in_one_line(&error, &words);
                prop_assert!(!error.use_stderr() || !line.contains(['\n', '\r']), "{line:?}");
            }
        }
    }
}
