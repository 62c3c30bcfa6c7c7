//! One rule over a series: what was told of its episodes, and the difference to what should have been told.
//!
//! Enters: steps of the fold, or the remembered readings when the past changed. Leaves: what is to be told ([`Emission`]).
//! Guarantees: the transitions of an episode are numbered without gaps and never go back in time.

use std::rc::Rc;

use schemas::{Millis, RecordPlace, Transition};
use smallvec::SmallVec;

use super::{
    episode::{Episode, Fold, Limits, Step},
    journal::{Because, Cause, Emission, Journal},
    rule::Rule,
};
use crate::window::points::Points;

/// One rule over the series.
#[derive(Debug)]
pub struct RuleMonitor {
    /// The rule in force, or the last that was.
    pub rule: Rc<Rule>,
    /// Whether the rule is in force.
    pub(super) enabled: bool,
    /// Nothing while all is well, as it mostly is.
    pub(super) judged: Option<Box<Judged>>,
}

/// Where a rule stands, and what was told of it.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// State before the remembered readings.
    pub(super) settled: Fold,
    /// State after them; stale while the series is to be revised.
    pub(super) latest: Fold,
    /// Episodes that may still change.
    pub(super) journal: Journal,
}

impl Judged {
    /// Whether nothing is pending, stands or may still change.
    pub(super) fn is_empty(&self) -> bool {
        self.settled.idle() && self.latest.idle() && self.journal.is_empty()
    }
}

impl RuleMonitor {
    /// A rule that has not judged anything yet.
    #[must_use]
    pub fn new(rule: Rc<Rule>) -> RuleMonitor {
        RuleMonitor { rule, enabled: true, judged: None }
    }

    /// Whether nothing is pending, stands or may still change.
    #[must_use]
    pub fn calm(&self) -> bool {
        self.judged.is_none()
    }

    /// Whether an episode stands.
    #[must_use]
    pub fn open(&self) -> bool {
        self.standing().next().is_some()
    }

    fn journal(&self) -> impl Iterator<Item = &Emission> {
        self.judged.iter().flat_map(|judged| judged.journal.iter())
    }

    fn standing(&self) -> impl Iterator<Item = Episode> {
        self.journal().filter(|last| last.stands()).map(|last| last.episode)
    }

    /// Takes the reading after all others, which came in the record `by`.
    pub(super) fn follow(
        &mut self,
        at: Millis,
        value: f64,
        by: Option<RecordPlace>,
        told: &mut Vec<Emission>,
    ) {
        let rule = Rc::clone(&self.rule);
        let Some(judged) = judging(&mut self.judged, &rule.limits, value) else { return };
        let steps = rule.judge(&mut judged.latest, at, value);
        let ordinary = Because { cause: Cause::Data, by };
        told.extend(steps.map(|(step, cause)| self.take(&step, ordinary.unless(cause))));
    }

    /// Whether heating has stopped by plan under what is pending or stands.
    pub(super) fn pauses(&self, clock: Millis) -> bool {
        let judged = self.judged.as_deref().filter(|_| self.enabled);
        judged.is_some_and(|judged| self.rule.paused(&judged.latest, clock).is_some())
    }

    /// Ends what heating has stopped under by plan.
    pub(super) fn pause(&mut self, clock: Millis, told: &mut Vec<Emission>) {
        let Some(judged) = self.judged.as_deref_mut().filter(|_| self.enabled) else { return };
        let step = self.rule.pause(&mut judged.latest, clock);
        told.extend(step.map(|step| self.take(&step, Cause::Season.into())));
    }

    /// Takes a reading that is about to be forgotten.
    pub(super) fn settle(&mut self, at: Millis, value: f64) {
        let limits = &self.rule.limits;
        if let Some(judged) = judging(&mut self.judged, limits, value) {
            self.rule.judge(&mut judged.settled, at, value).for_each(drop);
        }
    }

    /// Forgets the episodes that can no longer change, once readings up to `last` are settled.
    pub(super) fn forget(&mut self, last: Millis) {
        let current = self.judged.as_ref().and_then(|judged| judged.settled.onset());
        self.retain(|onset| onset > last || current == Some(onset));
    }

    /// Forgets the episodes that began before `first`.
    pub(super) fn forget_before(&mut self, first: Millis) {
        self.retain(|onset| onset >= first);
    }

    /// Keeps the episodes of some onsets.
    fn retain(&mut self, keep: impl Fn(Millis) -> bool) {
        if let Some(judged) = &mut self.judged {
            judged.journal.retain(keep);
            if judged.is_empty() {
                self.judged = None;
            }
        }
    }

    fn tell(&mut self, transition: Transition, at: Millis, episode: Episode, why: Because) -> Emission {
        self.judged.get_or_insert_default().journal.emit(transition, at, episode, why)
    }

    /// Ends what stands, from outside the data.
    pub(crate) fn end(&mut self, at: Millis, cause: Cause, told: &mut Vec<Emission>) {
        let standing: Vec<Episode> = self.standing().collect();
        for episode in standing {
            let at = at.max(episode.raised_at);
            let ended = Episode { cleared_at: Some(at), ..episode };
            told.push(self.tell(Transition::Cleared, at, ended, cause.into()));
        }
        if let Some(judged) = &mut self.judged {
            (judged.settled, judged.latest) = (Fold::default(), Fold::default());
        }
    }

    /// Tells again what stands, because what surrounds it changed.
    pub(super) fn repeat(&mut self, at: Millis, cause: Cause, told: &mut Vec<Emission>) {
        let standing: Vec<Episode> = self.standing().collect();
        for episode in standing {
            told.push(self.tell(Transition::Updated, at, episode, cause.into()));
        }
    }

    /// Folds the remembered readings anew and tells the difference to what was told.
    pub(super) fn revise(
        &mut self,
        points: &Points,
        clock: Millis,
        revision: Revision,
        told: &mut Vec<Emission>,
    ) {
        let settled = self.judged.as_ref().map_or_else(Fold::default, |judged| judged.settled.clone());
        let (latest, found) = refold(settled, &self.rule, points, clock);
        if self.judged.is_some() || !latest.idle() {
            self.judged.get_or_insert_default().latest = latest;
        }
        self.correct(found, revision, told);
    }

    /// Tells the difference between what was told and the episodes that were found anew, by onset.
    pub(crate) fn correct(&mut self, found: Vec<Found>, revision: Revision, told: &mut Vec<Emission>) {
        let told_of = self.journal().filter(|last| last.transition != Transition::Retracted);
        let gone: Vec<Episode> = told_of
            .map(|last| last.episode)
            .filter(|episode| !found.iter().any(|steps| steps.onset == episode.onset))
            .collect();
        for episode in gone {
            told.push(self.tell(Transition::Retracted, revision.at, episode, revision.why));
        }
        for episode in found {
            self.reconcile(&episode, revision, told);
        }
    }

    fn reconcile(&mut self, found: &Found, revision: Revision, told: &mut Vec<Emission>) {
        let known = self.judged.as_ref().and_then(|judged| judged.journal.of(found.onset)).copied();
        let known = known.filter(|last| last.transition != Transition::Retracted);
        let from = match known {
            None => 0,
            Some(last) => match found.steps.iter().rposition(|(step, _)| step.episode == last.episode) {
                Some(index) => index + 1,
                None => {
                    let Some((end, cause)) = found.steps.last() else { return };
                    let transition = difference(&last.episode, &end.episode);
                    let why = revision.why.unless(*cause);
                    told.push(self.tell(transition, revision.at, end.episode, why));
                    return;
                }
            },
        };
        for (step, cause) in &found.steps[from..] {
            let ordinary = match step.decided_at > revision.newest {
                true => Because { cause: Cause::Data, ..revision.why },
                false => revision.why,
            };
            told.push(self.take(step, ordinary.unless(*cause)));
        }
    }

    /// Tells a step of the fold.
    pub(crate) fn take(&mut self, step: &Step, why: Because) -> Emission {
        self.tell(step.transition, step.at(), step.episode, why)
    }

    /// Whether [`RuleMonitor::settle_before`] forgets something.
    pub(super) fn settles_before(&self, first: Millis) -> bool {
        self.journal().any(|last| last.episode.onset < first)
    }

    /// Forgets the episodes that began before `first`, but for the one of `standing`.
    pub(crate) fn settle_before(&mut self, first: Millis, standing: Option<Millis>) {
        self.retain(|onset| onset >= first || standing == Some(onset));
    }
}

/// Where a rule stands, unless a value leaves it where nothing is.
fn judging<'a>(judged: &'a mut Option<Box<Judged>>, limits: &Limits, value: f64) -> Option<&'a mut Judged> {
    if judged.is_none() && limits.severity(value, 0) == 0 {
        return None;
    }
    Some(judged.get_or_insert_default())
}

/// The steps of one episode found by folding anew, with their cause where no value shows it.
#[derive(Debug)]
pub(crate) struct Found {
    onset: Millis,
    steps: SmallVec<[(Step, Option<Cause>); 4]>,
}

impl Found {
    /// Lists a step under its episode. A standing episode of which the fold begins is listed before its first step.
    pub(crate) fn list(found: &mut Vec<Found>, step: Step, cause: Option<Cause>) {
        match found.last_mut().filter(|last| last.onset == step.episode.onset) {
            Some(last) => last.steps.push((step, cause)),
            None => {
                let steps = SmallVec::from_iter([(step, cause)]);
                found.push(Found { onset: step.episode.onset, steps });
            }
        }
    }

    /// What stood before the remembered readings; never told again, as it is what was told.
    pub(crate) fn standing(fold: &Fold) -> Vec<Found> {
        let mut found = Vec::new();
        if let Some(episode) = fold.told() {
            let step = Step { transition: Transition::Updated, decided_at: episode.raised_at, episode };
            Found::list(&mut found, step, None);
        }
        found
    }
}

fn refold(mut fold: Fold, rule: &Rule, points: &Points, clock: Millis) -> (Fold, Vec<Found>) {
    let mut found = Found::standing(&fold);
    for point in points.iter() {
        for (step, cause) in rule.judge(&mut fold, point.at, point.value) {
            Found::list(&mut found, step, cause);
        }
    }
    if let Some(step) = rule.pause(&mut fold, clock) {
        Found::list(&mut found, step, Some(Cause::Season));
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
pub(crate) struct Revision {
    pub(crate) why: Because,
    /// The newest reading when it changed first: what later readings decide is ordinary.
    pub(crate) newest: Millis,
    /// The latest reading time (or registry change) that changed.
    pub(crate) at: Millis,
}
