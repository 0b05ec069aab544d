//! What one program did in one turn.

use std::{fs, path::Path};

use crate::figures::figures;

/// Figures of one turn.
pub(crate) struct Turn {
    pub(crate) operations_per_second: f64,
    /// Seconds, of the program and of the kernel's workers that it has; what starting and ending it costs is taken off.
    pub(crate) cpu_per_operation: f64,
}

impl Turn {
    /// Reads what `guest.sh` left.
    pub(crate) fn load(share: &Path, lane: &str, cell: usize, round: u32) -> Self {
        let path = |suffix: &str| share.join(format!("{lane}.{cell}.{round}{suffix}"));
        let (rate, operations) = figures(&path(""));
        let (_, few) = figures(&path(".idle"));
        let cpu = (cpu(&path(".cpu")) - cpu(&path(".idle.cpu"))) / (operations - few);
        Self { operations_per_second: rate, cpu_per_operation: cpu }
    }

    /// Processors that it kept busy, on average. Below 1 it waited for the SSD.
    pub(crate) fn busy(&self) -> f64 {
        self.cpu_per_operation * self.operations_per_second
    }
}

/// User and system seconds, on one line.
fn cpu(path: &Path) -> f64 {
    let text = fs::read_to_string(path).expect("times");
    text.split_whitespace().map(|seconds| seconds.parse::<f64>().expect("seconds")).sum()
}
