//! From a report to its alarm on the topic, while a quarter of Changchun reports (6,000 readings/s).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message,
    consumer::{BaseConsumer, Consumer},
};
use schemas::{AlarmTransition, Topic, avro::Codec};
use tests::{Site, until};

use crate::{Figure, probe::metric};

/// 230 stations with 5,750 rooms and devices: about 100 reports and 1,300 readings a second on top of the burst below.
const STATIONS: &str = "1060";
const PROBES: usize = 300;
const BETWEEN: Duration = Duration::from_millis(100);

pub async fn measure() -> Vec<Figure> {
    let site = Site::new("latency", "workers = 2\n---\n[telemetry]\nlevel = \"warn\"\n");
    site.nuanliu(&["migrate"]);
    let load = site.start(&["simulate", "--stations", STATIONS, "--hours", "0", "--realtime"]);
    let mut process = site.start(&["all"]);
    until("the connectors", Duration::from_secs(120), async || {
        process.must_run();
        reqwest::get(format!("http://{}/readyz", site.http))
            .await
            .is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    until("the load", Duration::from_secs(120), async || {
        metric(&site.http, "nuanliu_readings_total").await.is_some_and(|readings| readings > 100_000.0)
    })
    .await;
    let (from, begun) = (metric(&site.http, "nuanliu_readings_total").await.unwrap(), Instant::now());
    let mut delays = probe(&site).await;
    let rate =
        (metric(&site.http, "nuanliu_readings_total").await.unwrap() - from) / begun.elapsed().as_secs_f64();
    drop((load, process));
    delays.sort_by(f64::total_cmp);
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
    eprintln!("latency: {} alarms at {rate:.0} readings/s", delays.len());
    vec![
        Figure { name: "alarm_latency_load_readings_per_s", unit: "readings/s", runs: vec![rate] },
        Figure { name: "alarm_latency_p50_ms", unit: "ms", runs: vec![at(0.5)] },
        Figure { name: "alarm_latency_p99_ms", unit: "ms", runs: vec![at(0.99)] },
    ]
}

/// Sends state faults of different stations over HTTP, one by one, and waits for each alarm on the topic.
async fn probe(site: &Site) -> Vec<f64> {
    let (url, kafka) = (format!("http://{}/api/v1/reports", site.http), site.kafka());
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &kafka.brokers)
        .set("group.id", "latency")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "latest")
        .set("fetch.wait.max.ms", "5")
        .create()
        .unwrap();
    consumer.subscribe(&[&kafka.topic(Topic::Alarms)]).unwrap();
    while consumer.assignment().unwrap().count() == 0 {
        consumer.poll(Duration::from_millis(50));
    }
    let watching = std::thread::spawn(move || watch(&consumer));
    let client = reqwest::Client::new();
    let mut sent = BTreeMap::new();
    for number in 0..PROBES {
        let facility = format!("ST-{:04}", number + 1);
        let at = jiff::Timestamp::now().as_millisecond();
        let report = serde_json::json!({"facility": facility, "observed_at": at, "readings": {"smoke": 1}});
        sent.insert(facility, Instant::now());
        let answer = client.post(&url).json(&report).send().await.unwrap();
        assert_eq!(answer.status(), 202);
        tokio::time::sleep(BETWEEN).await;
    }
    let seen = watching.join().unwrap();
    let delay = |(facility, at): (&String, &Instant)| {
        let seen = seen.get(facility).unwrap_or_else(|| panic!("no alarm for {facility}"));
        seen.duration_since(*at).as_secs_f64() * 1e3
    };
    sent.iter().map(delay).collect()
}

/// When the alarm of each station was seen.
fn watch(consumer: &BaseConsumer) -> BTreeMap<String, Instant> {
    let (codec, begun) = (Codec::single_object(), Instant::now());
    let mut seen = BTreeMap::new();
    while seen.len() < PROBES && begun.elapsed() < BETWEEN * PROBES as u32 + Duration::from_secs(30) {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        let alarm: AlarmTransition = codec.decode(message.payload().unwrap()).unwrap();
        if alarm.rule == "smoke" {
            seen.entry(alarm.facility.to_string()).or_insert_with(Instant::now);
        }
    }
    seen
}
