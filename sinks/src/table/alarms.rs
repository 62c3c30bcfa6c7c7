//! `alarms` and `alarm_events`: the transitions of an epoch, and the last state of each alarm among them; the transitions
//! also on the topic `alarms`. One worker has them all, in one block, so that the transitions of an epoch have one order.

use std::collections::BTreeMap;

use prometheus::{IntCounterVec, register_int_counter_vec};
use schemas::{
    AlarmState, AlarmTransition, Code, Epoch, MetricId, Millis, RecordPlace, Topic, Transition, metrics,
};

use super::{Gathered, Table, place};
use crate::{
    Block, Error,
    clickhouse::{Insert, NativeBlock},
    kafka::Sending,
};

/// The table.
#[derive(Debug)]
pub struct Alarms;

metrics! {
    /// Alarm transitions.
    TRANSITIONS: IntCounterVec = register_int_counter_vec!(
        "nuanliu_alarm_transitions_total", "Alarm transitions", &["transition", "level"]);
}

fn events(rows: &[AlarmTransition], epoch: Epoch) -> NativeBlock {
    let mut columns = NativeBlock::new(rows.len());
    columns.string("alarm_id", rows.iter().map(|r| &r.alarm_id));
    columns.u32("sequence", rows.iter().map(|r| r.sequence));
    columns.low_cardinality("transition", rows.iter().map(|r| r.transition.name()));
    columns.millis("at", rows.iter().map(|r| r.at));
    columns.u8("level", rows.iter().map(|r| r.level));
    columns.f64("value", rows.iter().map(|r| r.current_value));
    columns.low_cardinality("cause", rows.iter().map(|r| r.cause.as_str()));
    columns.string("caused_by", rows.iter().map(|r| place(r.caused_by)));
    columns.epoch(epoch);
    columns
}

/// The last state of every alarm in the block, by id.
fn states(rows: &[AlarmTransition], epoch: Epoch) -> NativeBlock {
    let last: BTreeMap<&str, &AlarmTransition> = rows.iter().map(|r| (r.alarm_id.as_str(), r)).collect();
    let rows = || last.values();
    let mut columns = NativeBlock::new(last.len());
    columns.string("alarm_id", rows().map(|r| &r.alarm_id));
    columns.low_cardinality("rule", rows().map(|r| r.rule.as_str()));
    columns.low_cardinality("facility", rows().map(|r| r.facility.as_str()));
    columns.low_cardinality("device", rows().map(|r| r.device.as_str()));
    columns.low_cardinality("metric", rows().map(|r| r.metric.map_or("", MetricId::code)));
    columns.u8("level", rows().map(|r| r.level));
    columns.low_cardinality("state", rows().map(|r| r.state.name()));
    columns.millis("raised_at", rows().map(|r| r.raised_at));
    columns.nullable_millis("cleared_at", rows().map(|r| r.cleared_at));
    columns.f64("first_value", rows().map(|r| r.first_value));
    columns.f64("current_value", rows().map(|r| r.current_value));
    columns.f64("peak_value", rows().map(|r| r.peak_value));
    columns.millis("peak_at", rows().map(|r| r.peak_at));
    columns.u8("peak_level", rows().map(|r| r.peak_level));
    columns.u8("type", rows().map(|r| u8::from(r.analysed)));
    columns.u32("affected_households", rows().map(|r| r.affected_households));
    columns.f64("affected_area", rows().map(|r| r.affected_area));
    columns.string("evidence", rows().map(|r| &r.evidence));
    columns.string("advice", rows().map(|r| &r.advice));
    columns.u32("sequence", rows().map(|r| r.sequence));
    columns.millis("updated_at", rows().map(|r| r.at));
    columns.epoch(epoch);
    columns
}

impl Table for Alarms {
    const NAME: &'static str = "alarms";
    const STORED: &'static [&'static str] = &["alarms", "alarm_events"];
    const PUBLISHED: bool = true;
    type Rows = Vec<AlarmTransition>;

    fn inserts(rows: &Vec<AlarmTransition>, block: &Block) -> Vec<Insert> {
        let (epoch, token) = (block.epoch, block.to_string());
        let of_states = format!("{token}/alarms");
        vec![
            Insert { table: "alarm_events", token, columns: events(rows, epoch) },
            Insert { table: "alarms", token: of_states, columns: states(rows, epoch) },
        ]
    }

    fn publish(rows: &Vec<AlarmTransition>, records: &mut Sending<'_>) -> Result<(), Error> {
        records.all(rows.iter(), |row, key| key.push_str(&row.alarm_id))
    }

    fn count(rows: &Vec<AlarmTransition>) {
        for row in rows {
            TRANSITIONS.with_label_values(&[row.transition.name(), &row.level.to_string()]).inc();
        }
    }

    fn keys(rows: &Vec<AlarmTransition>, _block: &Block) -> Vec<(&'static str, String)> {
        let states = rows.iter().map(|r| ("alarms", r.alarm_id.clone()));
        let events = rows.iter().map(|r| ("alarm_events", format!("{}/{}", r.alarm_id, r.sequence)));
        states.chain(events).collect()
    }

    fn examples(epoch: Epoch, at: Millis) -> Vec<AlarmTransition> {
        let raised = AlarmTransition {
            alarm_id: format!("high_temp/ST-1/{epoch}"),
            sequence: 1,
            transition: Transition::Raised,
            at,
            state: AlarmState::Active,
            rule: Code::from("high_temp"),
            facility: Code::from("ST-1"),
            device: Code::default(),
            metric: Some(MetricId(2)),
            level: 2,
            raised_at: at,
            cleared_at: None,
            first_value: 91.5,
            current_value: 91.5,
            peak_value: 91.5,
            peak_at: at,
            peak_level: 2,
            analysed: false,
            affected_households: 120,
            affected_area: 9600.0,
            evidence: "{\"limit\":90}".to_owned(),
            advice: "检查调节阀".to_owned(),
            cause: "data".to_owned(),
            caused_by: Some(RecordPlace { topic: Topic::Reports, partition: 0, offset: 7 }),
        };
        let cleared = AlarmTransition {
            sequence: 2,
            transition: Transition::Cleared,
            at: at + 500,
            state: AlarmState::Cleared,
            cleared_at: Some(at + 500),
            current_value: 80.0,
            ..raised.clone()
        };
        vec![raised, cleared]
    }
}

impl Gathered for Alarms {
    type Item = AlarmTransition;

    fn subject(_row: &AlarmTransition) -> Option<&str> {
        None
    }

    fn close(mut rows: Vec<AlarmTransition>) -> Vec<AlarmTransition> {
        rows.sort_by(|a, b| (&a.alarm_id, a.sequence).cmp(&(&b.alarm_id, b.sequence)));
        rows
    }
}
