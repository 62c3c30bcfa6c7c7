//! Everything alarms know of one object: its watched series, its arrivals, where it is registered.
//!
//! Enters: its reports and the rules of its profile. Leaves: transitions.

use std::rc::Rc;

use schemas::{AlarmTransition, MetricId, Millis};
use serde_json::json;
use smallvec::SmallVec;

use super::{
    arrival::Brought,
    communication::{self, Contact},
    journal::{Because, Cause, Emission},
    kind::{self, ArrivalRules, KindsOfObject, ReportWatch, Seen, Signal},
    rule::Rule,
    series::{Reach, Taken, WatchedSeries},
    threshold::RuleList,
    transition::{Concern, describe_values},
};
use crate::{CheckedReport, Object, Profile, flow::Carrier};

/// What a series is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The signal of a kind, by its place in [`kind::ALL`].
    Kind(u8),
    /// What it measures.
    Metric(MetricId),
}

impl Subject {
    /// What is measured, where that is what the series is of.
    #[must_use]
    pub fn metric(self) -> Option<MetricId> {
        match self {
            Subject::Kind(_) => None,
            Subject::Metric(metric) => Some(metric),
        }
    }

    fn is_of_arrivals(self) -> bool {
        matches!(self, Subject::Kind(kind) if kind::is_of_arrivals(kind))
    }
}

/// What is told of an object's series, with the index of the series.
pub type SeriesEmission = (usize, usize, Emission);

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
    /// The rules in force over its readings.
    pub(super) rules: RuleList,
    /// The kinds that watch its reports, where there are any.
    pub(super) reports: Option<Box<SmallVec<[ReportWatch; 1]>>>,
    /// The rules over its arrivals, once its profile is known.
    pub(super) arrivals: Option<Rc<ArrivalRules>>,
    /// The series that were ever seen and watched, by subject; those of arrivals only while there is something wrong.
    pub(super) series: Vec<(Subject, WatchedSeries)>,
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
            reports: None,
            arrivals: None,
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
        kinds: KindsOfObject,
        clock: Millis,
        told: &mut Vec<SeriesEmission>,
    ) {
        self.rules = Rc::clone(rules);
        let known = self.reports.as_deref().map_or(&[][..], SmallVec::as_slice);
        let watch = |list: &[ReportWatch], kind| list.iter().find(|watch| watch.kind == kind).cloned();
        let mut own = Vec::new();
        for (index, (subject, series)) in self.series.iter_mut().enumerate() {
            let wanted = match *subject {
                Subject::Kind(kind) => kinds.rule(kind).cloned().into_iter().collect(),
                Subject::Metric(metric) => wanted(rules, metric),
            };
            if matches!(*subject, Subject::Kind(kind) if watch(known, kind) != watch(&kinds.reports, kind)) {
                series.restart(clock, Cause::Registry, &mut own);
            }
            self.dirty |= series.watch(&wanted, clock, &mut own);
            told.extend(own.drain(..).map(|(watch, t)| (index, watch, t)));
        }
        self.mark();
        let KindsOfObject { reports, arrivals } = kinds;
        (self.reports, self.arrivals) = ((!reports.is_empty()).then(|| Box::new(reports)), Some(arrivals));
    }

    /// Says which metrics have series and which only rules.
    fn mark(&mut self) {
        let bits = |metrics: &mut dyn Iterator<Item = Option<MetricId>>| {
            metrics.flatten().fold(0, |bits, metric| bits | bit(metric))
        };
        self.watched = bits(&mut self.series.iter().map(|(subject, _)| subject.metric()));
        let awaited =
            |rule: &&Rc<Rule>| rule.metric.is_none_or(|metric| self.find(Subject::Metric(metric)).is_err());
        self.awaited = bits(&mut self.rules.iter().filter(awaited).map(|rule| rule.metric));
    }

    fn find(&self, subject: Subject) -> Result<usize, usize> {
        self.series.binary_search_by_key(&subject, |(subject, _)| *subject)
    }

    /// Begins the series of metrics that are watched and usable for the first time.
    fn begin(&mut self, report: CheckedReport<'_>) {
        let (usable, before) =
            (report.readings.iter().filter(|reading| reading.flag.usable()), self.series.len());
        for reading in usable.filter(|reading| self.awaited & bit(reading.metric) != 0) {
            let subject = Subject::Metric(reading.metric);
            let (Err(place), wanted) = (self.find(subject), wanted(&self.rules, reading.metric)) else {
                continue;
            };
            if !wanted.is_empty() {
                let mut series = WatchedSeries::new(reading.metric.metric().decimals);
                series.watch(&wanted, report.observed_at, &mut Vec::new());
                self.series.reserve_exact(1);
                self.series.insert(place, (subject, series));
            }
        }
        if self.series.len() > before {
            self.mark();
        }
    }

    /// Takes the readings of a report. Returns how many came too late to count.
    pub fn read(&mut self, report: CheckedReport<'_>, now: Reach, told: &mut Vec<SeriesEmission>) -> u64 {
        let mut too_late = 0;
        // Before anything is told, as what is told names the place of its series.
        if report.readings.iter().any(|reading| self.awaited & bit(reading.metric) != 0) {
            self.begin(report);
        }
        if self.reports.is_some() {
            too_late += self.read_kinds(report, now, told);
        }
        for reading in report.readings {
            if self.watched & bit(reading.metric) == 0 {
                continue;
            }
            let Ok(index) = self.find(Subject::Metric(reading.metric)) else { continue };
            let value = reading.flag.usable().then_some(reading.value);
            let taken = self.take(
                index,
                report.observed_at,
                value,
                Because::of(reading.change, report.carrier),
                now,
                told,
            );
            too_late += u64::from(taken == Taken::TooLate);
        }
        too_late
    }

    /// Takes what the report shows of the signals of kinds.
    fn read_kinds(&mut self, report: CheckedReport<'_>, now: Reach, told: &mut Vec<SeriesEmission>) -> u64 {
        let watches = self.reports.iter().flat_map(|watches| watches.iter());
        let seen: SmallVec<[(u8, Rc<Rule>, Seen); 1]> = watches
            .filter_map(|watch| {
                let seen = watch.seen(report.readings)?;
                Some((watch.kind, Rc::clone(&watch.rule), seen))
            })
            .collect();
        for (kind, rule, _) in &seen {
            if let Err(place) = self.find(Subject::Kind(*kind)) {
                let mut series = WatchedSeries::new(0);
                series.watch(std::slice::from_ref(rule), report.observed_at, &mut Vec::new());
                self.series.reserve_exact(1);
                self.series.insert(place, (Subject::Kind(*kind), series));
            }
        }
        let mut too_late = 0;
        for (kind, _, Seen { value, change }) in seen {
            let Ok(index) = self.find(Subject::Kind(kind)) else { continue };
            let taken =
                self.take(index, report.observed_at, value, Because::of(change, report.carrier), now, told);
            too_late += u64::from(taken == Taken::TooLate);
        }
        too_late
    }

    fn take(
        &mut self,
        index: usize,
        at: Millis,
        value: Option<f64>,
        why: Because,
        now: Reach,
        told: &mut Vec<SeriesEmission>,
    ) -> Taken {
        let mut own = Vec::new();
        let taken = self.series[index].1.take(at, value, why, now, &mut own);
        self.dirty |= taken == Taken::Revises;
        told.extend(own.into_iter().map(|(watch, t)| (index, watch, t)));
        taken
    }

    /// Takes what an arrival brought; `before` is the last arrival that came earlier, if any.
    ///
    /// A series begins with the first arrival that brought nothing: what came before it was of use, as far as it matters.
    /// It ends once nothing of that is remembered, with the arrival after.
    pub fn hear(
        &mut self,
        at: Millis,
        (brought, carrier): (Brought, Carrier),
        before: Option<Millis>,
        now: Reach,
        told: &mut Vec<SeriesEmission>,
    ) {
        debug_assert!(told.is_empty(), "what is told names the place of its series");
        // They stand before those of metrics.
        let mut of_kinds = self.series.iter().take_while(|(subject, _)| subject.metric().is_none());
        if brought.is_of_use() && !of_kinds.any(|(subject, _)| subject.is_of_arrivals()) {
            return;
        }
        self.series.retain(|(subject, series)| !subject.is_of_arrivals() || !is_over(series));
        let Some(rules) = self.arrivals.clone() else { return };
        for (kind, rule) in rules.iter() {
            let Signal::Arrival { value, .. } = &kind::ALL[usize::from(*kind)].signal else { continue };
            let Some(value) = value(brought) else { continue };
            let subject = Subject::Kind(*kind);
            let index = match self.find(subject) {
                Ok(index) => index,
                Err(_) if value == 0.0 => continue,
                Err(index) => {
                    let mut series = WatchedSeries::new(0);
                    series.watch(std::slice::from_ref(rule), at, &mut Vec::new());
                    if let Some(before) = before {
                        series.take(before, Some(0.0), Cause::Data.into(), now, &mut Vec::new());
                    }
                    self.series.insert(index, (subject, series));
                    index
                }
            };
            // Of what arrives at the same time, the best counts.
            let value = self.series[index].1.value(at).map_or(value, |known| known.min(value));
            let why = Because { cause: Cause::LateData, by: Some(carrier.place()) };
            self.take(index, at, Some(value), why, now, told);
        }
    }

    /// Judges anew what changed in the past.
    pub fn revise(&mut self, now: Reach, told: &mut Vec<SeriesEmission>) {
        self.dirty = false;
        self.each(told, |series, own| series.revise(now, own));
    }

    /// Whether heating has stopped by plan under something that is pending or stands.
    #[must_use]
    pub fn pauses(&self, clock: Millis) -> bool {
        self.series.iter().any(|(_, series)| series.pauses(clock))
    }

    /// Ends what heating has stopped under by plan.
    pub fn pause(&mut self, clock: Millis, told: &mut Vec<SeriesEmission>) {
        self.each(told, |series, own| series.pause(clock, own));
    }

    /// Ends everything that stands.
    pub fn end(&mut self, clock: Millis, told: &mut Vec<SeriesEmission>) {
        self.each(told, |series, own| series.end(clock, Cause::Registry, own));
    }

    /// Tells again everything that stands, as what surrounds it changed.
    pub fn repeat(&mut self, clock: Millis, told: &mut Vec<SeriesEmission>) {
        self.each(told, |series, own| series.repeat(clock, Cause::Registry, own));
    }

    fn each(
        &mut self,
        told: &mut Vec<SeriesEmission>,
        mut act: impl FnMut(&mut WatchedSeries, &mut Vec<(usize, Emission)>),
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
        (series, watch, told): &SeriesEmission,
    ) -> AlarmTransition {
        let (subject, series) = &self.series[*series];
        let rule = &series.watches()[*watch].rule;
        let concern = Concern {
            rule: &rule.code,
            metric: subject.metric(),
            object: &self.object,
            profile,
            analysed: rule.analysed,
            advice: &rule.advice,
        };
        let evidence = match subject {
            Subject::Kind(kind) => kind::evidence(*kind, rule, series, told),
            Subject::Metric(_) => describe_values(rule, series),
        };
        concern.transition(told, &evidence)
    }

    /// The transition that tells something of its arrivals.
    #[must_use]
    pub fn describe_contact(&self, profile: Option<&Profile>, told: &Emission) -> AlarmTransition {
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
fn wanted(rules: &[Rc<Rule>], metric: MetricId) -> SmallVec<[Rc<Rule>; 2]> {
    rules.iter().filter(|rule| rule.metric == Some(metric)).cloned().collect()
}

/// Whether a series of arrivals remembers nothing that was wrong.
fn is_over(series: &WatchedSeries) -> bool {
    series.watches().iter().all(|watch| watch.judged.as_ref().is_none_or(|judged| judged.is_empty()))
        && series.readings().all(|(_, value)| value == 0.0)
}

fn bit(metric: MetricId) -> u128 {
    1 << (metric.0 % 128)
}
