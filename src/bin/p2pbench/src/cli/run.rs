//! The options of `run`, and the words that they take.

use std::{path::PathBuf, str::FromStr};

use clap::{Args, ValueEnum};
use p2pdma::pci::{Address, ParseAddressError};

use super::quantity::{seconds, size, warmup};
use crate::{block::Block, run::Preset};

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

impl RunOptions {
    /// Seconds that each path works before it is measured. Where bytes are the measure, each turn counts.
    pub(crate) fn warmup_seconds(&self) -> f64 {
        let default = if self.size.is_none() { self.seconds / 20.0 } else { 0.0 };
        self.warmup.unwrap_or(default)
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
