//! The independent checker: what a pipeline wrote, held against itself and against what it was given.
//!
//! Enters: the topics on Kafka and the tables in ClickHouse; neither the product's state nor its code but the forms of
//! the records. Leaves: statements, each of which holds or names what contradicts it. Guarantees: nothing is written.
//!
//! It speaks about one pipeline that has taken everything in; for a running one, what is under way counts as missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jiff::tz::TimeZone;
use schemas::{
    AlarmTransition, KafkaSettings, KpiRow, RegistryEntry, Reject, RejectStage, Report, Topic,
    avro::{Codec, Record},
};
use sinks::clickhouse::Settings;

use crate::{
    consume::{self, Raw},
    oracles::kpis::{self, Key, Measured, Reading, Terms, Value},
    store::Store,
};

/// Contradictions that a statement shows.
const SHOWN: usize = 10;
const HOUR: i64 = 3_600_000;
/// What the batch computation reads.
const METRICS: [&str; 6] = [
    "heat_total",
    "heat_power",
    "secondary_flow",
    "secondary_supply_temp",
    "secondary_return_temp",
    "outdoor_temp",
];

/// One statement about the outputs.
#[derive(Clone, Debug)]
pub struct Statement {
    /// What holds, if nothing contradicts it.
    pub text: String,
    /// What contradicts it.
    pub against: Vec<String>,
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.against.is_empty() { "holds" } else { "DOES NOT HOLD" };
        write!(f, "{verdict}: {}", self.text)?;
        for line in self.against.iter().take(SHOWN) {
            write!(f, "\n    {line}")?;
        }
        match self.against.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n    and {more} more"),
        }
    }
}

/// Where a pipeline's outputs are, and in which zone its days.
pub struct Checker {
    /// The topics.
    pub kafka: KafkaSettings,
    /// The tables.
    pub clickhouse: Settings,
    /// `rules.time_zone`.
    pub zone: TimeZone,
}

impl Checker {
    /// Checks everything.
    pub async fn check(&self) -> Vec<Statement> {
        let store = Store::at(&self.clickhouse);
        vec![
            self.accounts(&store).await,
            self.undecodable(&store).await,
            rows_once(&store).await,
            self.transitions_once(),
            self.alarm_tables(&store).await,
            self.topic_of_kpis(&store).await,
            self.topic_of_rejects(&store).await,
            self.batch(&store).await,
        ]
    }

    fn raw(&self, topic: Topic) -> Vec<Raw> {
        consume::raw(&self.kafka, topic, &BTreeMap::new())
    }

    /// Accepted = readings + rejects.
    async fn accounts(&self, store: &Store) -> Statement {
        let codec = Codec::single_object();
        let reports = self.raw(Topic::Reports);
        let readings = |record: &Raw| codec.decode::<Report>(record.value.as_deref()?).ok();
        let accepted: usize = reports.iter().filter_map(readings).map(|report| report.readings.len()).sum();
        let stored = store.number("SELECT count() FROM readings FINAL").await as usize;
        let rejected = "SELECT sum(readings) FROM rejects FINAL WHERE stage = 'dataflow'";
        let rejected = store.number(rejected).await as usize;
        let text = format!(
            "{accepted} readings in {} reports are {stored} stored and {rejected} rejected",
            reports.len()
        );
        let difference = (accepted as i64) - (stored + rejected) as i64;
        let against = (difference != 0).then(|| format!("{difference} readings are missing")).into_iter();
        Statement { text, against: against.collect() }
    }

    /// A record that is no report is one reject, which names its place.
    async fn undecodable(&self, store: &Store) -> Statement {
        let (codec, name) = (Codec::single_object(), self.kafka.topic(Topic::Reports));
        let bad =
            |record: &Raw| record.value.as_deref().is_none_or(|value| codec.decode::<Report>(value).is_err());
        let place = |record: Raw| format!("kafka:{name}/{}/{}", record.partition, record.offset);
        let sent: BTreeSet<String> = self.raw(Topic::Reports).into_iter().filter(bad).map(place).collect();
        let sql = "SELECT origin, count() FROM rejects FINAL WHERE stage = 'dataflow' AND readings = 0 AND \
                   reason IN ('malformed', 'unknown_schema') GROUP BY origin";
        let rows = store.query(sql).await;
        let known: BTreeMap<&str, &str> = rows.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect();
        let wrong = |origin: &&String| known.get(origin.as_str()) != Some(&"1");
        let against = sent.iter().filter(wrong).map(|origin| {
            format!("{origin} is rejected {} times", known.get(origin.as_str()).unwrap_or(&"0"))
        });
        let text = format!("each of {} records that are no reports is rejected once", sent.len());
        Statement { text, against: against.collect() }
    }

    fn transitions(&self) -> Vec<(Raw, AlarmTransition)> {
        let codec = Codec::single_object();
        let decoded = |record: Raw| {
            let value = codec.decode(record.value.as_deref().unwrap()).unwrap();
            (record, value)
        };
        self.raw(Topic::Alarms).into_iter().map(decoded).collect()
    }

    /// No transition is missing, twice or out of order on the topic.
    fn transitions_once(&self) -> Statement {
        let mut seen: BTreeMap<String, Vec<(u32, u64)>> = BTreeMap::new();
        let transitions = self.transitions();
        for (record, alarm) in &transitions {
            let epoch = record.number("epoch").unwrap_or_default();
            seen.entry(alarm.alarm_id.clone()).or_default().push((alarm.sequence, epoch));
        }
        let wrong = |(alarm, seen): (&String, &Vec<(u32, u64)>)| {
            let in_order = seen.iter().zip(1..).all(|((sequence, _), number)| *sequence == number);
            let forward = seen.windows(2).all(|pair| pair[0].1 <= pair[1].1);
            (!in_order || !forward).then(|| format!("{alarm}: (sequence, epoch) are {seen:?}"))
        };
        let against = seen.iter().filter_map(wrong).collect();
        let text = format!(
            "{} transitions of {} alarms stand on the topic once and in their order",
            transitions.len(),
            seen.len()
        );
        Statement { text, against }
    }

    /// The tables hold the transitions of the topic, and of each alarm the last state.
    async fn alarm_tables(&self, store: &Store) -> Statement {
        let transitions = self.transitions();
        let events = transitions.iter().map(|(record, alarm)| {
            let AlarmTransition { alarm_id, sequence, transition, at, level, current_value, cause, .. } =
                alarm;
            let epoch = record.number("epoch").unwrap_or_default();
            line(&[alarm_id, &sequence, &transition.name(), &at, &level, &current_value, cause, &epoch])
        });
        let sql = "SELECT alarm_id, sequence, transition, toUnixTimestamp64Milli(at), level, value, cause, epoch \
                   FROM alarm_events FINAL";
        let mut against = differences("alarm_events", events, store.query(sql).await);
        let mut last: BTreeMap<&str, (&Raw, &AlarmTransition)> = BTreeMap::new();
        for (record, alarm) in &transitions {
            last.insert(&alarm.alarm_id, (record, alarm));
        }
        let states = last.values().map(|(record, alarm)| {
            let AlarmTransition { alarm_id, rule, level, state, raised_at, current_value, .. } = alarm;
            let cleared = alarm.cleared_at.map_or("\\N".to_owned(), |at| at.to_string());
            let epoch = record.number("epoch").unwrap_or_default();
            let peak = (alarm.peak_value, alarm.peak_at, alarm.peak_level);
            line(&[
                alarm_id,
                rule,
                &level,
                &state.name(),
                &raised_at,
                &cleared,
                &current_value,
                &peak.0,
                &peak.1,
                &peak.2,
                &alarm.sequence,
                &epoch,
            ])
        });
        let sql = "SELECT alarm_id, rule, level, state, toUnixTimestamp64Milli(raised_at), \
                   toUnixTimestamp64Milli(cleared_at), current_value, peak_value, toUnixTimestamp64Milli(peak_at), \
                   peak_level, sequence, epoch FROM alarms FINAL";
        against.extend(differences("alarms", states, store.query(sql).await));
        let text = format!(
            "alarm_events holds the {} transitions of the topic, alarms the last state of {}",
            transitions.len(),
            last.len()
        );
        Statement { text, against }
    }

    /// The last state of each KPI is the same on the topic and in the table.
    async fn topic_of_kpis(&self, store: &Store) -> Statement {
        let codec = Codec::single_object();
        let mut last: BTreeMap<Vec<u8>, String> = BTreeMap::new();
        for record in self.raw(Topic::Kpis) {
            let row: KpiRow = codec.decode(record.value.as_deref().unwrap()).unwrap();
            let epoch = record.number("epoch").unwrap_or_default();
            let value = row.value.map_or("\\N".to_owned(), |value| value.to_string());
            let (kind, period) = (row.scope.kind.name(), row.period.name());
            let text = line(&[
                &row.kpi,
                &kind,
                &row.scope.code,
                &period,
                &(row.window_start / 1_000),
                &value,
                &row.coverage,
                &row.cause.name(),
                &epoch,
            ]);
            last.insert(record.key, text);
        }
        let sql = "SELECT kpi, scope_kind, scope, period, toUnixTimestamp(window_start), value, coverage, cause, epoch \
                   FROM kpis FINAL";
        let rows = store.query(sql).await;
        // A pipeline may be configured to keep its KPIs off the topic.
        if last.is_empty() {
            return Statement { text: "no KPI stands on the topic".to_owned(), against: Vec::new() };
        }
        let text = format!("the last states of {} KPIs on the topic are those of the table", last.len());
        Statement { text, against: differences("kpis", last.into_values(), rows) }
    }

    /// The table holds the rejects of the topic, each once.
    async fn topic_of_rejects(&self, store: &Store) -> Statement {
        let codec = Codec::single_object();
        let rejects: Vec<Reject> = self
            .raw(Topic::Rejects)
            .into_iter()
            .map(|record| codec.decode(record.value.as_deref().unwrap()).unwrap())
            .filter(|reject: &Reject| reject.stage != RejectStage::Sink)
            .collect();
        let text = format!("the {} rejects of the topic are those of the table", rejects.len());
        let rejects = rejects.into_iter().map(|reject| {
            line(&[&reject.at, &reject.origin, &reject.reason.name(), &reject.readings, &reject.raw.len()])
        });
        let sql =
            "SELECT toUnixTimestamp64Milli(at), origin, reason, readings, length(raw) FROM rejects FINAL";
        Statement { text, against: differences("rejects", rejects, store.query(sql).await) }
    }

    /// No window of a station differs from a batch computation over what is stored.
    async fn batch(&self, store: &Store) -> Statement {
        let span = "SELECT toUnixTimestamp64Milli(min(received_at)), toUnixTimestamp64Milli(max(received_at)) \
                    FROM readings";
        let span = &store.query(span).await[0];
        let bound = |n: usize| span[n].parse::<i64>().unwrap_or_default();
        // Windows that have ended: the last of the span may still lack what is under way.
        let ended = |(_, period, start): &Key| {
            let length = if *period == "hour" { HOUR } else { 25 * HOUR };
            *start >= bound(0) && start + length + HOUR <= bound(1)
        };
        let (mut compared, mut against) = (0, Vec::new());
        for (station, (interval, area)) in self.stations() {
            let terms = Terms { interval, area, dated: 18 * HOUR, zone: self.zone.clone() };
            let expected = kpis::kpis(&measured(store, &station).await, &terms);
            let found = found(store, &station).await;
            let told = ["heat_supplied", "secondary_supply_temp_mean", "secondary_return_temp_mean"];
            for (key, value) in expected.iter().filter(|(key, _)| told.contains(&key.0) && ended(key)) {
                compared += 1;
                let there = found.get(&(key.0.to_owned(), key.1.to_owned(), key.2));
                if !agrees(key.0, value, there) {
                    let at = schemas::time::rfc3339(key.2);
                    against.push(format!("{station} {} {} {at}: {there:?}, not {value:?}", key.0, key.1));
                }
            }
        }
        if compared == 0 {
            against.push("nothing to compare: no window of a station has ended".to_owned());
        }
        Statement { text: format!("{compared} KPIs of stations are those of a batch computation"), against }
    }

    /// The stations of the registry, how often they report, ms, and what they heat, m².
    fn stations(&self) -> BTreeMap<String, (i64, f64)> {
        let codec = Codec::single_object();
        let mut stations = BTreeMap::new();
        for record in self.raw(Topic::Registry) {
            let Some(value) = record.value else { continue };
            let Ok(RegistryEntry::Facility(facility)) = decode(&codec, &value) else { continue };
            if facility.kind == schemas::FacilityKind::Station {
                let seconds = facility.attributes.get(schemas::registry::attribute::INTERVAL);
                let seconds = seconds.and_then(|text| text.parse::<i64>().ok()).unwrap_or(60);
                let area = facility.heated_area.unwrap_or_default();
                stations.insert(facility.code.to_string(), (seconds * 1_000, area));
            }
        }
        stations
    }
}

fn decode<R: Record>(codec: &Codec, bytes: &[u8]) -> Result<R, schemas::Error> {
    codec.decode(bytes)
}

/// No (key, epoch) has two rows, even before merges.
async fn rows_once(store: &Store) -> Statement {
    let tables = [
        ("readings", "facility, device, metric, observed_at"),
        ("kpis", "kpi, scope_kind, scope, period, window_start"),
        ("quality", "scope_kind, scope, period, window_start"),
        ("estimates", "model, facility, device, hour"),
        ("alarms", "alarm_id"),
        ("alarm_events", "alarm_id, sequence"),
        ("rejects", "at, reason, origin, row"),
    ];
    let (mut rows, mut against) = (0, Vec::new());
    for (table, key) in tables {
        rows += store.number(&format!("SELECT count() FROM {table}")).await as u64;
        let sql = format!(
            "SELECT toString(tuple({key}, epoch)), count() AS rows FROM {table} GROUP BY {key}, epoch HAVING rows > 1 \
             LIMIT {SHOWN}"
        );
        let twice = store.query(&sql).await;
        against.extend(twice.into_iter().map(|row| format!("{table}: {} stands {} times", row[0], row[1])));
    }
    Statement { text: format!("none of {rows} rows of all tables stands twice"), against }
}

async fn measured(store: &Store, station: &str) -> Measured {
    let mut measured = Measured::new();
    for metric in METRICS {
        let sql = format!(
            "SELECT toUnixTimestamp64Milli(observed_at), value, flag FROM readings FINAL WHERE facility = '{station}' AND \
             device = '' AND metric = '{metric}' ORDER BY observed_at"
        );
        let reading = |row: Vec<String>| Reading {
            at: row[0].parse().unwrap(),
            value: row[1].parse().unwrap(),
            usable: row[2] == "1" || row[2] == "2",
        };
        measured.insert(metric, store.query(&sql).await.into_iter().map(reading).collect());
    }
    measured
}

/// The KPIs of a station in the table: value and coverage.
async fn found(store: &Store, station: &str) -> BTreeMap<(String, String, i64), (Option<f64>, f64)> {
    let sql = format!(
        "SELECT kpi, period, toUnixTimestamp(window_start) * 1000, value, coverage FROM kpis FINAL \
         WHERE scope_kind = 'facility' AND scope = '{station}'"
    );
    let value = |row: Vec<String>| {
        (
            (row[0].clone(), row[1].clone(), row[2].parse().unwrap()),
            (row[3].parse().ok(), row[4].parse().unwrap()),
        )
    };
    store.query(&sql).await.into_iter().map(value).collect()
}

/// Within half of the last decimal, and a little for ties and for fixed point.
fn agrees(kpi: &str, expected: &Value, found: Option<&(Option<f64>, f64)>) -> bool {
    let half = if kpi == "heat_supplied" { 0.0005 } else { 0.05 } + 1e-5;
    let Some(&(Some(value), coverage)) = found else { return false };
    let covered = expected.coverage.is_none_or(|share| (share.min(1.0) - coverage).abs() <= 0.005 + 1e-5);
    (value - expected.value).abs() <= half && covered
}

fn line(cells: &[&dyn fmt::Display]) -> String {
    cells.iter().map(ToString::to_string).collect::<Vec<_>>().join("\t")
}

/// What only one of a topic and a table holds, or not as often.
fn differences(table: &str, topic: impl Iterator<Item = String>, rows: Vec<Vec<String>>) -> Vec<String> {
    let mut times: BTreeMap<String, i64> = BTreeMap::new();
    for text in topic {
        *times.entry(text).or_default() += 1;
    }
    for row in rows {
        *times.entry(row.join("\t")).or_default() -= 1;
    }
    let differs = |(text, times): (String, i64)| match times {
        0 => None,
        1.. => Some(format!("only on the topic: {}", text.replace('\t', " "))),
        _ => Some(format!("only in {table}: {}", text.replace('\t', " "))),
    };
    times.into_iter().filter_map(differs).collect()
}
