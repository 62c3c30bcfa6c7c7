//! The definitions applied to a whole series at once, written apart from the stage, and the stage against them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use schemas::{Flag, Millis, TestSet, time::MINUTE};

use super::{
    Memory,
    tests::{START, apply, few, id, report, stage},
};
use crate::flow::Change;

/// One delivery: minute of observation, delay in minutes, value.
type Delivery = (i64, i64, f64);
/// What finally holds for a minute: value, flag, tests.
type Truth = BTreeMap<i64, (f64, Flag, Vec<&'static str>)>;

/// Sorts everything and applies the definitions, without any state.
fn batch(code: &str, deliveries: &[Delivery]) -> Truth {
    let metric = id(code).metric();
    let mut said: BTreeMap<i64, Vec<(i64, f64)>> = BTreeMap::new();
    for &(minute, delay, value) in deliveries {
        said.entry(minute).or_default().push((minute + delay, value));
    }
    let mut truth = Truth::new();
    let mut series: Vec<(i64, f64)> = Vec::new();
    for (&minute, values) in &said {
        let latest = *values.iter().max_by_key(|(received, _)| *received).unwrap();
        let (mut flag, mut tests) = (Flag::Good, Vec::new());
        if latest.1 < metric.min || latest.1 > metric.max {
            (flag, tests) = (Flag::Fail, vec!["range"]);
        } else if latest.1 == 0.0 && code.starts_with("secondary") {
            (flag, tests) = (Flag::Fail, vec!["sentinel"]);
        } else {
            series.push((minute, latest.1));
        }
        if latest.0 - minute > 15 {
            tests.push("timeliness");
        }
        if values.iter().any(|(_, value)| *value != latest.1) {
            tests.push("corrected");
        }
        truth.insert(minute, (latest.1, flag, tests));
    }
    let verdicts = if code.ends_with("_total") { counter(code, &series) } else { gauge(code, &series) };
    for (minute, test, flag) in verdicts {
        let entry = truth.get_mut(&minute).unwrap();
        entry.1 = entry.1.graver(flag);
        entry.2.push(test);
    }
    truth
}

type Verdict = (i64, &'static str, Flag);

/// Parts the series into measurements and values that stand for nothing: of those that might, the ones that no neighbour
/// makes likely.
fn measurements(code: &str, series: &[(i64, f64)]) -> (Vec<(i64, f64)>, Vec<Verdict>) {
    let may_stand_for_nothing =
        |value: f64| code == "heat_power" && [65_535.0, 6_553.5, 327.67, 32_767.0, 9_999.0].contains(&value);
    let (mut kept, mut verdicts) = (Vec::<(i64, f64)>::new(), Vec::new());
    for (i, &(minute, value)) in series.iter().enumerate() {
        let next = series.get(i + 1).filter(|next| !may_stand_for_nothing(next.1));
        let mut beside = kept.last().into_iter().chain(next);
        if may_stand_for_nothing(value) && !beside.any(|other| (other.1 - value).abs() <= value.abs() / 5.0) {
            verdicts.push((minute, "sentinel", Flag::Fail));
        } else {
            kept.push((minute, value));
        }
    }
    (kept, verdicts)
}

fn gauge(code: &str, series: &[(i64, f64)]) -> Vec<Verdict> {
    let metric = id(code).metric();
    let (series, mut verdicts) = measurements(code, series);
    let series = &series[..];
    let (rate, limit) = (metric.max_rate.unwrap_or(f64::MAX), metric.spike.unwrap_or(f64::MAX));
    for (i, pair) in series.windows(2).enumerate() {
        let ((t0, v0), (t1, v1)) = (pair[0], pair[1]);
        // Two values of one decimal, each of which may be one digit off.
        if (v1 - v0).abs() - 0.2 > rate * (t1 - t0) as f64 {
            verdicts.push((t1, "rate_of_change", Flag::Suspect));
        }
        if let Some(&(_, v2)) = series.get(i + 2) {
            let peak = (v1 - v0.max(v2)).max(v0.min(v2) - v1);
            if peak > limit {
                verdicts.push((t1, "spike", if peak > 2.0 * limit { Flag::Fail } else { Flag::Suspect }));
            }
        }
    }
    // Cut the series into the longest runs from the left.
    let [suspect, fail] =
        [metric.flat_suspect, metric.flat_fail].map(|s| s.map_or(i64::MAX, |s| i64::from(s) / 60));
    let stands = |value: f64| value.abs() < metric.flat_above.unwrap_or(0.0);
    let mut rest = series;
    while let Some(first) = rest.first() {
        let fits = |n: &usize| {
            let values = || rest[..*n].iter().map(|p| p.1);
            let range = values().fold(f64::MIN, f64::max) - values().fold(f64::MAX, f64::min);
            range < metric.flat_tolerance.unwrap()
                && rest[..*n].windows(2).all(|pair| (pair[1].0 - pair[0].0) * 2 <= suspect)
        };
        let length = (1..=rest.len()).take_while(fits).last().unwrap_or(1);
        for (minute, _) in rest[..length].iter().filter(|(_, value)| !stands(*value)) {
            match minute - first.0 {
                age if age >= fail => verdicts.push((*minute, "flat_line", Flag::Fail)),
                age if age >= suspect => verdicts.push((*minute, "flat_line", Flag::Suspect)),
                _ => {}
            }
        }
        rest = &rest[length..];
    }
    verdicts
}

/// Cuts the series into what is believed and stretches that stand apart, each a list of readings that follow one another.
fn counter(code: &str, series: &[(i64, f64)]) -> Vec<Verdict> {
    let rate = id(code).metric().max_rate.unwrap();
    let follows =
        |(t0, v0): (i64, f64), (t1, v1): (i64, f64)| v1 >= v0 && v1 - v0 - 1.0 <= rate * (t1 - t0) as f64;
    let is_unit = |ratio: f64| {
        let units = [3.6, 4.1868, 238.846, 277.778, 1000.0];
        units.iter().any(|unit| (ratio / unit - 1.0).abs() < 0.002)
    };
    let mut verdicts = BTreeMap::<i64, (&'static str, Flag)>::new();
    let mut rest = series.iter().copied().enumerate();
    let Some((_, mut believed)) = rest.next() else { return Vec::new() };
    let mut apart: Vec<(i64, f64)> = Vec::new();
    let mut another_unit = false;
    for (i, reading) in rest {
        let next = series.get(i + 1).filter(|next| next.1 < reading.1 && follows(believed, **next));
        let goes_on = apart.last().is_some_and(|last| follows(*last, reading));
        // On a stretch that goes on, what counts is how far it was from what is believed when it began.
        let jumped = goes_on && reading.1 - believed.1 - 1.0 > rate * (apart[0].0 - believed.0 + 10) as f64;
        let is_believed = follows(believed, reading) && !jumped;
        let rises = apart.iter().chain([&reading]).collect::<Vec<_>>();
        let rises = rises.windows(2).filter(|pair| pair[0].1 < pair[1].1).count();
        let long = apart.first().is_some_and(|first| reading.0 - first.0 >= 30);
        if goes_on && rises >= 3 && long && !another_unit && !is_believed {
            verdicts.retain(|minute, _| apart.iter().all(|(other, _)| other != minute));
            verdicts.insert(apart[0].0, ("counter_reset", Flag::Good));
            (believed, apart) = (reading, Vec::new());
        } else if reading.1 > believed.1 && next.is_some() {
            verdicts.insert(reading.0, ("spike", Flag::Fail));
            apart.clear();
        } else if is_believed {
            believed = reading;
            apart.clear();
        } else {
            if !goes_on {
                apart.clear();
                let ratio = (reading.1 / believed.1).abs();
                another_unit = is_unit(ratio) || is_unit(1.0 / ratio);
            }
            apart.push(reading);
            let below = reading.1 < believed.1;
            let verdict = if below { ("counter_fall", Flag::Fail) } else { ("counter_jump", Flag::Suspect) };
            verdicts.insert(reading.0, verdict);
        }
    }
    verdicts.into_iter().map(|(minute, (test, flag))| (minute, test, flag)).collect()
}

/// What the stage finally says when the deliveries come in this order, `per_epoch` at a time, and how many readings
/// it rejected.
fn staged(code: &str, deliveries: &[Delivery], memory: Memory, per_epoch: usize) -> (Truth, usize) {
    let mut stage = stage(memory);
    let (mut truth, mut rejected) = (Truth::new(), 0);
    for chunk in deliveries.chunks(per_epoch) {
        let reports = chunk
            .iter()
            .map(|(minute, delay, value)| report(START + minute * MINUTE, delay * MINUTE, &[(code, *value)]));
        let output = apply(&mut stage, Vec::new(), reports.collect());
        rejected += output.rejects.len();
        for report in output.reports.iter() {
            let minute = (report.observed_at - START) / MINUTE;
            for reading in report.readings {
                let known = truth.contains_key(&minute);
                assert_eq!(known, reading.change != Change::New, "minute {minute} {reading:?}");
                truth.insert(minute, (reading.value, reading.flag, names(reading.failed)));
            }
        }
    }
    (truth, rejected)
}

fn names(tests: TestSet) -> Vec<&'static str> {
    let mut names: Vec<_> = tests.names().collect();
    names.sort_unstable();
    names
}

fn sorted(mut truth: Truth) -> Truth {
    truth.values_mut().for_each(|entry| entry.2.sort_unstable());
    truth
}

/// Values that make every test speak: rests, creeps, jumps, peaks, sentinels.
fn values(code: &'static str) -> BoxedStrategy<Vec<f64>> {
    let steps = prop_oneof![
        6 => Just(0.0), 4 => Just(0.1), 2 => Just(0.0004), 2 => Just(-3.0), 2 => Just(7.5), 1 => Just(11.0),
        1 => Just(1e4), 1 => Just(-1e4), 1 => Just(-500.0)
    ];
    let (base, top) = match code {
        "heat_power" => (18.0, 1e5),
        code if code.ends_with("_total") => (1000.0, 1e6),
        _ => (20.0, 48.0),
    };
    let walk = move |steps: Vec<(f64, bool)>| {
        let mut level = base;
        steps
            .into_iter()
            .map(|(step, stays)| {
                let value: f64 = if step <= -500.0 { step + 500.0 } else { level + step };
                level = if stays { value.clamp(0.0, top) } else { level };
                value
            })
            .collect::<Vec<f64>>()
    };
    prop::collection::vec((steps, any::<bool>()), 1..120).prop_map(walk).boxed()
}

/// A series with repeats and corrections, in the order of its times, each with its rank in the delivery.
fn deliveries(code: &'static str, spread: u32) -> impl Strategy<Value = Vec<Delivery>> {
    let point = || (prop_oneof![1i64..30, Just(200i64)], 0i64..40, 0u32..100, 0..spread, 0..spread);
    (values(code), prop::collection::vec(point(), 120)).prop_map(|(values, points)| {
        let mut minute = 0;
        let mut ranked = Vec::new();
        for (n, (value, (gap, delay, fate, rank, second))) in values.into_iter().zip(points).enumerate() {
            minute += gap;
            let n = n as u32;
            ranked.push((n + rank, (minute, delay, value)));
            match fate {
                0..10 => ranked.push((n + second, (minute, delay, value))),
                10..15 => ranked.push((n + second, (minute, delay + 50, value + 0.25))),
                _ => {}
            }
        }
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, delivery)| delivery).collect()
    })
}

/// A counter whose meter is replaced, whose unit is switched, or which says garbage for some polls.
fn faulty_counter() -> impl Strategy<Value = Vec<Delivery>> {
    let fault = prop_oneof![
        Just((1.0, 51_000.0)),
        Just((1.0, -900.0)),
        Just((0.0, 7.0)),
        Just((1000.0, 0.0)),
        Just((3.6, 0.0)),
        Just((1.0, 200.0)),
    ];
    let faults = prop::collection::vec((fault, 0usize..100, 1usize..60), 0..3);
    (prop::collection::vec((1i64..12, 0u8..6), 20..100), faults).prop_map(|(steps, faults)| {
        let mut minute = 0;
        let mut level = 1_000.0;
        let mut all: Vec<Delivery> = Vec::new();
        for (gap, rise) in steps {
            minute += gap;
            level += f64::from(rise) / 10.0;
            all.push((minute, 0, level));
        }
        for ((factor, shift), from, length) in faults {
            all.iter_mut().skip(from).take(length).for_each(|(.., value)| *value = *value * factor + shift);
        }
        all
    })
}

/// The same in blocks that come newest first, some of them again behind all others, as gateways send them.
fn in_blocks(deliveries: impl Strategy<Value = Vec<Delivery>>) -> impl Strategy<Value = Vec<Delivery>> {
    (deliveries, prop::collection::vec((1usize..40, any::<bool>(), any::<bool>()), 1..8)).prop_map(
        |(all, blocks)| {
            let (mut rest, mut sent, mut again) = (&all[..], Vec::new(), Vec::new());
            for (length, newest_first, repeated) in blocks.into_iter().cycle() {
                let (block, behind) = rest.split_at(length.min(rest.len()));
                let mut block = block.to_vec();
                if newest_first {
                    block.reverse();
                }
                again.extend(repeated.then(|| block.clone()).into_iter().flatten());
                sent.append(&mut block);
                rest = behind;
                if rest.is_empty() {
                    break;
                }
            }
            sent.append(&mut again);
            sent
        },
    )
}

/// A power that is moved to where limits of registers are genuine, and limits of registers in the place of some values.
fn with_sentinels(deliveries: impl Strategy<Value = Vec<Delivery>>) -> impl Strategy<Value = Vec<Delivery>> {
    let level = prop_oneof![Just(0.0), Just(300.0), Just(6_500.0)];
    let sentinel = prop_oneof![6 => Just(None), 1 => Just(Some(327.67)), 1 => Just(Some(6_553.5)), 1 => Just(Some(65_535.0))];
    (deliveries, level, prop::collection::vec(sentinel, 260)).prop_map(|(all, level, sentinels)| {
        // Corrections, which take longer, say something else than what they correct.
        let said = |(minute, delay, value): Delivery| {
            let sentinel = sentinels[minute as usize % sentinels.len()].filter(|_| delay < 40);
            (minute, delay, sentinel.unwrap_or(value + level))
        };
        all.into_iter().map(said).collect()
    })
}

const ENDLESS: Memory = few(Millis::MAX / 4, usize::MAX);
const SHORT: Memory = few(Millis::MAX / 4, 24);

fn agrees(
    code: &str,
    deliveries: &[Delivery],
    memory: Memory,
    per_epoch: usize,
) -> Result<(), TestCaseError> {
    let (truth, rejected) = staged(code, deliveries, memory, per_epoch);
    prop_assert_eq!(deliveries.len(), truth.len() + rejected, "accepted = readings + rejects");
    prop_assert_eq!(truth, sorted(batch(code, deliveries)));
    Ok(())
}

/// How many impossible values follow one another at most: a neighbour behind more than the memory is none.
fn longest_fault(code: &str, deliveries: &[Delivery]) -> usize {
    let truth: Vec<_> = batch(code, deliveries)
        .into_values()
        .map(|(_, _, tests)| tests.contains(&"range") || tests.contains(&"sentinel"))
        .collect();
    truth.split(|impossible| !impossible).map(<[bool]>::len).max().unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_gives_the_marks_of_the_batch(all in deliveries("secondary_supply_temp", 500), per_epoch in 1usize..9) {
        agrees("secondary_supply_temp", &all, ENDLESS, per_epoch)?;
    }

    #[test]
    fn any_order_gives_the_marks_of_the_batch_for_rooms(all in deliveries("room_temp", 500), per_epoch in 1usize..9) {
        agrees("room_temp", &all, ENDLESS, per_epoch)?;
    }

    #[test]
    fn any_order_tells_what_stands_for_nothing(all in with_sentinels(deliveries("heat_power", 500)), per_epoch in 1usize..9) {
        agrees("heat_power", &all, ENDLESS, per_epoch)?;
    }

    #[test]
    fn any_order_gives_the_marks_of_the_batch_for_counters(all in deliveries("heat_total", 500), per_epoch in 1usize..9) {
        agrees("heat_total", &all, ENDLESS, per_epoch)?;
    }

    #[test]
    fn meters_that_change_are_judged_as_by_the_batch(all in in_blocks(faulty_counter()), per_epoch in 1usize..9) {
        agrees("heat_total", &all, ENDLESS, per_epoch)?;
    }

    #[test]
    fn blocks_in_any_order_give_the_marks_of_the_batch(all in in_blocks(deliveries("heat_total", 1)), per_epoch in 1usize..9) {
        agrees("heat_total", &all, ENDLESS, per_epoch)?;
    }

    #[test]
    fn a_short_memory_suffices_for_a_short_delay(all in deliveries("secondary_supply_temp", 8)) {
        prop_assume!(longest_fault("secondary_supply_temp", &all) < 10);
        agrees("secondary_supply_temp", &all, SHORT, 3)?;
    }

    #[test]
    fn a_short_memory_suffices_for_counters(all in deliveries("heat_total", 8)) {
        prop_assume!(longest_fault("heat_total", &all) < 10);
        agrees("heat_total", &all, SHORT, 3)?;
    }
}
