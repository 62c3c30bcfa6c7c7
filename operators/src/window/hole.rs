//! Where nothing is known of a series: silence that late data may still fill.
//!
//! Enters: the points of a series and an hour. Leaves: whether a silence touches the hour. Guarantees: a function of the
//! points alone; a series that comes slowly, but at its own rhythm, has none.

use schemas::{
    Millis,
    time::{HOUR, MINUTE},
};

use super::points::Points;

/// A shorter silence is none: what it lacks is a few reports.
const SHORTEST: Millis = 10 * MINUTE;

/// Whether a silence touches an hour that has ended: the series has not been heard since, or two of its points are
/// further apart than `gap` and further than its shortest step lets expect.
///
/// The present silence counts however short it is: whatever ends it begins a segment in this hour.
pub(super) fn touches(points: &Points, gap: Millis, hour: Millis) -> bool {
    let end = hour + HOUR;
    if points.last().is_none_or(|last| last.at < end) {
        return true;
    }
    let steps = || points.iter().zip(points.iter().skip(1)).map(|(a, b)| (a.at, b.at));
    let beside = steps().take_while(|(from, _)| *from < end).filter(|(_, to)| *to > hour);
    let longest = beside.map(|(from, to)| to - from).max().unwrap_or(0);
    if longest <= gap.max(SHORTEST) {
        return false;
    }
    let shortest = steps().map(|(from, to)| to - from).min().unwrap_or(longest);
    points.len() < 3 || 2 * longest > 5 * shortest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::every_minute(&(0..=130).collect::<Vec<_>>(), false)]
    #[case::nothing(&[], true)]
    #[case::not_heard_since(&[50, 55, 60, 65, 70, 75, 80, 85, 90, 95, 100, 105, 110], true)]
    #[case::nine_minutes(&[58, 59, 60, 61, 70, 80, 90, 100, 110, 119, 120, 121], false)]
    #[case::a_quarter(&[58, 59, 60, 75, 80, 90, 100, 110, 119, 120, 121], true)]
    #[case::before_the_hour(&[30, 60, 70, 80, 90, 100, 110, 120, 121], false)]
    #[case::behind_the_hour(&[60, 70, 80, 90, 100, 110, 120, 180], false)]
    #[case::into_the_hour(&[30, 61, 70, 80, 90, 100, 110, 120, 121], true)]
    #[case::every_hour(&[0, 60, 120, 180], false)]
    #[case::its_rhythm_is_not_known(&[30, 130], true)]
    fn silences(#[case] minutes: &[i64], #[case] want: bool) {
        let mut points = Points::new(0);
        for minute in minutes {
            points.upsert(minute * MINUTE, 1.0);
        }
        assert_eq!(touches(&points, 150_000, HOUR), want);
    }
}
