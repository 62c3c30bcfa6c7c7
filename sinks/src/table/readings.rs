//! `readings`: every marked reading. A row replaces one of its key from an earlier epoch.

use prometheus::{IntCounterVec, register_int_counter_vec};
use schemas::{Code, Epoch, Flag, MetricId, Millis, QualityTest, Reading, TestSet, metrics};

use super::Table;
use crate::{
    Block,
    clickhouse::{Insert, NativeBlock},
};

mod columns;

pub use columns::{Measured, ObjectRun, ReadingColumns};

/// The table. Its blocks are gathered by object and not row by row: `pipeline/src/flow/readings.rs`.
#[derive(Debug)]
pub struct Readings;

metrics! {
    /// Readings that left validation.
    READINGS: IntCounterVec = register_int_counter_vec!(
        "nuanliu_readings_total", "Readings that left validation, by flag", &["flag"]);
}

impl Table for Readings {
    const NAME: &'static str = "readings";
    const STORED: &'static [&'static str] = &["readings"];
    type Rows = ReadingColumns;

    fn unite(rows: &mut ReadingColumns, others: &mut ReadingColumns) -> bool {
        *rows = rows.united(others);
        true
    }

    fn inserts(rows: &ReadingColumns, block: &Block) -> Vec<Insert> {
        let objects = rows.objects();
        let mut columns = NativeBlock::new(rows.len());
        columns.low_cardinality_runs("facility", objects.iter().map(|o| (o.facility.as_str(), o.rows)));
        columns.low_cardinality_runs("device", objects.iter().map(|o| (o.device.as_str(), o.rows)));
        columns.low_cardinality_numbers("metric", rows.metrics().iter().map(|m| m.0), |n| MetricId(n).code());
        columns.millis("observed_at", rows.observed_at().iter().copied());
        columns.millis("received_at", rows.received_at().iter().copied());
        columns.f64("value", rows.values().iter().copied());
        columns.u8("flag", rows.flags().iter().map(|flag| flag.number()));
        columns.low_cardinality_arrays("failed", rows.failed().map(TestSet::names));
        columns.epoch(block.epoch);
        vec![Insert { table: "readings", token: block.to_string(), columns }]
    }

    fn count(rows: &ReadingColumns) {
        for flag in [Flag::Good, Flag::NotEvaluated, Flag::Suspect, Flag::Fail, Flag::Missing] {
            let readings = rows.flags().iter().filter(|&&other| other == flag).count() as u64;
            if readings > 0 {
                READINGS.with_label_values(&[&flag.number().to_string()]).inc_by(readings);
            }
        }
    }

    fn keys(rows: &ReadingColumns, _block: &Block) -> Vec<(&'static str, String)> {
        let key = |r: Reading| {
            ("readings", format!("{}/{}/{}/{}", r.facility, r.device, r.metric.0, r.observed_at))
        };
        rows.rows().map(key).collect()
    }

    fn examples(_epoch: Epoch, at: Millis) -> ReadingColumns {
        (0..50).map(|n| reading(n, at)).collect()
    }
}

/// The example of a reading of facility `ST-n`.
#[must_use]
pub fn reading(n: usize, at: Millis) -> Reading {
    let mut failed = TestSet::EMPTY;
    if n.is_multiple_of(7) {
        failed.insert(QualityTest::Range);
        failed.insert(QualityTest::Spike);
    }
    Reading {
        facility: Code::from(format!("ST-{n:05}")),
        device: if n.is_multiple_of(3) { Code::from(format!("D-{n}")) } else { Code::default() },
        metric: MetricId((n % 5) as u16),
        observed_at: at,
        received_at: at + 1234,
        value: n as f64 / 10.0 - 1.0,
        flag: if failed == TestSet::EMPTY { Flag::Good } else { Flag::Fail },
        failed,
    }
}

#[cfg(test)]
mod tests;
