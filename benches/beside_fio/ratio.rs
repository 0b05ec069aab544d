//! A ratio of paired measurements, with what is known of it.

use std::fmt;

/// Median of the ratios of pairs, and where the true median lies in 95 of 100 cases, whatever the distribution: between two
/// of the sorted ratios, as many from either end as a fair coin allows.
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

impl Ratio {
    pub(crate) fn paired<T>(one: &[T], other: &[T], figure: impl Fn(&T) -> f64) -> Self {
        Self::of(one.iter().zip(other).map(|(one, other)| figure(one) / figure(other)).collect())
    }

    /// Of at least one value.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let (cut, last) = (cut(values.len()), values.len() - 1);
        let median = f64::midpoint(values[last / 2], values[values.len() / 2]);
        Self { median, lowest: values[cut], highest: values[last - cut] }
    }
}

/// How many of `n` sorted values may be cut off at either end: the most for which at most 2.5 % of the throws of `n` coins
/// show so few heads. 0 for less than six values, for which no interval holds 95 %.
fn cut(n: usize) -> usize {
    let (mut term, mut sum) = (0.5_f64.powi(i32::try_from(n).unwrap_or(i32::MAX)), 0.0);
    let mut heads = 0;
    loop {
        sum += term;
        if sum > 0.025 || heads >= n {
            return heads.saturating_sub(1);
        }
        #[expect(clippy::cast_precision_loss, reason = "tens of rounds")]
        let next = (n - heads) as f64 / (heads + 1) as f64;
        term *= next;
        heads += 1;
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.3} ({:.3} .. {:.3})", self.median, self.lowest, self.highest))
    }
}
