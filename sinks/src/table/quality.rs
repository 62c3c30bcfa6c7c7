//! `quality`: the quality of data, per scope and window. A row replaces one of its key from an earlier epoch.

use std::cmp::Ordering;

use schemas::{Code, Epoch, Millis, Period, QualityRow, Scope, ScopeKind, time::DAY};

use super::{Gathered, Table, unite_sorted};
use crate::{
    Block,
    clickhouse::{Insert, NativeBlock},
};

/// The table.
#[derive(Debug)]
pub struct Quality;

/// By (scope, period, window).
fn order(a: &QualityRow, b: &QualityRow) -> Ordering {
    (&a.scope, a.period, a.window_start).cmp(&(&b.scope, b.period, b.window_start))
}

impl Table for Quality {
    const NAME: &'static str = "quality";
    const STORED: &'static [&'static str] = &["quality"];
    type Rows = Vec<QualityRow>;

    fn unite(rows: &mut Vec<QualityRow>, others: &mut Vec<QualityRow>) -> bool {
        unite_sorted(rows, others, order)
    }

    fn inserts(rows: &Vec<QualityRow>, block: &Block) -> Vec<Insert> {
        let mut columns = NativeBlock::new(rows.len());
        columns.low_cardinality("scope_kind", rows.iter().map(|r| r.scope.kind.name()));
        columns.low_cardinality("scope", rows.iter().map(|r| r.scope.code.as_str()));
        columns.low_cardinality("period", rows.iter().map(|r| r.period.name()));
        columns.seconds("window_start", rows.iter().map(|r| r.window_start));
        columns.f32("completeness", rows.iter().map(|r| r.completeness));
        columns.f32("timeliness", rows.iter().map(|r| r.timeliness));
        columns.f32("validity", rows.iter().map(|r| r.validity));
        columns.f32("consistency", rows.iter().map(|r| r.consistency));
        columns.f32("uniqueness", rows.iter().map(|r| r.uniqueness));
        columns.f32("score", rows.iter().map(|r| r.score));
        columns.u64("beyond_revision", rows.iter().map(|r| r.beyond_revision));
        columns.epoch(block.epoch);
        vec![Insert { table: "quality", token: block.to_string(), columns }]
    }

    fn keys(rows: &Vec<QualityRow>, _block: &Block) -> Vec<(&'static str, String)> {
        let key = |r: &QualityRow| ("quality", format!("{:?}/{:?}/{}", r.scope, r.period, r.window_start));
        rows.iter().map(key).collect()
    }

    fn examples(_epoch: Epoch, at: Millis) -> Vec<QualityRow> {
        let example = |n: u8| QualityRow {
            scope: Scope { kind: ScopeKind::District, code: Code::from(format!("22010{n}")) },
            period: Period::Day,
            window_start: at.div_euclid(DAY) * DAY,
            completeness: 0.5,
            timeliness: 0.75,
            validity: 1.0,
            consistency: 0.25,
            uniqueness: 1.0,
            score: 0.625,
            beyond_revision: u64::from(n),
        };
        (0..3).map(example).collect()
    }
}

impl Gathered for Quality {
    type Item = QualityRow;

    fn subject(row: &QualityRow) -> Option<&str> {
        Some(&row.scope.code)
    }

    fn close(mut rows: Vec<QualityRow>) -> Vec<QualityRow> {
        rows.sort_by(order);
        rows
    }
}
