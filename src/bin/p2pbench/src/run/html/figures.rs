//! Which plots a run's rows make.

use super::{
    super::report::Row,
    plot::{Line, Marker, Plot, Point},
    scale::Axis,
};

/// What the plots lie over: the first of these that the run swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sweep {
    Block,
    Depth,
    Jobs,
}

/// Rows of one workload, apart from path and sweep.
#[derive(Debug)]
pub(super) struct Group<'a> {
    sweep: Sweep,
    mock: bool,
    rows: Vec<&'a Row>,
}

impl Sweep {
    const ALL: [Self; 3] = [Self::Block, Self::Depth, Self::Jobs];

    /// Of one run of a job file, or of all there is.
    fn of(rows: &[Row], run: Option<&String>) -> Self {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.run.as_ref() == run).collect();
        let varies = |sweep: &Self| rows.windows(2).any(|two| sweep.value(two[0]) != sweep.value(two[1]));
        Self::ALL.into_iter().find(varies).unwrap_or(Self::Block)
    }

    fn value(self, row: &Row) -> u64 {
        match self {
            Self::Block => row.block.mean(),
            Self::Depth => row.depth.into(),
            Self::Jobs => row.jobs.into(),
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Block => "block size",
            Self::Depth => "operations in flight",
            Self::Jobs => "queues of each pair",
        }
    }

    fn name(self, row: &Row) -> String {
        match self {
            Self::Block => row.block.to_string(),
            Self::Depth => format!("depth {}", row.depth),
            Self::Jobs if row.jobs == 1 => "1 queue".into(),
            Self::Jobs => format!("{} queues", row.jobs),
        }
    }
}

impl<'a> Group<'a> {
    /// In the order of the rows.
    pub(super) fn all(rows: &'a [Row], mock: bool) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for row in rows {
            match groups.iter_mut().find(|group| group.takes(row)) {
                Some(group) => group.rows.push(row),
                None => groups.push(Self { sweep: Sweep::of(rows, row.run.as_ref()), mock, rows: vec![row] }),
            }
        }
        groups
    }

    fn takes(&self, row: &Row) -> bool {
        let other = |sweep: &Sweep| *sweep != self.sweep;
        let work = |row: &'a Row| (&row.run, row.rw, row.way, &row.source, &row.peer);
        let same = |sweep: Sweep| sweep.value(row) == sweep.value(self.rows[0]);
        (&row.run, row.rw, row.way, &row.source, &row.peer) == work(self.rows[0])
            && Sweep::ALL.into_iter().filter(other).all(same)
    }

    /// What its rows have in common.
    pub(super) fn title(&self) -> String {
        let row = self.rows[0];
        let fixed =
            Sweep::ALL.into_iter().filter(|&sweep| sweep != self.sweep && (sweep != Sweep::Jobs || row.jobs > 1));
        let fixed: Vec<String> = fixed.map(|sweep| sweep.name(row)).collect();
        let run = row.run.as_ref().map_or(String::new(), |run| format!("{run}: "));
        format!("{run}{}, {}: {} and {} ({})", row.rw, fixed.join(", "), row.source, row.peer, row.way)
    }

    /// Throughput and latency over the sweep.
    pub(super) fn over_the_sweep(&self) -> [Plot; 2] {
        [self.throughput(), self.latency()]
    }

    fn paths(&self) -> Vec<&'static str> {
        let mut paths = Vec::new();
        for row in &self.rows {
            if !paths.contains(&row.path) {
                paths.push(row.path);
            }
        }
        paths
    }

    fn x(&self) -> Axis {
        let mut names: Vec<(u64, String)> =
            self.rows.iter().map(|row| (self.sweep.value(row), self.sweep.name(row))).collect();
        names.sort();
        names.dedup();
        Axis::named(self.sweep.label(), names.into_iter().map(|(value, name)| (precise(value), name)).collect())
    }

    fn line(&self, path: &'static str, dash: u8, point: impl Fn(&Row) -> Point) -> Line {
        let mut rows: Vec<&Row> = self.rows.iter().copied().filter(|row| row.path == path).collect();
        rows.sort_by_key(|row| self.sweep.value(row));
        Line { path, dash, points: rows.into_iter().map(point).collect() }
    }

    fn throughput(&self) -> Plot {
        let rate = |row: &Row| row.bytes_per_second / 1e9;
        let range = |row: &Row| row.spread.as_ref().map(|spread| (spread.min / 1e9, spread.max / 1e9));
        let most = self.rows.iter().map(|row| range(row).map_or(rate(row), |(_, most)| most.max(rate(row))));
        let point = |row: &Row| Point {
            x: precise(self.sweep.value(row)),
            y: rate(row),
            range: range(row).filter(|_| row.turns_bytes_per_second.len() > 1),
            marker: marker(row),
            says: format!("{} {}: {:.3} GB/s; {}", row.path, self.sweep.name(row), rate(row), row.way_taken()),
        };
        Plot {
            title: format!("throughput over {}", self.sweep.label()),
            mock: self.mock,
            x: self.x(),
            y: Axis::linear("GB/s", most.fold(0.0, f64::max)),
            lines: self.paths().into_iter().map(|path| self.line(path, 0, point)).collect(),
            note: "bar: lowest to highest turn",
        }
    }

    fn latency(&self) -> Plot {
        let paths = self.paths();
        let line = |path: &'static str, (dash, name): (u8, &'static str)| {
            self.line(path, dash, |row| {
                let latency = [row.latency_us.p50, row.latency_us.p99, row.latency_us.p999][usize::from(dash)];
                Point {
                    x: precise(self.sweep.value(row)),
                    y: latency,
                    range: None,
                    marker: marker(row),
                    says: format!("{} {}: {name} {latency:.1} us; {}", row.path, self.sweep.name(row), row.way_taken()),
                }
            })
        };
        let percentiles = [(0, "p50"), (1, "p99"), (2, "p99.9")];
        let lines = paths.iter().flat_map(|&path| percentiles.map(|percentile| line(path, percentile)));
        Plot {
            title: format!("latency over {}", self.sweep.label()),
            mock: self.mock,
            x: self.x(),
            y: microseconds(self.rows.iter().flat_map(|row| [row.latency_us.p50, row.latency_us.p999])),
            lines: lines.collect(),
            note: "line: p50, dashes: p99, dots: p99.9",
        }
    }

    /// For each value of the sweep, how many operations took how long on each path.
    pub(super) fn distributions(&self) -> Vec<Plot> {
        let mut values: Vec<u64> = self.rows.iter().map(|row| self.sweep.value(row)).collect();
        values.sort_unstable();
        values.dedup();
        values.into_iter().map(|value| self.distribution(value)).collect()
    }

    fn distribution(&self, value: u64) -> Plot {
        let rows: Vec<&Row> = self.rows.iter().copied().filter(|row| self.sweep.value(row) == value).collect();
        let operations = rows.iter().map(|row| row.latency_distribution.operations.iter().sum()).max().unwrap_or(0);
        let name = rows.first().map_or(String::new(), |row| self.sweep.name(row));
        Plot {
            title: format!("latency of {name}: how much of all took at most so long"),
            mock: self.mock,
            x: Axis::nines("part of the operations", operations),
            y: microseconds(rows.iter().flat_map(|row| row.latency_distribution.up_to_us.iter().copied())),
            lines: rows.iter().map(|row| cumulated(row)).collect(),
            note: "last point: the slowest",
        }
    }
}

/// The row's distribution, summed up; a mark at the end, where the slowest operation is.
fn cumulated(row: &Row) -> Line {
    let distribution = &row.latency_distribution;
    let all = precise(distribution.operations.iter().sum());
    let mut sum = 0;
    let mut points = Vec::new();
    for (&up_to, &operations) in distribution.up_to_us.iter().zip(&distribution.operations) {
        sum += operations;
        let x = precise(sum) / all;
        let last = points.len() + 1 == distribution.operations.len();
        let marker = if last { marker(row) } else { Marker::None };
        let says = format!("{}: {:.3} % took at most {up_to:.1} us; {}", row.path, x * 100.0, row.way_taken());
        points.push(Point { x, y: up_to, range: None, marker, says });
    }
    Line { path: row.path, dash: 0, points }
}

fn marker(row: &Row) -> Marker {
    match (row.bytes_bounced, row.suspect) {
        (0, false) => Marker::Full,
        (0, true) => Marker::Suspect,
        _ => Marker::Bounced,
    }
}

fn microseconds(values: impl Iterator<Item = f64>) -> Axis {
    let positive = values.filter(|&value| value > 0.0);
    let (least, most) =
        positive.fold((f64::INFINITY, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
    if most > 0.0 { Axis::logarithmic("us", least, most) } else { Axis::logarithmic("us", 1.0, 10.0) }
}

#[expect(clippy::cast_precision_loss, reason = "for places in a picture")]
fn precise(count: u64) -> f64 {
    count as f64
}
