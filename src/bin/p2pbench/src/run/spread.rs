//! How much the turns of one path differ.

use serde::Serialize;

/// Of the turns' rates, in bytes a second.
#[derive(Debug, Serialize)]
pub(super) struct Spread {
    median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    /// Where the true median lies in 95 of 100 cases, whatever the distribution; `null` with fewer than six turns, which
    /// cannot tell.
    interval_95: Option<[f64; 2]>,
}

impl Spread {
    /// `None` without a turn.
    pub(super) fn of(turns: &[f64]) -> Option<Self> {
        let mut sorted = turns.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max, last) = (*sorted.first()?, *sorted.last()?, sorted.len() - 1);
        let median = f64::midpoint(sorted[last / 2], sorted[sorted.len() / 2]);
        let interval_95 = cut(sorted.len()).map(|cut| [sorted[cut], sorted[last - cut]]);
        Some(Self { median, min, max, interval_95 })
    }

    /// Half the way from the lowest to the highest turn, as a part of the median, in percent.
    pub(super) fn percent(&self) -> f64 {
        (self.max - self.min) / 2.0 / self.median * 100.0
    }
}

/// How many of `n` sorted values can be left out at either end: of `n` tosses of a coin, at most so few show heads in no more
/// than 2.5 % of all cases (the sign test). `None` where even all of them are too few.
fn cut(n: usize) -> Option<usize> {
    let mut chance = 0.5_f64.powi(i32::try_from(n).ok()?);
    let mut sum = 0.0;
    for heads in 0..=n {
        sum += chance;
        if sum > 0.025 {
            return heads.checked_sub(1);
        }
        #[expect(clippy::cast_precision_loss, reason = "as many as turns")]
        let next = (n - heads) as f64 / (heads + 1) as f64;
        chance *= next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_the_sign_test() {
        // From tables: n = 5 has none, 6 to 8 the extremes, 9 to 11 the second, 12 to 14 the third, 25 the eighth.
        let table = [(5, None), (6, Some(0)), (8, Some(0)), (9, Some(1)), (11, Some(1)), (12, Some(2)), (25, Some(7))];
        for (n, expected) in table {
            assert_eq!(cut(n), expected, "{n}");
        }
    }

    #[test]
    fn order_does_not_matter_and_none_is_none() {
        let spread = Spread::of(&[3.0, 1.0, 2.0, 4.0]).unwrap();
        assert_eq!((spread.min, spread.median, spread.max, spread.interval_95), (1.0, 2.5, 4.0, None));
        assert!(Spread::of(&[]).is_none());
        assert_eq!(Spread::of(&[1.0; 6]).unwrap().interval_95, Some([1.0, 1.0]));
    }
}
