//! Heat of an hour: what the counters say, and power where they say nothing.
//!
//! Enters: the facts and objects of a facility. Leaves: its heat, and the time behind it. Guarantees: a function of the
//! points of the hour, in whatever order they came.
//!
//! A counter covers the time between two of its values whose increment is known. The integral of power over the rest is
//! computed when an hour is derived, and only when a counter covers a part of it: hardly ever. A counter that stands still
//! while power, or flow and the fall of temperature, would have carried it on by more than two of its steps is frozen: it
//! covers nothing of the hour, and heat is by power or unknown.

use schemas::{Millis, time::HOUR};
use smallvec::SmallVec;

use super::{
    facts::{Component as C, Facts},
    object::Object,
    points::{Point, Points},
    quantity::{Pipe, Quantity},
    segment,
};
use crate::capacity::RiseLimit;

/// Stretches of time, in order.
type Spans = SmallVec<[(Millis, Millis); 4]>;

/// Heat of an hour, J, and the time behind it, ms; `elapsed` of the hour have passed.
pub(super) fn heat(facts: &Facts, objects: &[Object], hour: Millis, elapsed: Millis) -> (i64, Millis) {
    let counter = (facts.get(C::HeatCounter), facts.get(C::HeatCounterTime));
    let power = (facts.get(C::HeatPower), facts.get(C::HeatPowerTime));
    if counter.1 <= 0 || counter.0 == 0 && frozen(power.0.max(by_flow(facts)), objects, hour) {
        return power;
    }
    if power.1 <= 0 || counter.1 >= elapsed {
        return counter;
    }
    let alone = power_alone(objects, hour);
    (counter.0 + alone.0, counter.1 + alone.1)
}

/// Whether counters that did not move in an hour should have, by so much heat in J.
fn frozen(heat: i64, objects: &[Object], hour: Millis) -> bool {
    if heat <= 0 {
        return false;
    }
    let step = |object: &Object| {
        let last = object.points(Quantity::HeatCounter)?.neighbours(hour + HOUR).before?;
        Some(step_of(last.value).min(object.rises().heat.step))
    };
    let steps: f64 = objects.iter().filter_map(step).sum();
    heat as f64 > 2.0 * steps * 1e9
}

/// The steps in which a meter counts, by the decimals that it shows, GJ: one that shows none may count whole units.
fn step_of(value: f64) -> f64 {
    let shown = |step: &f64| {
        let steps = value / step;
        (steps - steps.round()).abs() < 1e-6
    };
    [1.0, 0.1, 0.01].into_iter().find(shown).unwrap_or(0.001)
}

/// Heat of water that cools down by so much is more than sensors are off by, °C.
const LEAST_FALL: i64 = 3;
/// Heat that a cubic metre of water at 60 °C holds per degree, J.
const JOULES_PER_CUBIC_METRE: f64 = 983.0 * 4_185.0;

/// Heat by flow and temperatures, J, where the water cools down enough to tell: of the side that says more.
fn by_flow(facts: &Facts) -> i64 {
    let of = |supply: Pipe, back: Pipe| {
        let ([_, _, flow, warm], [_, _, same, cold]) = (supply.components(), back.components());
        let (flow, same) = (facts.get(flow), facts.get(same));
        let fall = facts.get(warm) - facts.get(cold);
        // Both temperatures must have been measured with the same water.
        let comparable = flow > 0 && (flow - same).abs() <= flow / 10 && fall >= LEAST_FALL * flow;
        // Thousandths of m³/h · °C · s.
        if comparable { (fall as f64 / 3.6e6 * JOULES_PER_CUBIC_METRE) as i64 } else { 0 }
    };
    of(Pipe::PrimarySupply, Pipe::PrimaryReturn).max(of(Pipe::SecondarySupply, Pipe::SecondaryReturn))
}

/// Heat by power in the time of an hour that no counter covers, and that time.
fn power_alone(objects: &[Object], hour: Millis) -> (i64, Millis) {
    let series = |quantity| objects.iter().filter_map(move |object| Some((object.points(quantity)?, object)));
    let mut covered = Spans::new();
    for (points, object) in series(Quantity::HeatCounter) {
        cover(points, object.rises().heat, hour, &mut covered);
    }
    covered.sort_unstable();
    let mut alone = (0, 0);
    for (points, object) in series(Quantity::HeatPower) {
        for (a, b) in segments(points, hour).filter(|(a, b)| b.at - a.at <= object.gap()) {
            outside(&covered, (a.at.max(hour), b.at.min(hour + HOUR)), |from, to| {
                alone.0 += segment::integral((a, b), from, to);
                alone.1 += to - from;
            });
        }
    }
    alone
}

/// The pairs of points that lie in the hour or reach into it.
fn segments(points: &Points, hour: Millis) -> impl Iterator<Item = (Point, Point)> {
    let pairs = points.iter().zip(points.iter().skip(1));
    pairs.take_while(move |(a, _)| a.at < hour + HOUR).filter(move |(_, b)| b.at > hour)
}

/// Adds the stretches of the hour over which the increment of a counter is known.
fn cover(points: &Points, limit: RiseLimit, hour: Millis, covered: &mut Spans) {
    for (a, b) in segments(points, hour) {
        if segment::increment(a, b, limit).is_none() {
            continue;
        }
        let (from, to) = (a.at.max(hour), b.at.min(hour + HOUR));
        match covered.last_mut() {
            Some((_, end)) if *end == from => *end = to,
            _ => covered.push((from, to)),
        }
    }
}

/// Tells the parts of a stretch that lie outside of others.
fn outside(others: &Spans, (from, to): (Millis, Millis), mut tell: impl FnMut(Millis, Millis)) {
    let mut from = from;
    for (start, end) in others {
        if *start > from && from < to {
            tell(from, to.min(*start));
        }
        from = from.max(*end);
    }
    if from < to {
        tell(from, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::whole(500.0, 1.0)]
    #[case::tenths(500.3, 0.1)]
    #[case::hundredths(57_586.89, 0.01)]
    #[case::thousandths(57_588.894, 0.001)]
    fn decimals_show_the_steps_of_a_meter(#[case] value: f64, #[case] step: f64) {
        assert_eq!(step_of(value), step);
    }

    #[rstest::rstest]
    #[case(&[], &[(10, 20)])]
    #[case(&[(0, 10), (20, 30)], &[(10, 20)])]
    #[case(&[(0, 12), (14, 16), (18, 30)], &[(12, 14), (16, 18)])]
    #[case(&[(8, 15), (11, 17)], &[(17, 20)])]
    #[case(&[(0, 40)], &[])]
    fn stretches(#[case] others: &[(Millis, Millis)], #[case] want: &[(Millis, Millis)]) {
        let mut told = Vec::new();
        outside(&others.iter().copied().collect(), (10, 20), |from, to| told.push((from, to)));
        assert_eq!(told, want);
    }
}
