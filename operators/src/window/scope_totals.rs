//! What facilities add to the scopes above them.
//!
//! Enters: windows of facilities before and after a change. Leaves: per epoch what that adds to every scope.
//! Guarantees: what a facility has added to a scope and an open window is, at any time, what stands in the facility's own
//! window.

use differential_dataflow::difference::IsZero;
use rustc_hash::FxHashMap;
use schemas::{Millis, Period, Scope};

use super::{
    calendar::Horizon,
    facts::Facts,
    mask::Mask,
    site::{ScopeIds, Site},
};
use crate::{
    Profile,
    reason::{Reason, Reasons},
};

/// A window of a scope, by the number of the scope.
type Place = (u32, Period, Millis);

/// By scope and window.
pub(super) type ByScope<T> = Vec<((Scope, Period, Millis), T)>;

/// Changes under way.
pub(super) struct ScopeTotals {
    scopes: Vec<Scope>,
    numbers: FxHashMap<Scope, u32>,
    changes: FxHashMap<Place, Facts>,
    /// Why, where not because data came in its turn.
    reasons: Reasons<Place>,
}

impl ScopeTotals {
    pub(super) fn new() -> ScopeTotals {
        ScopeTotals {
            scopes: Vec::new(),
            numbers: FxHashMap::default(),
            changes: FxHashMap::default(),
            reasons: Reasons::default(),
        }
    }

    /// The numbers of a profile's scopes, new ones added. A scope once named keeps its number: there are few.
    pub(super) fn intern(&mut self, profile: &Profile) -> ScopeIds {
        profile.scopes.iter().map(|scope| self.number(scope)).collect()
    }

    fn number(&mut self, scope: &Scope) -> u32 {
        if let Some(number) = self.numbers.get(scope) {
            return *number;
        }
        self.scopes.push(scope.clone());
        let number = self.scopes.len() as u32 - 1;
        self.numbers.insert(scope.clone(), number);
        number
    }

    /// Adds facts of a window to scopes, `sign` times.
    pub(super) fn contribute(
        &mut self,
        scopes: &[u32],
        mask: Mask,
        (period, start): (Period, Millis),
        facts: &Facts,
        sign: i64,
    ) {
        let facts = facts.only(mask);
        if !facts.is_zero() {
            for scope in scopes {
                self.changes.entry((*scope, period, start)).or_default().add_all(&facts, sign);
            }
        }
    }

    /// Adds a change of a facility's window to the scopes above it, and moves it where the facility moved.
    pub(super) fn spread(
        &mut self,
        site: &Site,
        moved: Option<&(ScopeIds, Mask)>,
        window: (Period, Millis),
        (before, after): (&Facts, &Facts),
        reason: Reason,
    ) {
        self.because(&site.scopes, window, reason);
        let Some((old, mask)) = moved else {
            self.contribute(&site.scopes, site.rolls_up, window, &after.minus(before), 1);
            return;
        };
        self.because(old, window, reason);
        self.contribute(old, *mask, window, before, -1);
        self.contribute(&site.scopes, site.rolls_up, window, after, 1);
    }

    fn because(&mut self, scopes: &[u32], (period, start): (Period, Millis), reason: Reason) {
        if !reason.is_live() {
            scopes.iter().for_each(|scope| self.reasons.add((*scope, period, start), reason));
        }
    }

    /// Adds everything that a facility's open windows hold, as if nothing of it had been added. Hours that it keeps for
    /// its days alone are closed here.
    pub(super) fn contribute_all(&mut self, site: &Site, horizon: Horizon) {
        let (scopes, mask) = (&site.scopes, site.rolls_up);
        for hour in site.hours.iter().filter(|hour| hour.start >= horizon.hour) {
            self.contribute(scopes, mask, (Period::Hour, hour.start), &hour.facts, 1);
        }
        for day in &site.days {
            self.contribute(scopes, mask, (Period::Day, day.start), &day.facts, 1);
        }
        for window in site.longer() {
            self.contribute(scopes, mask, (window.period, window.start), &window.facts, 1);
        }
    }

    /// What was added since the last time, and why; each sorted, one entry per key.
    pub(super) fn take(&mut self) -> (ByScope<Facts>, ByScope<Reason>) {
        let changes = std::mem::take(&mut self.changes).into_iter().filter(|(_, facts)| !facts.is_zero());
        let reasons = self.reasons.take();
        (self.by_scope(changes), self.by_scope(reasons))
    }

    fn by_scope<T>(&self, entries: impl Iterator<Item = (Place, T)>) -> ByScope<T> {
        let named = |((scope, period, start), entry): (Place, T)| {
            ((self.scopes[scope as usize].clone(), period, start), entry)
        };
        let mut entries: ByScope<T> = entries.map(named).collect();
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        entries
    }
}
