//! The judgement of one object hour by hour: what is learnt, which episodes stand, what is no evidence.
//!
//! Enters: hours in the order of their time. Leaves: per hour a diagnosis and the steps of episodes. Guarantees: a pure
//! fold over the hours and what surrounds them, so a course that is repeated from an earlier state over the same hours
//! ends in the same state. An hour is judged by what was learnt before it.

use std::rc::Rc;

use schemas::Millis;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{Case, Judged, Lesson, Model, Remembered, Say, end_of, number};
use crate::alarm::{
    episode::{Fold, Step},
    journal::Cause,
    rule::Rule,
};

/// The rules of a model.
pub(super) type Rules = Rc<[Rc<Rule>]>;

/// Where the judgement of an object stands after an hour.
#[derive(Debug)]
pub(super) struct Course<M: Model> {
    pub(super) learnt: M::Learnt,
    pub(super) excluded: Excluded,
    /// One per rule.
    pub(super) folds: Vec<Fold>,
}

/// What a course is judged by beside its hours.
#[derive(Debug)]
pub(super) struct Surroundings<'a, M: Model> {
    pub(super) rules: &'a Rules,
    pub(super) ground: &'a M::Ground,
    /// Whether heating is due in the hour.
    pub(super) heating: bool,
}

/// What comes of an hour.
#[derive(Debug)]
pub(super) struct Outcome<M: Model> {
    pub(super) number: i32,
    pub(super) diagnosis: M::Diagnosis,
    /// Rule, step and its cause, where no value shows it.
    pub(super) steps: SmallVec<[(usize, Step, Option<Cause>); 1]>,
    /// What alarms show; only with steps.
    pub(super) shown: M::Shown,
}

impl<M: Model> Outcome<M> {
    pub(super) fn end(&self) -> Millis {
        end_of(self.number)
    }
}

impl<M: Model> Clone for Course<M> {
    fn clone(&self) -> Self {
        Course { learnt: self.learnt.clone(), excluded: self.excluded.clone(), folds: self.folds.clone() }
    }
}

impl<M: Model> Course<M> {
    /// Nothing is known yet.
    pub(super) fn new(rules: &Rules) -> Course<M> {
        Course {
            learnt: M::Learnt::default(),
            excluded: Excluded::default(),
            folds: vec![Fold::default(); rules.len()],
        }
    }

    /// Judges the last of `hours`, then learns. What was fitted at its end before is taken from `fits`, else fitted and
    /// put there.
    pub(super) fn step(
        &mut self,
        hours: &mut [M::Hour],
        fits: &mut Fits<M::Fit>,
        around: &Surroundings<'_, M>,
    ) -> Outcome<M> {
        let (ground, heating) = (around.ground, around.heating);
        let case = Case { hours, ground, heating, folds: &self.folds };
        let Judged { diagnosis, hour, says } = M::judge(&self.learnt, &case);
        let mut outcome =
            Outcome { number: hour.number(), diagnosis, steps: SmallVec::new(), shown: M::Shown::default() };
        if let Some(last) = hours.last_mut() {
            *last = hour;
        }
        for (rule, say) in says.into_iter().enumerate() {
            let fold = &mut self.folds[rule];
            let step = match say {
                Say::Nothing => None,
                Say::Value(value) => {
                    fold.step(&around.rules[rule].limits, outcome.end(), value).map(|step| (step, None))
                }
                Say::End(cause) => fold.end(outcome.end()).map(|step| (step, Some(cause))),
            };
            outcome.steps.extend(step.map(|(step, cause)| (rule, step, cause)));
        }
        let standing = self.folds.iter().enumerate().filter(|(rule, _)| M::locks(*rule));
        for episode in standing.filter_map(|(_, fold)| fold.told()) {
            self.excluded.add(number(episode.onset) - 1, outcome.number + 1);
        }
        self.excluded.forget(outcome.number - M::memory(ground));
        let case = Case { hours, ground, heating, folds: &self.folds };
        let lesson = Lesson { case, diagnosis: &outcome.diagnosis, excluded: &mut self.excluded, fits };
        for (rule, cause) in M::learn(&mut self.learnt, lesson) {
            let step = self.folds[rule].end(outcome.end());
            outcome.steps.extend(step.map(|step| (rule, step, Some(cause))));
        }
        if !outcome.steps.is_empty() {
            outcome.shown = M::shown(&self.learnt);
        }
        outcome
    }
}

/// Hours that are no evidence, as spans of numbers, from and until.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Excluded(pub(super) Vec<(i32, i32)>);

impl Excluded {
    /// Adds a span, and joins what it touches.
    pub(super) fn add(&mut self, mut from: i32, mut until: i32) {
        self.0.retain(|(a, b)| {
            let apart = *b < from || *a > until;
            if !apart {
                (from, until) = (from.min(*a), until.max(*b));
            }
            apart
        });
        self.0.push((from, until));
    }

    fn forget(&mut self, before: i32) {
        self.0.retain(|(_, until)| *until > before);
    }

    /// Whether an hour is among them.
    #[must_use]
    pub fn holds(&self, hour: i32) -> bool {
        self.0.iter().any(|(from, until)| (*from..*until).contains(&hour))
    }

    /// Takes all hours for evidence.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// What was learnt at the ends of open hours, by their numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fits<F>(pub(super) Vec<(i32, F)>);

impl<F: Clone> Fits<F> {
    /// What was learnt at the end of an hour; else it is computed, where there is enough to compute it from.
    pub fn at(&mut self, hour: i32, compute: impl FnOnce() -> Option<F>) -> Option<F> {
        if let Some((_, fit)) = self.0.iter().find(|(number, _)| *number == hour) {
            return Some(fit.clone());
        }
        let fit = compute()?;
        self.0.push((hour, fit.clone()));
        Some(fit)
    }

    pub(super) fn keep(&mut self, keep: impl Fn(i32) -> bool) {
        self.0.retain(|(hour, _)| keep(*hour));
    }
}
