//! What can go wrong with the input: the broker dies, halts or starts anew; partitions are added; records go before they
//! are read; the state directory is not the one that wrote the outputs. Nothing is skipped without a word.

use std::{fs, time::Duration};

use connectors::Outgoing;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions},
    client::DefaultClientContext,
};
use schemas::{Topic, time::MINUTE};
use tests::{Process, Service, Site, district, until};

const SOON: Duration = Duration::from_secs(90);
/// The client gives up a request of before the outage only after a minute, and on a busy machine several in turn.
const AFTER_OUTAGE: Duration = Duration::from_secs(300);
const STATIONS: usize = 12;

/// Publishes minutes of all stations as they happen now; gives the number of readings.
async fn publish(site: &Site, minutes: std::ops::Range<i64>) -> u64 {
    let start = jiff::Timestamp::now().as_millisecond() / MINUTE * MINUTE - 20 * MINUTE;
    let places =
        minutes.flat_map(|minute| (1..=STATIONS).map(move |station| (station, start + minute * MINUTE)));
    let report = |(station, at): (usize, i64)| {
        let readings =
            [("secondary_supply_temp", 45.0 + (at / MINUTE % 7) as f64 / 10.0), ("outdoor_temp", -9.5)];
        Outgoing::Report(district::report(station, at, at + 500, &readings))
    };
    site.publish(&places.map(report).collect::<Vec<_>>()).await
}

async fn begin(site: &Site) -> (Process, u64) {
    site.nuanliu(&["migrate"]);
    site.publish(&district::registry(STATIONS)).await;
    let mut process = site.start(&["run"]);
    let accepted = publish(site, 0..5).await;
    site.stored(accepted, &mut process, SOON).await;
    (process, accepted)
}

fn admin(site: &Site) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &site.kafka().brokers).create().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_are_read_from_their_beginning() {
    let site = Site::new("partitions", "epoch_ms = 50\n");
    let (mut process, mut accepted) = begin(&site).await;
    let topic = site.kafka().topic(Topic::Reports);
    let more = NewPartitions::new(&topic, 11);
    let added = admin(&site).create_partitions([&more], &AdminOptions::new()).await.unwrap();
    assert!(added.iter().all(Result::is_ok), "{added:?}");
    accepted += publish(&site, 5..10).await;
    site.stored(accepted, &mut process, SOON).await;
    assert_eq!(process.terminate(SOON), 0);
    // The bindings name them, so a replay reads them too.
    accepted += publish(&site, 10..12).await;
    let mut process = site.start(&["run"]);
    site.stored(accepted, &mut process, SOON).await;
    assert_eq!(process.terminate(SOON), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_gone_stop_the_pipeline_until_their_loss_is_accepted() {
    let site = Site::new("retention", "epoch_ms = 50\n");
    let (process, mut accepted) = begin(&site).await;
    assert_eq!(process.terminate(SOON), 0);
    let lost = publish(&site, 5..8).await;
    let mut ends = TopicPartitionList::new();
    for partition in 0..site.kafka().partitions {
        ends.add_partition_offset(&site.kafka().topic(Topic::Reports), partition, Offset::End).unwrap();
    }
    admin(&site).delete_records(&ends, &AdminOptions::new()).await.unwrap();
    accepted += publish(&site, 8..10).await;

    let (code, said) = site.try_nuanliu(&["run"]);
    assert_ne!(code, 0);
    for part in ["input is missing", ".reports/", "are gone", "--accept-loss"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let mut process = site.start(&["run", "--accept-loss"]);
    site.stored(accepted, &mut process, SOON).await;
    until("the loss is an alarm", SOON, async || !site.alarms("data_lost").await.is_empty()).await;
    assert!(site.alarms("data_lost").await.iter().all(|state| state == "active"));
    assert!(lost > 0 && process.log().contains("records are lost, as accepted"), "{}", process.log());
    assert_eq!(process.terminate(SOON), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_that_was_lost_is_not_begun_anew_in_silence() {
    let site = Site::new("lost_state", "epoch_ms = 50\n");
    let (process, _) = begin(&site).await;
    assert_eq!(process.terminate(SOON), 0);
    fs::remove_dir_all(site.path("state")).unwrap();
    let (code, said) = site.try_nuanliu(&["run"]);
    assert_ne!(code, 0);
    assert!(said.contains("kafka holds outputs of pipeline") && said.contains("pipeline.name"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_halts_and_comes_back_costs_nothing() {
    let broker = Service::kafka();
    let site = Site::with_broker(&broker, "broker", "epoch_ms = 50\n---\n[operations]\nsource_seconds = 5\n");
    let (mut process, mut accepted) = begin(&site).await;

    broker.kill();
    tokio::time::sleep(Duration::from_secs(15)).await;
    process.must_run();
    broker.up();
    accepted += publish(&site, 5..10).await;
    site.stored(accepted, &mut process, AFTER_OUTAGE).await;

    broker.pause();
    tokio::time::sleep(Duration::from_secs(5)).await;
    broker.resume();
    accepted += publish(&site, 10..15).await;
    site.stored(accepted, &mut process, AFTER_OUTAGE).await;

    site.told_and_cleared("source_down", &mut process, SOON).await;
    assert_eq!(site.alarms("communication_lost").await, Vec::<String>::new());
    assert_eq!(process.terminate(SOON), 0);
    assert_eq!(site.number("SELECT count() FROM readings").await as u64, accepted, "no row twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_broker_costs_time_and_nothing_else() {
    let broker = Service::kafka();
    let site =
        Site::with_broker(&broker, "slow_broker", "epoch_ms = 50\n---\n[operations]\nsource_seconds = 15\n");
    let (mut process, mut accepted) = begin(&site).await;
    let working = async {
        for number in 1..=6 {
            accepted += publish(&site, 5 * number..5 * number + 5).await;
            site.stored(accepted, &mut process, SOON).await;
        }
    };
    let (halted, running) = (Duration::from_millis(600), Duration::from_millis(100));
    tokio::join!(broker.limp(15, halted, running), working);
    assert_eq!(process.terminate(SOON), 0);
    let invented = site.query("SELECT rule, facility, raised_at, state, evidence FROM alarms FINAL").await;
    assert_eq!(invented, Vec::<Vec<String>>::new());
    assert_eq!(site.number("SELECT count() FROM readings").await as u64, accepted, "no row twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stood_still_itself_does_not_blame_the_broker() {
    let site = Site::new("stood_still", "epoch_ms = 50\n---\n[operations]\nsource_seconds = 5\n");
    let (mut process, mut accepted) = begin(&site).await;
    for number in 1..=3 {
        process.signal("STOP");
        tokio::time::sleep(Duration::from_secs(7)).await;
        process.signal("CONT");
        accepted += publish(&site, 5 * number..5 * number + 5).await;
        site.stored(accepted, &mut process, SOON).await;
    }
    assert_eq!(process.terminate(SOON), 0);
    assert_eq!(site.alarms("source_down").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_connector_acknowledged_survives_the_death_of_connector_and_broker() {
    let broker = Service::kafka();
    let site = Site::with_broker(&broker, "acknowledged", "");
    site.nuanliu(&["migrate"]);
    site.publish(&district::registry(1)).await;
    let mut connector = Some(site.start(&["connect"]));
    let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
    let url = format!("http://{}/api/v1/reports", site.http);
    let start = jiff::Timestamp::now().as_millisecond() - 3_600_000;
    let mut acknowledged = Vec::new();
    for number in 0..60_i64 {
        match number {
            15 | 40 => {
                connector.take().unwrap().kill();
                connector = Some(site.start(&["connect"]));
            }
            25 => broker.kill(),
            30 => broker.up(),
            _ => {}
        }
        let at = start + number * 1_000;
        let body = serde_json::json!({
            "facility": district::code(1), "observed_at": at, "readings": { "outdoor_temp": -9.5 }
        });
        // Sent until it is acknowledged, as a device does, except while the broker is down.
        for _ in 0..100 {
            let answer = client.post(&url).json(&body).send().await;
            if answer.is_ok_and(|answer| answer.status() == 202) {
                acknowledged.push(at);
                break;
            }
            if (25..30).contains(&number) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    assert!(acknowledged.len() >= 55, "{} acknowledged", acknowledged.len());
    let reports = tests::consume::<schemas::Report>(&site.kafka(), Topic::Reports);
    let on_kafka: Vec<i64> = reports.into_iter().map(|report| report.value.observed_at).collect();
    let missing: Vec<_> = acknowledged.iter().filter(|at| !on_kafka.contains(at)).collect();
    assert!(missing.is_empty(), "acknowledged and not on the topic: {missing:?}");

    drop(connector);
    let mut process = site.start(&["run"]);
    let distinct: std::collections::BTreeSet<_> = on_kafka.iter().collect();
    site.stored(on_kafka.len() as u64, &mut process, SOON).await;
    let rows = site.number("SELECT count() FROM readings FINAL").await;
    assert_eq!(rows as usize, distinct.len(), "a repeated delivery is one reading");
    assert_eq!(process.terminate(SOON), 0);
}
