//! The ways in: reports over HTTP and messages over MQTT onto Kafka, also with 1 % and 50 % of them bad.
//!
//! HTTP: arrays (lines where some are bad) of 100 reports over kept connections to a `nuanliu connect` that may use one
//! core; the time of an answer counts from when the request was due. MQTT: 1,000 devices, each with a connection and
//! QoS 1, through a Mosquitto of the bench's own; a message counts once Kafka has it, and Mosquitto's queue is kept
//! short, as by devices that send at their interval. Everything is put together before it is sent.

use std::{
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use connectors::{
    publish::ensure_topics,
    simulator::{self, Plan, Simulator, Size},
};
use schemas::{RawValue, Report};
use serde_json::{Map, Value, json};
use tests::{Process, Site, until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    Figure,
    probe::{cpu_seconds, cpu_seconds_of, metric},
    runs,
};

const SOON: Duration = Duration::from_secs(60);
/// Reports of one request, and connections.
const BATCH: usize = 100;
const CONNECTIONS: usize = 8;
/// How long a run over HTTP lasts, and the readings per second at which answers are timed: half of the target.
const LASTS: Duration = Duration::from_secs(8);
const HALF: f64 = 50_000.0;
/// Devices on MQTT, messages that each sends without waiting, messages of a run, and how many may wait at the broker.
const DEVICES: usize = 1_000;
const WINDOW: usize = 4;
const MESSAGES: u64 = 100_000;
const BACKLOG: u64 = 20_000;
/// Minutes that are simulated.
const MINUTES: usize = 20;

/// Which records are bad: one in so many.
const SHARES: [(Option<usize>, [&str; 4]); 3] = [
    (
        None,
        [
            "http_readings_per_s_per_core",
            "http_cpu_s_per_million",
            "mqtt_messages_per_s",
            "mqtt_cpu_s_per_million_messages",
        ],
    ),
    (
        Some(100),
        [
            "http_1_percent_bad_readings_per_s_per_core",
            "http_1_percent_bad_cpu_s_per_million",
            "mqtt_1_percent_bad_messages_per_s",
            "mqtt_1_percent_bad_cpu_s_per_million_messages",
        ],
    ),
    (
        Some(2),
        [
            "http_50_percent_bad_readings_per_s_per_core",
            "http_50_percent_bad_cpu_s_per_million",
            "mqtt_50_percent_bad_messages_per_s",
            "mqtt_50_percent_bad_cpu_s_per_million_messages",
        ],
    ),
];

/// Connectors that have read the registry of a district, and what the district reports.
struct Endpoints {
    site: Site,
    process: Process,
    reports: Vec<Report>,
}

impl Endpoints {
    async fn open(extra: &str) -> Endpoints {
        let site = Site::new("connectors", extra);
        ensure_topics(&site.kafka()).await.unwrap();
        let plan = Plan::of(Size::of_stations(200));
        site.publish(&simulator::registry_records(&plan)).await;
        let process = site.start(&["connect"]);
        until("the connectors", SOON, async || {
            let ready = reqwest::get(format!("http://{}/readyz", site.http)).await;
            ready.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        let minutes = Simulator::new(&plan, vec![]).unwrap().take(MINUTES);
        Endpoints { site, process, reports: minutes.flat_map(|minute| minute.reports).collect() }
    }
}

pub async fn http() -> Vec<Figure> {
    let Endpoints { site, process, reports } = Endpoints::open("").await;
    pin(&process);
    over_http(&site, &process, &reports).await
}

pub async fn mqtt() -> Vec<Figure> {
    let mosquitto = Mosquitto::start();
    let extra = format!("---\n[mqtt]\nbroker = \"mqtt://127.0.0.1:{}\"\n", mosquitto.port);
    let Endpoints { site, process, reports } = Endpoints::open(&extra).await;
    until("the subscription", SOON, async || metric(&site.http, "nuanliu_mqtt_connected").await == Some(1.0))
        .await;
    over_mqtt(&site, &process, &mosquitto, &reports).await
}

/// Leaves a process one core.
fn pin(process: &Process) {
    let id = process.id().to_string();
    let pinned = Command::new("taskset").args(["-a", "-c", "-p", "0", &id]).stdout(Stdio::null()).status();
    assert!(pinned.expect("taskset of util-linux is needed").success(), "taskset refuses process {id}");
}

/// A report as a sender writes it.
fn written(report: &Report) -> Value {
    let readings: Map<String, Value> = report
        .readings
        .iter()
        .map(|reading| {
            let value = match &reading.value {
                RawValue::Number(value) => json!(value),
                RawValue::Text(text) => json!(text),
                RawValue::Missing => Value::Null,
            };
            (reading.metric.to_string(), value)
        })
        .collect();
    let mut record =
        json!({"facility": report.facility, "observed_at": report.observed_at, "readings": readings});
    if let Some(device) = &report.device {
        record["device"] = json!(device);
    }
    record
}

/// A report that gives one reject and nothing else, each in another way.
fn bad(report: &Report, number: usize) -> String {
    let mut record = written(report);
    match number % 6 {
        0 => return record.to_string().split_at(60).0.to_owned(),
        1 => record["facility"] = json!("NOWHERE"),
        2 => record["observed_at"] = json!(report.observed_at / 1_000),
        3 => record["readings"] = json!({"temprature": 21.5}),
        4 => record["readings"] = json!({"room_temp": "warm"}),
        _ => record["readings"] = json!({}),
    }
    record.to_string()
}

/// Reports as text; one in so many is bad.
fn texts(reports: &[Report], one_in: Option<usize>) -> Vec<String> {
    let is_bad = |number: usize| one_in.is_some_and(|of| number % of == of - 1);
    let text = |(number, report): (usize, &Report)| match one_in {
        Some(of) if is_bad(number) => bad(report, number / of),
        _ => written(report).to_string(),
    };
    reports.iter().enumerate().map(text).collect()
}

// HTTP.

/// A request with its head, and the readings that its sender meant to send.
struct Request {
    bytes: Vec<u8>,
    readings: usize,
}

fn requests(site: &Site, reports: &[Report], one_in: Option<usize>) -> Arc<Vec<Request>> {
    let texts = texts(reports, one_in);
    let request = |(reports, texts): (&[Report], &[String])| {
        // A line that is no JSON would make a whole array unreadable.
        let (media, body) = match one_in {
            None => ("application/json", format!("[{}]", texts.join(","))),
            Some(_) => ("application/x-ndjson", texts.join("\n")),
        };
        let head = format!(
            "POST /api/v1/reports HTTP/1.1\r\nhost: {}\r\ncontent-type: {media}\r\ncontent-length: {}\r\n\r\n",
            site.http,
            body.len()
        );
        let readings = reports.iter().map(|report| report.readings.len()).sum();
        Request { bytes: [head.into_bytes(), body.into_bytes()].concat(), readings }
    };
    Arc::new(reports.chunks_exact(BATCH).zip(texts.chunks_exact(BATCH)).map(request).collect())
}

/// A kept connection.
struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    async fn open(site: &Site) -> Connection {
        let stream = TcpStream::connect(&site.http).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Connection { stream, answer: Vec::with_capacity(64 << 10) }
    }

    /// Sends a request and reads its answer, which must be 202.
    async fn post(&mut self, request: &Request) {
        self.stream.write_all(&request.bytes).await.unwrap();
        self.answer.clear();
        let head = loop {
            assert!(self.stream.read_buf(&mut self.answer).await.unwrap() > 0, "the connection has ended");
            if let Some(end) = self.answer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let text = std::str::from_utf8(&self.answer[..head]).unwrap();
        assert!(text.starts_with("HTTP/1.1 202 "), "{text}");
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let whole = head + length.parse::<usize>().unwrap();
        while self.answer.len() < whole {
            assert!(self.stream.read_buf(&mut self.answer).await.unwrap() > 0, "the answer is cut short");
        }
    }
}

async fn over_http(site: &Site, process: &Process, reports: &[Report]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (one_in, [rate_name, cpu_name, ..]) in SHARES {
        let requests = requests(site, reports, one_in);
        let (mut rates, mut cpu) = (Vec::new(), Vec::new());
        for run in 0..runs() {
            let (begun, used) = (Instant::now(), cpu_seconds(process));
            let readings = as_fast_as_answered(site, &requests).await;
            let (seconds, used) = (begun.elapsed().as_secs_f64(), cpu_seconds(process) - used);
            eprintln!("{rate_name}, run {}: {readings} readings in {seconds:.1} s, {used:.2} CPU s", run + 1);
            rates.push(readings as f64 / seconds);
            cpu.push(used / readings as f64 * 1e6);
        }
        figures.push(Figure::new(rate_name, "readings/s", rates));
        figures.push(Figure::new(cpu_name, "CPU s", cpu));
    }
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    let requests = requests(site, reports, None);
    for _ in 0..runs() {
        let mut answers = at_pace(site, &requests, HALF).await;
        answers.sort_by(f64::total_cmp);
        let at = |share: f64| answers[((answers.len() - 1) as f64 * share) as usize];
        eprintln!("http at {HALF} readings/s: {} answers, the slowest in {:.0} ms", answers.len(), at(1.0));
        p50.push(at(0.5));
        p99.push(at(0.99));
    }
    figures.push(Figure::new("http_p50_ms", "ms", p50));
    figures.push(Figure::new("http_p99_ms", "ms", p99));
    figures
}

/// Sends on every connection as soon as it is answered; gives the readings that were answered.
async fn as_fast_as_answered(site: &Site, requests: &Arc<Vec<Request>>) -> usize {
    let (begun, mut senders) = (Instant::now(), Vec::new());
    for number in 0..CONNECTIONS {
        let (mut connection, requests) = (Connection::open(site).await, Arc::clone(requests));
        senders.push(tokio::spawn(async move {
            let mut readings = 0;
            for request in requests.iter().cycle().skip(number).step_by(CONNECTIONS) {
                connection.post(request).await;
                readings += request.readings;
                if begun.elapsed() > LASTS {
                    break;
                }
            }
            readings
        }));
    }
    let mut readings = 0;
    for sender in senders {
        readings += sender.await.unwrap();
    }
    readings
}

/// Sends so many readings per second; gives the milliseconds from when each request was due to its answer.
async fn at_pace(site: &Site, requests: &Arc<Vec<Request>>, readings_per_s: f64) -> Vec<f64> {
    let mean = requests.iter().map(|r| r.readings).sum::<usize>() as f64 / requests.len() as f64;
    let (between, count) = (mean / readings_per_s, (LASTS.as_secs_f64() * readings_per_s / mean) as usize);
    let (begun, mut senders) = (tokio::time::Instant::now() + Duration::from_millis(50), Vec::new());
    for number in 0..CONNECTIONS {
        let (mut connection, requests) = (Connection::open(site).await, Arc::clone(requests));
        senders.push(tokio::spawn(async move {
            let mut answers = Vec::new();
            for number in (number..count).step_by(CONNECTIONS) {
                let due = begun + Duration::from_secs_f64(between * number as f64);
                tokio::time::sleep_until(due).await;
                connection.post(&requests[number % requests.len()]).await;
                answers.push(due.elapsed().as_secs_f64() * 1e3);
            }
            answers
        }));
    }
    let mut answers = Vec::new();
    for sender in senders {
        answers.extend(sender.await.unwrap());
    }
    answers
}

// MQTT.

/// A Mosquitto that drops nothing; killed when dropped.
struct Mosquitto {
    process: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Mosquitto {
    fn start() -> Mosquitto {
        let directory = tempfile::TempDir::new().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = directory.path().join("mosquitto.conf");
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 0\n\
             max_inflight_messages 5000\nuser root\n"
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("mosquitto");
        let process = command.arg("-c").arg(config).stderr(Stdio::null()).spawn();
        Mosquitto { process: process.expect("run `make install`"), port, _directory: directory }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A string with its length before it.
fn string(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

/// A packet of MQTT 3.1.1.
fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    let mut left = body.len();
    while left > 0x7f {
        packet.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    packet.push(left as u8);
    packet.extend_from_slice(body);
    packet
}

/// What a device sends at one go: as many messages, QoS 1, as it may without waiting.
fn bursts(texts: &[(&Report, String)]) -> Vec<Vec<u8>> {
    let message = |(number, (report, text)): (usize, &(&Report, String))| {
        let topic = string(&format!("heating/{}/report", report.facility));
        let number = u16::try_from(number + 1).unwrap().to_be_bytes();
        packet(0x32, &[&topic, &number[..], text.as_bytes()].concat())
    };
    texts.chunks_exact(WINDOW).map(|burst| burst.iter().enumerate().flat_map(message).collect()).collect()
}

/// A device that has connected.
async fn connected(port: u16, name: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let connect = [string("MQTT"), vec![4, 2, 0, 0], string(name)].concat();
    stream.write_all(&packet(0x10, &connect)).await.unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0], "CONNACK");
    stream
}

/// What a run has come to.
#[derive(Default)]
struct Progress {
    sent: AtomicU64,
    arrived: AtomicU64,
    failed: AtomicBool,
}

async fn over_mqtt(site: &Site, process: &Process, mosquitto: &Mosquitto, reports: &[Report]) -> Vec<Figure> {
    let reports: Vec<Report> =
        reports.iter().filter(|report| report.facility.starts_with("CD-")).cloned().collect();
    let mut figures = Vec::new();
    let mut broker = Vec::new();
    for (one_in, [.., rate_name, cpu_name]) in SHARES {
        let texts: Vec<(&Report, String)> = reports.iter().zip(texts(&reports, one_in)).collect();
        let bursts = Arc::new(bursts(&texts));
        let (mut rates, mut cpu) = (Vec::new(), Vec::new());
        for run in 0..runs() {
            let (used, of_broker) = (cpu_seconds(process), cpu_seconds_of(mosquitto.process.id()));
            let seconds = send(site, mosquitto.port, &bursts).await;
            let (used, of_broker) =
                (cpu_seconds(process) - used, cpu_seconds_of(mosquitto.process.id()) - of_broker);
            eprintln!(
                "{rate_name}, run {}: {MESSAGES} messages in {seconds:.1} s, {used:.2} CPU s and {of_broker:.2} of Mosquitto",
                run + 1
            );
            let millions = MESSAGES as f64 / 1e6;
            rates.push(MESSAGES as f64 / seconds);
            cpu.push(used / millions);
            if one_in.is_none() {
                broker.push(of_broker / millions);
            }
        }
        figures.push(Figure::new(rate_name, "messages/s", rates));
        figures.push(Figure::new(cpu_name, "CPU s", cpu));
    }
    figures.push(Figure::new("mqtt_broker_cpu_s_per_million_messages", "CPU s", broker));
    figures
}

/// Sends the messages of a run from all devices; gives the seconds until Kafka has the last.
async fn send(site: &Site, port: u16, bursts: &Arc<Vec<Vec<u8>>>) -> f64 {
    let mut streams = Vec::new();
    for number in 0..DEVICES {
        streams.push(connected(port, &format!("device-{number}")).await);
    }
    let progress = Arc::new(Progress::default());
    let before = taken(site).await;
    let begun = Instant::now();
    for (number, mut stream) in streams.into_iter().enumerate() {
        let (bursts, progress) = (Arc::clone(bursts), Arc::clone(&progress));
        tokio::spawn(async move {
            let mut acknowledgements = [0; 4 * WINDOW];
            for burst in bursts.iter().cycle().skip(number).step_by(DEVICES) {
                let window = WINDOW as u64;
                while progress.sent.load(Ordering::Relaxed)
                    > progress.arrived.load(Ordering::Relaxed) + BACKLOG
                {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                if progress.sent.fetch_add(window, Ordering::Relaxed) + window > MESSAGES {
                    return;
                }
                stream.write_all(burst).await.unwrap();
                stream.read_exact(&mut acknowledgements).await.unwrap();
                if !acknowledgements.chunks(4).all(|four| four[0] == 0x40) {
                    progress.failed.store(true, Ordering::Relaxed);
                }
            }
        });
    }
    loop {
        let arrived = taken(site).await - before;
        progress.arrived.store(arrived, Ordering::Relaxed);
        assert!(
            !progress.failed.load(Ordering::Relaxed),
            "Mosquitto answered with something else than PUBACK"
        );
        if arrived >= MESSAGES {
            return begun.elapsed().as_secs_f64();
        }
        assert!(begun.elapsed() < 5 * SOON, "{arrived} of {MESSAGES} messages have arrived");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Messages that lie on Kafka: of one report each, or turned away whole.
async fn taken(site: &Site) -> u64 {
    let text = reqwest::get(format!("http://{}/metrics", site.http)).await.unwrap().text().await.unwrap();
    let of = |name: &str| -> f64 {
        let values = text.lines().filter(|line| line.starts_with(name));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    (of("nuanliu_reports_in_total{connector=\"mqtt\"}") + of("nuanliu_rejects_total{")) as u64
}
