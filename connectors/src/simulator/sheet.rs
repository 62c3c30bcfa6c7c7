//! One report being filled in.

use schemas::{Code, Millis, RawReading, RawValue, Report};

/// Origin of every simulated report that goes to Kafka directly.
pub(super) const ORIGIN: Code = Code::const_new("simulator");

/// A report under construction. Metric codes are static, so filling in a value allocates nothing by itself.
pub(super) struct Sheet(pub(super) Report);

impl Sheet {
    pub(super) fn new(facility: &Code, device: Option<&Code>, observed_at: Millis, readings: usize) -> Self {
        let mut report = Report {
            facility: facility.clone(),
            device: device.cloned(),
            observed_at,
            received_at: observed_at,
            origin: ORIGIN,
            sequence: None,
            readings: Default::default(),
        };
        report.readings.reserve(readings);
        Sheet(report)
    }

    fn put(&mut self, metric: &'static str, value: f64) -> &mut Self {
        let value = RawValue::Number(value);
        self.0.readings.push(RawReading { metric: Code::const_new(metric), value });
        self
    }

    /// A state.
    pub(super) fn state(&mut self, metric: &'static str, on: bool) -> &mut Self {
        self.put(metric, f64::from(u8::from(on)))
    }

    /// A value without decimals.
    pub(super) fn whole(&mut self, metric: &'static str, value: f64) -> &mut Self {
        self.put(metric, value.round())
    }

    /// A value with one decimal.
    pub(super) fn tenths(&mut self, metric: &'static str, value: f64) -> &mut Self {
        self.put(metric, (value * 10.0).round() / 10.0)
    }

    /// A value with two decimals.
    pub(super) fn hundredths(&mut self, metric: &'static str, value: f64) -> &mut Self {
        self.put(metric, (value * 100.0).round() / 100.0)
    }

    /// A value with three decimals.
    pub(super) fn thousandths(&mut self, metric: &'static str, value: f64) -> &mut Self {
        self.put(metric, (value * 1e3).round() / 1e3)
    }

    /// A coordinate, with six decimals.
    pub(super) fn degrees(&mut self, metric: &'static str, value: f64) -> &mut Self {
        self.put(metric, (value * 1e6).round() / 1e6)
    }
}
