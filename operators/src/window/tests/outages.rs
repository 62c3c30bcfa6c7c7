//! Silence, and what comes late after it.

use super::*;

const DAY_START: Millis = START - 8 * HOUR;
const GJ: i64 = 1_000_000_000;

fn station(code: &str) -> Profile {
    facility(code, FacilityKind::Station, 10_000.0, vec![city()])
}

/// A meter that counts 0.1 GJ a minute since the start of the day.
fn counted(code: &str, minutes: impl Iterator<Item = i64>) -> Vec<CheckedReport> {
    let value = |minute: i64| (10_000 + minute) as f64 / 10.0;
    minutes.map(|minute| good(code, DAY_START + minute * MINUTE, "heat_total", value(minute))).collect()
}

/// Hour by hour to `hours` after the start of the day, with the reports that come then.
fn through(run: &mut Run, hours: std::ops::RangeInclusive<i64>, come: impl Fn(i64) -> Vec<CheckedReport>) {
    for hour in hours {
        run.epoch(DAY_START + hour * HOUR, vec![], come(hour));
    }
}

fn heat(facts: &Facts) -> f64 {
    facts.get(Component::Heat) as f64 / GJ as f64
}

#[rstest::rstest]
#[case::in_order(1)]
#[case::newest_first(-1)]
#[case::shuffled(7)]
fn an_outage_within_the_day_is_filled_by_what_comes_after_it(#[case] order: i64) {
    let mut run = Run::in_china();
    run.epoch(DAY_START, vec![register(station("ST-1")), register(station("ST-2"))], vec![]);
    through(&mut run, 1..=8, |hour| {
        [counted("ST-1", (hour - 1) * 60..hour * 60), counted("ST-2", (hour - 1) * 60..hour * 60)].concat()
    });
    through(&mut run, 9..=16, |hour| counted("ST-2", (hour - 1) * 60..hour * 60));
    // What was kept comes over three hours.
    let mut kept = counted("ST-1", 480..960);
    let len = kept.len() as i64;
    kept = match order {
        -1 => kept.into_iter().rev().collect(),
        step => (0..len).map(|n| kept[(n * step % len) as usize].clone()).collect(),
    };
    if order == 7 {
        let distinct: BTreeSet<Millis> = kept.iter().map(|report| report.observed_at).collect();
        assert_eq!(distinct.len(), 480);
    }
    let kept: Vec<_> = kept.chunks(160).map(<[_]>::to_vec).collect();
    through(&mut run, 17..=19, |hour| {
        let live = |code| counted(code, (hour - 1) * 60..hour * 60);
        [live("ST-1"), live("ST-2"), kept[(hour - 17) as usize].clone()].concat()
    });
    through(&mut run, 20..=25, |hour| {
        [counted("ST-1", (hour - 1) * 60..hour * 60), counted("ST-2", (hour - 1) * 60..hour * 60)].concat()
    });
    assert_eq!(heat(&run.day("ST-1", DAY_START)), 144.0);
    for hour in 0..24 {
        let hour = DAY_START + hour * HOUR;
        assert_eq!(settled(&run.hour("ST-1", hour)), settled(&run.hour("ST-2", hour)), "{}", hour);
    }
    let (one, other) = (run.day("ST-1", DAY_START), run.day("ST-2", DAY_START));
    assert_eq!(settled(&one), settled(&other));
    assert_eq!(heat(&run.scope(&city(), Period::Day, DAY_START)), 288.0);
}

#[test]
fn the_heat_of_an_outage_belongs_to_the_day() {
    let mut run = Run::in_china();
    run.epoch(DAY_START, vec![register(station("ST-1"))], vec![]);
    through(&mut run, 1..=8, |hour| counted("ST-1", (hour - 1) * 60..hour * 60));
    through(&mut run, 9..=16, |_| vec![]);
    through(&mut run, 17..=25, |hour| counted("ST-1", (hour - 1) * 60..hour * 60));
    assert_eq!(heat(&run.day("ST-1", DAY_START)), 144.0);
    assert_eq!(heat(&run.scope(&city(), Period::Day, DAY_START)), 144.0);
    let hours: f64 = (0..24).map(|hour| heat(&run.hour("ST-1", DAY_START + hour * HOUR))).sum();
    assert!((hours - 144.0).abs() < 1e-6, "{hours}");
}

/// Two days are open, so that yesterday takes its part.
#[test]
fn an_outage_over_midnight_belongs_to_both_days() {
    let mut run = Run::in_china();
    run.epoch(DAY_START, vec![register(station("ST-1"))], vec![]);
    through(&mut run, 1..=20, |hour| counted("ST-1", (hour - 1) * 60..hour * 60));
    through(&mut run, 21..=32, |_| vec![]);
    through(&mut run, 33..=50, |hour| counted("ST-1", (hour - 1) * 60..hour * 60));
    let second = DAY_START + 24 * HOUR;
    assert_eq!([heat(&run.day("ST-1", DAY_START)), heat(&run.day("ST-1", second))], [144.0, 144.0]);
}

/// What happened in a closed day is not shown in an open one.
#[test]
fn an_outage_longer_than_days_stay_open_is_cut_at_the_closed_day() {
    let mut run = Run::new(Calendar::new(TimeZone::fixed(jiff::tz::offset(8)), 2 * HOUR, 0));
    run.epoch(DAY_START, vec![register(station("ST-1"))], vec![]);
    through(&mut run, 1..=20, |hour| counted("ST-1", (hour - 1) * 60..hour * 60));
    through(&mut run, 21..=32, |_| vec![]);
    through(&mut run, 33..=33, |hour| counted("ST-1", (hour - 1) * 60..hour * 60));
    assert_eq!(
        run.last.as_ref().unwrap().too_late.readings,
        1,
        "the increment that reaches behind the closed day"
    );
    through(&mut run, 34..=49, |hour| counted("ST-1", (hour - 1) * 60..hour * 60));
    assert_eq!(heat(&run.day("ST-1", DAY_START + 24 * HOUR)), 144.0);
    assert!((heat(&run.day("ST-1", DAY_START)) - 119.9).abs() < 1e-6);
}

#[test]
fn a_facility_that_is_heard_keeps_what_it_kept() {
    let mut run = Run::in_china();
    run.epoch(DAY_START, vec![register(station("ST-1"))], vec![]);
    through(&mut run, 1..=40, |hour| counted("ST-1", (hour - 1) * 60..hour * 60));
    let (_, _, site) = run.window.sites.iter().next().unwrap();
    assert!(site.hours.len() <= 8, "{} hours", site.hours.len());
    let late = counted("ST-1", 600..603);
    assert_eq!(run.epoch(DAY_START + 40 * HOUR, vec![], late).too_late.readings, 3);
}

/// A meter that is read every hour beside temperatures of every minute is not silent in between.
#[test]
fn a_slow_meter_is_no_hole() {
    let mut run = Run::in_china();
    run.epoch(DAY_START, vec![register(station("ST-1"))], vec![]);
    through(&mut run, 1..=40, |hour| {
        let minutes = (hour - 1) * 60..hour * 60;
        let temperature = |m| good("ST-1", DAY_START + m * MINUTE, "secondary_supply_temp", 45.0);
        let temperatures = minutes.clone().map(temperature);
        temperatures.chain(counted("ST-1", minutes.step_by(60))).collect()
    });
    let (_, _, site) = run.window.sites.iter().next().unwrap();
    assert!(site.hours.len() <= 8, "{} hours", site.hours.len());
}

/// Silence of hours and days, told by a clock that stands still in between and by one that does not.
#[rstest::rstest]
#[case(10)]
#[case(31)]
#[case(200)]
fn the_rows_of_silent_hours_do_not_depend_on_the_epochs(#[case] silent: i64) {
    let of = |steps: Vec<i64>| {
        let mut run = Run::in_china();
        run.epoch(DAY_START, vec![register(station("ST-1")), register(station("ST-2"))], vec![]);
        through(&mut run, 1..=3, |hour| counted("ST-1", (hour - 1) * 60..hour * 60));
        for step in steps {
            run.until(DAY_START + step * HOUR);
        }
        run
    };
    let (slow, fast) = (of((4..=silent).collect()), of(vec![silent]));
    assert!(slow.facilities == fast.facilities);
    let hours = slow.facilities.keys().filter(|(code, period, _)| code == "ST-2" && *period == Period::Hour);
    assert_eq!(hours.count() as i64, silent);
    let open = |run: &Run| {
        let horizon = run.window.calendar.horizon(DAY_START + silent * HOUR);
        let mut scopes = run.scopes.clone();
        scopes.retain(|(_, period, start), _| !horizon.is_closed(*period, *start));
        scopes
    };
    assert!(open(&slow) == open(&fast));
}

#[test]
fn hours_without_an_outdoor_temperature_are_not_covered() {
    let mut run = Run::in_china();
    run.epoch(DAY_START, vec![register(station("ST-1")), register(station("ST-2"))], vec![]);
    let outdoor = |code: &str, minutes: std::ops::Range<i64>| -> Vec<CheckedReport> {
        minutes.map(|m| good(code, DAY_START + m * MINUTE, "outdoor_temp", -10.0)).collect()
    };
    // The second station goes on to report, but its outdoor sensor is gone for 8 hours; the first is silent as a whole.
    through(&mut run, 1..=25, |hour| {
        let minutes = (hour - 1) * 60..hour * 60;
        if (9..=16).contains(&hour) {
            counted("ST-2", minutes)
        } else {
            [outdoor("ST-1", minutes.clone()), outdoor("ST-2", minutes)].concat()
        }
    });
    for code in ["ST-1", "ST-2"] {
        let day = run.day(code, DAY_START);
        let (degrees, coverage) = crate::kpi::degree_days::KPI.rounded(ScopeKind::Facility, &day);
        assert_eq!((degrees, coverage), (Some(28.0), 0.67), "{code}");
        let mean = crate::kpi::outdoor_temp_mean::KPI.rounded(ScopeKind::Facility, &day);
        assert_eq!(mean, (Some(-10.0), 0.67), "{code}");
    }
    let city = run.scope(&city(), Period::Day, DAY_START);
    assert_eq!(crate::kpi::degree_days::KPI.rounded(ScopeKind::City, &city), (Some(28.0), 0.67));
}

#[test]
fn where_the_counter_says_nothing_power_does() {
    let of = |at: &[(i64, Option<f64>, f64)]| {
        let mut run = Run::in_china();
        run.epoch(START, vec![register(station("ST-1"))], vec![]);
        let reports = at.iter().map(|(minute, total, power)| {
            let mut readings = vec![("heat_power", *power, Flag::Good, Change::New)];
            readings.extend(total.map(|total| ("heat_total", total, Flag::Good, Change::New)));
            report("ST-1", "", START + minute * MINUTE, &readings)
        });
        let reports = reports.collect();
        run.epoch(START + HOUR, vec![], reports);
        let facts = run.hour("ST-1", START);
        ((heat(&facts) * 1e3).round() / 1e3, facts.get(Component::HeatTime) / MINUTE)
    };
    let minutes = |total: &dyn Fn(i64) -> Option<f64>, power: &dyn Fn(i64) -> f64| {
        (0..=60).map(|minute| (minute, total(minute), power(minute))).collect::<Vec<_>>()
    };
    // The total is heard for five minutes, power for the hour: 0.3 GJ and 55 minutes of 1,000 kW.
    let first = minutes(&|m| (m <= 5).then_some(500.0 + 0.06 * m as f64), &|_| 1_000.0);
    assert_eq!(of(&first), (3.6, 60));
    // In the middle, with another power while the total says nothing.
    let middle = minutes(&|m| (m <= 20 || m >= 40).then_some(500.0 + 0.06 * (m % 20) as f64), &|m| {
        if (20..=40).contains(&m) { 500.0 } else { 1_000.0 }
    });
    assert_eq!(of(&middle).1, 60);
    // A meter is replaced by a higher one: what lies between two meters is not known, power is.
    let replaced = minutes(
        &|m| Some(if m <= 30 { 500.0 + 0.06 * m as f64 } else { 51_000.0 + 0.06 * m as f64 }),
        &|_| 1_000.0,
    );
    assert_eq!(of(&replaced), (3.6, 60));
    // No power: the counter alone, as far as it goes.
    let unpowered: Vec<_> = (0..=60).map(|m| (m, (m <= 5).then_some(500.0 + 0.06 * m as f64), 0.0)).collect();
    assert_eq!(of(&unpowered), (0.3, 60));
}
