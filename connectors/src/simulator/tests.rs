//! A city as a whole: what a healthy one reports, and what each fault does to it.

use std::collections::BTreeMap;

use schemas::{
    Catalogue, MetricKind, Millis, RawValue, RegistryEntry, Report, Side,
    time::{HOUR, MINUTE},
};

use super::*;

type Points = Vec<(Millis, f64)>;
type Series = BTreeMap<(String, String), Points>;

fn small(stations: usize, hours: u32) -> Plan {
    let mut plan = Plan::of(Size::of_stations(stations));
    (plan.size.rooms, plan.size.clean_devices, plan.hours) = (stations * 8, stations * 4, hours);
    plan
}

fn reports(plan: &Plan, faults: Vec<Fault>) -> Vec<Report> {
    Simulator::new(plan, faults).expect("plan").flat_map(|minute| minute.reports).collect()
}

/// Values by object and metric, in the order of measurement.
fn series(reports: &[Report]) -> Series {
    let mut series = Series::new();
    for report in reports {
        let object = report.device.as_ref().unwrap_or(&report.facility).to_string();
        for reading in &report.readings {
            if let RawValue::Number(value) = reading.value {
                let key = (object.clone(), reading.metric.to_string());
                series.entry(key).or_default().push((report.observed_at, value));
            }
        }
    }
    series.values_mut().for_each(|points| points.sort_by_key(|p| p.0));
    series
}

fn fault(
    kind: FaultKind,
    object: (&str, Option<&str>),
    metric: Option<&str>,
    magnitude: f64,
) -> (Plan, Fault) {
    let plan = small(3, 24);
    let start = plan.from() + 8 * HOUR;
    let fault = Fault {
        kind,
        facility: object.0.into(),
        device: object.1.map(Into::into),
        metric: metric.map(Into::into),
        start,
        end: start + 8 * HOUR,
        magnitude,
    };
    (plan, fault)
}

fn on_station(kind: FaultKind, metric: &str, magnitude: f64) -> (Fault, Points, Points) {
    let (plan, fault) = fault(kind, ("ST-0002", None), Some(metric), magnitude);
    let key = ("ST-0002".to_owned(), metric.to_owned());
    let of = |faults| series(&reports(&plan, faults)).remove(&key).expect("series");
    (fault.clone(), of(vec![fault]), of(vec![]))
}

#[test]
fn a_healthy_day_stays_within_every_limit_of_the_catalogue() {
    let plan = small(25, 24);
    let all = reports(&plan, vec![]);
    for ((object, code), points) in series(&all) {
        let metric = Catalogue::in_force().metric(Catalogue::in_force().id(&code).expect("a metric"));
        let (mut changed_at, mut last) = (points[0].0, points[0].1);
        for pair in points.windows(2) {
            let ((before, a), (at, b)) = (pair[0], pair[1]);
            let name = || format!("{object} {code} {a} -> {b} at {}", schemas::time::rfc3339(at));
            assert!(at > before, "{}", name());
            assert!((metric.min..=metric.max).contains(&b), "{}", name());
            let rate = (b - a).abs() / ((at - before) as f64 / MINUTE as f64);
            assert!(metric.max_rate.is_none_or(|most| rate <= most * 0.8), "{}", name());
            assert!(metric.spike.is_none_or(|most| (b - a).abs() < most * 0.6), "{}", name());
            assert!(metric.kind != MetricKind::Counter || b >= a, "{}", name());
            if (b - last).abs() > metric.flat_tolerance.unwrap_or(0.0) {
                (changed_at, last) = (at, b);
            }
            let rests = b.abs() < metric.flat_above.unwrap_or(0.0);
            let flat = if rests { 0 } else { (at - changed_at) / 1_000 };
            assert!(metric.flat_suspect.is_none_or(|most| flat < i64::from(most)), "{}", name());
        }
    }
}

#[test]
fn a_healthy_day_is_plausible_and_crosses_no_threshold() {
    let plan = small(25, 24);
    let limits: Vec<_> = registry(&plan)
        .into_iter()
        .filter_map(|e| match e {
            RegistryEntry::Threshold(t) => Some(t),
            _ => None,
        })
        .collect();
    let expected = [
        ("ST", "secondary_supply_temp", 33.0, 56.0),
        ("ST", "primary_supply_temp", 68.0, 110.0),
        ("ST", "secondary_supply_pressure", 0.3, 0.6),
        ("ST", "primary_supply_pressure", 0.6, 1.2),
        ("RS", "room_temp", 18.5, 23.0),
        ("DV", "room_temp", 18.5, 23.0),
        ("DV", "voltage", 215.0, 235.0),
        ("BH", "return_temp", 25.0, 65.0),
        ("BR", "supply_temp", 68.0, 112.0),
    ];
    for ((object, metric), points) in series(&reports(&plan, vec![])) {
        let least = points.iter().map(|p| p.1).fold(f64::MAX, f64::min);
        let most = points.iter().map(|p| p.1).fold(f64::MIN, f64::max);
        for (prefix, name, low, high) in expected {
            if object.starts_with(prefix) && metric == name {
                assert!(low <= least && most <= high, "{object} {metric} {least} to {most}");
            }
        }
        let scope = [("ST", "station"), ("RS", "room_sensor"), ("DV", "air_source_heat_pump")];
        let scope = scope.iter().find(|s| object.starts_with(s.0)).map_or("", |s| s.1);
        for limit in limits.iter().filter(|l| l.scope == scope && l.metric.code() == metric) {
            let mild = limit.level3.or(limit.level1).expect("a level");
            let crossed = match limit.side {
                Side::High => most >= mild,
                Side::Low => least <= mild,
            };
            assert!(!crossed, "{object} {metric} {least} to {most} crosses {mild}");
        }
    }
}

#[test]
fn meters_count_what_the_power_adds_up_to_and_both_loops_agree() {
    let plan = small(10, 12);
    let all = series(&reports(&plan, vec![]));
    for n in 1..=10 {
        let of = |metric: &str| &all[&(format!("ST-{n:04}"), metric.to_owned())];
        let counted = of("heat_total").last().expect("last").1 - of("heat_total")[0].1;
        let summed: f64 = of("heat_power")[1..].iter().map(|p| p.1 * 60e-6).sum();
        assert!((counted / summed - 1.0).abs() < 0.003, "ST-{n:04}: {counted} GJ against {summed} GJ");
        let (mut wrong, mut total) = (0.0, 0.0);
        for (i, power) in of("heat_power").iter().enumerate() {
            let at = |metric| of(metric)[i].1;
            let secondary =
                1.1628 * at("secondary_flow") * (at("secondary_supply_temp") - at("secondary_return_temp"));
            let primary =
                1.1628 * at("primary_flow") * (at("primary_supply_temp") - at("primary_return_temp"));
            wrong += (secondary - power.1).abs() + (primary - power.1).abs();
            total += 2.0 * power.1;
        }
        assert!(wrong / total < 0.015, "ST-{n:04}: {:.4}", wrong / total);
    }
}

#[test]
fn the_same_seed_gives_the_same_reports_and_another_seed_others() {
    let mut plan = small(4, 3);
    plan.faults_per_kind = 1;
    let run = |plan: &Plan| reports(plan, plan_faults(plan));
    let first = run(&plan);
    assert_eq!(first, run(&plan));
    plan.seed = 2;
    assert_ne!(first, run(&plan));
}

#[test]
fn arrivals_stand_in_their_minute_and_in_order() {
    let mut plan = small(10, 12);
    plan.faults_per_kind = 2;
    let (mut last, mut count) = (0, 0);
    for minute in Simulator::new(&plan, plan_faults(&plan)).expect("plan") {
        for report in &minute.reports {
            assert!(report.received_at >= last, "{} after {last}", report.received_at);
            assert!((minute.at..minute.at + MINUTE).contains(&report.received_at));
            last = report.received_at;
            count += 1;
        }
    }
    assert!(count > 10 * 12 * 60);
}

#[test]
fn rooms_upload_in_bursts() {
    let plan = small(3, 3);
    let rooms: Vec<Report> =
        reports(&plan, vec![]).into_iter().filter(|r| r.facility.starts_with("HH")).collect();
    assert!(rooms.iter().any(|r| r.received_at - r.observed_at > 19 * MINUTE));
    assert!(rooms.iter().all(|r| r.received_at - r.observed_at < 21 * MINUTE));
    assert_eq!(rooms.len(), 24 * 3 * 6, "every room, every ten minutes");
}

#[test]
fn a_stuck_sensor_repeats_its_value() {
    let (fault, faulty, healthy) = on_station(FaultKind::SensorStuck, "secondary_supply_temp", 0.0);
    let during: Vec<f64> = faulty.iter().filter(|p| fault.active(p.0)).map(|p| p.1).collect();
    assert!(during.len() == 480 && during.iter().all(|v| *v == during[0]));
    assert_eq!(faulty.iter().filter(|p| !fault.active(p.0)).count(), healthy.len() - 480);
}

#[test]
fn spikes_are_single_points() {
    let (fault, faulty, healthy) = on_station(FaultKind::Spike, "secondary_return_temp", 30.0);
    let different: Vec<usize> = (0..faulty.len()).filter(|i| faulty[*i] != healthy[*i]).collect();
    assert_eq!(different.len(), 12);
    assert!(different.iter().all(|i| fault.active(faulty[*i].0) && faulty[*i].1 > healthy[*i].1 + 29.0));
}

#[test]
fn drift_grows_and_a_dropout_leaves_a_gap() {
    let (fault, faulty, healthy) = on_station(FaultKind::Drift, "primary_return_temp", 6.0);
    let last = faulty.iter().rposition(|p| fault.active(p.0)).expect("during");
    assert!((faulty[last].1 - healthy[last].1 - 6.0).abs() < 0.2);
    let (_, faulty, healthy) = on_station(FaultKind::Dropout, "heat_power", 0.0);
    assert_eq!(faulty.len(), healthy.len() - 480);
}

#[test]
fn a_counter_begins_again_and_goes_on() {
    let (fault, faulty, healthy) = on_station(FaultKind::CounterReset, "heat_total", 0.0);
    let first = faulty.iter().position(|p| p.0 >= fault.start).expect("during");
    assert_eq!(faulty[first].1, 0.0);
    assert!(faulty[first - 1].1 > 1_000.0);
    let grown = faulty.last().expect("last").1;
    assert!((grown - (healthy.last().expect("last").1 - healthy[first].1)).abs() < 0.01);
}

#[test]
fn uploads_go_wrong_as_told() {
    let of = |kind, magnitude| {
        let (plan, fault) = fault(kind, ("ST-0002", None), None, magnitude);
        let all = reports(&plan, vec![fault.clone()]);
        (fault, all.into_iter().filter(|r| r.facility == "ST-0002").collect::<Vec<_>>())
    };
    let (fault, late) = of(FaultKind::LateUpload, 0.0);
    assert_eq!(late.len(), 1_440);
    assert!(late.iter().filter(|r| fault.active(r.observed_at)).all(|r| r.received_at >= fault.end));
    let (_, twice) = of(FaultKind::DuplicateUpload, 0.0);
    assert_eq!(twice.len(), 1_440 + 480);
    let (_, silent) = of(FaultKind::StationOffline, 0.0);
    assert_eq!(silent.len(), 1_440 - 480);
    let (_, ahead) = of(FaultKind::WrongClock, 3.0 * 3_600.0);
    let refused = |r: &&Report| {
        schemas::time::plausible(r.observed_at, r.received_at, schemas::time::BACKFILL).is_err()
    };
    assert_eq!(ahead.iter().filter(refused).count(), 480);
    let (_, behind) = of(FaultKind::WrongClock, -1.7e9);
    assert_eq!(behind.iter().filter(refused).count(), 480);
}

/// The reports of a station with a fault, and without.
fn of_station(kind: FaultKind, metric: Option<&str>, magnitude: f64) -> (Fault, Vec<Report>, Vec<Report>) {
    let (plan, fault) = fault(kind, ("ST-0002", None), metric, magnitude);
    let of = |faults| {
        let all = reports(&plan, faults).into_iter();
        all.filter(|report| report.facility == "ST-0002").collect::<Vec<_>>()
    };
    (fault.clone(), of(vec![fault]), of(vec![]))
}

fn by_time(reports: &[Report]) -> Vec<Report> {
    let mut reports = reports.to_vec();
    reports.sort_by_key(|report| (report.observed_at, report.received_at));
    reports
}

#[test]
fn a_batch_is_uploaded_at_once_and_nothing_is_lost() {
    let (fault, batched, healthy) = of_station(FaultKind::BatchUpload, None, 30.0);
    let pauses: Vec<Millis> =
        batched.windows(2).map(|pair| pair[1].received_at - pair[0].received_at).collect();
    let long = pauses.iter().filter(|pause| **pause > 25 * MINUTE).count();
    assert_eq!(long, 16, "eight hours of uploads every half hour");
    assert!(pauses.iter().all(|pause| (0..31 * MINUTE).contains(pause)));
    for (late, live) in by_time(&batched).iter().zip(&healthy) {
        let held = fault.active(late.observed_at);
        assert!(held || late.received_at == live.received_at);
        assert!((0..=31 * MINUTE).contains(&(late.received_at - late.observed_at)));
        assert_eq!(*late, Report { received_at: late.received_at, ..live.clone() });
    }
    assert_eq!(batched.len(), healthy.len());
}

#[rstest::rstest]
#[case::higher(150_000.0)]
#[case::used(1_234.0)]
fn another_meter_goes_on_at_its_own_level(#[case] level: f64) {
    let (fault, faulty, healthy) = on_station(FaultKind::MeterReplaced, "heat_total", level);
    let first = faulty.iter().position(|point| point.0 >= fault.start).expect("during");
    assert_eq!((faulty[first].1, &faulty[..first]), (level, &healthy[..first]));
    assert!((level - healthy[first].1).abs() > 1_000.0);
    for (point, true_one) in faulty[first..].iter().zip(&healthy[first..]) {
        let (counted, supplied) = (point.1 - level, true_one.1 - healthy[first].1);
        assert!((counted - supplied).abs() < 0.01, "{counted} against {supplied}");
    }
}

#[rstest::rstest]
#[case::megajoules(1e3)]
#[case::kilowatt_hours(1e3 / 3.6)]
fn another_unit_multiplies_and_is_set_right(#[case] ratio: f64) {
    let (fault, faulty, healthy) = on_station(FaultKind::UnitSwitched, "heat_total", ratio);
    for (point, true_one) in faulty.iter().zip(&healthy) {
        let wanted = if fault.active(point.0) { ratio } else { 1.0 };
        assert!((point.1 / true_one.1 / wanted - 1.0).abs() < 1e-6);
    }
}

#[test]
fn nulls_come_on_time() {
    let (fault, faulty, healthy) = of_station(FaultKind::NullsOnly, None, 0.0);
    for (report, live) in faulty.iter().zip(&healthy) {
        assert_eq!(report.received_at, live.received_at);
        let metrics = |report: &Report| report.readings.iter().map(|r| r.metric.clone()).collect::<Vec<_>>();
        assert_eq!(metrics(report), metrics(live));
        let nulls = report.readings.iter().filter(|r| r.value == RawValue::Missing).count();
        assert_eq!(nulls, if fault.active(report.observed_at) { report.readings.len() } else { 0 });
    }
    assert_eq!(faulty.len(), healthy.len());
}

#[test]
fn a_block_comes_again_after_newer_data() {
    let (fault, faulty, healthy) = of_station(FaultKind::RepeatedBlock, None, 30.0);
    let (mut first, mut again) = (Vec::new(), Vec::new());
    let mut newest = Millis::MIN;
    for report in &faulty {
        if report.observed_at > newest {
            newest = report.observed_at;
            first.push(report.clone());
        } else {
            assert!(newest - report.observed_at >= 9 * MINUTE, "newer data was there");
            again.push(report.clone());
        }
    }
    assert_eq!(first, healthy, "what comes first is as it would be");
    let during: Vec<&Report> = healthy.iter().filter(|report| fault.active(report.observed_at)).collect();
    assert_eq!(again.len(), during.len());
    for (again, live) in again.iter().zip(during) {
        assert_eq!(*again, Report { received_at: again.received_at, ..live.clone() });
    }
}

#[test]
fn a_clock_runs_years_ahead_while_reports_arrive() {
    let ahead = 37.0 * 365.25 * 86_400.0;
    let (plan, fault) = fault(FaultKind::ClockFarAhead, ("CD-000003", Some("DV-000003")), None, ahead);
    let all = |faults| reports(&plan, faults);
    let (faulty, healthy) = (all(vec![fault.clone()]), all(vec![]));
    let mut refused = 0;
    for (report, live) in faulty.iter().zip(&healthy) {
        let here = report.facility == "CD-000003" && fault.active(live.observed_at);
        let wanted = if here { live.observed_at + (ahead * 1e3) as Millis } else { live.observed_at };
        assert_eq!(*report, Report { observed_at: wanted, ..live.clone() });
        let plausible =
            schemas::time::plausible(report.observed_at, report.received_at, schemas::time::BACKFILL);
        assert_eq!(plausible, if here { Err(schemas::Reason::TimeInFuture) } else { Ok(()) });
        refused += usize::from(here);
    }
    assert_eq!((faulty.len(), refused), (healthy.len(), 480));
}

/// Mean during the last hours of the fault, faulty and healthy.
fn means(kind: FaultKind, metric: &str, magnitude: f64) -> (f64, f64) {
    let (fault, faulty, healthy) = on_station(kind, metric, magnitude);
    let mean = |points: &[(Millis, f64)]| {
        let points: Vec<f64> =
            points.iter().filter(|p| fault.active(p.0) && p.0 > fault.start + HOUR).map(|p| p.1).collect();
        points.iter().sum::<f64>() / points.len() as f64
    };
    (mean(&faulty), mean(&healthy))
}

#[test]
fn physics_goes_wrong_as_told() {
    let (makeup, healthy) = means(FaultKind::Leak, "makeup_flow", 6.0);
    assert!(makeup > healthy + 5.0);
    let (pressure, healthy) = means(FaultKind::Leak, "secondary_return_pressure", 6.0);
    assert!(pressure < healthy - 0.1);
    let (flow, _) = means(FaultKind::PumpStop, "secondary_flow", 0.0);
    let (power, _) = means(FaultKind::PumpStop, "heat_power", 0.0);
    let (state, _) = means(FaultKind::PumpStop, "circulation_pump_fault", 0.0);
    assert_eq!((flow, power, state), (0.0, 0.0, 1.0));
    let (power, healthy) = means(FaultKind::UnderSupply, "heat_power", 0.55);
    assert!(power < 0.65 * healthy, "{power} against {healthy}");
    let (power, healthy) = means(FaultKind::OverSupply, "heat_power", 1.45);
    assert!(power > 1.35 * healthy, "{power} against {healthy}");
    let (pressure, healthy) = means(FaultKind::Overpressure, "secondary_supply_pressure", 0.22);
    assert!(pressure > 0.65 && healthy < 0.52);
}

#[test]
fn rooms_cool_down_below_a_stopped_pump_and_a_device_moves() {
    let (plan, stop) = fault(FaultKind::PumpStop, ("ST-0002", None), None, 0.0);
    let (cold, warm) = (series(&reports(&plan, vec![stop.clone()])), series(&reports(&plan, vec![])));
    let last = |series: &Series, room: &str| {
        let points = &series[&(room.to_owned(), "room_temp".to_owned())];
        points.iter().rfind(|p| stop.active(p.0)).expect("during").1
    };
    assert!(last(&cold, "RS-000012") < last(&warm, "RS-000012") - 3.0);
    assert_eq!(last(&cold, "RS-000001"), last(&warm, "RS-000001"));

    let (plan, moved) = fault(FaultKind::DeviceMoved, ("CD-000003", Some("DV-000003")), None, 0.06);
    let all = series(&reports(&plan, vec![moved.clone()]));
    let latitude = &all[&("DV-000003".to_owned(), "latitude".to_owned())];
    let at = |active: bool| latitude.iter().find(|p| moved.active(p.0) == active).expect("point").1;
    assert!((at(true) - at(false) - 0.06).abs() < 1e-5);
}

#[test]
fn a_fault_of_an_unknown_object_is_refused() {
    let (plan, fault) = fault(FaultKind::Leak, ("ST-0009", None), None, 5.0);
    let error = Simulator::new(&plan, vec![fault]).expect_err("unknown").to_string();
    assert_eq!(error, "simulation plan: leak names ST-0009, which is not simulated");
}
