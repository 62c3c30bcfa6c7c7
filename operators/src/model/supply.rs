//! Under-supply, over-supply and intermittent supply: each station's heat against its energy signature, hour by hour.
//!
//! Enters: closed hours of stations (heat, outdoor temperature, set point), again when they changed, and the registry.
//! Leaves: a [`Diagnosis`] per station and hour, and alarms `under_supply`, `over_supply` and `intermittent_supply`
//! through the machinery of episodes, with `analysed` set.
//! Guarantees: an hour is judged by what was learnt before it; hours under an alarm are not learnt from, until a stable
//! relation has lasted so long that it is the station's own. When an hour within the horizon changes, all behind it are
//! judged again: what is said last is what the hours in the order of their time give, and what was said otherwise
//! before is revised or retracted with its cause.
//!
//! The outdoor temperature is smoothed over as many hours as the station's own history says that it follows (its
//! controller and the inertia of its buildings): of 1, 3, 6, 12 and 24 h the one that explains the heat best.
//! No heating is expected outside the heating season of the registry, nor of a station that is off on a mild day. Heat
//! that stops day after day though the weather asks for it is intermittent supply (C 1.5); less heat under a lowered
//! set point is not.

use std::{rc::Rc, sync::Arc};

use schemas::{AlarmTransition, Code, FacilityKind, Millis, Side, registry::attribute, time::HOUR};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    course::Outcome,
    diagnosis::{DiagnosedEpoch, Diagnosis, HoursEpoch, StationHour, SupplySettings},
    energy_signature::Design,
    saved::SavedWatched,
    station::{Ground, Put, StationState},
};
use crate::{
    Object, Profile, ProfileChange, Stage,
    alarm::{
        episode::Limits,
        monitor::{Cause, Emission, Found, Revision, RuleMonitor},
        rule::Rule,
        transition::{Concern, sort},
    },
    durable::{Keyed, shard},
    season::Seasons,
};

/// Rule code: less heat than the weather asks for.
pub const UNDER_SUPPLY: &str = "under_supply";
/// Rule code: more heat than the weather asks for.
pub const OVER_SUPPLY: &str = "over_supply";
/// Rule code: heat that stops day after day.
pub const INTERMITTENT_SUPPLY: &str = "intermittent_supply";
/// Outdoor temperature that the design load is for, unless the attribute `design_temp` says otherwise, °C.
pub const DESIGN_OUTDOOR_TEMP: f64 = -20.0;
/// Heat that a square metre asks for on the coldest day where the registry knows no load, kW: that of buildings with
/// saving measures (CJJ 34), so that heating is not taken for idling.
const KW_PER_SQUARE_METRE: f64 = 0.04;

/// How many rules there are, and their numbers.
pub(super) const RULES: usize = 3;
pub(super) const UNDER: usize = 0;
pub(super) const OVER: usize = 1;
pub(super) const INTERMITTENT: usize = 2;
/// The rules by number.
pub(super) type Rules = [Rc<Rule>; RULES];

/// What follows from the profile is not saved.
#[derive(Debug, Serialize)]
pub(super) struct Watched {
    #[serde(skip)]
    profile: Arc<Profile>,
    station: StationState,
    /// What was told, by rule.
    watches: [RuleMonitor; RULES],
}

/// The model of the stations of one worker. A station's state ends when it is no longer registered.
#[derive(Debug)]
pub struct Supply {
    settings: SupplySettings,
    rules: Rules,
    pub(super) stations: Keyed<Code, Watched, SavedWatched>,
}

impl Stage for Supply {
    type Input = HoursEpoch;
    type Output = DiagnosedEpoch;
    const NAME: &'static str = "supply";

    fn apply(&mut self, input: &HoursEpoch) -> DiagnosedEpoch {
        let mut output =
            DiagnosedEpoch { epoch: input.epoch, clock: input.clock, ..DiagnosedEpoch::default() };
        for change in &input.profiles {
            self.register(change, input.clock, &mut output);
        }
        // The first epoch names every registered station: what was saved of others is gone.
        self.stations.forget_restored();
        let mut hours: Vec<&StationHour> = input.hours.iter().collect();
        hours.sort_by(|a, b| (&a.facility, a.hour).cmp(&(&b.facility, b.hour)));
        for hours in hours.chunk_by(|a, b| a.facility == b.facility) {
            self.take(hours, &mut output);
        }
        sort(&mut output.transitions);
        output
    }

    /// Hours remembered.
    fn entries(&self) -> usize {
        self.stations.iter().map(|(_, _, watched)| watched.station.len()).sum()
    }
}

impl Supply {
    /// The model before its first hour.
    #[must_use]
    pub fn new(settings: SupplySettings) -> Supply {
        Supply { settings, rules: rules().map(Rc::new), stations: Keyed::new(|station| shard(station)) }
    }

    fn register(&mut self, change: &ProfileChange, clock: Millis, output: &mut DiagnosedEpoch) {
        let station = change.profile.as_ref().filter(|p| p.facility.kind == FacilityKind::Station);
        let Some(profile) = station else {
            if let Some(mut watched) = self.stations.remove(&change.facility) {
                watched.end(clock, &mut output.transitions);
            }
            return;
        };
        let ground = ground(profile, &self.settings.seasons);
        let known = self.stations.number(&change.facility);
        if let Some(watched) = known.and_then(|number| self.stations.get_mut(number)) {
            watched.profile = Arc::clone(profile);
            if watched.station.reground(ground) {
                let newest = watched.station.newest().map_or(clock, end_of);
                let revision = Revision { cause: Cause::Registry, newest, at: clock };
                watched.revise(watched.station.open(), revision, (&self.settings, &self.rules), output);
            }
            return;
        }
        let (facility, profile) = (change.facility.clone(), Arc::clone(profile));
        if let Some(SavedWatched { station, watches }) = self.stations.restored(&facility) {
            let station = StationState::resume(station, ground, &self.settings, &self.rules);
            let mut rules = self.rules.iter();
            let watches = watches.map(|watch| {
                let rule = rules.next();
                watch.resume(|_| Rc::clone(rule.unwrap_or(&self.rules[UNDER])))
            });
            self.stations.insert_restored(facility, Watched { profile, station, watches });
            return;
        }
        let watches = self.rules.clone().map(RuleMonitor::new);
        self.stations.insert(facility, Watched { profile, station: StationState::new(ground), watches });
    }

    /// Takes the hours of one station, by time.
    fn take(&mut self, hours: &[&StationHour], output: &mut DiagnosedEpoch) {
        let known = hours.first().and_then(|hour| self.stations.number(&hour.facility));
        let Some(watched) = known.and_then(|number| self.stations.get_mut(number)) else { return };
        let newest = watched.station.newest();
        let mut changed: Option<(i32, Revision)> = None;
        for hour in hours {
            let (number, at) = (super::hours::number(hour.hour), hour.hour + HOUR);
            let cause = match watched.station.put(hour, &self.settings) {
                Put::Known => continue,
                Put::TooLate => {
                    output.too_late += 1;
                    continue;
                }
                Put::Changed(cause) => cause,
            };
            let (first, revision) =
                changed.get_or_insert((number, Revision { cause, newest: newest.map_or(at, end_of), at }));
            *first = number.min(*first);
            if newest.is_some_and(|newest| number <= newest) {
                let first = revision.cause == Cause::Data;
                revision.at = if first { at } else { revision.at.max(at) };
                revision.cause = if first { cause } else { revision.cause };
            }
        }
        let Some((first, revision)) = changed else { return };
        let terms = (&self.settings, &self.rules);
        if newest.is_some_and(|newest| first <= newest) {
            watched.revise(first, revision, terms, output);
        } else {
            watched.follow(first, terms, output);
        }
        watched.settle(terms);
    }
}

impl Watched {
    /// Judges new hours.
    fn follow(&mut self, first: i32, terms: (&SupplySettings, &Rules), output: &mut DiagnosedEpoch) {
        let outcomes = self.station.follow(first, terms.0, terms.1);
        for outcome in &outcomes {
            for (rule, step, cause) in &outcome.steps {
                let told = self.watches[*rule].take(step, cause.unwrap_or(Cause::Data));
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
        terms: (&SupplySettings, &Rules),
        output: &mut DiagnosedEpoch,
    ) {
        let outcomes = self.station.revise(first, terms.0, terms.1);
        for rule in 0..RULES {
            let mut found = Found::standing(&self.station.settled().folds[rule]);
            for outcome in &outcomes {
                for (_, step, cause) in outcome.steps.iter().filter(|(of, ..)| *of == rule) {
                    Found::list(&mut found, *step, *cause);
                }
            }
            let mut told = Vec::new();
            self.watches[rule].correct(found, revision, &mut told);
            for told in told {
                // The hour that says it; what is taken back is shown by the newest hour that changed.
                let said = outcomes.iter().rfind(|outcome| outcome.end <= told.at).or(outcomes.first());
                output.transitions.extend(said.map(|outcome| self.describe(rule, &told, outcome)));
            }
        }
        let changed = outcomes.into_iter().filter(|outcome| outcome.number >= first);
        output.diagnoses.extend(changed.map(|outcome| outcome.diagnosis));
    }

    /// Settles what lies behind the horizon, and the episodes that are final with it.
    fn settle(&mut self, (settings, rules): (&SupplySettings, &Rules)) {
        self.station.settle(settings, rules);
        let first = end_of(self.station.open());
        for (watch, fold) in self.watches.iter_mut().zip(&self.station.settled().folds) {
            watch.settle_before(first, fold.onset());
        }
    }

    /// Ends what stands: the station is no more.
    fn end(&mut self, clock: Millis, out: &mut Vec<AlarmTransition>) {
        for rule in 0..RULES {
            let mut told = Vec::new();
            self.watches[rule].end(clock, Cause::Registry, &mut told);
            out.extend(told.iter().map(|told| self.transition(rule, told, &Value::Null)));
        }
    }

    fn describe(&self, rule: usize, told: &Emission, outcome: &Outcome) -> AlarmTransition {
        let diagnosis = &outcome.diagnosis;
        let smoothing = diagnosis.learnt.map_or(1, |learnt| learnt.smoothing_hours);
        let temps = self.station.outdoor_temps(diagnosis.hour, smoothing);
        let mut evidence = json!({
            "rule": self.watches[rule].rule.describe(),
            "percent_of_expected": by_hour(outcome.shown.iter().copied()),
            "diagnosis": describe_diagnosis(diagnosis),
            "outdoor_temps": by_hour(temps),
        });
        if let (Some(stops), Some(evidence)) =
            (outcome.stops.filter(|_| rule == INTERMITTENT), evidence.as_object_mut())
        {
            evidence.insert("hours_off_by_day".to_owned(), json!(stops.off));
        }
        self.transition(rule, told, &evidence)
    }

    fn transition(&self, rule: usize, told: &Emission, evidence: &Value) -> AlarmTransition {
        let rule = &self.watches[rule].rule;
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

/// The end of an hour.
fn end_of(number: i32) -> Millis {
    (Millis::from(number) + 1) * HOUR
}

/// Values for the evidence: `[[start of the hour, value], …]`; unknown ones are null.
fn by_hour(values: impl IntoIterator<Item = (i32, f32)>) -> Value {
    let value = |(number, value)| json!([schemas::time::rfc3339(end_of(number) - HOUR), plain(value)]);
    values.into_iter().map(value).collect()
}

/// The decimal number that was meant by a stored one.
fn plain(value: f32) -> Option<f64> {
    value.to_string().parse().ok().filter(|value: &f64| value.is_finite())
}

/// Everything that the expectation follows from:
/// `expected_kw = (base_kw + slope_kw_per_degree · max(0, balance_temp − outdoor_temp)) · habit`.
fn describe_diagnosis(diagnosis: &Diagnosis) -> Value {
    let tenths = |value: Option<f64>| value.map(|v| (v * 10.0).round() / 10.0);
    json!({
        "model": super::diagnosis::MODEL,
        "method": diagnosis.method,
        "hour": schemas::time::rfc3339(diagnosis.hour),
        "state": diagnosis.state.name(),
        "reason": diagnosis.reason.map(super::Reason::name),
        "expected_kw": tenths(diagnosis.expected_kw),
        "actual_kw": tenths(diagnosis.actual_kw),
        "outdoor_temp": diagnosis.outdoor_temp,
        "habit": diagnosis.habit,
        "learnt": diagnosis.learnt,
    })
}

fn ground(profile: &Profile, seasons: &Seasons) -> Ground {
    let positive = |value: Option<f64>| value.filter(|value| value.is_finite() && *value > 0.0);
    let load_kw = positive(profile.number("", attribute::DESIGN_LOAD));
    let capacity_kw = positive(profile.number("", "capacity")).map(|megawatts| megawatts * 1000.0);
    let area = positive(profile.facility.heated_area).or(positive(Some(profile.area_below)));
    let design = Design {
        facility: profile.facility.code.clone(),
        load_kw,
        size_kw: load_kw.or(capacity_kw).or(area.map(|area| area * KW_PER_SQUARE_METRE)),
        outdoor_temp: profile.number("", "design_temp").unwrap_or(DESIGN_OUTDOOR_TEMP),
        standard_temp: profile.number("", attribute::STANDARD_TEMP).unwrap_or(18.0),
    };
    Ground { design, season: seasons.of(profile, "") }
}

/// Heat in % of what is expected: three consecutive hours raise, two good ones clear.
/// Hours of the last day in which the heat was off, where it is off day after day.
fn rules() -> [Rule; RULES] {
    let rule = |code, side, levels: [f64; 3], advice: &str| Rule {
        code: Code::const_new(code),
        scope: Code::const_new(""),
        metric: None,
        limits: Limits {
            side,
            levels: levels.map(Some),
            deadband: 5.0,
            on_delay: 2 * HOUR,
            off_delay: HOUR,
            confirmations: 3,
            step: 10.0,
            longest_gap: Millis::MAX,
        },
        analysed: true,
        advice: advice.to_owned(),
        heating: None,
    };
    [
        rule(
            UNDER_SUPPLY,
            Side::Low,
            [50.0, 65.0, 75.0],
            "供热不足：核查一次侧供水温度与流量、调节阀、换热器和循环泵，恢复供热量",
        ),
        rule(
            OVER_SUPPLY,
            Side::High,
            [200.0, 160.0, 130.0],
            "过量供热：下调二次供水温度设定，核查气候补偿与调节阀",
        ),
        Rule {
            code: Code::const_new(INTERMITTENT_SUPPLY),
            scope: Code::const_new(""),
            metric: None,
            limits: Limits {
                side: Side::High,
                levels: [12.0, 6.0, 3.0].map(Some),
                deadband: 1.0,
                on_delay: 0,
                off_delay: HOUR,
                confirmations: 1,
                step: 3.0,
                longest_gap: Millis::MAX,
            },
            analysed: true,
            advice: "间歇供热：连续多日按时段停供，核查停供原因，恢复连续供热".to_owned(),
            heating: None,
        },
    ]
}
