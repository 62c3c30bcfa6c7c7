//! Blocks of rows as blocks of columns: which columns of which table each kind of row fills.
//!
//! Enters: a [`Block`]. Leaves: one [`Insert`] per table, with its deduplication token.
//! Guarantees: a pure function of the block: the same block gives the same tokens and the same bytes.

use std::collections::BTreeMap;

use schemas::{
    AlarmTransition, Epoch, EstimateRow, KpiRow, MetricId, RegistryEntry, RegistryKey, Reject, Stage, TestSet,
};

use super::native::NativeBlock;
use crate::{Block, QualityRow, ReadingColumns, Rows, exchange::ledger::Event};

/// What goes into one table in one statement.
#[derive(Debug)]
pub struct Insert {
    /// The table.
    pub table: &'static str,
    /// The deduplication token: a second insert with the same token changes nothing.
    pub token: String,
    /// The columns.
    pub columns: NativeBlock,
}

/// The inserts of a block; none when it has no rows.
#[must_use]
pub fn inserts(block: &Block) -> Vec<Insert> {
    let token = block.to_string();
    let epoch = block.epoch;
    let one = |table, columns| vec![Insert { table, token: token.clone(), columns }];
    let mut inserts = match &block.rows {
        Rows::Readings(rows) => one("readings", readings(rows, epoch)),
        Rows::Kpis(rows) => one("kpis", kpis(rows, epoch)),
        Rows::Quality(rows) => one("quality", quality(rows, epoch)),
        Rows::Estimates(rows) => one("estimates", estimates(rows, epoch)),
        Rows::Rejects(rows) => one("rejects", rejects(rows, epoch, block.bucket)),
        Rows::Alarms(rows) => {
            let mut inserts = one("alarm_events", alarm_events(rows, epoch));
            inserts.push(Insert {
                table: "alarms",
                token: format!("{token}/alarms"),
                columns: alarms(rows, epoch),
            });
            inserts
        }
        Rows::Registry(rows) => registry(rows, epoch, &token),
    };
    inserts.retain(|insert| insert.columns.rows() > 0);
    inserts
}

/// The insert of events of the exchange's ledger; none when there are none.
#[must_use]
pub fn ledger(events: &[Event]) -> Option<Insert> {
    let (first, last) = (events.first()?.sequence, events.last()?.sequence);
    // Numbers are never used twice in one ledger, but a ledger may be started anew: its times tell them apart.
    let token = format!("exchange_ledger/{}/{first}-{last}", events.first()?.at);
    let mut columns = NativeBlock::new(events.len());
    columns.low_cardinality("table", events.iter().map(|e| e.row.table.as_str()));
    columns.string("key", events.iter().map(|e| &e.row.key));
    columns.millis("window", events.iter().map(|e| e.row.window));
    columns.u32("attempt", events.iter().map(|e| e.attempt));
    columns.millis("at", events.iter().map(|e| e.at));
    columns.low_cardinality("outcome", events.iter().map(|e| e.outcome.name()));
    columns.low_cardinality("code", events.iter().map(|e| e.code.as_str()));
    columns.string("detail", events.iter().map(|e| &e.detail));
    columns.u64("sequence", events.iter().map(|e| e.sequence));
    Some(Insert { table: "exchange_ledger", token, columns })
}

fn epochs(columns: &mut NativeBlock, epoch: Epoch) {
    columns.u64("epoch", std::iter::repeat_n(epoch, columns.rows()));
}

fn readings(rows: &ReadingColumns, epoch: Epoch) -> NativeBlock {
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
    epochs(&mut columns, epoch);
    columns
}

fn kpis(rows: &[KpiRow], epoch: Epoch) -> NativeBlock {
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
    epochs(&mut columns, epoch);
    columns
}

fn quality(rows: &[QualityRow], epoch: Epoch) -> NativeBlock {
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
    epochs(&mut columns, epoch);
    columns
}

fn estimates(rows: &[EstimateRow], epoch: Epoch) -> NativeBlock {
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
    epochs(&mut columns, epoch);
    columns
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Connector => "connector",
        Stage::Dataflow => "dataflow",
        Stage::Sink => "sink",
    }
}

fn rejects(rows: &[Reject], epoch: Epoch, bucket: u16) -> NativeBlock {
    let mut columns = NativeBlock::new(rows.len());
    columns.millis("at", rows.iter().map(|r| r.at));
    columns.string("origin", rows.iter().map(|r| &r.origin));
    columns.low_cardinality("reason", rows.iter().map(|r| r.reason.name()));
    columns.string("detail", rows.iter().map(|r| &r.detail));
    columns.string("raw", rows.iter().map(|r| &r.raw));
    columns.low_cardinality("stage", rows.iter().map(|r| stage_name(r.stage)));
    columns.u32("readings", rows.iter().map(|r| r.readings));
    epochs(&mut columns, epoch);
    columns.u64("row", (0..rows.len() as u64).map(|place| u64::from(bucket) << 32 | place));
    columns
}

fn alarm_events(rows: &[AlarmTransition], epoch: Epoch) -> NativeBlock {
    let mut columns = NativeBlock::new(rows.len());
    columns.string("alarm_id", rows.iter().map(|r| &r.alarm_id));
    columns.u32("sequence", rows.iter().map(|r| r.sequence));
    columns.low_cardinality("transition", rows.iter().map(|r| r.transition.name()));
    columns.millis("at", rows.iter().map(|r| r.at));
    columns.u8("level", rows.iter().map(|r| r.level));
    columns.f64("value", rows.iter().map(|r| r.current_value));
    columns.low_cardinality("cause", rows.iter().map(|r| r.cause.as_str()));
    epochs(&mut columns, epoch);
    columns
}

/// The last state of every episode in the block, by id.
fn alarms(rows: &[AlarmTransition], epoch: Epoch) -> NativeBlock {
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
    epochs(&mut columns, epoch);
    columns
}

/// The last entry of every key, one insert per dimension table.
fn registry(rows: &[(RegistryKey, Option<RegistryEntry>)], epoch: Epoch, token: &str) -> Vec<Insert> {
    let last: BTreeMap<&str, Option<&RegistryEntry>> =
        rows.iter().map(|(key, entry)| (key.0.as_str(), entry.as_ref())).collect();
    let mut kinds: BTreeMap<&str, Vec<Entry<'_>>> = BTreeMap::new();
    for (key, entry) in last {
        let (kind, code) = key.split_once('/').unwrap_or((key, ""));
        kinds.entry(kind).or_default().push((code, entry));
    }
    let mut inserts = Vec::new();
    for (kind, entries) in kinds {
        let Some((table, columns)) = dimension(kind, &entries, epoch) else {
            tracing::warn!(kind, "registry entries of an unknown kind have no table");
            continue;
        };
        inserts.push(Insert { table, token: format!("{token}/{kind}"), columns });
    }
    inserts
}

/// A code, and its entry unless removed.
type Entry<'a> = (&'a str, Option<&'a RegistryEntry>);

macro_rules! variant {
    ($entries:expr, $variant:ident) => {
        || {
            $entries.iter().map(|(_, entry)| match entry {
                Some(RegistryEntry::$variant(it)) => Some(it),
                _ => None,
            })
        }
    };
}

fn dimension(kind: &str, entries: &[Entry<'_>], epoch: Epoch) -> Option<(&'static str, NativeBlock)> {
    let mut columns = NativeBlock::new(entries.len());
    if kind != "threshold" {
        columns.string("code", entries.iter().map(|(code, _)| code));
    }
    let table = match kind {
        "district" => {
            let rows = variant!(entries, District);
            columns.string("name", rows().map(|d| d.map_or("", |d| &d.name)));
            columns.string("parent", rows().map(|d| d.and_then(|d| d.parent.as_deref()).unwrap_or("")));
            "registry_districts"
        }
        "enterprise" => {
            let rows = variant!(entries, Enterprise);
            columns.string("name", rows().map(|e| e.map_or("", |e| &e.name)));
            "registry_enterprises"
        }
        "facility" => {
            facilities(&mut columns, entries);
            "registry_facilities"
        }
        "device" => {
            devices(&mut columns, entries);
            "registry_devices"
        }
        "threshold" => {
            thresholds(&mut columns, entries);
            "registry_thresholds"
        }
        _ => return None,
    };
    columns.u8("removed", entries.iter().map(|(_, entry)| u8::from(entry.is_none())));
    epochs(&mut columns, epoch);
    Some((table, columns))
}

fn pairs(map: Option<&schemas::Attributes>) -> impl Iterator<Item = (&str, &str)> {
    map.into_iter().flatten().map(|(name, value)| (name.as_str(), value.as_str()))
}

fn facilities(columns: &mut NativeBlock, entries: &[Entry<'_>]) {
    let rows = variant!(entries, Facility);
    columns.low_cardinality("kind", rows().map(|f| f.map_or("", |f| f.kind.name())));
    columns.string("name", rows().map(|f| f.map_or("", |f| &f.name)));
    columns.string("parent", rows().map(|f| f.and_then(|f| f.parent.as_deref()).unwrap_or("")));
    columns
        .low_cardinality("enterprise", rows().map(|f| f.and_then(|f| f.enterprise.as_deref()).unwrap_or("")));
    columns.low_cardinality("district", rows().map(|f| f.and_then(|f| f.district.as_deref()).unwrap_or("")));
    columns.nullable_f64("longitude", rows().map(|f| f.and_then(|f| f.longitude)));
    columns.nullable_f64("latitude", rows().map(|f| f.and_then(|f| f.latitude)));
    columns.nullable_f64("heated_area", rows().map(|f| f.and_then(|f| f.heated_area)));
    columns.maps("attributes", rows().map(|f| pairs(f.map(|f| &f.attributes))));
}

fn devices(columns: &mut NativeBlock, entries: &[Entry<'_>]) {
    let rows = variant!(entries, Device);
    columns.string("facility", rows().map(|d| d.map_or("", |d| d.facility.as_str())));
    columns.low_cardinality("type", rows().map(|d| d.map_or("", |d| d.kind.as_str())));
    columns.low_cardinality("model", rows().map(|d| d.map_or("", |d| &d.model)));
    columns.low_cardinality("maker", rows().map(|d| d.map_or("", |d| &d.maker)));
    columns.string("installed", rows().map(|d| d.map_or("", |d| &d.installed)));
    columns.maps("attributes", rows().map(|d| pairs(d.map(|d| &d.attributes))));
}

fn thresholds(columns: &mut NativeBlock, entries: &[Entry<'_>]) {
    let rows = variant!(entries, Threshold);
    // The code is `scope/metric/side`, with `:rule` behind it where there is a name; a scope may itself hold a slash.
    let split = || {
        entries.iter().map(|(code, _)| {
            let mut parts = code.rsplitn(3, '/');
            let (side, metric) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
            let (side, rule) = side.split_once(':').unwrap_or((side, ""));
            (parts.next().unwrap_or(""), metric, side, rule)
        })
    };
    columns.string("scope", split().map(|(scope, ..)| scope));
    columns.low_cardinality("metric", split().map(|(_, metric, ..)| metric));
    columns.low_cardinality("side", split().map(|(_, _, side, _)| side));
    columns.low_cardinality("rule", split().map(|(.., rule)| rule));
    columns.nullable_f64("level1", rows().map(|t| t.and_then(|t| t.level1)));
    columns.nullable_f64("level2", rows().map(|t| t.and_then(|t| t.level2)));
    columns.nullable_f64("level3", rows().map(|t| t.and_then(|t| t.level3)));
    columns.f64("deadband", rows().map(|t| t.map_or(0.0, |t| t.deadband)));
    columns.u32("on_delay", rows().map(|t| t.map_or(0, |t| t.on_delay)));
    columns.u32("off_delay", rows().map(|t| t.map_or(0, |t| t.off_delay)));
    columns.u8("enabled", rows().map(|t| t.map_or(0, |t| u8::from(t.enabled))));
    columns.string("advice", rows().map(|t| t.map_or("", |t| &t.advice)));
}

#[cfg(test)]
mod tests;
