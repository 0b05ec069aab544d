//! The command line.

use std::{path::PathBuf, str::FromStr};

use clap::{Args, Parser, Subcommand, ValueEnum};
use p2pdma::pci::{Address, ParseAddressError};

use crate::{block::Block, machine::MachineName, run::Preset};

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

/// What `run` measures.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunOptions {
    /// Runs from a file in TOML, one after the other: tables `[[run]]`, and `[defaults]` for all of them, with these options
    /// by name (`depth = 8`, `block = ["4k", "1M"]`; `name = "..."` names the rows). What is given here holds before the file.
    #[arg(long, value_name = "FILE")]
    pub(crate) job: Option<PathBuf>,

    /// Runs that stand for a known work, as a job file.
    #[arg(long, value_name = "PRESET", conflicts_with = "job")]
    pub(crate) preset: Option<Preset>,

    /// The file or NVMe block device; several are worked on at the same time.
    #[arg(long, value_name = "PATH", required_unless_present_any = ["job", "preset"])]
    pub(crate) source: Vec<PathBuf>,

    /// The provider of the peer memory, by PCI address; or socket:PATH, where a program listens that lends memory of its
    /// GPU. With several, each source works with each of them at the same time, on a part of the span.
    #[arg(long, value_name = "ADDRESS|socket:PATH", required_unless_present_any = ["job", "preset"])]
    pub(crate) peer: Vec<Peer>,

    /// How storage and peer memory meet: by a mapping of the memory, or by the p2pdma_user module [default: p2pmem; module
    /// for memory that is lent].
    #[arg(long, value_name = "WAY", hide_default_value = true)]
    pub(crate) way: Option<Way>,

    /// Which paths to measure, interleaved in one run: direct, or through host memory, past the page cache or out of it.
    #[arg(long, value_delimiter = ',', value_name = "PATH,..", default_value = "direct")]
    pub(crate) path: Vec<Path>,

    /// What to do with the source. Of this, --block, --depth and --jobs, each combination is measured by itself.
    #[arg(long, value_delimiter = ',', value_name = "RW,..", default_value = "read")]
    pub(crate) rw: Vec<Rw>,

    /// Bytes of one operation (4k, 1M: powers of two), or sizes that are mixed and their percentages: 4k/60:64k/30:1M/10. The places
    /// of a mix are multiples of its largest size, and each operation there moves the first bytes, as many as falls to it.
    #[arg(long, value_delimiter = ',', default_value = "1M", value_name = "BYTES,..")]
    pub(crate) block: Vec<Block>,

    /// Operations in flight, of each queue.
    #[arg(long, value_delimiter = ',', default_value = "8", value_parser = clap::value_parser!(u32).range(1..=4096),
        value_name = "N,..")]
    pub(crate) depth: Vec<u32>,

    /// Queues for each source and peer, each filled by a thread of its own, on a part of the span.
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u32).range(1..=256),
        value_name = "N,..")]
    pub(crate) jobs: Vec<u32>,

    /// Keep each queue's thread on the processors of a NUMA node: the one that its SSD is near to, or this one.
    #[arg(long, value_name = "auto|NODE")]
    pub(crate) numa: Option<Numa>,

    /// Bytes to move on each path, instead of a time.
    #[arg(long, value_parser = size, value_name = "BYTES", conflicts_with = "seconds")]
    pub(crate) size: Option<u64>,

    /// How long to measure each path.
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub(crate) seconds: f64,

    /// How long each path works before it is measured, in seconds; 0 for not at all [default: a twentieth of --seconds; 0 with
    /// --size].
    #[arg(long, value_name = "SECONDS", value_parser = warmup, hide_default_value = true)]
    pub(crate) warmup: Option<f64>,

    /// Turns that each path takes; their spread is reported [default: 6 with several paths, else 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000), hide_default_value = true)]
    pub(crate) repeats: Option<u32>,

    /// Bytes of the source to work on, from its start; all of it without this.
    #[arg(long, value_parser = size, value_name = "BYTES")]
    pub(crate) span: Option<u64>,

    /// Before the measurement, compare the first GiB of the span, moved direct, with what the host reads (for writes:
    /// with what was written).
    #[arg(long)]
    pub(crate) verify: bool,

    /// Copy what is read to this file or block device, from peer memory; on the other paths from host memory. It goes to the
    /// same place as it came from. For one source, with --rw read or randread.
    #[arg(long, value_name = "TARGET")]
    pub(crate) copy_to: Option<PathBuf>,

    /// After the writes of a turn wait until storage holds them, before the clock stops (fdatasync). The page cache does so
    /// anyway.
    #[arg(long)]
    pub(crate) fdatasync: bool,

    /// Allow writes: they destroy what the source holds, and of a copy what the target holds.
    #[arg(long)]
    pub(crate) destructive: bool,

    /// With --destructive, also where a block device holds a filesystem, a partition table or a part of something larger.
    /// One that is in use is never written to.
    #[arg(long, requires = "destructive")]
    pub(crate) force: bool,

    /// The form; --json stands for --format json [default: table].
    #[arg(long, value_name = "FORMAT", hide_default_value = true)]
    pub(crate) format: Option<RunFormat>,
}

/// Whose memory `run` measures with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A provider's own.
    Address(Address),
    /// What a program lends that listens on this socket.
    Socket(PathBuf),
}

impl FromStr for Peer {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("socket:") {
            Some(path) => Ok(Self::Socket(path.into())),
            None => text.parse().map(Self::Address),
        }
    }
}

/// Which processors work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numa {
    /// Those near the SSD.
    Auto,
    /// Those of this node.
    Node(u32),
}

impl FromStr for Numa {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            node => node.parse().map(Self::Node).map_err(|_| "must be auto or the number of a node".into()),
        }
    }
}

/// How storage and peer memory meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// The memory is mapped into the program: upstream Linux alone.
    P2pmem,
    /// The p2pdma_user module knows it by a descriptor, and does the I/O.
    Module,
}

impl Way {
    /// As the JSON has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::P2pmem => "p2pmem",
            Self::Module => "module",
        }
    }
}

/// A form of a run's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RunFormat {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For spreadsheets: the keys of the JSON's rows as columns.
    Csv,
    /// For reports: a page with plots and everything else in one file.
    Html,
}

/// The way that bytes take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Path {
    /// Between storage and peer memory, without touching host memory.
    Direct,
    /// Through host memory, copied by the CPU.
    Bounce,
    /// Through the kernel's page cache and host memory: what a program does that knows neither of the others. The cache is
    /// dropped before each turn and after each pass over the span; what was written is on storage when the clock stops.
    #[value(name = "page_cache")]
    PageCache,
}

impl Path {
    /// As the JSON has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Bounce => "bounce",
            Self::PageCache => "page_cache",
        }
    }
}

/// Direction and order, in fio's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rw {
    /// Sequential reads.
    Read,
    /// Sequential writes.
    Write,
    /// Reads at random blocks.
    Randread,
    /// Writes at random blocks.
    Randwrite,
}

impl Rw {
    /// As the JSON has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Randread => "randread",
            Self::Randwrite => "randwrite",
        }
    }

    pub(crate) fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Randwrite)
    }

    pub(crate) fn random(self) -> bool {
        matches!(self, Self::Randread | Self::Randwrite)
    }
}

/// `4k` is 4096: block sizes are powers of two, in this field as in fio.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    match parse_size::Config::new().with_binary().parse_size(text) {
        Ok(0) => Err("must be more than 0".into()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

/// `5%` or `5` is 0.05.
fn percent(text: &str) -> Result<f64, String> {
    match text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>() {
        Ok(percent) if (0.0..100.0).contains(&percent) => Ok(percent / 100.0),
        Ok(_) => Err("must be 0% or more and less than 100%".into()),
        Err(error) => Err(error.to_string()),
    }
}

pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(seconds),
        Ok(_) => Err("must be more than 0 and at most 86400".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// As [`seconds`], or none at all.
fn warmup(text: &str) -> Result<f64, String> {
    if text.parse() == Ok(0.0) { Ok(0.0) } else { seconds(text) }
}

impl RunOptions {
    /// Seconds that each path works before it is measured. Where bytes are the measure, each turn counts.
    pub(crate) fn warmup_seconds(&self) -> f64 {
        let default = if self.size.is_none() { self.seconds / 20.0 } else { 0.0 };
        self.warmup.unwrap_or(default)
    }
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

    #[test]
    fn sizes_are_powers_of_two_and_never_nothing() {
        assert_eq!(size("4k"), Ok(4096));
        assert_eq!(size("1MiB"), Ok(1 << 20));
        assert_eq!(size("512"), Ok(512));
        assert!(size("0").is_err() && size("-1").is_err() && size("lots").is_err() && size("99999999T").is_err());
    }

    /// What people type, nearly right; and anything at all.
    fn word() -> impl Strategy<Value = String> {
        prop_oneof![
            "--(machine|json|source|peer|path|rw|block|depth|size|seconds|span|verify|destructive|format|for|x)(=.{0,12})?",
            "run|topo|explain|record|help|host|mock(:.{0,8})?|read|direct(,(bounce|page_cache|.{0,4})){0,3}",
            "[0-9a-f]{0,9}:?[0-9a-f]{2}:[0-9a-f]{2}\\.[0-9]",
            "-?[0-9]{0,25}(\\.[0-9]{1,9})?(e[0-9]{1,5})?[ ]?([kKMGTPE]i?B?)?",
            any::<String>(),
        ]
    }

    proptest! {
        #[test]
        fn any_size_and_any_time_is_taken_or_refused_in_one_line(text in word()) {
            if let Err(line) = size(&text) {
                prop_assert!(line.lines().count() == 1, "{line:?}");
            }
            match seconds(&text) {
                Ok(seconds) => prop_assert!(std::time::Duration::try_from_secs_f64(seconds).is_ok()),
                Err(line) => prop_assert!(line.lines().count() == 1, "{line:?}"),
            }
        }

        #[test]
        fn any_machine_has_a_name_or_is_refused_in_one_line(text in word()) {
            if let Err(line) = text.parse::<MachineName>() {
                prop_assert!(line.lines().count() == 1, "{line:?}");
            }
        }

        #[test]
        fn any_command_line_is_taken_or_refused_in_one_line(words in proptest::collection::vec(word(), 0..8)) {
            let words = std::iter::once("p2pbench".to_owned()).chain(words);
            if let Err(error) = Cli::try_parse_from(words) {
                let line = crate::in_one_line(&error);
                prop_assert!(!error.use_stderr() || !line.contains(['\n', '\r']), "{line:?}");
            }
        }
    }

    #[test]
    fn a_tolerance_is_a_part_of_a_hundred() {
        assert_eq!([percent("5%"), percent("0"), percent("12.5 %")], [Ok(0.05), Ok(0.0), Ok(0.125)]);
        assert!(["-1", "100%", "NaN", "inf", "", "%"].iter().all(|text| percent(text).is_err()));
    }

    #[test]
    fn a_measurement_takes_some_time_and_ends() {
        assert_eq!(seconds("0.5"), Ok(0.5));
        assert!(["0", "-1", "NaN", "inf", "1e9", ""].iter().all(|text| seconds(text).is_err()));
        assert_eq!([warmup("0"), warmup("0.0"), warmup("2")], [Ok(0.0), Ok(0.0), Ok(2.0)]);
        assert!(["-1", "NaN", "inf", "1e9", ""].iter().all(|text| warmup(text).is_err()));
    }
}
