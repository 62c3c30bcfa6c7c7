//! Under-supply and over-supply: each station's heat against its energy signature, hour by hour.
//!
//! Enters: closed hours of stations (heat, outdoor temperature) and the registry. Leaves: a [`Diagnosis`] per station
//! and hour, and alarms `under_supply` and `over_supply` through the machinery of episodes, with `analysed` set.
//! Guarantees: an hour is judged by what was learnt before it; hours under an alarm are not learnt from; an hour that
//! is corrected within the horizon is judged again, by the signature of that time of asking. As the signature is
//! learnt in the order in which hours close, hours closed in another order may be judged by another version.
//!
//! The outdoor temperature is smoothed over as many hours as the station's own history says that it follows (its
//! controller and the inertia of its buildings): of 1, 3, 6, 12 and 24 h the one that explains the heat best.

use std::{rc::Rc, sync::Arc};

use schemas::{AlarmTransition, Code, FacilityKind, Millis, Side, registry::attribute, time::HOUR};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    diagnosis::{DiagnosedEpoch, Diagnosis, HoursEpoch, StationHour, SupplySettings, SupplyState},
    energy_signature::Design,
    saved::SavedWatched,
    station::StationState,
};
use crate::{
    Object, Profile, ProfileChange, Stage,
    alarm::{
        episode::Limits,
        rule::Rule,
        series::{Series, Taken},
        transition::{Concern, describe_readings, sort},
        watch::{Cause, Told},
    },
    durable::{Keyed, shard},
};

/// Rule code: less heat than the weather asks for.
pub const UNDER_SUPPLY: &str = "under_supply";
/// Rule code: more heat than the weather asks for.
pub const OVER_SUPPLY: &str = "over_supply";
/// Outdoor temperature that the design load is for, unless the attribute `design_temp` says otherwise, °C.
pub const DESIGN_OUTDOOR_TEMP: f64 = -20.0;

/// What follows from the profile is not saved.
#[derive(Debug, Serialize)]
pub(super) struct Watched {
    #[serde(skip)]
    profile: Arc<Profile>,
    station: StationState,
    /// Supplied by expected, in %, at the end of the hour.
    ratios: Series,
}

/// The model of the stations of one worker. A station's state ends when it is no longer registered.
#[derive(Debug)]
pub struct Supply {
    settings: SupplySettings,
    rules: [Rc<Rule>; 2],
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
            self.register(change, input.clock, &mut output.transitions);
        }
        // The first epoch names every registered station: what was saved of others is gone.
        self.stations.forget_restored();
        for hour in &input.hours {
            self.judge(hour, &mut output);
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

    fn register(&mut self, change: &ProfileChange, clock: Millis, out: &mut Vec<AlarmTransition>) {
        let station = change.profile.as_ref().filter(|p| p.facility.kind == FacilityKind::Station);
        let Some(profile) = station else {
            if let Some(mut watched) = self.stations.remove(&change.facility) {
                let mut told = Vec::new();
                watched.ratios.end(clock, Cause::Registry, &mut told);
                out.extend(told.iter().map(|(rule, t)| watched.describe(*rule, t, &Value::Null)));
            }
            return;
        };
        let design = design(profile);
        let known = self.stations.number(&change.facility);
        if let Some(watched) = known.and_then(|number| self.stations.get_mut(number)) {
            watched.profile = Arc::clone(profile);
            watched.station.redesign(design);
            return;
        }
        let (facility, profile) = (change.facility.clone(), Arc::clone(profile));
        if let Some(SavedWatched { station, ratios }) = self.stations.restored(&facility) {
            let station = StationState::resume(station, design);
            let ratios = ratios.resume(|side| self.rule(side));
            self.stations.insert_restored(facility, Watched { profile, station, ratios });
            return;
        }
        let mut ratios = Series::new(1);
        ratios.watch(&self.rules, clock, &mut Vec::new());
        self.stations.insert(facility, Watched { profile, station: StationState::new(design), ratios });
    }

    /// The rule over a side of the ratio.
    fn rule(&self, side: Side) -> Rc<Rule> {
        let [under, over] = &self.rules;
        Rc::clone(if side == Side::Low { under } else { over })
    }

    fn judge(&mut self, hour: &StationHour, output: &mut DiagnosedEpoch) {
        let known = self.stations.number(&hour.facility);
        let Some(watched) = known.and_then(|number| self.stations.get_mut(number)) else { return };
        let cause = watched.station.put(hour, &self.settings);
        let diagnosis = watched.station.diagnose(hour, &self.settings);
        let judged = diagnosis.ratio.filter(|_| diagnosis.state != SupplyState::Unknown);
        let percent = judged.map(|ratio| (ratio * 1000.0).round() / 10.0);
        let mut told = Vec::new();
        let horizon = self.settings.horizon;
        match watched.ratios.take(hour.hour + HOUR, percent, cause, horizon, &mut told) {
            Taken::Revises => watched.ratios.revise(horizon, &mut told),
            Taken::TooLate => output.too_late += 1,
            Taken::Settled => {}
        }
        let detail = describe_diagnosis(&diagnosis);
        for (rule, t) in &told {
            watched.station.exclude(t.episode.onset - HOUR, t.episode.cleared_at.unwrap_or(hour.hour + HOUR));
            output.transitions.push(watched.describe(*rule, t, &detail));
        }
        if watched.ratios.watches().iter().any(|watch| watch.open()) {
            watched.station.exclude(hour.hour, hour.hour + HOUR);
        }
        watched.station.learn(hour.hour, &self.settings);
        output.diagnoses.push(diagnosis);
    }
}

impl Watched {
    fn describe(&self, rule: usize, told: &Told, diagnosis: &Value) -> AlarmTransition {
        let rule = &self.ratios.watches()[rule].rule;
        let object = Object { facility: self.profile.facility.code.clone(), device: Code::default() };
        let concern = Concern {
            rule: &rule.code,
            metric: None,
            object: &object,
            profile: Some(&self.profile),
            analysed: true,
            advice: &rule.advice,
        };
        let last = self.ratios.readings().skip(self.ratios.len().saturating_sub(6));
        let evidence = json!({
            "rule": rule.describe(),
            "percent_of_expected": describe_readings(last),
            "diagnosis": diagnosis,
        });
        concern.transition(told, &evidence)
    }
}

fn describe_diagnosis(diagnosis: &Diagnosis) -> Value {
    let tenths = |value: Option<f64>| value.map(|v| (v * 10.0).round() / 10.0);
    json!({
        "model": "energy_signature",
        "method": diagnosis.method,
        "hour": schemas::time::rfc3339(diagnosis.hour),
        "state": diagnosis.state.name(),
        "expected_kw": tenths(diagnosis.expected_kw),
        "actual_kw": tenths(diagnosis.actual_kw),
        "outdoor_temp": tenths(diagnosis.outdoor_temp),
        "learnt": diagnosis.learnt,
    })
}

fn design(profile: &Profile) -> Design {
    Design {
        facility: profile.facility.code.clone(),
        load_kw: profile.number("", attribute::DESIGN_LOAD).filter(|load| *load > 0.0),
        outdoor_temp: profile.number("", "design_temp").unwrap_or(DESIGN_OUTDOOR_TEMP),
        standard_temp: profile.number("", attribute::STANDARD_TEMP).unwrap_or(18.0),
    }
}

/// Heat in % of what is expected: three consecutive hours raise, two good ones clear.
fn rules() -> [Rule; 2] {
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
        },
        analysed: true,
        advice: advice.to_owned(),
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
    ]
}
