//! What the admission of a report reads and writes beside its object's own state.

use std::rc::Rc;

use schemas::{MetricId, Millis, Reason, Reject, report::ValueView};

use super::{Memory, rule::MetricRule};
use crate::{
    flow::{Carrier, CheckedReports, Object, Observation, Observed, Repeated},
    refuse,
};

/// What the admission of a report reads and writes beside the object's own state.
pub struct Admission<'a> {
    /// The clock of the epoch.
    pub clock: Millis,
    /// The record that is being admitted.
    pub carrier: Carrier,
    /// How much objects remember.
    pub memory: &'a Memory,
    /// By the number of the metric.
    pub rules: &'a [MetricRule],
    /// Name of the reports topic.
    pub topic: &'a str,
    /// Where checked reports go.
    pub reports: &'a mut CheckedReports,
    /// Where repetitions are counted.
    pub repeated: &'a mut Vec<Repeated>,
    /// Where rejects go.
    pub rejects: &'a mut Vec<Reject>,
}

impl Admission<'_> {
    /// Lets the readings that were added to `reports` leave as one report, if there are any.
    pub fn emit(&mut self, object: &Rc<Object>, (observed_at, received_at): (Millis, Millis)) {
        if self.reports.is_open() {
            self.reports.close(object, (observed_at, received_at), self.carrier);
        }
    }

    /// Rejects the second reading of a metric in one report.
    pub fn reject_twice(&mut self, report: &Observation<'_>, reading: &Observed) {
        let detail = format!("{} stands twice in the report, the first is used", reading.metric.code());
        self.reject(
            report,
            (reading.metric, reading.value, report.received_at),
            Reason::DuplicateKey,
            detail,
        );
    }

    /// Rejects a reading that was received before.
    pub fn reject_duplicate(&mut self, report: &Observation<'_>, reading: &Observed) {
        let detail = format!(
            "{} of {} at {} was received before with the same value",
            reading.metric.code(),
            refuse::object(report.into()),
            refuse::at(report.observed_at)
        );
        self.reject(report, (reading.metric, reading.value, report.received_at), Reason::Duplicate, detail);
    }

    /// Rejects a value that was corrected: `old` is the value that is replaced, with when it arrived.
    pub fn reject_superseded(&mut self, report: &Observation<'_>, old: (MetricId, f64, Millis)) {
        let detail = format!(
            "{} of {} at {} was {} until another value arrived for the same time",
            old.0.code(),
            refuse::object(report.into()),
            refuse::at(report.observed_at),
            old.1
        );
        self.reject(report, old, Reason::Superseded, detail);
    }

    /// Rejects one reading of a report, or the one that it replaces: then value and arrival are of that.
    fn reject(
        &mut self,
        report: &Observation<'_>,
        (metric, value, received_at): (MetricId, f64, Millis),
        reason: Reason,
        detail: String,
    ) {
        let header = refuse::Header { received_at, ..report.into() };
        let origin = refuse::origin(self.topic, report.partition, report.offset);
        let reading = (metric.code(), ValueView::Number(value));
        let reject = refuse::reading(header, &origin, reading, reason, detail);
        self.rejects.push(Reject { at: report.received_at, ..reject });
    }
}
