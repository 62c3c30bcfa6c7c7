//! Checked reports, flat: what leaves validation for everything behind it.

use std::rc::Rc;

use schemas::Millis;

use super::{Carrier, Checked, CheckedReport, Object};

/// Reports in the order in which they were accepted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CheckedReports {
    heads: Vec<Head>,
    /// The readings of all reports, in their order.
    readings: Vec<Checked>,
}

#[derive(Clone, Debug, PartialEq)]
struct Head {
    object: Rc<Object>,
    observed_at: Millis,
    received_at: Millis,
    carrier: Carrier,
    /// Where its readings end; they begin where those of the report before end.
    end: u32,
}

impl CheckedReports {
    /// No reports, with room for so many reports and readings.
    #[must_use]
    pub fn with_capacity(reports: usize, readings: usize) -> CheckedReports {
        CheckedReports { heads: Vec::with_capacity(reports), readings: Vec::with_capacity(readings) }
    }

    /// How many reports there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// The readings of all reports.
    #[must_use]
    pub fn readings(&self) -> &[Checked] {
        &self.readings
    }

    /// Adds a report behind the last one.
    pub fn push(&mut self, report: CheckedReport<'_>) {
        self.readings.extend_from_slice(report.readings);
        self.close(report.object, (report.observed_at, report.received_at), report.carrier);
    }

    /// Adds one more reading to the report that [`CheckedReports::close`] will end.
    pub fn add(&mut self, reading: Checked) {
        self.readings.push(reading);
    }

    /// Whether readings were added that belong to no report yet.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.readings.len() > self.begin(self.heads.len())
    }

    /// Ends the report whose readings were added: when it was measured and when it arrived, and in which record.
    pub fn close(
        &mut self,
        object: &Rc<Object>,
        (observed_at, received_at): (Millis, Millis),
        carrier: Carrier,
    ) {
        let end = self.readings.len() as u32;
        self.heads.push(Head { object: Rc::clone(object), observed_at, received_at, carrier, end });
    }

    /// The reports in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = CheckedReport<'_>> {
        (0..self.heads.len()).map(|index| self.at(index))
    }

    /// One report.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<CheckedReport<'_>> {
        (index < self.heads.len()).then(|| self.at(index))
    }

    fn at(&self, index: usize) -> CheckedReport<'_> {
        let Head { object, observed_at, received_at, carrier, end } = &self.heads[index];
        let readings = &self.readings[self.begin(index)..*end as usize];
        let (observed_at, received_at, carrier) = (*observed_at, *received_at, *carrier);
        CheckedReport { object, observed_at, received_at, carrier, readings }
    }

    fn begin(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.heads[before].end as usize)
    }
}
