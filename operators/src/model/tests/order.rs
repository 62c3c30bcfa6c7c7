//! Diagnoses and alarms of a season through windows and model: in order, shuffled, in bursts, after outages.

use std::rc::Rc;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use schemas::{
    Catalogue, Flag, TestSet,
    time::{DAY, MINUTE},
};

use super::*;
use crate::{
    Change, Checked, CheckedEpoch, Object,
    flow::{Carrier, whole::CheckedReport},
    window::{Calendar, Window},
};

/// Between two reports.
const INTERVAL: Millis = 10 * MINUTE;
/// How late a report may be.
const LATENESS: Millis = 50 * HOUR;
const SUMMER: Millis = 6 * DAY;
const END: Millis = 34 * DAY;

/// A report: when it arrives, when it was measured, outdoor temperature and heat, whether it corrects.
type Sent = (Millis, Millis, (f64, f64), Change);

/// What was measured: an idle summer, then heating with a span too low, one too high, nights without heat, a stop in
/// the cold, and spring, in which the heating ends.
fn season(seed: u64) -> Vec<(Millis, (f64, f64))> {
    let hours = (END / HOUR) as usize;
    let winter = weather(seed, hours);
    let warm = |at: Millis| {
        let (since, until) = ((at - SUMMER) as f64 / DAY as f64, (at - END) as f64 / DAY as f64 + 5.0);
        30.0 * (1.0 - since).clamp(0.0, 1.0) + 24.0 * until.clamp(0.0, 1.0)
    };
    let outdoor: Vec<f64> = (0..hours).map(|hour| winter[hour] + warm(hour as Millis * HOUR)).collect();
    let demand = heat(&outdoor, 3.0, seed);
    let share = |day: i64, hour: i64| match day {
        9 if (4..15).contains(&hour) => 0.45,
        12 if (2..13).contains(&hour) => 1.8,
        15..=21 if (15..21).contains(&hour) => 0.0,
        24 if hour > 9 => 0.0,
        29.. => 0.0,
        _ => 1.0,
    };
    (0..END / INTERVAL)
        .map(|number| {
            let at = number * INTERVAL;
            let hour = (at / HOUR) as usize;
            let (day, of_day) = (at / DAY, at % DAY / HOUR);
            let kw = if at < SUMMER { 0.3 } else { demand[hour] * share(day, of_day) };
            let tenth = |value: f64| (value * 10.0).round() / 10.0;
            (at, (tenth(outdoor[hour]), tenth(kw)))
        })
        .collect()
}

fn report((_, at, (outdoor, heat), change): Sent) -> CheckedReport {
    let checked = |metric, value| Checked {
        metric: Catalogue::in_force().id(metric).unwrap(),
        value,
        flag: Flag::Good,
        failed: TestSet::EMPTY,
        change,
    };
    CheckedReport {
        object: Rc::new(Object { facility: "ST-1".into(), device: "".into() }),
        observed_at: START + at,
        received_at: START + at,
        carrier: Carrier::default(),
        readings: vec![checked("outdoor_temp", outdoor), checked("heat_power", heat)],
    }
}

/// Rule, when it was raised and cleared, its values, when it peaked, and its levels.
type Alarmed = (String, Millis, Option<Millis>, [f64; 3], Millis, [u8; 2]);

/// What was said last of each hour and of each alarm that was not taken back.
#[derive(Debug, PartialEq)]
struct Final {
    diagnoses: BTreeMap<Millis, Diagnosis>,
    alarms: Vec<Alarmed>,
}

fn result(mut sent: Vec<Sent>, step: Millis) -> Final {
    sent.sort_by_key(|sent| (sent.0, sent.1));
    let mut window = Window::new(Calendar::new(TimeZone::fixed(jiff::tz::offset(8)), LATENESS, 10 * MINUTE));
    let mut supply = Supply::new(Terms { horizon: LATENESS + 2 * HOUR, ..Terms::default() });
    let mut station = profile("ST-1", Some(2900.0));
    let mut changed = Profile::clone(station.profile.as_ref().unwrap());
    changed.facility.attributes.insert("interval".into(), (INTERVAL / 1000).to_string().into());
    station.profile = Some(changed.into());
    let (mut clock, mut sent) = (0, sent.into_iter().peekable());
    let (mut diagnoses, mut alarms) = (BTreeMap::new(), BTreeMap::new());
    let mut profiles = vec![station];
    while clock < END + LATENESS + 4 * HOUR {
        clock += step;
        let mut due = Vec::new();
        while let Some(sent) = sent.next_if(|sent| sent.0 <= clock) {
            due.push(report(sent));
        }
        let checked = CheckedEpoch {
            clock: START + clock,
            profiles: std::mem::take(&mut profiles),
            reports: due.into_iter().collect(),
            ..CheckedEpoch::default()
        };
        let windowed = window.apply(&checked);
        assert_eq!(windowed.too_late.readings(), 0);
        let told = supply.judge(&windowed);
        assert_eq!(told.too_late, 0);
        diagnoses.extend(told.diagnoses.into_iter().map(|diagnosis| (diagnosis.hour, diagnosis)));
        alarms.extend(told.transitions.into_iter().map(|told| (told.alarm_id.clone(), told)));
    }
    assert!(sent.peek().is_none());
    diagnoses.retain(|hour, _| *hour < START + END);
    let stands = alarms.into_values().filter(|told| told.state != AlarmState::Retracted).map(|told| {
        let values = [told.first_value, told.current_value, told.peak_value];
        (
            told.rule.to_string(),
            told.raised_at,
            told.cleared_at,
            values,
            told.peak_at,
            [told.level, told.peak_level],
        )
    });
    let mut alarms: Vec<_> = stands.collect();
    alarms.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    Final { diagnoses, alarms }
}

/// Each report as late as `delay` says.
fn delayed(season: &[(Millis, (f64, f64))], mut delay: impl FnMut(Millis) -> Millis) -> Vec<Sent> {
    season.iter().map(|(at, values)| (at + delay(*at).max(0), *at, *values, Change::New)).collect()
}

/// The first time at or after `at` that is `phase` behind a half hour.
fn burst(at: Millis, phase: Millis) -> Millis {
    at + (phase - at).rem_euclid(30 * MINUTE)
}

fn compare(name: &str, order: &Final, other: &Final) {
    assert_eq!(order.alarms, other.alarms, "alarms: {name}");
    for (hour, diagnosis) in &order.diagnoses {
        assert_eq!(Some(diagnosis), other.diagnoses.get(hour), "{name}: hour {}", (hour - START) / HOUR);
    }
    assert_eq!(order.diagnoses.len(), other.diagnoses.len(), "{name}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_season_ends_the_same_in_every_order(
        seed in 0..1_000_000_u64,
        phase in 0..30_i64,
        outages in prop::array::uniform3(7..27_i64),
        wrong in (7..27_i64, 0..20_i64),
    ) {
        let season = season(seed);
        let order = result(delayed(&season, |_| 0), 10 * MINUTE);
        prop_assert!(order.alarms.len() >= 3, "{:?}", order.alarms);

        let bursts = delayed(&season, |at| burst(at, phase * MINUTE) - at);
        compare("bursts of 30 minutes", &order, &result(bursts, 5 * MINUTE));

        let mut number = seed;
        let shuffled = delayed(&season, |_| {
            number += 1;
            let share = (noise(number) + 1.0) / 2.0;
            (share.powi(6) * 48.0 * HOUR as f64) as Millis
        });
        compare("shuffled", &order, &result(shuffled, 20 * MINUTE));

        // Silent for 3, 8 and 48 h, then everything at once; and a span that is wrong and corrected half a day later.
        let spans: Vec<_> = outages.iter().zip([3, 8, 48]).map(|(day, hours)| (day * DAY, day * DAY + hours * HOUR)).collect();
        let until = |at| spans.iter().filter(|(from, to)| (*from..*to).contains(&at)).map(|(_, to)| *to).max();
        let mut late = delayed(&season, |at| until(at).map_or(0, |to| to - at));
        let wrong = wrong.0 * DAY + wrong.1 * HOUR..wrong.0 * DAY + (wrong.1 + 6) * HOUR;
        let corrections: Vec<Sent> = late
            .iter_mut()
            .filter(|sent| wrong.contains(&sent.1))
            .map(|sent| {
                let right = (sent.0.min(sent.1 + 36 * HOUR) + 12 * HOUR, sent.1, sent.2, Change::Corrected);
                sent.2.1 *= 0.2;
                sent.0 = sent.0.min(sent.1 + 36 * HOUR);
                right
            })
            .collect();
        late.extend(corrections);
        compare("outages and corrections", &order, &result(late, 15 * MINUTE));
    }
}
