//! From what is to be told of an episode to the transition on the topic, with all fields of T 3.5.2 (7).

use schemas::{AlarmState, AlarmTransition, Code, MetricId, Millis, RecordPlace, Transition, fnv::fnv_128};
use serde_json::{Value, json};

use super::{
    journal::{Cause, Emission},
    rule::Rule,
    series::WatchedSeries,
};
use crate::{Object, Profile};

/// What an alarm is about.
#[derive(Clone, Copy, Debug)]
pub struct Concern<'a> {
    /// Rule or model code.
    pub rule: &'a str,
    /// Metric, where the rule is about one.
    pub metric: Option<MetricId>,
    /// Whose.
    pub object: &'a Object,
    /// What the registry says of it.
    pub profile: Option<&'a Profile>,
    /// Whether a model concluded it.
    pub analysed: bool,
    /// What to do about it.
    pub advice: &'a str,
}

impl Concern<'_> {
    /// The transition that tells it.
    #[must_use]
    pub fn transition(&self, told: &Emission, evidence: &Value) -> AlarmTransition {
        let episode = &told.episode;
        let state = match (told.transition, episode.cleared_at) {
            (Transition::Retracted, _) => AlarmState::Retracted,
            (_, Some(_)) => AlarmState::Cleared,
            (_, None) => AlarmState::Active,
        };
        AlarmTransition {
            alarm_id: alarm_id(self.rule, self.object, self.metric, episode.onset),
            sequence: told.sequence,
            transition: told.transition,
            at: told.at,
            state,
            rule: Code::from(self.rule),
            facility: self.object.facility.clone(),
            device: self.object.device.clone(),
            metric: self.metric,
            level: episode.level,
            raised_at: episode.raised_at,
            cleared_at: episode.cleared_at,
            first_value: episode.first_value,
            current_value: episode.current_value,
            peak_value: episode.peak_value,
            peak_at: episode.peak_at,
            peak_level: episode.peak_level,
            analysed: self.analysed,
            affected_households: self.profile.map_or(0, |p| p.households_below),
            affected_area: self.profile.map_or(0.0, |p| p.area_below),
            evidence: evidence.to_string(),
            advice: self.advice.to_owned(),
            cause: told.cause.name().to_owned(),
            caused_by: told.by,
        }
    }
}

/// Names an episode: 20 hex digits (so that it fits the field BSM of the exchange tables), FNV-1a over rule, object,
/// metric and onset. A replay, a restart and another number of workers give the same name.
#[must_use]
pub fn alarm_id(rule: &str, object: &Object, metric: Option<MetricId>, onset: Millis) -> String {
    let metric = metric.map_or("", MetricId::code);
    let parts = [rule, &object.facility, &object.device, metric];
    let names = parts.into_iter().flat_map(|part| part.bytes().chain([0]));
    let hash = fnv_128(names.chain(onset.to_be_bytes()));
    let folded = (hash >> 48) ^ (hash & 0xffff_ffff_ffff);
    format!("{:020x}", folded & ((1 << 80) - 1))
}

/// Readings for the evidence: `[[time, value], …]`.
fn describe_readings(readings: impl Iterator<Item = (Millis, f64)>) -> Value {
    readings.map(|(at, value)| json!([schemas::time::rfc3339(at), value])).collect()
}

/// How many of the last readings an alarm shows as evidence.
const EVIDENCE_READINGS: usize = 5;

/// The rule and the last values that it judged.
#[must_use]
pub fn describe_values(rule: &Rule, series: &WatchedSeries) -> Value {
    let last = series.readings().skip(series.len().saturating_sub(EVIDENCE_READINGS));
    json!({
        "rule": rule.describe(),
        "readings": describe_readings(last),
        "quality": "usable (flag 1 or 2)",
    })
}

/// Names the registry record behind what the registry changed.
pub fn by_registry(transitions: &mut [AlarmTransition], place: Option<RecordPlace>) {
    let changed = |told: &&mut AlarmTransition| told.cause == Cause::Registry.name();
    transitions.iter_mut().filter(changed).for_each(|told| told.caused_by = place);
}

/// The order in which transitions leave an epoch.
pub fn sort(transitions: &mut [AlarmTransition]) {
    transitions.sort_by(|a, b| (a.at, &a.alarm_id, a.sequence).cmp(&(b.at, &b.alarm_id, b.sequence)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_depends_on_everything_that_names_the_episode_and_on_nothing_else() {
        let object =
            |facility: &str, device: &str| Object { facility: facility.into(), device: device.into() };
        let metric = schemas::Catalogue::in_force().id("voltage");
        let ids = [
            alarm_id("r", &object("a", "b"), metric, 1),
            alarm_id("s", &object("a", "b"), metric, 1),
            alarm_id("r", &object("ab", ""), metric, 1),
            alarm_id("r", &object("a", ""), metric, 1),
            alarm_id("r", &object("a", "b"), None, 1),
            alarm_id("r", &object("a", "b"), metric, 2),
        ];
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        assert!(ids.iter().all(|id| id.len() == 20));
        // Written down, so that a change of the function is noticed: old episodes would get new names.
        assert_eq!(ids[0], "abe30f80447361bac677");
    }
}
