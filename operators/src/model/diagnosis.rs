//! What enters and leaves the supply model.

use schemas::{AlarmTransition, Code, Epoch, Millis, time::HOUR};

use super::{energy_signature::SignatureSettings, station::Learnt};
use crate::{
    ProfileChange,
    window::{Component, Facts},
};

/// Parameters of the judgement. Raise `version` with any change of their meaning.
#[derive(Clone, Copy, Debug)]
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
    /// How far back a corrected hour is judged again, ms.
    pub horizon: Millis,
}

impl Default for SupplySettings {
    fn default() -> SupplySettings {
        SupplySettings {
            version: 1,
            signature: SignatureSettings::default(),
            least_hours: 24,
            most_hours: 28 * 24,
            least_coverage: 0.5,
            least_degrees: 3.0,
            significance: 3.0,
            horizon: 48 * HOUR,
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
}

impl StationHour {
    /// The hour of a station from its facts; `outdoor_temp` (°C) is used where the station measures none itself.
    #[must_use]
    pub fn of_facts(facility: Code, hour: Millis, facts: &Facts, outdoor_temp: Option<f64>) -> StationHour {
        // Joules by milliseconds are kW; thousandths of °C·s by milliseconds are °C.
        let mean = |sum, time| match facts.get(time) {
            0 => None,
            time => Some(facts.get(sum) as f64 / time as f64),
        };
        StationHour {
            facility,
            hour,
            heat_kw: mean(Component::Heat, Component::HeatTime),
            coverage: facts.get(Component::HeatTime) as f64 / HOUR as f64,
            outdoor_temp: mean(Component::Outdoor, Component::OutdoorTime).or(outdoor_temp),
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
            SupplyState::Unknown => "unknown",
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
    /// Heat expected for the weather, kW.
    pub expected_kw: Option<f64>,
    /// Heat supplied, kW.
    pub actual_kw: Option<f64>,
    /// Supplied by expected.
    pub ratio: Option<f64>,
    /// Smoothed outdoor temperature, °C.
    pub outdoor_temp: Option<f64>,
    /// Version of method and parameters.
    pub method: u32,
    /// What it was judged by, where something was learnt.
    pub learnt: Option<Learnt>,
}

/// One worker's diagnoses and alarm transitions of an epoch.
#[derive(Debug, Default, PartialEq)]
pub struct DiagnosedEpoch {
    /// Number of the epoch.
    pub epoch: Epoch,
    /// The clock of the epoch.
    pub clock: Millis,
    /// In the order of the hours given.
    pub diagnoses: Vec<Diagnosis>,
    /// Sorted by (at, alarm, sequence).
    pub transitions: Vec<AlarmTransition>,
    /// Hours that came later than the horizon and did not count for alarms.
    pub too_late: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_become_means() {
        let mut facts = Facts::new();
        facts.set(Component::Heat, 900_000_000);
        facts.set(Component::HeatTime, HOUR / 2);
        let hour = StationHour::of_facts("ST-1".into(), 0, &facts, Some(-3.0));
        assert_eq!((hour.heat_kw, hour.coverage, hour.outdoor_temp), (Some(500.0), 0.5, Some(-3.0)));
        // −7.5 °C for an hour, in thousandths times seconds.
        facts.set(Component::Outdoor, -7_500 * 3_600);
        facts.set(Component::OutdoorTime, HOUR);
        let hour = StationHour::of_facts("ST-1".into(), 0, &facts, Some(-3.0));
        assert_eq!(hour.outdoor_temp, Some(-7.5));
    }
}
