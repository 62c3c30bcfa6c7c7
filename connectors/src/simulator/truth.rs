//! The truth file: one JSON line per fault, with what must be found because of it and what must not be said of it.

use std::io;

use schemas::{Millis, time::HOUR};
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
    /// Reports arrive without values.
    pub const VALUES_MISSING: &str = "values_missing";
    /// The object's clock is so wrong that its readings are refused.
    pub const CLOCK_WRONG: &str = "clock_wrong";
    /// Stands for every rule.
    pub const ANY: &str = "*";
}

/// What a fault must lead to, what it may, and what it must not.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Expected {
    /// Rules and models that must raise an alarm on the object while the fault lasts or soon after.
    pub alarms: Vec<&'static str>,
    /// Quality tests that must mark some of the object's readings.
    pub flags: Vec<&'static str>,
    /// Reasons for which some of the object's records or readings must be rejected.
    pub rejects: Vec<&'static str>,
    /// Further alarms that are right: consequences, also on the rooms below a station.
    pub also: Vec<&'static str>,
    /// Alarms that must not be raised on the object because of the fault.
    pub never: Vec<Never>,
    /// How many of the object's readings these quality tests may mark at most.
    pub at_most: Vec<(&'static str, u64)>,
    /// Heat that the KPIs of the station may show, from and to, as shares of what its power adds up to.
    pub heat: Option<(f64, f64)>,
    /// Whether every report of the object must count as complete.
    pub complete: bool,
}

/// An alarm that must not be raised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Never {
    /// The rule, or [`rule::ANY`].
    pub rule: &'static str,
    /// From so long after the fault's start, ms.
    pub after: Millis,
}

impl Expected {
    /// Whether something must be found.
    #[must_use]
    pub fn due(&self) -> bool {
        !(self.alarms.is_empty() && self.flags.is_empty() && self.rejects.is_empty())
    }

    /// Whether something must not be said or must stay as it is.
    #[must_use]
    pub fn bounded(&self) -> bool {
        !(self.never.is_empty() && self.at_most.is_empty()) || self.heat.is_some() || self.complete
    }

    /// Whether an alarm of a rule on the object would be one that must not be raised, so long after the fault's start.
    #[must_use]
    pub fn forbids(&self, rule: &str, after: Millis) -> bool {
        let meant = |never: &Never| never.rule == rule || never.rule == rule::ANY;
        self.never.iter().any(|never| meant(never) && after >= never.after)
    }

    fn never(mut self, rules: &[&'static str], after: Millis) -> Self {
        self.never.extend(rules.iter().map(|rule| Never { rule, after }));
        self
    }

    fn at_most(mut self, test: &'static str, readings: u64) -> Self {
        self.at_most.push((test, readings));
        self
    }

    fn heat(mut self, fault: &Fault, from: f64, to: f64) -> Self {
        self.heat = fault.device.is_none().then_some((from, to));
        self
    }

    fn complete(self) -> Self {
        Expected { complete: true, ..self }
    }
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
                ..Expected::default()
            }
        };
    let supply = [rule::UNDER_SUPPLY, rule::OVER_SUPPLY];
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
            e(&[], &[], &["time_in_future"], &[rule::CLOCK_WRONG]).never(&[rule::COMMUNICATION_LOST], 0)
        }
        FaultKind::WrongClock => {
            e(&[], &[], &["time_before_2000"], &[rule::CLOCK_WRONG]).never(&[rule::COMMUNICATION_LOST], 0)
        }
        FaultKind::Leak => e(&["makeup_flow_high"], &[], &[], &["secondary_return_pressure_low"]),
        FaultKind::PumpStop => e(&["circulation_pump_fault"], &[], &[], &cold),
        FaultKind::UnderSupply => e(&[rule::UNDER_SUPPLY], &[], &[], &cold),
        FaultKind::OverSupply => {
            e(&[rule::OVER_SUPPLY], &[], &[], &["secondary_supply_temp_high", rule::UNDER_SUPPLY])
        }
        FaultKind::Overpressure => e(&["secondary_supply_pressure_high"], &[], &[], &[]),
        FaultKind::StationOffline => e(&[rule::COMMUNICATION_LOST], &[], &[], &[]),
        FaultKind::DeviceMoved => e(&[rule::DEVICE_MOVED], &[], &[], &[]),
        // Two uploads teach the rhythm; before that, half an hour without a report is a loss.
        FaultKind::BatchUpload => {
            e(&[], &[], &[], &[rule::COMMUNICATION_LOST]).never(&[rule::COMMUNICATION_LOST], HOUR).complete()
        }
        // The step from meter to meter is no heat, and what the new one counts is.
        FaultKind::MeterReplaced => e(&[], &["counter_reset"], &[], &[])
            .at_most("counter_reset", 1)
            .heat(fault, 0.95, 1.05)
            .never(&supply, 0),
        // Nobody can know how much of it is heat until the unit is set right.
        FaultKind::UnitSwitched => e(&[], &["counter_jump"], &[], &[])
            .at_most("counter_reset", 0)
            .heat(fault, 0.0, 1.05)
            .never(&supply, 0),
        FaultKind::NullsOnly => e(&[rule::VALUES_MISSING], &[], &["not_measured"], &[])
            .never(&[rule::COMMUNICATION_LOST], 0)
            .never(&supply, 0),
        FaultKind::RepeatedBlock => {
            e(&[], &[], &["duplicate"], &[]).heat(fault, 0.95, 1.05).never(&[rule::ANY], 0).complete()
        }
        FaultKind::ClockFarAhead => e(&[rule::CLOCK_WRONG], &[], &["time_in_future"], &[])
            .never(&[rule::COMMUNICATION_LOST], 0)
            .never(&supply, 0),
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
                let limited = expected.at_most.iter().map(|(test, _)| *test);
                for flag in expected.flags.iter().copied().chain(limited) {
                    assert!(QualityTest::ALL.iter().any(|t| t.name() == flag), "{flag}");
                }
                for reason in expected.rejects {
                    assert!(Reason::ALL.iter().any(|r| r.name() == reason), "{reason}");
                }
            }
        }
    }

    #[test]
    fn what_is_forbidden_is_so_from_its_time() {
        let wanted = Expected::default().never(&["a"], HOUR);
        assert!(wanted.bounded() && !wanted.due());
        assert!(!wanted.forbids("a", HOUR - 1) && wanted.forbids("a", HOUR) && !wanted.forbids("b", HOUR));
        assert!(Expected::default().never(&[rule::ANY], 0).forbids("b", 0));
        assert!(!Expected::default().bounded());
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
