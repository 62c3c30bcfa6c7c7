//! What facilities add to the scopes above them.
//!
//! Enters: windows of facilities before and after a change. Leaves: per epoch what that adds to every scope.
//! Guarantees: what a facility has added to a scope and an open window is, at any time, what stands in the facility's own
//! window; beyond that a scope counts only the registry changes by which facilities left it.

use differential_dataflow::difference::IsZero;
use rustc_hash::FxHashMap;
use schemas::{Code, Millis, Period, Scope};
use serde::{Deserialize, Serialize};

use super::{
    calendar::Horizon,
    facts::{Component, Facts},
    mask::Mask,
    site::{ScopeIds, Site},
};
use crate::{
    Profile,
    durable::{Keyed, shard},
};

/// Changes under way and what is kept of facilities that left.
pub(super) struct ScopeTotals {
    scopes: Vec<Scope>,
    numbers: FxHashMap<Scope, u32>,
    changes: FxHashMap<(u32, Period, Millis), Facts>,
    /// Registry changes counted in scopes that a facility has left; they leave with their window.
    pub(super) left: Keyed<Departure, u32>,
}

/// A facility left a scope while a window was open. It is held, and saved, with the facility and not with the scope:
/// facilities of several workers leave the same scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Departure {
    /// Always empty: so the written key begins with 0 and goes on, which the code of a facility never does.
    nothing: Code,
    facility: Code,
    scope: Scope,
    period: Period,
    start: Millis,
}

impl Departure {
    /// Whether a written key is one of these and not the code of a facility.
    pub(super) fn wrote(key: &[u8]) -> bool {
        key.len() > 1 && key[0] == 0
    }
}

impl ScopeTotals {
    pub(super) fn new() -> ScopeTotals {
        ScopeTotals {
            scopes: Vec::new(),
            numbers: FxHashMap::default(),
            changes: FxHashMap::default(),
            left: Keyed::new(|left: &Departure| shard(&left.facility)),
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
        before: &Facts,
        after: &Facts,
    ) {
        let Some((old, mask)) = moved else {
            self.contribute(&site.scopes, site.rolls_up, window, &after.minus(before), 1);
            return;
        };
        self.contribute(old, *mask, window, before, -1);
        self.contribute(&site.scopes, site.rolls_up, window, after, 1);
        for scope in old.iter().filter(|scope| !site.scopes.contains(scope)) {
            let left = Departure {
                nothing: Code::default(),
                facility: site.code.clone(),
                scope: self.scopes[*scope as usize].clone(),
                period: window.0,
                start: window.1,
            };
            match self.left.number(&left).and_then(|number| self.left.get_mut(number)) {
                Some(times) => *times += 1,
                None => drop(self.left.insert(left, 1)),
            }
            self.count_left((*scope, window.0, window.1), 1);
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

    /// Takes over what was restored, and adds it.
    pub(super) fn restore_left(&mut self) {
        for (left, times) in self.left.all_restored() {
            let number = self.number(&left.scope);
            self.count_left((number, left.period, left.start), i64::from(times));
            self.left.insert_restored(left, times);
        }
    }

    /// Retracts and forgets what facilities left in windows that are closed.
    pub(super) fn close(&mut self, horizon: Horizon) {
        let left = self.left.iter().filter(|(_, left, _)| horizon.is_closed(left.period, left.start));
        let closed: Vec<Departure> = left.map(|(_, left, _)| left.clone()).collect();
        for left in closed {
            if let Some(times) = self.left.remove(&left) {
                let number = self.number(&left.scope);
                self.count_left((number, left.period, left.start), -i64::from(times));
            }
        }
    }

    fn count_left(&mut self, window: (u32, Period, Millis), amount: i64) {
        self.changes.entry(window).or_default().add(Component::RegistryChanges, amount);
    }

    /// What was added since the last time, sorted, one entry per key.
    pub(super) fn take(&mut self) -> Vec<((Scope, Period, Millis), Facts)> {
        let changes = std::mem::take(&mut self.changes).into_iter();
        let mut contributions: Vec<_> = changes
            .filter(|(_, facts)| !facts.is_zero())
            .map(|((scope, period, start), facts)| {
                ((self.scopes[scope as usize].clone(), period, start), facts)
            })
            .collect();
        contributions.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        contributions
    }
}
