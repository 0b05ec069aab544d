//! What the comparison with fio has to show, and what of it was missed.

use crate::ratio::Ratio;

/// Pairs of turns below which nothing is judged.
const ENOUGH: usize = 9;

/// How two lanes compared in one cell.
pub(crate) struct Compared {
    pub(crate) cell: &'static str,
    /// Whose figures are divided by whose.
    pub(crate) lanes: (&'static str, &'static str),
    pub(crate) throughput: Ratio,
    /// CPU time an operation.
    pub(crate) cpu: Ratio,
    /// Processors that each of the two kept busy.
    pub(crate) busy: (f64, f64),
}

/// A ratio of throughputs that the lower end of the interval must reach.
struct Least {
    cell: &'static str,
    lanes: (&'static str, &'static str),
    ratio: f64,
}

/// In each cell that begins so.
const LEAST: [Least; 4] = [
    Least { cell: "", lanes: ("p2pmem", "fio"), ratio: 0.97 },
    Least { cell: "1 MiB", lanes: ("module", "p2pmem"), ratio: 3.0 },
    Least { cell: "4 KiB random read, depth 16", lanes: ("module", "p2pmem"), ratio: 1.15 },
    Least { cell: "4 KiB random write, depth 16", lanes: ("module", "p2pmem"), ratio: 1.15 },
];

/// A line for each limit that is missed.
pub(crate) fn missed(all: &[Compared], rounds: usize) -> Vec<String> {
    let mut missed: Vec<String> = all.iter().filter_map(Compared::missed).collect();
    let beside_fio: Vec<&Compared> = all.iter().filter(|one| one.lanes == ("p2pmem", "fio")).collect();
    let faster = beside_fio.iter().filter(|one| one.throughput.median >= 1.0).count();
    let cheaper = beside_fio.iter().filter(|one| one.cpu.median <= 1.0).count();
    let cells = beside_fio.len();
    if faster * 2 <= cells {
        missed.push(format!(
            "p2pmem / fio: the median of throughput is at least 1 in {faster} of {cells} cells, not in most"
        ));
    }
    if cheaper * 2 <= cells {
        missed.push(format!(
            "p2pmem / fio: CPU time an operation is at most fio's in {cheaper} of {cells} cells, not in most"
        ));
    }
    if rounds < ENOUGH {
        missed.push(format!("{rounds} rounds are too few to judge by: {ENOUGH} at least"));
    }
    missed
}

impl Compared {
    fn missed(&self) -> Option<String> {
        let Ratio { lowest, highest, .. } = self.throughput;
        let least = LEAST.iter().find(|least| self.cell.starts_with(least.cell) && least.lanes == self.lanes);
        if let Some(least) = least.filter(|least| !reaches(lowest, least.ratio)) {
            let (one, other) = self.busy;
            let busy = format!("with {one:.2} and {other:.2} CPUs busy");
            return Some(self.line(&format!("the lower end {lowest:.3} is below {}, {busy}", least.ratio)));
        }
        // No slower than the same SSD into host memory, as far as the interval can tell.
        let held = self.lanes == ("module", "fio-host") && self.cell.starts_with("4 KiB random read");
        (held && !reaches(highest, 1.0))
            .then(|| self.line(&format!("all of the interval is below 1, up to {highest:.3}")))
    }

    fn line(&self, what: &str) -> String {
        format!("{}: {} / {}: {what}", self.cell, self.lanes.0, self.lanes.1)
    }
}

/// What is no number reaches nothing.
fn reaches(value: f64, least: f64) -> bool {
    value >= least
}
