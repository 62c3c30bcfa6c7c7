//! Sentinels: what devices say instead of a measurement. A zero that physics forbids and a report of zeros alone are none by
//! themselves; a value that may stand for nothing is none unless a neighbour makes it likely.

use schemas::Zero;

use super::{
    super::{mark::Mark, neighbours::Point, rule::MetricRule},
    Own,
};
use crate::flow::Observed;

/// A value that equals the limit of a register is genuine when it differs from a neighbour by at most this share of it. Wide,
/// as flows move: garbage is far from what it replaces, and where it is not it does little harm.
const GENUINE_WITHIN: f64 = 0.2;
/// A report with fewer quantities may well have only zeros.
const LEAST_OF_BLANK: usize = 3;

pub fn judge(own: &Own<'_>) -> Mark {
    let rule = own.rule;
    let none = own.blank && rule.quantity || rule.zero == Some(Zero::Never) && own.reading.value == 0.0;
    if none { Mark::NO_MEASUREMENT } else { Mark::CLEAN }
}

/// Whether a value stands for nothing by the looks of its neighbours: `last` is the value before it that was believed,
/// `next` the reading after it.
#[inline]
#[must_use]
pub fn stands_for_nothing(rule: &MetricRule, value: f64, last: f64, next: Option<Point>) -> bool {
    let near = |neighbour: f64| (value - neighbour).abs() <= GENUINE_WITHIN * value.abs();
    rule.is_sentinel(value) && !near(last) && !next.is_some_and(|next| near(next.1))
}

/// Whether a report says nothing but zero, as a gateway does for a device that it does not reach: at least three quantities,
/// all exactly zero, and one among them that is not zero beside the others. The zeros of a station that rests are none
/// of these: its water is warm. This needs no history, so that it does not depend on what else has arrived.
#[must_use]
pub fn is_blank(readings: &[Observed], rules: &[MetricRule]) -> bool {
    let (mut quantities, mut told) = (0, false);
    for reading in readings {
        let rule = &rules[usize::from(reading.metric.0)];
        if rule.quantity {
            if reading.value != 0.0 {
                return false;
            }
            quantities += 1;
            told |= rule.zero.is_some();
        }
    }
    told && quantities >= LEAST_OF_BLANK
}
