//! The stage as a whole: what enters and what leaves.

use std::{collections::BTreeMap, sync::Arc};

use schemas::{Catalogue, Device, Facility, FacilityKind, Flag, MetricId, Millis, QualityTest, Reason, time};

use super::{Memory, Validate};
use crate::{
    flow::{Change, Checked, CheckedEpoch, Observations, Observed, ObservedEpoch, whole::Observation},
    profile::{Profile, ProfileChange},
    stage::Stage,
};

pub const START: Millis = 1_705_305_600_000;

pub fn id(code: &str) -> MetricId {
    Catalogue::in_force().id(code).unwrap()
}

/// `attributes` as `name=value` separated by spaces.
fn attributes(text: &str) -> schemas::Attributes {
    text.split_whitespace()
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// A station `ST-1` with the attributes and one device `D-1`.
pub fn registered(facility: &str, device: &str) -> ProfileChange {
    let station =
        Facility { attributes: attributes(facility), ..Facility::new("ST-1", FacilityKind::Station) };
    let pump = Device {
        code: "D-1".into(),
        facility: "ST-1".into(),
        kind: "pump".into(),
        model: String::new(),
        maker: String::new(),
        installed: String::new(),
        attributes: attributes(device),
    };
    let profile = Profile {
        facility: station,
        devices: [("D-1".into(), pump)].into(),
        scopes: Arc::default(),
        thresholds: Arc::default(),
        households_below: 0,
        area_below: 0.0,
    };
    ProfileChange { facility: "ST-1".into(), profile: Some(Arc::new(profile)) }
}

/// A report of the station that arrived `delay` ms after it was measured.
pub fn report(observed_at: Millis, delay: Millis, readings: &[(&str, f64)]) -> Observation {
    Observation {
        facility: "ST-1".into(),
        device: "".into(),
        observed_at,
        received_at: observed_at + delay,
        sequence: None,
        partition: 1,
        offset: observed_at - START,
        redriven: false,
        readings: readings
            .iter()
            .map(|(code, value)| Observed { metric: id(code), value: *value, normal: true })
            .collect(),
    }
}

/// A memory of so many reports, whoever sends them.
pub const fn few(lateness: Millis, reports: usize) -> Memory {
    Memory { lateness, reports, network_reports: reports }
}

pub fn stage(memory: Memory) -> Validate {
    let mut stage = Validate::new("heating.reports", memory);
    apply(&mut stage, vec![registered("", "")], Vec::new());
    stage
}

/// The reports as they come from two batches.
pub fn batches(reports: &[Observation]) -> Vec<Observations> {
    let (first, then) = reports.split_at(reports.len() / 2);
    vec![first.iter().collect(), then.iter().collect()]
}

#[expect(clippy::needless_pass_by_value, reason = "tests make their reports in place")]
pub fn apply(
    stage: &mut Validate,
    profiles: Vec<ProfileChange>,
    observations: Vec<Observation>,
) -> CheckedEpoch {
    let clock = observations.iter().map(|o| o.received_at).max().unwrap_or(START);
    let observations = batches(&observations);
    stage.apply(&ObservedEpoch { epoch: 1, clock, profiles, observations, ..ObservedEpoch::default() })
}

/// Everything that was said, as `minute metric=value flag tests change`.
fn said(output: &CheckedEpoch) -> Vec<String> {
    let line = |at: Millis, reading: &Checked| {
        let tests: Vec<_> = reading.failed.names().collect();
        let change = match reading.change {
            Change::New => "",
            Change::Remarked => " remarked",
            Change::Corrected => " corrected",
            Change::Unverified => " unverified",
        };
        let minute = (at - START) / time::MINUTE;
        let code = reading.metric.code();
        let tests = if tests.is_empty() { String::new() } else { format!(" {}", tests.join(",")) };
        format!("{minute} {code}={} {:?}{tests}{change}", reading.value, reading.flag)
    };
    output.reports.iter().flat_map(|r| r.readings.iter().map(move |c| line(r.observed_at, c))).collect()
}

fn rejected(output: &CheckedEpoch) -> Vec<(Reason, String)> {
    output.rejects.iter().map(|reject| (reject.reason, reject.origin.clone())).collect()
}

/// The minutes and values of one metric, delivered in this order.
pub fn minutes(code: &str, points: &[(i64, f64)]) -> Vec<Observation> {
    points.iter().map(|(minute, value)| report(START + minute * time::MINUTE, 0, &[(code, *value)])).collect()
}

#[test]
fn a_good_report_is_good() {
    let output =
        apply(&mut stage(Memory::default()), Vec::new(), minutes("room_temp", &[(0, 20.0), (10, 20.1)]));
    assert_eq!(said(&output), ["0 room_temp=20 Good", "10 room_temp=20.1 Good"]);
    assert_eq!(output.rejects, []);
}

#[test]
fn events_are_passed_on_where_their_facility_is_registered_and_their_fields_are_right() {
    let event = |offset: i64, facility: &str, area: &str| crate::flow::PlacedEvent {
        partition: 2,
        offset,
        event: schemas::Event {
            id: format!("R-{offset}"),
            kind: schemas::event::REPAIR.to_owned(),
            facility: facility.into(),
            at: START,
            received_at: START + 5,
            origin: "http:10.0.0.1".to_owned(),
            fields: [("stopped_area".to_owned(), area.to_owned())].into(),
        },
    };
    let mut stage = stage(Memory::default()).with_events_topic("heating.events".to_owned());
    let mut ahead = event(3, "ST-1", "5");
    ahead.event.at += 2 * time::HOUR;
    let events = vec![event(0, "ST-1", "5"), event(1, "ST-2", "5"), event(2, "ST-1", "all"), ahead];
    let output = stage.apply(&ObservedEpoch { events, ..ObservedEpoch::default() });
    let passed: Vec<_> = output.events.iter().map(|checked| checked.event.id.as_str()).collect();
    assert_eq!(passed, ["R-0"]);
    assert_eq!(output.events[0].profile.facility.code, "ST-1");
    let origin = |offset| format!("kafka:heating.events/2/{offset}");
    assert_eq!(
        rejected(&output),
        [
            (Reason::UnknownFacility, origin(1)),
            (Reason::WrongType, origin(2)),
            (Reason::TimeInFuture, origin(3))
        ]
    );
    assert_eq!(
        String::from_utf8_lossy(&output.rejects[0].raw),
        format!(
            r#"{{"at":{START},"facility":"ST-2","fields":{{"stopped_area":"5"}},"id":"R-1","kind":"repair"}}"#
        )
    );
    assert_eq!((output.rejects[0].at, output.rejects[0].readings), (START + 5, 0));
}

#[test]
fn what_is_not_registered_is_rejected_whole() {
    let mut stage = stage(Memory::default());
    let good = report(START, 0, &[("room_temp", 20.0), ("room_humidity", 40.0)]);
    let stranger = Observation { facility: "ST-2".into(), ..good.clone() };
    let device = Observation { device: "D-2".into(), ..good.clone() };
    let known = Observation { device: "D-1".into(), ..good.clone() };
    let output = apply(&mut stage, Vec::new(), vec![stranger, device, known]);
    assert_eq!(output.reports.len(), 1);
    let origin = "kafka:heating.reports/1/0".to_owned();
    assert_eq!(
        rejected(&output),
        [(Reason::UnknownFacility, origin.clone()), (Reason::UnknownDevice, origin.clone())]
    );
    assert!(output.rejects.iter().all(|reject| reject.readings == 2));
    assert_eq!(stage.entries(), 2);

    let removed = ProfileChange { facility: "ST-1".into(), profile: None };
    let output = apply(&mut stage, vec![removed], vec![good]);
    assert_eq!(rejected(&output), [(Reason::UnknownFacility, origin)]);
    assert_eq!(stage.entries(), 0);
}

#[rstest::rstest]
#[case::early(0, START, Reason::TimeBefore2000)]
#[case::future(START + time::HOUR + 1, START, Reason::TimeInFuture)]
fn impossible_times_are_rejected(
    #[case] observed_at: Millis,
    #[case] received_at: Millis,
    #[case] want: Reason,
) {
    let mut wrong = report(observed_at, 0, &[("room_temp", 20.0)]);
    wrong.received_at = received_at;
    let output = apply(&mut stage(Memory::default()), Vec::new(), vec![wrong]);
    assert!(output.reports.is_empty());
    assert_eq!(output.rejects[0].reason, want);
}

#[rstest::rstest]
#[case::newest(0, "Good")]
#[case::late(-5, "Good")]
#[case::old(-60 * 30, "NotEvaluated unverified")]
fn a_metric_twice_in_a_report_is_used_once(#[case] minute: i64, #[case] said_of_it: &str) {
    let mut stage = stage(Memory::default());
    apply(&mut stage, Vec::new(), minutes("room_temp", &[(-10, 20.0), (-1, 20.0)]));
    let twice = report(START + minute * time::MINUTE, 0, &[("outdoor_temp", 1.0), ("outdoor_temp", 2.0)]);
    let output = apply(&mut stage, Vec::new(), vec![twice]);
    assert_eq!(said(&output), [format!("{minute} outdoor_temp=1 {said_of_it}")]);
    assert_eq!(output.rejects[0].reason, Reason::DuplicateKey);
    assert!(output.rejects[0].origin.ends_with("#outdoor_temp"), "{}", output.rejects[0].origin);
}

#[test]
fn a_repeated_delivery_changes_nothing() {
    let mut stage = stage(Memory::default());
    let all = minutes("room_temp", &[(0, 20.0), (10, 20.1), (20, 20.2)]);
    apply(&mut stage, Vec::new(), all.clone());
    let mut again = all;
    for report in &mut again {
        report.received_at += 5_000;
    }
    for _ in 0..3 {
        let output = apply(&mut stage, Vec::new(), again.clone());
        assert!(output.reports.is_empty());
        assert!(output.rejects.iter().all(|reject| reject.reason == Reason::Duplicate));
        assert_eq!(output.rejects.len(), 3);
        assert_eq!(output.repeated.iter().map(|r| r.readings).sum::<u32>(), 3);
    }
}

/// What a gateway says of minute 0 to 104: report 5 is garbage.
fn block(minutes: std::ops::Range<i64>) -> Vec<Observation> {
    let of = |minute: i64| {
        let readings = match minute {
            5 => [("heat_total", 0.0), ("secondary_supply_temp", 95.0)],
            _ => [
                ("heat_total", 1000.0 + minute as f64 * 0.5),
                ("secondary_supply_temp", 45.0 + (minute % 3) as f64 * 0.1),
            ],
        };
        report(START + minute * time::MINUTE, 0, &readings)
    };
    minutes.map(of).collect()
}

#[test]
fn a_block_that_is_sent_again_after_an_hour_changes_nothing() {
    let mut stage = stage(Memory::default());
    let output = apply(&mut stage, Vec::new(), block(0..105));
    let failed = output.reports.iter().flat_map(|r| r.readings).filter(|r| r.flag == Flag::Fail).count();
    assert_eq!(failed, 2, "a fall, and a spike once its neighbour is there");
    let mut again = block(0..10);
    again.iter_mut().for_each(|report| report.received_at = START + 105 * time::MINUTE);
    let output = apply(&mut stage, Vec::new(), again);
    assert_eq!(said(&output), [""; 0]);
    assert!(output.rejects.iter().all(|reject| reject.reason == Reason::Duplicate));
    assert_eq!(output.rejects.len(), 20);
}

#[test]
fn a_correction_after_an_hour_leaves_the_value_it_replaces() {
    let mut stage = stage(Memory::default());
    apply(&mut stage, Vec::new(), block(0..105));
    let restated = report(START + 7 * time::MINUTE, 95 * time::MINUTE, &[("secondary_supply_temp", 46.0)]);
    let output = apply(&mut stage, Vec::new(), vec![restated]);
    assert_eq!(said(&output), ["7 secondary_supply_temp=46 Good timeliness,corrected corrected"]);
    assert_eq!(rejected(&output)[0].0, Reason::Superseded);
}

#[test]
fn a_correction_leaves_the_value_it_replaces() {
    let mut stage = stage(Memory::default());
    apply(&mut stage, Vec::new(), minutes("room_temp", &[(0, 20.0), (10, 20.1), (20, 20.2)]));
    let output = apply(
        &mut stage,
        Vec::new(),
        vec![report(START + 10 * time::MINUTE, 60_000, &[("room_temp", 20.5), ("room_humidity", 40.0)])],
    );
    assert_eq!(said(&output), ["10 room_temp=20.5 Good corrected corrected", "10 room_humidity=40 Good"]);
    assert_eq!(output.rejects.len(), 1);
    assert_eq!(output.rejects[0].reason, Reason::Superseded);
    let raw = String::from_utf8(output.rejects[0].raw.clone()).unwrap();
    assert!(raw.contains(r#"{"metric":"room_temp","value":20.1}"#), "{raw}");

    // The first value delivered again, as it arrived then, is what was superseded.
    let output = apply(&mut stage, Vec::new(), minutes("room_temp", &[(10, 20.1)]));
    assert_eq!(output.rejects[0].reason, Reason::Superseded);
    assert_eq!(said(&output), ["10 room_temp=20.5 Good corrected remarked"]);
}

#[test]
fn a_spike_is_found_when_the_next_reading_arrives() {
    let mut stage = stage(Memory::default());
    let output = apply(&mut stage, Vec::new(), minutes("room_temp", &[(0, 20.0), (10, 26.0)]));
    assert_eq!(said(&output), ["0 room_temp=20 Good", "10 room_temp=26 Good"]);
    let mut next = minutes("room_temp", &[(20, 20.0)]);
    next[0].received_at += 7;
    let output = apply(&mut stage, Vec::new(), next);
    assert_eq!(said(&output), ["20 room_temp=20 Good", "10 room_temp=26 Suspect spike remarked"]);
    assert_eq!(output.reports.get(1).unwrap().received_at, START + 10 * time::MINUTE, "the original arrival");
}

#[rstest::rstest]
#[case::one_digit("", 20.1, "Good")]
#[case::two_digits_of_two_rounded_values("", 20.2, "Good")]
#[case::more_than_rounding("", 20.3, "Suspect rate_of_change")]
#[case::one_step_of_a_coarse_sensor("room_temp_resolution=0.5", 20.5, "Good")]
#[case::more_than_its_steps("room_temp_resolution=0.5", 21.1, "Suspect rate_of_change")]
#[case::a_resolution_that_says_nothing("room_temp_resolution=-1", 20.2, "Good")]
fn the_last_digit_may_move_at_any_time(#[case] attributes: &str, #[case] next: f64, #[case] want: &str) {
    let mut stage = stage(Memory::default());
    let burst = [20.0, next].into_iter().zip(0..);
    let reports = burst.map(|(value, n)| report(START + n * time::SECOND, 0, &[("room_temp", value)]));
    let output = apply(&mut stage, vec![registered(attributes, "")], reports.collect());
    assert_eq!(said(&output)[1], format!("0 room_temp={next} {want}"));
}

#[test]
fn a_late_neighbour_revises_the_marks_beside_it() {
    let mut stage = stage(Memory::default());
    let output = apply(&mut stage, Vec::new(), minutes("room_temp", &[(0, 20.0), (20, 26.0), (40, 20.0)]));
    assert_eq!(said(&output).last().unwrap(), "20 room_temp=26 Suspect spike remarked");
    let output = apply(&mut stage, Vec::new(), minutes("room_temp", &[(30, 25.5)]));
    assert_eq!(said(&output), ["30 room_temp=25.5 Good", "20 room_temp=26 Good remarked"]);
}

#[test]
fn a_sentinel_fails_and_does_not_blame_its_neighbours() {
    let points = [(0, 45.0), (1, -39.9), (2, 45.1), (3, 45.0)];
    let output = apply(&mut stage(Memory::default()), Vec::new(), minutes("secondary_supply_temp", &points));
    assert_eq!(
        said(&output),
        [
            "0 secondary_supply_temp=45 Good",
            "1 secondary_supply_temp=-39.9 Fail range",
            "2 secondary_supply_temp=45.1 Good",
            "3 secondary_supply_temp=45 Good"
        ]
    );
}

#[test]
fn zeros_that_physics_forbids_do_not_blame_the_truth_between_them() {
    let points = [(0, 67.9), (1, 0.0), (2, 0.0), (3, 71.9), (4, 0.0), (5, 71.8)];
    let output = apply(&mut stage(Memory::default()), Vec::new(), minutes("secondary_supply_temp", &points));
    let flags: String = output.reports.iter().map(|r| r.readings[0].flag.number().to_string()).collect();
    assert_eq!(flags, "144141");
    assert_eq!(said(&output)[1], "1 secondary_supply_temp=0 Fail sentinel");
}

#[test]
fn a_report_of_zeros_alone_is_no_measurement() {
    let of = |minute: i64, values: [f64; 4]| {
        let codes = ["secondary_supply_pressure", "secondary_flow", "heat_power", "heat_total"];
        let readings: Vec<_> = codes.into_iter().zip(values).collect();
        report(START + minute * time::MINUTE, 0, &readings)
    };
    let mut stage = stage(Memory::default());
    let good = [0.45, 120.5, 800.0, 5_000.0];
    // The middle one comes last.
    let output =
        apply(&mut stage, Vec::new(), vec![of(0, good), of(2, [0.0, 0.0, 0.0, 5_000.1]), of(1, [0.0; 4])]);
    let blank: Vec<_> = output.reports.iter().filter(|r| r.observed_at == START + time::MINUTE).collect();
    assert!(blank[0].readings.iter().all(|r| r.failed.names().eq(["sentinel"])), "{blank:?}");
    let others = output.reports.iter().filter(|r| r.observed_at != START + time::MINUTE);
    assert!(
        others.flat_map(|r| r.readings).all(|r| r.flag != Flag::Fail),
        "a station that has stopped is believed"
    );
}

#[test]
fn a_power_that_the_facility_cannot_have_is_doubtful() {
    let mut stage = stage(Memory::default());
    let mut small = registered("", "");
    let mut profile = Profile::clone(small.profile.as_ref().unwrap());
    profile.facility.heated_area = Some(10_000.0);
    small.profile = Some(Arc::new(profile));
    let readings = [("heat_power", 70_000.0), ("secondary_flow", 7_000.0), ("primary_flow", 40.0)];
    let output = apply(&mut stage, vec![small], vec![report(START, 0, &readings)]);
    assert_eq!(
        said(&output),
        ["0 heat_power=70000 Suspect range", "0 secondary_flow=7000 Suspect range", "0 primary_flow=40 Good"]
    );
}

#[test]
fn limits_of_the_registry_hold_from_now_on() {
    let mut stage = stage(Memory::default());
    let at = |minute: i64| report(START + minute * time::MINUTE, 400_000, &[("room_temp", 24.0)]);
    let output = apply(&mut stage, Vec::new(), vec![at(0)]);
    assert_eq!(said(&output), ["0 room_temp=24 Good"]);
    let strict = registered("room_temp_max=22 arrives_within=300", "");
    let output = apply(&mut stage, vec![strict], vec![at(10)]);
    assert_eq!(said(&output), ["10 room_temp=24 Suspect range,timeliness"]);
    let output = apply(&mut stage, vec![registered("", "")], vec![at(20)]);
    assert_eq!(said(&output), ["20 room_temp=24 Good"]);
}

#[test]
fn a_report_from_before_the_memory_is_judged_alone_and_is_not_good() {
    let mut stage = stage(few(time::HOUR, 3));
    apply(&mut stage, Vec::new(), minutes("room_temp", &[(0, 20.0), (10, 20.0), (20, 20.0), (30, 20.0)]));
    let output = apply(&mut stage, Vec::new(), minutes("room_temp", &[(0, 30.0), (10, 20.0)]));
    assert_eq!(said(&output), ["0 room_temp=30 NotEvaluated unverified"]);
    assert_eq!(output.rejects[0].reason, Reason::Duplicate);
}

#[rstest::rstest]
#[case::network(FacilityKind::Station, 400, &[])]
#[case::relay(FacilityKind::RelayPumpStation, 400, &[])]
#[case::network_too_old(FacilityKind::Station, 430, &["1 room_temp=26 NotEvaluated unverified"])]
#[case::room(FacilityKind::Household, 120, &[])]
#[case::room_too_old(FacilityKind::Household, 135, &["1 room_temp=26 NotEvaluated unverified"])]
#[case::clean_device_too_old(FacilityKind::CleanDevice, 135, &["1 room_temp=26 NotEvaluated unverified"])]
fn a_spike_that_is_repeated_is_never_good(
    #[case] kind: FacilityKind,
    #[case] minutes_later: i64,
    #[case] want: &[&str],
) {
    let mut place = registered("", "");
    let mut profile = Profile::clone(place.profile.as_ref().unwrap());
    profile.facility.kind = kind;
    place.profile = Some(Arc::new(profile));
    let mut stage = stage(Memory::default());
    let values: Vec<_> = (0..minutes_later).map(|n| (n, if n == 1 { 26.0 } else { 20.0 })).collect();
    let output = apply(&mut stage, vec![place], minutes("room_temp", &values));
    assert!(said(&output).contains(&"1 room_temp=26 Suspect spike,rate_of_change remarked".to_owned()));
    let output = apply(&mut stage, Vec::new(), minutes("room_temp", &[(1, 26.0)]));
    assert_eq!(said(&output), want);
}

#[test]
fn a_silent_object_forgets_its_reports_but_not_where_it_stood() {
    let mut stage = stage(few(time::HOUR, 10));
    let mut first = minutes("heat_total", &[(0, 1000.0), (1, 1000.5)]);
    apply(&mut stage, Vec::new(), first.split_off(0));
    stage.apply(&ObservedEpoch { epoch: 2, clock: START + 3 * time::HOUR, ..ObservedEpoch::default() });
    let output = apply(&mut stage, Vec::new(), minutes("heat_total", &[(1, 1000.5), (240, 700.0)]));
    assert_eq!(
        said(&output),
        ["1 heat_total=1000.5 NotEvaluated unverified", "240 heat_total=700 Fail counter_fall"]
    );
}

#[test]
fn devices_have_limits_of_their_own_and_leave_with_the_registry() {
    let mut stage = stage(Memory::default());
    let of_device = |minute: i64, value: f64| Observation {
        device: "D-1".into(),
        ..report(START + minute * time::MINUTE, 0, &[("voltage", value)])
    };
    let limited = registered("voltage_max=250", "voltage_max=240");
    let output = apply(&mut stage, vec![limited.clone()], vec![of_device(0, 245.0)]);
    assert_eq!(said(&output), ["0 voltage=245 Suspect range"]);
    let station = report(START, 0, &[("voltage", 245.0)]);
    assert_eq!(said(&apply(&mut stage, Vec::new(), vec![station])), ["0 voltage=245 Good"]);
    assert_eq!(stage.entries(), 2);

    let mut profile = Profile::clone(limited.profile.as_ref().unwrap());
    profile.devices.clear();
    let without = ProfileChange { facility: "ST-1".into(), profile: Some(Arc::new(profile)) };
    let output = apply(&mut stage, vec![without], vec![of_device(1, 230.0)]);
    assert_eq!(rejected(&output)[0].0, Reason::UnknownDevice);
    assert_eq!(stage.entries(), 1);
}

/// One that is not confirmed within a day is believed from its confirmation on only.
#[rstest::rstest]
#[case::after_a_night(8, "n..")]
#[case::after_two_days(48, "ff.")]
fn a_new_meter_is_confirmed_after_an_outage(#[case] hours: i64, #[case] want: &str) {
    let mut stage = stage(Memory::default());
    let replaced = [(0, 1000.0), (10, 1000.5), (20, 200.0), (30, 200.5)];
    let mut said = BTreeMap::new();
    let mut take = |output: &CheckedEpoch| {
        for report in output.reports.iter() {
            said.insert((report.observed_at - START) / time::MINUTE, report.readings[0]);
        }
    };
    take(&apply(&mut stage, Vec::new(), minutes("heat_total", &replaced)));
    // Silent objects are looked for in the meantime.
    for hour in 1..hours {
        let clock = START + hour * time::HOUR;
        stage.apply(&ObservedEpoch { epoch: 1, clock, ..ObservedEpoch::default() });
    }
    let back = hours * 60;
    let after = [(back, 205.0), (back + 10, 205.5), (back + 20, 206.0), (back + 30, 206.5)];
    take(&apply(&mut stage, Vec::new(), minutes("heat_total", &after)));
    let letter = |minute: &i64| match said[minute] {
        Checked { flag: Flag::Fail, .. } => 'f',
        Checked { failed, .. } if failed.contains(QualityTest::CounterReset) => 'n',
        _ => '.',
    };
    assert_eq!([20, 30, back + 30].iter().map(letter).collect::<String>(), want);
}

#[test]
fn what_fell_out_of_the_memory_still_counts_for_flat_lines_and_counters() {
    let mut stage = stage(few(time::HOUR, 4));
    let rests: Vec<_> = (0..30).map(|n| (n * 10, 45.0)).collect();
    let output = apply(&mut stage, Vec::new(), minutes("secondary_supply_temp", &rests));
    let flags: String = output.reports.iter().map(|r| r.readings[0].flag.number().to_string()).collect();
    assert_eq!(flags, "1".repeat(24) + &"3".repeat(6), "suspect from the fourth hour on");
}

#[test]
fn an_epoch_repeats_exactly() {
    let all: Vec<_> =
        (0..200i64).map(|n| (((n * 7) % 90), f64::from(u8::try_from((n * n) % 50).unwrap()))).collect();
    let run = || {
        let mut stage = stage(few(time::HOUR, 20));
        let halves = minutes("room_temp", &all);
        halves.chunks(50).map(|half| format!("{:?}", apply(&mut stage, Vec::new(), half.to_vec()))).collect()
    };
    let (one, other): (Vec<String>, Vec<String>) = (run(), run());
    assert_eq!(one, other);
}

#[test]
fn no_memory_is_too_short() {
    let mut stage = stage(few(0, 0));
    let output = apply(&mut stage, Vec::new(), minutes("room_temp", &[(0, 20.0), (10, 26.0), (20, 20.0)]));
    assert_eq!(said(&output).last().unwrap(), "10 room_temp=26 Suspect spike remarked");
}

#[test]
fn every_report_of_a_registered_object_shows_contact() {
    let mut stage = stage(Memory::default());
    let at = |minute: i64| START + minute * time::MINUTE;
    let empty = report(at(0), 5, &[]);
    let output = apply(&mut stage, Vec::new(), vec![empty]);
    let passed: Vec<_> =
        output.reports.iter().map(|r| (r.observed_at, r.received_at, r.readings.len())).collect();
    assert_eq!((passed, output.heard, output.rejects), (vec![(at(0), at(0) + 5, 0)], vec![], vec![]));

    let good = report(at(1), 0, &[("room_temp", 20.0)]);
    let again = Observation { received_at: at(2), ..good.clone() };
    let fast = report(at(600), at(3) - at(600), &[("room_temp", 20.0)]);
    let never = report(5, at(4) - 5, &[]);
    let old = report(at(5) - time::BACKFILL - 1, time::BACKFILL + 1, &[("room_temp", 20.0)]);
    let held_back = report(at(5) - time::BACKFILL, time::BACKFILL, &[("room_humidity", 40.0)]);
    let stranger = Observation { facility: "ST-9".into(), ..again.clone() };
    let output = apply(&mut stage, Vec::new(), vec![good, again, fast, never, old, held_back, stranger]);
    assert_eq!(output.reports.len(), 2);
    let heard: Vec<_> = output.heard.iter().map(|h| (h.received_at, h.misdated)).collect();
    assert_eq!(heard, [(at(2), false), (at(3), true), (at(4), true), (at(5), true)]);
    let reasons: Vec<_> = output.rejects.iter().map(|reject| reject.reason).collect();
    assert_eq!(reasons, [Reason::Duplicate, Reason::TimeInFuture, Reason::TooOld, Reason::UnknownFacility]);
}

#[test]
fn a_report_that_arrived_when_no_other_did_is_refused_and_spoils_nothing() {
    let mut stage = stage(Memory::default());
    let far = report(START + 900 * time::DAY, 0, &[("room_temp", 20.0), ("room_humidity", 40.0)]);
    let mut reports = minutes("room_temp", &[(0, 20.0)]);
    reports.push(far);
    let epoch = |observations: &[Observation]| ObservedEpoch {
        epoch: 1,
        clock: START,
        believed: vec![(0, 0), (1, START + time::HOUR), (2, 0)],
        observations: batches(observations),
        ..ObservedEpoch::default()
    };
    let output = stage.apply(&epoch(&reports));
    assert_eq!(said(&output), ["0 room_temp=20 Good"]);
    let [reject] = &output.rejects[..] else { panic!("{:?}", output.rejects) };
    assert_eq!((reject.reason, reject.readings), (Reason::TimeInFuture, 2));
    assert!(reject.detail.contains("no later than 2024-01-15T09:00:00"), "{}", reject.detail);
    let heard: Vec<_> = output.heard.iter().map(|heard| (heard.received_at, heard.misdated)).collect();
    assert_eq!(heard, [(START + time::HOUR, true)], "it is a sign of life, and not of a later time");
    let output = stage.apply(&epoch(&minutes("room_temp", &[(10, 20.1)])));
    assert_eq!(said(&output), ["10 room_temp=20.1 Good"]);
}
