//! The readings of a block, in columns: the form in which they are written.
//!
//! Enters: readings in the order of the table's key, object by object. Leaves: the same as columns. Guarantees: columns
//! of equal length; the names of an object stand once and not with every reading.

use std::ops::Range;

use schemas::{Code, Flag, MetricId, Millis, Reading, TestSet};
use serde::{Deserialize, Serialize};

/// One reading of an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// What was measured.
    pub metric: MetricId,
    /// When.
    pub observed_at: Millis,
    /// When it arrived.
    pub received_at: Millis,
    /// The value, in the metric's unit.
    pub value: f64,
    /// The aggregate mark.
    pub flag: Flag,
    /// The tests that did not pass.
    pub failed: TestSet,
}

/// Readings sorted by (facility, device, metric, observed_at), each key once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReadingColumns {
    objects: Vec<ObjectRun>,
    metrics: Vec<MetricId>,
    observed_at: Vec<Millis>,
    received_at: Vec<Millis>,
    values: Vec<f64>,
    flags: Vec<Flag>,
    /// Of rows in a row: mostly there is one such run, for nothing has failed.
    failed: Vec<(TestSet, u32)>,
}

/// An object, and how many rows it has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectRun {
    /// Facility code.
    pub facility: Code,
    /// Device code, or empty.
    pub device: Code,
    /// Rows.
    pub rows: usize,
}

impl ReadingColumns {
    /// No readings, and room for so many.
    #[must_use]
    pub fn with_capacity(objects: usize, readings: usize) -> Self {
        ReadingColumns {
            objects: Vec::with_capacity(objects),
            metrics: Vec::with_capacity(readings),
            observed_at: Vec::with_capacity(readings),
            received_at: Vec::with_capacity(readings),
            values: Vec::with_capacity(readings),
            flags: Vec::with_capacity(readings),
            failed: Vec::new(),
        }
    }

    /// Appends an object, which comes behind those before it in the order of (facility, device), with its readings,
    /// sorted by (metric, observed_at), each key once.
    pub fn push(&mut self, facility: &Code, device: &Code, readings: &[Measured]) {
        let key = |reading: &Measured| (reading.metric, reading.observed_at);
        debug_assert!(readings.is_sorted_by(|a, b| key(a) < key(b)), "{facility} {device} is out of order");
        let run = ObjectRun { facility: facility.clone(), device: device.clone(), rows: readings.len() };
        self.objects.push(run);
        self.metrics.extend(readings.iter().map(|reading| reading.metric));
        self.observed_at.extend(readings.iter().map(|reading| reading.observed_at));
        self.received_at.extend(readings.iter().map(|reading| reading.received_at));
        self.values.extend(readings.iter().map(|reading| reading.value));
        self.flags.extend(readings.iter().map(|reading| reading.flag));
        readings.iter().for_each(|reading| self.push_failed(reading.failed));
    }

    fn push_failed(&mut self, failed: TestSet) {
        match self.failed.last_mut() {
            Some((last, rows)) if *last == failed => *rows += 1,
            _ => self.failed.push((failed, 1)),
        }
    }

    /// The readings of both, which have no object in common.
    #[must_use]
    pub fn united(&self, others: &ReadingColumns) -> ReadingColumns {
        let both = [self, others];
        let mut runs: Vec<(&ObjectRun, usize, Range<usize>)> = Vec::new();
        for (source, columns) in both.into_iter().enumerate() {
            let mut start = 0;
            for run in &columns.objects {
                runs.push((run, source, start..start + run.rows));
                start += run.rows;
            }
        }
        // Two runs that are in order each.
        runs.sort_by_key(|(run, ..)| (&run.facility, &run.device));
        let mut united = ReadingColumns::with_capacity(runs.len(), self.len() + others.len());
        // The runs of each source come in its own order.
        let mut failed = both.map(ReadingColumns::failed);
        for (run, source, rows) in runs {
            let from = both[source];
            united.objects.push(run.clone());
            failed[source].by_ref().take(run.rows).for_each(|failed| united.push_failed(failed));
            united.metrics.extend_from_slice(&from.metrics[rows.clone()]);
            united.observed_at.extend_from_slice(&from.observed_at[rows.clone()]);
            united.received_at.extend_from_slice(&from.received_at[rows.clone()]);
            united.values.extend_from_slice(&from.values[rows.clone()]);
            united.flags.extend_from_slice(&from.flags[rows]);
        }
        united
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.metrics.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.metrics.is_empty()
    }

    /// The objects in their order.
    #[must_use]
    pub fn objects(&self) -> &[ObjectRun] {
        &self.objects
    }

    /// What was measured, row by row.
    #[must_use]
    pub fn metrics(&self) -> &[MetricId] {
        &self.metrics
    }

    /// When it was measured.
    #[must_use]
    pub fn observed_at(&self) -> &[Millis] {
        &self.observed_at
    }

    /// When it arrived.
    #[must_use]
    pub fn received_at(&self) -> &[Millis] {
        &self.received_at
    }

    /// The values.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The aggregate marks.
    #[must_use]
    pub fn flags(&self) -> &[Flag] {
        &self.flags
    }

    /// The tests that did not pass, row by row.
    pub fn failed(&self) -> impl Iterator<Item = TestSet> + Clone + use<'_> {
        self.failed.iter().flat_map(|(failed, rows)| std::iter::repeat_n(*failed, *rows as usize))
    }

    /// The readings one by one, for those who want them so.
    pub fn rows(&self) -> impl Iterator<Item = Reading> + '_ {
        let objects = self.objects.iter().flat_map(|run| std::iter::repeat_n(run, run.rows));
        objects.zip(self.failed()).enumerate().map(|(row, (run, failed))| Reading {
            facility: run.facility.clone(),
            device: run.device.clone(),
            metric: self.metrics[row],
            observed_at: self.observed_at[row],
            received_at: self.received_at[row],
            value: self.values[row],
            flag: self.flags[row],
            failed,
        })
    }
}

impl FromIterator<Reading> for ReadingColumns {
    /// From readings that are sorted, each key once.
    fn from_iter<I: IntoIterator<Item = Reading>>(readings: I) -> Self {
        let readings: Vec<Reading> = readings.into_iter().collect();
        let mut columns = ReadingColumns::default();
        for run in readings.chunk_by(|a, b| (&a.facility, &a.device) == (&b.facility, &b.device)) {
            let measured: Vec<Measured> = run.iter().map(Measured::from).collect();
            columns.push(&run[0].facility, &run[0].device, &measured);
        }
        columns
    }
}

impl From<&Reading> for Measured {
    fn from(reading: &Reading) -> Self {
        let &Reading { metric, observed_at, received_at, value, flag, failed, .. } = reading;
        Measured { metric, observed_at, received_at, value, flag, failed }
    }
}
