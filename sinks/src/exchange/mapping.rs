//! Our records as rows of the exchange, by the sources that the catalogue names.
//!
//! Enters: blocks, and the registry as last known. Leaves: rows with their identity. Guarantees: a pure function of the
//! block, the registry and the row as it was before; nothing is invented: a source without value leaves its field out.

use std::collections::BTreeMap;

use schemas::{
    AlarmTransition, Code, KpiCause, KpiRow, Millis, RegistryEntry, RegistryKey,
    exchange::{ExchangeTable, Feed, FieldType, Source, Tables},
};
use serde_json::{Number, Value};
use sha2::{Digest, Sha256};

use super::ledger::{Row, RowId};

/// Maps records to rows.
#[derive(Clone, Debug)]
pub struct Mapping {
    tables: &'static Tables,
    enabled: Vec<String>,
    offset: jiff::tz::TimeZone,
}

/// The values of one record, by path.
type Values = BTreeMap<String, Value>;

/// The registry as last known.
pub type Registry = BTreeMap<RegistryKey, RegistryEntry>;

impl Mapping {
    /// A mapping for the named tables (all when empty), writing civil times `utc_offset_hours` ahead of UTC.
    ///
    /// # Errors
    /// A name that no table has, or an offset that no place has.
    pub fn new(tables: &'static Tables, enabled: &[String], utc_offset_hours: i8) -> Result<Self, String> {
        if let Some(unknown) = enabled.iter().find(|name| tables.named(name).is_none()) {
            let known: Vec<&str> = tables.iter().map(|table| table.table.as_str()).collect();
            return Err(format!("tables: {unknown:?} is none of {}", known.join(", ")));
        }
        if !(-12..=14).contains(&utc_offset_hours) {
            return Err(format!("utc_offset_hours: {utc_offset_hours} is not from -12 to 14"));
        }
        let offset = jiff::tz::TimeZone::fixed(jiff::tz::offset(utc_offset_hours));
        Ok(Mapping { tables, enabled: enabled.to_vec(), offset })
    }

    fn fed(&self, by: impl Fn(&Feed) -> bool) -> impl Iterator<Item = &'static ExchangeTable> {
        let enabled = |table: &&ExchangeTable| self.enabled.is_empty() || self.enabled.contains(&table.table);
        self.tables.iter().filter(enabled).filter(move |table| by(&table.feed))
    }

    /// The tables, for checking rows.
    #[must_use]
    pub fn tables(&self) -> &'static Tables {
        self.tables
    }

    /// The rows of a registry entry.
    #[must_use]
    pub fn entry(&self, entry: &RegistryEntry, registry: &Registry) -> Vec<(RowId, Row)> {
        let (code, tables): (Code, Vec<_>) = match entry {
            RegistryEntry::Facility(facility) => {
                let fits =
                    |feed: &Feed| matches!(feed, Feed::Facility(kinds) if kinds.contains(&facility.kind));
                (facility.code.clone(), self.fed(fits).collect())
            }
            RegistryEntry::Device(device) => {
                (device.code.clone(), self.fed(|feed| *feed == Feed::Device).collect())
            }
            RegistryEntry::Threshold(_) => {
                (entry.key().0, self.fed(|feed| *feed == Feed::Threshold).collect())
            }
            RegistryEntry::District(_) | RegistryEntry::Enterprise(_) => return Vec::new(),
        };
        let mut values = Values::new();
        match entry {
            RegistryEntry::Facility(facility) => facility_values(&mut values, &facility.code, registry),
            RegistryEntry::Device(device) => {
                facility_values(&mut values, &device.facility, registry);
                device_values(&mut values, device);
            }
            RegistryEntry::Threshold(threshold) => threshold_values(&mut values, threshold, &code),
            RegistryEntry::District(_) | RegistryEntry::Enterprise(_) => {}
        }
        tables.into_iter().map(|table| (id(table, &code, 0), self.row(table, &values, Row::new()))).collect()
    }

    /// The rows of a KPI: fields already known from other KPIs of the same scope and window are in `before`. Values of
    /// a window that is still open give no rows.
    pub fn kpi(
        &self,
        kpi: &KpiRow,
        registry: &Registry,
        mut before: impl FnMut(&RowId) -> Row,
    ) -> Vec<(RowId, Row)> {
        if kpi.cause == KpiCause::Live {
            return Vec::new();
        }
        let path = format!("kpi.{}", kpi.kpi);
        let fits = |feed: &Feed| *feed == Feed::Kpi(kpi.scope.kind, kpi.period);
        let wants = |table: &&ExchangeTable| {
            table.fields.iter().any(|field| field.sources.contains(&Source::Path(path.clone())))
        };
        let mut values = Values::new();
        facility_values(&mut values, &kpi.scope.code, registry);
        text(&mut values, "scope", &kpi.scope.code);
        text(&mut values, "period", kpi.period.name());
        values.insert("window".to_owned(), Value::from(kpi.window_start));
        if let Some(value) = kpi.value {
            number(&mut values, &path, value);
        }
        let tables = self.fed(fits).filter(wants);
        tables
            .map(|table| {
                let id = id(table, &kpi.scope.code, kpi.window_start);
                let mut row = before(&id);
                // A correction may leave nothing measured.
                let of_kpi = |code: &String| {
                    let field = table.fields.iter().find(|field| field.code == *code);
                    field.is_some_and(|field| field.sources.contains(&Source::Path(path.clone())))
                };
                row.retain(|code, _| !of_kpi(code));
                (id, self.row(table, &values, row))
            })
            .collect()
    }

    /// The rows of an alarm transition.
    #[must_use]
    pub fn alarm(&self, alarm: &AlarmTransition, registry: &Registry) -> Vec<(RowId, Row)> {
        let mut values = Values::new();
        facility_values(&mut values, &alarm.facility, registry);
        alarm_values(&mut values, alarm);
        let key = Code::from(format!("{}/{}", alarm.alarm_id, alarm.sequence));
        let tables = self.fed(|feed| *feed == Feed::Alarm);
        tables.map(|table| (id(table, &key, alarm.at), self.row(table, &values, Row::new()))).collect()
    }

    fn row(&self, table: &ExchangeTable, values: &Values, mut row: Row) -> Row {
        for field in &table.fields {
            let found = field.sources.iter().find_map(|source| match source {
                Source::Constant(text) => Some(Value::from(text.as_str())),
                Source::Path(path) => values.get(path).filter(|value| value.as_str() != Some("")).cloned(),
            });
            if let Some(value) = found {
                row.insert(field.code.clone(), self.written(field.kind, value));
            }
        }
        row
    }

    /// A value as the field's type is written; what does not fit is left as it is and found by the check.
    fn written(&self, kind: FieldType, value: Value) -> Value {
        match (kind, &value) {
            (FieldType::Datetime, Value::Number(at)) => {
                at.as_i64().and_then(|at| self.civil(at)).map_or(value, Value::from)
            }
            (FieldType::Datetime, Value::String(text)) => {
                let at = schemas::time::parse(text, &self.offset);
                // A date alone is a time at its beginning.
                let date = || text.parse::<jiff::civil::Date>().ok().map(|date| format!("{date} 00:00:00"));
                at.and_then(|at| self.civil(at)).or_else(date).map_or(value, Value::from)
            }
            (FieldType::Float, Value::String(text)) => {
                text.parse().ok().and_then(Number::from_f64).map_or(value, Value::Number)
            }
            (FieldType::Integer, Value::String(text)) => text.parse::<i64>().map_or(value, Value::from),
            (FieldType::String, Value::Number(number)) => Value::from(number.to_string()),
            _ => value,
        }
    }

    fn civil(&self, at: Millis) -> Option<String> {
        let at = jiff::Timestamp::from_millisecond(at).ok()?.to_zoned(self.offset.clone());
        Some(at.strftime("%Y-%m-%d %H:%M:%S").to_string())
    }
}

fn id(table: &ExchangeTable, key: &Code, window: Millis) -> RowId {
    RowId { table: Code::from(table.table.as_str()), key: key.clone(), window }
}

fn text(values: &mut Values, path: &str, value: &str) {
    values.insert(path.to_owned(), Value::from(value));
}

fn number(values: &mut Values, path: &str, value: f64) {
    if let Some(value) = Number::from_f64(value) {
        values.insert(path.to_owned(), Value::Number(value));
    }
}

fn known<'a>(registry: &'a Registry, kind: &str, code: &str) -> Option<&'a RegistryEntry> {
    registry.get(&RegistryKey(Code::from(format!("{kind}/{code}"))))
}

fn facility_values(values: &mut Values, code: &str, registry: &Registry) {
    let Some(RegistryEntry::Facility(facility)) = known(registry, "facility", code) else { return };
    text(values, "facility.code", &facility.code);
    text(values, "facility.kind", facility.kind.name());
    text(values, "facility.name", &facility.name);
    if let Some(parent) = &facility.parent {
        text(values, "facility.parent", parent);
    }
    let numbers = [
        ("facility.longitude", facility.longitude),
        ("facility.latitude", facility.latitude),
        ("facility.heated_area", facility.heated_area),
    ];
    for (path, value) in numbers {
        value.into_iter().for_each(|value| number(values, path, value));
    }
    for (name, value) in &facility.attributes {
        text(values, &format!("facility.attribute.{name}"), value);
    }
    if let Some(code) = &facility.enterprise {
        text(values, "enterprise.code", code);
        if let Some(RegistryEntry::Enterprise(enterprise)) = known(registry, "enterprise", code) {
            text(values, "enterprise.name", &enterprise.name);
        }
    }
    if let Some(code) = &facility.district {
        text(values, "district.code", code);
        if let Some(RegistryEntry::District(district)) = known(registry, "district", code) {
            text(values, "district.name", &district.name);
        }
    }
}

fn device_values(values: &mut Values, device: &schemas::Device) {
    text(values, "device.code", &device.code);
    text(values, "device.facility", &device.facility);
    text(values, "device.type", &device.kind);
    text(values, "device.model", &device.model);
    text(values, "device.maker", &device.maker);
    text(values, "device.installed", &device.installed);
    for (name, value) in &device.attributes {
        text(values, &format!("device.attribute.{name}"), value);
    }
}

fn threshold_values(values: &mut Values, threshold: &schemas::Threshold, key: &str) {
    text(values, "threshold.id", &short(key));
    text(values, "threshold.scope", &threshold.scope);
    text(values, "threshold.metric", threshold.metric.code());
    let levels = [("level1", threshold.level1), ("level2", threshold.level2), ("level3", threshold.level3)];
    for (name, level) in levels {
        level.into_iter().for_each(|level| number(values, &format!("threshold.{name}"), level));
    }
}

fn alarm_values(values: &mut Values, alarm: &AlarmTransition) {
    text(values, "alarm.short_id", &short(&alarm.alarm_id));
    text(values, "alarm.facility", &alarm.facility);
    text(values, "alarm.device", &alarm.device);
    text(values, "alarm.rule", &alarm.rule);
    text(values, "alarm.metric", alarm.metric.map_or("", schemas::MetricId::code));
    for (path, value) in [("level", alarm.level), ("peak_level", alarm.peak_level)] {
        values.insert(format!("alarm.{path}"), Value::from(value));
    }
    values.insert("alarm.type".to_owned(), Value::from(u8::from(alarm.analysed)));
    number(values, "alarm.first_value", alarm.first_value);
    number(values, "alarm.current_value", alarm.current_value);
    number(values, "alarm.peak_value", alarm.peak_value);
    let times =
        [("at", Some(alarm.at)), ("raised_at", Some(alarm.raised_at)), ("peak_at", Some(alarm.peak_at))];
    for (path, at) in times.into_iter().chain([("cleared_at", alarm.cleared_at)]) {
        at.into_iter().for_each(|at| {
            values.insert(format!("alarm.{path}"), Value::from(at));
        });
    }
}

/// An identification of 20 characters, as 标识码 has: the beginning of a SHA-256 in hexadecimal.
fn short(id: &str) -> String {
    hex::encode(&Sha256::digest(id)[..10])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Rows, compliance};

    fn registry() -> Registry {
        let entries = [
            RegistryEntry::Enterprise(schemas::Enterprise {
                code: Code::from("E-1"),
                name: "热力公司".to_owned(),
            }),
            RegistryEntry::Facility(schemas::Facility {
                code: Code::from("ST-1"),
                kind: schemas::FacilityKind::Station,
                name: "一号站".to_owned(),
                parent: Some(Code::from("PL-1")),
                enterprise: Some(Code::from("E-1")),
                district: Some(Code::from("220102")),
                longitude: Some(125.3),
                latitude: None,
                heated_area: Some(12_000.0),
                attributes: [("design_load".into(), "650".into())].into(),
            }),
        ];
        entries.into_iter().map(|entry| (entry.key(), entry)).collect()
    }

    fn mapping() -> Mapping {
        Mapping::new(Tables::in_force(), &[], 8).unwrap()
    }

    fn find<'a>(rows: &'a [(RowId, Row)], table: &str) -> &'a Row {
        &rows.iter().find(|(id, _)| id.table == table).unwrap().1
    }

    #[test]
    fn the_catalogue_knows_every_path() {
        let registry = registry();
        let facility = || {
            let mut values = Values::new();
            facility_values(&mut values, "ST-1", &registry);
            values
        };
        let (mut device, mut threshold, mut alarm) = (facility(), Values::new(), facility());
        let meter = schemas::Device {
            code: Code::from("D-1"),
            facility: Code::from("ST-1"),
            kind: Code::from("heat_meter"),
            model: String::new(),
            maker: String::new(),
            installed: String::new(),
            attributes: [("place".into(), "outlet".into())].into(),
        };
        device_values(&mut device, &meter);
        threshold_values(&mut threshold, &schemas::registry_files::catalogue_thresholds()[0], "key");
        for block in compliance::blocks(1) {
            if let Rows::Alarms(alarms) = &block.rows {
                alarms.iter().for_each(|told| alarm_values(&mut alarm, told));
            }
        }
        let feeds = [
            (Feed::Facility(Vec::new()), facility()),
            (Feed::Device, device),
            (Feed::Threshold, threshold),
            (Feed::Alarm, alarm),
        ];
        for (feed, values) in feeds {
            let unknown: Vec<&String> = values.keys().filter(|path| !feed.knows(path, &[])).collect();
            assert!(unknown.is_empty() && !values.is_empty(), "{feed:?}: {unknown:?}");
        }
    }

    #[test]
    fn a_station_gives_its_rows_and_they_pass_the_check() {
        let registry = registry();
        let station = registry.values().find(|entry| matches!(entry, RegistryEntry::Facility(_))).unwrap();
        let rows = mapping().entry(station, &registry);
        let tables: Vec<&str> = rows.iter().map(|(id, _)| id.table.as_str()).collect();
        assert_eq!(tables, ["heat_station", "monitor_point"]);
        let row = find(&rows, "heat_station");
        assert_eq!(row["HRZMC"], "一号站");
        assert_eq!(row["YYDW"], "热力公司");
        assert_eq!(row["SJFH"], json!(650.0));
        assert!(!row.contains_key("ZBY"));
        for (id, row) in &rows {
            assert_eq!(Tables::in_force().named(&id.table).unwrap().check(row), [], "{}", id.table);
        }
    }

    #[test]
    fn an_alarm_gives_every_field_of_the_document() {
        let blocks = compliance::blocks(1);
        let Some(Rows::Alarms(alarms)) =
            blocks.iter().map(|b| &b.rows).find(|r| matches!(r, Rows::Alarms(_)))
        else {
            panic!("no alarms")
        };
        let rows: Vec<_> = alarms.iter().flat_map(|alarm| mapping().alarm(alarm, &registry())).collect();
        assert_eq!(rows.len(), 2);
        let table = Tables::in_force().named("device_alarm").unwrap();
        for (id, row) in &rows {
            assert_eq!(table.check(row), [], "{}", id.key);
        }
        let (raised, cleared) = (&rows[0].1, &rows[1].1);
        assert_eq!(raised["BSM"], cleared["BSM"]);
        assert_eq!(raised["CCBJSJ"], "2024-01-15 16:00:01", "civil time, eight hours ahead");
        assert!(!raised.contains_key("BJJSSJ") && cleared["BJJSSJ"] == "2024-01-15 16:00:01");
        assert_eq!((&cleared["DQBJZ"], &cleared["ZGBJZ"]), (&json!(80.0), &json!(91.5)));
        assert_eq!((&cleared["BJLX"], &cleared["DQBJJB"]), (&json!("0"), &json!("2")));
    }

    fn kpi(code: &str, value: f64, cause: KpiCause) -> KpiRow {
        KpiRow {
            kpi: Code::from(code),
            scope: schemas::Scope { kind: schemas::ScopeKind::Station, code: Code::from("ST-1") },
            period: schemas::Period::Hour,
            window_start: 1_705_305_600_000,
            value: Some(value),
            previous: None,
            coverage: 1.0,
            cause,
            caused_by: None,
        }
    }

    #[test]
    fn kpis_of_one_window_become_one_row() {
        let (mapping, registry) = (mapping(), registry());
        let first = mapping.kpi(&kpi("heat_supplied", 3.5, KpiCause::Closed), &registry, |_| Row::new());
        let second =
            mapping.kpi(&kpi("heat_per_area", 0.1, KpiCause::Closed), &registry, |_| first[0].1.clone());
        assert_eq!(first[0].0, second[0].0);
        let row = &second[0].1;
        assert_eq!((&row["GRL"], &row["DWMJGRL"]), (&json!(3.5), &json!(0.1)));
        assert_eq!(row["TJSJ"], "2024-01-15 16:00:00");
        assert_eq!(Tables::in_force().named("heat_station_run").unwrap().check(row), []);
    }

    #[test]
    fn open_windows_and_other_kpis_give_nothing() {
        let (mapping, registry) = (mapping(), registry());
        assert!(
            mapping.kpi(&kpi("heat_supplied", 3.5, KpiCause::Live), &registry, |_| Row::new()).is_empty()
        );
        assert!(
            mapping.kpi(&kpi("online_rate", 1.0, KpiCause::Closed), &registry, |_| Row::new()).is_empty()
        );
    }

    #[test]
    fn tables_can_be_chosen_by_name() {
        let error = Mapping::new(Tables::in_force(), &["alarms".to_owned()], 8).unwrap_err();
        assert!(error.contains("device_alarm"), "{error}");
        let mapping = Mapping::new(Tables::in_force(), &["heat_station".to_owned()], 8).unwrap();
        let registry = registry();
        let rows: Vec<_> = registry.values().flat_map(|entry| mapping.entry(entry, &registry)).collect();
        assert_eq!(rows.len(), 1);
    }
}
