//! Everything alarms know of one object: its watched series, its arrivals, where it is registered.
//!
//! Enters: its reports and the rules of its profile. Leaves: transitions.

use std::rc::Rc;

use schemas::{AlarmTransition, MetricId, Millis};
use serde_json::json;
use smallvec::SmallVec;

use super::{
    communication::{self, Contact},
    position::{self, Place},
    rule::Rule,
    series::{Now, Series, Taken},
    threshold::RuleList,
    transition::{Concern, describe_readings},
    watch::{Cause, Told},
};
use crate::{Change, Checked, CheckedReport, Object, Profile};

/// How many of the last readings an alarm shows as evidence.
const EVIDENCE_READINGS: usize = 5;

/// What is told of an object's series, with the index of the series.
pub type ToldOfSeries = (usize, usize, Told);

/// The state of one object.
#[derive(Debug)]
pub struct ObjectState {
    /// Whose.
    pub object: Rc<Object>,
    /// Its arrivals.
    pub contact: Contact,
    /// Whether a series is to be revised before the epoch ends.
    pub dirty: bool,
    /// One bit per metric that has a series (modulo 128), so that most readings need no search.
    pub(super) watched: u128,
    /// The same for metrics that have rules and no series.
    pub(super) awaited: u128,
    /// The rules in force, without that of its place.
    pub(super) rules: RuleList,
    pub(super) place: Option<Box<Place>>,
    /// The series that were ever seen and watched, by metric; first the one of distances, which has none.
    pub(super) series: Vec<(Option<MetricId>, Series)>,
}

impl ObjectState {
    /// An object that reported for the first time.
    #[must_use]
    pub fn new(object: Rc<Object>, contact: Contact) -> ObjectState {
        ObjectState {
            object,
            contact,
            dirty: false,
            watched: 0,
            awaited: 0,
            rules: RuleList::default(),
            place: None,
            series: Vec::new(),
        }
    }

    /// Readings remembered, and the bytes that they and their series take.
    #[must_use]
    pub fn remembered(&self) -> (usize, usize) {
        self.series.iter().fold((0, 0), |(n, bytes), (_, s)| (n + s.len(), bytes + s.bytes()))
    }

    /// Puts the rules of the profile in force.
    pub fn watch(
        &mut self,
        rules: &RuleList,
        place: Option<Place>,
        clock: Millis,
        told: &mut Vec<ToldOfSeries>,
    ) {
        self.rules = Rc::clone(rules);
        let moved = self.place.as_deref() != place.as_ref();
        let mut own = Vec::new();
        for (index, (metric, series)) in self.series.iter_mut().enumerate() {
            let place_rule = place.as_ref().map(|place| &place.rule);
            let wanted = wanted(place_rule.into_iter().chain(rules.iter()), *metric);
            if metric.is_none() && moved {
                series.restart(clock, Cause::Registry, &mut own);
            }
            self.dirty |= series.watch(&wanted, clock, &mut own);
            told.extend(own.drain(..).map(|(watch, t)| (index, watch, t)));
        }
        self.mark();
        if moved {
            self.place = place.map(Box::new);
        }
    }

    /// Says which metrics have series and which only rules.
    fn mark(&mut self) {
        let bits = |metrics: &mut dyn Iterator<Item = Option<MetricId>>| {
            metrics.flatten().fold(0, |bits, metric| bits | bit(metric))
        };
        self.watched = bits(&mut self.series.iter().map(|(metric, _)| *metric));
        let awaited = |rule: &&Rc<Rule>| self.find(rule.metric).is_err();
        self.awaited = bits(&mut self.rules.iter().filter(awaited).map(|rule| rule.metric));
    }

    fn find(&self, metric: Option<MetricId>) -> Result<usize, usize> {
        self.series.binary_search_by_key(&metric, |(metric, _)| *metric)
    }

    /// Begins the series of metrics that are watched and usable for the first time.
    fn begin(&mut self, report: CheckedReport<'_>) {
        let (usable, before) =
            (report.readings.iter().filter(|reading| reading.flag.usable()), self.series.len());
        for reading in usable.filter(|reading| self.awaited & bit(reading.metric) != 0) {
            let metric = Some(reading.metric);
            let (Err(place), wanted) = (self.find(metric), wanted(self.rules.iter(), metric)) else {
                continue;
            };
            if !wanted.is_empty() {
                let mut series = Series::new(reading.metric.metric().decimals);
                series.watch(&wanted, report.observed_at, &mut Vec::new());
                self.series.reserve_exact(1);
                self.series.insert(place, (metric, series));
            }
        }
        if self.series.len() > before {
            self.mark();
        }
    }

    /// Takes the readings of a report. Returns how many came too late to count.
    pub fn read(&mut self, report: CheckedReport<'_>, now: Now, told: &mut Vec<ToldOfSeries>) -> u64 {
        let mut too_late = 0;
        // Before anything is told, as what is told names the place of its series.
        if report.readings.iter().any(|reading| self.awaited & bit(reading.metric) != 0) {
            self.begin(report);
        }
        if let Some((distance, cause)) = self.distance(report) {
            let taken = self.take(0, report.observed_at, distance, cause, now, told);
            too_late += u64::from(taken == Taken::TooLate);
        }
        for reading in report.readings {
            if self.watched & bit(reading.metric) == 0 {
                continue;
            }
            let Ok(index) = self.find(Some(reading.metric)) else { continue };
            let value = reading.flag.usable().then_some(reading.value);
            let taken = self.take(index, report.observed_at, value, cause(reading), now, told);
            too_late += u64::from(taken == Taken::TooLate);
        }
        too_late
    }

    /// The distance that the report shows (`None` inside when its position is not usable), where it shows one.
    fn distance(&mut self, report: CheckedReport<'_>) -> Option<(Option<f64>, Cause)> {
        let place = self.place.as_ref()?;
        let (latitude, longitude) = position::find(report.readings)?;
        let usable = latitude.flag.usable() && longitude.flag.usable();
        let worst = if latitude.change > longitude.change { latitude } else { longitude };
        let distance = usable.then(|| place.distance(latitude.value, longitude.value));
        if self.series.first().is_none_or(|(metric, _)| metric.is_some()) {
            let mut series = Series::new(0);
            series.watch(std::slice::from_ref(&place.rule), report.observed_at, &mut Vec::new());
            self.series.reserve_exact(1);
            self.series.insert(0, (None, series));
        }
        Some((distance, cause(worst)))
    }

    fn take(
        &mut self,
        index: usize,
        at: Millis,
        value: Option<f64>,
        cause: Cause,
        now: Now,
        told: &mut Vec<ToldOfSeries>,
    ) -> Taken {
        let mut own = Vec::new();
        let taken = self.series[index].1.take(at, value, cause, now, &mut own);
        self.dirty |= taken == Taken::Revises;
        told.extend(own.into_iter().map(|(watch, t)| (index, watch, t)));
        taken
    }

    /// Judges anew what changed in the past.
    pub fn revise(&mut self, now: Now, told: &mut Vec<ToldOfSeries>) {
        self.dirty = false;
        self.each(told, |series, own| series.revise(now, own));
    }

    /// Whether heating has stopped by plan under something that is pending or stands.
    #[must_use]
    pub fn pauses(&self, clock: Millis) -> bool {
        self.series.iter().any(|(_, series)| series.pauses(clock))
    }

    /// Ends what heating has stopped under by plan.
    pub fn pause(&mut self, clock: Millis, told: &mut Vec<ToldOfSeries>) {
        self.each(told, |series, own| series.pause(clock, own));
    }

    /// Ends everything that stands.
    pub fn end(&mut self, clock: Millis, told: &mut Vec<ToldOfSeries>) {
        self.each(told, |series, own| series.end(clock, Cause::Registry, own));
    }

    /// Tells again everything that stands, as what surrounds it changed.
    pub fn repeat(&mut self, clock: Millis, told: &mut Vec<ToldOfSeries>) {
        self.each(told, |series, own| series.repeat(clock, Cause::Registry, own));
    }

    fn each(
        &mut self,
        told: &mut Vec<ToldOfSeries>,
        mut act: impl FnMut(&mut Series, &mut Vec<(usize, Told)>),
    ) {
        let mut own = Vec::new();
        for (index, (_, series)) in self.series.iter_mut().enumerate() {
            act(series, &mut own);
            told.extend(own.drain(..).map(|(watch, t)| (index, watch, t)));
        }
    }

    /// The transition that tells something of a series.
    #[must_use]
    pub fn describe(
        &self,
        profile: Option<&Profile>,
        (series, watch, told): &ToldOfSeries,
    ) -> AlarmTransition {
        let (metric, series) = &self.series[*series];
        let rule = &series.watches()[*watch].rule;
        let concern = Concern {
            rule: &rule.code,
            metric: *metric,
            object: &self.object,
            profile,
            analysed: rule.analysed,
            advice: &rule.advice,
        };
        let last = series.readings().skip(series.len().saturating_sub(EVIDENCE_READINGS));
        let evidence = json!({
            "rule": rule.describe(),
            "readings": describe_readings(last),
            "quality": "usable (flag 1 or 2)",
        });
        concern.transition(told, &evidence)
    }

    /// The transition that tells something of its arrivals.
    #[must_use]
    pub fn describe_contact(&self, profile: Option<&Profile>, told: &Told) -> AlarmTransition {
        let concern = Concern {
            rule: communication::COMMUNICATION_LOST,
            metric: None,
            object: &self.object,
            profile,
            analysed: false,
            advice: communication::ADVICE,
        };
        let episode = &told.episode;
        let evidence = json!({
            "rule": { "code": communication::COMMUNICATION_LOST, "silent_after_min": episode.first_value },
            "last_arrival": schemas::time::rfc3339(episode.onset),
            "next_arrival": episode.cleared_at.map(schemas::time::rfc3339),
        });
        concern.transition(told, &evidence)
    }
}

/// The rules about a metric.
fn wanted<'a>(
    rules: impl Iterator<Item = &'a Rc<Rule>>,
    metric: Option<MetricId>,
) -> SmallVec<[Rc<Rule>; 2]> {
    rules.filter(|rule| rule.metric == metric).cloned().collect()
}

fn bit(metric: MetricId) -> u128 {
    1 << (metric.0 % 128)
}

fn cause(reading: &Checked) -> Cause {
    match reading.change {
        Change::New | Change::Unverified => Cause::LateData,
        Change::Remarked | Change::Corrected => Cause::Correction,
    }
}
