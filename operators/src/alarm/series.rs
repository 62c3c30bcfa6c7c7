//! One series and the rules that watch it: live steps, and revision of what was told when the past changes.
//!
//! Enters: readings in any order of time, rules. Leaves: what is to be told ([`Told`]), per rule.
//! Guarantees: after all readings are in, what was told last of each episode is what a [`Fold`] over the readings in
//! the order of time tells, whatever the order of arrival, as long as no reading came later than the horizon behind
//! the newest. Usable readings within the horizon are remembered; older ones are settled into the state of the fold
//! and forgotten, and so are the episodes that can no longer change.

use std::rc::Rc;

use schemas::{Millis, Transition};
use smallvec::SmallVec;

use super::{
    episode::{Episode, Fold, Step},
    rule::Rule,
};
use crate::window::points::Points;

/// Why something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The next reading.
    Data,
    /// A reading that came after later ones.
    LateData,
    /// A reading whose value or mark was revised.
    Correction,
    /// A change of the registry.
    Registry,
    /// The passing of time.
    Clock,
}

impl Cause {
    /// As written in a transition.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Cause::Data => "data",
            Cause::LateData => "late data",
            Cause::Correction => "correction",
            Cause::Registry => "registry",
            Cause::Clock => "clock",
        }
    }
}

/// One transition to be told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Told {
    /// What happened.
    pub transition: Transition,
    /// When, in event time; never before an earlier transition of the episode.
    pub at: Millis,
    /// Number within the episode, from 1.
    pub sequence: u32,
    /// The episode after it.
    pub episode: Episode,
    /// Why.
    pub cause: Cause,
}

/// An episode of which something was told.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Record {
    last: Told,
}

impl Record {
    fn open(&self) -> bool {
        self.last.transition != Transition::Retracted && self.last.episode.cleared_at.is_none()
    }
}

/// One rule over the series.
#[derive(Debug)]
pub struct Watch {
    /// The rule in force, or the last that was.
    pub rule: Rc<Rule>,
    enabled: bool,
    /// State before the remembered readings.
    settled: Fold,
    /// State after them; stale while the series is to be revised.
    tail: Fold,
    /// Episodes that may still change, by onset.
    records: Vec<Record>,
}

impl Watch {
    fn new(rule: Rc<Rule>) -> Watch {
        Watch { rule, enabled: true, settled: Fold::default(), tail: Fold::default(), records: Vec::new() }
    }

    /// Whether an episode stands.
    #[must_use]
    pub fn open(&self) -> bool {
        self.records.iter().any(Record::open)
    }

    fn tell(&mut self, transition: Transition, at: Millis, episode: Episode, cause: Cause) -> Told {
        let slot = self.records.binary_search_by_key(&episode.onset, |r| r.last.episode.onset);
        let last = slot.ok().map(|index| self.records[index].last);
        let told = Told {
            transition,
            at: last.map_or(at, |last| at.max(last.at)),
            sequence: last.map_or(1, |last| last.sequence + 1),
            episode,
            cause,
        };
        match slot {
            Ok(index) => self.records[index].last = told,
            Err(index) => self.records.insert(index, Record { last: told }),
        }
        told
    }

    /// Ends what stands, from outside the data.
    fn end(&mut self, at: Millis, cause: Cause, told: &mut Vec<Told>) {
        let open: Vec<Episode> = self.records.iter().filter(|r| r.open()).map(|r| r.last.episode).collect();
        for episode in open {
            let at = at.max(episode.raised_at);
            let ended = Episode { cleared_at: Some(at), ..episode };
            told.push(self.tell(Transition::Cleared, at, ended, cause));
        }
        self.settled = Fold::default();
        self.tail = Fold::default();
    }

    /// Tells again what stands, because what surrounds it changed.
    fn repeat(&mut self, at: Millis, cause: Cause, told: &mut Vec<Told>) {
        let open: Vec<Episode> = self.records.iter().filter(|r| r.open()).map(|r| r.last.episode).collect();
        for episode in open {
            told.push(self.tell(Transition::Updated, at, episode, cause));
        }
    }

    /// Folds the remembered readings anew and tells the difference to what was told.
    fn revise(&mut self, points: &Points, revision: Revision, told: &mut Vec<Told>) {
        let (fold, found) = refold(&self.settled, &self.rule, points);
        self.tail = fold;
        let gone: Vec<Episode> = self
            .records
            .iter()
            .filter(|r| r.last.transition != Transition::Retracted)
            .map(|r| r.last.episode)
            .filter(|episode| !found.iter().any(|steps| steps.onset == episode.onset))
            .collect();
        for episode in gone {
            told.push(self.tell(Transition::Retracted, revision.at, episode, revision.cause));
        }
        for episode in found {
            self.reconcile(&episode, revision, told);
        }
    }

    fn reconcile(&mut self, found: &Found, revision: Revision, told: &mut Vec<Told>) {
        let known = self
            .records
            .binary_search_by_key(&found.onset, |r| r.last.episode.onset)
            .ok()
            .map(|index| self.records[index].last)
            .filter(|last| last.transition != Transition::Retracted);
        let from = match known {
            None => 0,
            Some(last) => match found.steps.iter().rposition(|step| step.episode == last.episode) {
                Some(index) => index + 1,
                None => {
                    let Some(end) = found.steps.last() else { return };
                    let transition = difference(&last.episode, &end.episode);
                    told.push(self.tell(transition, revision.at, end.episode, revision.cause));
                    return;
                }
            },
        };
        for step in &found.steps[from..] {
            let cause = if step.decided_at > revision.newest { Cause::Data } else { revision.cause };
            told.push(self.tell(step.transition, step.at(), step.episode, cause));
        }
    }
}

/// The steps of one episode found by folding anew.
#[derive(Debug)]
struct Found {
    onset: Millis,
    steps: SmallVec<[Step; 4]>,
}

fn refold(settled: &Fold, rule: &Rule, points: &Points) -> (Fold, Vec<Found>) {
    let mut fold = settled.clone();
    let mut found: Vec<Found> = Vec::new();
    if let Some(episode) = fold.told() {
        // What stood before the remembered readings; never told again, as it is what was told.
        let standing = Step { transition: Transition::Updated, decided_at: episode.raised_at, episode };
        found.push(Found { onset: episode.onset, steps: SmallVec::from_iter([standing]) });
    }
    for point in points.iter() {
        let Some(step) = fold.step(&rule.limits, point.at, point.value) else { continue };
        match found.last_mut().filter(|last| last.onset == step.episode.onset) {
            Some(last) => last.steps.push(step),
            None => found.push(Found { onset: step.episode.onset, steps: SmallVec::from_iter([step]) }),
        }
    }
    (fold, found)
}

fn difference(before: &Episode, after: &Episode) -> Transition {
    if after.cleared_at.is_some() && before.cleared_at.is_none() {
        Transition::Cleared
    } else if after.level < before.level {
        Transition::Escalated
    } else if after.level > before.level {
        Transition::Deescalated
    } else {
        Transition::Updated
    }
}

/// That the past changed since the last fold.
#[derive(Clone, Copy, Debug)]
struct Revision {
    cause: Cause,
    /// The newest reading when it changed first: what later readings decide is ordinary.
    newest: Millis,
    /// The latest reading time (or registry change) that changed.
    at: Millis,
}

/// What became of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Nothing is to be done.
    Settled,
    /// The past changed: [`Series::revise`] must be called before the epoch ends.
    Revises,
    /// It lies behind the horizon and does not count.
    TooLate,
}

/// The readings of one series with the rules that watch it.
#[derive(Debug)]
pub struct Series {
    /// The usable readings that may still be revised.
    points: Points,
    newest: Millis,
    revision: Option<Revision>,
    watches: SmallVec<[Watch; 1]>,
}

impl Series {
    /// A series without readings, whose values mostly have up to `decimals` decimals.
    #[must_use]
    pub fn new(decimals: u8) -> Series {
        Series {
            points: Points::new(decimals),
            newest: Millis::MIN,
            revision: None,
            watches: SmallVec::new(),
        }
    }

    /// Bytes that it takes, for memory figures.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Series>() + self.points.heap_bytes()
    }

    /// The rules, in force or not, by code.
    #[must_use]
    pub fn watches(&self) -> &[Watch] {
        &self.watches
    }

    /// The remembered readings, by time.
    pub fn readings(&self) -> impl Iterator<Item = (Millis, f64)> + '_ {
        self.points.iter().map(|point| (point.at, point.value))
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
    /// `cause` is told when the reading changes the past. `told` receives (index of the watch, what to tell).
    pub fn take(
        &mut self,
        at: Millis,
        value: Option<f64>,
        cause: Cause,
        horizon: Millis,
        told: &mut Vec<(usize, Told)>,
    ) -> Taken {
        if at > self.newest {
            let Some(value) = value else { return Taken::Settled };
            self.newest = at;
            self.points.upsert(at, value);
            if self.revision.is_some() {
                return Taken::Revises;
            }
            for (index, watch) in self.watches.iter_mut().enumerate().filter(|(_, w)| w.enabled) {
                if let Some(step) = watch.tail.step(&watch.rule.limits, at, value) {
                    told.push((index, watch.tell(step.transition, step.at(), step.episode, Cause::Data)));
                }
            }
            self.forget(horizon);
            return Taken::Settled;
        }
        if at < self.newest.saturating_sub(horizon) {
            return Taken::TooLate;
        }
        if !self.replace(at, value) {
            return Taken::Settled;
        }
        self.changed(at, cause);
        Taken::Revises
    }

    fn replace(&mut self, at: Millis, value: Option<f64>) -> bool {
        let before = match value {
            Some(value) => self.points.upsert(at, value),
            None => self.points.remove(at),
        };
        before != value
    }

    fn changed(&mut self, at: Millis, cause: Cause) {
        let first = self.revision.unwrap_or(Revision { cause, newest: self.newest, at });
        self.revision = Some(Revision { at: first.at.max(at), ..first });
    }

    /// Puts rules in force, sorted by code; others that were end at `at`. Returns whether [`Series::revise`] must be
    /// called.
    ///
    /// A changed rule judges the remembered readings anew. A rule that is gone clears what it raised, as the past was
    /// judged by the rule of its time; when it comes back, the remembered readings are judged again.
    pub fn watch(&mut self, rules: &[Rc<Rule>], at: Millis, told: &mut Vec<(usize, Told)>) -> bool {
        let mut changed = false;
        for (index, watch) in self.watches.iter_mut().enumerate() {
            match rules.iter().find(|rule| rule.code == watch.rule.code) {
                Some(rule) => {
                    changed |= !watch.enabled || watch.rule.limits != rule.limits;
                    watch.enabled = true;
                    watch.rule = Rc::clone(rule);
                }
                None if watch.enabled => {
                    watch.enabled = false;
                    let mut ended = Vec::new();
                    watch.end(at, Cause::Registry, &mut ended);
                    // Only what the remembered readings can show again may be told again.
                    let first = self.points.first().map_or(Millis::MAX, |point| point.at);
                    watch.records.retain(|record| record.last.episode.onset >= first);
                    told.extend(ended.into_iter().map(|t| (index, t)));
                }
                None => {}
            }
        }
        for rule in rules {
            if !self.watches.iter().any(|watch| watch.rule.code == rule.code) {
                self.watches.push(Watch::new(Rc::clone(rule)));
                changed |= !self.points.is_empty();
            }
        }
        if changed {
            self.changed(at, Cause::Registry);
        }
        changed
    }

    /// Ends everything that stands.
    pub fn end(&mut self, at: Millis, cause: Cause, told: &mut Vec<(usize, Told)>) {
        self.each(told, |watch, told| watch.end(at, cause, told));
    }

    /// Ends everything that stands and forgets the readings, as they mean nothing any more.
    pub fn restart(&mut self, at: Millis, cause: Cause, told: &mut Vec<(usize, Told)>) {
        self.end(at, cause, told);
        self.points.forget_before(Millis::MAX);
        for watch in &mut self.watches {
            watch.records.clear();
        }
    }

    /// Tells again everything that stands.
    pub fn repeat(&mut self, at: Millis, cause: Cause, told: &mut Vec<(usize, Told)>) {
        self.each(told, |watch, told| watch.repeat(at, cause, told));
    }

    /// Judges the remembered readings anew after the past changed.
    pub fn revise(&mut self, horizon: Millis, told: &mut Vec<(usize, Told)>) {
        let Some(revision) = self.revision.take() else { return };
        for (index, watch) in self.watches.iter_mut().enumerate().filter(|(_, w)| w.enabled) {
            let mut own = Vec::new();
            watch.revise(&self.points, revision, &mut own);
            told.extend(own.into_iter().map(|t| (index, t)));
        }
        self.forget(horizon);
    }

    fn each(&mut self, told: &mut Vec<(usize, Told)>, mut act: impl FnMut(&mut Watch, &mut Vec<Told>)) {
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
                watch.settled.step(&watch.rule.limits, point.at, point.value);
            }
        }
        self.points.forget_before(limit);
        for watch in &mut self.watches {
            let current = watch.settled.onset();
            watch.records.retain(|record| {
                let onset = record.last.episode.onset;
                onset > last || current == Some(onset)
            });
        }
    }
}
