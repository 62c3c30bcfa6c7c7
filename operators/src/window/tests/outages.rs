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
        assert_eq!(run.hour("ST-1", hour), run.hour("ST-2", hour), "{}", hour);
    }
    let (one, other) = (run.day("ST-1", DAY_START), run.day("ST-2", DAY_START));
    assert_eq!(one, other);
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

/// What is counted in a closed day belongs to the day in which the meter was read again: to no hour of it, and to the month.
#[test]
fn what_is_counted_in_a_closed_day_belongs_to_the_day_of_the_reading() {
    let mut run = Run::new(Calendar::new(TimeZone::fixed(jiff::tz::offset(8)), 2 * HOUR, 0));
    run.epoch(DAY_START, vec![register(station("ST-1"))], vec![]);
    through(&mut run, 1..=20, |hour| counted("ST-1", (hour - 1) * 60..hour * 60));
    through(&mut run, 21..=32, |_| vec![]);
    through(&mut run, 33..=49, |hour| counted("ST-1", (hour - 1) * 60..hour * 60));
    assert_eq!([0, 1].map(|day| heat(&run.day("ST-1", DAY_START + day * 24 * HOUR))), [119.9, 168.1]);
    let hours: f64 = (24..48).map(|hour| heat(&run.hour("ST-1", DAY_START + hour * HOUR))).sum();
    assert!((hours - 144.0).abs() < 1e-6, "{hours}");
    let day = run.day("ST-1", DAY_START + 24 * HOUR);
    assert_eq!(day.get(Component::HeatTime), 24 * HOUR, "time of another day covers nothing of this one");
}

/// The meter goes on while its station is silent from an hour on for so many, and no reading is kept.
#[rstest::rstest]
#[case::three_hours(8, 3, &[144.0, 144.0, 144.0, 144.0])]
#[case::eight_hours(8, 8, &[144.0, 144.0, 144.0, 144.0])]
#[case::eight_hours_over_midnight(20, 8, &[144.0, 144.0, 144.0, 144.0])]
#[case::two_days(24, 48, &[143.9, 0.0, 288.1, 144.0])]
#[case::two_days_from_noon_on(12, 48, &[71.9, 144.0, 216.1, 144.0])]
#[case::two_days_from_the_evening_on(20, 48, &[119.9, 0.0, 312.1, 144.0])]
#[case::three_days(6, 70, &[35.9, 0.0, 144.0, 396.1])]
fn the_days_of_an_outage_are_what_the_meter_counted(
    #[case] from: i64,
    #[case] silent: i64,
    #[case] days: &[f64],
    #[values(1, 5)] step: i64,
) {
    let mut run = Run::in_china();
    run.epoch(DAY_START, vec![register(station("ST-1"))], vec![]);
    let mut of_city = BTreeMap::new();
    let until = 24 * days.len() as i64 + 2 + step;
    for hour in (1..).map(|n| n * step).take_while(|hour| *hour < until) {
        let minutes = (hour - step) * 60..hour * 60;
        let heard = minutes.filter(|minute| !(from * 60..(from + silent) * 60).contains(minute));
        run.epoch(DAY_START + hour * HOUR, vec![], counted("ST-1", heard));
        for ((scope, period, start), facts) in &run.scopes {
            if *period == Period::Day && *scope == city() {
                of_city.insert(*start, heat(facts));
            }
        }
    }
    let starts = (0..days.len() as i64).map(|day| DAY_START + day * 24 * HOUR);
    let near = |found: Vec<f64>| found.iter().zip(days).all(|(found, want)| (found - want).abs() < 1e-6);
    let found: Vec<f64> = starts.clone().map(|day| heat(&run.day("ST-1", day))).collect();
    assert!((found.iter().sum::<f64>() - 144.0 * days.len() as f64).abs() < 1e-6, "{found:?}");
    assert!(near(found.clone()), "{found:?}");
    let of_city: Vec<f64> = starts.map(|day| of_city.get(&day).copied().unwrap_or(0.0)).collect();
    assert!(near(of_city.clone()), "{of_city:?}");
}

/// A counter that fails alone leaves the heat to power, which the days show while it fails.
#[test]
fn power_stands_where_it_was_measured_while_a_counter_was_silent_for_days() {
    let mut run = Run::in_china();
    run.epoch(DAY_START, vec![register(station("ST-1"))], vec![]);
    through(&mut run, 1..=98, |hour| {
        let minutes = (hour - 1) * 60..hour * 60;
        let power = minutes.clone().map(|m| good("ST-1", DAY_START + m * MINUTE, "heat_power", 1_500.0));
        let heard = minutes.filter(|minute| !(600..600 + 60 * 60).contains(minute));
        let meter = heard.map(|m| {
            let total = (10_000 + m) as f64 / 10.0;
            report("ST-1", "", DAY_START + m * MINUTE, &[("heat_total", total, Flag::Good, Change::New)])
        });
        power.chain(meter).collect()
    });
    let days: Vec<f64> = (0..4).map(|day| heat(&run.day("ST-1", DAY_START + day * 24 * HOUR))).collect();
    // 1,500 kW are 0.09 GJ a minute.
    for (found, want) in days.iter().zip([59.9 + 841.0 * 0.09, 1440.0 * 0.09, 144.0, 144.0]) {
        assert!((found - want).abs() < 0.02, "{days:?}, not {want}");
    }
}

/// However its data come, a facility has the hours in memory that are open for the scopes, and those that late data needed.
#[test]
fn closed_hours_are_sealed_and_thawed() {
    let mut run = Run::in_china();
    run.epoch(DAY_START, vec![register(station("ST-1")), register(station("ST-2"))], vec![]);
    let minutes = |hour: i64| (hour - 1) * 60..hour * 60;
    let both = |hour| [counted("ST-1", minutes(hour)), counted("ST-2", minutes(hour))].concat();
    through(&mut run, 1..=10, both);
    through(&mut run, 11..=11, |hour| counted("ST-2", minutes(hour)));
    through(&mut run, 12..=40, both);
    let hours = |run: &Run| run.window.sites.iter().map(|(.., site)| site.hours.len()).collect::<Vec<_>>();
    assert!(hours(&run).iter().all(|hours| *hours <= 8), "{:?}", hours(&run));
    run.epoch(DAY_START + 40 * HOUR, vec![], counted("ST-1", 600..660));
    assert_eq!(run.last.as_ref().unwrap().too_late, TooLate::default());
    let (one, two) = (hours(&run)[0], hours(&run)[1]);
    assert!(one > 24 && two <= 8, "{one} and {two} hours");
    through(&mut run, 41..=42, both);
    assert!(hours(&run).iter().all(|hours| *hours <= 8), "{:?}", hours(&run));
    for hour in (0..42).map(|hour| DAY_START + hour * HOUR) {
        assert_eq!(run.hour("ST-1", hour), run.hour("ST-2", hour), "{hour}");
    }
    assert_eq!(run.day("ST-1", DAY_START), run.day("ST-2", DAY_START));
    assert_eq!(heat(&run.scope(&city(), Period::Day, DAY_START)), 288.0);
    // Yesterday is closed when a day more is over.
    run.until(DAY_START + 49 * HOUR);
    let closed = counted("ST-1", 600..603);
    assert_eq!(run.epoch(DAY_START + 49 * HOUR, vec![], closed).too_late.readings(), 3);
}

/// All that was sealed is lost, or one hour of it behind the late data: what would need it is too late, and told.
#[rstest::rstest]
#[case::all(0..20)]
#[case::between(11..12)]
fn what_is_lost_is_not_made_up(#[case] lost: std::ops::Range<usize>) {
    let mut run = Run::in_china();
    let tier = MemoryTier::shared();
    run.window = run.window.with_cold(tier.clone());
    run.epoch(DAY_START, vec![register(station("ST-1"))], vec![]);
    let minutes = |hour: i64| counted("ST-1", (hour - 1) * 60..hour * 60);
    through(&mut run, 1..=10, minutes);
    through(&mut run, 11..=11, |_| vec![]);
    through(&mut run, 12..=20, minutes);
    let told = run.facilities.clone();
    run.window = run.window.with_cold(tier.without(lost));
    for hour in 21..=22 {
        let late = counted("ST-1", (hour - 21) * 2 + 600..(hour - 21) * 2 + 602);
        run.epoch(DAY_START + hour * HOUR, vec![], late);
        assert_eq!(run.last.as_ref().unwrap().too_late.readings(), 2);
    }
    let closed = |key: &(Code, Period, Millis)| key.1 == Period::Hour && key.2 < DAY_START + 12 * HOUR;
    for (key, facts) in told.iter().filter(|(key, _)| closed(key)) {
        assert_eq!(run.facilities.get(key), Some(facts), "{key:?}");
    }
    assert_eq!(tier.failure(), None);
}

/// What the registry changes holds for every hour of an open day, also where it is sealed.
#[test]
fn a_changed_area_is_that_of_every_open_hour() {
    let mut run = Run::in_china();
    run.epoch(DAY_START, vec![register(station("ST-1"))], vec![]);
    through(&mut run, 1..=20, |hour| counted("ST-1", (hour - 1) * 60..hour * 60));
    let larger = facility("ST-1", FacilityKind::Station, 20_000.0, vec![city()]);
    run.epoch(DAY_START + 20 * HOUR, vec![register(larger)], vec![]);
    let areas: Vec<_> = (0..20).map(|hour| run.hour("ST-1", DAY_START + hour * HOUR)).collect();
    assert!(areas.iter().all(|hour| hour.get(Component::HeatArea) == 2_000_000), "{areas:?}");
    run.until(DAY_START + 22 * HOUR);
    assert_eq!(run.window.sites.iter().next().unwrap().2.hours.len(), 7);
}

/// What a facility sealed is gone with it: who comes again under its code begins anew.
#[test]
fn a_facility_that_left_leaves_nothing_behind() {
    let mut run = Run::in_china();
    run.epoch(DAY_START, vec![register(station("ST-1"))], vec![]);
    through(&mut run, 1..=20, |hour| counted("ST-1", (hour - 1) * 60..hour * 60));
    let leaves = ProfileChange { facility: Code::from("ST-1"), profile: None };
    run.epoch(DAY_START + 20 * HOUR, vec![leaves], vec![]);
    run.facilities.clear();
    run.epoch(DAY_START + 20 * HOUR, vec![register(station("ST-1"))], counted("ST-1", 300..303));
    assert_eq!(run.hour("ST-1", DAY_START + 5 * HOUR).get(Component::ReportsReceived), 3);
    through(&mut run, 21..=40, |hour| counted("ST-1", (hour - 1) * 60..hour * 60));
    run.epoch(DAY_START + 40 * HOUR, vec![], counted("ST-1", 303..304));
    assert_eq!(run.hour("ST-1", DAY_START + 5 * HOUR).get(Component::ReportsReceived), 4);
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

/// Facts without what tells how they came about: of windows, and of hours given to models.
type Said = BTreeMap<(String, Scope, Period, Millis), Facts>;

/// What is said last of six days, when an epoch lasts so long: a counter is silent for 4 h, shorter than hours stay open,
/// and a power for 31 h.
fn in_epochs_of(minutes: i64) -> Said {
    let mut run = Run::in_china();
    let end = 6 * 24 * 60;
    let mut profiles = vec![register(station("ST-1")), register(station("ST-2"))];
    let silent = |code: &str, minute: &i64| match code {
        "ST-1" => (700..940).contains(minute),
        _ => (3_000..3_000 + 31 * 60).contains(minute),
    };
    let mut said = Said::new();
    let mut epoch = |from: i64, until: i64| {
        let heard = |code: &'static str| {
            let minutes = from.min(end)..until.min(end);
            minutes.filter(move |minute| minute % 2 == 0 && !silent(code, minute))
        };
        let power =
            heard("ST-2").map(|minute| good("ST-2", DAY_START + minute * MINUTE, "heat_power", 1_000.0));
        let reports = counted("ST-1", heard("ST-1")).into_iter().chain(power).collect();
        let told = run.epoch(DAY_START + until * MINUTE, std::mem::take(&mut profiles), reports).clone();
        assert_eq!(told.too_late.readings(), 0);
        for hour in &told.hours {
            let scope = Scope { kind: ScopeKind::Facility, code: hour.facility.clone() };
            said.insert(("model".to_owned(), scope, Period::Hour, hour.hour), hour.facts.clone());
        }
        for told in &told.facility {
            let key = ("window".to_owned(), told.scope.clone(), told.period, told.window_start);
            said.insert(key, told.after.clone());
        }
        for ((scope, period, start), _) in &told.contributions {
            if !told.horizon.is_closed(*period, *start) {
                let facts = run.scope(scope, *period, *start);
                said.insert(("scope".to_owned(), scope.clone(), *period, *start), facts);
            }
        }
        told.clock
    };
    for n in 0..end / minutes {
        epoch(n * minutes, (n + 1) * minutes);
    }
    let last = end + 3 * 24 * 60;
    while epoch(end, last) < DAY_START + last * MINUTE {}
    said
}

#[test]
fn an_epoch_of_a_day_says_what_its_minutes_say() {
    let minutes = in_epochs_of(1);
    let hours = |kind: &str| minutes.keys().filter(|key| key.0 == kind && key.2 == Period::Hour).count();
    assert_eq!(["window", "scope", "model"].map(hours), [2 * 9 * 24, 9 * 24, 2 * 9 * 24 - 2]);
    for longer in [24 * 60, 30] {
        let said = in_epochs_of(longer);
        for (key, facts) in &minutes {
            assert_eq!(said.get(key), Some(facts), "epochs of {longer} minutes: {key:?}");
        }
        assert_eq!(said.len(), minutes.len());
    }
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
