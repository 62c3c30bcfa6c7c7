//! Reports on their own, as tests make them.

use std::rc::Rc;

use schemas::{Code, Millis};

use super::{Carrier, Checked, CheckedReports, Object, Observations, Observed};

/// A [`super::Observation`] on its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    pub facility: Code,
    pub device: Code,
    pub observed_at: Millis,
    pub received_at: Millis,
    pub sequence: Option<i64>,
    pub partition: i32,
    pub offset: i64,
    pub redriven: bool,
    pub readings: Vec<Observed>,
}

impl Observation {
    pub fn view(&self) -> super::Observation<'_> {
        super::Observation {
            facility: &self.facility,
            device: &self.device,
            observed_at: self.observed_at,
            received_at: self.received_at,
            sequence: self.sequence,
            partition: self.partition,
            offset: self.offset,
            redriven: self.redriven,
            readings: &self.readings,
        }
    }
}

impl From<super::Observation<'_>> for Observation {
    fn from(view: super::Observation<'_>) -> Observation {
        Observation {
            facility: view.facility.into(),
            device: view.device.into(),
            observed_at: view.observed_at,
            received_at: view.received_at,
            sequence: view.sequence,
            partition: view.partition,
            offset: view.offset,
            redriven: view.redriven,
            readings: view.readings.to_vec(),
        }
    }
}

impl<O: std::borrow::Borrow<Observation>> FromIterator<O> for Observations {
    fn from_iter<I: IntoIterator<Item = O>>(reports: I) -> Observations {
        let mut reports = reports.into_iter().peekable();
        let mut flat = Observations::of(reports.peek().map_or(0, |first| first.borrow().partition));
        reports.for_each(|report| flat.push(&report.borrow().view()));
        flat
    }
}

/// A [`super::CheckedReport`] on its own.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedReport {
    pub object: Rc<Object>,
    pub observed_at: Millis,
    pub received_at: Millis,
    pub carrier: Carrier,
    pub readings: Vec<Checked>,
}

impl CheckedReport {
    pub fn view(&self) -> super::CheckedReport<'_> {
        super::CheckedReport {
            object: &self.object,
            observed_at: self.observed_at,
            received_at: self.received_at,
            carrier: self.carrier,
            readings: &self.readings,
        }
    }
}

impl<R: std::borrow::Borrow<CheckedReport>> FromIterator<R> for CheckedReports {
    fn from_iter<I: IntoIterator<Item = R>>(reports: I) -> CheckedReports {
        let mut flat = CheckedReports::default();
        for report in reports {
            flat.push(report.borrow().view());
        }
        flat
    }
}
