//! What closes of a facility.
//!
//! Enters: two horizons. Leaves: what the scopes are to lose; the facility without the days that are closed. Guarantees: an
//! hour leaves the scopes once, when the horizon passes it; what it held stays until its day is closed ([`super::sealed`]).

use schemas::Period;

use super::{calendar::Horizon, open::Hour, scope_totals::ScopeTotals, site::Site};

impl Site {
    /// Whether the way from one horizon to another closes any of its windows.
    pub(super) fn closes(&self, from: Horizon, to: Horizon) -> bool {
        self.passing(from, to).next().is_some() || self.forgets(to)
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

    /// Whether it holds days or longer windows that are closed.
    pub(super) fn forgets(&self, horizon: Horizon) -> bool {
        self.days.first().is_some_and(|day| day.start < horizon.day)
            || self.longer.as_ref().is_some_and(|longer| longer.has_closed(horizon))
    }

    /// Forgets days that are closed, with their hours, and longer windows.
    pub(super) fn forget(&mut self, horizon: Horizon) {
        let first_open = horizon.first_hour();
        if self.holds_before(first_open) {
            self.hours.retain(|hour| hour.start >= first_open);
            self.objects.iter_mut().for_each(|object| object.forget(first_open));
        }
        self.days.retain(|day| day.start >= horizon.day);
        self.longer.iter_mut().for_each(|longer| longer.forget(horizon));
    }
}
