//! KPIs of one station by their definitions, in one pass over everything it ever measured.
//!
//! Enters: every stored reading of the station. Leaves: values that are not rounded, per hour and day. Nothing is shared
//! with the dataflow but the definitions: between two usable values a gauge runs straight unless the gap is longer than
//! two and a half intervals; a counter's increment is spread evenly over the time between two values, and a fall is a
//! restart from zero where the new value can have been reached since; what of an increment lies before the day that was
//! under way `dated` before its end belongs to no hour, but to the day in which it ends; a mean temperature is weighted by the flow that was
//! measured at the same moments, where there is any.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, ToSpan, tz::TimeZone};

const HOUR: i64 = 3_600_000;
/// Heat that no square metre needs in a minute, GJ: 1.5 kW.
const HEAT_PER_AREA_MINUTE: f64 = 90e-6;
/// Meters that count whole GJ go up by one at any moment.
const WHOLE_UNIT: f64 = 1.0;
/// Indoor temperature of degree-days, °C.
const BASE_TEMP: f64 = 18.0;

/// One stored reading.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// When it was measured, ms.
    pub at: i64,
    /// The value in the unit of the metric.
    pub value: f64,
    /// Flag 1 or 2.
    pub usable: bool,
}

/// What a station measured: readings by metric, in the order of time.
pub type Measured = BTreeMap<&'static str, Vec<Reading>>;

/// How a station reports, and in which zone its days are.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Time between two reports, ms.
    pub interval: i64,
    /// Heated area, m²: what its meter can have counted follows from it.
    pub area: f64,
    /// How far back an increment is dated to its hours, ms: 18 h of the default lateness.
    pub dated: i64,
    /// Zone of its days.
    pub zone: TimeZone,
}

/// A KPI of a window: code, `hour` or `day`, start.
pub type Key = (&'static str, &'static str, i64);

/// A value that is not rounded, and the share of the window behind it where the definition has one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value {
    /// The value, not rounded.
    pub value: f64,
    /// The share of the window behind it.
    pub coverage: Option<f64>,
}

/// An amount and the time behind it, ms.
type Amount = (f64, i64);

/// The KPIs of every window that has data.
pub fn kpis(measured: &Measured, terms: &Terms) -> BTreeMap<Key, Value> {
    let of = |metric| usable(measured.get(metric).map_or(&[], Vec::as_slice));
    let gap = terms.interval * 5 / 2;
    let (heat, undated) = heated(&of("heat_total"), &of("heat_power"), terms);
    let mut out = BTreeMap::new();
    for (period, start, length, window) in windows(&heat, &terms.zone) {
        let sum = window.iter().fold((0.0, 0), |(a, t), (amount, time)| (a + amount, t + time));
        let of_day = if period == "day" { undated.get(&start).copied().unwrap_or(0.0) } else { 0.0 };
        if sum.1 > 0 {
            let coverage = Some(sum.1 as f64 / length as f64);
            out.insert(("heat_supplied", period, start), Value { value: sum.0 + of_day, coverage });
        }
    }
    let mean = |(integral, time): Amount| integral / time as f64;
    // From the hour in which it was first measured every hour counts, measured or not.
    let first = measured.get("outdoor_temp").and_then(|readings| readings.first());
    let first = first.map_or(0, |reading| reading.at - reading.at.rem_euclid(HOUR));
    for (period, start, length, window) in windows(&integrated(&of("outdoor_temp"), gap), &terms.zone) {
        let sum = window.iter().fold((0.0, 0), |(a, t), (amount, time)| (a + amount, t + time));
        let span = (start + length - start.max(first)) as f64;
        if sum.1 > 0 {
            let value = (BASE_TEMP - mean(sum)).max(0.0) * span / (24 * HOUR) as f64;
            let coverage = Some(sum.1 as f64 / span);
            out.insert(("degree_days", period, start), Value { value, coverage });
        }
    }
    for (kpi, metric) in [
        ("secondary_supply_temp_mean", "secondary_supply_temp"),
        ("secondary_return_temp_mean", "secondary_return_temp"),
    ] {
        out.extend(
            weighed(&of(metric), &of("secondary_flow"), terms)
                .into_iter()
                .map(|((p, s), v)| ((kpi, p, s), v)),
        );
    }
    out.extend(completeness(measured, terms));
    out
}

/// Heat per hour, and per day beyond its hours, GJ: by the counter, and by power where its increment is not known, or where
/// it stands still though power would have carried it on by more than two of the steps that it shows.
fn heated(
    counter: &[(i64, f64)],
    power: &[(i64, f64)],
    terms: &Terms,
) -> (BTreeMap<i64, Amount>, BTreeMap<i64, f64>) {
    let gap = terms.interval * 5 / 2;
    let (mut heat, undated) = counted(counter, power, terms);
    // kW times ms are J; GJ are a thousand million of them.
    let gigajoules = |(integral, time): Amount| (integral / 1e9, time);
    let known = |pair: &&[(i64, f64)]| increment((pair[0], pair[1]), terms.area).is_some();
    let known: Vec<_> = counter.windows(2).filter(known).map(|pair| (pair[0].0, pair[1].0)).collect();
    for (hour, whole) in integrated(power, gap) {
        let whole = gigajoules(whole);
        match heat.get(&hour) {
            Some((amount, _)) if *amount == 0.0 && whole.0 > 2.0 * step(counter, hour) => {}
            Some((_, time)) if *time >= HOUR => continue,
            Some((amount, time)) => {
                let (more, longer) = gigajoules(alone(power, &known, gap, hour));
                heat.insert(hour, (amount + more, time + longer));
                continue;
            }
            None => {}
        }
        heat.insert(hour, whole);
    }
    (heat, undated)
}

/// In which steps a meter counts, by the decimals of what it shows at the end of an hour, GJ.
fn step(counter: &[(i64, f64)], hour: i64) -> f64 {
    let (_, shown) = counter[counter.partition_point(|(at, _)| *at < hour + HOUR) - 1];
    let fits = |step: f64| (shown / step).fract().min(1.0 - (shown / step).fract()) < 1e-6;
    [1.0, 0.1, 0.01].into_iter().find(|step| fits(*step)).unwrap_or(0.001)
}

/// The integral of power over an hour without the stretches that are known otherwise, and how long that is.
fn alone(power: &[(i64, f64)], known: &[(i64, i64)], gap: i64, hour: i64) -> Amount {
    let mut alone = (0.0, 0);
    let first = power.partition_point(|(at, _)| *at < hour).saturating_sub(1);
    let pairs = power[first..].windows(2).take_while(|pair| pair[0].0 < hour + HOUR);
    for pair in pairs.filter(|pair| pair[1].0 - pair[0].0 <= gap) {
        let [(a, start), (b, end)] = [pair[0], pair[1]];
        let at = |time: i64| start + (end - start) * (time - a) as f64 / (b - a) as f64;
        for (from, to) in without(known, a.max(hour), b.min(hour + HOUR)) {
            alone.0 += (at(from) + at(to)) / 2.0 * (to - from) as f64;
            alone.1 += to - from;
        }
    }
    alone
}

/// What is left of a stretch when others, in order, are taken out.
fn without(others: &[(i64, i64)], mut from: i64, to: i64) -> Vec<(i64, i64)> {
    let mut left = Vec::new();
    let first = others.partition_point(|(_, end)| *end <= from);
    for (start, end) in others[first..].iter().take_while(|(start, _)| *start < to) {
        if *start > from {
            left.push((from, *start));
        }
        from = *end;
    }
    if from < to {
        left.push((from, to));
    }
    left
}

/// The mean of a temperature per window: weighted by the flow that was measured with it, over time where there is none.
fn weighed(
    temperature: &[(i64, f64)],
    flow: &[(i64, f64)],
    terms: &Terms,
) -> BTreeMap<(&'static str, i64), Value> {
    let gap = terms.interval * 5 / 2;
    let flow: BTreeMap<i64, f64> = flow.iter().copied().collect();
    let both: Vec<(i64, f64, f64)> =
        temperature.iter().filter_map(|(at, value)| Some((*at, *flow.get(at)?, *value))).collect();
    let weight: Vec<_> = both.iter().map(|(at, flow, _)| (*at, *flow)).collect();
    let product: Vec<_> = both.iter().map(|(at, flow, value)| (*at, flow * value)).collect();
    let (weight, product) = (integrated(&weight, gap), integrated(&product, gap));
    let of = |hours: &BTreeMap<i64, Amount>, hour| hours.get(&hour).map_or(0.0, |amount| amount.0);
    let hours: BTreeMap<i64, (Amount, f64, f64)> = integrated(temperature, gap)
        .into_iter()
        .map(|(hour, amount)| (hour, (amount, of(&weight, hour), of(&product, hour))))
        .collect();
    let mut means = BTreeMap::new();
    for (period, start, length, window) in windows(&hours, &terms.zone) {
        let (mut integral, mut time, mut weight, mut product) = (0.0, 0, 0.0, 0.0);
        for ((of_hour, time_of_hour), weight_of_hour, product_of_hour) in window {
            integral += of_hour;
            time += time_of_hour;
            weight += weight_of_hour;
            product += product_of_hour;
        }
        let value = if weight == 0.0 { integral / time as f64 } else { product / weight };
        if time > 0 {
            let coverage = Some(time as f64 / length as f64);
            means.insert((period, start), Value { value, coverage });
        }
    }
    means
}

/// k = (expected − missing − invalid) / expected, in %.
fn completeness(measured: &Measured, terms: &Terms) -> BTreeMap<Key, Value> {
    #[derive(Default)]
    struct Hour {
        reports: BTreeSet<i64>,
        readings: usize,
        valid: usize,
        lacking: usize,
    }
    let expected = ((HOUR + terms.interval / 2) / terms.interval) as usize;
    let mut hours: BTreeMap<i64, Hour> = BTreeMap::new();
    for reading in measured.values().flatten() {
        let hour = hours.entry(hour_of(reading.at)).or_default();
        hour.reports.insert(reading.at);
        hour.readings += 1;
        hour.valid += usize::from(reading.usable);
    }
    for readings in measured.values() {
        let heard: BTreeSet<i64> = readings.iter().map(|reading| hour_of(reading.at)).collect();
        for (start, hour) in hours.iter_mut().filter(|(start, _)| !heard.contains(*start)) {
            // Missed for a week after two hours running in which it was there.
            let last = heard.range(..*start).next_back();
            let missed =
                last.is_some_and(|last| start - last <= 168 * HOUR && heard.contains(&(last - HOUR)));
            hour.lacking += if missed { hour.reports.len() } else { 0 };
        }
    }
    let mut out = BTreeMap::new();
    for (period, start, length, window) in windows(&hours, &terms.zone) {
        let counted: usize = window.iter().map(|hour| hour.reports.len().min(expected)).sum();
        let readings: usize = window.iter().map(|hour| hour.readings + hour.lacking).sum();
        let valid: usize = window.iter().map(|hour| hour.valid).sum();
        let reported = counted as f64 / (expected as i64 * length / HOUR) as f64;
        let value = 100.0 * reported * valid as f64 / readings as f64;
        out.insert(("completeness", period, start), Value { value, coverage: Some(reported) });
    }
    out
}

/// Every hour by itself, and the hours of every day: (period, start, length, contents).
fn windows<'a, T>(hours: &'a BTreeMap<i64, T>, zone: &TimeZone) -> Vec<(&'static str, i64, i64, Vec<&'a T>)> {
    let mut windows: Vec<_> = hours.iter().map(|(start, hour)| ("hour", *start, HOUR, vec![hour])).collect();
    let mut days: BTreeMap<(i64, i64), Vec<&T>> = BTreeMap::new();
    for (start, hour) in hours {
        days.entry(day_of(*start, zone)).or_default().push(hour);
    }
    windows.extend(days.into_iter().map(|((start, end), hours)| ("day", start, end - start, hours)));
    windows
}

fn usable(readings: &[Reading]) -> Vec<(i64, f64)> {
    readings.iter().filter(|reading| reading.usable).map(|reading| (reading.at, reading.value)).collect()
}

/// The integral of a gauge per hour, in its unit times ms.
fn integrated(points: &[(i64, f64)], gap: i64) -> BTreeMap<i64, Amount> {
    let mut hours: BTreeMap<i64, Amount> = BTreeMap::new();
    for pair in points.windows(2) {
        let [(a, first), (b, second)] = [pair[0], pair[1]];
        if b - a > gap {
            continue;
        }
        let at = |time: i64| first + (second - first) * (time - a) as f64 / (b - a) as f64;
        for (hour, from, to) in cut(a, b) {
            let (integral, time) = hours.entry(hour).or_default();
            *integral += (at(from) + at(to)) / 2.0 * (to - from) as f64;
            *time += to - from;
        }
    }
    hours
}

/// What a counter went up per hour, and per day beyond its hours, in its unit. Where power was measured meanwhile, what is
/// beyond the hours has been told by it.
fn counted(
    points: &[(i64, f64)],
    power: &[(i64, f64)],
    terms: &Terms,
) -> (BTreeMap<i64, Amount>, BTreeMap<i64, f64>) {
    let gap = terms.interval * 5 / 2;
    let mut hours: BTreeMap<i64, Amount> = BTreeMap::new();
    let mut days: BTreeMap<i64, f64> = BTreeMap::new();
    for pair in points.windows(2) {
        let [(a, _), (b, _)] = [pair[0], pair[1]];
        let Some(increment) = increment((pair[0], pair[1]), terms.area) else { continue };
        let share = |from: i64, to: i64| increment * (to - from) as f64 / (b - a) as f64;
        let first = if b - terms.dated <= a { a } else { first_hour(b - terms.dated, &terms.zone).max(a) };
        let powered = power.get(power.partition_point(|(at, _)| *at <= a + gap));
        if powered.is_none_or(|(at, _)| *at >= first) {
            *days.entry(day_of(hour_of(b - 1), &terms.zone).0).or_default() += share(a, first);
        }
        for (hour, from, to) in cut(first, b) {
            let (amount, time) = hours.entry(hour).or_default();
            *amount += share(from, to);
            *time += to - from;
        }
    }
    (hours, days)
}

/// The first hour of the day under way at a time.
fn first_hour(at: i64, zone: &TimeZone) -> i64 {
    let day = day_of(at, zone).0;
    if day == hour_of(day) { day } else { hour_of(day) + HOUR }
}

/// How far a counter went up between two values, where a building of that area can have needed it.
fn increment(((a, first), (b, second)): ((i64, f64), (i64, f64)), area: f64) -> Option<f64> {
    let reachable = WHOLE_UNIT + HEAT_PER_AREA_MINUTE * area * (b - a) as f64 / 60_000.0;
    let up = if second >= first { second - first } else { second };
    (0.0..=reachable).contains(&up).then_some(up)
}

/// A span of time cut at the hours.
fn cut(from: i64, to: i64) -> Vec<(i64, i64, i64)> {
    let mut pieces = Vec::new();
    let mut start = from;
    while start < to {
        let end = to.min(hour_of(start) + HOUR);
        pieces.push((hour_of(start), start, end));
        start = end;
    }
    pieces
}

fn hour_of(at: i64) -> i64 {
    at.div_euclid(HOUR) * HOUR
}

/// Start and end of the civil day in which an hour begins.
fn day_of(hour: i64, zone: &TimeZone) -> (i64, i64) {
    let start = Timestamp::from_millisecond(hour).unwrap().to_zoned(zone.clone()).start_of_day().unwrap();
    let end = start.checked_add(1.day()).unwrap();
    (start.timestamp().as_millisecond(), end.timestamp().as_millisecond())
}

#[test]
fn the_oracle_itself_gives_what_a_person_computes() {
    let reading = |minute: i64, value| Reading { at: minute * 60_000, value, usable: true };
    let measured = Measured::from([
        ("heat_total", vec![reading(0, 10.0), reading(120, 14.0), reading(180, 1.0)]),
        ("outdoor_temp", vec![reading(0, -10.0), reading(60, -12.0)]),
    ]);
    let terms = Terms { interval: HOUR, area: 10_000.0, dated: 18 * HOUR, zone: TimeZone::UTC };
    let values = kpis(&measured, &terms);
    let value = |kpi, period, hour: i64| values[&(kpi, period, hour * HOUR)].value;
    assert_eq!([0, 1, 2].map(|hour| value("heat_supplied", "hour", hour)), [2.0, 2.0, 1.0]);
    assert_eq!(value("heat_supplied", "day", 0), 5.0);
    assert_eq!(value("degree_days", "hour", 0), 29.0 / 24.0);
    assert_eq!(value("completeness", "hour", 0), 100.0);
    // Four of 24 reports; beside their five readings the outdoor temperatures of 2:00 and 3:00 are missing.
    assert!((value("completeness", "day", 0) - 100.0 * 4.0 / 24.0 * 5.0 / 7.0).abs() < 1e-9);
    let measured = Measured::from([
        ("heat_total", (0..4).map(|hour| reading(hour * 60, 1.0)).collect()),
        ("secondary_flow", vec![reading(0, 2.0), reading(60, 2.0)]),
    ]);
    let complete = |hour: i64| kpis(&measured, &terms)[&("completeness", "hour", hour * HOUR)].value;
    assert_eq!([0, 1, 2].map(complete), [100.0, 100.0, 50.0]);
    // Known until 1:00, unknown until 2:00, and then frozen beside 1,000 kW.
    let powers = (0..=6).map(|n| reading(n * 30, 1_000.0)).collect();
    let totals = vec![reading(0, 10.0), reading(60, 12.0), reading(120, 80.0), reading(180, 80.0)];
    let measured = Measured::from([("heat_total", totals), ("heat_power", powers)]);
    let heat = |hour: i64| kpis(&measured, &terms)[&("heat_supplied", "hour", hour * HOUR)].value;
    assert_eq!([0, 1, 2].map(heat), [2.0, 3.6, 3.6]);
    // Silent from noon on for two days, at 1 GJ/h: the first noon belongs to the day in which the meter was read.
    let outage = Measured::from([("heat_total", vec![reading(720, 10.0), reading(60 * 60, 58.0)])]);
    let days = kpis(&outage, &terms);
    let day = |day: i64| days.get(&("heat_supplied", "day", day * 24 * HOUR)).map(|value| value.value);
    assert_eq!([0, 1, 2].map(day), [None, Some(24.0), Some(24.0)]);
    let flow = vec![reading(0, 2.0), reading(60, 2.0), reading(120, 6.0), reading(180, 0.0)];
    let temperature = vec![reading(0, 40.0), reading(60, 50.0), reading(120, 50.0)];
    let measured = Measured::from([("secondary_flow", flow), ("secondary_supply_temp", temperature)]);
    let value = |period| kpis(&measured, &terms)[&("secondary_supply_temp_mean", period, 0)].value;
    assert_eq!((value("hour"), value("day")), (45.0, (90.0 + 200.0) / 6.0));
}
