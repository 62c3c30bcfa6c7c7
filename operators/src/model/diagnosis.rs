//! What enters and leaves the supply model.

use schemas::{AlarmTransition, Code, Epoch, EstimateRow, Millis, time::HOUR};
use serde_json::json;

use super::{course::Learnt, energy_signature::SignatureSettings};
use crate::{
    ProfileChange,
    season::Seasons,
    window::{ClosedHour, Component},
};

/// The model's code.
pub const MODEL: &str = "energy_signature";

/// Parameters of the judgement. Raise `version` with any change of their meaning.
#[derive(Clone, Debug)]
pub struct SupplySettings {
    /// Version of method and parameters, written with every diagnosis.
    pub version: u32,
    /// The fit.
    pub signature: SignatureSettings,
    /// Hours to learn from before anything is judged.
    pub least_hours: usize,
    /// Hours remembered to learn from.
    pub most_hours: usize,
    /// Least share of an hour that must be measured.
    pub least_coverage: f64,
    /// Only hours this far below the balance point are judged, °C.
    pub least_degrees: f64,
    /// A deviation counts only when it is this many robust standard deviations.
    pub significance: f64,
    /// How far behind the newest hour of a station an hour may change and is judged again, ms. At least as long as hours
    /// stay open.
    pub horizon: Millis,
    /// Hours after which under-supply with a stable relation is taken for the station's own: no shorter than the memory,
    /// for too little heat is no custom.
    pub lasting_under_hours: usize,
    /// The same for over-supply.
    pub lasting_over_hours: usize,
    /// When heating is due.
    pub seasons: Seasons,
}

impl Default for SupplySettings {
    fn default() -> SupplySettings {
        SupplySettings {
            version: 2,
            signature: SignatureSettings::default(),
            least_hours: 24,
            most_hours: 28 * 24,
            least_coverage: 0.5,
            least_degrees: 3.0,
            significance: 3.0,
            horizon: 48 * HOUR,
            lasting_under_hours: 28 * 24,
            lasting_over_hours: 7 * 24,
            seasons: Seasons::default(),
        }
    }
}

/// A closed hour of a station. The same hour may come again when it was corrected.
#[derive(Clone, Debug, PartialEq)]
pub struct StationHour {
    /// Facility code.
    pub facility: Code,
    /// Start of the hour.
    pub hour: Millis,
    /// Mean heat power, kW.
    pub heat_kw: Option<f64>,
    /// Share of the hour that was measured.
    pub coverage: f64,
    /// Mean outdoor temperature, °C.
    pub outdoor_temp: Option<f64>,
    /// Mean set point of the secondary supply temperature, °C.
    pub setpoint: Option<f64>,
}

impl StationHour {
    /// A closed hour of a station; `outdoor_temp` (°C) is used where the station measures none itself.
    #[must_use]
    pub fn of_closed(closed: &ClosedHour, outdoor_temp: Option<f64>) -> StationHour {
        let ClosedHour { facility, hour, facts, setpoint } = closed;
        // Joules by milliseconds are kW; thousandths of °C·s by milliseconds are °C.
        let mean = |sum, time| match facts.get(time) {
            0 => None,
            time => Some(facts.get(sum) as f64 / time as f64),
        };
        StationHour {
            facility: facility.clone(),
            hour: *hour,
            heat_kw: mean(Component::Heat, Component::HeatTime),
            coverage: facts.get(Component::HeatTime) as f64 / HOUR as f64,
            outdoor_temp: mean(Component::Outdoor, Component::OutdoorTime).or(outdoor_temp),
            setpoint: *setpoint,
        }
    }
}

/// One worker's closed hours of an epoch.
#[derive(Debug, Default)]
pub struct HoursEpoch {
    /// Number of the epoch.
    pub epoch: Epoch,
    /// The clock of the epoch.
    pub clock: Millis,
    /// Registry changes, to apply first.
    pub profiles: Vec<ProfileChange>,
    /// Sorted by (facility, hour).
    pub hours: Vec<StationHour>,
}

/// How a station supplied in an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SupplyState {
    /// As the weather asks for.
    Normal,
    /// Less than 75 % of it.
    Under,
    /// More than 130 % of it.
    Over,
    /// Less than 5 % of it.
    Stopped,
    /// Stopped again, as in the nights before.
    Intermittent,
    /// Less by a lowered set point.
    SetBack,
    /// Off by plan: no heating is due, or the weather asks for none.
    Idle,
    /// Not enough was measured or learnt, or it is too warm to tell.
    Unknown,
}

impl SupplyState {
    /// The name in outputs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SupplyState::Normal => "normal",
            SupplyState::Under => "under",
            SupplyState::Over => "over",
            SupplyState::Stopped => "stopped",
            SupplyState::Intermittent => "intermittent",
            SupplyState::SetBack => "set_back",
            SupplyState::Idle => "idle",
            SupplyState::Unknown => "unknown",
        }
    }
}

/// Why a station is off by plan, or why nothing can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No heat, or too little of the hour, was measured.
    Unmeasured,
    /// The outdoor temperature is not known.
    NoWeather,
    /// Too few hours with heating were seen to learn from.
    NotLearnt,
    /// The weather asks for too little heat to tell.
    Warm,
    /// The station habitually supplies less at this hour of the day.
    SetBackByHabit,
    /// The deviation lies within the scatter of the station.
    Insignificant,
    /// What is supplied is more than the signature asks for on the coldest day: the signature is not that of heating.
    Outgrown,
    /// The heating season is over, or has not begun.
    OutOfSeason,
    /// The heating is off, and the day is mild.
    MildWeather,
}

impl Reason {
    /// The name in outputs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Reason::Unmeasured => "unmeasured",
            Reason::NoWeather => "no_weather",
            Reason::NotLearnt => "not_learnt",
            Reason::Warm => "warm",
            Reason::SetBackByHabit => "set_back_by_habit",
            Reason::Insignificant => "insignificant",
            Reason::Outgrown => "outgrown",
            Reason::OutOfSeason => "out_of_season",
            Reason::MildWeather => "mild_weather",
        }
    }
}

/// The diagnosis of one station and hour.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnosis {
    /// Facility code.
    pub facility: Code,
    /// Start of the hour.
    pub hour: Millis,
    /// What it comes to.
    pub state: SupplyState,
    /// Why, where the station is off by plan or nothing can be said.
    pub reason: Option<Reason>,
    /// Heat expected for the weather, kW: what the signature asks for at `outdoor_temp`, times `habit`.
    pub expected_kw: Option<f64>,
    /// Heat supplied, kW.
    pub actual_kw: Option<f64>,
    /// Supplied by expected.
    pub ratio: Option<f64>,
    /// Smoothed outdoor temperature, °C.
    pub outdoor_temp: Option<f64>,
    /// Share of that which the station habitually supplies at this hour of the day.
    pub habit: Option<f64>,
    /// Version of method and parameters.
    pub method: u32,
    /// What it was judged by, where something was learnt.
    pub learnt: Option<Learnt>,
}

impl Diagnosis {
    pub(super) fn conclude(&mut self, state: SupplyState, reason: Option<Reason>) {
        (self.state, self.reason) = (state, reason);
    }
}

/// Hours of a station after which its signature is as good as it gets: a week has every hour of the day and of the week.
const WEEK_HOURS: f64 = 168.0;

impl From<&Diagnosis> for EstimateRow {
    /// Heat in kW, to a tenth. The expectation is trusted the more, the narrower the station's scatter is against it and the
    /// more of a week was learnt from.
    fn from(diagnosis: &Diagnosis) -> EstimateRow {
        let tenths = |value: Option<f64>| value.map(|value| (value * 10.0).round() / 10.0);
        let confidence = diagnosis.learnt.zip(diagnosis.expected_kw).map(|(learnt, expected)| {
            let narrow = if expected > 0.0 { 1.0 - learnt.signature.sigma_kw / expected } else { 0.0 };
            let known = f64::from(learnt.signature.hours) / WEEK_HOURS;
            (narrow.clamp(0.0, 1.0) * known.min(1.0) * 100.0).round() / 100.0
        });
        let parameters = json!({
            "learnt": diagnosis.learnt,
            "outdoor_temp": diagnosis.outdoor_temp,
            "habit": diagnosis.habit,
        });
        EstimateRow {
            model: Code::const_new(MODEL),
            facility: diagnosis.facility.clone(),
            device: Code::default(),
            hour: diagnosis.hour,
            expected: tenths(diagnosis.expected_kw),
            actual: tenths(diagnosis.actual_kw),
            unit: Code::const_new("kW"),
            state: Code::const_new(diagnosis.state.name()),
            reason: Code::const_new(diagnosis.reason.map_or("", Reason::name)),
            confidence,
            method: diagnosis.method,
            learnt: diagnosis.learnt.map_or(0, |learnt| learnt.version),
            parameters: parameters.to_string(),
        }
    }
}

/// One worker's diagnoses and alarm transitions of an epoch.
#[derive(Debug, Default, PartialEq)]
pub struct DiagnosedEpoch {
    /// Number of the epoch.
    pub epoch: Epoch,
    /// The clock of the epoch.
    pub clock: Millis,
    /// Of the hours given and of those that they changed, by facility and hour. The last word about an hour counts.
    pub diagnoses: Vec<Diagnosis>,
    /// Sorted by (at, alarm, sequence).
    pub transitions: Vec<AlarmTransition>,
    /// Hours that came later than the horizon and did not count for alarms.
    pub too_late: u64,
}

#[cfg(test)]
mod tests {
    use super::{super::energy_signature::Signature, *};
    use crate::window::Facts;

    #[test]
    fn an_estimate_says_what_it_follows_from() {
        let signature = Signature {
            base_kw: 10.0,
            slope_kw_per_degree: 30.0,
            balance_temp: 16.0,
            sigma_kw: 50.0,
            deviation_kw: 30.0,
            hours: 84,
        };
        let mut diagnosis = Diagnosis {
            facility: "ST-1".into(),
            hour: 7 * HOUR,
            state: SupplyState::Under,
            reason: None,
            expected_kw: Some(500.04),
            actual_kw: Some(300.06),
            ratio: Some(0.6),
            outdoor_temp: Some(-0.5),
            habit: Some(1.0),
            method: 2,
            learnt: Some(Learnt { version: 3, smoothing_hours: 6, signature }),
        };
        let row = EstimateRow::from(&diagnosis);
        assert_eq!((row.model.as_str(), row.facility.as_str(), row.hour), (MODEL, "ST-1", 7 * HOUR));
        assert_eq!((row.expected, row.actual, row.unit.as_str()), (Some(500.0), Some(300.1), "kW"));
        assert_eq!((row.state.as_str(), row.reason.as_str(), row.method, row.learnt), ("under", "", 2, 3));
        // A scatter of a tenth, and half a week of hours.
        assert_eq!(row.confidence, Some(0.45));
        let parameters: serde_json::Value = serde_json::from_str(&row.parameters).unwrap();
        assert_eq!(parameters["learnt"]["slope_kw_per_degree"], 30.0);
        assert_eq!(parameters["outdoor_temp"], -0.5);

        diagnosis.conclude(SupplyState::Unknown, Some(Reason::NotLearnt));
        (diagnosis.learnt, diagnosis.expected_kw) = (None, None);
        let row = EstimateRow::from(&diagnosis);
        assert_eq!((row.state.as_str(), row.reason.as_str(), row.learnt), ("unknown", "not_learnt", 0));
        assert_eq!((row.expected, row.confidence), (None, None));
    }

    #[test]
    fn facts_become_means() {
        let mut facts = Facts::new();
        facts.set(Component::Heat, 900_000_000);
        facts.set(Component::HeatTime, HOUR / 2);
        let mut closed = ClosedHour { facility: "ST-1".into(), hour: 0, facts, setpoint: Some(45.5) };
        let hour = StationHour::of_closed(&closed, Some(-3.0));
        assert_eq!(hour.setpoint, Some(45.5));
        assert_eq!((hour.heat_kw, hour.coverage, hour.outdoor_temp), (Some(500.0), 0.5, Some(-3.0)));
        // −7.5 °C for an hour, in thousandths times seconds.
        closed.facts.set(Component::Outdoor, -7_500 * 3_600);
        closed.facts.set(Component::OutdoorTime, HOUR);
        let hour = StationHour::of_closed(&closed, Some(-3.0));
        assert_eq!(hour.outdoor_temp, Some(-7.5));
    }
}
