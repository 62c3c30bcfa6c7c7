//! One report of one object, as it lies on `heating.reports`: undecided, uninterpreted.

use smallvec::SmallVec;

use crate::{Code, Millis};

/// The greatest length of a facility's or a device's code, in bytes.
pub const MAX_CODE: usize = 128;
/// What the origin of a report begins with that was a reject and was sent again.
pub const REDRIVEN: &str = "redriven:";
/// How many readings one report may hold, so that it fits a Kafka message and readings are counted in 16 bits.
pub const MAX_READINGS: usize = 2_048;

/// A value as the sender wrote it.
#[derive(Clone, Debug, PartialEq)]
pub enum RawValue {
    /// A number.
    Number(f64),
    /// Text where a number belongs; the dataflow reads it with [`crate::number::parse`] and marks it.
    Text(String),
    /// Reported as not measured.
    Missing,
}

/// One metric of a report.
#[derive(Clone, Debug, PartialEq)]
pub struct RawReading {
    /// Metric code of the catalogue, or one that is not known.
    pub metric: Code,
    /// The value as written.
    pub value: RawValue,
}

/// What one object measured at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Facility code; also the Kafka key.
    pub facility: Code,
    /// Device code when the report is of a device of the facility.
    pub device: Option<Code>,
    /// When it was measured.
    pub observed_at: Millis,
    /// When it arrived at the platform.
    pub received_at: Millis,
    /// Connector and peer, such as `http:198.51.100.7`.
    pub origin: Code,
    /// The sender's own counter, at least 0.
    pub sequence: Option<i64>,
    /// The readings. None when nothing of what was sent could be used: then the report says only that its object is in
    /// contact, and a time that cannot be true that the object's clock is wrong.
    pub readings: SmallVec<[RawReading; 4]>,
}

/// A [`Report`] read in place from its Avro bytes, without allocation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReportView<'a> {
    /// See [`Report::facility`].
    pub facility: &'a str,
    /// See [`Report::device`].
    pub device: Option<&'a str>,
    /// See [`Report::observed_at`].
    pub observed_at: Millis,
    /// See [`Report::received_at`].
    pub received_at: Millis,
    /// See [`Report::origin`].
    pub origin: &'a str,
    /// See [`Report::sequence`].
    pub sequence: Option<i64>,
}

impl ReportView<'_> {
    /// The report with these readings.
    #[must_use]
    pub fn with_readings(self, readings: SmallVec<[RawReading; 4]>) -> Report {
        Report {
            facility: self.facility.into(),
            device: self.device.map(Code::from),
            observed_at: self.observed_at,
            received_at: self.received_at,
            origin: self.origin.into(),
            sequence: self.sequence,
            readings,
        }
    }
}

/// A value read in place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueView<'a> {
    /// A number.
    Number(f64),
    /// Text where a number belongs.
    Text(&'a str),
    /// Reported as not measured.
    Missing,
}

impl From<ValueView<'_>> for RawValue {
    fn from(view: ValueView<'_>) -> Self {
        match view {
            ValueView::Number(value) => RawValue::Number(value),
            ValueView::Text(text) => RawValue::Text(text.to_owned()),
            ValueView::Missing => RawValue::Missing,
        }
    }
}
