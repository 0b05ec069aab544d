//! Rates that `p2pbench run --json` measured on this node. Never an estimate.

use std::{collections::BTreeMap, path::Path, path::PathBuf};

use p2pdma::{Refusal, machine::Machine, pci::Address, storage::Source};
use serde::Deserialize;

use crate::{failure::Failure, input};

/// The best rate of each pair of SSD and provider, in 10^9 bytes a second.
#[derive(Debug, Default)]
pub(super) struct Measured(BTreeMap<(Address, Address), f64>);

/// The part of `run --json` that matters here.
#[derive(Debug, Deserialize)]
struct Run {
    schema: String,
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    path: String,
    source: String,
    peer: String,
    bytes_per_second: f64,
    /// What of it did not go direct, or may not have.
    #[serde(default)]
    bytes_bounced: u64,
    #[serde(default)]
    suspect: bool,
    /// The sum of several pairs: no pair's rate.
    #[serde(default)]
    aggregate: bool,
}

impl Measured {
    /// Reads what was measured of direct transfers between one NVMe function and a provider.
    pub(super) fn read(machine: &Machine, files: &[PathBuf]) -> Result<Self, Failure> {
        let mut rates = BTreeMap::new();
        for file in files {
            for row in run(file)?.rows.into_iter().filter(Row::is_direct_rate_of_a_pair) {
                let client = function(machine, file, &row.source)?;
                let provider: Address = row.peer.parse().map_err(|error| wrong(file, error))?;
                let best: &mut f64 = rates.entry((client, provider)).or_default();
                *best = best.max(row.bytes_per_second / 1e9);
            }
        }
        Ok(Self(rates))
    }

    pub(super) fn rate(&self, pair: (Address, Address)) -> Option<f64> {
        self.0.get(&pair).copied()
    }

    pub(super) fn rates(&self) -> impl Iterator<Item = ((Address, Address), f64)> {
        self.0.iter().map(|(pair, rate)| (*pair, *rate))
    }
}

impl Row {
    fn is_direct_rate_of_a_pair(&self) -> bool {
        self.path == "direct" && self.bytes_bounced == 0 && !self.suspect && !self.aggregate
    }
}

fn wrong(file: &Path, cause: impl std::fmt::Display) -> Failure {
    Failure::Usage(Refusal::new(
        file.display(),
        cause,
        "name a file with what `p2pbench run --json` printed on this node",
    ))
}

fn run(file: &Path) -> Result<Run, Failure> {
    let text = input::text(file).map_err(|error| wrong(file, format!("cannot be read: {error}")))?;
    let run: Run = serde_json::from_str(&text).map_err(|error| wrong(file, error))?;
    if run.schema != "p2pbench.run/1" {
        return Err(wrong(file, format!("schema is {:?}, not \"p2pbench.run/1\"", run.schema)));
    }
    Ok(run)
}

/// The NVMe function of a row: of a stack of several, a rate says nothing of one pair.
fn function(machine: &Machine, file: &Path, source: &str) -> Result<Address, Failure> {
    let source = Source::of_block_device(machine, source)?;
    match source.stack().functions()[..] {
        [function] => Ok(function),
        _ => Err(wrong(file, format!("{source} does not lie on one NVMe function, so its rate is no pair's"))),
    }
}
