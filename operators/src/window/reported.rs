//! Which metrics an object reports, hour by hour, so that one that stays away is missed.
//!
//! Enters: metrics heard in hours, in any order. Leaves: how many of those that are expected in an hour were not heard.
//! Guarantees: the answer follows from the set of hours in which each metric was heard.
//!
//! Gauges and counters are expected in every hour from the time on when they were heard in two hours running, until they
//! have stayed away for a week: then they are no longer reported. What is sent less often than every hour is never
//! missed; states and positions, which some send when they change, neither.

use std::ops::Range;

use schemas::{MetricId, MetricKind, Millis, time::HOUR};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// For so many hours a metric that stays away is missed.
const WEEK: i32 = 168;

/// What an object reports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Reported {
    /// Sorted.
    known: Vec<Known>,
    /// The hour and the metrics of the last report, by a hash: most are like the one before, and say nothing new.
    #[serde(skip)]
    last: Option<(i32, u64)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Known {
    metric: MetricId,
    /// Hours running in which it was heard, by time, with an hour or more between two spells.
    spells: SmallVec<[Spell; 1]>,
}

/// The first and the last of some hours, since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Spell {
    first: i32,
    last: i32,
}

impl Reported {
    /// Notes that the metrics of a report were heard in an hour, usable or not. Answers in which hours some may be expected
    /// otherwise than before.
    pub(super) fn hear_all(
        &mut self,
        metrics: impl Iterator<Item = MetricId> + Clone,
        hour: Millis,
    ) -> Option<Range<Millis>> {
        let mix =
            |hash: u64, metric: MetricId| (hash ^ u64::from(metric.0)).wrapping_mul(0x0000_0100_0000_01b3);
        let report = Some(((hour / HOUR) as i32, metrics.clone().fold(0xcbf2_9ce4_8422_2325, mix)));
        if std::mem::replace(&mut self.last, report) == report {
            return None;
        }
        let mut place = 0;
        metrics
            .filter_map(|metric| self.hear(&mut place, metric, hour))
            .reduce(|all, hours| all.start.min(hours.start)..all.end.max(hours.end))
    }

    /// Notes that a metric was heard in an hour. Answers in which hours it may be expected otherwise than
    /// before. `place` is where the metric is looked for first, and then where the next one of a report likely is.
    pub(super) fn hear(
        &mut self,
        place: &mut usize,
        metric: MetricId,
        hour: Millis,
    ) -> Option<Range<Millis>> {
        let here = self.known.get(*place).filter(|known| known.metric == metric).map(|_| *place);
        let known = match here.map_or_else(|| self.find(metric), Ok) {
            Ok(known) => known,
            Err(_) if !matches!(metric.metric().kind, MetricKind::Gauge | MetricKind::Counter) => {
                return None;
            }
            Err(known) => {
                self.known.reserve_exact(1);
                self.known.insert(known, Known { metric, spells: SmallVec::new() });
                known
            }
        };
        *place = known + 1;
        let hours = self.known[known].hear((hour / HOUR) as i32)?;
        Some(Millis::from(hours.start) * HOUR..Millis::from(hours.end) * HOUR)
    }

    /// Puts what was restored in order: numbers of metrics are not those of the process that saved it.
    pub(super) fn sort(&mut self) {
        self.known.sort_unstable_by_key(|known| known.metric);
    }

    fn find(&self, metric: MetricId) -> Result<usize, usize> {
        self.known.binary_search_by_key(&metric, |known| known.metric)
    }

    /// How many metrics were expected in an hour and not heard.
    pub(super) fn missing(&self, hour: Millis) -> usize {
        let hour = (hour / HOUR) as i32;
        self.known.iter().filter(|known| known.misses(hour)).count()
    }

    /// Forgets what says nothing of the hours from `floor` on.
    pub(super) fn forget(&mut self, floor: Millis) {
        let floor = (floor / HOUR) as i32;
        for known in &mut self.known {
            let last = known.spells.partition_point(|spell| spell.first <= floor).saturating_sub(1);
            known.spells.drain(..last);
            known.spells.retain(|spell| spell.last >= floor - WEEK);
        }
        self.known.retain(|known| !known.spells.is_empty());
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.known.capacity() * size_of::<Known>()
    }
}

impl Known {
    fn hear(&mut self, hour: i32) -> Option<Range<i32>> {
        let after = self.spells.partition_point(|spell| spell.first <= hour);
        let before = after.checked_sub(1);
        if before.is_some_and(|before| hour <= self.spells[before].last) {
            return None;
        }
        let extends = before.filter(|before| self.spells[*before].last + 1 == hour);
        let precedes = self.spells.get(after).is_some_and(|spell| spell.first == hour + 1);
        let place = match (extends, precedes) {
            (Some(before), true) => {
                self.spells[before].last = self.spells[after].last;
                self.spells.remove(after);
                before
            }
            (Some(before), false) => {
                self.spells[before].last = hour;
                before
            }
            (None, true) => {
                self.spells[after].first = hour;
                after
            }
            (None, false) => {
                self.spells.insert(after, Spell { first: hour, last: hour });
                after
            }
        };
        let end = self.spells[place].last + 1;
        Some(end..self.spells.get(place + 1).map_or(i32::MAX, |next| next.first).min(end + WEEK))
    }

    fn misses(&self, hour: i32) -> bool {
        let before = self.spells.iter().rfind(|spell| spell.first <= hour);
        before.is_some_and(|spell| spell.last < hour && hour - spell.last <= WEEK && spell.first < spell.last)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use schemas::Catalogue;

    use super::*;

    fn metric(code: &str) -> MetricId {
        Catalogue::in_force().id(code).unwrap()
    }

    #[rstest::rstest]
    #[case::steady("secondary_flow", &[0, 1, 2, 3], 3, false)]
    #[case::stays_away("secondary_flow", &[0, 1], 2, true)]
    #[case::for_a_week("secondary_flow", &[0, 1], 1 + 168, true)]
    #[case::is_not_reported_any_more("secondary_flow", &[0, 1], 2 + 168, false)]
    #[case::heard_once("secondary_flow", &[0], 1, false)]
    #[case::rarer_than_hourly("secondary_flow", &[0, 4, 8], 9, false)]
    #[case::before_it_began("secondary_flow", &[5, 6], 4, false)]
    #[case::between("secondary_flow", &[0, 1, 5], 3, true)]
    #[case::counter("heat_total", &[0, 1], 2, true)]
    #[case::state("running", &[0, 1], 2, false)]
    #[case::position("latitude", &[0, 1], 2, false)]
    fn what_stays_away_is_missed(
        #[case] code: &str,
        #[case] heard: &[i64],
        #[case] hour: i64,
        #[case] misses: bool,
    ) {
        let mut reported = Reported::default();
        for hour in heard {
            reported.hear(&mut 0, metric(code), hour * HOUR);
        }
        assert_eq!(reported.missing(hour * HOUR), usize::from(misses));
    }

    #[test]
    fn what_was_saved_under_other_numbers_is_found() {
        let metrics = ["secondary_flow", "heat_total", "heat_power"].map(metric);
        let mut reported = Reported::default();
        for metric in metrics {
            reported.hear(&mut 0, metric, 0);
        }
        let sorted = reported.clone();
        reported.known.rotate_left(1);
        reported.sort();
        assert_eq!(reported, sorted);
    }

    proptest! {
        /// In any order, and with what is said to change being all that does.
        #[test]
        fn the_order_does_not_matter(
            hours in prop::collection::vec(0..60_i64, 0..40),
            floor in 0..60_i64,
        ) {
            let flow = metric("secondary_flow");
            let heard: BTreeSet<i64> = hours.iter().copied().collect();
            let mut sorted = Reported::default();
            for hour in &heard {
                sorted.hear(&mut 0, flow, hour * HOUR);
            }
            let mut reported = Reported::default();
            for hour in &hours {
                let before: Vec<_> = (0..300).map(|hour| reported.missing(hour * HOUR)).collect();
                let changed = reported.hear(&mut 7, flow, hour * HOUR).unwrap_or_default();
                for other in (0..300).filter(|other| other != hour && !changed.contains(&(other * HOUR))) {
                    prop_assert_eq!(reported.missing(other * HOUR), before[other as usize]);
                }
            }
            prop_assert_eq!(&reported, &sorted);
            let of = |reported: &Reported| (floor..300).map(|h| reported.missing(h * HOUR)).collect::<Vec<_>>();
            let before = of(&reported);
            reported.forget(floor * HOUR);
            prop_assert_eq!(of(&reported), before);
            let missed = |hour: i64| {
                let last = heard.range(..hour).next_back();
                !heard.contains(&hour)
                    && last.is_some_and(|last| hour - last <= 168 && heard.contains(&(last - 1)))
            };
            prop_assert!((floor..300).all(|hour| (reported.missing(hour * HOUR) > 0) == missed(hour)));
        }
    }
}
