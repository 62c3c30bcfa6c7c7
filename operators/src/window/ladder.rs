//! The ladder of windows: hour, day, and the longer ones that are made of days.
//!
//! Enters: changes of days. Leaves: the longer windows that hold them, before and after. Guarantees: what a longer window
//! holds is the sum of its days, and what says something about it as a whole follows from that, whichever order the days
//! changed in. A rung is a line of [`LADDER`]; which of them are computed is a setting.

use schemas::{Millis, Period, season::Season, time::DAY};
use serde::{Deserialize, Serialize};

use super::{
    calendar::{Calendar, Horizon},
    derive::{self, FacilityTraits},
    facts::Facts,
};
use crate::reason::Reason;

/// Start and end of the window that holds the day which starts then; `None` where the day belongs to none.
type Bounds = fn(&Calendar, Millis, Option<Season>) -> Option<(Millis, Millis)>;

/// A kind of longer window.
#[derive(Debug)]
pub struct Rung {
    /// Its name.
    pub period: Period,
    /// The longest that such a window is, days.
    pub longest_days: i64,
    /// Which window holds a day.
    pub(super) bounds: Bounds,
}

/// The rungs above the day. The heating season is that of the object in the registry; a facility that is heated all year
/// has none.
pub const LADDER: [Rung; 5] = [
    Rung { period: Period::Week, longest_days: 7, bounds: |calendar, day, _| calendar.week(day) },
    Rung { period: Period::Month, longest_days: 31, bounds: |calendar, day, _| calendar.months(day, 1) },
    Rung { period: Period::Quarter, longest_days: 92, bounds: |calendar, day, _| calendar.months(day, 3) },
    Rung { period: Period::Season, longest_days: 366, bounds: Calendar::season },
    Rung { period: Period::Year, longest_days: 366, bounds: |calendar, day, _| calendar.months(day, 12) },
];

/// The rung of a period; `None` for hour and day.
#[must_use]
pub fn rung(period: Period) -> Option<&'static Rung> {
    LADDER.iter().find(|rung| rung.period == period)
}

/// Before when a longer window must have started to be closed: its days are then, however long it is, and whatever hours
/// clocks were put back or forth.
pub(super) fn closed_before(period: Period, horizon: Horizon) -> Millis {
    let longest = rung(period).map_or(0, |rung| rung.longest_days + 1);
    horizon.day.saturating_sub(longest * DAY)
}

/// A longer window of a facility.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Window {
    pub(super) period: Period,
    pub(super) start: Millis,
    end: Millis,
    pub(super) facts: Facts,
}

/// The longer windows of a facility, by period and start.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Longer(Vec<Window>);

/// A day that changed.
pub(super) struct ChangedDay {
    pub(super) start: Millis,
    pub(super) end: Millis,
    /// What it has more than before.
    pub(super) more: Facts,
    pub(super) reason: Reason,
}

/// What a window was before it changed, and why it did.
pub(super) struct Before {
    /// The place of the window.
    pub(super) place: usize,
    pub(super) facts: Facts,
    pub(super) reason: Reason,
}

/// What days are added by.
pub(super) struct Terms<'a> {
    pub(super) calendar: &'a Calendar,
    pub(super) season: Option<Season>,
    pub(super) traits: FacilityTraits,
    /// The clock of the epoch before.
    pub(super) clock: Option<Millis>,
}

impl Longer {
    /// The windows, by period and start.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Window> {
        self.0.iter()
    }

    /// Adds what days have changed by; gives the windows that it concerns, by place: every one where something moves them
    /// all.
    pub(super) fn add(
        &mut self,
        days: &[ChangedDay],
        moved: Option<Reason>,
        terms: &Terms<'_>,
    ) -> Vec<Before> {
        let moved = |w: &Window| moved.map(|reason| (w.facts.clone(), reason));
        let mut before: Vec<Option<(Facts, Reason)>> = self.0.iter().map(moved).collect();
        for ChangedDay { start, end: day_end, more, reason } in days {
            for (period, (from, end)) in terms.calendar.longer(*start, terms.season) {
                let place = self.find(period, from).unwrap_or_else(|place| {
                    self.0.insert(place, Window { period, start: from, end, facts: Facts::new() });
                    before.insert(place, None);
                    place
                });
                let window = &mut self.0[place];
                let over = terms.clock.is_some_and(|clock| end <= clock) || *day_end >= end;
                let (_, why) = before[place].get_or_insert_with(|| (window.facts.clone(), Reason::LIVE));
                *why = why.or_graver(reason.of_longer(over));
                window.facts.add_all(&more.only(derive::SUMS), 1);
            }
        }
        let changed = |(place, before): (usize, Option<(Facts, Reason)>)| {
            before.map(|(facts, reason)| Before { place, facts, reason })
        };
        let changed: Vec<Before> = (0..).zip(before).filter_map(changed).collect();
        for Before { place, .. } in &changed {
            derive::derive_static(&mut self.0[*place].facts, &terms.traits);
        }
        changed
    }

    /// A window by its place.
    pub(super) fn at(&self, place: usize) -> &Window {
        &self.0[place]
    }

    /// Whether some are closed.
    pub(super) fn has_closed(&self, horizon: Horizon) -> bool {
        self.0.iter().any(|window| horizon.is_closed(window.period, window.start))
    }

    /// Forgets those that are closed.
    pub(super) fn forget(&mut self, horizon: Horizon) {
        self.0.retain(|window| !horizon.is_closed(window.period, window.start));
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let facts: usize = self.0.iter().map(|window| window.facts.heap_bytes()).sum();
        facts + self.0.capacity() * size_of::<Window>()
    }

    fn find(&self, period: Period, start: Millis) -> Result<usize, usize> {
        self.0.binary_search_by_key(&(period, start), |window| (window.period, window.start))
    }
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, tz::TimeZone};
    use schemas::time::HOUR;

    use super::*;
    use crate::season::Seasons;

    fn at(text: &str) -> Millis {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[rstest::rstest]
    #[case::week(Period::Week, "2026-01-15T16:00:00Z", Some(("2026-01-11T16:00:00Z", "2026-01-18T16:00:00Z")))]
    #[case::month(Period::Month, "2026-02-27T16:00:00Z", Some(("2026-01-31T16:00:00Z", "2026-02-28T16:00:00Z")))]
    #[case::quarter(Period::Quarter, "2026-02-27T16:00:00Z", Some(("2025-12-31T16:00:00Z", "2026-03-31T16:00:00Z")))]
    #[case::season(Period::Season, "2026-02-27T16:00:00Z", Some(("2025-10-19T16:00:00Z", "2026-04-06T16:00:00Z")))]
    #[case::out_of_season(Period::Season, "2026-07-27T16:00:00Z", None)]
    #[case::year(Period::Year, "2026-02-27T16:00:00Z", Some(("2025-12-31T16:00:00Z", "2026-12-31T16:00:00Z")))]
    fn a_day_lies_in_one_window_of_each_rung(
        #[case] period: Period,
        #[case] day: &str,
        #[case] want: Option<(&str, &str)>,
    ) {
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        let seasons = Seasons::new(zone.clone(), None);
        let calendar = Calendar::new(zone, HOUR, 0).with_longer(&[period], seasons);
        let season = "10-20..04-06".parse().ok();
        let found: Vec<_> = calendar.longer(at(day), season).collect();
        let want = want.map(|(start, end)| (period, (at(start), at(end))));
        assert_eq!(found, Vec::from_iter(want));
        if let Some((_, (start, end))) = want {
            let longest = rung(period).unwrap().longest_days;
            assert!(end - start <= longest * DAY);
            let closed = |day| Horizon { hour: day, day }.is_closed(period, start);
            assert!(!closed(end) && closed(start + (longest + 1) * DAY + 1));
        }
    }

    #[test]
    fn a_facility_that_is_heated_all_year_has_no_season() {
        let calendar = Calendar::default().with_longer(&[Period::Season], Seasons::default());
        assert_eq!(calendar.longer(at("2026-01-15T16:00:00Z"), None).count(), 0);
    }
}
