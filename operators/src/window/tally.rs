//! What one report adds, gathered per hour before it goes to the windows.

use schemas::Millis;

use super::{
    facts::{COUNT, Component},
    mask::Mask,
    segment::Undated,
};
use crate::reason::Reason;

/// Amounts per hour and component. Reused from report to report, so that nothing is allocated.
#[derive(Debug, Default)]
pub(super) struct Tally {
    hours: Vec<Amounts>,
    used: usize,
    undated: Vec<Undated>,
}

/// The amounts of one hour.
#[derive(Debug)]
pub(super) struct Amounts {
    pub(super) hour: Millis,
    /// How much of the hour has been seen to pass, ms.
    pub(super) elapsed: Millis,
    /// Why it changed.
    pub(super) reason: Reason,
    present: Mask,
    amounts: [i64; COUNT],
}

impl Tally {
    pub(super) fn add(&mut self, hour: Millis, component: Component, amount: i64) {
        let entry = self.entry(hour);
        entry.present.insert(component);
        entry.amounts[component as usize] += amount;
    }

    /// Whether nothing was gathered.
    pub(super) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Notes that time has come this far.
    pub(super) fn saw(&mut self, hour: Millis, at: Millis) {
        let entry = self.entry(hour);
        entry.elapsed = entry.elapsed.max(at - hour);
    }

    /// Notes why an hour changes.
    pub(super) fn because(&mut self, hour: Millis, reason: Reason) {
        let entry = self.entry(hour);
        entry.reason = entry.reason.or_graver(reason);
    }

    /// Names an hour whose derived facts change though its sums do not.
    pub(super) fn touch(&mut self, hour: Millis) {
        self.entry(hour);
    }

    /// Adds what belongs to the day of an hour and to none of its hours.
    pub(super) fn book(&mut self, undated: Undated) {
        self.touch(undated.hour);
        self.undated.push(undated);
    }

    /// Hands over what belongs to days alone.
    pub(super) fn hand_over_undated(&mut self) -> impl Iterator<Item = Undated> + '_ {
        self.undated.drain(..)
    }

    /// Hands over what was gathered, hour by hour in the order in which they came up, and starts anew.
    pub(super) fn hand_over(&mut self, mut take: impl FnMut(&mut Amounts)) {
        for entry in &mut self.hours[..self.used] {
            take(entry);
        }
        self.used = 0;
    }

    #[inline]
    fn entry(&mut self, hour: Millis) -> &mut Amounts {
        let found = self.hours[..self.used].iter().rposition(|entry| entry.hour == hour);
        let place = found.unwrap_or_else(|| self.begin(hour));
        &mut self.hours[place]
    }

    /// Makes room for another hour.
    #[cold]
    fn begin(&mut self, hour: Millis) -> usize {
        if self.used == self.hours.len() {
            let (present, amounts) = (Mask::EMPTY, [0; COUNT]);
            self.hours.push(Amounts { hour, elapsed: 0, reason: Reason::LIVE, present, amounts });
        }
        let entry = &mut self.hours[self.used];
        (entry.hour, entry.elapsed, entry.reason) = (hour, 0, Reason::LIVE);
        self.used += 1;
        self.used - 1
    }
}

impl Amounts {
    /// Takes every amount out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (Component, i64)> + '_ {
        let present = std::mem::take(&mut self.present);
        present.iter().map(|component| (component, std::mem::take(&mut self.amounts[component as usize])))
    }
}
