//! The stage as a whole: tables for each transition, and properties against the oracle.

use std::{collections::BTreeMap, rc::Rc, sync::Arc};

use proptest::prelude::*;
use schemas::{
    AlarmState, AlarmTransition, Catalogue, Code, Facility, FacilityKind, Flag, MetricId, Millis,
    RecordPlace, Side, TestSet, Threshold, Topic,
    time::{HOUR, MINUTE},
};

use super::{
    Alarms,
    alarms::AlarmSettings,
    oracle::{self, Expected},
    rule::Rule,
    threshold,
    transition::alarm_id,
};
use crate::{
    Change, Checked, CheckedEpoch, Heard, Object, Observation, Observations, Observed, ObservedEpoch,
    Profile, ProfileChange, Stage,
    durable::{Durable, Saved},
    flow::{Carrier, whole::CheckedReport},
    validate::{Memory, Validate},
};

const START: Millis = 1_700_000_000_000;

fn metric(code: &str) -> MetricId {
    Catalogue::in_force().id(code).unwrap()
}

fn threshold(scope: &str, code: &str, side: Side, levels: [Option<f64>; 3]) -> Threshold {
    Threshold {
        scope: scope.into(),
        metric: metric(code),
        side,
        level1: levels[0],
        level2: levels[1],
        level3: levels[2],
        deadband: 1.0,
        on_delay: 120,
        off_delay: 180,
        enabled: true,
        advice: String::new(),
        rule: "".into(),
    }
}

fn hot() -> Threshold {
    threshold("station", "secondary_supply_temp", Side::High, [Some(80.0), Some(70.0), Some(60.0)])
}

fn profile(thresholds: &[Threshold]) -> Profile {
    Profile {
        facility: Facility {
            code: "ST-1".into(),
            kind: FacilityKind::Station,
            name: "一号站".into(),
            parent: None,
            enterprise: None,
            district: None,
            longitude: Some(125.3),
            latitude: Some(43.9),
            heated_area: Some(80_000.0),
            attributes: [].into(),
        },
        devices: [].into(),
        scopes: Arc::default(),
        thresholds: thresholds.iter().cloned().map(Arc::new).collect(),
        households_below: 700,
        area_below: 80_000.0,
    }
}

fn change(profile: Profile) -> ProfileChange {
    ProfileChange { facility: profile.facility.code.clone(), profile: Some(Arc::new(profile)) }
}

fn report(at: Millis, value: f64, flag: Flag, change: Change) -> CheckedReport {
    let reading =
        Checked { metric: metric("secondary_supply_temp"), value, flag, failed: TestSet::EMPTY, change };
    CheckedReport {
        object: Rc::new(Object { facility: "ST-1".into(), device: Code::default() }),
        observed_at: at,
        received_at: at,
        carrier: Carrier { partition: 0, offset: (at - START) / MINUTE, redriven: false },
        readings: vec![reading],
    }
}

fn good(minute: i64, value: f64) -> CheckedReport {
    report(START + minute * MINUTE, value, Flag::Good, Change::New)
}

/// Runs epochs of (profiles, reports); the clock is the newest observation.
fn run(
    alarms: &mut Alarms,
    epochs: impl IntoIterator<Item = (Vec<ProfileChange>, Vec<CheckedReport>)>,
) -> Vec<AlarmTransition> {
    let mut clock = START;
    let mut seen = Vec::new();
    for (number, (profiles, reports)) in epochs.into_iter().enumerate() {
        clock = reports.iter().map(|r| r.received_at).fold(clock, Millis::max);
        let epoch = CheckedEpoch {
            epoch: number as u64 + 1,
            clock,
            profiles,
            reports: reports.iter().collect(),
            ..CheckedEpoch::default()
        };
        seen.extend(alarms.apply(&epoch).transitions);
    }
    seen
}

fn brief(transitions: &[AlarmTransition]) -> Vec<String> {
    transitions
        .iter()
        .map(|t| {
            let minute = (t.at - START) / MINUTE;
            format!("{} {} L{} @{minute} {}", t.sequence, t.transition.name(), t.level, t.cause)
        })
        .collect()
}

#[rstest::rstest]
#[case::good(&[50.0, 55.0, 59.9], &[])]
#[case::too_short(&[61.0, 61.0, 50.0, 61.0, 61.0, 50.0], &[])]
#[case::raised(&[61.0, 61.0, 61.0], &["1 raised L3 @2 data"])]
#[case::at_the_limit(&[60.0, 60.0, 60.0], &["1 raised L3 @2 data"])]
#[case::raised_at_the_gravest(&[61.0, 85.0, 85.0], &["1 raised L1 @2 data"])]
#[case::escalated_and_back(
    &[61.0, 61.0, 61.0, 75.0, 69.5, 68.0],
    &["1 raised L3 @2 data", "2 escalated L2 @3 data", "3 de-escalated L3 @5 data"]
)]
#[case::updated(&[61.0, 61.0, 61.0, 61.5, 63.0, 63.5], &["1 raised L3 @2 data", "2 updated L3 @4 data"])]
#[case::held_by_the_deadband(&[61.0, 61.0, 61.0, 59.5, 59.5, 59.5, 59.5, 59.5], &["1 raised L3 @2 data"])]
#[case::cleared(
    &[61.0, 61.0, 61.0, 50.0, 50.0, 50.0, 50.0],
    &["1 raised L3 @2 data", "2 cleared L3 @6 data"]
)]
#[case::not_good_for_long_enough(&[61.0, 61.0, 61.0, 50.0, 50.0, 61.0, 50.0, 50.0], &["1 raised L3 @2 data"])]
fn each_transition(#[case] values: &[f64], #[case] want: &[&str]) {
    let epochs = values.iter().enumerate().map(|(minute, value)| {
        let profiles = if minute == 0 { vec![change(profile(&[hot()]))] } else { vec![] };
        (profiles, vec![good(minute as i64, *value)])
    });
    assert_eq!(brief(&run(&mut Alarms::default(), epochs)), want);
}

/// Readings of every minute; the delays are 2 and 3 minutes, and ten minutes without a reading are a silence.
#[rstest::rstest]
#[case::across_a_silence(&[(0, 61.0), (108, 61.0)], &[])]
#[case::shown_after_it(&[(0, 61.0), (108, 61.0), (110, 61.0)], &["1 raised L3 @110 data"])]
#[case::no_silence_yet(&[(0, 61.0), (10, 61.0)], &["1 raised L3 @2 data"])]
#[case::judged_afresh(&[(0, 61.0), (1, 61.0), (60, 59.5), (63, 59.5)], &[])]
#[case::stands_through(&[(0, 61.0), (2, 61.0), (60, 75.0)], &["1 raised L3 @2 data", "2 escalated L2 @60 data"])]
#[case::not_cleared_across(&[(0, 61.0), (2, 61.0), (3, 50.0), (60, 50.0)], &["1 raised L3 @2 data"])]
#[case::cleared_after_it(
    &[(0, 61.0), (2, 61.0), (3, 50.0), (60, 50.0), (62, 50.0), (63, 50.0)],
    &["1 raised L3 @2 data", "2 cleared L3 @63 data"]
)]
fn delays_pass_only_while_readings_come(#[case] values: &[(i64, f64)], #[case] want: &[&str]) {
    let reports = values.iter().map(|(minute, value)| good(*minute, *value)).collect();
    let seen = run(&mut Alarms::default(), [(vec![change(patient(&[hot()]))], reports)]);
    assert_eq!(brief(&seen), want);
}

#[rstest::rstest]
#[case::nobody_says(&[], 60)]
#[case::every_minute(&[("interval", "60")], 10)]
#[case::every_quarter(&[("interval", "900")], 45)]
#[case::wrong(&[("interval", "-1")], 60)]
fn how_long_a_state_is_taken_to_last(#[case] attributes: &[(&str, &str)], #[case] minutes: i64) {
    let mut profile = profile(&[]);
    profile.facility.attributes = attributes.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
    assert_eq!(threshold::longest_gap(&profile, ""), minutes * MINUTE);
}

#[test]
fn a_transition_carries_every_field() {
    let seen = run(
        &mut Alarms::default(),
        [(vec![change(profile(&[hot()]))], vec![good(0, 61.0), good(1, 64.0), good(2, 62.0)])],
    );
    let [raised] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(raised.rule, "secondary_supply_temp_high");
    assert_eq!((raised.first_value, raised.current_value, raised.peak_value), (61.0, 62.0, 64.0));
    assert_eq!((raised.peak_at, raised.peak_level), (START + MINUTE, 3));
    assert_eq!((raised.affected_households, raised.affected_area), (700, 80_000.0));
    assert!(!raised.analysed);
    assert!(raised.advice.contains("二次供水温度"), "{}", raised.advice);
    let evidence: serde_json::Value = serde_json::from_str(&raised.evidence).unwrap();
    assert_eq!(evidence["rule"]["scope"], "station");
    assert_eq!(evidence["rule"]["level3"], 60.0);
    assert_eq!(evidence["readings"][1][1], 64.0);
    assert_eq!(evidence["readings"][2][0], "2023-11-14T22:15:20.000Z");
}

#[test]
fn unusable_readings_neither_raise_nor_clear() {
    let suspect = |minute: i64, value| report(START + minute * MINUTE, value, Flag::Suspect, Change::New);
    let first = vec![
        suspect(0, 99.0),
        suspect(5, 99.0),
        good(6, 61.0),
        suspect(7, 20.0),
        good(8, 61.0),
        suspect(9, 20.0),
        suspect(90, 20.0),
        good(91, 62.0),
    ];
    let seen = run(&mut Alarms::default(), [(vec![change(patient(&[hot()]))], first)]);
    assert_eq!(brief(&seen), ["1 raised L3 @8 data"]);
}

#[rstest::rstest]
#[case::late_reading_shows_it_was_good(
    vec![good(0, 61.0), good(2, 61.0)], vec![good(1, 50.0)],
    &["1 raised L3 @2 data", "2 retracted L3 @2 late data"]
)]
#[case::late_reading_shows_it_began_before(
    vec![good(2, 61.0), good(4, 61.0)], vec![good(1, 61.0)],
    &["1 raised L3 @3 late data", "1 raised L3 @4 data", "2 retracted L3 @4 late data"]
)]
#[case::corrected(
    vec![good(0, 61.0), good(1, 90.0), good(2, 61.0)],
    vec![report(START + MINUTE, 62.0, Flag::Good, Change::Corrected)],
    &["1 raised L3 @2 data", "2 updated L3 @2 correction"]
)]
#[case::marked_unusable(
    vec![good(0, 61.0), good(2, 61.0)],
    vec![report(START + 2 * MINUTE, 61.0, Flag::Fail, Change::Remarked)],
    &["1 raised L3 @2 data", "2 retracted L3 @2 correction"]
)]
#[case::late_good_spell(
    vec![good(0, 61.0), good(2, 61.0), good(20, 61.0)], vec![good(3, 50.0), good(6, 50.0), good(19, 61.0)],
    &[
        "1 raised L3 @2 data",
        "2 cleared L3 @6 late data",
    ]
)]
#[case::behind_the_horizon(
    vec![good(0, 50.0), good(300, 50.0)], vec![good(100, 99.0), good(110, 99.0)],
    &[]
)]
fn late_and_corrected_readings_revise(
    #[case] first: Vec<CheckedReport>,
    #[case] then: Vec<CheckedReport>,
    #[case] want: &[&str],
) {
    let mut alarms = Alarms::default();
    let seen = run(&mut alarms, [(vec![change(patient(&[hot()]))], first), (vec![], then)]);
    let mut seen = brief(&seen);
    seen.sort();
    let mut want: Vec<String> = want.iter().map(|s| (*s).to_owned()).collect();
    want.sort();
    assert_eq!(seen, want);
}

/// Of each transition the record: raised by the reading that confirmed it, cleared late, raised again by a reject that was
/// sent once more, ended by the registry.
#[test]
fn what_a_record_brings_about_names_it() {
    let mut alarms = Alarms::default();
    let mut again = good(2, 71.0);
    again.carrier = Carrier { partition: 4, offset: 77, redriven: true };
    let late = report(START + 2 * MINUTE, 50.0, Flag::Good, Change::New);
    let by = RecordPlace { topic: Topic::Registry, partition: 0, offset: 9 };
    let gone = ProfileChange { facility: "ST-1".into(), profile: None };
    let epochs = [
        (vec![change(patient(&[hot()]))], None, vec![good(0, 71.0), good(1, 71.0), good(4, 71.0)]),
        (vec![], None, vec![late]),
        (vec![], None, vec![again]),
        (vec![gone], Some(by), vec![]),
    ];
    let mut told = Vec::new();
    for (epoch, (profiles, registry, reports)) in (0..).zip(epochs) {
        let (clock, reports) = (START + 4 * MINUTE, reports.into_iter().collect());
        let input = CheckedEpoch { epoch, clock, profiles, registry, reports, ..CheckedEpoch::default() };
        told.extend(alarms.apply(&input).transitions);
    }
    let seen: Vec<String> = told
        .iter()
        .map(|t| format!("{} {} {}", t.transition.name(), t.cause, t.caused_by.unwrap()))
        .collect();
    let want = [
        "raised data reports/0/4",
        "retracted late data reports/0/2",
        "raised redriven reports/4/77",
        "cleared registry registry/0/9",
    ];
    assert_eq!(seen, want);
}

#[test]
fn registry_changes_revise() {
    let mut alarms = Alarms::default();
    let lower = Threshold { level3: Some(55.0), ..hot() };
    let disabled = Threshold { enabled: false, ..hot() };
    let mut larger = patient(&[hot()]);
    larger.households_below = 900;
    let epochs = vec![
        (vec![change(patient(&[hot()]))], vec![good(0, 57.0), good(1, 57.0), good(2, 57.0)]),
        (vec![change(patient(&[lower]))], vec![]),
        (vec![change(patient(&[hot()]))], vec![good(3, 61.0), good(6, 61.0)]),
        (vec![change(larger)], vec![]),
        (vec![change(patient(&[disabled]))], vec![good(7, 61.0)]),
        (vec![change(patient(&[hot()]))], vec![good(8, 61.0)]),
        (vec![ProfileChange { facility: "ST-1".into(), profile: None }], vec![good(9, 99.0), good(19, 99.0)]),
    ];
    let seen = run(&mut alarms, epochs);
    let want = [
        "1 raised L3 @2 registry",
        "1 raised L3 @5 data",
        "2 retracted L3 @6 registry",
        "2 updated L3 @6 registry",
        "3 updated L3 @7 registry",
        "4 cleared L3 @7 registry",
        "5 updated L3 @8 registry",
        "6 cleared L3 @19 registry",
    ];
    assert_eq!(brief(&seen), want);
    assert_eq!(seen[3].affected_households, 900);
    assert_eq!(alarms.entries(), 0, "a facility that is gone leaves no state");
}

/// Two rules over one side, each with its own limits and delays; the specific one of a name replaces that of its name.
#[test]
fn several_rules_watch_one_side() {
    let slow = Threshold {
        on_delay: 600,
        level1: None,
        level2: None,
        level3: Some(57.0),
        rule: "slow".into(),
        ..hot()
    };
    let own = Threshold { scope: "ST-1".into(), level3: Some(56.0), ..slow.clone() };
    for (rules, level) in [(vec![hot(), slow.clone()], 57.0), (vec![slow, own, hot()], 56.0)] {
        let mut alarms = Alarms::default();
        let values: Vec<_> =
            (0..14).map(|minute| good(minute, if minute < 4 { 61.0 } else { 58.0 })).collect();
        let seen = run(&mut alarms, vec![(vec![change(patient(&rules))], values)]);
        let told: Vec<(&str, &str)> = seen.iter().map(|t| (t.rule.as_str(), t.transition.name())).collect();
        let (fast, slow) = ("secondary_supply_temp_high", "secondary_supply_temp_high_slow");
        assert_eq!(told, [(fast, "raised"), (fast, "cleared"), (slow, "raised")]);
        let evidence: serde_json::Value = serde_json::from_str(&seen[2].evidence).unwrap();
        assert_eq!(evidence["rule"]["level3"], level);
        assert_ne!(seen[0].alarm_id, seen[2].alarm_id);
    }
}

#[test]
fn the_most_specific_threshold_wins_and_may_be_disabled() {
    let kind = hot();
    let own = Threshold { scope: "ST-1".into(), level3: Some(65.0), ..hot() };
    let off = Threshold { scope: "ST-1".into(), enabled: false, ..hot() };
    let values = || vec![good(0, 62.0), good(5, 62.0)];
    let count = |thresholds: &[Threshold]| {
        run(&mut Alarms::default(), [(vec![change(profile(thresholds))], values())]).len()
    };
    assert_eq!(count(std::slice::from_ref(&kind)), 1);
    assert_eq!(count(&[own.clone(), kind.clone()]), 0);
    assert_eq!(count(&[kind.clone(), own]), 0);
    assert_eq!(count(&[kind, off]), 0);
}

#[test]
fn states_name_the_rule_by_the_metric() {
    let mut fault = threshold("station", "circulation_pump_fault", Side::High, [Some(1.0), None, None]);
    fault.deadband = 0.0;
    fault.on_delay = 0;
    let rule = Rule::of_threshold(&fault, HOUR, None);
    assert_eq!(rule.code, "circulation_pump_fault");
    assert_eq!((rule.limits.severity(1.0, 0), rule.limits.severity(0.0, 3)), (3, 0));
}

#[test]
fn a_moved_device_needs_two_readings() {
    let at = |minute: i64, latitude: f64| {
        let mut report = good(minute, 0.0);
        let position = |code, value| Checked { metric: metric(code), value, ..report.readings[0] };
        report.readings = vec![position("latitude", latitude), position("longitude", 125.3)];
        report
    };
    let mut alarms = Alarms::default();
    let reports = vec![at(0, 43.9), at(1, 43.91), at(2, 43.9), at(3, 43.91), at(4, 43.91), at(9, 43.9)];
    let seen = run(&mut alarms, [(vec![change(profile(&[]))], reports)]);
    assert_eq!(brief(&seen), ["1 raised L2 @4 data", "2 cleared L2 @9 data"]);
    assert_eq!((seen[0].rule.as_str(), seen[0].metric), ("device_moved", None));
    assert!((seen[0].peak_value - 1112.0).abs() < 2.0, "{}", seen[0].peak_value);
}

/// Civil midnight behind the 14th, on which the season of [`cold_until`] ends, in minutes and milliseconds.
const TURN: Millis = START + 6_400_000;

fn cold(metric: &str) -> Threshold {
    threshold("station", metric, Side::Low, [Some(40.0), Some(50.0), Some(60.0)])
}

fn seasonal(threshold: Threshold, season: &str) -> Profile {
    let mut profile = patient(&[threshold]);
    profile.facility.attributes.insert("heating_season".into(), season.into());
    profile
}

#[rstest::rstest]
#[case::ends(cold("secondary_supply_temp"), "10-20..11-14", &["1 raised L3 @92 data", "2 cleared L3 @106 season"])]
#[case::pending(
    Threshold { on_delay: 1_800, ..cold("secondary_supply_temp") }, "10-20..11-14", &[]
)]
#[case::begins(cold("secondary_supply_temp"), "11-15..04-06", &["1 raised L3 @109 data"])]
#[case::not_due(cold("secondary_supply_temp"), "12-01..04-06", &[])]
#[case::nobody_says(cold("secondary_supply_temp"), "", &["1 raised L3 @92 data"])]
#[case::high_limits_stay(hot(), "12-01..04-06", &[])]
fn low_limits_hold_while_heating_is_due(
    #[case] threshold: Threshold,
    #[case] season: &str,
    #[case] want: &[&str],
) {
    let reports = || (90..125).map(|minute| good(minute, 55.0));
    let begin = || (vec![change(seasonal(threshold.clone(), season))], vec![]);
    let each = reports().map(|report| (vec![], vec![report]));
    assert_eq!(brief(&run(&mut Alarms::default(), [begin()].into_iter().chain(each))), want);
    // The same in one epoch, and backwards.
    let (whole, mut back) = (reports().collect(), reports().collect::<Vec<_>>());
    back.reverse();
    for reports in [whole, back] {
        let seen = run(&mut Alarms::default(), [begin(), (vec![], reports)]);
        let last = final_state(&seen).into_values().map(|t| (t.raised_at, t.cleared_at, t.cause));
        let want = want.iter().filter(|text| text.contains("raised")).count();
        assert_eq!(last.count(), want, "{seen:?}");
    }
}

#[test]
fn pressures_are_due_all_year() {
    let mut low = cold("secondary_supply_pressure");
    (low.level1, low.level2, low.level3, low.deadband) = (None, None, Some(0.2), 0.0);
    let reports = (90..125).map(|minute| {
        let mut report = good(minute, 0.1);
        report.readings[0].metric = metric("secondary_supply_pressure");
        report
    });
    let seen =
        run(&mut Alarms::default(), [(vec![change(seasonal(low, "12-01..04-06"))], reports.collect())]);
    assert_eq!(brief(&seen), ["1 raised L3 @92 data"]);
}

/// Nothing comes any more when the season ends: the clock ends the alarm, and what comes late is not raised anew.
#[test]
fn the_end_of_a_season_needs_no_reading() {
    let mut alarms = Alarms::default();
    let mut apply = |minute: i64, profiles, reports: Vec<CheckedReport>| {
        let (clock, reports) = (START + minute * MINUTE, reports.iter().collect());
        brief(
            &alarms.apply(&CheckedEpoch { clock, profiles, reports, ..CheckedEpoch::default() }).transitions,
        )
    };
    let begin = vec![change(seasonal(cold("secondary_supply_temp"), "10-20..11-14"))];
    let first = (0..4).map(|minute| good(90 + minute, 55.0)).collect();
    assert_eq!(apply(94, begin, first), ["1 raised L3 @92 data"]);
    assert_eq!(apply(106, vec![], vec![]), Vec::<String>::new());
    assert_eq!(apply(107, vec![], vec![]), ["2 cleared L3 @106 season"]);
    assert_eq!(apply(108, vec![], (95..100).map(|m| good(m, 55.0)).collect()), Vec::<String>::new());
    assert_eq!(apply(109, vec![], vec![good(89, 55.0)]).len(), 3, "retracted, raised and cleared again");
}

/// An arrival at a minute that brought a value, nothing, or a time an hour ahead.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Arrival {
    Value,
    Null,
    Fast,
}

fn arrival_epoch(arrivals: &[(i64, Arrival)], profiles: Vec<ProfileChange>) -> CheckedEpoch {
    let at = |minute: i64| START + minute * MINUTE;
    let mut epoch = CheckedEpoch { profiles, clock: START, ..CheckedEpoch::default() };
    for (minute, arrival) in arrivals {
        let mut report = good(*minute, 40.0);
        if *arrival == Arrival::Fast {
            let (observed_at, received_at) = (at(*minute + 60), at(*minute));
            epoch.heard.push(Heard {
                object: report.object,
                observed_at,
                received_at,
                carrier: report.carrier,
                misdated: true,
            });
            continue;
        }
        if *arrival == Arrival::Null {
            report.readings.clear();
        }
        epoch.reports.push(report.view());
    }
    epoch
}

/// What is told of arrivals, one an epoch, at an interval of a minute; ten minutes are the limit.
fn of_arrivals(arrivals: &[(i64, Arrival)]) -> Vec<AlarmTransition> {
    of_arrivals_by(1, arrivals)
}

/// The same with so many in an epoch.
fn of_arrivals_by(count: usize, arrivals: &[(i64, Arrival)]) -> Vec<AlarmTransition> {
    let mut profile = profile(&[]);
    profile.facility.attributes.insert("interval".into(), "60".into());
    let (mut alarms, mut clock) = (Alarms::default(), START);
    let mut seen = alarms.apply(&arrival_epoch(&[], vec![change(profile)])).transitions;
    for some in arrivals.chunks(count) {
        clock = some.iter().map(|one| START + one.0 * MINUTE).fold(clock, Millis::max);
        seen.extend(alarms.apply(&CheckedEpoch { clock, ..arrival_epoch(some, vec![]) }).transitions);
    }
    seen
}

#[rstest::rstest]
#[case::nulls(Arrival::Null, "values_missing", Some(11))]
#[case::wrong_times(Arrival::Fast, "clock_wrong", Some(11))]
#[case::values(Arrival::Value, "", None)]
fn in_contact_and_of_no_use(#[case] arrival: Arrival, #[case] rule: &str, #[case] raised: Option<i64>) {
    let mut arrivals = vec![(0, Arrival::Value)];
    arrivals.extend((1..30).map(|minute| (minute, arrival)));
    let seen = of_arrivals(&arrivals);
    let want: Vec<_> = raised.iter().map(|minute| format!("1 raised L2 @{minute} data")).collect();
    assert_eq!(brief(&seen), want, "and no communication_lost");
    assert!(seen.iter().all(|t| t.rule == rule));
    arrivals.push((30, Arrival::Value));
    let seen = of_arrivals(&arrivals);
    let Some(cleared) = seen.last() else { return };
    assert_eq!(brief(&seen)[1..], ["2 cleared L2 @30 data"]);
    let evidence: serde_json::Value = serde_json::from_str(&cleared.evidence).unwrap();
    assert_eq!((&evidence["since"], &evidence["reports"]), (&"2023-11-14T22:14:20.000Z".into(), &29.into()));
    let offset = if arrival == Arrival::Fast { 3600.0.into() } else { serde_json::Value::Null };
    assert_eq!(evidence["last_offset_s"], offset);
    assert!(cleared.advice.contains("设备在线"));
}

#[test]
fn one_value_among_nulls_is_enough() {
    let arrival = |minute| (minute, if minute % 9 == 0 { Arrival::Value } else { Arrival::Null });
    assert_eq!(of_arrivals(&(0..60).map(arrival).collect::<Vec<_>>()), []);
    let arrival = |minute| (minute, if minute % 9 == 0 { Arrival::Null } else { Arrival::Fast });
    assert_eq!(of_arrivals(&(0..10).map(arrival).collect::<Vec<_>>()), [], "none has lasted");
}

/// What quality control makes of positions, and alarms of that.
#[rstest::rstest]
#[case::no_fix(Some((43.9, 125.3)), (0.0, 0.0), 0)]
#[case::half_a_fix(Some((43.9, 125.3)), (43.9, 0.0), 0)]
#[case::moved(Some((43.9, 125.3)), (43.95, 125.3), 1)]
#[case::registered_nowhere(Some((0.0, 0.0)), (43.9, 125.3), 0)]
#[case::not_registered(None, (43.9, 125.3), 0)]
fn a_position_of_zeros_is_none(
    #[case] registered: Option<(f64, f64)>,
    #[case] (latitude, longitude): (f64, f64),
    #[case] moved: usize,
) {
    let mut profile = profile(&[]);
    (profile.facility.latitude, profile.facility.longitude) = registered.unzip();
    let mut observations = Observations::of(0);
    for minute in 0..4 {
        let observed = |code, value| Observed { metric: metric(code), value, normal: true };
        observations.push(&Observation {
            facility: "ST-1",
            device: "",
            observed_at: START + minute * MINUTE,
            received_at: START + minute * MINUTE,
            sequence: None,
            partition: 0,
            offset: minute,
            redriven: false,
            readings: &[observed("latitude", latitude), observed("longitude", longitude)],
        });
    }
    let clock = START + 4 * MINUTE;
    let profiles = vec![change(profile)];
    let epoch = ObservedEpoch {
        epoch: 1,
        clock,
        profiles,
        observations: vec![observations],
        ..ObservedEpoch::default()
    };
    let checked = Validate::new("reports", Memory::default()).apply(&epoch);
    let seen = Alarms::default().apply(&checked).transitions;
    assert_eq!(seen.iter().filter(|t| t.rule == "device_moved").count(), moved, "{seen:?}");
}

/// What stands at the end, by alarm, without what was retracted; checks the run of each alarm on the way.
fn final_state(transitions: &[AlarmTransition]) -> BTreeMap<String, AlarmTransition> {
    let mut last: BTreeMap<String, AlarmTransition> = BTreeMap::new();
    for t in transitions {
        let before = last.insert(t.alarm_id.clone(), t.clone());
        assert_eq!(t.sequence, before.as_ref().map_or(1, |b| b.sequence + 1), "{t:?}");
        let begins = before.as_ref().is_none_or(|b| b.state == AlarmState::Retracted);
        assert_eq!(t.transition.name() == "raised", begins, "{t:?} after {before:?}");
        assert!(before.is_none_or(|b| b.at <= t.at));
    }
    last.retain(|_, t| t.state != AlarmState::Retracted);
    last
}

fn compare(
    rule: &Rule,
    seen: &BTreeMap<String, AlarmTransition>,
    want: &[Expected],
) -> Result<(), TestCaseError> {
    let object = Object { facility: "ST-1".into(), device: Code::default() };
    prop_assert_eq!(seen.len(), want.len(), "{:?}\n{:?}", seen.values(), want);
    for w in want {
        let Some(s) = seen.get(&alarm_id(&rule.code, &object, rule.metric, w.onset)) else {
            return Err(TestCaseError::fail(format!("{w:?} is not among {:?}", seen.values())));
        };
        prop_assert_eq!(
            (s.raised_at, s.cleared_at, s.first_value, s.level, s.peak_level),
            (w.raised_at, w.cleared_at, w.first_value, w.level, w.peak_level)
        );
        if w.cleared_at.is_some() {
            prop_assert_eq!((s.peak_value, s.peak_at), (w.peak_value, w.peak_at));
        } else {
            prop_assert!((w.peak_value - s.peak_value).abs() <= rule.limits.step + 1e-9);
        }
    }
    Ok(())
}

/// A point of the final truth: minute, value, how late it comes (minutes), and what was wrongly sent first.
#[derive(Clone, Debug)]
struct Sent {
    minute: i64,
    value: f64,
    late: i64,
    first: Option<(f64, bool)>,
}

/// Further apart than this, readings show nothing of the time between them.
const GAP: Millis = 10 * MINUTE;

fn sent(count: usize, latest: i64) -> impl Strategy<Value = Vec<Sent>> {
    let value = prop::sample::select(vec![40.0, 50.0, 59.5, 60.0, 62.0, 65.0, 69.5, 71.0, 78.0, 85.0]);
    let first = prop::option::weighted(0.15, (value.clone(), any::<bool>()));
    let late = prop_oneof![3 => Just(0), 2 => 0..latest];
    let gap = prop_oneof![12 => 1i64..4, 1 => 4i64..25];
    prop::collection::vec((gap, value, late, first), 1..count).prop_map(|points| {
        let mut minute = 0;
        points
            .into_iter()
            .map(|(gap, value, late, first)| {
                minute += gap;
                Sent { minute, value, late, first }
            })
            .collect()
    })
}

/// The reports in the order of their arrival. A wrong first value or mark is made good within 20 min.
fn arrivals(points: &[Sent]) -> Vec<CheckedReport> {
    let mut arriving = Vec::new();
    for (index, p) in points.iter().enumerate() {
        let at = START + p.minute * MINUTE;
        let comes = p.minute + p.late;
        match p.first {
            None => arriving.push((comes, index, report(at, p.value, Flag::Good, Change::New))),
            Some((value, marked)) => {
                let (flag, first, again) = if marked {
                    (Flag::Suspect, p.value, Change::Remarked)
                } else {
                    (Flag::Good, value, Change::Corrected)
                };
                arriving.push((comes, index, report(at, first, flag, Change::New)));
                arriving.push((comes + 20, index, report(at, p.value, Flag::Good, again)));
            }
        }
    }
    arriving.sort_by_key(|(comes, index, _)| (*comes, *index));
    arriving.into_iter().map(|(_, _, report)| report).collect()
}

fn epochs(reports: &[CheckedReport], size: usize) -> Vec<(Vec<ProfileChange>, Vec<CheckedReport>)> {
    reports.chunks(size).map(|chunk| (vec![], chunk.to_vec())).collect()
}

fn truth(points: &[Sent]) -> Vec<(Millis, f64)> {
    points.iter().map(|p| (START + p.minute * MINUTE, p.value)).collect()
}

/// Communication alarms are of no interest here.
fn patient(thresholds: &[Threshold]) -> Profile {
    let mut profile = profile(thresholds);
    profile.facility.attributes.insert("offline_after".into(), "1000000000".into());
    profile.facility.attributes.insert("interval".into(), "60".into());
    profile
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn any_order_ends_in_the_episodes_of_the_whole(
        points in sent(150, 40), size in 1usize..30, on_delay in 0u32..400, off_delay in 0u32..400,
    ) {
        let rule = Threshold { on_delay, off_delay, ..hot() };
        // Later than 60 min behind the newest nothing comes: a horizon that forgets most of the series.
        let mut alarms = Alarms::new(AlarmSettings { horizon: HOUR + 1, ..AlarmSettings::default() });
        let mut run_of = vec![(vec![change(patient(std::slice::from_ref(&rule)))], vec![])];
        run_of.extend(epochs(&arrivals(&points), size));
        let seen = final_state(&run(&mut alarms, run_of));
        let rule = Rule::of_threshold(&rule, GAP, None);
        compare(&rule, &seen, &oracle::episodes(&rule.limits, &truth(&points)))?;
    }

    #[test]
    fn arrivals_in_vain_do_not_depend_on_the_order_of_the_log(
        spells in prop::collection::vec((any::<bool>(), 1usize..20, 1i64..4), 1..20),
        late in prop::collection::vec(0i64..10, 400),
        wrong in any::<bool>(),
        count in 1usize..200,
    ) {
        let (mut minute, mut arrivals) = (0, Vec::new());
        for (good, count, gap) in spells {
            let bad = if wrong { Arrival::Fast } else { Arrival::Null };
            for _ in 0..count {
                minute += gap;
                arrivals.push((minute, if good { Arrival::Value } else { bad }));
            }
        }
        // A stretch of bad arrivals is told by its second that is far enough behind its first.
        let (mut want, mut since, mut raised) = (Vec::new(), None, false);
        for (minute, arrival) in &arrivals {
            match (*arrival, since) {
                (Arrival::Value, _) => {
                    if raised {
                        want.push((since.unwrap() + 10, Some(*minute)));
                    }
                    (since, raised) = (None, false);
                }
                (_, None) => since = Some(*minute),
                (_, Some(first)) => raised |= *minute - first >= 10,
            }
        }
        want.extend(since.filter(|_| raised).map(|first| (first + 10, None)));
        let mut log: Vec<_> = arrivals.iter().zip(&late).collect();
        log.sort_by_key(|((minute, _), late)| minute + **late);
        let log: Vec<_> = log.into_iter().map(|(arrival, _)| *arrival).collect();
        let minutes = |at: Millis| (at - START) / MINUTE;
        let mut have: Vec<_> = final_state(&of_arrivals_by(count, &log))
            .into_values()
            .map(|t| (minutes(t.raised_at), t.cleared_at.map(minutes)))
            .collect();
        have.sort();
        prop_assert_eq!(have, want);
    }

    #[test]
    fn seasons_end_and_begin_in_any_order(
        points in sent(150, 40), size in 1usize..30, on_delay in 0u32..400, off_delay in 0u32..400,
        ends in any::<bool>(),
    ) {
        let cold = Threshold { on_delay, off_delay, ..cold("secondary_supply_temp") };
        let season = if ends { "10-20..11-14" } else { "11-15..04-06" };
        let mut alarms = Alarms::new(AlarmSettings { horizon: HOUR + 1, ..AlarmSettings::default() });
        let mut run_of = vec![(vec![change(seasonal(cold.clone(), season))], vec![])];
        run_of.extend(epochs(&arrivals(&points), size));
        let seen = final_state(&run(&mut alarms, run_of));
        let rule = Rule::of_threshold(&cold, GAP, None);
        let due: Vec<_> = truth(&points).into_iter().filter(|(at, _)| (*at < TURN) == ends).collect();
        let mut want = oracle::episodes(&rule.limits, &due);
        if let Some(last) = want.last_mut().filter(|_| ends && points.iter().any(|p| START + p.minute * MINUTE >= TURN)) {
            last.cleared_at = last.cleared_at.or(Some(TURN));
        }
        compare(&rule, &seen, &want)?;
    }

    #[test]
    fn a_changed_threshold_ends_in_its_own_episodes(
        points in sent(60, 40), size in 1usize..30, when in 0usize..10, shift in -15.0f64..15.0,
    ) {
        let shifted = |level: Option<f64>| level.map(|l| (l + shift).round());
        let rule = hot();
        let new = Threshold {
            level1: shifted(rule.level1),
            level2: if shift > 0.0 { None } else { shifted(rule.level2) },
            level3: shifted(rule.level3),
            on_delay: 60,
            ..rule.clone()
        };
        let mut alarms = Alarms::new(AlarmSettings { horizon: 24 * HOUR, ..AlarmSettings::default() });
        let mut run_of = vec![(vec![change(patient(&[rule]))], vec![])];
        run_of.extend(epochs(&arrivals(&points), size));
        let when = when.min(run_of.len());
        run_of.insert(when, (vec![change(patient(std::slice::from_ref(&new)))], vec![]));
        if when == 0 {
            run_of.remove(1);
        }
        let seen = final_state(&run(&mut alarms, run_of));
        let rule = Rule::of_threshold(&new, GAP, None);
        compare(&rule, &seen, &oracle::episodes(&rule.limits, &truth(&points)))?;
    }

    #[test]
    fn silences_do_not_depend_on_how_epochs_are_cut(
        gaps in prop::collection::vec(prop_oneof![5 => 1i64..9, 1 => 9i64..200], 1..80),
        size in 1usize..20,
        idle in 0usize..5,
        learns in any::<bool>(),
    ) {
        let mut minute = 0;
        let reports: Vec<_> = gaps.iter().map(|gap| { minute += gap; good(minute, 40.0) }).collect();
        let end = START + (minute + 30) * MINUTE;
        let mut alarms = Alarms::default();
        let mut seen = Vec::new();
        let mut clock = START;
        let mut apply = |profiles, reports: &[CheckedReport], clock| {
            let epoch = CheckedEpoch { epoch: 1, clock, profiles, reports: reports.iter().collect(), ..CheckedEpoch::default() };
            seen.extend(alarms.apply(&epoch).transitions);
        };
        let mut told = profile(&[]);
        if !learns {
            // Two and a half times four minutes is what holds without it too.
            told.facility.attributes.insert("uploads_every".into(), "240".into());
        }
        apply(vec![change(told.clone())], &[], clock);
        for chunk in reports.chunks(size) {
            let to = chunk[chunk.len() - 1].received_at;
            for step in 1..=idle as i64 {
                // The clock may run ahead of the first report of the next epoch, but not past it.
                let first = chunk[0].received_at;
                apply(vec![], &[], clock + (first - clock) * step / (idle as i64 + 1));
            }
            clock = to;
            apply(vec![], chunk, clock);
        }
        apply(vec![], &[], end);
        let seen = final_state(&seen);
        if learns {
            let mut whole = Alarms::default();
            let report = |report: &CheckedReport| (vec![], vec![report.clone()]);
            let first = (vec![change(told)], vec![]);
            let mut expected = run(&mut whole, [first].into_iter().chain(reports.iter().map(report)));
            let epoch = CheckedEpoch { clock: end, ..CheckedEpoch::default() };
            expected.extend(whole.apply(&epoch).transitions);
            let brief = |t: &AlarmTransition| (t.raised_at, t.cleared_at);
            prop_assert_eq!(seen.values().map(brief).collect::<Vec<_>>(),
                final_state(&expected).values().map(brief).collect::<Vec<_>>());
            return Ok(());
        }
        let mut ends: Vec<Millis> = reports.iter().map(|r| r.received_at).collect();
        ends.push(end);
        let want: Vec<_> = ends
            .windows(2)
            .filter(|pair| pair[1] - pair[0] > 10 * MINUTE)
            .map(|pair| (pair[0] + 10 * MINUTE, Some(pair[1]).filter(|at| *at != end)))
            .collect();
        let mut have: Vec<_> = seen.values().map(|t| (t.raised_at, t.cleared_at)).collect();
        have.sort();
        prop_assert_eq!(have, want);
    }
}

#[test]
fn the_limit_of_silence_follows_the_registry() {
    let mut alarms = Alarms::default();
    let apply = |alarms: &mut Alarms, minute: i64, profiles, reports: Vec<CheckedReport>| {
        let clock = START + minute * MINUTE;
        let reports = reports.iter().collect();
        alarms
            .apply(&CheckedEpoch { epoch: 1, clock, profiles, reports, ..CheckedEpoch::default() })
            .transitions
    };
    let limited = |seconds: &str| {
        let mut profile = profile(&[]);
        profile.facility.attributes.insert("offline_after".into(), seconds.into());
        vec![change(profile)]
    };
    let mut seen = apply(&mut alarms, 0, limited("600"), vec![]);
    seen.extend(apply(&mut alarms, 60, vec![], vec![]));
    assert_eq!(seen, [], "what never reported is not lost");
    for (minute, profiles, reports) in [
        (61, vec![], vec![good(61, 40.0)]),
        (71, vec![], vec![]),
        (72, vec![], vec![]),
        (73, limited("1200"), vec![]),
        (81, vec![], vec![]),
        (82, vec![], vec![]),
        (83, limited("300"), vec![]),
        (90, vec![], vec![good(90, 40.0)]),
        (99, vec![], vec![]),
        (100, vec![ProfileChange { facility: "ST-1".into(), profile: None }], vec![]),
    ] {
        seen.extend(apply(&mut alarms, minute, profiles, reports));
    }
    let want = [
        "1 raised L2 @71 clock",
        "2 retracted L2 @73 registry",
        "3 raised L2 @81 clock",
        "4 updated L2 @83 registry",
        "5 cleared L2 @90 data",
        "1 raised L2 @95 clock",
        "2 cleared L2 @100 registry",
    ];
    assert_eq!(brief(&seen), want);
}

/// What a quiet city costs; run it with optimisation.
#[test]
#[ignore = "a measurement"]
fn measure_a_quiet_city() {
    const STATIONS: i64 = 60_000;
    let low =
        Threshold { side: Side::Low, level1: Some(10.0), level2: Some(15.0), level3: Some(20.0), ..hot() };
    let return_hot = threshold("station", "primary_return_temp", Side::High, [Some(70.0), None, None]);
    let rules = [hot(), low, return_hot];
    let code = |n: i64| Code::from(format!("ST-{n:05}"));
    let mut alarms = Alarms::default();
    let of = |n| {
        let mut profile = profile(&rules);
        profile.facility.code = code(n);
        change(profile)
    };
    let profiles = (0..STATIONS).map(of).collect();
    alarms.apply(&CheckedEpoch { clock: START, profiles, ..CheckedEpoch::default() });
    let objects: Vec<_> =
        (0..STATIONS).map(|n| Rc::new(Object { facility: code(n), device: Code::default() })).collect();
    let metrics =
        ["secondary_supply_temp", "primary_return_temp", "primary_supply_temp", "flow", "voltage", "current"]
            .map(metric);
    let mut spent = std::time::Duration::ZERO;
    for minute in 0..170i64 {
        let report_of = |(n, object): (usize, &Rc<Object>)| {
            let mut report = good(minute, 0.0);
            report.object = Rc::clone(object);
            let value = |k: usize| 45.0 + ((n * 7 + minute as usize * 13 + k) % 23) as f64 / 10.0;
            let reading =
                |(k, id): (usize, &MetricId)| Checked { metric: *id, value: value(k), ..report.readings[0] };
            report.readings = metrics.iter().enumerate().map(reading).collect();
            report
        };
        let reports = objects.iter().enumerate().map(report_of).collect();
        let epoch = CheckedEpoch { clock: START + minute * MINUTE, reports, ..CheckedEpoch::default() };
        let begin = std::time::Instant::now();
        assert_eq!(alarms.apply(&epoch).transitions, []);
        spent += begin.elapsed();
    }
    let (points, bytes) = alarms.remembered();
    let each = spent.as_nanos() as f64 / (STATIONS * 170) as f64;
    println!("{each:.0} ns per report of 6 readings, 2 of them watched by 3 rules");
    println!("{} bytes per series of {} points", bytes as i64 / STATIONS / 2, points as i64 / STATIONS / 2);
    println!("{} bytes per object beside", size_of::<super::object::ObjectState>());

    let begin = std::time::Instant::now();
    alarms.begin();
    println!("{} us to begin a checkpoint of {} objects", begin.elapsed().as_micros(), alarms.entries());
    let (mut saved, mut slowest, begin) =
        (Saved::default(), std::time::Duration::ZERO, std::time::Instant::now());
    loop {
        let slice = std::time::Instant::now();
        let all = alarms.save(1_000, &mut saved);
        slowest = slowest.max(slice.elapsed());
        if all {
            break;
        }
    }
    let each = begin.elapsed().as_nanos() as i64 / STATIONS;
    println!("{each} ns to save an object, at most {} us for 1000 of them", slowest.as_micros());
    println!(
        "{} bytes saved per object of two series, {} points each",
        saved.bytes() as i64 / STATIONS,
        points as i64 / STATIONS / 2
    );

    let begin = std::time::Instant::now();
    let mut restored = Alarms::default();
    for (shard, section) in saved.into_sections() {
        restored.restore(shard, Alarms::FORM, &section).unwrap();
    }
    let read = begin.elapsed();
    let profiles = (0..STATIONS).map(of).collect();
    let epoch = CheckedEpoch { clock: START + 169 * MINUTE, profiles, ..CheckedEpoch::default() };
    assert_eq!(restored.apply(&epoch).transitions, []);
    let ready = (begin.elapsed() - read).as_nanos() as i64 / STATIONS;
    println!(
        "{} ns to read an object, {ready} ns to put it under its profile",
        read.as_nanos() as i64 / STATIONS
    );
    assert_eq!(restored.remembered().0, points);
}
