//! `rejects`: records that cannot be used; also on the topic of that name, except those that came from there. Rows have no
//! key: two that are equal are two. Their place in the block tells them apart.

use prometheus::{IntCounterVec, register_int_counter_vec};
use schemas::{Epoch, Millis, Reason, Reject, RejectStage, metrics};

use super::{Gathered, Table};
use crate::{
    Block, Error,
    clickhouse::{Insert, NativeBlock},
    kafka::Sending,
};

/// The table.
#[derive(Debug)]
pub struct Rejects;

metrics! {
    /// Records turned away by the dataflow.
    REJECTS: IntCounterVec = register_int_counter_vec!(
        "nuanliu_dataflow_rejects_total", "Records and readings turned away by the dataflow", &["reason"]);
}

fn stage_name(stage: RejectStage) -> &'static str {
    match stage {
        RejectStage::Connector => "connector",
        RejectStage::Dataflow => "dataflow",
        RejectStage::Sink => "sink",
    }
}

impl Table for Rejects {
    const NAME: &'static str = "rejects";
    const STORED: &'static [&'static str] = &["rejects"];
    const PUBLISHED: bool = true;
    type Rows = Vec<Reject>;

    fn inserts(rows: &Vec<Reject>, block: &Block) -> Vec<Insert> {
        let mut columns = NativeBlock::new(rows.len());
        columns.millis("at", rows.iter().map(|r| r.at));
        columns.string("origin", rows.iter().map(|r| &r.origin));
        columns.low_cardinality("reason", rows.iter().map(|r| r.reason.name()));
        columns.string("detail", rows.iter().map(|r| &r.detail));
        columns.string("raw", rows.iter().map(|r| &r.raw));
        columns.low_cardinality("stage", rows.iter().map(|r| stage_name(r.stage)));
        columns.u32("readings", rows.iter().map(|r| r.readings));
        columns.epoch(block.epoch);
        columns.u64("row", (0..rows.len() as u64).map(|place| u64::from(block.bucket) << 32 | place));
        vec![Insert { table: "rejects", token: block.to_string(), columns }]
    }

    fn publish(rows: &Vec<Reject>, records: &mut Sending<'_>) -> Result<(), Error> {
        // What others turned away came from this topic and is there already.
        let ours = rows.iter().filter(|row| row.stage == RejectStage::Dataflow);
        records.all(ours, |row, key| key.push_str(&row.origin))
    }

    fn count(rows: &Vec<Reject>) {
        rows.iter().for_each(|row| REJECTS.with_label_values(&[row.reason.name()]).inc());
    }

    fn keys(rows: &Vec<Reject>, block: &Block) -> Vec<(&'static str, String)> {
        (0..rows.len()).map(|place| ("rejects", format!("{block}/{place}"))).collect()
    }

    fn examples(_epoch: Epoch, at: Millis) -> Vec<Reject> {
        let example = Reject {
            at,
            origin: "http:198.51.100.7".to_owned(),
            reason: Reason::Malformed,
            detail: "line 1: expected `{`".to_owned(),
            raw: vec![0xff, 0x00, b'{'],
            stage: RejectStage::Connector,
            readings: 0,
        };
        vec![example; 2]
    }
}

impl Gathered for Rejects {
    type Item = Reject;

    fn subject(_row: &Reject) -> Option<&str> {
        None
    }

    fn close(mut rows: Vec<Reject>) -> Vec<Reject> {
        rows.sort_unstable();
        rows
    }
}
