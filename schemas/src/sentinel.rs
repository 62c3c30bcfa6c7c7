//! What devices say instead of a measurement: limits of registers and agreed values that stand for nothing.
//!
//! The values are data: `catalogue/sentinels.csv`. A genuine value may equal one of them by chance, so that whoever finds
//! one has to look at its neighbours before it is refused.

use std::sync::OnceLock;

use serde::Deserialize;

use crate::{Error, Metric, MetricKind};

/// One value that stands for nothing.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Sentinel {
    /// The value as it stands in the register.
    pub value: f64,
    /// By how many decimal places it may be shifted when it is read.
    pub shifts: u8,
    /// The codes of the metrics that say it, separated by spaces; empty for every gauge.
    #[serde(default)]
    pub metrics: String,
    /// Who says it.
    pub meaning: String,
}

impl Sentinel {
    /// Those that ship with the product.
    #[must_use]
    pub fn in_force() -> &'static [Sentinel] {
        static BUILTIN: OnceLock<Vec<Sentinel>> = OnceLock::new();
        BUILTIN.get_or_init(|| {
            // A test reads every line of this file, so it cannot be malformed in a released binary.
            Sentinel::read("sentinels.csv", include_str!("../catalogue/sentinels.csv"))
                .unwrap_or_else(|error| panic!("{error}"))
        })
    }

    /// Reads sentinels from CSV text.
    ///
    /// # Errors
    /// [`Error::Catalogue`] with the first malformed line.
    pub fn read(file: &str, text: &str) -> Result<Vec<Sentinel>, Error> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        let rows = reader.deserialize().enumerate();
        let wrong = |row: usize, error: &csv::Error| {
            let line = error.position().map_or(row + 2, |position| position.line() as usize);
            Error::Catalogue { file: file.to_owned(), line, detail: error.to_string() }
        };
        rows.map(|(row, sentinel)| sentinel.map_err(|error| wrong(row, &error))).collect()
    }

    /// The values within a gauge's range that may stand for nothing, in its unit. A shift shows as many decimals, of which
    /// devices send at most one more than the metric has; what lies out of range fails anyway.
    #[must_use]
    pub fn values_of(metric: &Metric) -> Vec<f64> {
        if metric.kind != MetricKind::Gauge {
            return Vec::new();
        }
        let says = |sentinel: &&Sentinel| {
            sentinel.metrics.is_empty() || sentinel.metrics.split(' ').any(|code| code == metric.code)
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

    #[test]
    fn the_shipped_file_names_metrics_that_exist() {
        assert!(Sentinel::in_force().len() >= 8);
        for sentinel in Sentinel::in_force() {
            let mut codes = sentinel.metrics.split(' ').filter(|code| !code.is_empty());
            assert!(codes.all(|code| Catalogue::in_force().id(code).is_some()), "{sentinel:?}");
        }
        let error = Sentinel::read("s.csv", "value,shifts,metrics,meaning\n85,x,,power on\n").unwrap_err();
        assert!(error.to_string().contains("s.csv:2"), "{error}");
    }
}
