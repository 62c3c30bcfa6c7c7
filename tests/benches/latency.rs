//! From a report to its alarm on the topic, under the load of Changchun and with checkpoints every ten seconds; and the CPU
//! that a city takes which reports as it happens, where windows are told again with every second's readings.
//!
//! The load is simulated once, before the measurement, and then sent minute after minute with new times by one thread: it
//! takes some percent of a core, so that what is measured is the product.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use connectors::simulator::{self, Plan, Simulator, Size};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use schemas::{AlarmTransition, Millis, Report, Topic, avro::Codec, time::MINUTE};
use tests::{Process, Site, until};

use crate::{
    Figure,
    load::{self, Loader},
    probe::{cpu_seconds, metric, service_cpu_seconds},
    recovery::held,
    runs, setting,
    whole_path::drop_database,
};

/// Alarms of one run, each of a station of its own.
const PROBES: usize = 300;
const BETWEEN: Duration = Duration::from_millis(100);
/// Simulated minutes that are sent again and again.
const MINUTES: usize = 2;
/// How long the broker may take to say where a topic ends.
const ASKED: Duration = Duration::from_secs(10);
/// What a million readings take that come as they are measured: of the product, the broker and the store.
const LIVE: [&str; 3] =
    ["live_cpu_s_per_million", "live_broker_cpu_s_per_million", "live_store_cpu_s_per_million"];
/// What is sent at a time.
const SLICE: Duration = Duration::from_millis(10);

pub async fn measure() -> Vec<Figure> {
    let site = Site::new("latency", "workers = 2\n");
    site.nuanliu(&["migrate"]);
    let city = match setting("NUANLIU_BENCH_LATENCY_STATIONS", 0) {
        0 => Size::changchun(),
        stations => Size::of_stations(stations),
    };
    let plan = Plan { start: jiff::Timestamp::now(), hours: 1, ..Plan::of(city) };
    simulator::load_registry(&plan, &site.publisher()).await.unwrap();
    let minutes: Vec<Vec<Report>> =
        Simulator::new(&plan, Vec::new()).unwrap().take(MINUTES).map(|minute| minute.reports).collect();
    let mut process = site.start(&["all"]);
    until("the connectors", Duration::from_secs(120), async || {
        process.must_run();
        reqwest::get(format!("http://{}/readyz", site.http))
            .await
            .is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    let load = Load::start(Loader::new(&site.kafka(), Duration::from_millis(5)), minutes);
    until("the load, read to its end", Duration::from_secs(300), async || {
        let readings = metric(&site.metrics, "nuanliu_readings_total").await;
        let lag = metric(&site.metrics, "nuanliu_lag_records").await;
        readings.is_some_and(|readings| readings > 100_000.0) && lag.is_some_and(|lag| lag < 2_000.0)
    })
    .await;
    let (mut rates, mut halves, mut worst) = (Vec::new(), Vec::new(), Vec::new());
    let mut costs = LIVE.map(|name| (name, Vec::new()));
    for run in 0..runs() {
        let before = cpu(&process);
        let (from, begun) = (metric(&site.metrics, "nuanliu_readings_total").await.unwrap(), Instant::now());
        let mut delays = probe(&site, run * PROBES).await;
        let readings = metric(&site.metrics, "nuanliu_readings_total").await.unwrap() - from;
        rates.push(readings / begun.elapsed().as_secs_f64());
        for (((_, costs), after), before) in costs.iter_mut().zip(cpu(&process)).zip(before) {
            costs.push((after - before) / readings * 1e6);
        }
        delays.sort_by(f64::total_cmp);
        let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
        eprintln!(
            "latency: {} alarms, p50 {:.0} ms, p99 {:.0} ms, most {:.0} ms",
            delays.len(),
            at(0.5),
            at(0.99),
            at(1.0)
        );
        halves.push(at(0.5));
        worst.push(at(0.99));
    }
    load.stop();
    let held = held(&site.metrics, "under_load").await;
    drop(process);
    load::delete_topics(&site).await;
    drop_database(&site).await;
    let mut figures = vec![
        Figure::new("alarm_latency_load_readings_per_s", "readings/s", rates),
        Figure::new("alarm_latency_p50_ms", "ms", halves),
        Figure::new("alarm_latency_p99_ms", "ms", worst),
    ];
    figures.extend(costs.map(|(name, costs)| Figure::new(name, "CPU s", costs)));
    figures.extend(held);
    figures
}

/// A city that reports minute after minute until it is stopped.
struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Load {
    fn start(mut loader: Loader, mut minutes: Vec<Vec<Report>>) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let begun = jiff::Timestamp::now().as_millisecond();
            let mut sent = (0, 0);
            while !stopped.load(Ordering::Relaxed) {
                thread::sleep(SLICE);
                send_due(&mut loader, &mut minutes, begun, &mut sent);
            }
        });
        Load { stop, thread }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

/// Sends what is due by now; `sent` is the minute under way and how many of its reports have gone. The reports of a
/// minute are spread over it, and carry their new times.
fn send_due(loader: &mut Loader, minutes: &mut [Vec<Report>], begun: Millis, sent: &mut (usize, usize)) {
    let now = jiff::Timestamp::now().as_millisecond();
    loop {
        let (minute, from) = *sent;
        let reports = &mut minutes[minute % MINUTES];
        let passed = now - begun - minute as Millis * MINUTE;
        let due = (reports.len() as Millis * passed.min(MINUTE) / MINUTE) as usize;
        for report in &mut reports[from..due] {
            let age = report.received_at - report.observed_at;
            report.received_at = now;
            report.observed_at = now - age;
            loader.report(report);
        }
        *sent = (minute, due);
        if passed < MINUTE {
            return;
        }
        *sent = (minute + 1, 0);
    }
}

/// CPU seconds so far: of the product, the broker and the store.
fn cpu(process: &Process) -> [f64; 3] {
    [cpu_seconds(process), service_cpu_seconds("kafka"), service_cpu_seconds("clickhouse")]
}

/// Sends state faults of different stations over HTTP, one by one, and waits for each alarm on the topic.
async fn probe(site: &Site, first: usize) -> Vec<f64> {
    let (url, kafka) = (format!("http://{}/api/v1/reports", site.http), site.kafka());
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &kafka.brokers)
        .set("group.id", format!("latency-{first}"))
        .set("isolation.level", "read_committed")
        .set("fetch.wait.max.ms", "5")
        .create()
        .unwrap();
    consumer.assign(&ends(&consumer, &kafka.topic(Topic::Alarms))).unwrap();
    let watching = thread::spawn(move || watch(&consumer));
    let client = reqwest::Client::new();
    let mut sent = BTreeMap::new();
    for number in first..first + PROBES {
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

/// Where a topic ends now. The first alarm may be there before a consumer that begins at the latest has asked.
fn ends(consumer: &BaseConsumer, topic: &str) -> TopicPartitionList {
    let metadata = consumer.fetch_metadata(Some(topic), ASKED).unwrap();
    let mut ends = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        let (_, end) = consumer.fetch_watermarks(topic, partition.id(), ASKED).unwrap();
        ends.add_partition_offset(topic, partition.id(), Offset::Offset(end)).unwrap();
    }
    ends
}

/// When the smoke alarm of each station was seen first.
fn watch(consumer: &BaseConsumer) -> BTreeMap<String, Instant> {
    let (codec, begun) = (Codec::single_object(), Instant::now());
    let mut seen = BTreeMap::new();
    while seen.len() < PROBES && begun.elapsed() < BETWEEN * PROBES as u32 + Duration::from_secs(120) {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        let alarm: AlarmTransition = codec.decode(message.payload().unwrap()).unwrap();
        if alarm.rule == "smoke" {
            seen.entry(alarm.facility.to_string()).or_insert_with(Instant::now);
        }
    }
    seen
}
