//! `estimates`: what models expected of objects and found, hour by hour. Of one key the last counts.

use std::cmp::Ordering;

use schemas::{Code, Epoch, EstimateRow, Millis, time::HOUR};

use super::{Gathered, Table, keep_last, unite_sorted};
use crate::{
    Block,
    clickhouse::{Insert, NativeBlock},
};

/// The table.
#[derive(Debug)]
pub struct Estimates;

/// By (model, facility, device, hour).
fn order(a: &EstimateRow, b: &EstimateRow) -> Ordering {
    (&a.model, &a.facility, &a.device, a.hour).cmp(&(&b.model, &b.facility, &b.device, b.hour))
}

impl Table for Estimates {
    const NAME: &'static str = "estimates";
    const STORED: &'static [&'static str] = &["estimates"];
    type Rows = Vec<EstimateRow>;

    fn unite(rows: &mut Vec<EstimateRow>, others: &mut Vec<EstimateRow>) -> bool {
        unite_sorted(rows, others, order)
    }

    fn inserts(rows: &Vec<EstimateRow>, block: &Block) -> Vec<Insert> {
        let mut columns = NativeBlock::new(rows.len());
        columns.low_cardinality("model", rows.iter().map(|r| r.model.as_str()));
        columns.low_cardinality("facility", rows.iter().map(|r| r.facility.as_str()));
        columns.low_cardinality("device", rows.iter().map(|r| r.device.as_str()));
        columns.seconds("hour", rows.iter().map(|r| r.hour));
        columns.nullable_f64("expected", rows.iter().map(|r| r.expected));
        columns.nullable_f64("actual", rows.iter().map(|r| r.actual));
        columns.low_cardinality("unit", rows.iter().map(|r| r.unit.as_str()));
        columns.low_cardinality("state", rows.iter().map(|r| r.state.as_str()));
        columns.low_cardinality("reason", rows.iter().map(|r| r.reason.as_str()));
        columns.nullable_f64("confidence", rows.iter().map(|r| r.confidence));
        columns.u32("method", rows.iter().map(|r| r.method));
        columns.u32("learnt", rows.iter().map(|r| r.learnt));
        columns.string("parameters", rows.iter().map(|r| &r.parameters));
        columns.epoch(block.epoch);
        vec![Insert { table: "estimates", token: block.to_string(), columns }]
    }

    fn keys(rows: &Vec<EstimateRow>, _block: &Block) -> Vec<(&'static str, String)> {
        let key =
            |r: &EstimateRow| ("estimates", format!("{}/{}/{}/{}", r.model, r.facility, r.device, r.hour));
        rows.iter().map(key).collect()
    }

    fn examples(_epoch: Epoch, at: Millis) -> Vec<EstimateRow> {
        let example = |n: u8| EstimateRow {
            model: "energy_signature".into(),
            facility: format!("ST-{n}").into(),
            device: Code::default(),
            hour: at.div_euclid(HOUR) * HOUR,
            expected: Some(812.5),
            actual: (n > 0).then_some(640.0),
            unit: "kW".into(),
            state: "normal".into(),
            reason: Code::default(),
            confidence: Some(0.9),
            method: 2,
            learnt: 7,
            parameters: r#"{"base_kw":12.5}"#.to_owned(),
        };
        (0..3).map(example).collect()
    }
}

impl Gathered for Estimates {
    type Item = EstimateRow;

    fn subject(row: &EstimateRow) -> Option<&str> {
        Some(&row.facility)
    }

    fn close(mut rows: Vec<EstimateRow>) -> Vec<EstimateRow> {
        rows.sort_by(order);
        keep_last(&mut rows, |a, b| order(a, b).is_eq());
        rows
    }
}
