//! `kpis`: KPI states, also on the topic of that name. A row replaces one of its key from an earlier epoch.

use std::{cmp::Ordering, fmt::Write};

use schemas::{
    Code, Epoch, KpiCause, KpiRow, Millis, Period, RecordPlace, Scope, ScopeKind, Topic, time::HOUR,
};

use super::{Gathered, Table, place, unite_sorted};
use crate::{
    Block, Error,
    clickhouse::{Insert, NativeBlock},
    kafka::Sending,
};

/// The table.
#[derive(Debug)]
pub struct Kpis;

/// By (kpi, scope, period, window).
fn order(a: &KpiRow, b: &KpiRow) -> Ordering {
    let key = |row: &KpiRow| (row.period, row.window_start);
    (&a.kpi, &a.scope).cmp(&(&b.kpi, &b.scope)).then_with(|| key(a).cmp(&key(b)))
}

impl Table for Kpis {
    const NAME: &'static str = "kpis";
    const STORED: &'static [&'static str] = &["kpis"];
    const PUBLISHED: bool = true;
    type Rows = Vec<KpiRow>;

    fn unite(rows: &mut Vec<KpiRow>, others: &mut Vec<KpiRow>) -> bool {
        unite_sorted(rows, others, order)
    }

    fn inserts(rows: &Vec<KpiRow>, block: &Block) -> Vec<Insert> {
        let mut columns = NativeBlock::new(rows.len());
        columns.low_cardinality("kpi", rows.iter().map(|r| r.kpi.as_str()));
        columns.low_cardinality("scope_kind", rows.iter().map(|r| r.scope.kind.name()));
        columns.low_cardinality("scope", rows.iter().map(|r| r.scope.code.as_str()));
        columns.low_cardinality("period", rows.iter().map(|r| r.period.name()));
        columns.seconds("window_start", rows.iter().map(|r| r.window_start));
        columns.nullable_f64("value", rows.iter().map(|r| r.value));
        columns.nullable_f64("previous", rows.iter().map(|r| r.previous));
        columns.f32("coverage", rows.iter().map(|r| r.coverage));
        columns.low_cardinality("cause", rows.iter().map(|r| r.cause.name()));
        columns.string("caused_by", rows.iter().map(|r| place(r.caused_by)));
        columns.epoch(block.epoch);
        vec![Insert { table: "kpis", token: block.to_string(), columns }]
    }

    fn publish(rows: &Vec<KpiRow>, records: &mut Sending<'_>) -> Result<(), Error> {
        records.all(rows.iter(), |row, key| {
            let (kind, period) = (row.scope.kind.name(), row.period.name());
            let (kpi, scope, start) = (&row.kpi, &row.scope.code, row.window_start);
            // Writing to a string does not fail.
            let _ = write!(key, "{kpi}/{kind}/{scope}/{period}/{start}");
        })
    }

    fn keys(rows: &Vec<KpiRow>, _block: &Block) -> Vec<(&'static str, String)> {
        let key = |r: &KpiRow| ("kpis", format!("{}/{:?}/{:?}/{}", r.kpi, r.scope, r.period, r.window_start));
        rows.iter().map(key).collect()
    }

    fn examples(_epoch: Epoch, at: Millis) -> Vec<KpiRow> {
        let example = |n: u8| KpiRow {
            kpi: Code::from("heat_supplied"),
            scope: Scope { kind: ScopeKind::Enterprise, code: Code::from(format!("E-{n}")) },
            period: Period::Hour,
            window_start: at.div_euclid(HOUR) * HOUR,
            value: (!n.is_multiple_of(4)).then_some(f64::from(n)),
            previous: n.is_multiple_of(2).then_some(0.5),
            coverage: 0.75,
            cause: KpiCause::Late,
            caused_by: Some(RecordPlace { topic: Topic::Reports, partition: 0, offset: n.into() }),
        };
        (0..10).map(example).collect()
    }
}

impl Gathered for Kpis {
    type Item = KpiRow;

    fn subject(row: &KpiRow) -> Option<&str> {
        Some(&row.scope.code)
    }

    fn close(mut rows: Vec<KpiRow>) -> Vec<KpiRow> {
        rows.sort_by(order);
        rows
    }
}
