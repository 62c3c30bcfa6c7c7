//! `registry_districts`, `registry_enterprises`, `registry_facilities`, `registry_devices` and `registry_thresholds`: the
//! registry, for joins. Of one key the record counts that came last on its topic. One worker has them all.

use std::collections::BTreeMap;

use schemas::{Code, Epoch, Millis, RegistryEntry, RegistryKey};

use super::{Gathered, Table, keep_last};
use crate::{
    Block,
    clickhouse::{Insert, NativeBlock},
};

/// The table.
#[derive(Debug)]
pub struct Registry;

/// Where on its topic a record stands: partition and offset.
pub type Place = (i32, i64);

/// An entry by its key; `None` when it was removed.
type Row = (RegistryKey, Option<RegistryEntry>);

impl Table for Registry {
    const NAME: &'static str = "registry";
    const STORED: &'static [&'static str] = &[
        "registry_districts",
        "registry_enterprises",
        "registry_facilities",
        "registry_devices",
        "registry_thresholds",
    ];
    type Rows = Vec<Row>;

    fn inserts(rows: &Vec<Row>, block: &Block) -> Vec<Insert> {
        let mut inserts = Vec::new();
        for (kind, entries) in by_kind(rows) {
            let Some((table, columns)) = dimension(kind, &entries, block.epoch) else {
                tracing::warn!(kind, "registry entries of an unknown kind have no table");
                continue;
            };
            inserts.push(Insert { table, token: format!("{block}/{kind}"), columns });
        }
        inserts
    }

    // Removed entries are no rows: the suite looks at other tables, `tests/scenarios/sinks.rs` at these.
    fn keys(_rows: &Vec<Row>, _block: &Block) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn examples(_epoch: Epoch, _at: Millis) -> Vec<Row> {
        Vec::new()
    }
}

impl Gathered for Registry {
    type Item = (Code, Option<RegistryEntry>, Place);

    fn subject(_record: &Self::Item) -> Option<&str> {
        None
    }

    fn close(mut records: Vec<Self::Item>) -> Vec<Row> {
        records.sort_by(|(a, _, first), (b, _, second)| (a, first).cmp(&(b, second)));
        keep_last(&mut records, |(a, _, _), (b, _, _)| a == b);
        records.into_iter().map(|(key, entry, _)| (RegistryKey(key), entry)).collect()
    }
}

/// The last entry of every key, by kind.
fn by_kind(rows: &[Row]) -> BTreeMap<&str, Vec<Entry<'_>>> {
    let last: BTreeMap<&str, Option<&RegistryEntry>> =
        rows.iter().map(|(key, entry)| (key.0.as_str(), entry.as_ref())).collect();
    let mut kinds: BTreeMap<&str, Vec<Entry<'_>>> = BTreeMap::new();
    for (key, entry) in last {
        let (kind, code) = key.split_once('/').unwrap_or((key, ""));
        kinds.entry(kind).or_default().push((code, entry));
    }
    kinds
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
    columns.epoch(epoch);
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
