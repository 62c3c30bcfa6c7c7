//! The truth file: one JSON line per fault, with what must be found because of it.

use std::io;

use serde::Serialize;

use super::fault::{Fault, FaultKind};

/// Codes of the rules and models that the truth names. Threshold rules are named `metric_side`, those of
/// states by the state.
pub mod rule {
    /// No report for longer than the object's `offline_after`.
    pub const COMMUNICATION_LOST: &str = "communication_lost";
    /// A position far from the registered one.
    pub const DEVICE_MOVED: &str = "device_moved";
    /// Heat clearly below what the weather asks for.
    pub const UNDER_SUPPLY: &str = "under_supply";
    /// Heat clearly above what the weather asks for.
    pub const OVER_SUPPLY: &str = "over_supply";
}

/// What a fault must lead to, and what it may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// Rules and models that must raise an alarm on the object while the fault lasts or soon after.
    pub alarms: Vec<&'static str>,
    /// Quality tests that must mark some of the object's readings.
    pub flags: Vec<&'static str>,
    /// Reasons for which some of the object's records or readings must be rejected.
    pub rejects: Vec<&'static str>,
    /// Further alarms that are right: consequences, also on the rooms below a station.
    pub also: Vec<&'static str>,
}

/// What a fault must lead to.
#[must_use]
pub fn expected(fault: &Fault) -> Expected {
    let e =
        |alarms: &[&'static str], flags: &[&'static str], rejects: &[&'static str], also: &[&'static str]| {
            Expected {
                alarms: alarms.to_vec(),
                flags: flags.to_vec(),
                rejects: rejects.to_vec(),
                also: also.to_vec(),
            }
        };
    let cold = ["room_temp_low", "secondary_supply_temp_low", rule::UNDER_SUPPLY, rule::OVER_SUPPLY];
    match fault.kind {
        FaultKind::SensorStuck => e(&[], &["flat_line"], &[], &[]),
        FaultKind::Spike => e(&[], &["spike"], &[], &["secondary_supply_temp_high"]),
        // Slow and within every limit: found by models that compare metrics, not by the tests of one metric.
        FaultKind::Drift => e(&[], &[], &[], &[]),
        FaultKind::Dropout => e(&[], &[], &["not_measured"], &[]),
        FaultKind::CounterReset => e(&[], &["counter_reset"], &[], &[]),
        FaultKind::LateUpload => e(&[], &["timeliness"], &[], &[rule::COMMUNICATION_LOST]),
        FaultKind::DuplicateUpload => e(&[], &[], &["duplicate"], &[]),
        FaultKind::WrongClock if fault.magnitude > 0.0 => {
            e(&[], &[], &["time_in_future"], &[rule::COMMUNICATION_LOST])
        }
        FaultKind::WrongClock => e(&[], &[], &["time_before_2000"], &[rule::COMMUNICATION_LOST]),
        FaultKind::Leak => e(&["makeup_flow_high"], &[], &[], &["secondary_return_pressure_low"]),
        FaultKind::PumpStop => e(&["circulation_pump_fault"], &[], &[], &cold),
        FaultKind::UnderSupply => e(&[rule::UNDER_SUPPLY], &[], &[], &cold),
        FaultKind::OverSupply => {
            e(&[rule::OVER_SUPPLY], &[], &[], &["secondary_supply_temp_high", rule::UNDER_SUPPLY])
        }
        FaultKind::Overpressure => e(&["secondary_supply_pressure_high"], &[], &[], &[]),
        FaultKind::StationOffline => e(&[rule::COMMUNICATION_LOST], &[], &[], &[]),
        FaultKind::DeviceMoved => e(&[rule::DEVICE_MOVED], &[], &[], &[]),
    }
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    fault: &'a Fault,
    expected: Expected,
}

/// Writes the truth file.
///
/// # Errors
/// What the writer says.
pub fn write_truth(faults: &[Fault], mut out: impl io::Write) -> io::Result<()> {
    for fault in faults {
        serde_json::to_writer(&mut out, &Line { fault, expected: expected(fault) })?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::{Plan, plan_faults};
    use schemas::{QualityTest, Reason};

    #[test]
    fn the_truth_names_tests_and_reasons_that_exist() {
        for kind in FaultKind::ALL {
            for magnitude in [-1.0, 1.0] {
                let (facility, start, end) = ("ST-0001".into(), 0, 1);
                let fault =
                    Fault { kind: *kind, facility, device: None, metric: None, start, end, magnitude };
                let expected = expected(&fault);
                for flag in expected.flags {
                    assert!(QualityTest::ALL.iter().any(|t| t.name() == flag), "{flag}");
                }
                for reason in expected.rejects {
                    assert!(Reason::ALL.iter().any(|r| r.name() == reason), "{reason}");
                }
            }
        }
    }

    #[test]
    fn one_line_per_fault() {
        let faults = plan_faults(&Plan { faults_per_kind: 1, ..Plan::default() });
        let mut out = Vec::new();
        write_truth(&faults, &mut out).expect("memory");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text.lines().count(), faults.len());
        let line: serde_json::Value =
            serde_json::from_str(text.lines().next().expect("a fault")).expect("JSON");
        assert!(line["start"].as_str().is_some_and(|s| s.ends_with('Z')), "{line}");
        assert!(line["expected"]["alarms"].is_array(), "{line}");
    }
}
