//! The objects of one model on one worker: each judged hour by hour, and told of by estimates and alarms.
//!
//! Enters: closed hours, again when they changed, and the registry. Leaves: what the model says of each hour, and its
//! alarms through the machinery of episodes, with `analysed` set.
//! Guarantees: when an hour within the horizon changes, all behind it are judged again: what is said last is what the
//! hours in the order of their time give, and what was said otherwise before is revised or retracted with its cause. An
//! object's state ends when it is no longer registered.

use std::{rc::Rc, sync::Arc};

use schemas::{AlarmTransition, Code, Epoch, EstimateRow, Millis, time::HOUR};
use serde_json::{Value, json};

use super::{
    Model, Settings,
    course::{Outcome, Rules},
    end_of, number,
    object::{Ground, ObjectState, Put},
    saved::SavedWatched,
};
use crate::{
    Object, Profile, ProfileChange, Stage,
    alarm::{
        journal::{Cause, Emission},
        monitor::{Found, Revision, RuleMonitor},
        transition::{Concern, by_registry, sort},
    },
    durable::{Keyed, shard},
    season::Seasons,
    window::{ClosedHour, WindowedEpoch},
};

/// What holds for all models.
#[derive(Clone, Debug)]
pub struct Terms {
    /// How far behind the newest hour of an object an hour may change and is judged again, ms. At least as long as hours
    /// stay open.
    pub horizon: Millis,
    /// When heating is due.
    pub seasons: Seasons,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms { horizon: 48 * HOUR, seasons: Seasons::default() }
    }
}

/// What a model says of an epoch's hours.
#[derive(Debug)]
pub struct JudgedEpoch<M: Model> {
    /// Of the hours given and of those that they changed, by object and hour. The last word about an hour counts.
    pub diagnoses: Vec<M::Diagnosis>,
    /// Sorted by (at, alarm, sequence).
    pub transitions: Vec<AlarmTransition>,
    /// Hours that came later than the horizon and did not count for alarms.
    pub too_late: u64,
}

impl<M: Model> Default for JudgedEpoch<M> {
    fn default() -> Self {
        JudgedEpoch { diagnoses: Vec::new(), transitions: Vec::new(), too_late: 0 }
    }
}

/// The same, whatever the model.
#[derive(Debug, Default, PartialEq)]
pub struct ModelledEpoch {
    /// Number of the epoch.
    pub epoch: Epoch,
    /// By object and hour. The last word about an hour counts.
    pub estimates: Vec<EstimateRow>,
    /// Sorted by (at, alarm, sequence).
    pub transitions: Vec<AlarmTransition>,
    /// Hours that came later than the horizon and did not count for alarms.
    pub too_late: u64,
}

/// An object with what was told of it.
#[derive(Debug)]
pub(super) struct Watched<M: Model> {
    pub(super) profile: Arc<Profile>,
    pub(super) object: ObjectState<M>,
    /// What was told, by rule.
    pub(super) monitors: Vec<RuleMonitor>,
}

/// The objects of one model on one worker.
#[derive(Debug)]
pub struct Judge<M: Model> {
    terms: Terms,
    settings: Settings,
    rules: Rules,
    pub(super) objects: Keyed<Code, Watched<M>, SavedWatched<M>>,
}

impl<M: Model> Stage for Judge<M> {
    type Input = WindowedEpoch;
    type Output = ModelledEpoch;
    const NAME: &'static str = M::STATE;

    fn apply(&mut self, input: &WindowedEpoch) -> ModelledEpoch {
        let JudgedEpoch { diagnoses, transitions, too_late } = self.judge(input);
        let estimates = diagnoses.iter().map(M::estimate).collect();
        ModelledEpoch { epoch: input.epoch, estimates, transitions, too_late }
    }

    /// Hours remembered.
    fn entries(&self) -> usize {
        self.objects.iter().map(|(_, _, watched)| watched.object.hours.len()).sum()
    }
}

impl<M: Model> Judge<M> {
    /// The model before its first hour, with the settings in force.
    #[must_use]
    pub fn new(terms: Terms) -> Judge<M> {
        Judge::with(terms, Settings::of(M::CODE))
    }

    /// The same with other settings.
    #[must_use]
    pub fn with(terms: Terms, settings: Settings) -> Judge<M> {
        let rules = M::rules().into_iter().map(Rc::new).collect();
        Judge { terms, settings, rules, objects: Keyed::new(|object| shard(object)) }
    }

    /// Judges the hours of an epoch.
    pub fn judge(&mut self, input: &WindowedEpoch) -> JudgedEpoch<M> {
        let mut output = JudgedEpoch::default();
        for change in &input.profiles {
            self.register(change, input.clock, &mut output);
        }
        by_registry(&mut output.transitions, input.registry);
        // The first epoch names every registered object: what was saved of others is gone.
        self.objects.forget_restored();
        let mut hours: Vec<&ClosedHour> = input.hours.iter().collect();
        hours.sort_by(|a, b| (&a.facility, a.hour).cmp(&(&b.facility, b.hour)));
        for hours in hours.chunk_by(|a, b| a.facility == b.facility) {
            self.take(hours, &mut output);
        }
        sort(&mut output.transitions);
        output
    }

    fn ground(&self, profile: &Profile) -> Option<Ground<M::Ground>> {
        let model = M::ground(profile, &self.settings)?;
        Some(Ground { model, season: self.terms.seasons.of(profile, "") })
    }

    fn register(&mut self, change: &ProfileChange, clock: Millis, output: &mut JudgedEpoch<M>) {
        let known = change.profile.as_ref().and_then(|profile| Some((profile, self.ground(profile)?)));
        let Some((profile, ground)) = known else {
            if let Some(mut watched) = self.objects.remove(&change.facility) {
                watched.end(clock, &mut output.transitions);
            }
            return;
        };
        let known = self.objects.number(&change.facility);
        if let Some(watched) = known.and_then(|number| self.objects.get_mut(number)) {
            watched.profile = Arc::clone(profile);
            if watched.object.reground(ground) {
                let newest = watched.object.newest().map_or(clock, end_of);
                let revision = Revision { why: Cause::Registry.into(), newest, at: clock };
                watched.revise(watched.object.open, revision, (&self.terms, &self.rules), output);
            }
            return;
        }
        let (facility, profile) = (change.facility.clone(), Arc::clone(profile));
        let object = ObjectState::new(ground, &self.rules);
        let monitors = self.rules.iter().map(|rule| RuleMonitor::new(Rc::clone(rule))).collect();
        let watched = Watched { profile, object, monitors };
        let (terms, rules) = (&self.terms, &self.rules);
        self.objects.know(facility, |saved| match saved {
            Some(saved) => (saved.resume(watched, terms, rules), true),
            None => (watched, false),
        });
    }

    /// Takes the hours of one object, by time.
    fn take(&mut self, hours: &[&ClosedHour], output: &mut JudgedEpoch<M>) {
        let known = hours.first().and_then(|hour| self.objects.number(&hour.facility));
        let Some(watched) = known.and_then(|number| self.objects.get_mut(number)) else { return };
        let newest = watched.object.newest();
        let mut changed: Option<(i32, Revision)> = None;
        for hour in hours {
            let (number, at) = (number(hour.hour), hour.hour + HOUR);
            let why = match watched.object.put(hour) {
                Put::Known => continue,
                Put::TooLate => {
                    output.too_late += 1;
                    continue;
                }
                Put::Changed(why) => why,
            };
            let (first, revision) =
                changed.get_or_insert((number, Revision { why, newest: newest.map_or(at, end_of), at }));
            *first = number.min(*first);
            if newest.is_some_and(|newest| number <= newest) {
                let first = revision.why.cause == Cause::Data;
                revision.at = if first { at } else { revision.at.max(at) };
                revision.why = if first { why } else { revision.why };
            }
        }
        let Some((first, revision)) = changed else { return };
        let terms = (&self.terms, &self.rules);
        if newest.is_some_and(|newest| first <= newest) {
            watched.revise(first, revision, terms, output);
        } else {
            watched.follow(first, terms, output);
        }
        watched.settle(terms);
    }
}

impl<M: Model> Watched<M> {
    /// Judges new hours.
    fn follow(&mut self, first: i32, (terms, rules): (&Terms, &Rules), output: &mut JudgedEpoch<M>) {
        let outcomes = self.object.follow(first, terms, rules);
        for outcome in &outcomes {
            for (rule, step, cause) in &outcome.steps {
                let told = self.monitors[*rule].take(step, cause.unwrap_or(Cause::Data).into());
                output.transitions.push(self.describe(*rule, &told, outcome));
            }
        }
        output.diagnoses.extend(outcomes.into_iter().map(|outcome| outcome.diagnosis));
    }

    /// Judges the open hours again, of which those from `first` on may have changed.
    fn revise(
        &mut self,
        first: i32,
        revision: Revision,
        (terms, rules): (&Terms, &Rules),
        output: &mut JudgedEpoch<M>,
    ) {
        let outcomes = self.object.revise(first, terms, rules);
        for rule in 0..rules.len() {
            let mut found = Found::standing(&self.object.settled.folds[rule]);
            for outcome in &outcomes {
                for (_, step, cause) in outcome.steps.iter().filter(|(of, ..)| *of == rule) {
                    Found::list(&mut found, *step, *cause);
                }
            }
            let mut told = Vec::new();
            self.monitors[rule].correct(found, revision, &mut told);
            for told in told {
                // The hour that says it; what is taken back is shown by the newest hour that changed.
                let said = outcomes.iter().rfind(|outcome| outcome.end() <= told.at).or(outcomes.first());
                output.transitions.extend(said.map(|outcome| self.describe(rule, &told, outcome)));
            }
        }
        let changed = outcomes.into_iter().filter(|outcome| outcome.number >= first);
        output.diagnoses.extend(changed.map(|outcome| outcome.diagnosis));
    }

    /// Settles what lies behind the horizon, and the episodes that are final with it.
    fn settle(&mut self, (terms, rules): (&Terms, &Rules)) {
        self.object.settle(terms, rules);
        let first = end_of(self.object.open);
        for (monitor, fold) in self.monitors.iter_mut().zip(&self.object.settled.folds) {
            monitor.settle_before(first, fold.onset());
        }
    }

    /// Ends what stands: the object is no more.
    fn end(&mut self, clock: Millis, out: &mut Vec<AlarmTransition>) {
        for rule in 0..self.monitors.len() {
            let mut told = Vec::new();
            self.monitors[rule].end(clock, Cause::Registry, &mut told);
            out.extend(told.iter().map(|told| self.transition(rule, told, &Value::Null)));
        }
    }

    fn describe(&self, rule: usize, told: &Emission, outcome: &Outcome<M>) -> AlarmTransition {
        let mut evidence = M::explain(rule, &outcome.diagnosis, &outcome.shown, &self.object.hours);
        if let Some(evidence) = evidence.as_object_mut() {
            evidence.insert("rule".to_owned(), json!(self.monitors[rule].rule.describe()));
        }
        self.transition(rule, told, &evidence)
    }

    fn transition(&self, rule: usize, told: &Emission, evidence: &Value) -> AlarmTransition {
        let rule = &self.monitors[rule].rule;
        let object = Object { facility: self.profile.facility.code.clone(), device: Code::default() };
        let concern = Concern {
            rule: &rule.code,
            metric: None,
            object: &object,
            profile: Some(&self.profile),
            analysed: true,
            advice: &rule.advice,
        };
        concern.transition(told, evidence)
    }
}
