//! The signal of one kind over a facility's events: the sum of what is the matter, and what was told of it.
//!
//! Enters: what events say. Leaves: transitions. Guarantees: what was told last of each episode follows from the last
//! words of all events that are remembered, whatever they said before.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{AlarmTransition, Code, Millis, RecordPlace};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::{
    Object, Profile,
    alarm::{
        journal::{Because, Cause, Emission},
        kind,
        matter::Matter,
        monitor::{Revision, RuleMonitor},
        transition::Concern,
    },
    window::points::Points,
};

/// The signal of one kind.
#[derive(Debug)]
pub(super) struct SignalState {
    /// Its place in [`kind::ALL`].
    pub(super) kind: u8,
    /// By kind and id of the event.
    pub(super) matters: BTreeMap<Code, Matter>,
    pub(super) monitor: RuleMonitor,
}

/// Written as [`super::SavedFacility`] is read.
impl Serialize for SignalState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (kind::ALL[usize::from(self.kind)].id, &self.matters, &self.monitor).serialize(serializer)
    }
}

impl SignalState {
    /// When the signal changes, in order.
    fn times(&self) -> BTreeSet<Millis> {
        self.matters.values().flat_map(Matter::times).collect()
    }

    pub(super) fn newest(&self) -> Millis {
        self.matters.values().flat_map(Matter::times).max().unwrap_or(Millis::MIN)
    }

    /// Puts what an event says in the place of what it said before.
    pub(super) fn put(
        &mut self,
        key: Code,
        matter: Option<Matter>,
        before: Option<Matter>,
        by: RecordPlace,
    ) -> Revision {
        let newest = self.newest();
        let changed = matter.iter().chain(&before).flat_map(Matter::times);
        let at = changed.max().unwrap_or(newest);
        match matter {
            Some(matter) => drop(self.matters.insert(key, matter)),
            None => drop(self.matters.remove(&key)),
        }
        // To say that something is over is no correction.
        let goes_on = |before: Matter| {
            before.until.is_none() && matter.is_some_and(|now| Matter { until: None, ..now } == before)
        };
        let cause = if before.is_none_or(goes_on) { Cause::LateData } else { Cause::Correction };
        Revision { why: Because { cause, by: Some(by) }, newest, at }
    }

    /// Judges the signal anew, and tells the difference to what was told.
    pub(super) fn judge(
        &mut self,
        profile: &Profile,
        facility: &Code,
        revision: Revision,
        clock: Millis,
        out: &mut Vec<AlarmTransition>,
    ) {
        let (mut points, mut told) = (Points::new(0), Vec::new());
        for at in self.times() {
            let held = self.matters.values().filter(|matter| matter.holds(at));
            points.upsert(at, held.fold(0.0, |sum, matter| sum + matter.value));
        }
        self.monitor.revise(&points, clock, revision, &mut told);
        out.extend(told.iter().map(|told| self.describe(profile, facility, told)));
    }

    /// Whether nothing is left that may still change.
    pub(super) fn is_over(&self) -> bool {
        self.matters.is_empty() && self.monitor.calm()
    }

    /// The first onset that may still change: what was told of it goes on being numbered. What is over before `limit` with
    /// all that it overlaps does not change.
    fn first(&self, limit: Millis) -> Millis {
        let mut matters: Vec<&Matter> = self.matters.values().collect();
        matters.sort_unstable_by_key(|matter| matter.from);
        let (mut onset, mut end) = (limit, Millis::MIN);
        for matter in matters {
            if matter.from > end {
                onset = matter.from;
            }
            if !matter.is_over(limit) {
                return onset.min(limit);
            }
            end = end.max(matter.until.unwrap_or(Millis::MAX));
        }
        limit
    }

    /// Whether [`SignalState::forget`] would change anything, or nothing is left to be forgotten.
    pub(super) fn fades(&self, limit: Millis) -> bool {
        let first = self.first(limit);
        let fading = self.matters.values().any(|matter| matter.from < first);
        self.is_over() || fading || self.monitor.settles_before(first)
    }

    pub(super) fn forget(&mut self, limit: Millis) {
        let first = self.first(limit);
        self.matters.retain(|_, matter| matter.from >= first);
        self.monitor.settle_before(first, None);
    }

    pub(super) fn describe(&self, profile: &Profile, facility: &Code, told: &Emission) -> AlarmTransition {
        let rule = &self.monitor.rule;
        let object = Object { facility: facility.clone(), device: Code::default() };
        let concern = Concern {
            rule: &rule.code,
            metric: None,
            object: &object,
            profile: Some(profile),
            analysed: false,
            advice: &rule.advice,
        };
        concern.transition(told, &self.evidence(told))
    }

    /// The rule, and the events of the episode.
    fn evidence(&self, told: &Emission) -> Value {
        let (onset, end) = (told.episode.onset, told.episode.cleared_at.unwrap_or(Millis::MAX));
        let of_episode = |matter: &Matter| (onset..end).contains(&matter.from);
        let events = self.matters.iter().filter(|(_, matter)| of_episode(matter));
        let event = |(id, matter): (&Code, &Matter)| {
            let until = matter.until.map(schemas::time::rfc3339);
            json!({ "event": id.as_str(), "from": schemas::time::rfc3339(matter.from), "until": until,
                    "value": matter.value })
        };
        json!({ "rule": self.monitor.rule.describe(), "events": events.map(event).collect::<Value>() })
    }
}
