//! One series and the rules that watch it: live steps, and revision of what was told when the past changes.
//!
//! Enters: readings in any order of time, rules. Leaves: what is to be told ([`Emission`]), per rule.
//! Guarantees: after all readings are in, what was told last of each episode is what a fold over the readings in the
//! order of time tells ([`super::episode`]), whatever the order of arrival, as long as no reading came later than the
//! horizon behind the newest. Usable readings within the horizon are remembered; older ones are settled into the state
//! of the fold and forgotten, and so are the episodes that can no longer change.

use std::rc::Rc;

use schemas::Millis;
use smallvec::SmallVec;

use super::{
    journal::{Because, Cause, Emission},
    monitor::{Revision, RuleMonitor},
    rule::Rule,
};
use crate::window::points::Points;

/// How far time has come, and how far back readings count.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// The clock of the epoch.
    pub clock: Millis,
    /// How far behind the newest reading of its series a reading may come, ms.
    pub horizon: Millis,
}

/// What became of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Nothing is to be done.
    Settled,
    /// The past changed: [`WatchedSeries::revise`] must be called before the epoch ends.
    Revises,
    /// It lies behind the horizon and does not count.
    TooLate,
}

/// The readings of one series with the rules that watch it.
#[derive(Debug)]
pub struct WatchedSeries {
    /// The usable readings that may still be revised.
    pub(super) points: Points,
    pub(super) newest: Millis,
    /// Never at the end of an epoch.
    pub(super) revision: Option<Box<Revision>>,
    pub(super) watches: SmallVec<[RuleMonitor; 1]>,
}

impl WatchedSeries {
    /// A series without readings, whose values mostly have up to `decimals` decimals.
    #[must_use]
    pub fn new(decimals: u8) -> WatchedSeries {
        WatchedSeries {
            points: Points::new(decimals),
            newest: Millis::MIN,
            revision: None,
            watches: SmallVec::new(),
        }
    }

    /// Bytes that it takes, for memory figures.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<WatchedSeries>() + self.points.heap_bytes()
    }

    /// The rules, in force or not, by code.
    #[must_use]
    pub fn watches(&self) -> &[RuleMonitor] {
        &self.watches
    }

    /// The remembered readings, by time.
    pub fn readings(&self) -> impl Iterator<Item = (Millis, f64)> + '_ {
        self.points.iter().map(|point| (point.at, point.value))
    }

    /// The remembered reading of a time.
    #[must_use]
    pub fn value(&self, at: Millis) -> Option<f64> {
        self.points.get(at)
    }

    /// How many readings are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether no reading is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Takes a reading: `None` when it is not usable, which takes back what was said of that time.
    ///
    /// `why` is told when the reading changes the past. `told` receives (index of the watch, what to tell).
    pub fn take(
        &mut self,
        at: Millis,
        value: Option<f64>,
        why: Because,
        now: Reach,
        told: &mut Vec<(usize, Emission)>,
    ) -> Taken {
        if at > self.newest {
            let Some(value) = value else { return Taken::Settled };
            if self.watches.iter().any(|watch| watch.enabled && watch.rule.ended(at, now.clock)) {
                self.changed(at, why);
            }
            self.newest = at;
            self.points.upsert(at, value);
            if self.revision.is_some() {
                return Taken::Revises;
            }
            for (index, watch) in self.watches.iter_mut().enumerate().filter(|(_, w)| w.enabled) {
                let mut own = Vec::new();
                watch.follow(at, value, why.by, &mut own);
                told.extend(own.into_iter().map(|t| (index, t)));
            }
            self.forget(now.horizon);
            return Taken::Settled;
        }
        if at < self.newest.saturating_sub(now.horizon) {
            return Taken::TooLate;
        }
        if !self.replace(at, value) {
            return Taken::Settled;
        }
        self.changed(at, why);
        Taken::Revises
    }

    fn replace(&mut self, at: Millis, value: Option<f64>) -> bool {
        let before = match value {
            Some(value) => self.points.upsert(at, value),
            None => self.points.remove(at),
        };
        before != value
    }

    fn changed(&mut self, at: Millis, why: Because) {
        match &mut self.revision {
            Some(revision) => revision.at = revision.at.max(at),
            None => self.revision = Some(Box::new(Revision { why, newest: self.newest, at })),
        }
    }

    /// Puts rules in force, sorted by code; others that were end at `at`. Returns whether [`WatchedSeries::revise`] must be
    /// called.
    ///
    /// A changed rule judges the remembered readings anew. A rule that is gone clears what it raised, as the past was
    /// judged by the rule of its time; when it comes back, the remembered readings are judged again.
    pub fn watch(&mut self, rules: &[Rc<Rule>], at: Millis, told: &mut Vec<(usize, Emission)>) -> bool {
        let mut changed = false;
        for (index, watch) in self.watches.iter_mut().enumerate() {
            match rules.iter().find(|rule| rule.code == watch.rule.code) {
                Some(rule) => {
                    changed |= !watch.enabled
                        || watch.rule.limits != rule.limits
                        || watch.rule.heating != rule.heating;
                    watch.enabled = true;
                    watch.rule = Rc::clone(rule);
                }
                None if watch.enabled => {
                    watch.enabled = false;
                    let mut ended = Vec::new();
                    watch.end(at, Cause::Registry, &mut ended);
                    // Only what the remembered readings can show again may be told again.
                    let first = self.points.first().map_or(Millis::MAX, |point| point.at);
                    watch.forget_before(first);
                    told.extend(ended.into_iter().map(|t| (index, t)));
                }
                None => {}
            }
        }
        for rule in rules {
            if !self.watches.iter().any(|watch| watch.rule.code == rule.code) {
                self.watches.push(RuleMonitor::new(Rc::clone(rule)));
                changed |= !self.points.is_empty();
            }
        }
        if changed {
            self.changed(at, Cause::Registry.into());
        }
        changed
    }

    /// Ends everything that stands.
    pub fn end(&mut self, at: Millis, cause: Cause, told: &mut Vec<(usize, Emission)>) {
        self.each(told, |watch, told| watch.end(at, cause, told));
    }

    /// Ends everything that stands and forgets the readings, as they mean nothing any more.
    pub fn restart(&mut self, at: Millis, cause: Cause, told: &mut Vec<(usize, Emission)>) {
        self.end(at, cause, told);
        self.points.forget_before(Millis::MAX);
        for watch in &mut self.watches {
            watch.forget_before(Millis::MAX);
        }
    }

    /// Whether heating has stopped by plan under something that is pending or stands.
    #[must_use]
    pub fn pauses(&self, clock: Millis) -> bool {
        self.watches.iter().any(|watch| watch.pauses(clock))
    }

    /// Ends what heating has stopped under by plan.
    pub fn pause(&mut self, clock: Millis, told: &mut Vec<(usize, Emission)>) {
        self.each(told, |watch, told| watch.pause(clock, told));
    }

    /// Tells again everything that stands.
    pub fn repeat(&mut self, at: Millis, cause: Cause, told: &mut Vec<(usize, Emission)>) {
        self.each(told, |watch, told| watch.repeat(at, cause, told));
    }

    /// Judges the remembered readings anew after the past changed.
    pub fn revise(&mut self, now: Reach, told: &mut Vec<(usize, Emission)>) {
        let Some(revision) = self.revision.take() else { return };
        for (index, watch) in self.watches.iter_mut().enumerate().filter(|(_, w)| w.enabled) {
            let mut own = Vec::new();
            watch.revise(&self.points, now.clock, *revision, &mut own);
            told.extend(own.into_iter().map(|t| (index, t)));
        }
        self.forget(now.horizon);
    }

    fn each(
        &mut self,
        told: &mut Vec<(usize, Emission)>,
        mut act: impl FnMut(&mut RuleMonitor, &mut Vec<Emission>),
    ) {
        for (index, watch) in self.watches.iter_mut().enumerate() {
            let mut own = Vec::new();
            act(watch, &mut own);
            told.extend(own.into_iter().map(|t| (index, t)));
        }
    }

    /// Settles readings behind the horizon, a quarter of it at a time, and with them the episodes that are final.
    fn forget(&mut self, horizon: Millis) {
        let limit = self.newest.saturating_sub(horizon);
        let due = limit.saturating_sub(horizon / 4);
        if self.points.first().is_none_or(|point| point.at >= due) {
            return;
        }
        let mut last = Millis::MIN;
        for point in self.points.iter().take_while(|point| point.at < limit) {
            last = point.at;
            for watch in self.watches.iter_mut().filter(|w| w.enabled) {
                watch.settle(point.at, point.value);
            }
        }
        self.points.forget_before(limit);
        for watch in &mut self.watches {
            watch.forget(last);
        }
    }
}
