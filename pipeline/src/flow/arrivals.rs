//! arrivals: how far the last reports of a partition agree that time has come.
//!
//! Enters: the arrival times of a partition's reports, in the order of their offsets. Leaves: how far time has come in it,
//! and how far ahead of that a report may lie. Guarantees: a time far ahead moves nothing before most of the last
//! [`ASKED`] reports lie there; what is decided depends on the reports and not on how they were divided into batches.

use schemas::{
    Millis,
    time::{DAY, HOUR},
};
use serde::{Deserialize, Serialize};

/// How many reports are asked.
const ASKED: usize = 8;
/// Fewer than this decide nothing against others.
pub const ENOUGH: usize = 3;
/// Reports agree that are no further apart than this, or than windows stay open: no window closes too early for it.
pub const LEAST_STEP: Millis = 6 * HOUR;
/// Reports that come more rarely than every other month agree with none.
const LONGEST_STEP: Millis = 62 * DAY;

/// When a report arrived, and the shard of its facility, which tells it from another one's of the same time.
pub type Arrival = (Millis, u16);

/// What is kept of the arrivals of some consecutive reports of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrivals {
    /// The last different ones, in the order in which each came last.
    last: Vec<Arrival>,
    /// The greatest different times, ascending.
    greatest: Vec<Millis>,
}

impl Arrivals {
    /// What a checkpoint kept: the last ones.
    #[must_use]
    pub fn resumed(last: Vec<Arrival>) -> Arrivals {
        Arrivals { last, greatest: Vec::new() }
    }

    /// The last different ones, in their order.
    #[must_use]
    pub fn last(&self) -> &[Arrival] {
        &self.last
    }

    /// Adds the arrival of the next report.
    pub fn add(&mut self, arrival: Arrival) {
        if self.last.last() != Some(&arrival) {
            self.last.retain(|known| *known != arrival);
            self.last.push(arrival);
            if self.last.len() > ASKED {
                self.last.remove(0);
            }
        }
        self.add_greatest(arrival.0);
    }

    fn add_greatest(&mut self, at: Millis) {
        let full = self.greatest.len() == ASKED;
        if full && at <= self.greatest[0] {
            return;
        }
        if let Err(place) = self.greatest.binary_search(&at) {
            self.greatest.insert(place, at);
            if full {
                self.greatest.remove(0);
            }
        }
    }

    /// Adds those of the reports that follow.
    pub fn append(&mut self, later: &Arrivals) {
        later.last.iter().for_each(|arrival| self.add(*arrival));
        later.greatest.iter().for_each(|at| self.add_greatest(*at));
    }

    /// The greatest time up to `limit`, as far as it is kept.
    #[must_use]
    pub fn greatest_until(&self, limit: Millis) -> Option<Millis> {
        self.greatest.iter().rev().find(|at| **at <= limit).copied()
    }

    /// How far the last reports agree that time has come, and up to when a report is believed: so far ahead of it as
    /// they lie apart, twice over, and at least `least_step` ms. `None` before the first.
    #[must_use]
    pub fn agreed(&self, least_step: Millis) -> Option<(Millis, Millis)> {
        let mut times: Vec<Millis> = self.last.iter().map(|arrival| arrival.0).collect();
        times.sort_unstable();
        let most = LONGEST_STEP.max(least_step);
        // Of an even number the earlier half is believed.
        let (middle, step) = match times.len().checked_sub(1)? {
            few if few + 1 < ENOUGH => (0, most),
            last => {
                let apart = times[..=last / 2].windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max();
                (last / 2, apart.unwrap_or_default().saturating_mul(2).clamp(least_step, most))
            }
        };
        let walk = |reach: Millis, at: &Millis| if at.saturating_sub(reach) <= step { *at } else { reach };
        let reach = times[middle..].iter().fold(times[middle], walk);
        Some((reach, reach.saturating_add(step)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(times: &[Millis]) -> Arrivals {
        let mut arrivals = Arrivals::default();
        times.iter().for_each(|at| arrivals.add((*at, 0)));
        arrivals
    }

    fn hours(times: &[Millis]) -> Option<(Millis, Millis)> {
        let times: Vec<Millis> = times.iter().map(|hour| hour * HOUR).collect();
        of(&times).agreed(LEAST_STEP).map(|(reach, limit)| (reach / HOUR, limit / HOUR))
    }

    /// Hours of 36 years.
    const FAR: Millis = 36 * 365 * 24;

    #[rstest::rstest]
    #[case::nothing(&[], None)]
    #[case::the_first(&[5], Some((5, 5 + 62 * 24)))]
    #[case::two_far_apart(&[5, 5 + FAR], Some((5, 5 + 62 * 24)))]
    #[case::every_hour(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], Some((9, 15)))]
    #[case::one_far_ahead(&[0, 1, 2, 3, FAR], Some((3, 9)))]
    #[case::one_far_ahead_early(&[0, 1, FAR], Some((1, 7)))]
    #[case::one_far_ahead_and_it_goes_on(&[3, FAR, 4, 5, 6, 7], Some((7, 13)))]
    #[case::a_third_far_ahead(&[0, 1, 2, FAR, 3, FAR + 1, 4], Some((4, 10)))]
    #[case::most_are_there(&[0, 1, FAR, FAR + 1, FAR + 2, FAR + 3, FAR + 4], Some((FAR + 4, FAR + 4 + 2 * 31 * 24)))]
    #[case::all_are_there(&[0, FAR, FAR + 1, FAR + 2, FAR + 3, FAR + 4, FAR + 5, FAR + 6, FAR + 7], Some((FAR + 7, FAR + 13)))]
    #[case::one_in_the_past(&[7, 8, 9, 2, 10, 11], Some((11, 21)))]
    #[case::every_day(&[0, 24, 48, 72, 96], Some((96, 96 + 48)))]
    #[case::every_month(&[0, 720, 1_440, 2_160], Some((2_160, 2_160 + 1_440)))]
    fn time_has_come_as_far_as_most_agree(#[case] times: &[Millis], #[case] want: Option<(Millis, Millis)>) {
        assert_eq!(hours(times), want);
    }

    #[test]
    fn a_device_that_repeats_one_time_counts_once() {
        let mut arrivals = of(&[HOUR, 2 * HOUR, 3 * HOUR]);
        for _ in 0..20 {
            arrivals.add((FAR * HOUR, 7));
        }
        assert_eq!(arrivals.agreed(LEAST_STEP), Some((3 * HOUR, 9 * HOUR)));
    }

    #[test]
    fn facilities_that_report_together_after_a_pause_agree() {
        let mut arrivals = of(&[HOUR, 2 * HOUR, 3 * HOUR]);
        (1..=5).for_each(|facility| arrivals.add((900 * HOUR, facility)));
        assert_eq!(arrivals.agreed(LEAST_STEP).map(|(reach, _)| reach), Some(900 * HOUR));
    }

    proptest! {
        #[test]
        fn batches_change_nothing(
            times in prop::collection::vec((0..20_i64, 0..3_u16), 0..60),
            cuts in prop::collection::vec(0..60_usize, 0..6),
        ) {
            let mut whole = Arrivals::default();
            times.iter().for_each(|arrival| whole.add(*arrival));
            let (mut parts, mut begun) = (Arrivals::default(), 0);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(times.len())).chain([times.len()]).collect();
            cuts.sort_unstable();
            for cut in cuts {
                let mut part = Arrivals::default();
                times[begun..cut].iter().for_each(|arrival| part.add(*arrival));
                parts.append(&part);
                begun = cut;
            }
            prop_assert_eq!(parts, whole);
        }
    }
}
