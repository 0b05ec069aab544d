//! From a value to a place on an axis, and the values worth a label.

/// An axis: its label, its ends and its ticks.
#[derive(Debug)]
pub(super) struct Axis {
    pub(super) label: &'static str,
    scale: Scale,
    low: f64,
    high: f64,
    /// Values and what stands beside them.
    pub(super) ticks: Vec<(f64, String)>,
}

/// How values lie on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    /// From zero on.
    Linear,
    /// Each factor takes as much room as any other.
    Logarithmic,
    /// Parts of a whole; each nine takes as much room as any other, as in 90 %, 99 %, 99.9 %.
    Nines,
}

impl Axis {
    /// From zero to at least `most`.
    pub(super) fn linear(label: &'static str, most: f64) -> Self {
        let step = step(most / 4.0);
        let ticks: Vec<f64> =
            (0..=6).map(|tick| f64::from(tick) * step).take_while(|&tick| tick < most + step).collect();
        let high = ticks.last().copied().unwrap_or(step);
        let ticks = ticks.into_iter().map(|tick| (tick, number(tick))).collect();
        Self { label, scale: Scale::Linear, low: 0.0, high, ticks }
    }

    /// Values that are all named, such as block sizes, at least one.
    pub(super) fn named(label: &'static str, names: Vec<(f64, String)>) -> Self {
        let low = names.iter().map(|(value, _)| *value).fold(f64::INFINITY, f64::min);
        let high = names.iter().map(|(value, _)| *value).fold(0.0, f64::max);
        // Room for a label each: of many, every second or third has one.
        let every = names.len().div_ceil(8).max(1);
        let ticks = names.into_iter().step_by(every).collect();
        Self { label, scale: Scale::Logarithmic, low: low / 1.4, high: high * 1.4, ticks }
    }

    /// From at most `least` to at least `most`, in steps of 1, 2, 5 where few of them span it, of ten where many do.
    pub(super) fn logarithmic(label: &'static str, least: f64, most: f64) -> Self {
        let steps: &[f64] = if most / least > 200.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let all = (-6..12).flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)));
        let all: Vec<f64> = all.collect();
        let from = all.iter().rposition(|&tick| tick <= least).unwrap_or(0);
        let to = all.iter().position(|&tick| tick >= most && tick > all[from]).unwrap_or(all.len() - 1);
        let ticks = all[from..=to].iter().map(|&tick| (tick, number(tick))).collect();
        Self { label, scale: Scale::Logarithmic, low: all[from], high: all[to], ticks }
    }

    /// Parts of so many: as many nines as these can tell.
    pub(super) fn nines(label: &'static str, of: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a count of operations")]
        let high = (of.max(10) as f64).log10();
        let nine = |nines: i32| (1.0 - 10_f64.powi(-nines), format!("p{}", number(100.0 - 10_f64.powi(2 - nines))));
        let nines = (1..9).filter(|&nines| f64::from(nines) <= high).map(nine);
        let ticks = [(0.0, "0".to_owned()), (0.5, "p50".to_owned())].into_iter().chain(nines).collect();
        Self { label, scale: Scale::Nines, low: 0.0, high, ticks }
    }

    /// Where on the axis, from 0 to 1; what lies beyond its ends, at its ends.
    pub(super) fn place(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => value / self.high,
            Scale::Logarithmic => (value / self.low).ln() / (self.high / self.low).ln(),
            Scale::Nines => -(1.0 - value).log10() / self.high,
        };
        if part.is_nan() { 0.0 } else { part.clamp(0.0, 1.0) }
    }
}

/// 1, 2 or 5 times a power of ten, at least so much.
fn step(least: f64) -> f64 {
    if least <= 0.0 || !least.is_finite() {
        return 1.0;
    }
    let decade = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|step| step * decade).find(|&step| step >= least).unwrap_or(10.0 * decade)
}

/// Without noughts that say nothing.
pub(super) fn number(value: f64) -> String {
    if value >= 1e6 {
        return format!("{value:.0e}");
    }
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_and_span_the_values() {
        let axis = Axis::linear("GB/s", 3.3);
        assert_eq!(labels(&axis), ["0", "1", "2", "3", "4"]);
        assert!(axis.place(3.3) < 1.0 && axis.place(0.0) == 0.0);
        let axis = Axis::logarithmic("us", 7.0, 130.0);
        assert_eq!(labels(&axis), ["5", "10", "20", "50", "100", "200"]);
        assert_eq!(labels(&Axis::logarithmic("us", 3.0, 30_000.0)), ["1", "10", "100", "1000", "10000", "100000"]);
    }

    #[test]
    fn nothing_and_infinity_have_a_place() {
        for axis in [Axis::linear("x", 0.0), Axis::nines("x", 0), Axis::logarithmic("x", 1.0, 1.0)] {
            for value in [0.0, 1.0, f64::INFINITY, f64::NAN] {
                assert!((0.0..=1.0).contains(&axis.place(value)), "{axis:?} {value}");
            }
        }
    }

    #[test]
    fn each_nine_takes_as_much_room_as_any_other() {
        let axis = Axis::nines("part", 1000);
        assert_eq!(labels(&axis), ["0", "p50", "p90", "p99", "p99.9"]);
        assert!((axis.place(0.99) - 2.0 / 3.0).abs() < 1e-9 && axis.place(1.0) == 1.0);
    }

    #[test]
    fn of_many_names_some_are_shown() {
        let names = (0..20).map(|power| (2_f64.powi(power), power.to_string())).collect();
        assert_eq!(Axis::named("block", names).ticks.len(), 7);
    }
}
