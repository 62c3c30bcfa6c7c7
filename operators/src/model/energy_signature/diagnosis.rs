//! What the energy signature says of a station's hour.

use schemas::{Code, EstimateRow, Millis};
use serde::Serialize;
use serde_json::{Value, json};

use super::{MODEL, hours::Stops, signature::Signature};

/// What was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Learnt {
    /// Number of the fit of this station, from 1.
    pub version: u32,
    /// Hours over which the outdoor temperature is smoothed.
    pub smoothing_hours: u8,
    /// The signature.
    #[serde(flatten)]
    pub signature: Signature,
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
    /// Nights without heat, where they were looked at.
    pub(super) stops: Option<Stops>,
}

impl Diagnosis {
    pub(super) fn conclude(&mut self, state: SupplyState, reason: Option<Reason>) {
        (self.state, self.reason) = (state, reason);
    }

    /// Everything that the expectation follows from:
    /// `expected_kw = (base_kw + slope_kw_per_degree · max(0, balance_temp − outdoor_temp)) · habit`.
    pub(super) fn describe(&self) -> Value {
        json!({
            "model": MODEL,
            "method": self.method,
            "hour": schemas::time::rfc3339(self.hour),
            "state": self.state.name(),
            "reason": self.reason.map(Reason::name),
            "expected_kw": tenths(self.expected_kw),
            "actual_kw": tenths(self.actual_kw),
            "outdoor_temp": self.outdoor_temp,
            "habit": self.habit,
            "learnt": self.learnt,
        })
    }
}

fn tenths(value: Option<f64>) -> Option<f64> {
    value.map(|value| (value * 10.0).round() / 10.0)
}

/// Hours of a station after which its signature is as good as it gets: a week has every hour of the day and of the week.
const WEEK_HOURS: f64 = 168.0;

impl From<&Diagnosis> for EstimateRow {
    /// Heat in kW, to a tenth. The expectation is trusted the more, the narrower the station's scatter is against it and the
    /// more of a week was learnt from.
    fn from(diagnosis: &Diagnosis) -> EstimateRow {
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

#[cfg(test)]
mod tests {
    use schemas::time::HOUR;

    use super::*;

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
            stops: None,
        };
        let row = EstimateRow::from(&diagnosis);
        assert_eq!((row.model.as_str(), row.facility.as_str(), row.hour), (MODEL, "ST-1", 7 * HOUR));
        assert_eq!((row.expected, row.actual, row.unit.as_str()), (Some(500.0), Some(300.1), "kW"));
        assert_eq!((row.state.as_str(), row.reason.as_str(), row.method, row.learnt), ("under", "", 2, 3));
        // A scatter of a tenth, and half a week of hours.
        assert_eq!(row.confidence, Some(0.45));
        let parameters: Value = serde_json::from_str(&row.parameters).unwrap();
        assert_eq!(parameters["learnt"]["slope_kw_per_degree"], 30.0);
        assert_eq!(parameters["outdoor_temp"], -0.5);

        diagnosis.conclude(SupplyState::Unknown, Some(Reason::NotLearnt));
        (diagnosis.learnt, diagnosis.expected_kw) = (None, None);
        let row = EstimateRow::from(&diagnosis);
        assert_eq!((row.state.as_str(), row.reason.as_str(), row.learnt), ("unknown", "not_learnt", 0));
        assert_eq!((row.expected, row.confidence), (None, None));
    }
}
