//! Whether a row got better or worse, or whether nobody can tell.

use serde::Serialize;

use super::document::{Row, Work};

/// A row of the base beside the same work in the other document.
#[derive(Debug, Serialize)]
pub(super) struct Judgement {
    #[serde(flatten)]
    pub(super) work: Work,
    base_bytes_per_second: f64,
    new_bytes_per_second: Option<f64>,
    /// New by base.
    ratio: Option<f64>,
    /// Where the true ratio lies in 95 of 100 cases, by the turns of both; `null` where one has too few turns to tell.
    ratio_interval: Option<[f64; 2]>,
    base_p99_us: Option<f64>,
    new_p99_us: Option<f64>,
    base_cpu_seconds_per_gb: Option<f64>,
    new_cpu_seconds_per_gb: Option<f64>,
    pub(super) change: Change,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    /// Within the tolerance.
    Same,
    Faster,
    Slower,
    /// Beyond the tolerance, and within what the turns of both runs differ by anyway.
    Noise,
    /// A smaller part of its bytes went direct.
    LessDirect,
    /// The other document has no such row.
    Missing,
}

/// The spread of turns says nothing with fewer.
const ENOUGH: usize = 4;

pub(super) fn judge(base: &Row, new: Option<&Row>, tolerance: f64) -> Judgement {
    let ratio = new.map(|new| new.bytes_per_second / base.bytes_per_second);
    let interval = new.and_then(|new| interval(base, new));
    Judgement {
        work: base.work.clone(),
        base_bytes_per_second: base.bytes_per_second,
        new_bytes_per_second: new.map(|new| new.bytes_per_second),
        ratio,
        ratio_interval: interval,
        base_p99_us: base.latency_us.p99,
        new_p99_us: new.and_then(|new| new.latency_us.p99),
        base_cpu_seconds_per_gb: cpu(base),
        new_cpu_seconds_per_gb: new.and_then(cpu),
        change: match (new, ratio) {
            (Some(new), Some(_)) if share(new) + 1e-9 < share(base) => Change::LessDirect,
            (Some(_), Some(ratio)) => change(ratio, interval, tolerance),
            _ => Change::Missing,
        },
    }
}

/// A change counts when it is beyond the tolerance and the noise does not explain it. A rate of 0 or none at all is worse
/// than anything.
fn change(ratio: f64, interval: Option<[f64; 2]>, tolerance: f64) -> Change {
    let explained = interval.is_some_and(|[low, high]| low <= 1.0 && 1.0 <= high);
    match ratio {
        _ if ratio >= 1.0 - tolerance && ratio <= 1.0 + tolerance => Change::Same,
        _ if explained => Change::Noise,
        _ if ratio > 1.0 => Change::Faster,
        _ => Change::Slower,
    }
}

/// Of all ratios of a turn of the one by a turn of the other, in order, as many are left out at either end as chance would
/// put there (Hodges and Lehmann's interval, by the normal approximation of Mann and Whitney's count): the more turns, the
/// narrower, whatever the distribution.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of turns"
)]
fn interval(base: &Row, new: &Row) -> Option<[f64; 2]> {
    let (base, new) = (&base.turns_bytes_per_second, &new.turns_bytes_per_second);
    if base.len() < ENOUGH || new.len() < ENOUGH {
        return None;
    }
    let mut ratios: Vec<f64> = new.iter().flat_map(|new| base.iter().map(move |base| new / base)).collect();
    ratios.sort_by(f64::total_cmp);
    let (one, other) = (base.len() as f64, new.len() as f64);
    let left_out = one * other / 2.0 - 1.96 * (one * other * (one + other + 1.0) / 12.0).sqrt();
    let cut = (left_out.floor().max(1.0) as usize) - 1;
    Some([ratios[cut], ratios[ratios.len() - 1 - cut]])
}

/// CPU seconds by 10^9 bytes.
#[expect(clippy::cast_precision_loss, reason = "bytes far below 2^52")]
fn cpu(row: &Row) -> Option<f64> {
    row.cpu_seconds.filter(|_| row.bytes > 0).map(|seconds| seconds * 1e9 / row.bytes as f64)
}

#[expect(clippy::cast_precision_loss, reason = "a share of bytes far below 2^52")]
fn share(row: &Row) -> f64 {
    if row.bytes == 0 || row.suspect { 0.0 } else { row.bytes_direct as f64 / row.bytes as f64 }
}

impl Judgement {
    /// The first is the run's name.
    pub(super) fn cells(&self) -> [String; 14] {
        let rate = |rate: Option<f64>| rate.map_or("-".into(), |rate| format!("{:.3}", rate / 1e9));
        let two = |base: Option<f64>, new: Option<f64>, digits: usize| match (base, new) {
            (Some(base), Some(new)) => format!("{base:.digits$} > {new:.digits$}"),
            _ => "-".into(),
        };
        let interval = self.ratio_interval.map_or(String::new(), |[low, high]| format!(" ({low:.3} .. {high:.3})"));
        let Work { run, path, way, rw, source, copy_to, peer, depth, jobs, .. } = &self.work;
        [
            run.clone().unwrap_or_default(),
            way.as_ref().map_or(path.clone(), |way| format!("{path} ({way})")),
            rw.clone(),
            copy_to.as_ref().map_or(source.clone(), |target| format!("{source} > {target}")),
            peer.clone(),
            self.work.block().to_string(),
            depth.to_string(),
            jobs.to_string(),
            rate(Some(self.base_bytes_per_second)),
            rate(self.new_bytes_per_second),
            self.ratio.map_or("-".into(), |ratio| format!("{ratio:.3}{interval}")),
            two(self.base_p99_us, self.new_p99_us, 1),
            two(self.base_cpu_seconds_per_gb, self.new_cpu_seconds_per_gb, 3),
            self.change.text().into(),
        ]
    }
}

impl Change {
    fn text(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Faster => "faster",
            Self::Slower => "SLOWER",
            Self::Noise => "within the noise",
            Self::LessDirect => "LESS DIRECT",
            Self::Missing => "MISSING",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::document::Latency, *};

    fn row(rate: f64, turns: &[f64]) -> Row {
        Row {
            work: Work {
                run: None,
                path: "direct".into(),
                way: None,
                rw: "read".into(),
                source: "/dev/nvme0n1".into(),
                peer: "0000:05:00.0".into(),
                block_bytes: 4096,
                block_mix: None,
                depth: 8,
                jobs: 1,
                copy_to: None,
                synced: None,
                numa: Vec::new(),
            },
            bytes: 4096,
            bytes_direct: 4096,
            suspect: false,
            bytes_per_second: rate,
            turns_bytes_per_second: turns.to_vec(),
            latency_us: Latency::default(),
            cpu_seconds: None,
            cut_short: false,
        }
    }

    fn changed(base: &Row, new: &Row) -> Change {
        judge(base, Some(new), 0.05).change
    }

    #[test]
    fn within_the_tolerance_is_the_same_and_beyond_is_not() {
        assert_eq!(changed(&row(100.0, &[]), &row(95.1, &[])), Change::Same);
        assert_eq!(changed(&row(100.0, &[]), &row(94.9, &[])), Change::Slower);
        assert_eq!(changed(&row(100.0, &[]), &row(105.1, &[])), Change::Faster);
    }

    #[test]
    fn what_the_turns_of_both_differ_by_anyway_is_noise() {
        let base = row(100.0, &[60.0, 80.0, 100.0, 120.0, 140.0]);
        assert_eq!(changed(&base, &row(90.0, &[70.0, 80.0, 90.0, 100.0, 110.0])), Change::Noise);
        assert_eq!(changed(&base, &row(50.0, &[48.0, 49.0, 50.0, 51.0, 52.0])), Change::Slower);
    }

    /// So many turns around a rate, up to 7 % off.
    fn noisy(rate: f64, turns: u32) -> Row {
        let turn = |turn: u32| rate * (0.93 + 0.14 * f64::from(turn * 13 % turns) / f64::from(turns - 1));
        row(rate, &(0..turns).map(turn).collect::<Vec<_>>())
    }

    #[test]
    fn many_noisy_turns_find_a_small_loss_that_few_cannot_tell() {
        assert_eq!(changed(&noisy(100.0, 50), &noisy(94.0, 50)), Change::Slower);
        assert_eq!(changed(&noisy(100.0, 5), &noisy(94.0, 5)), Change::Noise);
        let width = |turns| interval(&noisy(100.0, turns), &noisy(94.0, turns)).map(|[low, high]| high - low).unwrap();
        assert!(width(50) < width(10) / 1.5 && width(10) < width(5), "{} {} {}", width(50), width(10), width(5));
    }

    #[test]
    fn bytes_that_no_longer_go_direct_are_a_regression_however_fast() {
        let base = row(100.0, &[]);
        let new = Row { bytes_direct: 2048, ..row(200.0, &[]) };
        assert_eq!(changed(&base, &new), Change::LessDirect);
        let suspect = Row { suspect: true, ..row(200.0, &[]) };
        assert_eq!([changed(&base, &suspect), changed(&suspect, &suspect)], [Change::LessDirect, Change::Same]);
    }

    #[test]
    fn a_row_that_is_gone_or_stands_still_is_a_regression() {
        assert_eq!(judge(&row(100.0, &[]), None, 0.05).change, Change::Missing);
        assert_eq!(changed(&row(100.0, &[]), &row(0.0, &[])), Change::Slower);
        assert_eq!(changed(&row(100.0, &[]), &row(f64::NAN, &[])), Change::Slower);
    }
}
