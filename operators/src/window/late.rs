//! What comes after its windows have closed: it is stored and flagged, and revises nothing; nothing of that is silent.
//!
//! Enters: reports that windows cannot take any more. Leaves: how many readings they held, by enterprise and metric.

use std::collections::BTreeMap;

use schemas::{Code, Facility, MetricId};

/// Readings that came too late in an epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TooLate {
    /// By enterprise, empty where a facility has none, and metric.
    counts: BTreeMap<(Code, MetricId), u64>,
    /// The facility that sent some whose code is the least.
    facility: Option<Code>,
}

impl TooLate {
    /// Counts the readings of a facility's report.
    pub fn count(&mut self, facility: &Facility, metrics: impl Iterator<Item = MetricId>) {
        let mut some = false;
        for metric in metrics {
            let enterprise = facility.enterprise.clone().unwrap_or_default();
            *self.counts.entry((enterprise, metric)).or_default() += 1;
            some = true;
        }
        if some {
            self.name(&facility.code);
        }
    }

    /// Takes another worker's counts in.
    pub fn unite(&mut self, other: &TooLate) {
        for (key, readings) in &other.counts {
            *self.counts.entry(key.clone()).or_default() += readings;
        }
        other.facility.iter().for_each(|facility| self.name(facility));
    }

    fn name(&mut self, facility: &Code) {
        if self.facility.as_ref().is_none_or(|least| facility < least) {
            self.facility = Some(facility.clone());
        }
    }

    /// How many readings there are.
    #[must_use]
    pub fn readings(&self) -> u64 {
        self.counts.values().sum()
    }

    /// How many there are of each enterprise and metric.
    pub fn iter(&self) -> impl Iterator<Item = (&Code, MetricId, u64)> {
        self.counts.iter().map(|((enterprise, metric), readings)| (enterprise, *metric, *readings))
    }

    /// One facility that sent some.
    #[must_use]
    pub fn facility(&self) -> Option<&str> {
        self.facility.as_deref()
    }
}
