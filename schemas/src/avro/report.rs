//! Reports: the hot path, written by hand and read in place.
//!
//! Enters: [`Report`] or its bytes. Leaves: bytes, or what a [`ReportReader`] gives. Guarantees: a report is read in one
//! pass without allocation, and its end says whether it was whole.

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
        ReportReader::new(bytes)?.into_report()
    }
}

/// A report that is read from its bytes in place, reading by reading. Whether the bytes are whole is known at the end.
#[derive(Clone, Debug)]
pub struct ReportReader<'a> {
    view: ReportView<'a>,
    cursor: Cursor<'a>,
    /// Items still to come in this block of the array.
    items: usize,
}

/// The metric of a reading: what the caller made of its code, or the code.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Named<'a, T> {
    /// The caller knows it.
    Known(T),
    /// It does not.
    Unknown(&'a str),
}

impl<'a> ReportReader<'a> {
    /// Begins with a body of the current schema ([`super::Codec::report_body`]).
    ///
    /// # Errors
    /// As for [`Record::decode_body`].
    #[inline]
    pub fn new(body: &'a [u8]) -> Result<ReportReader<'a>, Error> {
        let mut cursor = Cursor::new(Topic::Reports, body);
        let view = ReportView {
            facility: cursor.str("facility")?,
            device: cursor.option("device", |cursor| cursor.str("device"))?,
            observed_at: cursor.long("observed_at")?,
            received_at: cursor.long("received_at")?,
            origin: cursor.str("origin")?,
            sequence: cursor.option("sequence", |cursor| cursor.long("sequence"))?,
        };
        let items = cursor.block("readings")?;
        Ok(ReportReader { view, cursor, items })
    }

    /// All but the readings.
    #[must_use]
    pub fn view(&self) -> ReportView<'a> {
        self.view
    }

    /// The next reading in the sender's order; `None` once the last byte was read. `known` is asked for the bytes of the
    /// metric's code: those that it knows need not be read as text.
    ///
    /// # Errors
    /// As for [`Record::decode_body`]; what was read before is of no use then.
    #[inline]
    pub fn next<T>(
        &mut self,
        known: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<(Named<'a, T>, ValueView<'a>)>, Error> {
        let cursor = &mut self.cursor;
        if self.items == 0 {
            cursor.end()?;
            return Ok(None);
        }
        let mut start = *cursor;
        let metric = match known(cursor.bytes("readings.metric")?) {
            Some(known) => Named::Known(known),
            None => Named::Unknown(start.str("readings.metric")?),
        };
        let value = match cursor.branch("readings.value", 3)? {
            0 => ValueView::Number(cursor.double("readings.value")?),
            1 => ValueView::Text(cursor.str("readings.value")?),
            _ => ValueView::Missing,
        };
        self.items -= 1;
        if self.items == 0 {
            self.items = cursor.block("readings")?;
        }
        Ok(Some((metric, value)))
    }

    fn into_report(mut self) -> Result<Report, Error> {
        let mut readings = SmallVec::new();
        while let Some((metric, value)) = self.next(|_| None::<Code>)? {
            let metric = match metric {
                Named::Known(code) => code,
                Named::Unknown(code) => code.into(),
            };
            readings.push(RawReading { metric, value: value.into() });
        }
        Ok(self.view.with_readings(readings))
    }
}
