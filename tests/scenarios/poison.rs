//! One record must not stop the city: garbage as large as brokers take it, a row that they do not take back, a record that
//! an operator passes over, and a sink that is stuck, which is told by another way than through it.

use std::time::Duration;

use connectors::Outgoing;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
    producer::{FutureProducer, FutureRecord},
    util::Timeout,
};
use reqwest::StatusCode;
use schemas::{Reject, Topic, time::MINUTE};
use tests::{Process, Service, Site, consume, district, until};

const SOON: Duration = Duration::from_secs(90);

/// Puts bytes on the reports topic as they are; gives partition and offset.
async fn put(site: &Site, bytes: &[u8]) -> (i32, i64) {
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", &site.kafka().brokers).create().unwrap();
    let topic = site.kafka().topic(Topic::Reports);
    let record = FutureRecord::<str, _>::to(&topic).payload(bytes);
    let delivered = producer.send(record, Timeout::After(SOON)).await.map_err(|(error, _)| error).unwrap();
    (delivered.partition, delivered.offset)
}

/// Bytes that no compression makes smaller and no decoder understands.
fn garbage(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

async fn good(site: &Site, minutes: std::ops::Range<i64>) -> u64 {
    let start = jiff::Timestamp::now().as_millisecond() / MINUTE * MINUTE - 30 * MINUTE;
    let reports: Vec<Outgoing> =
        minutes.map(|minute| district::healthy(1, start + minute * MINUTE)).collect();
    site.publish(&reports).await
}

/// A district of one station whose pipeline runs.
async fn running(site: &Site) -> (Process, u64) {
    site.nuanliu(&["migrate"]);
    site.publish(&district::registry(1)).await;
    let mut process = site.start(&["run"]);
    let accepted = good(site, 0..3).await;
    site.stored(accepted, &mut process, SOON).await;
    (process, accepted)
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_as_large_as_a_record_can_be_is_a_reject_and_holds_up_nothing() {
    let site = Site::new("garbage", "epoch_ms = 50\n");
    let (mut process, mut accepted) = running(&site).await;
    let (partition, offset) = put(&site, &garbage(999_800)).await;
    accepted += good(&site, 3..6).await;
    site.stored(accepted, &mut process, SOON).await;
    let origin = format!("kafka:{}/{partition}/{offset}", site.kafka().topic(Topic::Reports));
    let length = format!("SELECT length(raw) FROM rejects FINAL WHERE origin = '{origin}'");
    until("the reject is stored", SOON, async || site.query(&length).await.len() == 1).await;
    assert_eq!(site.number(&length).await, f64::from(256 << 10));
    let told: Vec<Reject> =
        consume::<Reject>(&site.kafka(), Topic::Rejects).into_iter().map(|record| record.value).collect();
    assert!(told.iter().any(|reject| reject.origin == origin && reject.detail.contains("of 999800 bytes")));
    assert_eq!(process.terminate(SOON), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_no_broker_takes_goes_as_a_reject_and_the_others_go() {
    let site = Site::new("toolarge", "epoch_ms = 50\n");
    site.nuanliu(&["migrate"]);
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &site.kafka().brokers).create().unwrap();
    let [topic, reports] = [Topic::Rejects, Topic::Reports].map(|topic| site.kafka().topic(topic));
    let small = AlterConfig::new(ResourceSpecifier::Topic(&topic))
        .set("max.message.bytes", "40000")
        .set("message.timestamp.type", "LogAppendTime");
    let altered = admin.alter_configs([&small], &AdminOptions::new()).await.unwrap();
    assert!(altered.iter().all(Result::is_ok), "{altered:?}");
    let (mut process, mut accepted) = running(&site).await;
    // Of the same epoch: one that is small enough beside one that is not.
    let [small, large] = [put(&site, &garbage(300)).await, put(&site, &garbage(100_000)).await]
        .map(|(partition, offset)| format!("kafka:{}/{partition}/{offset}", reports));
    accepted += good(&site, 3..6).await;
    site.stored(accepted, &mut process, SOON).await;
    let reasons = "SELECT reason, stage, count() FROM rejects FINAL GROUP BY reason, stage ORDER BY reason";
    let expected = [["malformed", "dataflow", "2"], ["too_large", "sink", "1"]];
    until("both and the one in its place are stored", SOON, async || site.query(reasons).await == expected)
        .await;
    let told = consume::<Reject>(&site.kafka(), Topic::Rejects);
    assert_eq!(told.iter().filter(|record| record.value.origin == small).count(), 1);
    let in_place = told.iter().filter(|record| record.value.reason == schemas::Reason::TooLarge);
    let in_place: Vec<&str> = in_place.map(|record| record.value.origin.as_str()).collect();
    assert_eq!(in_place, [format!("kafka:{topic}#{large}")]);
    let counted = format!("nuanliu_sink_undeliverable_rows_total{{sink=\"kafka\",topic=\"{topic}\"}}");
    assert_eq!(site.metric(&counted).await, Some(1.0));
    assert_eq!(process.terminate(SOON), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_skipped_leaves_as_a_reject_also_in_a_replay() {
    let site = Site::new("skip", "epoch_ms = 50\n");
    let (process, mut accepted) = running(&site).await;
    let topic = site.kafka().topic(Topic::Reports);
    assert_eq!(process.terminate(SOON), 0);
    let (partition, offset) = put(&site, b"a record that makes trouble").await;
    let place = format!("{topic}/{partition}/{offset}");
    site.nuanliu(&["skip", &place, "--reason", "it makes trouble"]);
    let mut process = site.start(&["run"]);
    accepted += good(&site, 3..6).await;
    site.stored(accepted, &mut process, SOON).await;
    let skipped = "SELECT detail, raw, origin FROM rejects FINAL WHERE reason = 'skipped'";
    let expected =
        [["passed over: it makes trouble", "a record that makes trouble", &format!("kafka:{place}")]];
    until("the skipped record is a reject", SOON, async || site.query(skipped).await == expected).await;
    process.kill();
    let mut process = site.start(&["run"]);
    accepted += good(&site, 6..9).await;
    site.stored(accepted, &mut process, SOON).await;
    assert_eq!(site.query(skipped).await, expected);
    assert_eq!(process.terminate(SOON), 0);

    for (wrong, why) in [
        (place.as_str(), "was delivered to every sink already"),
        ("elsewhere/0/0", "is no input of this pipeline"),
        (&format!("{topic}/0/999999"), "is not there"),
        ("nonsense", "say TOPIC/PARTITION/OFFSET"),
    ] {
        let (code, words) = site.try_nuanliu(&["skip", wrong, "--reason", "a test"]);
        assert!(code != 0 && words.contains(why), "{wrong}: {code} {words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_sink_is_told_by_a_way_that_does_not_lead_through_it() {
    let broker = Service::kafka();
    let site =
        Site::with_broker(&broker, "stuck", "epoch_ms = 50\n---\n[operations]\ndelivery_seconds = 2\n");
    let (mut process, mut accepted) = running(&site).await;
    let ready = async || {
        let answer = reqwest::get(format!("http://{}/readyz", site.metrics)).await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    until("the process is ready", SOON, async || ready().await.0 == StatusCode::OK).await;
    broker.pause();
    until("the process is not ready", SOON, async || ready().await.0 == StatusCode::SERVICE_UNAVAILABLE)
        .await;
    let why = ready().await.1;
    assert!(why.starts_with("no epoch was delivered for "), "{why}");
    assert_eq!(site.metric("nuanliu_delivering").await, Some(0.0));
    broker.resume();
    until("it is ready again", SOON, async || ready().await.0 == StatusCode::OK).await;
    accepted += good(&site, 3..6).await;
    site.stored(accepted, &mut process, SOON).await;
    assert_eq!(process.terminate(SOON), 0);
}
