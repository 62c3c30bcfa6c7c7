//! One behaviour each.

use schemas::KpiCause;

use super::*;

const DAY_START: Millis = START - 8 * HOUR;

fn minutes(
    facility: &str,
    from: Millis,
    to: Millis,
    metric: &str,
    value: impl Fn(i64) -> f64,
) -> Vec<CheckedReport> {
    (0..(to - from) / MINUTE).map(|n| good(facility, from + n * MINUTE, metric, value(n))).collect()
}

fn station(area: f64, scopes: Vec<Scope>) -> Profile {
    facility("ST-1", FacilityKind::Station, area, scopes)
}

#[test]
fn a_silent_facility_counts_as_missing_when_the_hour_ends() {
    let mut run = Run::in_china();
    let silent = facility("ST-2", FacilityKind::Station, 500.0, vec![city()]);
    run.epoch(START + MINUTE, vec![register(station(1_000.0, vec![city()])), register(silent)], vec![]);
    run.epoch(START + HOUR - 1, vec![], minutes("ST-1", START, START + HOUR, "heat_power", |_| 1_000.0));
    assert_eq!(run.hour("ST-2", START), Facts::new());
    run.epoch(START + HOUR, vec![], vec![]);
    let missing = run.hour("ST-2", START);
    assert_eq!(missing.get(Component::Expected), HOUR);
    assert_eq!(missing.get(Component::ReportsExpected), 60);
    assert_eq!(missing.get(Component::Online) + missing.get(Component::ReportsReceived), 0);
    let heard = run.hour("ST-1", START);
    assert_eq!(heard.get(Component::Online), HOUR - MINUTE);
    assert_eq!((heard.get(Component::ReportsExpected), heard.get(Component::ReportsCounted)), (60, 60));
    assert_eq!(heard.get(Component::Heat), 1_000_000 * 59 * 60);
    let city = run.scope(&city(), Period::Hour, START);
    assert_eq!(
        (city.get(Component::ReportsExpected), run.reason(&super::city(), Period::Hour, START)),
        (120, Reason::CLOSED)
    );
    assert_eq!((city.get(Component::HeatArea), city.get(Component::StationSpan)), (100_000, 2 * HOUR));
}

#[test]
fn an_open_hour_expects_up_to_the_latest_report() {
    let mut run = Run::in_china();
    let reports = minutes("ST-1", START, START + 10 * MINUTE, "heat_power", |_| 1.0);
    run.epoch(START + 20 * MINUTE, vec![register(station(1.0, vec![]))], reports);
    let open = run.hour("ST-1", START);
    assert_eq!((open.get(Component::ReportsExpected), open.get(Component::Expected)), (10, 9 * MINUTE));
    assert_eq!(open.get(Component::StationSpan), 9 * MINUTE);
}

#[test]
fn a_change_of_scope_and_area_moves_open_windows() {
    let (old, new) = (scope(ScopeKind::Enterprise, "E-1"), scope(ScopeKind::Enterprise, "E-2"));
    let mut run = Run::in_china();
    let reports = minutes("ST-1", START, START + HOUR, "heat_power", |_| 1_000.0);
    run.epoch(START + MINUTE, vec![register(station(1_000.0, vec![city(), old.clone()]))], vec![]);
    run.epoch(START + HOUR, vec![], reports);
    let before = run.hour("ST-1", START);
    assert_eq!(run.scope(&old, Period::Day, DAY_START).get(Component::Heat), before.get(Component::Heat));
    run.epoch(START + HOUR + MINUTE, vec![register(station(2_000.0, vec![city(), new.clone()]))], vec![]);
    for (period, start) in [(Period::Hour, START), (Period::Day, DAY_START)] {
        let left = run.scope(&old, period, start);
        assert_eq!(left.get(Component::Heat), 0);
        let joined = run.scope(&new, period, start);
        assert_eq!(joined.get(Component::Heat), before.get(Component::Heat));
        assert_eq!(run.scope(&city(), period, start).get(Component::HeatArea), 200_000);
        for scope in [&city(), &old, &new] {
            assert_eq!(run.reason(scope, period, start), Reason::registry(None));
        }
    }
    run.epoch(
        START + HOUR + 2 * MINUTE,
        vec![ProfileChange { facility: "ST-1".into(), profile: None }],
        vec![],
    );
    assert_eq!(run.scope(&new, Period::Hour, START).get(Component::Heat), 0);
    assert_eq!(run.scope(&city(), Period::Day, DAY_START).get(Component::ReportsExpected), 0);
    assert_eq!(run.window.entries(), 0);
    run.until(START + 41 * HOUR);
    assert_eq!(run.scopes, BTreeMap::new());
}

/// The registry changes a facility that was never heard: nothing is to be said of it, and nothing stays.
#[test]
fn a_day_closes_though_no_hour_of_it_is_open() {
    let unheard = |area| {
        let mut profile = facility("ST-3", FacilityKind::Station, area, vec![city()]);
        profile.facility.attributes.clear();
        vec![register(profile)]
    };
    let mut run = Run::in_china();
    run.epoch(START, unheard(1.0), vec![]);
    run.epoch(START, unheard(2.0), vec![]);
    assert_eq!(run.reason(&city(), Period::Hour, START), Reason::registry(None));
    let open = |run: &Run| -> Vec<(usize, usize)> {
        run.window.sites.iter().map(|(.., site)| (site.hours.len(), site.days.len())).collect()
    };
    run.until(START + 10 * HOUR);
    assert_eq!(open(&run), [(0, 1)]);
    run.until(START + 41 * HOUR);
    assert_eq!((open(&run), run.scopes), (vec![(0, 0)], BTreeMap::new()));
}

#[test]
fn a_change_of_standard_temperature_is_applied_backwards() {
    let room = |standard: &str| {
        let mut profile = facility("HH-1", FacilityKind::Household, 80.0, vec![]);
        profile.facility.attributes.insert("standard_temp".into(), standard.into());
        register(profile)
    };
    let mut run = Run::in_china();
    run.epoch(START + HOUR, vec![room("18")], minutes("HH-1", START, START + HOUR, "room_temp", |_| 19.0));
    let before = run.hour("HH-1", START);
    assert_eq!(before.get(Component::RoomCompliant), 59 * MINUTE);
    run.epoch(START + HOUR, vec![room("20")], vec![]);
    let after = run.hour("HH-1", START);
    assert_eq!((after.get(Component::RoomCompliant), after.get(Component::HouseholdsCompliant)), (0, 0));
    assert_eq!(after.get(Component::RoomTime), before.get(Component::RoomTime));
    assert_eq!(run.told_because("HH-1"), Reason::registry(None));
}

#[test]
fn closed_hours_leave_the_scopes_and_closed_days_are_not_revised() {
    let mut run = Run::new(Calendar::new(TimeZone::fixed(jiff::tz::offset(8)), 2 * HOUR, 10 * MINUTE));
    run.epoch(START, vec![register(station(1.0, vec![city()]))], vec![]);
    run.epoch(START + 3 * HOUR, vec![], minutes("ST-1", START, START + 3 * HOUR, "heat_power", |_| 10.0));
    let (hour, of_city) = (run.hour("ST-1", START), run.scope(&city(), Period::Day, DAY_START));
    run.epoch(START + 3 * HOUR + 1, vec![], vec![]);
    assert!(
        run.scopes.contains_key(&(city(), Period::Hour, START)),
        "it leaves one epoch after it is closed"
    );
    // It changes its hour at the facility and the day everywhere, though the hour has left the scopes.
    let late = good("ST-1", START + 30 * MINUTE + 1, "heat_power", 999.0);
    let last = run.epoch(START + 3 * HOUR + 2, vec![], vec![late]).clone();
    assert_eq!((last.too_late.readings(), last.horizon.hour), (0, START + HOUR));
    assert!(last.horizon.is_closed(Period::Hour, START) && !last.horizon.is_closed(Period::Day, DAY_START));
    assert!(!run.scopes.contains_key(&(city(), Period::Hour, START)));
    let more = run.hour("ST-1", START).get(Component::Heat) - hour.get(Component::Heat);
    let of_day = run.scope(&city(), Period::Day, DAY_START).get(Component::Heat);
    assert!(more > 0 && of_day == of_city.get(Component::Heat) + more, "{more} more, {of_day} of the day");
    let last = run.until(START + 30 * HOUR).clone();
    assert!(last.horizon.is_closed(Period::Day, DAY_START));
    assert!(!run.scopes.contains_key(&(city(), Period::Day, DAY_START)));
    // What comes for a closed day counts where it arrived, up to the city.
    let told = run.hour("ST-1", START);
    let mut late = good("ST-1", START + 30 * MINUTE + 2, "heat_power", 999.0);
    late.received_at = START + 30 * HOUR;
    let last = run.epoch(START + 30 * HOUR, vec![], vec![late]).clone();
    assert_eq!(run.hour("ST-1", START), told);
    let arrived = START + 30 * HOUR;
    assert_eq!(run.hour("ST-1", arrived).get(Component::BeyondRevision), 1);
    for period in [(Period::Hour, arrived), (Period::Day, DAY_START + 24 * HOUR)] {
        assert_eq!(run.scope(&city(), period.0, period.1).get(Component::BeyondRevision), 1);
    }
    let metric = Catalogue::in_force().id("heat_power").unwrap();
    assert_eq!(last.too_late.iter().collect::<Vec<_>>(), [(&"".into(), metric, 1)]);
    assert_eq!(last.too_late.facility(), Some("ST-1"));
}

#[test]
fn the_first_segment_behind_a_closed_hour_still_starts_in_it() {
    let mut run = Run::new(Calendar::new(TimeZone::UTC, HOUR, 0));
    run.epoch(
        START,
        vec![register(station(10_000.0, vec![]))],
        vec![good("ST-1", START + 59 * MINUTE, "heat_total", 10.0)],
    );
    run.epoch(START + 2 * HOUR + 1, vec![], vec![]);
    run.epoch(
        START + 2 * HOUR + 2,
        vec![],
        vec![good("ST-1", START + HOUR + 59 * MINUTE, "heat_total", 16.0)],
    );
    assert_eq!(run.hour("ST-1", START + HOUR).get(Component::Heat), 5_900_000_000);
}

#[test]
fn late_and_corrected_readings_name_their_cause() {
    let mut run = Run::in_china();
    let reports = minutes("ST-1", START, START + HOUR, "heat_power", |_| 10.0);
    run.epoch(START, vec![register(station(1.0, vec![]))], vec![]);
    run.epoch(
        START + HOUR,
        vec![],
        reports.into_iter().filter(|r| r.observed_at != START + 7 * MINUTE).collect(),
    );
    let first = run.hour("ST-1", START);
    assert_eq!(run.told_because("ST-1"), Reason::CLOSED);
    let by = |offset, redriven| Carrier { partition: 2, offset, redriven };
    let mut missing = good("ST-1", START + 7 * MINUTE, "heat_power", 70.0);
    missing.carrier = by(40, false);
    run.epoch(START + HOUR, vec![], vec![missing]);
    let late = run.hour("ST-1", START);
    let of = |cause, carrier: Carrier| Reason { cause, by: Some(carrier.place()) };
    assert_eq!(run.told_because("ST-1"), of(KpiCause::Late, by(40, false)));
    assert_eq!(late.get(Component::Heat) - first.get(Component::Heat), 60_000 * 60);
    let mut revised =
        report("ST-1", "", START + 7 * MINUTE, &[("heat_power", 70.0, Flag::Suspect, Change::Remarked)]);
    revised.carrier = by(41, false);
    run.epoch(START + HOUR, vec![], vec![revised]);
    let corrected = run.hour("ST-1", START);
    assert_eq!(run.told_because("ST-1"), of(KpiCause::Corrected, by(41, false)));
    assert_eq!(corrected.get(Component::Heat), first.get(Component::Heat));
    assert_eq!(corrected.get(Component::Valid), corrected.get(Component::Readings) - 1);
    assert_eq!(corrected.get(Component::ReportsReceived), 60);
    // What was refused and is sent again says so, above the late report of the same epoch.
    let mut again = good("ST-1", START + 7 * MINUTE + 1, "heat_power", 90.0);
    again.carrier = by(42, true);
    let mut other = good("ST-1", START + 8 * MINUTE + 1, "heat_power", 90.0);
    other.carrier = by(43, false);
    run.epoch(START + HOUR, vec![], vec![again, other]);
    assert_eq!(run.told_because("ST-1"), of(KpiCause::Redriven, by(42, true)));
}

/// Whoever is older than the memory of validation may be a repetition: the window still knows what it heard.
#[test]
fn what_cannot_be_verified_counts_only_where_nothing_was_heard() {
    let mut run = Run::in_china();
    let missing = START + 7 * MINUTE;
    let reports = minutes("ST-1", START, START + HOUR, "heat_power", |_| 10.0);
    run.epoch(START, vec![register(station(1.0, vec![]))], vec![]);
    let heard = reports.into_iter().filter(|r| r.observed_at != missing).collect();
    run.epoch(START + HOUR, vec![], heard);
    let failed =
        report("ST-1", "", START + 9 * MINUTE, &[("heat_power", 900.0, Flag::Fail, Change::Remarked)]);
    run.epoch(START + HOUR, vec![], vec![failed]);
    let before = run.hour("ST-1", START);
    let again = |at, flag| report("ST-1", "", at, &[("heat_power", 900.0, flag, Change::Unverified)]);
    let [seen, unseen] = [START + 9 * MINUTE, missing].map(|at| again(at, Flag::NotEvaluated));
    run.epoch(START + HOUR, vec![], vec![seen, again(START + 8 * MINUTE, Flag::Fail)]);
    let after = run.hour("ST-1", START);
    assert_eq!(after.get(Component::Duplicates), before.get(Component::Duplicates) + 2);
    for component in [Component::Heat, Component::Readings, Component::Valid, Component::ReportsReceived] {
        assert_eq!(after.get(component), before.get(component), "{component:?}");
    }
    run.epoch(START + HOUR, vec![], vec![unseen]);
    assert!(run.hour("ST-1", START).get(Component::Heat) > before.get(Component::Heat), "first heard now");
}

#[test]
fn a_day_of_25_hours_sums_them_all() {
    let calendar = Calendar::new(TimeZone::get("Europe/Belgrade").unwrap(), 40 * HOUR, 0);
    let day = schemas::time::parse("2024-10-26T22:00:00Z", &TimeZone::UTC).unwrap();
    let mut run = Run::new(calendar);
    let reports = minutes("ST-1", day, day + 26 * HOUR, "heat_total", |n| n as f64);
    run.epoch(day + 26 * HOUR, vec![register(station(50_000.0, vec![]))], reports);
    assert_eq!(run.day("ST-1", day).get(Component::Heat), 25 * 60 * 1_000_000_000);
    assert_eq!(run.day("ST-1", day).get(Component::StationSpan), 25 * HOUR);
}

#[test]
fn hours_are_given_to_models_once_when_they_settle() {
    let mut run = Run::in_china();
    run.epoch(START, vec![register(station(1.0, vec![]))], vec![]);
    run.epoch(START + HOUR, vec![], minutes("ST-1", START, START + HOUR, "heat_power", |_| 10.0));
    assert!(run.epoch(START + HOUR + 10 * MINUTE - 1, vec![], vec![]).hours.is_empty());
    let settled = run.epoch(START + HOUR + 10 * MINUTE, vec![], vec![]).hours.clone();
    assert_eq!((settled.len(), settled[0].hour), (1, START));
    assert_eq!(settled[0].facts, run.hour("ST-1", START));
    assert!(run.epoch(START + 2 * HOUR, vec![], vec![]).hours.is_empty());
}

#[test]
fn repetitions_are_counted() {
    let mut run = Run::in_china();
    run.epoch(START, vec![register(station(1.0, vec![]))], vec![good("ST-1", START, "heat_power", 1.0)]);
    let repeated = crate::Repeated {
        object: good("ST-1", START, "running", 1.0).object,
        observed_at: START,
        readings: 3,
    };
    let epoch = CheckedEpoch { epoch: 9, clock: START, repeated: vec![repeated], ..CheckedEpoch::default() };
    let told = run.window.apply(&epoch);
    assert_eq!(told.facility[0].after.get(Component::Duplicates), 3);
}

#[test]
fn heat_of_source_and_station_is_counted_once() {
    let mut run = Run::in_china();
    let plant = facility("P-1", FacilityKind::Plant, 90_000.0, vec![city()]);
    let profiles = vec![register(plant), register(station(50_000.0, vec![city()]))];
    let meter = |code| [good(code, START, "heat_total", 1.0), good(code, START + MINUTE, "heat_total", 3.0)];
    run.epoch(START + 2 * MINUTE, profiles, [meter("P-1"), meter("ST-1")].concat());
    assert_eq!(run.hour("P-1", START).get(Component::Heat), 2_000_000_000);
    let city = run.scope(&city(), Period::Hour, START);
    assert_eq!((city.get(Component::Heat), city.get(Component::ReportsReceived)), (2_000_000_000, 4));
}

#[test]
fn reports_without_readings_show_contact_and_are_missing() {
    let reports = || {
        let minute = |n: i64| match n % 2 {
            0 => good("ST-1", START + n * MINUTE, "heat_power", 1.0),
            _ => report("ST-1", "", START + n * MINUTE, &[]),
        };
        (0..60).map(minute)
    };
    let mut orders = [reports().collect::<Vec<_>>(), reports().rev().collect(), reports().collect()];
    // One of them brings its readings later, and one comes without them once more.
    for reports in &mut orders {
        reports.push(good("ST-1", START + MINUTE, "heat_power", 1.0));
        reports.push(report("ST-1", "", START, &[]));
    }
    orders[2].rotate_right(2);
    for reports in orders {
        let mut run = Run::in_china();
        run.epoch(START, vec![register(station(1.0, vec![]))], vec![]);
        run.epoch(START + HOUR, vec![], reports);
        let facts = run.hour("ST-1", START);
        assert_eq!(
            (facts.get(Component::Online), facts.get(Component::ReportsExpected)),
            (HOUR - MINUTE, 60)
        );
        assert_eq!((facts.get(Component::ReportsReceived), facts.get(Component::ReportsCounted)), (31, 31));
    }
}

/// A meter that stands still beside so much heat is frozen: power counts, or nothing is known.
#[rstest::rstest]
#[case::beside_power(500.0, &[("heat_power", 1_000.0)], (3_600_000_000, HOUR))]
#[case::beside_little_power(500.06, &[("heat_power", 100.0)], (360_000_000, HOUR))]
#[case::that_counts_in_large_steps(500.0, &[("heat_power", 100.0)], (0, HOUR))]
#[case::beside_flow(500.06, &[("secondary_flow", 30.0), ("secondary_supply_temp", 50.0), ("secondary_return_temp", 40.0)], (0, 0))]
#[case::beside_water_that_does_not_cool(
    500.06,
    &[("secondary_flow", 30.0), ("secondary_supply_temp", 42.0), ("secondary_return_temp", 40.0)],
    (0, HOUR)
)]
#[case::that_rests(500.06, &[("heat_power", 0.0)], (0, HOUR))]
fn a_frozen_counter_is_not_believed(
    #[case] total: f64,
    #[case] beside: &[(&str, f64)],
    #[case] heat: (i64, Millis),
) {
    let mut run = Run::in_china();
    run.epoch(START, vec![register(station(10_000.0, vec![]))], vec![]);
    let both = |minute: i64| {
        let readings = [("heat_total", total)].into_iter().chain(beside.iter().copied());
        let readings: Vec<_> =
            readings.map(|(metric, value)| (metric, value, Flag::Good, Change::New)).collect();
        report("ST-1", "", START + minute * MINUTE, &readings)
    };
    run.epoch(START + 2 * HOUR, vec![], (0..=60).map(both).collect());
    let facts = run.hour("ST-1", START);
    assert_eq!((facts.get(Component::Heat), facts.get(Component::HeatTime)), heat);
}

/// However far the clock jumps, an epoch says of no more hours than it can in a moment, and all are said in the end.
#[test]
fn a_jump_of_years_takes_many_epochs() {
    let mut window = Window::new(Calendar::default());
    let epoch = |clock, profiles| CheckedEpoch { clock, profiles, ..CheckedEpoch::default() };
    window.apply(&epoch(START, vec![register(station(1_000.0, vec![city()]))]));
    let mut hours = 0;
    for _ in 0..20 {
        let told = window.apply(&epoch(START + 36 * 365 * DAY, vec![]));
        let of_hours = told.facility.iter().filter(|windowed| windowed.period == Period::Hour).count();
        assert!((1..=54).contains(&of_hours), "{of_hours} hours in one epoch");
        hours += of_hours as i64;
        assert_eq!(told.clock, START + hours * HOUR, "none is left out");
    }
}

/// The last set point of an hour goes to the models with it, and once more when it came late.
#[test]
fn set_points_are_handed_over_with_their_hours() {
    let mut window = Window::new(Calendar::default());
    let at = |minute: i64, value| good("ST-1", START + minute * MINUTE, "secondary_supply_setpoint", value);
    let epoch = |clock, profiles, reports: Vec<CheckedReport>| CheckedEpoch {
        clock,
        profiles,
        reports: reports.into_iter().collect(),
        ..CheckedEpoch::default()
    };
    let mut given = Vec::new();
    let mut give = |epoch: CheckedEpoch| {
        let hours = window.apply(&epoch).hours.into_iter().filter(|hour| hour.hour == START);
        given.extend(hours.map(|hour| hour.setpoint));
    };
    give(epoch(START, vec![register(station(1_000.0, vec![]))], vec![]));
    give(epoch(START + HOUR, vec![], vec![at(10, 55.0), at(50, 48.5), at(70, 60.0)]));
    give(epoch(START + 2 * HOUR, vec![], vec![]));
    give(epoch(START + 2 * HOUR, vec![], vec![at(55, 41.0)]));
    give(epoch(START + 2 * HOUR, vec![], vec![at(20, 50.0)]));
    assert_eq!(given, [Some(48.5), Some(41.0)]);
}
