//! A document that `run --json` wrote.

use std::path::Path;

use p2pdma::{Refusal, machine::MachineKind};
use serde::Deserialize;

use crate::{
    block::{Block, Size},
    failure::Failure,
    input,
};

/// What `run` measured.
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    schema: String,
    #[serde(skip)]
    pub(super) name: String,
    pub(super) machine: MachineName,
    pub(super) rows: Vec<Row>,
}

/// Where it was measured.
#[derive(Debug, Deserialize)]
pub(super) struct MachineName {
    pub(super) kind: String,
    kernel: Option<String>,
}

/// A row, as far as it is compared.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Row {
    #[serde(flatten)]
    pub(super) work: Work,
    pub(super) bytes: u64,
    pub(super) bytes_direct: u64,
    /// Whether these may have been copied after all.
    #[serde(default)]
    pub(super) suspect: bool,
    pub(super) bytes_per_second: f64,
    /// Of each turn, where the run took several.
    #[serde(default)]
    pub(super) turns_bytes_per_second: Vec<f64>,
    #[serde(default)]
    pub(super) latency_us: Latency,
    #[serde(default)]
    pub(super) cpu_seconds: Option<f64>,
    /// Stopped before it had all its turns.
    #[serde(default)]
    pub(super) cut_short: bool,
}

/// In microseconds.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Latency {
    #[serde(default)]
    pub(super) p99: Option<f64>,
}

/// Where the threads of a source worked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize)]
pub(super) struct Placement {
    source: String,
    node: Option<u32>,
}

/// What a row is a measurement of.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize)]
pub(super) struct Work {
    /// The run's name in a job file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) run: Option<String>,
    pub(super) path: String,
    /// `None` in documents from before there were two.
    #[serde(default)]
    pub(super) way: Option<String>,
    pub(super) rw: String,
    pub(super) source: String,
    pub(super) peer: String,
    pub(super) block_bytes: u64,
    /// The sizes of a mix and their shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) block_mix: Option<Vec<Size>>,
    pub(super) depth: u32,
    pub(super) jobs: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) copy_to: Option<String>,
    /// Whether the writes of a turn were waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) synced: Option<bool>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) numa: Vec<Placement>,
}

impl Work {
    /// As people read it.
    pub(super) fn block(&self) -> Block {
        self.block_mix.clone().map_or_else(|| self.block_bytes.into(), Block::mixed)
    }
}

impl MachineName {
    pub(super) fn kind(&self) -> MachineKind {
        if self.kind == "mock" { MachineKind::Mock } else { MachineKind::Host }
    }
}

impl Document {
    pub(super) fn load(path: &Path) -> Result<Self, Failure> {
        let bad = |cause: String, cure: &str| Failure::Usage(Refusal::new(path.display(), cause, cure));
        let text = input::text(path).map_err(|error| bad(format!("cannot be read: {error}"), "check the name"))?;
        let cure = "name a file that `p2pbench run --json` wrote";
        let document: Self = serde_json::from_str(&text).map_err(|error| bad(format!("is no run: {error}"), cure))?;
        if document.schema != "p2pbench.run/1" {
            return Err(bad(format!("its schema is {}, not p2pbench.run/1", document.schema), cure));
        }
        if document.rows.is_empty() {
            return Err(bad("it has no rows".into(), cure));
        }
        Ok(Self { name: path.display().to_string(), ..document })
    }

    /// Rows that were stopped before they had all their turns.
    pub(super) fn cut_short(&self) -> usize {
        self.rows.iter().filter(|row| row.cut_short).count()
    }

    pub(super) fn find(&self, row: &Row) -> Option<&Row> {
        self.rows.iter().find(|other| other.work == row.work)
    }

    /// Its name, and what it was measured on.
    pub(super) fn label(&self) -> String {
        let kernel = self.machine.kernel.as_deref().unwrap_or("unknown kernel");
        format!("{} ({}, {kernel})", self.name, self.machine.kind)
    }
}
