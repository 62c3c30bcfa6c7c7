//! A season from readings to alarms: checks, windows, KPIs, threshold rules and model together, in order, shuffled and in
//! bursts, with outages and meters that are replaced; and the heat of days and months against the meters themselves.

use proptest::prelude::*;
use schemas::{
    Catalogue, Flag, Period, Scope, ScopeKind, Side, Threshold,
    time::{DAY, MINUTE},
};

use super::*;
use crate::{
    Observations, Observed, ObservedEpoch,
    alarm::{Alarms, alarms::AlarmSettings},
    flow::whole::Observation,
    kpi,
    validate::{Memory, Validate},
    window::{Calendar, Window},
};

/// Between two reports.
const INTERVAL: Millis = 10 * MINUTE;
/// Later than this no report comes.
const LATEST: Millis = 5 * HOUR;
const SUMMER: Millis = 5 * DAY;
const END: Millis = 24 * DAY;
/// When every window is closed.
const CLOSED: Millis = END + 3 * DAY;
const STATIONS: [&str; 2] = ["ST-1", "ST-2"];
/// What meters begin with, GJ.
const LEVELS: [f64; 4] = [900.0, 9_000.0, 51_000.0, 200.0];

/// So long after its replacement a meter is confirmed at the latest: it may rest for six hours.
const CONFIRMED: Millis = 8 * HOUR;

/// What a station measured at a time.
#[derive(Clone, Copy, Debug)]
struct Row {
    at: Millis,
    outdoor: f64,
    supply_temp: f64,
    total: f64,
    /// Number of the meter.
    meter: usize,
}

/// What happens to a station.
#[derive(Clone, Debug)]
struct Fate {
    seed: u64,
    /// Silent from and until.
    outages: Vec<(Millis, Millis)>,
    /// Another meter from then on.
    changes: [Millis; 2],
}

impl Fate {
    fn rows(&self) -> Vec<Row> {
        let hours = (END / HOUR) as usize;
        let summer =
            |hour: usize| 30.0 * (1.0 - (hour as f64 - SUMMER as f64 / HOUR as f64) / 24.0).clamp(0.0, 1.0);
        let outdoor: Vec<f64> =
            weather(self.seed, hours).iter().zip(0..).map(|(temp, hour)| temp + summer(hour)).collect();
        let demand = heat(&outdoor, 3.0, self.seed);
        let (mut total, mut meter, mut rows) = (5_000.0, 0, Vec::new());
        for at in (0..END).step_by(INTERVAL as usize) {
            let (hour, day) = ((at / HOUR) as usize, at / DAY);
            let share = match (day, at % DAY / HOUR) {
                (10, 4..15) => 0.45,
                (12, 2..13) => 1.8,
                (15..20, 15..21) => 0.0,
                (22, _) => 0.4,
                _ => 1.0,
            };
            let kw = if at < SUMMER { 0.3 } else { demand[hour] * share };
            total += kw * INTERVAL as f64 / 1e9;
            if meter < 2 && at >= self.changes[meter] {
                total = LEVELS[(self.seed as usize + meter) % LEVELS.len()];
                meter += 1;
            }
            let tenth = |value: f64| (value * 10.0).round() / 10.0;
            let warm = if at < SUMMER { 24.0 } else { 24.0 + 20.0 * share };
            let supply_temp = tenth(warm + noise(self.seed + at as u64) - outdoor[hour] / 4.0);
            let total = (total * 100.0).round() / 100.0;
            rows.push(Row { at, outdoor: tenth(outdoor[hour]), supply_temp, total, meter });
        }
        rows.retain(|row| !self.outages.iter().any(|(from, until)| (*from..*until).contains(&row.at)));
        rows
    }

    /// Whether the values say that a meter was replaced. They do not where the meter before could have counted the
    /// difference, the more so in a silence, or where it is that of another unit.
    fn replacements_show(&self) -> bool {
        // Twice the greatest heat that a station can give between two reports, GJ.
        const FAR: f64 = 2.0 * 73.0;
        const UNITS: [f64; 2] = [3.6, 4.1868];
        let silent = |at: Millis| {
            self.outages.iter().any(|(from, until)| {
                // Longer than a day it is not waited for what confirms a new meter.
                let alone = if until - from > DAY { CONFIRMED } else { 0 };
                (from - alone..=*until).contains(&at)
            })
        };
        self.rows().windows(2).filter(|pair| pair[0].meter != pair[1].meter).all(|pair| {
            let (before, after) = (pair[0].total, pair[1].total);
            let unit =
                |unit: &f64| [before / after, after / before].iter().any(|r| (r / unit - 1.0).abs() < 0.01);
            !silent(pair[1].at) && !(0.0..FAR).contains(&(after - before)) && !UNITS.iter().any(unit)
        })
    }
}

fn station(code: &str) -> ProfileChange {
    let mut change = profile(code, Some(2900.0));
    let mut profile = Profile::clone(change.profile.as_ref().unwrap());
    profile.facility.attributes.insert("interval".into(), (INTERVAL / 1000).to_string().into());
    profile.scopes = [Scope { kind: ScopeKind::City, code: "220100".into() }].into();
    profile.thresholds = [(Side::Low, [26.0, 30.0, 36.0]), (Side::High, [70.0, 65.0, 60.0])]
        .map(|(side, levels)| {
            Arc::new(Threshold {
                scope: "station".into(),
                metric: Catalogue::in_force().id("secondary_supply_temp").unwrap(),
                side,
                level1: Some(levels[0]),
                level2: Some(levels[1]),
                level3: Some(levels[2]),
                deadband: 1.0,
                on_delay: 1_200,
                off_delay: 1_200,
                enabled: true,
                advice: String::new(),
                rule: "".into(),
            })
        })
        .into();
    change.profile = Some(profile.into());
    change
}

/// A report: when it arrives, of which station, and what it says.
type Sent = (Millis, usize, Row);

fn observation((arrives, station, row): Sent, offset: usize) -> Observation {
    let readings = [
        ("outdoor_temp", row.outdoor),
        ("secondary_supply_temp", row.supply_temp),
        ("heat_total", row.total),
    ];
    Observation {
        facility: STATIONS[station].into(),
        device: "".into(),
        observed_at: START + row.at,
        received_at: START + arrives,
        sequence: None,
        partition: 0,
        offset: offset as i64,
        redriven: false,
        readings: readings
            .into_iter()
            .map(|(code, value)| Observed {
                metric: Catalogue::in_force().id(code).unwrap(),
                value,
                normal: true,
            })
            .collect(),
    }
}

/// Rule, station, when raised and cleared, values, and levels.
type Alarmed = (String, String, Millis, Option<Millis>, [f64; 3], [u8; 2]);

/// A value with its mark and the tests that did not pass.
type Marked = (f64, Flag, Vec<&'static str>);

/// The KPIs of windows, each with its coverage.
type Kpis = BTreeMap<(Scope, Period, Millis, &'static str), (Option<f64>, f32)>;

/// What was said last.
#[derive(Debug, Default)]
struct Final {
    flags: BTreeMap<(String, Millis, &'static str), Marked>,
    facts: BTreeMap<(Scope, Period, Millis), Facts>,
    diagnoses: BTreeMap<(String, Millis), Diagnosis>,
    alarms: Vec<Alarmed>,
}

impl Final {
    /// Every KPI of every window as it is published.
    fn kpis(&self) -> Kpis {
        let mut kpis = BTreeMap::new();
        for ((scope, period, start), facts) in &self.facts {
            for kpi in kpi::ALL {
                kpis.insert((scope.clone(), *period, *start, kpi.code), kpi.rounded(scope.kind, facts));
            }
        }
        kpis
    }

    /// Heat of the days of a scope, GJ.
    fn heat_by_day(&self, code: &str) -> BTreeMap<Millis, f64> {
        let of_day = |((scope, period, start), facts): (&(Scope, Period, Millis), &Facts)| {
            let value = kpi::heat_supplied::KPI.rounded(scope.kind, facts).0;
            (scope.code == code && *period == Period::Day).then_some((*start, value?))
        };
        self.facts.iter().filter_map(of_day).collect()
    }
}

fn result(mut sent: Vec<Sent>, step: Millis) -> Final {
    sent.sort_by_key(|(arrives, station, row)| (*arrives, row.at, *station));
    let mut validate = Validate::new("heating.reports", Memory::default());
    // Further back than quality control revises marks: the last reading before an outage is judged again after it.
    let horizon = 2 * DAY;
    let mut alarms = Alarms::new(AlarmSettings { horizon, ..AlarmSettings::default() });
    let mut window = Window::new(Calendar::default());
    let mut supply = supply();
    let mut profiles: Vec<ProfileChange> = STATIONS.map(station).into();
    let (mut last, mut sums) = (Final::default(), BTreeMap::<_, Facts>::new());
    let mut told = BTreeMap::new();
    let (mut clock, mut sent) = (0, sent.into_iter().enumerate().peekable());
    while clock < CLOSED {
        clock += step;
        let mut due = Vec::new();
        while let Some((offset, sent)) = sent.next_if(|(_, sent)| sent.0 <= clock) {
            due.push(observation(sent, offset));
        }
        let observations: Observations = due.iter().collect();
        let checked = validate.apply(&ObservedEpoch {
            believed: Vec::new(),
            epoch: 0,
            clock: START + clock,
            profiles: std::mem::take(&mut profiles),
            observations: vec![observations],
            ..ObservedEpoch::default()
        });
        for report in checked.reports.iter() {
            for reading in report.readings {
                let key = (report.object.facility.to_string(), report.observed_at, reading.metric.code());
                // That something came late is no more than that.
                let tests = reading.failed.names().filter(|test| *test != "timeliness").collect();
                last.flags.insert(key, (reading.value, reading.flag, tests));
            }
        }
        let alarmed = alarms.apply(&checked);
        assert_eq!(alarmed.too_late, 0);
        let windowed = window.apply(&checked);
        assert_eq!(windowed.too_late.readings(), 0);
        let diagnosed = supply.judge(&windowed);
        for changed in windowed.facility {
            last.facts.insert((changed.scope, changed.period, changed.window_start), changed.after);
        }
        for (key, facts) in windowed.contributions {
            let sum = sums.entry(key.clone()).or_default();
            sum.add_all(&facts, 1);
            if !windowed.horizon.is_closed(key.1, key.2) {
                last.facts.insert(key, sum.clone());
            }
        }
        assert_eq!(diagnosed.too_late, 0);
        for diagnosis in diagnosed.diagnoses {
            last.diagnoses.insert((diagnosis.facility.to_string(), diagnosis.hour), diagnosis);
        }
        // Contact is about arrival, in whatever order.
        let transitions = alarmed.transitions.into_iter().chain(diagnosed.transitions);
        let lasting = transitions.filter(|told| told.rule != "communication_lost");
        told.extend(lasting.map(|transition| (transition.alarm_id.clone(), transition)));
    }
    assert!(sent.peek().is_none());
    let stands = told.into_values().filter(|told| told.state != AlarmState::Retracted).map(|told| {
        let values = [told.first_value, told.current_value, told.peak_value];
        let levels = [told.level, told.peak_level];
        (told.rule.to_string(), told.facility.to_string(), told.raised_at, told.cleared_at, values, levels)
    });
    last.alarms = stands.collect();
    last.alarms.sort_by(|a, b| (&a.0, &a.1, a.2).cmp(&(&b.0, &b.1, b.2)));
    last
}

/// `fates` say where hours of the city may have been closed when what was counted in them became known: what an outage ends
/// with reaches further back than it is late, and so does what confirms a meter that rested. Hours of the stations and days
/// take it all the same.
fn compare(name: &str, fates: &[Fate; 2], order: &Final, other: &Final) {
    fn same<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
        what: &str,
        order: &BTreeMap<K, V>,
        other: &BTreeMap<K, V>,
    ) {
        for (key, value) in order {
            assert_eq!(Some(value), other.get(key), "{what}: {key:?}");
        }
        assert_eq!(order.len(), other.len(), "{what}");
    }
    same(&format!("flags, {name}"), &order.flags, &other.flags);
    let settled = |said: &Final| -> Kpis {
        let outages = fates.iter().flat_map(|fate| fate.outages.iter().copied());
        let confirmations = fates.iter().flat_map(|fate| fate.changes.map(|at| (at, at + CONFIRMED)));
        let spans: Vec<(Millis, Millis)> = outages.chain(confirmations).collect();
        let late = |start: Millis| {
            // What is counted in a silence is counted since the reading before it.
            let within =
                |(from, until): &(Millis, Millis)| start + HOUR > *from - INTERVAL && start <= *until;
            spans.iter().any(within)
        };
        let mut kpis = said.kpis();
        kpis.retain(|(scope, period, start, _), _| {
            scope.kind != ScopeKind::City || *period != Period::Hour || !late(start - START)
        });
        kpis
    };
    same(&format!("KPIs, {name}"), &settled(order), &settled(other));
    same(&format!("diagnoses, {name}"), &order.diagnoses, &other.diagnoses);
    assert_eq!(order.alarms, other.alarms, "alarms, {name}");
}

/// The days between two readings of one meter, and the season as a whole, have what the meters counted.
fn heat_is_that_of_the_meters(last: &Final, rows: &[Vec<Row>; 2]) {
    let calendar = Calendar::default();
    let mut of_city = BTreeMap::<Millis, f64>::new();
    for (code, rows) in STATIONS.iter().zip(rows) {
        let days = last.heat_by_day(code);
        let by_time: BTreeMap<Millis, &Row> = rows.iter().map(|row| (START + row.at, row)).collect();
        let mut compared = 0;
        for (day, heat) in &days {
            *of_city.entry(*day).or_default() += heat;
            let ends = [*day, calendar.day(*day).1].map(|at| by_time.get(&at));
            let [Some(first), Some(last)] = ends else { continue };
            if first.meter == last.meter {
                let counted = last.total - first.total;
                assert!(
                    (heat - counted).abs() < 2e-3,
                    "{code} {}: {heat}, not {counted}",
                    (day - START) / HOUR
                );
                compared += 1;
            }
        }
        assert!(compared >= 12, "{code}: {compared} days");
        let of_meters: f64 = rows
            .chunk_by(|a, b| a.meter == b.meter)
            .map(|meter| meter[meter.len() - 1].total - meter[0].total)
            .sum();
        let season: f64 = days.values().sum();
        assert!((season - of_meters).abs() < 0.05, "{code}: {season} of the season, not {of_meters}");
    }
    for (day, heat) in last.heat_by_day("220100") {
        assert!((heat - of_city[&day]).abs() < 2e-3, "city: {heat}, not {}", of_city[&day]);
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    let at = || 6 * DAY / INTERVAL..21 * DAY / INTERVAL;
    let fate =
        (0..1_000_000_u64, [at(), at(), at()], [at(), at()]).prop_map(|(seed, outages, mut changes)| {
            changes.sort_unstable();
            let outages = outages.into_iter().zip([3, 8, 48]);
            let outages =
                outages.map(|(from, hours)| (from * INTERVAL, from * INTERVAL + hours * HOUR)).collect();
            Fate { seed, outages, changes: changes.map(|at| at * INTERVAL) }
        });
    fate.prop_filter("replacements that do not show", |fate| {
        fate.changes[1] - fate.changes[0] > DAY && fate.replacements_show()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_season_from_readings_to_alarms_is_the_same_in_every_order(fates in [fate(), fate()], phase in 0..30_i64) {
        let rows = fates.each_ref().map(Fate::rows);
        let delayed = |delay: &mut dyn FnMut(Millis) -> Millis| -> Vec<Sent> {
            let of = |(station, rows): (usize, &Vec<Row>)| -> Vec<Sent> {
                rows.iter().map(|row| (row.at + delay(row.at), station, *row)).collect()
            };
            rows.iter().enumerate().flat_map(of).collect()
        };
        let order = result(delayed(&mut |_| 0), 10 * MINUTE);
        heat_is_that_of_the_meters(&order, &rows);
        let rules: std::collections::BTreeSet<&str> = order.alarms.iter().map(|alarm| alarm.0.as_str()).collect();
        prop_assert!(rules.len() >= 3, "{:?}", rules);

        let bursts = delayed(&mut |at| (phase * MINUTE - at).rem_euclid(30 * MINUTE));
        compare("bursts of 30 minutes", &fates, &order, &result(bursts, 5 * MINUTE));

        let mut number = fates[0].seed;
        let shuffled = delayed(&mut |_| {
            number += 1;
            let share = (noise(number) + 1.0) / 2.0;
            (share.powi(4) * LATEST as f64) as Millis
        });
        let shuffled = result(shuffled, 15 * MINUTE);
        compare("shuffled", &fates, &order, &shuffled);
        heat_is_that_of_the_meters(&shuffled, &rows);
    }
}
