//! Late, shuffled, corrected input against a batch computation over the final readings.

use proptest::prelude::*;

use super::*;

const SPAN: Millis = 5 * HOUR;

/// A report with when it arrives; revisions arrive after what they revise.
type Sent = (Millis, CheckedReport);
/// (facility, metric) -> time -> value, of usable readings only.
type Final = BTreeMap<(&'static str, &'static str), BTreeMap<Millis, f64>>;

const STATION: [&str; 6] =
    ["heat_power", "heat_total", "secondary_supply_temp", "secondary_flow", "outdoor_temp", "makeup_total"];

/// Readings of a station and a household, some lost, late, unusable, corrected or remarked.
fn history(seed: u64) -> (Vec<Sent>, Final, BTreeMap<&'static str, BTreeSet<Millis>>) {
    let mut dice = Dice(seed);
    let (mut sent, mut last, mut heard) = (Vec::new(), Final::new(), BTreeMap::<_, BTreeSet<_>>::new());
    for (code, device, interval, metrics) in
        [("ST-1", "", MINUTE, &STATION[..]), ("HH-1", "R-1", 10 * MINUTE, &["room_temp"][..])]
    {
        let mut meters = [900.0, 500.0];
        let mut at = START + dice.below(50) as Millis * 1_000;
        while at < START + SPAN {
            let silence = if dice.one_in(60) { dice.below(90) as Millis * MINUTE } else { 0 };
            at += interval + silence + if dice.one_in(9) { dice.below(3_000) as Millis } else { 0 };
            if at >= START + SPAN || dice.one_in(12) {
                continue;
            }
            let delay =
                if dice.one_in(5) { dice.below(170) as Millis * MINUTE } else { dice.below(9_000) as Millis };
            for (meter, up) in meters.iter_mut().zip([0.3, 0.05]) {
                let reset = dice.one_in(90);
                *meter =
                    if reset { 0.1 } else { ((*meter + up * dice.below(3) as f64) * 1e3_f64).round() / 1e3 };
            }
            let mut readings = Vec::new();
            for metric in metrics {
                if dice.one_in(15) {
                    continue;
                }
                let tenths = |low: f64, span: u64, dice: &mut Dice| low + dice.below(span) as f64 / 10.0;
                let value = match *metric {
                    "heat_power" => tenths(300.0, 5_000, &mut dice),
                    "heat_total" => meters[0],
                    "makeup_total" => meters[1],
                    "secondary_flow" => tenths(0.0, 900, &mut dice),
                    "outdoor_temp" => tenths(-25.0, 400, &mut dice),
                    "room_temp" => tenths(16.5, 90, &mut dice),
                    _ => tenths(35.0, 150, &mut dice),
                };
                let flag = if dice.one_in(20) { Flag::Fail } else { Flag::Good };
                readings.push((*metric, value, flag, Change::New));
            }
            if readings.is_empty() {
                continue;
            }
            heard.entry(code).or_default().insert(at);
            sent.push((at + delay, report(code, device, at, &readings)));
            let mut revise = Vec::new();
            for (metric, value, flag, _) in &mut readings {
                if dice.one_in(25) {
                    *flag = if *flag == Flag::Good { Flag::Suspect } else { Flag::Good };
                    revise.push((*metric, *value, *flag, Change::Remarked));
                } else if dice.one_in(40) {
                    *value += 1.0;
                    revise.push((*metric, *value, *flag, Change::Corrected));
                }
            }
            if !revise.is_empty() {
                let wait = dice.below(60) as Millis * MINUTE;
                sent.push((at + delay + wait, report(code, device, at, &revise)));
            }
            for (metric, value, flag, _) in readings {
                if flag.usable() {
                    last.entry((code, metric)).or_default().insert(at, value);
                }
            }
        }
    }
    (sent, last, heard)
}

fn profiles() -> Vec<ProfileChange> {
    vec![
        register(with_device(facility("HH-1", FacilityKind::Household, 90.0, vec![city()]), "R-1", 600)),
        register(facility("ST-1", FacilityKind::Station, 12_345.6, vec![city()])),
    ]
}

/// Runs what was sent in the order of arrival, in epochs of `step`, until long after the end.
fn run(sent: Vec<Sent>, step: Millis) -> Run {
    run_by(Calendar::default(), sent, step)
}

fn run_by(calendar: Calendar, mut sent: Vec<Sent>, step: Millis) -> Run {
    sent.sort_by_key(|(arrives, _)| *arrives);
    let mut run = Run::new(calendar);
    run.epoch(START, profiles(), vec![]);
    let (mut clock, mut sent) = (START, sent.into_iter().peekable());
    while sent.peek().is_some() || clock < START + SPAN {
        clock += step;
        let mut due = Vec::new();
        while let Some((_, report)) = sent.next_if(|(arrives, _)| *arrives <= clock) {
            due.push(report);
        }
        run.epoch(clock, vec![], due);
        assert_eq!(run.last.as_ref().unwrap().too_late, TooLate::default());
    }
    // To a fixed end, so that the same hours are over in every run.
    run.epoch(START + SPAN + 5 * HOUR + 50 * MINUTE, vec![], vec![]);
    run
}

/// ∫ of the straight lines between points at most `gap` apart within an hour, and the time they cover, in unit·ms.
fn integral(points: &BTreeMap<Millis, f64>, gap: Millis, hour: Millis) -> (f64, f64) {
    let list: Vec<(Millis, f64)> = points.iter().map(|(t, v)| (*t, *v)).collect();
    let (mut area, mut time) = (0.0, 0.0);
    for pair in list.windows(2) {
        let ((t0, v0), (t1, v1)) = (pair[0], pair[1]);
        let (from, to) = (t0.max(hour) as f64, t1.min(hour + HOUR) as f64);
        if from < to && t1 - t0 <= gap {
            let at = |t: f64| v0 + (v1 - v0) * (t - t0 as f64) / (t1 - t0) as f64;
            area += (at(from) + at(to)) / 2.0 * (to - from);
            time += to - from;
        }
    }
    (area, time)
}

/// What a counter of the station went up between two values, when it can have: 12,345.6 m² take 1.5 kW/m² at most, and a
/// display that counts whole units may step at any moment. A fall is a restart from 0.
fn up((t0, v0): (Millis, f64), (t1, v1): (Millis, f64), per_minute: f64) -> Option<f64> {
    let up = if v1 >= v0 { v1 - v0 } else { v1 };
    (up >= 0.0 && up <= 1.0 + per_minute * (t1 - t0) as f64 / 60_000.0).then_some(up)
}

const HEAT_PER_MINUTE: f64 = 12_345.6 * 1.5 * 60e-6;

/// Sum of increments within an hour.
fn counted(points: &BTreeMap<Millis, f64>, per_minute: f64, hour: Millis) -> f64 {
    let list: Vec<(Millis, f64)> = points.iter().map(|(t, v)| (*t, *v)).collect();
    list.windows(2)
        .map(|pair| {
            let overlap = (pair[1].0.min(hour + HOUR) - pair[0].0.max(hour)).max(0) as f64;
            up(pair[0], pair[1], per_minute).unwrap_or(0.0) * overlap / (pair[1].0 - pair[0].0) as f64
        })
        .sum()
}

/// The integral of power over the stretches of an hour in which the counter says nothing, and their length: between any
/// two moments at which something was measured either says the same throughout.
fn uncounted(power: &BTreeMap<Millis, f64>, meter: &BTreeMap<Millis, f64>, hour: Millis) -> (f64, f64) {
    let mut moments: BTreeSet<Millis> = [hour, hour + HOUR].into();
    moments.extend(power.range(hour..hour + HOUR).chain(meter.range(hour..hour + HOUR)).map(|(t, _)| *t));
    let moments: Vec<Millis> = moments.into_iter().collect();
    let around = |points: &BTreeMap<Millis, f64>, from: Millis, to: Millis| {
        let before = points.range(..=from).next_back().map(|(t, v)| (*t, *v));
        before.zip(points.range(to..).next().map(|(t, v)| (*t, *v)))
    };
    let (mut area, mut time) = (0.0, 0.0);
    for pair in moments.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let known = around(meter, from, to).is_some_and(|(a, b)| up(a, b, HEAT_PER_MINUTE).is_some());
        if let Some(((t0, v0), (t1, v1))) = around(power, from, to)
            && !known
            && t1 - t0 <= 150_000
        {
            let middle = (from + to) as f64 / 2.0 - t0 as f64;
            area += (v0 + (v1 - v0) * middle / (t1 - t0) as f64) * (to - from) as f64;
            time += (to - from) as f64;
        }
    }
    (area, time)
}

fn near(what: &str, hour: Millis, got: i64, want: f64, tolerance: f64) {
    assert!(
        (got as f64 - want).abs() <= tolerance,
        "{what} of hour {}: {got}, not {want}",
        (hour - START) / HOUR
    );
}

fn agrees(run: &Run, last: &Final, heard: &BTreeMap<&'static str, BTreeSet<Millis>>) {
    let empty = BTreeMap::new();
    let series = |code, metric| last.get(&(code, metric)).unwrap_or(&empty);
    let gap = 150_000;
    for hour in (0..SPAN / HOUR).map(|n| START + n * HOUR) {
        let facts = run.hour("ST-1", hour);
        let get = |component| facts.get(component);
        let rough = 100.0;
        let (power, power_time) = integral(series("ST-1", "heat_power"), gap, hour);
        near("power", hour, get(Component::HeatPower), power, rough);
        near("power time", hour, get(Component::HeatPowerTime), power_time, 0.0);
        let meter = counted(series("ST-1", "heat_total"), HEAT_PER_MINUTE, hour) * 1e9;
        near("heat", hour, get(Component::HeatCounter), meter, rough);
        let (rest, rest_time) = uncounted(series("ST-1", "heat_power"), series("ST-1", "heat_total"), hour);
        near("heat of both", hour, get(Component::Heat), meter + rest, 2.0 * rough);
        let time = get(Component::HeatCounterTime) as f64 + rest_time;
        near("time of both", hour, get(Component::HeatTime), time, 0.0);
        near(
            "make-up",
            hour,
            get(Component::Makeup),
            counted(series("ST-1", "makeup_total"), 20.0, hour) * 1e6,
            rough,
        );
        let (outdoor, outdoor_time) = integral(series("ST-1", "outdoor_temp"), gap, hour);
        near("outdoor", hour, get(Component::Outdoor), outdoor, rough);
        near("outdoor time", hour, get(Component::OutdoorTime), outdoor_time, 0.0);
        let flows = series("ST-1", "secondary_flow");
        let both = series("ST-1", "secondary_supply_temp")
            .iter()
            .filter_map(|(t, v)| Some((*t, (*v, *flows.get(t)?))));
        let both: Vec<(Millis, (f64, f64))> = both.collect();
        let weights = both.iter().map(|(t, (_, w))| (*t, *w)).collect();
        let products = both.iter().map(|(t, (v, w))| (*t, v * w)).collect();
        near("weight", hour, get(Component::SecondarySupplyFlow), integral(&weights, gap, hour).0, rough);
        near(
            "product",
            hour,
            get(Component::SecondarySupplyProduct),
            integral(&products, gap, hour).0,
            rough,
        );
        for (code, interval) in [("ST-1", MINUTE), ("HH-1", 10 * MINUTE)] {
            let facts = run.hour(code, hour);
            let times = &heard[code];
            let beats = times.iter().map(|t| (*t, 1.0)).collect();
            let (_, online) = integral(&beats, interval * 5 / 2, hour);
            near("online", hour, facts.get(Component::Online), online, 0.0);
            near(
                "received",
                hour,
                facts.get(Component::ReportsReceived),
                times.range(hour..hour + HOUR).count() as f64,
                0.0,
            );
            near("expected", hour, facts.get(Component::ReportsExpected), (HOUR / interval) as f64, 0.0);
        }
        let facts = run.hour("HH-1", hour);
        let (room, time) = integral(series("HH-1", "room_temp"), 25 * MINUTE, hour);
        near("room", hour, facts.get(Component::Room), room, rough);
        near("room time", hour, facts.get(Component::RoomTime), time, 0.0);
        // The straight lines sampled every second.
        let above: f64 =
            (0..3_600).map(|s| sample(series("HH-1", "room_temp"), hour + s * 1_000 + 500)).sum();
        near("compliant", hour, facts.get(Component::RoomCompliant), above * 1e3, 30_000.0);
    }
}

/// 1 where the straight line is at or above 18 °C.
fn sample(points: &BTreeMap<Millis, f64>, at: Millis) -> f64 {
    let before = points.range(..=at).next_back();
    let after = points.range(at + 1..).next();
    let Some(((t0, v0), (t1, v1))) = before.zip(after) else { return 0.0 };
    let value = v0 + (v1 - v0) * (at - t0) as f64 / (t1 - t0) as f64;
    f64::from(t1 - t0 <= 25 * MINUTE && value >= 18.0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn late_and_corrected_input_gives_the_facts_of_the_batch(seed in any::<u64>()) {
        let (sent, last, heard) = history(seed);
        // The same in the order of observation, revisions at once; and all of it in two large epochs.
        let in_order: Vec<Sent> = sent.iter().map(|(_, report)| (report.observed_at, report.clone())).collect();
        let late = run(sent.clone(), 7 * MINUTE);
        agrees(&late, &last, &heard);
        for other in [run(in_order, 11 * MINUTE), run(sent.clone(), 5 * HOUR)] {
            for (key, facts) in &late.facilities {
                prop_assert_eq!(facts, &other.facilities[key], "{:?}", key);
            }
            let closed = other.last.as_ref().unwrap().horizon;
            for (key, facts) in late.scopes.iter().filter(|(key, _)| !closed.is_closed(key.1, key.2)) {
                prop_assert_eq!(facts, &other.scopes[key], "{:?}", key);
            }
        }
        // Hours that are sealed before most of what is late has come.
        let zone = TimeZone::fixed(jiff::tz::offset(8));
        let cold = run_by(Calendar::new(zone, HOUR, 0).with_day_lateness(DAY), sent, 7 * MINUTE);
        prop_assert_eq!(&cold.facilities, &late.facilities);
        let of_days = |run: &Run| {
            let days = run.scopes.iter().filter(|((_, period, _), _)| *period == Period::Day);
            days.map(|(key, facts)| (key.clone(), facts.clone())).collect::<Vec<_>>()
        };
        prop_assert_eq!(of_days(&cold), of_days(&late));
        // A scope is the sum of its facilities, a day that of its hours.
        let day = START - 8 * HOUR;
        for (period, start) in [(Period::Hour, START + 4 * HOUR), (Period::Day, day)] {
            let mut sum = Facts::new();
            for (code, role) in [("ST-1", Role::Station), ("HH-1", Role::Rooms)] {
                let key = (Code::from(code), period, start);
                sum.add_all(&late.facilities[&key].only(role.rolls_up()), 1);
            }
            prop_assert_eq!(&sum, &late.scope(&city(), period, start));
        }
        let hours: i64 = (0..24).map(|n| late.hour("ST-1", day + n * HOUR).get(Component::Heat)).sum();
        prop_assert_eq!(hours, late.day("ST-1", day).get(Component::Heat));
    }
}
