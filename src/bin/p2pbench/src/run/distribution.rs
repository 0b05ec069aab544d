//! How many operations took how long.

use hdrhistogram::Histogram;
use serde::Serialize;

/// The width of a step: each reaches a tenth further than the one before, from one microsecond on.
const STEP: f64 = 1.1;

/// Steps that some operation falls into, in rising order.
#[derive(Debug, Serialize)]
pub(super) struct Distribution {
    /// Where the step ends, in microseconds; the last one at the slowest operation.
    pub(super) up_to_us: Vec<f64>,
    /// How many took so long, and longer than the step before.
    pub(super) operations: Vec<u64>,
}

impl Distribution {
    /// Of nanoseconds.
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of an operation")]
    pub(super) fn of(latency: &Histogram<u64>) -> Self {
        let mut steps: Vec<(f64, u64)> = Vec::new();
        for value in latency.iter_recorded() {
            // What was recorded is known to three digits: a step ends at the highest value that it may hold.
            let end = latency.highest_equivalent(value.value_iterated_to()).min(latency.max()) as f64 / 1000.0;
            let count = value.count_at_value();
            match steps.last_mut().filter(|(last, _)| step(*last) == step(end)) {
                Some(last) => *last = (end, last.1 + count),
                None => steps.push((end, count)),
            }
        }
        let (up_to_us, operations) = steps.into_iter().unzip();
        Self { up_to_us, operations }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a minute is step 188")]
fn step(microseconds: f64) -> i32 {
    (microseconds.max(1.0).ln() / STEP.ln()).floor() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_in_it_once_and_the_slowest_ends_it() {
        let mut latency = Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap();
        (1..=100_000_u64).for_each(|value| latency.record(value * 37).unwrap());
        let distribution = Distribution::of(&latency);
        assert_eq!(distribution.operations.iter().sum::<u64>(), 100_000);
        assert!(distribution.up_to_us.is_sorted() && distribution.up_to_us.len() < 100, "{distribution:?}");
        assert!((distribution.up_to_us.last().unwrap() - 3700.0).abs() < 4.0, "{distribution:?}");
    }

    #[test]
    fn of_nothing_it_is_nothing() {
        let latency = Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap();
        assert!(Distribution::of(&latency).operations.is_empty());
    }
}
