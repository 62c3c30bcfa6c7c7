//! Agreed times of day for pushing (T 4.1.2).

use schemas::{Millis, time::DAY, time::HOUR, time::MINUTE};

/// Times of day, as milliseconds since midnight; the end is not part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    ranges: Vec<(Millis, Millis)>,
    offset: Millis,
}

impl Windows {
    /// Reads `HH:MM-HH:MM`; a range whose end is before its beginning goes over midnight.
    pub(crate) fn new(ranges: &[String], utc_offset_hours: i8) -> Result<Self, String> {
        let read = |text: &String| {
            let wrong = || format!("windows: {text:?} is not like \"00:00-06:00\"");
            let (from, upto) = text.split_once('-').ok_or_else(wrong)?;
            Ok((minutes(from).ok_or_else(wrong)?, minutes(upto).ok_or_else(wrong)?))
        };
        let ranges = ranges.iter().map(read).collect::<Result<_, String>>()?;
        Ok(Windows { ranges, offset: Millis::from(utc_offset_hours) * HOUR })
    }

    /// Whether pushing is allowed at a wall time.
    pub(crate) fn open(&self, at: Millis) -> bool {
        let time = (at + self.offset).rem_euclid(DAY);
        let within = |&(from, upto): &(Millis, Millis)| {
            if from < upto { from <= time && time < upto } else { from <= time || time < upto }
        };
        self.ranges.is_empty() || self.ranges.iter().any(within)
    }
}

fn minutes(text: &str) -> Option<Millis> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let (hours, minutes): (Millis, Millis) = (hours.parse().ok()?, minutes.parse().ok()?);
    let valid = (0..=24).contains(&hours) && (0..60).contains(&minutes) && hours * 60 + minutes <= 24 * 60;
    valid.then_some(hours * HOUR + minutes * MINUTE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("00:00-06:00", 0, true)]
    #[case("00:00-06:00", 6 * 60, false)]
    #[case("22:00-02:00", 23 * 60, true)]
    #[case("22:00-02:00", 60, true)]
    #[case("22:00-02:00", 12 * 60, false)]
    #[case("18:00-24:00", 23 * 60 + 59, true)]
    fn times_of_day_are_civil(#[case] range: &str, #[case] civil_minute: Millis, #[case] open: bool) {
        let windows = Windows::new(&[range.to_owned()], 8).unwrap();
        assert_eq!(windows.open(20 * DAY + civil_minute * MINUTE - 8 * HOUR), open);
    }

    #[test]
    fn no_window_means_always_and_nonsense_is_named() {
        assert!(Windows::new(&[], 8).unwrap().open(0));
        for wrong in ["6-7", "25:00-26:00", "00:00", "aa:bb-cc:dd"] {
            assert!(Windows::new(&[wrong.to_owned()], 8).unwrap_err().contains(wrong));
        }
    }
}
