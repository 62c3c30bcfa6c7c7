//! What devices say instead of a measurement: limits of registers and agreed values that stand for nothing.
//!
//! The values are data: `catalogue/sentinels.csv`, and a file of the user's. A genuine value may equal one of them by
//! chance, so that whoever finds one has to look at its neighbours before it is refused.

use crate::{Metric, MetricKind, catalogues};

/// One value that stands for nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Sentinel {
    /// The value as it stands in the register.
    pub value: f64,
    /// By how many decimal places it may be shifted when it is read.
    pub shifts: u8,
    /// The codes of the metrics that say it, separated by spaces; empty for every gauge.
    pub metrics: String,
    /// Who says it.
    pub meaning: String,
}

impl Sentinel {
    /// The shipped ones, and those that the user adds ([`crate::catalogues`]).
    #[must_use]
    pub fn in_force() -> &'static [Sentinel] {
        catalogues::in_force().sentinels()
    }

    /// The codes of the metrics that say it; none when every gauge does.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        self.metrics.split_whitespace()
    }

    /// The values within a gauge's range that may stand for nothing, in its unit. A shift shows as many decimals, of which
    /// devices send at most one more than the metric has; what lies out of range fails anyway.
    #[must_use]
    pub fn values_of(metric: &Metric) -> Vec<f64> {
        if metric.kind != MetricKind::Gauge {
            return Vec::new();
        }
        let says = |sentinel: &&Sentinel| {
            sentinel.metrics.is_empty() || sentinel.codes().any(|code| code == metric.code)
        };
        let shifted = |sentinel: &Sentinel| {
            let (value, most) = (sentinel.value, sentinel.shifts.min(metric.decimals + 1));
            (0..=most).map(move |shift| value / 10f64.powi(i32::from(shift)))
        };
        let values = Sentinel::in_force().iter().filter(says).flat_map(shifted);
        values.filter(|value| (metric.min..=metric.max).contains(value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalogue;

    #[rstest::rstest]
    #[case("heat_power", &[65535.0, 6553.5, 655.35, 32767.0, 3276.7, 327.67, -327.68, 32768.0, 3276.8, 327.68, 9999.0, -999.0])]
    #[case("makeup_flow", &[65.535, 6.5535, 327.67, 32.767, 3.2767, 327.68, 32.768, 3.2768])]
    #[case("secondary_supply_temp", &[])]
    #[case("supply_air_temp", &[85.0])]
    #[case("room_temp", &[])]
    #[case("heat_total", &[])]
    fn values(#[case] code: &str, #[case] want: &[f64]) {
        let catalogue = Catalogue::in_force();
        assert_eq!(Sentinel::values_of(catalogue.metric(catalogue.id(code).unwrap())), want);
    }
}
