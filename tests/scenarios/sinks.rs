//! ClickHouse's engine behind the sink: the compliance suite, every column, migrations, and answers that stop.

use std::sync::Arc;

use ::sinks::{
    Block, Error, Rows, Sink,
    clickhouse::{ClickHouse, Settings, migrate},
    compliance::{self, Counts},
};
use clickhouse::Row;
use schemas::{
    Code, Device, District, Enterprise, Facility, FacilityKind, MetricId, RegistryEntry, Side, Threshold,
};
use serde::Deserialize;
use tests::oracles::table::tables;

/// A database of its own for a test, without tables.
fn settings(test: &str) -> Settings {
    let url = std::env::var("NUANLIU_CLICKHOUSE")
        .unwrap_or_else(|_| panic!("NUANLIU_CLICKHOUSE is not set: run `make up` and read target/dev/env"));
    Settings { database: format!("test_{test}_{}", std::process::id()), ..Settings::at(&url) }
}

async fn query(sink: &ClickHouse, sql: &str) -> Vec<String> {
    #[derive(Row, Deserialize)]
    struct Line {
        text: String,
    }
    let sql = format!("SELECT {sql}");
    let rows = sink.client().query_raw(&sql).fetch_all::<Line>().await;
    rows.unwrap_or_else(|error| panic!("{sql}: {error}")).into_iter().map(|line| line.text).collect()
}

async fn count(sink: &ClickHouse, from: &str) -> usize {
    query(sink, &format!("toString(count()) AS text {from}")).await[0].parse().unwrap()
}

/// A sink on fresh tables.
async fn fresh(test: &str) -> ClickHouse {
    let settings = settings(test);
    migrate(&settings, |_| {}).await.unwrap();
    ClickHouse::new(&settings).unwrap()
}

async fn drop_database(settings: &Settings) {
    let drop = format!("DROP DATABASE IF EXISTS {}", settings.database);
    settings.client().unwrap().query_raw(&drop).execute().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_complies() {
    let sink = fresh("complies").await;
    compliance::check(&sink, async || {
        let mut counts = Counts::default();
        for table in tables() {
            let rows = count(&sink, &format!("FROM {table} FINAL")).await;
            if rows > 0 {
                counts.0.insert(table, rows);
            }
        }
        counts
    })
    .await;
    drop_database(&settings("complies")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_is_sent_again_adds_no_row_even_before_merges() {
    let sink = fresh("again").await;
    for _ in 0..3 {
        sink.write(Arc::new(compliance::blocks(1))).await.unwrap();
    }
    assert_eq!(count(&sink, "FROM readings").await, 50);
    assert_eq!(count(&sink, "FROM alarms").await, 1);
    // The same rows under another token do add rows, until they are merged.
    let mut other = compliance::blocks(1);
    other.iter_mut().for_each(|block| block.bucket = 9);
    sink.write(Arc::new(other)).await.unwrap();
    assert_eq!(count(&sink, "FROM readings").await, 100);
    assert_eq!(count(&sink, "FROM readings FINAL").await, 50);
    drop_database(&settings("again")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_column_arrives_as_it_was_sent() {
    let sink = fresh("columns").await;
    sink.write(Arc::new(compliance::blocks(1))).await.unwrap();
    let readings = query(
        &sink,
        "concat(facility, ' ', device, ' ', metric, ' ', toString(observed_at), ' ', toString(received_at), ' ', \
         toString(value), ' ', toString(flag), ' ', toString(failed), ' ', toString(epoch)) AS text \
         FROM readings FINAL ORDER BY facility LIMIT 8",
    )
    .await;
    assert_eq!(
        readings[0],
        "ST-00000 D-0 primary_supply_temp 2024-01-15 08:00:01.000 2024-01-15 08:00:02.234 -1 4 ['range','spike'] 1"
    );
    assert_eq!(
        readings[1],
        "ST-00001  primary_return_temp 2024-01-15 08:00:01.000 2024-01-15 08:00:02.234 -0.9 1 [] 1"
    );
    assert!(readings[7].contains("ST-00007") && readings[7].contains("['range','spike']"), "{}", readings[7]);
    let kpis = query(
        &sink,
        "toString(tuple(kpi, scope_kind, scope, period, window_start, value, previous, coverage, cause, epoch)) AS \
         text FROM kpis FINAL ORDER BY scope LIMIT 2",
    )
    .await;
    assert_eq!(
        kpis,
        [
            "('heat_supplied','enterprise','E-0','hour','2024-01-15 08:00:00',NULL,0.5,0.75,'late',1)",
            "('heat_supplied','enterprise','E-1','hour','2024-01-15 08:00:00',1,NULL,0.75,'late',1)",
        ]
    );
    let alarms = query(&sink, "toString(tuple(* EXCEPT (written_at))) AS text FROM alarms FINAL").await;
    assert_eq!(
        alarms,
        ["('high_temp/ST-1/1','high_temp','ST-1','','secondary_supply_temp',2,'cleared',\
          '2024-01-15 08:00:01.000','2024-01-15 08:00:01.500',91.5,80,91.5,'2024-01-15 08:00:01.000',2,0,120,9600,\
          '{\"limit\":90}','检查调节阀',2,'2024-01-15 08:00:01.500',1)"]
    );
    assert_eq!(count(&sink, "FROM alarms_active").await, 0);
    let rejects = query(&sink, "concat(hex(raw), reason, stage, origin, detail) AS text FROM rejects").await;
    assert_eq!(rejects, ["FF007Bmalformedconnectorhttp:198.51.100.7line 1: expected `{`"; 2]);
    let score =
        query(&sink, "toString(tuple(scope, completeness, score)) AS text FROM quality ORDER BY scope");
    assert_eq!(score.await[0], "('220100',0.5,0.625)");
    drop_database(&settings("columns")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_dictionaries_and_long_arrays_arrive() {
    let sink = fresh("large").await;
    let rows = (0..70_000).map(|n| compliance::reading(n, 1_705_300_000_000)).collect();
    sink.write(Arc::new(vec![Block { epoch: 1, bucket: 0, rows: Rows::Readings(rows) }])).await.unwrap();
    let sums = query(
        &sink,
        "toString(tuple(count(), uniqExact(facility), uniqExact(device), sum(length(failed)), \
         countIf(substring(facility, 4) != leftPad(toString(round((value + 1) * 10)), 5, '0')))) AS text \
         FROM readings",
    )
    .await;
    assert_eq!(sums, ["(70000,70000,23335,20000,0)"]);
    drop_database(&settings("large")).await;
}

fn registry() -> Vec<RegistryEntry> {
    let facility = Facility {
        code: Code::from("ST-1"),
        kind: FacilityKind::Station,
        name: "一号站".to_owned(),
        parent: None,
        enterprise: Some(Code::from("E-1")),
        district: None,
        longitude: Some(125.3),
        latitude: Some(43.9),
        heated_area: Some(120_000.0),
        attributes: [("interval".into(), "60".into())].into(),
    };
    vec![
        RegistryEntry::District(District {
            code: Code::from("220102"),
            name: "南关区".to_owned(),
            parent: None,
        }),
        RegistryEntry::Enterprise(Enterprise { code: Code::from("E-1"), name: "热力公司".to_owned() }),
        RegistryEntry::Facility(facility),
        RegistryEntry::Device(Device {
            code: Code::from("D-1"),
            facility: Code::from("ST-1"),
            kind: Code::from("room_sensor"),
            model: "m".to_owned(),
            maker: "k".to_owned(),
            installed: String::new(),
            attributes: [].into(),
        }),
        RegistryEntry::Threshold(Threshold {
            scope: Code::from("station"),
            metric: MetricId(2),
            side: Side::High,
            level1: Some(95.0),
            level2: None,
            level3: Some(85.0),
            deadband: 1.0,
            on_delay: 60,
            off_delay: 120,
            enabled: true,
            advice: String::new(),
            rule: "".into(),
        }),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_becomes_dimension_tables() {
    let sink = fresh("registry").await;
    let block = |epoch, rows| Arc::new(vec![Block { epoch, bucket: 0, rows: Rows::Registry(rows) }]);
    let added = registry().into_iter().map(|entry| (entry.key(), Some(entry))).collect();
    sink.write(block(1, added)).await.unwrap();
    let facility = query(
        &sink,
        "toString(tuple(code, kind, name, parent, enterprise, longitude, heated_area, attributes['interval'])) AS \
         text FROM registry_facilities FINAL",
    );
    assert_eq!(facility.await, ["('ST-1','station','一号站','','E-1',125.3,120000,'60')"]);
    let threshold = query(
        &sink,
        "toString(tuple(scope, metric, side, level1, level2, level3, on_delay, enabled)) AS text \
         FROM registry_thresholds FINAL",
    );
    assert_eq!(threshold.await, ["('station','secondary_supply_temp','high',95,NULL,85,60,1)"]);
    let tables = ["districts", "enterprises", "facilities", "devices", "thresholds"];
    for table in tables {
        assert_eq!(count(&sink, &format!("FROM registry_{table} FINAL")).await, 1, "{table}");
    }
    let removed = registry().into_iter().map(|entry| (entry.key(), None)).collect();
    sink.write(block(2, removed)).await.unwrap();
    for table in tables {
        assert_eq!(count(&sink, &format!("FROM registry_{table} FINAL")).await, 0, "{table}");
    }
    drop_database(&settings("registry")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_are_applied_once() {
    let settings = settings("migrations");
    let mut heard = Vec::new();
    let first = migrate(&settings, |applied| heard.push(applied.name)).await.unwrap();
    assert!(first.iter().all(|applied| applied.now));
    assert_eq!(heard.len(), first.len());
    let second = migrate(&settings, |_| {}).await.unwrap();
    assert!(second.iter().all(|applied| !applied.now));
    let update = format!(
        "INSERT INTO {}.schema_migrations (version, name, checksum) VALUES (2, 'x', 'changed')",
        settings.database
    );
    settings.client().unwrap().query_raw(&update).execute().await.unwrap();
    let error = migrate(&settings, |_| {}).await.unwrap_err();
    assert!(matches!(&error, Error::Stop { detail, .. } if detail.contains("002_kpis")), "{error}");
    drop_database(&settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_tables_stop_with_advice_and_a_missing_server_is_retried() {
    let missing = ClickHouse::new(&settings("missing")).unwrap();
    let error = missing.write(Arc::new(compliance::blocks(1))).await.unwrap_err();
    assert!(matches!(&error, Error::Stop { detail, .. } if detail.contains("nuanliu migrate")), "{error}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = listener.local_addr().unwrap();
    drop(listener);
    let gone = ClickHouse::new(&Settings::at(&format!("http://{free}"))).unwrap();
    let error = gone.write(Arc::new(compliance::blocks(1))).await.unwrap_err();
    assert!(matches!(error, Error::Retry { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_deliveries_is_copied_once() {
    use ::sinks::exchange::ledger::{Event, Outcome, RowId};
    let sink = fresh("ledger").await;
    let event = |sequence, outcome, attempt| Event {
        sequence,
        row: RowId { table: Code::from("device_alarm"), key: Code::from("a/1"), window: 1_705_305_600_000 },
        attempt,
        at: 1_705_305_601_000,
        outcome,
        code: Code::from("10001"),
        detail: "BSM: is required".to_owned(),
    };
    let events =
        [event(1, Outcome::Pending, 0), event(2, Outcome::Attempted, 1), event(3, Outcome::Refused, 1)];
    for _ in 0..2 {
        sink.write_ledger(&events).await.unwrap();
    }
    let rows = query(
        &sink,
        "toString(tuple(* EXCEPT (written_at))) AS text FROM exchange_ledger ORDER BY sequence DESC",
    )
    .await;
    assert_eq!(rows.len(), 3);
    assert_eq!(
        rows[0],
        "('device_alarm','a/1','2024-01-15 08:00:00.000',1,'2024-01-15 08:00:01.000','refused','10001',\
         'BSM: is required',3)"
    );
    drop_database(&settings("ledger")).await;
}
