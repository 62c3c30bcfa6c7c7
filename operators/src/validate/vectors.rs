//! The tests against what `ioos_qc` 3.0.0 says about the same series (recorded by `tests/oracles/qartod.py`).

use schemas::{Flag, Millis, time::MINUTE};

use super::{
    mark::Mark,
    neighbours::{Point, State, step},
    rule::{Flat, MetricRule},
    test::{self, Own},
    tests::id,
};
use crate::{capacity::RiseLimit, flow::Observed};

fn nothing() -> MetricRule {
    MetricRule {
        range: (f64::MIN, f64::MAX),
        state: false,
        quantity: true,
        zero: None,
        sentinels: Box::default(),
        counter: false,
        rise: RiseLimit::NONE,
        scale: 1.0,
        spike: None,
        flat: None,
    }
}

fn numbers(list: &str) -> Vec<f64> {
    list.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

fn marks(rule: &MetricRule, points: &[Point]) -> Vec<Mark> {
    let mut state = State::EMPTY;
    let next = |n: usize| points.get(n + 1).copied();
    let judged = |(n, point): (usize, &Point)| step(&mut state, rule, rule.rise, *point, next(n)).mark;
    points.iter().enumerate().map(judged).collect()
}

fn flag(number: f64) -> Flag {
    let all = [Flag::Good, Flag::NotEvaluated, Flag::Suspect, Flag::Fail, Flag::Missing];
    all.into_iter().find(|flag| f64::from(flag.number()) == number).unwrap()
}

/// The flags of one case. Where the stage has nothing to say it says good: the range test always runs, so "not
/// evaluated" of another test does not show in the aggregate.
fn judged(test: &str, parameters: &[f64], points: &[Point]) -> Vec<Flag> {
    let rule = match (test, parameters) {
        ("spike", [limit]) => MetricRule { spike: Some(*limit), ..nothing() },
        ("rate_of_change", [rate]) => {
            MetricRule { rise: RiseLimit { per_minute: *rate, step: 0.0 }, ..nothing() }
        }
        ("flat_line", [tolerance, suspect, fail]) => {
            let [suspect, fail] = [suspect, fail].map(|minutes| *minutes as Millis * MINUTE);
            let flat = Flat { tolerance: *tolerance, suspect, fail, above: 0.0, longest_gap: suspect / 2 };
            MetricRule { flat: Some(flat), ..nothing() }
        }
        ("gross_range", [least, greatest, device_least, device_greatest]) => {
            let rule = MetricRule { range: (*least, *greatest), ..nothing() };
            let reading = |value| Observed { metric: id("room_temp"), value, normal: true };
            let device = Some((*device_least, *device_greatest));
            return points
                .iter()
                .map(|(_, value)| {
                    test::own(&Own { rule: &rule, reading: &reading(*value), device, blank: false }).flag()
                })
                .collect();
        }
        ("aggregate", []) => {
            let pair = |(_, pair): &Point| flag((pair / 10.0).floor()).graver(flag(pair % 10.0));
            return points.iter().map(pair).collect();
        }
        _ => panic!("no such test: {test} {parameters:?}"),
    };
    marks(&rule, points).into_iter().map(Mark::flag).collect()
}

#[test]
fn the_flags_are_those_of_ioos_qc() {
    let vectors = include_str!("../../../tests/oracles/qartod.csv");
    let mut seen = 0;
    for line in vectors.lines().skip(1) {
        let fields: Vec<_> = line.split(',').collect();
        let [test, parameters, minutes, values, flags] = fields[..] else { panic!("{line}") };
        let times = numbers(minutes).into_iter().map(|minute| minute as Millis * MINUTE);
        let points: Vec<Point> = times.zip(numbers(values)).collect();
        let mut want: Vec<_> = numbers(flags).into_iter().map(flag).collect();
        if test != "aggregate" {
            want.iter_mut().filter(|f| **f == Flag::NotEvaluated).for_each(|f| *f = Flag::Good);
        }
        assert_eq!(judged(test, &numbers(parameters), &points), want, "{line}");
        seen += 1;
    }
    assert!(seen > 70, "{seen} vectors");
}
