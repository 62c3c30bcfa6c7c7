//! The limits that the tests of one metric go by, prepared from the catalogue.

use schemas::{Catalogue, Metric, MetricKind, Millis, Sentinel, Zero, time};

use crate::capacity::RiseLimit;

/// The limits of one metric.
#[derive(Clone, Debug)]
pub struct MetricRule {
    /// Least and greatest physically possible value, in the unit.
    pub range: (f64, f64),
    /// Only 0 and 1 are possible.
    pub state: bool,
    /// Zero may say that nothing was measured: a quantity, and no state or position.
    pub quantity: bool,
    /// What exactly zero says.
    pub zero: Option<Zero>,
    /// Values that may stand for nothing, where readings are compared.
    pub sentinels: Box<[f64]>,
    /// Counts up until it is reset.
    pub counter: bool,
    /// How far a counter of an object can rise, or another quantity change, of which the registry says nothing.
    pub rise: RiseLimit,
    /// 10 to the number of decimals, for packing values.
    pub scale: f64,
    /// Suspect beyond this distance from both neighbours, failed beyond twice of it.
    pub spike: Option<f64>,
    /// When an unchanged value is doubtful.
    pub flat: Option<Flat>,
}

/// When an unchanged value is doubtful.
#[derive(Clone, Copy, Debug)]
pub struct Flat {
    /// Values whose range stays below this are unchanged, in the unit.
    pub tolerance: f64,
    /// Unchanged for this long is suspect, ms.
    pub suspect: Millis,
    /// Unchanged for this long fails, ms.
    pub fail: Millis,
    /// Values nearer to zero than this may stand still, in the unit.
    pub above: f64,
    /// A silence longer than this says nothing about what happened in it, ms.
    pub longest_gap: Millis,
}

impl MetricRule {
    /// The rule of every metric of the catalogue, by number.
    #[must_use]
    pub fn all(catalogue: &Catalogue) -> Vec<MetricRule> {
        catalogue.iter().map(|(_, metric)| MetricRule::of(metric)).collect()
    }

    /// The rule of one metric.
    #[must_use]
    pub fn of(metric: &Metric) -> MetricRule {
        let duration = |seconds: Option<u32>| seconds.map_or(Millis::MAX, |s| Millis::from(s) * time::SECOND);
        let (suspect, fail) = (duration(metric.flat_suspect), duration(metric.flat_fail));
        let least = suspect.min(fail);
        let flat = metric.flat_tolerance.filter(|_| least < Millis::MAX);
        MetricRule {
            range: (metric.min, metric.max),
            state: metric.kind == MetricKind::State,
            quantity: matches!(metric.kind, MetricKind::Gauge | MetricKind::Counter),
            zero: metric.zero,
            sentinels: Sentinel::values_of(metric).into(),
            counter: is_counter(metric),
            rise: rise_limit(metric, None),
            scale: 10f64.powi(i32::from(metric.decimals)),
            spike: metric.spike,
            flat: flat.map(|tolerance| Flat {
                tolerance,
                suspect,
                fail,
                above: metric.flat_above.unwrap_or(0.0),
                longest_gap: least / 2,
            }),
        }
    }

    /// Whether a value is one that may stand for nothing.
    #[inline]
    #[must_use]
    pub fn is_sentinel(&self, value: f64) -> bool {
        self.sentinels.contains(&value)
    }

    /// Whether any test compares a reading with its neighbours.
    #[must_use]
    pub fn compares(&self) -> bool {
        self.counter || self.spike.is_some() || self.rise.per_minute.is_finite() || self.flat.is_some()
    }
}

/// How far a metric can move at what resolution its values have, where that is not one of its last decimal.
///
/// Both ends of a change are rounded, or flicker by a digit, so that two steps are always possible, however short the time.
/// A counter's limit is the catalogue's: what it counts is limited by what the object can carry.
#[must_use]
pub fn rise_limit(metric: &Metric, resolution: Option<f64>) -> RiseLimit {
    if is_counter(metric) {
        return RiseLimit::of_catalogue(metric);
    }
    let resolution = resolution.filter(|step| step.is_finite() && *step > 0.0);
    let step = resolution.unwrap_or_else(|| 10f64.powi(-i32::from(metric.decimals)));
    RiseLimit { per_minute: metric.max_rate.unwrap_or(f64::INFINITY), step: 2.0 * step }
}

/// Whether a metric counts up until it is reset.
#[must_use]
pub fn is_counter(metric: &Metric) -> bool {
    metric.kind == MetricKind::Counter
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(code: &str) -> MetricRule {
        let catalogue = Catalogue::in_force();
        MetricRule::of(catalogue.metric(catalogue.id(code).unwrap()))
    }

    #[test]
    fn flat_limits_need_a_tolerance_and_a_duration() {
        assert!(rule("room_temp").flat.is_some());
        assert!(rule("makeup_flow").flat.is_none());
        assert!(!rule("makeup_flow").compares());
        assert!(rule("heat_total").compares());
    }
}
