//! What lies between two consecutive usable points of a series, cut into hours.
//!
//! Enters: two points a < b. Leaves: amounts per hour and component. Guarantees: a function of the two points alone, so
//! that a late point costs its neighbours only: take (a, b) back, put (a, x) and (x, b).
//!
//! Between two points a gauge runs straight (the trapezoid rule): sampled values of temperatures, flows and powers are
//! states on a smooth curve, and a straight line is exact for ramps, where holding the last value lags half an interval.
//! Across a gap of more than the gap limit nothing is known of a gauge. A counter's increment is known across any gap,
//! and is shared out evenly over the time, where the object can have counted so much in it ([`RiseLimit`]). What falls
//! into hours that are closed, or days so far back that they may be ([`Calendar::dated_from`]), is dated to no hour: it
//! is [`Undated`] and belongs to the day in which the increment ends, as a bill does to the day of the reading. A counter
//! that falls was reset: its value counts when the object can have counted that since. What is more is another meter,
//! another unit or garbage: nothing is known of that time.

use schemas::{
    Millis,
    time::{DAY, HOUR},
};

use super::{
    calendar::Calendar,
    facts::Component,
    points::Point,
    quantity::{Feeds, Quantity, Rise},
};
use crate::capacity::RiseLimit;

/// No segment contributes more, in thousandths of the unit times seconds: an absurd value must not make a sum leave its 64
/// bits, from which it could not be taken back.
const GREATEST_INTEGRAL: f64 = 1e14;

/// What the contribution of a segment depends on besides its points.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Which days are open when a counter's value comes.
    pub calendar: &'a Calendar,
    /// Gauges say nothing about gaps longer than this, ms.
    pub gap: Millis,
    /// The room temperature that must be reached, °C.
    pub standard: f64,
    /// Above this a room is over-heated, °C.
    pub over_high: f64,
    /// Hours before this one are closed and get nothing themselves.
    pub floor: Millis,
    /// How far the counters can rise.
    pub rises: Rises,
}

/// How far the counters of an object can rise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rises {
    /// Heat, GJ.
    pub heat: RiseLimit,
    /// Make-up water, m³.
    pub makeup: RiseLimit,
    /// Electricity, kWh.
    pub electricity: RiseLimit,
}

impl Rises {
    /// Any rise is possible: of objects without counters.
    pub const ANY: Rises =
        Rises { heat: RiseLimit::NONE, makeup: RiseLimit::NONE, electricity: RiseLimit::NONE };

    fn of(&self, rise: Rise) -> RiseLimit {
        match rise {
            Rise::Heat => self.heat,
            Rise::Makeup => self.makeup,
            Rise::Electricity => self.electricity,
        }
    }
}

/// What of a counter's increment is dated to no hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Undated {
    /// The last hour of the increment; its day gets the amount.
    pub hour: Millis,
    /// What was counted.
    pub component: Component,
    /// How much of it.
    pub amount: i64,
    /// For how long, ms; negative, as the amount, where it is taken back.
    pub time: Millis,
    /// From when until when.
    pub span: (Millis, Millis),
}

/// What of the segment between two values of a counter is dated to no hour.
pub fn undated(quantity: Quantity, (a, b): (Point, Point), terms: &Terms<'_>) -> Option<Undated> {
    if b.at < terms.floor {
        return None;
    }
    let from = dated_from((a, b), terms);
    if from <= a.at {
        return None;
    }
    let Feeds::Counter([component, _], per_unit, rise) = quantity.feeds() else { return None };
    let amount = counted((a, b), increment(a, b, terms.rises.of(rise))? * per_unit, from);
    let hour = Calendar::hour((b.at - 1).max(from));
    Some(Undated { hour, component, amount, time: from - a.at, span: (a.at, from) })
}

fn dated_from((a, b): (Point, Point), terms: &Terms<'_>) -> Millis {
    terms.calendar.dated_from(a.at, b.at).max(terms.floor)
}

/// How much of an increment was counted by a time. Rounding the running total, not the shares, conserves the increment.
fn counted((a, b): (Point, Point), increment: f64, at: Millis) -> i64 {
    ((at - a.at) as f64 / (b.at - a.at) as f64 * increment).round() as i64
}

/// Tells what the segment between two points contributes: (hour, component, amount).
pub fn contribute(
    quantity: Quantity,
    (a, b): (Point, Point),
    terms: &Terms<'_>,
    tell: &mut impl FnMut(Millis, Component, i64),
) {
    use Component as C;
    match quantity.feeds() {
        Feeds::Counter(components, per_unit, rise) => {
            let Some(increment) = increment(a, b, terms.rises.of(rise)) else { return };
            count(components, increment * per_unit, (a, b), terms, tell);
        }
        Feeds::Integral(integral, time) => integrate(integral, time, (a, b), terms, tell),
        Feeds::Room => {
            integrate(C::Room, Some(C::RoomTime), (a, b), terms, tell);
            pieces((a, b), terms, Some(terms.gap), |hour, from, to| {
                tell(hour, C::RoomCompliant, time_above(from, to, terms.standard, true));
                tell(hour, C::RoomOverHigh, time_above(from, to, terms.over_high, false));
            });
        }
        Feeds::Nothing => {}
    }
}

/// Tells the time between two reports as online when it is within the gap limit.
pub fn online(a: Millis, b: Millis, terms: &Terms<'_>, tell: &mut impl FnMut(Millis, Component, i64)) {
    let beat = |at| Point { at, value: 0.0 };
    pieces((beat(a), beat(b)), terms, Some(terms.gap), |hour, from, to| {
        tell(hour, Component::Online, to.at - from.at);
    });
}

fn integrate(
    integral: Component,
    time: Option<Component>,
    ends: (Point, Point),
    terms: &Terms<'_>,
    tell: &mut impl FnMut(Millis, Component, i64),
) {
    pieces(ends, terms, Some(terms.gap), |hour, from, to| {
        tell(hour, integral, area(from, to));
        if let Some(time) = time {
            tell(hour, time, to.at - from.at);
        }
    });
}

/// The integral of the straight line between two points from one time to another, in thousandths of the unit, times
/// seconds.
pub(super) fn integral((a, b): (Point, Point), from: Millis, to: Millis) -> i64 {
    area(on_line((a, b), from), on_line((a, b), to))
}

/// A unit times a millisecond is a thousandth of a unit times a second.
fn area(from: Point, to: Point) -> i64 {
    let area = (from.value + to.value) * 0.5 * (to.at - from.at) as f64;
    area.clamp(-GREATEST_INTEGRAL, GREATEST_INTEGRAL).round() as i64
}

fn count(
    [amount, time]: [Component; 2],
    increment: f64,
    (a, b): (Point, Point),
    terms: &Terms<'_>,
    tell: &mut impl FnMut(Millis, Component, i64),
) {
    let until = |at| counted((a, b), increment, at);
    let dated = Terms { floor: dated_from((a, b), terms), ..*terms };
    pieces((a, b), &dated, None, |hour, from, to| {
        tell(hour, amount, until(to.at) - until(from.at));
        tell(hour, time, to.at - from.at);
    });
}

/// How far a counter went up, in its unit; `None` when that cannot be known.
pub(super) fn increment(a: Point, b: Point, limit: RiseLimit) -> Option<f64> {
    let up = if b.value >= a.value { b.value - a.value } else { b.value };
    (up >= 0.0 && limit.allows(up, b.at - a.at)).then_some(up)
}

/// Between points further apart nothing is known of any hour: one false time must not make hundreds of thousands of them.
const LONGEST: Millis = 366 * DAY;

/// Cuts a segment at the hours, from the floor on, and tells each piece with the straight line's values at its ends.
fn pieces(
    (a, b): (Point, Point),
    terms: &Terms<'_>,
    gap: Option<Millis>,
    mut tell: impl FnMut(Millis, Point, Point),
) {
    if b.at - a.at > gap.unwrap_or(LONGEST).min(LONGEST) {
        return;
    }
    let mut from = a.at.max(terms.floor);
    while from < b.at {
        let hour = Calendar::hour(from);
        let to = b.at.min(hour + HOUR);
        tell(hour, on_line((a, b), from), on_line((a, b), to));
        from = to;
    }
}

/// The point of the straight line between two points at a time.
fn on_line((a, b): (Point, Point), at: Millis) -> Point {
    let value = match at {
        at if at == a.at => a.value,
        at if at == b.at => b.value,
        _ => a.value + (b.value - a.value) * ((at - a.at) as f64 / (b.at - a.at) as f64),
    };
    Point { at, value }
}

/// How long a straight line runs above a limit, ms; with `reached`, a line that lies on it counts.
fn time_above(from: Point, to: Point, limit: f64, reached: bool) -> i64 {
    let above = |value: f64| value > limit || (reached && value == limit);
    let span = to.at - from.at;
    match (above(from.value), above(to.value)) {
        (true, true) => span,
        (false, false) => 0,
        (rising_from, _) => {
            let share = (limit - from.value) / (to.value - from.value);
            let crossed = (share * span as f64).round() as i64;
            if rising_from { crossed } else { span - crossed }
        }
    }
}

#[cfg(test)]
mod tests {
    use schemas::time::MINUTE;

    use super::*;
    use crate::window::facts::Facts;

    const RISES: Rises = Rises { heat: RiseLimit { per_minute: 60.0, step: 1.0 }, ..Rises::ANY };

    fn told(quantity: Quantity, a: (i64, f64), b: (i64, f64), floor: Millis) -> Vec<(i64, Facts)> {
        let point = |(minute, value): (i64, f64)| Point { at: minute * MINUTE, value };
        let calendar = &Calendar::default();
        let terms =
            &Terms { calendar, gap: 10 * MINUTE, standard: 18.0, over_high: 24.0, floor, rises: RISES };
        let mut hours = std::collections::BTreeMap::<i64, Facts>::new();
        contribute(quantity, (point(a), point(b)), terms, &mut |hour, component, amount| {
            hours.entry(hour / HOUR).or_default().add(component, amount);
        });
        hours.into_iter().collect()
    }

    #[rstest::rstest]
    #[case::within_an_hour((10, 5.0), (14, 6.0), &[(0, 1_000_000_000)])]
    #[case::shared_over_two_hours((50, 5.0), (70, 7.0), &[(0, 1_000_000_000), (1, 1_000_000_000)])]
    #[case::conserved_over_a_long_gap((0, 0.0), (180, 0.003), &[(0, 1_000_000), (1, 1_000_000), (2, 1_000_000)])]
    #[case::over_more_than_a_year((0, 0.0), (36 * 365 * 1_440, 1.0), &[])]
    #[case::reset_near_zero((0, 900.0), (1, 2.0), &[(0, 2_000_000_000)])]
    #[case::fall_to_a_high_value((0, 900.0), (1, 100.0), &[])]
    #[case::as_steep_as_can_be((0, 900.0), (1, 961.0), &[(0, 61_000_000_000)])]
    #[case::another_meter((0, 900.0), (1, 962.0), &[])]
    #[case::another_meter_after_an_outage((0, 900.0), (60, 4_600.0), &[])]
    fn counters(#[case] a: (i64, f64), #[case] b: (i64, f64), #[case] want: &[(i64, i64)]) {
        let told: Vec<(i64, i64)> = told(Quantity::HeatCounter, a, b, Millis::MIN)
            .iter()
            .map(|(hour, facts)| (*hour, facts.get(Component::HeatCounter)))
            .collect();
        assert_eq!(told, want);
    }

    #[test]
    fn gauges_are_trapezoids_within_the_gap_limit() {
        let hours = told(Quantity::Outdoor, (55, -10.0), (65, -20.0), Millis::MIN);
        let integral = |n: usize| hours[n].1.get(Component::Outdoor);
        assert_eq!((integral(0), integral(1)), (-12_500 * 300, -17_500 * 300));
        assert_eq!(hours[1].1.get(Component::OutdoorTime), 5 * MINUTE);
        assert!(told(Quantity::Outdoor, (0, 1.0), (11, 1.0), Millis::MIN).is_empty());
    }

    #[test]
    fn closed_hours_get_nothing() {
        let hours = told(Quantity::Makeup, (30, 0.0), (90, 1.0), HOUR);
        assert_eq!(hours.len(), 1);
        assert_eq!(hours[0].1.get(Component::Makeup), 500_000);
    }

    #[rstest::rstest]
    #[case(18.0, 18.0, 10, 0)]
    #[case(17.0, 19.0, 5, 0)]
    #[case(19.0, 17.0, 5, 0)]
    #[case(24.0, 24.0, 10, 0)]
    #[case(23.0, 25.0, 10, 5)]
    #[case(17.9, 17.9, 0, 0)]
    fn rooms(#[case] from: f64, #[case] to: f64, #[case] compliant: i64, #[case] over_high: i64) {
        let hours = told(Quantity::Room, (0, from), (10, to), Millis::MIN);
        let facts = &hours[0].1;
        assert_eq!(facts.get(Component::RoomCompliant), compliant * MINUTE);
        assert_eq!(facts.get(Component::RoomOverHigh), over_high * MINUTE);
        assert_eq!(facts.get(Component::RoomTime), 10 * MINUTE);
    }
}
