//! Reports: the hot path, written by hand and read in place.
//!
//! Enters: [`Report`] or its bytes. Leaves: bytes or a [`ViewedReport`]. Guarantees: a report of the current schema is
//! checked to its last byte before anything of it is used, and is read without allocation.

use smallvec::SmallVec;

use super::{
    Record,
    wire::{Cursor, Put},
};
use crate::{Code, Error, RawReading, RawValue, Report, ReportView, Topic, report::ValueView};

impl Record for Report {
    const TOPIC: Topic = Topic::Reports;

    fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.put_str(&self.facility);
        out.put_option(self.device.as_deref(), |out, device| out.put_str(device));
        out.put_long(self.observed_at);
        out.put_long(self.received_at);
        out.put_str(&self.origin);
        out.put_option(self.sequence, |out, sequence| out.put_long(sequence));
        if !self.readings.is_empty() {
            out.put_long(self.readings.len() as i64);
        }
        for reading in &self.readings {
            out.put_str(&reading.metric);
            match &reading.value {
                RawValue::Number(value) => {
                    out.put_long(0);
                    out.put_double(*value);
                }
                RawValue::Text(text) => {
                    out.put_long(1);
                    out.put_str(text);
                }
                RawValue::Missing => out.put_long(2),
            }
        }
        out.put_long(0);
        Ok(())
    }

    fn decode_body(bytes: &[u8]) -> Result<Self, Error> {
        view(bytes).map(ViewedReport::into_report)
    }
}

/// A report whose bytes are known to be whole.
#[derive(Clone, Debug)]
pub enum ViewedReport<'a> {
    /// Of the current schema: read in place.
    Borrowed {
        /// All but the readings.
        view: ReportView<'a>,
        /// The readings, in the sender's order.
        readings: Readings<'a>,
    },
    /// Of an older schema: resolved to the current one.
    Owned(Box<Report>),
}

impl ViewedReport<'_> {
    /// All but the readings.
    #[must_use]
    pub fn view(&self) -> ReportView<'_> {
        match self {
            ViewedReport::Borrowed { view, .. } => *view,
            ViewedReport::Owned(report) => ReportView {
                facility: &report.facility,
                device: report.device.as_deref(),
                observed_at: report.observed_at,
                received_at: report.received_at,
                origin: &report.origin,
                sequence: report.sequence,
            },
        }
    }

    /// The metric codes and values, in the sender's order.
    #[must_use]
    pub fn readings(&self) -> Readings<'_> {
        match self {
            ViewedReport::Borrowed { readings, .. } => readings.clone(),
            ViewedReport::Owned(report) => Readings(Source::Owned(report.readings.iter())),
        }
    }

    /// The report on its own.
    #[must_use]
    pub fn into_report(self) -> Report {
        match self {
            ViewedReport::Owned(report) => *report,
            ViewedReport::Borrowed { view, readings } => Report {
                facility: view.facility.into(),
                device: view.device.map(Code::from),
                observed_at: view.observed_at,
                received_at: view.received_at,
                origin: view.origin.into(),
                sequence: view.sequence,
                readings: readings
                    .map(|(metric, value)| RawReading { metric: metric.into(), value: value.into() })
                    .collect::<SmallVec<_>>(),
            },
        }
    }
}

/// The readings of a [`ViewedReport`]: metric code and value.
#[derive(Clone, Debug)]
pub struct Readings<'a>(Source<'a>);

#[derive(Clone, Debug)]
enum Source<'a> {
    Encoded(Encoded<'a>),
    Owned(std::slice::Iter<'a, RawReading>),
}

impl<'a> Iterator for Readings<'a> {
    type Item = (&'a str, ValueView<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            // `view` has read these bytes to the end before, so there is no error to hide.
            Source::Encoded(encoded) => encoded.next().ok().flatten(),
            Source::Owned(readings) => readings.next().map(|reading| {
                let value = match &reading.value {
                    RawValue::Number(value) => ValueView::Number(*value),
                    RawValue::Text(text) => ValueView::Text(text),
                    RawValue::Missing => ValueView::Missing,
                };
                (reading.metric.as_str(), value)
            }),
        }
    }
}

/// The array of readings, as bytes.
#[derive(Clone, Debug)]
struct Encoded<'a> {
    cursor: Cursor<'a>,
    /// Items still to come in this block.
    items: usize,
    ended: bool,
}

impl<'a> Encoded<'a> {
    #[inline]
    fn next(&mut self) -> Result<Option<(&'a str, ValueView<'a>)>, Error> {
        if self.items == 0 && !self.ended {
            self.items = self.cursor.block("readings")?;
            self.ended = self.items == 0;
        }
        if self.ended {
            return Ok(None);
        }
        self.items -= 1;
        let metric = self.cursor.str("readings.metric")?;
        let value = match self.cursor.branch("readings.value", 3)? {
            0 => ValueView::Number(self.cursor.double("readings.value")?),
            1 => ValueView::Text(self.cursor.str("readings.value")?),
            _ => ValueView::Missing,
        };
        Ok(Some((metric, value)))
    }
}

/// Reads a body of the current schema in place, all of it.
pub(super) fn view(bytes: &[u8]) -> Result<ViewedReport<'_>, Error> {
    let mut cursor = Cursor::new(Topic::Reports, bytes);
    let view = ReportView {
        facility: cursor.str("facility")?,
        device: cursor.option("device", |cursor| cursor.str("device"))?,
        observed_at: cursor.long("observed_at")?,
        received_at: cursor.long("received_at")?,
        origin: cursor.str("origin")?,
        sequence: cursor.option("sequence", |cursor| cursor.long("sequence"))?,
    };
    let mut readings = Encoded { cursor, items: 0, ended: false };
    let first = readings.clone();
    while readings.next()?.is_some() {}
    readings.cursor.end()?;
    Ok(ViewedReport::Borrowed { view, readings: Readings(Source::Encoded(first)) })
}
