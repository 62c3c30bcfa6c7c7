//! What closes of a facility, and what a silence keeps.
//!
//! Enters: two horizons. Leaves: what the scopes are to lose; the facility without what is closed. Guarantees: an hour
//! leaves the scopes once, when the horizon passes it, and the facility when nothing that lies before it may still come.

use schemas::{Millis, Period};
use smallvec::SmallVec;

use super::{calendar::Horizon, open::Hour, scope_totals::ScopeTotals, site::Site};

/// First hours of days with a silence: (day, hour).
pub(super) type Holes = SmallVec<[(Millis, Millis); 2]>;

impl Site {
    /// The first hour whose data are kept.
    pub(super) fn floor(&self, horizon: Horizon) -> Millis {
        self.days.iter().find_map(|day| day.hole).map_or(horizon.hour, |hole| hole.min(horizon.hour))
    }

    /// Whether the way from one horizon to another closes any of its windows. Whatever an object holds lies in an hour
    /// that is kept, but for the one point per series that stays.
    pub(super) fn closes(&self, from: Horizon, to: Horizon) -> bool {
        self.passing(from, to).next().is_some()
            || self.days.first().is_some_and(|day| day.start < to.day)
            || self.longer.as_ref().is_some_and(|longer| longer.has_closed(to))
    }

    /// The hours that close for the scopes.
    fn passing(&self, from: Horizon, to: Horizon) -> impl Iterator<Item = &Hour> {
        self.hours.iter().filter(move |hour| (from.hour..to.hour).contains(&hour.start))
    }

    /// Takes what closes back from the scopes.
    pub(super) fn retract(&self, from: Horizon, to: Horizon, totals: &mut ScopeTotals) {
        let mut contribute = |period, start, facts| {
            totals.contribute(&self.scopes, self.rolls_up, (period, start), facts, -1);
        };
        self.passing(from, to).for_each(|hour| contribute(Period::Hour, hour.start, &hour.facts));
        let closed = self.days.iter().filter(|day| day.start < to.day);
        closed.for_each(|day| contribute(Period::Day, day.start, &day.facts));
        let closed = self.longer().filter(|window| to.is_closed(window.period, window.start));
        closed.for_each(|window| contribute(window.period, window.start, &window.facts));
    }

    /// The first hours of days with a silence, of the hours that close: (day, hour). `day_of` gives the start of an
    /// hour's day.
    pub(super) fn holes(&self, from: Horizon, to: Horizon, day_of: impl Fn(Millis) -> Millis) -> Holes {
        let mut holes = Holes::new();
        for hour in self.passing(from, to).map(|hour| hour.start) {
            let day = day_of(hour);
            let known = self.days.iter().any(|known| known.start == day && known.hole.is_some());
            if day >= to.day
                && !known
                && holes.last().is_none_or(|(last, _)| *last != day)
                && self.objects.iter().any(|object| object.has_hole(hour))
            {
                holes.push((day, hour));
            }
        }
        holes
    }

    /// Whether forgetting, with these holes, would change anything.
    pub(super) fn forgets(&self, holes: &Holes, horizon: Horizon) -> bool {
        !holes.is_empty()
            || self.hours.first().is_some_and(|hour| hour.start < self.floor(horizon))
            || self.days.first().is_some_and(|day| day.start < horizon.day)
            || self.longer.as_ref().is_some_and(|longer| longer.has_closed(horizon))
    }

    /// Forgets what is closed and no silence keeps.
    pub(super) fn forget(&mut self, holes: Holes, horizon: Horizon) {
        self.days.retain(|day| day.start >= horizon.day);
        self.longer.iter_mut().for_each(|longer| longer.forget(horizon));
        for (day, hour) in holes {
            let place = self.day(day);
            self.days[place].hole = Some(hour);
        }
        let floor = self.floor(horizon);
        self.hours.retain(|hour| hour.start >= floor);
        self.objects.iter_mut().for_each(|object| object.forget(floor));
    }
}
