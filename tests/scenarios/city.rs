//! Simulated and recorded data on the way to Kafka: what was generated or read lies there, to the value.

use std::{future::pending, io::Write, path::PathBuf, sync::Arc};

use connectors::{
    Intake, Publisher, http, mqtt,
    pace::Pace,
    publish::{Limits, codec, ensure_topics},
    replay::{self, Mapping},
    simulator::{self, Destination, Endpoints, Fault, FaultKind, Plan, Simulator, Size},
};
use schemas::{KafkaSettings, RawValue, RegistryEntry, Reject, Report, Topic, time};
use serde_json::json;
use tests::{consume, site::service};
use tokio::sync::oneshot;

fn kafka(scenario: &str) -> KafkaSettings {
    let prefix = format!("{scenario}_{}", std::process::id());
    serde_json::from_value(json!({ "brokers": service("NUANLIU_KAFKA"), "prefix": prefix })).unwrap()
}

async fn publisher(kafka: &KafkaSettings) -> Publisher {
    ensure_topics(kafka).await.unwrap();
    Publisher::connect(kafka, Arc::new(codec(kafka).await.unwrap()), Limits::default()).unwrap()
}

fn plan() -> Plan {
    let mut plan = Plan::of(Size::of_stations(4));
    (plan.hours, plan.seed, plan.faults_per_kind) = (3, 5, 1);
    plan
}

/// A report without its origin, as text that can be compared.
fn line(report: &Report) -> String {
    let values: Vec<String> =
        report.readings.iter().map(|reading| format!("{}={:?}", reading.metric, reading.value)).collect();
    let Report { facility, device, observed_at, received_at, sequence, .. } = report;
    format!("{facility} {device:?} {observed_at} {received_at} {sequence:?} {}", values.join(" "))
}

fn sorted(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

fn on_kafka(kafka: &KafkaSettings) -> Vec<String> {
    sorted(consume::<Report>(kafka, Topic::Reports).iter().map(|record| line(&record.value)))
}

/// A fault of twenty minutes.
fn fault(plan: &Plan, kind: FaultKind, facility: &str, device: Option<&str>, magnitude: f64) -> Fault {
    let start = plan.from() + time::HOUR;
    Fault {
        kind,
        facility: facility.into(),
        device: device.map(Into::into),
        metric: None,
        start,
        end: start + 20 * time::MINUTE,
        magnitude,
    }
}

/// Shows the first difference and not everything.
fn same(got: &[String], want: &[String]) {
    let differs = got.iter().zip(want).find(|(got, want)| got != want);
    assert_eq!(differs, None, "{} against {} reports", got.len(), want.len());
    assert_eq!(got.len(), want.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulated_district_lies_on_kafka_as_it_was_generated() {
    let (kafka, plan) = (kafka("simulate"), plan());
    let publisher = publisher(&kafka).await;
    let entries = simulator::load_registry(&plan, &publisher).await.unwrap();
    let faults = simulator::plan_faults(&plan);
    let destination = Destination::Kafka(publisher);
    let sum = simulator::run(&plan, faults.clone(), destination, Pace::Fastest, false).await.unwrap();
    assert_eq!(consume::<RegistryEntry>(&kafka, Topic::Registry).len(), entries);
    let generated: Vec<Report> = Simulator::new(&plan, faults).unwrap().flat_map(|m| m.reports).collect();
    assert_eq!((sum.reports, sum.kafka), (generated.len() as u64, generated.len() as u64));
    same(&on_kafka(&kafka), &sorted(generated.iter().map(line)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulated_district_comes_through_the_endpoints_to_the_record() {
    let (kafka, plan) = (kafka("endpoints"), plan());
    let intake = Intake { publisher: publisher(&kafka).await, known: None };
    let settings = http::Settings {
        listen: ([127, 0, 0, 1], 0).into(),
        accept_received_at: true,
        ..http::Settings::default()
    };
    let server = http::Server::bind(settings, intake.clone()).await.unwrap();
    let endpoints = Endpoints {
        http: format!("http://{}", server.address()),
        mqtt: Some(service("NUANLIU_MQTT")),
        gateway_share: 0.5,
        gateway_separator: "/".to_owned(),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(axum::Router::new(), async {
        let _ = stopped.await;
    }));
    let settings: mqtt::Settings = serde_json::from_value(json!({
        "broker": service("NUANLIU_MQTT"),
        "client_id": kafka.prefix,
        "accept_received_at": true,
        "profiles": [{ "topic": "heating/{facility}/report", "format": "native" }],
    }))
    .unwrap();
    let connector = tokio::spawn(mqtt::Connector::new(settings, intake).unwrap().run(pending()));

    let mut faults = simulator::plan_faults(&plan);
    let decades = 37.0 * 365.25 * 86_400.0;
    faults.extend([
        fault(&plan, FaultKind::WrongClock, "ST-0004", None, 10_800.0),
        fault(&plan, FaultKind::WrongClock, "CD-000001", Some("DV-000001"), 10_800.0),
        fault(&plan, FaultKind::ClockFarAhead, "CD-000002", Some("DV-000002"), decades),
        fault(&plan, FaultKind::NullsOnly, "CD-000003", Some("DV-000003"), 0.0),
        fault(&plan, FaultKind::RepeatedBlock, "CD-000004", Some("DV-000004"), 10.0),
    ]);
    let destination = Destination::Endpoints(endpoints);
    let sum = simulator::run(&plan, faults.clone(), destination, Pace::Fastest, false).await.unwrap();
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    connector.abort();

    let generated: Vec<Report> = Simulator::new(&plan, faults).unwrap().flat_map(|m| m.reports).collect();
    assert_eq!(sum.reports, generated.len() as u64);
    assert!(sum.http > 0 && sum.mqtt > 0 && sum.http + sum.mqtt == sum.reports, "{sum:?}");
    let (good, impossible): (Vec<&Report>, Vec<&Report>) =
        generated.iter().partition(|r| time::plausible(r.observed_at, r.received_at, time::BACKFILL).is_ok());
    assert!(impossible.len() >= 40, "two clocks are wrong for twenty minutes");
    let far = |report: &&&Report| report.observed_at - report.received_at > 36 * 365 * time::DAY;
    assert!(impossible.iter().filter(far).count() >= 20, "and one by decades");
    let null = |report: &&&Report| report.readings.iter().all(|r| r.value == RawValue::Missing);
    assert!(good.iter().filter(null).count() >= 20, "one device measures nothing");
    // What is refused for its time shows that its object is in contact, by a report without readings.
    let contact = |report: &&Report| line(&Report { readings: Default::default(), ..(*report).clone() });
    let wanted = good.iter().map(|report| line(report)).chain(impossible.iter().map(contact));
    same(&on_kafka(&kafka), &sorted(wanted));
    assert_eq!(consume::<Reject>(&kafka, Topic::Rejects).len(), impossible.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_file_lies_on_kafka_row_by_row() {
    let kafka = kafka("replay");
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, rows: &str| {
        let path = directory.path().join(name);
        let mut gzip =
            flate2::write::GzEncoder::new(std::fs::File::create(&path).unwrap(), flate2::Compression::fast());
        let header = "datetime,t_amb,t_ref,t_sup_prim,t_ret_prim,t_sup_sec,t_ret_sec,e,pe\n";
        gzip.write_all(format!("{header}{rows}").as_bytes()).unwrap();
        gzip.finish().unwrap();
        path
    };
    let files = [
        file(
            "scada_L4.csv.gz",
            "2024-01-15 13:00:00,-39.9,80,0,0,-39.9,-39.9,10.5,\nno time,1,2,3,4,5,6,7,8\n",
        ),
        file("scada_L8.csv.gz", "2024-01-15 12:00:00,1.5,50,80,40,45,38,100,120\n"),
    ];
    let sum = replay::run(&files, &shipped(), publisher(&kafka).await, Pace::Fastest, false).await.unwrap();
    assert_eq!((sum.rows, sum.reports, sum.readings, sum.missing, sum.rejects), (3, 2, 16, 1, 1));
    let reports = consume::<Report>(&kafka, Topic::Reports);
    let first = reports.iter().find(|r| r.key == "XAI-L4").expect("the report of L4");
    let heat = first.value.readings.iter().find(|r| r.metric == "heat_total").expect("heat");
    assert_eq!(heat.value, RawValue::Number(37.8), "MWh become GJ");
    let rejects = consume::<Reject>(&kafka, Topic::Rejects);
    assert!(rejects[0].value.origin.ends_with("scada_L4.csv.gz:3"), "{}", rejects[0].value.origin);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_files_lie_on_kafka_to_the_last_row() {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/xai4heat");
    let directory = std::env::var_os("NUANLIU_XAI4HEAT").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    let files = ["L4", "L8", "L12"].map(|name| directory.join(format!("scada_{name}.csv.gz")));
    if !files[0].exists() {
        println!("skipped: {} is absent; set NUANLIU_XAI4HEAT to the xai4heat data", directory.display());
        return;
    }
    let kafka = kafka("xai4heat");
    let sum = replay::run(&files, &shipped(), publisher(&kafka).await, Pace::Fastest, false).await.unwrap();
    assert_eq!((sum.reports, sum.rejects), (45_461 + 2 * 31_243, 0));
    assert_eq!(consume::<Report>(&kafka, Topic::Reports).len() as u64, sum.reports);
}

fn shipped() -> Mapping {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples/xai4heat/xai4heat.toml");
    Mapping::read(path.as_ref()).unwrap()
}
