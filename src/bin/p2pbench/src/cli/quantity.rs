//! Sizes, percentages and times, as people write them.

/// `4k` is 4096: block sizes are powers of two, in this field as in fio.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    match parse_size::Config::new().with_binary().parse_size(text) {
        Ok(0) => Err("must be more than 0".into()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

/// `5%` or `5` is 0.05.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    match text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>() {
        Ok(percent) if (0.0..100.0).contains(&percent) => Ok(percent / 100.0),
        Ok(_) => Err("must be 0% or more and less than 100%".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// In less than a millisecond nothing can be measured, and in less than a nanosecond nothing starts.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.001..=86_400.0).contains(&seconds) => Ok(seconds),
        Ok(_) => Err("must be at least 0.001 and at most 86400".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// As [`seconds`], or none at all.
pub(super) fn warmup(text: &str) -> Result<f64, String> {
    if text.parse() == Ok(0.0) { Ok(0.0) } else { seconds(text) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::word, *};

    #[test]
    fn sizes_are_powers_of_two_and_never_nothing() {
        assert_eq!(size("4k"), Ok(4096));
        assert_eq!(size("1MiB"), Ok(1 << 20));
        assert_eq!(size("512"), Ok(512));
        assert!(size("0").is_err() && size("-1").is_err() && size("lots").is_err() && size("99999999T").is_err());
    }

    proptest! {
        #[test]
        fn any_size_and_any_time_is_taken_or_refused_in_one_line(text in word()) {
            if let Err(line) = size(&text) {
                prop_assert!(line.lines().count() == 1, "{line:?}");
            }
            match seconds(&text) {
                Ok(seconds) => prop_assert!(std::time::Duration::try_from_secs_f64(seconds).is_ok()),
                Err(line) => prop_assert!(line.lines().count() == 1, "{line:?}"),
            }
        }
    }

    #[test]
    fn a_tolerance_is_a_part_of_a_hundred() {
        assert_eq!([percent("5%"), percent("0"), percent("12.5 %")], [Ok(0.05), Ok(0.0), Ok(0.125)]);
        assert!(["-1", "100%", "NaN", "inf", "", "%"].iter().all(|text| percent(text).is_err()));
    }

    #[test]
    fn a_measurement_takes_some_time_and_ends() {
        assert_eq!(seconds("0.5"), Ok(0.5));
        assert!(["0", "1e-12", "-1", "NaN", "inf", "1e9", ""].iter().all(|text| seconds(text).is_err()));
        assert_eq!([warmup("0"), warmup("0.0"), warmup("2")], [Ok(0.0), Ok(0.0), Ok(2.0)]);
        assert!(["-1", "NaN", "inf", "1e9", ""].iter().all(|text| warmup(text).is_err()));
    }
}
