//! Connectors on real services: what is sent over HTTP and MQTT lies on Kafka, to the record, before it is acknowledged.

use std::{future::pending, io::Write, net::SocketAddr, sync::Arc, time::Duration};

use connectors::{
    Intake, KnownFacilities, Outgoing, Publisher, http, mqtt,
    publish::{Limits, codec, ensure_topics},
};
use rdkafka::mocking::MockCluster;
use reqwest::{Client, Response, StatusCode, header::CONTENT_TYPE};
use rumqttc::{AsyncClient, MqttOptions, PublishOptions, QoS};
use schemas::{Device, Event, Facility, FacilityKind, KafkaSettings, RegistryEntry, Reject, Report, Topic};
use serde_json::{Value, json};
use tests::{consume, site::service, until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

/// 2024-01-15T08:00:00Z.
const THEN: i64 = 1_705_305_600_000;
const SOON: Duration = Duration::from_secs(20);

fn kafka(scenario: &str) -> KafkaSettings {
    let prefix = format!("{scenario}_{}", std::process::id());
    let brokers = service("NUANLIU_KAFKA");
    serde_json::from_value(json!({ "brokers": brokers, "prefix": prefix })).unwrap()
}

fn registry() -> [RegistryEntry; 2] {
    let facility = Facility { name: "一号站".to_owned(), ..Facility::new("ST-1", FacilityKind::Station) };
    let device = Device {
        code: "D-1".into(),
        facility: "ST-1".into(),
        kind: "room_sensor".into(),
        model: String::new(),
        maker: String::new(),
        installed: String::new(),
        attributes: Default::default(),
    };
    [RegistryEntry::Facility(facility), RegistryEntry::Device(device)]
}

/// Topics, a registry of one station with one device, and an intake that has read it.
async fn intake(kafka: &KafkaSettings) -> (Intake, connectors::known::Following) {
    ensure_topics(kafka).await.unwrap();
    ensure_topics(kafka).await.expect("what was created is right");
    let codec = Arc::new(codec(kafka).await.unwrap());
    let publisher = Publisher::connect(kafka, Arc::clone(&codec), Limits::default()).unwrap();
    let entries = registry().map(|entry| Outgoing::RegistryEntry(entry.key(), Some(Box::new(entry))));
    publisher.publish(entries.to_vec()).await.unwrap();
    let (known, following) = KnownFacilities::follow(kafka, codec).unwrap();
    until("the registry is read", SOON, async || known.complete() && publisher.reachable()).await;
    (Intake { publisher, known: Some(known) }, following)
}

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), connectors::Error>>,
}

impl Server {
    async fn start(intake: Intake, settings: http::Settings) -> Server {
        let settings = http::Settings { listen: ([127, 0, 0, 1], 0).into(), backfill: i64::MAX, ..settings };
        let server = http::Server::bind(settings, intake).await.unwrap();
        let address = server.address();
        let (stop, stopped) = oneshot::channel();
        let extra = axum::Router::new().route("/extra", axum::routing::get(async || "extra"));
        let serving = tokio::spawn(server.serve(extra, async {
            let _ = stopped.await;
        }));
        Server { address, stop, serving }
    }

    async fn post(&self, path: &str, media: &str, body: impl Into<reqwest::Body>) -> Response {
        let url = format!("http://{}{path}", self.address);
        Client::new().post(url).header(CONTENT_TYPE, media).body(body).send().await.unwrap()
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let answer = reqwest::get(format!("http://{}{path}", self.address)).await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap().unwrap();
    }
}

fn report(facility: &str, at: i64, readings: &Value) -> Value {
    json!({ "facility": facility, "observed_at": at, "readings": readings })
}

/// `facility[/device] time metric…` of every report, sorted.
fn reports(kafka: &KafkaSettings) -> Vec<String> {
    let mut reports: Vec<_> = consume::<Report>(kafka, Topic::Reports)
        .into_iter()
        .map(|record| {
            let Report { facility, device, observed_at, readings, .. } = record.value;
            assert_eq!(record.key, facility);
            let device = device.map(|device| format!("/{device}")).unwrap_or_default();
            let metrics: String = readings.iter().map(|reading| format!(" {}", reading.metric)).collect();
            format!("{facility}{device} {}{metrics}", (observed_at - THEN) / 1000)
        })
        .collect();
    reports.sort();
    reports
}

/// `reason origin` of every reject, sorted.
fn rejects(kafka: &KafkaSettings) -> Vec<String> {
    let mut rejects: Vec<_> = consume::<Reject>(kafka, Topic::Rejects)
        .into_iter()
        .map(|record| {
            assert_eq!(record.key, record.value.origin);
            format!("{} {}", record.value.reason.name(), record.value.origin)
        })
        .collect();
    rejects.sort();
    rejects
}

#[tokio::test(flavor = "multi_thread")]
async fn http_answers_per_record_what_lies_on_kafka() {
    let kafka = kafka("http");
    let (intake, _following) = intake(&kafka).await;
    let server = Server::start(intake, http::Settings::default()).await;
    let good = json!({ "heat_power": "１２００", "secondary_supply_temp": 45.2 });
    let json = "application/json";

    let body = report("ST-1", THEN, &good).to_string();
    let answer = server.post("/api/v1/reports", json, body).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "accepted": 1, "rejected": [] }));

    let array = json!([
        report("ST-1", THEN + 1_000, &json!({ "voltage": 1, "nonsense": 2 })),
        report("ST-9", THEN, &good),
        { "facility": "ST-1", "device": "D-1", "observed_at": THEN + 2_000, "readings": { "room_temp": 21 } },
        { "facility": "ST-1", "device": "D-9", "observed_at": THEN, "readings": { "room_temp": 21 } },
    ]);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(array.to_string().as_bytes()).unwrap();
    let url = format!("http://{}/api/v1/reports", server.address);
    let request = Client::new().post(url).header(CONTENT_TYPE, json).header("content-encoding", "gzip");
    let answer = request.body(packed.finish().unwrap()).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["accepted"], 2);
    let told: Vec<_> =
        answer["rejected"].as_array().unwrap().iter().map(|r| (&r["index"], &r["reason"])).collect();
    let wanted = [(0, "unknown_metric"), (1, "unknown_facility"), (3, "unknown_device")];
    assert_eq!(
        told,
        wanted.map(|(i, r)| (json!(i), json!(r))).iter().map(|(i, r)| (i, r)).collect::<Vec<_>>()
    );
    assert_eq!(answer["rejected"][0]["metric"], "nonsense");

    let lines = format!("{}\n{{\"facility\":\n", report("ST-1", THEN + 3_000, &json!({ "voltage": 1 })));
    let answer = server.post("/api/v1/reports", "application/x-ndjson", lines).await;
    assert_eq!(answer.json::<Value>().await.unwrap()["rejected"][0]["reason"], "malformed");
    let senml = json!([{ "bn": "ST-1:", "bt": THEN / 1000 + 4, "n": "room_temp", "u": "K", "v": 294.15 }]);
    let answer = server.post("/api/v1/reports", "application/senml+json", senml.to_string()).await;
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "accepted": 1, "rejected": [] }));
    let unreadable = server.post("/api/v1/reports", json, "[{").await;
    assert_eq!(unreadable.status(), StatusCode::BAD_REQUEST);
    let table = server.post("/api/v1/reports", "text/csv", "a,b").await;
    assert_eq!(table.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let event = json!({ "id": "1", "kind": "complaint", "facility": "ST-1", "at": THEN });
    let answer = server.post("/api/v1/events", json, event.to_string()).await;
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "accepted": 1, "rejected": [] }));

    assert_eq!(
        reports(&kafka),
        [
            "ST-1 0 heat_power secondary_supply_temp",
            "ST-1 1 voltage",
            "ST-1 3 voltage",
            "ST-1 4 room_temp",
            "ST-1/D-1 2 room_temp",
        ]
    );
    assert_eq!(
        rejects(&kafka),
        [
            "malformed http:127.0.0.1",
            "malformed http:127.0.0.1",
            "unknown_device http:127.0.0.1",
            "unknown_facility http:127.0.0.1",
            "unknown_metric http:127.0.0.1#nonsense",
        ]
    );
    assert_eq!(consume::<Event>(&kafka, Topic::Events).len(), 1);
    serves_its_state(&server).await;
    server.stop().await;
}

async fn serves_its_state(server: &Server) {
    assert_eq!(server.get("/healthz").await.0, StatusCode::OK);
    let (status, readiness) = server.get("/readyz").await;
    assert_eq!(
        (status, readiness.as_str()),
        (StatusCode::OK, r#"{"kafka":true,"registry":true,"delivery":true}"#)
    );
    // Other scenarios of this process publish at the same time.
    until("nothing is pending", 4 * SOON, async || {
        server.get("/metrics").await.1.contains("nuanliu_publish_pending 0\n")
    })
    .await;
    let (_, metrics) = server.get("/metrics").await;
    for name in [
        "nuanliu_reports_in_total{connector=\"http\"}",
        "nuanliu_readings_in_total",
        "nuanliu_rejects_total{reason=\"unknown_facility\",stage=\"connector\"}",
        "nuanliu_http_request_seconds_count{route=\"reports\",status=\"202\"}",
    ] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
    let (_, document) = server.get("/openapi.json").await;
    let document: Value = serde_json::from_str(&document).unwrap();
    for path in document["paths"].as_object().unwrap().keys() {
        let (status, _) = server.get(path).await;
        assert_ne!(status, StatusCode::NOT_FOUND, "{path} is documented but not served");
    }
    assert_eq!(server.get("/extra").await, (StatusCode::OK, "extra".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn http_refuses_what_is_too_large_without_holding_it() {
    let kafka = kafka("large");
    let (intake, _following) = intake(&kafka).await;
    let server = Server::start(intake, http::Settings::default()).await;
    let before = resident();
    let announced = vec![b' '; 100 << 20];
    let answer = server.post("/api/v1/reports", "application/json", announced).await;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.json::<Value>().await.unwrap()["rejected"][0]["reason"], "too_large");
    assert!(resident() < before + (64 << 20), "the body was held: {} bytes more", resident() - before);

    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&vec![b' '; 100 << 20]).unwrap();
    let url = format!("http://{}/api/v1/reports", server.address);
    let request = Client::new().post(&url).header("content-encoding", "gzip").body(bomb.finish().unwrap());
    assert_eq!(request.send().await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
    let request = Client::new().post(&url).header("content-encoding", "gzip").body("no gzip");
    assert_eq!(request.send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    assert_eq!(
        rejects(&kafka),
        ["malformed http:127.0.0.1", "too_large http:127.0.0.1", "too_large http:127.0.0.1"]
    );
    server.stop().await;
}

/// Resident memory of this process, bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// An intake on a Kafka that can be switched off.
async fn switchable() -> (Cluster, KafkaSettings, Intake) {
    switchable_within(Limits::default().pending_bytes).await
}

type Cluster = MockCluster<'static, rdkafka::producer::DefaultProducerContext>;

/// As [`switchable`], with so many bytes that may wait for it.
async fn switchable_within(pending_bytes: usize) -> (Cluster, KafkaSettings, Intake) {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let kafka: KafkaSettings = serde_json::from_value(json!({ "brokers": brokers })).unwrap();
    for topic in Topic::ALL {
        cluster.create_topic(&kafka.topic(*topic), 1, 1).unwrap();
    }
    let codec = Arc::new(codec(&kafka).await.unwrap());
    let limits = Limits { delivery_timeout: Duration::from_secs(2), pending_bytes };
    let publisher = Publisher::connect(&kafka, codec, limits).unwrap();
    until("kafka answers", SOON, async || publisher.reachable()).await;
    (cluster, kafka, Intake { publisher, known: None })
}

#[tokio::test(flavor = "multi_thread")]
async fn http_says_when_kafka_is_gone_and_when_it_is_back() {
    let (cluster, _, intake) = switchable().await;
    let publisher = intake.publisher.clone();
    let server = Server::start(intake, http::Settings::default()).await;
    let body = report("ST-1", THEN, &json!({ "voltage": 220 })).to_string();
    let send = async || server.post("/api/v1/reports", "application/json", body.clone()).await;
    assert_eq!(send().await.status(), StatusCode::ACCEPTED);
    cluster.broker_down(1).unwrap();
    let answer = send().await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["retry-after"], "5");
    assert_eq!(answer.json::<Value>().await.unwrap()["reason"], "unavailable");
    until("readyz is not ready", SOON, async || {
        server.get("/readyz").await.0 == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    cluster.broker_up(1).unwrap();
    until("kafka is back", SOON, async || publisher.reachable()).await;
    assert_eq!(send().await.status(), StatusCode::ACCEPTED);
    server.stop().await;
}

/// A request of which only the beginning was sent.
async fn begin(server: &Server, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head =
        "POST /api/v1/reports HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/json";
    let start = &body[..body.len() / 2];
    let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{start}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// The answer to the rest of such a request.
async fn end(mut stream: TcpStream, body: &str) -> String {
    // A server that has answered already may refuse the rest.
    let _ = stream.write_all(&body.as_bytes()[body.len() / 2..]).await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn http_is_bounded_and_finishes_what_it_began() {
    let (_cluster, _, intake) = switchable().await;
    let settings = http::Settings {
        max_body: 4 << 10,
        max_buffered: 4 << 10,
        body_timeout: 1,
        body_rate: 0,
        tokens: vec!["first".to_owned(), "second".to_owned()],
        ..http::Settings::default()
    };
    let open = http::Settings { tokens: Vec::new(), ..settings.clone() };
    let server = Server::start(intake.clone(), open.clone()).await;
    let body = report("ST-1", THEN, &json!({ "voltage": 220 })).to_string();

    let slow = begin(&server, &body).await;
    until("the slow body takes the whole budget", SOON, async || {
        let answer = server.post("/api/v1/reports", "application/json", body.clone()).await;
        let retry = answer.headers().get("retry-after").is_some_and(|seconds| seconds == "1");
        answer.status() == StatusCode::TOO_MANY_REQUESTS && retry
    })
    .await;
    assert!(end(slow, "").await.starts_with("HTTP/1.1 408"));
    let answer = server.post("/api/v1/reports", "application/json", body.clone()).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED, "the budget is given back");

    let begun = begin(&server, &body).await;
    until("the request has begun", SOON, async || {
        server.post("/api/v1/reports", "application/json", body.clone()).await.status()
            != StatusCode::ACCEPTED
    })
    .await;
    let stopping = tokio::spawn(server.stop());
    assert!(end(begun, &body).await.starts_with("HTTP/1.1 202"));
    stopping.await.unwrap();

    let server = Server::start(intake, settings).await;
    let answer = server.post("/api/v1/reports", "application/json", body.clone()).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let url = format!("http://{}/api/v1/reports", server.address);
    for (token, status) in [("second", StatusCode::ACCEPTED), ("third", StatusCode::UNAUTHORIZED)] {
        let request = Client::new().post(&url).header(CONTENT_TYPE, "application/json").bearer_auth(token);
        assert_eq!(request.body(body.clone()).send().await.unwrap().status(), status);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_takes_no_more_than_fits_while_kafka_is_slow() {
    let (cluster, kafka, intake) = switchable_within(64 << 10).await;
    cluster.broker_round_trip_time(1, Duration::from_millis(700)).unwrap();
    let settings = http::Settings { max_requests: 12, ..http::Settings::default() };
    let server = Arc::new(Server::start(intake, settings).await);
    let batch: Vec<Value> =
        (0..100).map(|second| report("ST-1", THEN + second * 1_000, &json!({ "voltage": 220 }))).collect();
    let body = Value::from(batch).to_string();
    let requests: Vec<_> = (0..40)
        .map(|_| {
            let (server, body) = (Arc::clone(&server), body.clone());
            tokio::spawn(async move { server.post("/api/v1/reports", "application/json", body).await })
        })
        .collect();
    let (mut accepted, mut busy) = (0, 0);
    for request in requests {
        let answer = request.await.unwrap();
        match answer.status() {
            StatusCode::ACCEPTED => accepted += 1,
            StatusCode::TOO_MANY_REQUESTS => {
                assert_eq!(answer.headers()["retry-after"], "1");
                busy += 1;
            }
            other => panic!("answered {other}"),
        }
    }
    // A batch takes some 7 kB on its way, so that nine fit.
    assert!((4..=12).contains(&accepted) && accepted + busy == 40, "{accepted} accepted, {busy} busy");
    assert_eq!(reports(&kafka).len(), accepted * 100, "what was refused is not there in part");
}

/// An MQTT 3.1.1 broker of which every byte is the test's.
struct FakeBroker {
    listener: TcpListener,
}

impl FakeBroker {
    async fn new() -> FakeBroker {
        FakeBroker { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    fn url(&self) -> String {
        format!("mqtt://{}", self.listener.local_addr().unwrap())
    }

    /// Accepts a client and its subscription.
    async fn session(&self, present: u8) -> TcpStream {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        assert_eq!(packet(&mut stream).await.unwrap().0 >> 4, 1, "CONNECT");
        stream.write_all(&[0x20, 2, present, 0]).await.unwrap();
        let (kind, body) = packet(&mut stream).await.unwrap();
        assert_eq!(kind >> 4, 8, "SUBSCRIBE");
        stream.write_all(&[0x90, 5, body[0], body[1], 1, 1, 1]).await.unwrap();
        stream
    }
}

/// One packet: its first byte and its body; `None` at the end of the connection.
async fn packet(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let kind = stream.read_u8().await.ok()?;
    let (mut length, mut shift) = (0, 0);
    loop {
        let byte = stream.read_u8().await.ok()?;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((kind, body))
}

async fn publish(stream: &mut TcpStream, number: u8, payload: &str) {
    let topic = b"heating/ST-1/report";
    let mut body = vec![0, topic.len() as u8];
    body.extend_from_slice(topic);
    body.extend_from_slice(&[0, number]);
    body.extend_from_slice(payload.as_bytes());
    assert!(body.len() < 0x4000);
    let length = [(body.len() & 0x7f) as u8 | 0x80, (body.len() >> 7) as u8];
    stream.write_all(&[&[0x32], &length[..], &body].concat()).await.unwrap();
}

/// The number of the message that is acknowledged next.
async fn acknowledged(stream: &mut TcpStream) -> u8 {
    loop {
        let (kind, body) = packet(stream).await.expect("the connection stands");
        if kind >> 4 == 4 {
            return body[1];
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_acknowledges_after_delivery_and_on_the_connection_that_brought_the_message() {
    let (cluster, _, intake) = switchable().await;
    let broker = FakeBroker::new().await;
    let settings = mqtt::Settings {
        broker: broker.url(),
        version: "3.1.1".to_owned(),
        backfill: i64::MAX,
        ..mqtt::Settings::default()
    };
    let running = tokio::spawn(mqtt::Connector::new(settings, intake).unwrap().run(pending()));
    let payload = report("ST-1", THEN, &json!({ "voltage": 220 })).to_string();

    let mut first = broker.session(0).await;
    publish(&mut first, 1, &payload).await;
    assert_eq!(acknowledged(&mut first).await, 1);
    publish(&mut first, 2, "{ unreadable").await;
    assert_eq!(acknowledged(&mut first).await, 2, "a reject is stored, then acknowledged");

    cluster.broker_down(1).unwrap();
    publish(&mut first, 3, &payload).await;
    let early = tokio::time::timeout(Duration::from_secs(3), acknowledged(&mut first)).await;
    assert!(early.is_err(), "acknowledged without delivery report");
    drop(first);
    cluster.broker_up(1).unwrap();

    // The broker of a kept session gives number 3 to the same message again; 4 is another. Only what arrived on this
    // connection is acknowledged, each once.
    let mut second = broker.session(1).await;
    publish(&mut second, 4, &payload).await;
    assert_eq!(acknowledged(&mut second).await, 4);
    publish(&mut second, 3, &payload).await;
    assert_eq!(acknowledged(&mut second).await, 3);
    running.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_tells_when_the_broker_has_lost_the_session() {
    let (_cluster, _, intake) = switchable().await;
    let broker = FakeBroker::new().await;
    let settings = mqtt::Settings {
        broker: broker.url(),
        version: "3.1.1".to_owned(),
        backfill: i64::MAX,
        ..mqtt::Settings::default()
    };
    let address = broker.listener.local_addr().unwrap().to_string();
    let lost = &connectors::telemetry::MQTT_SESSION_LOST;
    let lost = lost.with_label_values(&[&address]);
    let running = tokio::spawn(mqtt::Connector::new(settings, intake).unwrap().run(pending()));
    let payload = report("ST-1", THEN, &json!({ "voltage": 220 })).to_string();
    for (present, losses) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        let mut session = broker.session(present).await;
        publish(&mut session, 1, &payload).await;
        assert_eq!(acknowledged(&mut session).await, 1);
        assert_eq!(lost.get(), losses, "a session that was {present}");
    }
    running.abort();
}

/// A broker that is killed forgets what it had not saved, though it has told the devices that it has it.
#[tokio::test(flavor = "multi_thread")]
async fn mqtt_stores_what_it_has_taken_though_the_connection_is_lost() {
    const MESSAGES: u8 = 100;
    let (cluster, kafka, intake) = switchable().await;
    let broker = FakeBroker::new().await;
    let settings = mqtt::Settings {
        broker: broker.url(),
        version: "3.1.1".to_owned(),
        backfill: i64::MAX,
        ..mqtt::Settings::default()
    };
    let running = tokio::spawn(mqtt::Connector::new(settings, intake).unwrap().run(pending()));
    let mut session = broker.session(0).await;
    cluster.broker_down(1).unwrap();
    for number in 1..=MESSAGES {
        let at = THEN + i64::from(number) * 1_000;
        publish(&mut session, number, &report("ST-1", at, &json!({ "voltage": 220 })).to_string()).await;
    }
    // The last ones and the end of the connection arrive together.
    drop(session);
    cluster.broker_up(1).unwrap();
    let _next = broker.session(1).await;
    assert_eq!(
        reports(&kafka).len(),
        usize::from(MESSAGES),
        "everything is stored before the next connection"
    );
    running.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_stops_reading_while_kafka_does_not_confirm_and_acknowledges_in_order() {
    const MESSAGES: u16 = 2_500;
    let (cluster, kafka, intake) = switchable().await;
    let broker = FakeBroker::new().await;
    let settings = mqtt::Settings {
        broker: broker.url(),
        version: "3.1.1".to_owned(),
        max_payload: 16 << 10,
        max_buffered: 1 << 20,
        backfill: i64::MAX,
        ..mqtt::Settings::default()
    };
    let running = tokio::spawn(mqtt::Connector::new(settings, intake).unwrap().run(pending()));
    let (mut acknowledgements, mut messages) = broker.session(0).await.into_split();
    cluster.broker_down(1).unwrap();
    let writing = tokio::spawn(async move {
        for number in 1..=MESSAGES {
            let at = THEN + i64::from(number) * 1_000;
            // Long, so that the sockets hold only a part of them.
            let payload = format!("{:12000}", report("ST-1", at, &json!({ "voltage": 220 })).to_string());
            let topic = b"heating/ST-1/report";
            let [high, low] = number.to_be_bytes();
            let body = [&[0, topic.len() as u8][..], topic, &[high, low], payload.as_bytes()].concat();
            let length = [(body.len() & 0x7f) as u8 | 0x80, (body.len() >> 7) as u8];
            messages.write_all(&[&[0x32], &length[..], &body].concat()).await.unwrap();
        }
        messages
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!writing.is_finished(), "everything was read though nothing can be stored");
    cluster.broker_up(1).unwrap();
    for number in 1..=MESSAGES {
        let mut acknowledgement = [0; 4];
        acknowledgements.read_exact(&mut acknowledgement).await.unwrap();
        let [high, low] = number.to_be_bytes();
        assert_eq!(acknowledgement, [0x40, 2, high, low], "in the order of the messages");
    }
    let _messages = writing.await.unwrap();
    let mut stored = reports(&kafka);
    stored.dedup();
    assert_eq!(stored.len(), usize::from(MESSAGES));
    running.abort();
}

/// Sends messages with QoS 1 and waits until the broker has all of them.
async fn send(messages: &[(&str, String)]) {
    send_to(&service("NUANLIU_MQTT"), messages).await;
}

async fn send_to(broker: &str, messages: &[(&str, String)]) {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    let url: reqwest::Url = broker.parse().unwrap();
    let (host, port) = (url.host_str().unwrap().to_owned(), url.port().unwrap());
    let mut options = MqttOptions::new(format!("sender-{}-{number}", std::process::id()), (host, port));
    options.set_keep_alive(5);
    let (client, mut events) = AsyncClient::builder(options).capacity(messages.len().max(1)).build();
    for (topic, payload) in messages {
        client
            .publish(topic.to_string(), payload.clone(), PublishOptions::new(QoS::AtLeastOnce))
            .await
            .unwrap();
    }
    let mut left = messages.len();
    while left > 0 {
        if let rumqttc::Event::Incoming(rumqttc::Packet::PubAck(_)) = events.poll().await.unwrap() {
            left -= 1;
        }
    }
}

const CUSTOM: &str = r#"
topic = "PREFIX/site/{facility}/{device}/up"
format = "pointer"
pointers.time = "/t"
pointers.time_format = "s"
pointers.fields."/v/room" = { metric = "room_temp", factor = 0.1 }
"#;

fn mqtt_settings(kafka: &KafkaSettings, version: &str, group: Option<&str>) -> mqtt::Settings {
    let prefix = &kafka.prefix;
    let profile =
        |topic: &str, format: &str| json!({ "topic": format!("{prefix}/{topic}"), "format": format });
    let custom: Value = toml::from_str(&CUSTOM.replace("PREFIX", prefix)).unwrap();
    let settings: mqtt::Settings = serde_json::from_value(json!({
        "broker": service("NUANLIU_MQTT"),
        "version": version,
        "client_id": prefix,
        "group": group,
        "profiles": [
            profile("{facility}/report", "native"),
            profile("{facility}/senml", "senml"),
            profile("v1/gateway/telemetry", "thingsboard"),
            custom,
        ],
    }))
    .unwrap();
    mqtt::Settings { backfill: i64::MAX, ..settings }
}

#[rstest::rstest]
#[case::five("5", None)]
#[case::four("3.1.1", None)]
#[case::five_shared("5", Some("connectors"))]
#[case::four_shared("3.1.1", Some("connectors"))]
#[tokio::test(flavor = "multi_thread")]
async fn mqtt_profiles_lie_on_kafka_and_the_session_is_kept(
    #[case] version: &str,
    #[case] group: Option<&str>,
) {
    let kafka = kafka(&format!("mqtt{}{}", version.len(), group.is_some()));
    let (intake, _following) = intake(&kafka).await;
    let run = || {
        let connector = mqtt::Connector::new(mqtt_settings(&kafka, version, group), intake.clone()).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(connector.run(async {
            let _ = stopped.await;
        }));
        (stop, running)
    };
    let prefix = &kafka.prefix;
    let native = format!("{prefix}/ST-1/report");
    let message =
        |at: i64| json!({ "observed_at": THEN + at * 1_000, "readings": { "voltage": 220 } }).to_string();

    let (stop, running) = run();
    let stored = |count: usize| {
        let kafka = kafka.clone();
        async move || reports(&kafka).len() + rejects(&kafka).len() >= count
    };
    // Before the subscription stands, the broker has nobody to keep a message for.
    until("the first message is stored", SOON, async || {
        send(&[(&native, message(0))]).await;
        stored(1)().await
    })
    .await;
    let first = reports(&kafka).len();
    let telemetry = json!({ "ST-1/D-1": [{ "ts": THEN + 2_000, "values": { "room_temp": 21 } }] });
    let senml = json!([{ "n": "ST-1:heat_power", "t": THEN / 1000 + 3, "u": "W", "v": 1 }]);
    let custom = json!({ "t": THEN / 1000 + 4, "v": { "room": 215 } });
    send(&[
        (&native, message(1)),
        (&format!("{prefix}/v1/gateway/telemetry"), telemetry.to_string()),
        (&format!("{prefix}/ST-1/senml"), senml.to_string()),
        (&format!("{prefix}/site/ST-1/D-1/up"), custom.to_string()),
        (&format!("{prefix}/ST-9/report"), message(1)),
        (&native, "no json".to_owned()),
    ])
    .await;
    until("all messages are stored", SOON, stored(first + 6)).await;
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();

    // While the connector is away the broker keeps what comes.
    send(&[(&native, message(5)), (&native, message(6))]).await;
    let (stop, running) = run();
    until("what came meanwhile is stored", SOON, stored(first + 8)).await;
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();

    let mut found = reports(&kafka);
    found.retain(|report| !report.starts_with("ST-1 0 "));
    assert_eq!(
        found,
        [
            "ST-1 1 voltage",
            "ST-1 3 heat_power",
            "ST-1 5 voltage",
            "ST-1 6 voltage",
            "ST-1/D-1 2 room_temp",
            "ST-1/D-1 4 room_temp",
        ]
    );
    assert_eq!(
        rejects(&kafka),
        [format!("malformed mqtt:{native}"), format!("unknown_facility mqtt:{prefix}/ST-9/report")]
    );
}

/// A Mosquitto of the test's own: one listener with TLS, one without, and a password.
struct Mosquitto {
    process: std::process::Child,
    directory: tempfile::TempDir,
    plain: u16,
    tls: u16,
}

impl Mosquitto {
    fn start() -> Mosquitto {
        let directory = tempfile::TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name);
        let run = |program: &str, arguments: &[&str]| {
            let mut command = std::process::Command::new(program);
            let output = command.args(arguments).current_dir(directory.path()).output();
            let output = output.unwrap_or_else(|error| panic!("{program}: {error}, run `make install`"));
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let certificate = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -keyout key.pem -out ca.pem \
            -addext subjectAltName=IP:127.0.0.1";
        run("openssl", &certificate.split_whitespace().collect::<Vec<_>>());
        run("mosquitto_passwd", &["-b", "-c", "users", "connector", "secret"]);
        std::fs::write(path("password"), "secret\n").unwrap();
        let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (plain, tls) = (port(), port());
        let at = directory.path().display();
        // Started by root, Mosquitto would become a user who cannot read the certificate; else the line has no effect.
        let config = format!(
            "user root\nper_listener_settings true\nlistener {plain} 127.0.0.1\nallow_anonymous true\n\
             listener {tls} 127.0.0.1\nallow_anonymous false\npassword_file {at}/users\n\
             certfile {at}/ca.pem\nkeyfile {at}/key.pem\n"
        );
        std::fs::write(path("mosquitto.conf"), config).unwrap();
        let mut command = std::process::Command::new("mosquitto");
        let command = command.arg("-c").arg(path("mosquitto.conf")).stderr(std::process::Stdio::null());
        Mosquitto { process: command.spawn().expect("run `make install`"), directory, plain, tls }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[rstest::rstest]
#[case::five("5")]
#[case::four("3.1.1")]
#[tokio::test(flavor = "multi_thread")]
async fn mqtt_speaks_tls_to_an_authority_of_its_own_and_names_itself(#[case] version: &str) {
    let (_cluster, kafka, intake) = switchable().await;
    let broker = Mosquitto::start();
    let plain = format!("mqtt://127.0.0.1:{}", broker.plain);
    until("mosquitto listens", SOON, async || TcpStream::connect(("127.0.0.1", broker.plain)).await.is_ok())
        .await;
    let settings = mqtt::Settings {
        broker: format!("mqtts://127.0.0.1:{}", broker.tls),
        version: version.to_owned(),
        username: Some("connector".to_owned()),
        password_file: Some(broker.directory.path().join("password")),
        ca_file: Some(broker.directory.path().join("ca.pem")),
        backfill: i64::MAX,
        ..mqtt::Settings::default()
    };
    let address = format!("127.0.0.1:{}", broker.tls);
    let running =
        tokio::spawn(mqtt::Connector::new(settings.clone(), intake.clone()).unwrap().run(pending()));
    let connected = &connectors::telemetry::MQTT_CONNECTED;
    let connected = connected.with_label_values(&[&address]);
    until("the connector is connected", SOON, async || connected.get() == 1).await;
    let payload = report("ST-1", THEN, &json!({ "voltage": 220 })).to_string();
    send_to(&plain, &[("heating/ST-1/report", payload)]).await;
    until("the message is stored", SOON, async || reports(&kafka) == ["ST-1 0 voltage"]).await;
    running.abort();

    // Without that authority the broker is a stranger.
    let stranger = mqtt::Settings { ca_file: None, client_id: "stranger".to_owned(), ..settings };
    let reconnects = connectors::telemetry::MQTT_RECONNECTS.with_label_values(&[&address]);
    let before = reconnects.get();
    let running = tokio::spawn(mqtt::Connector::new(stranger, intake).unwrap().run(pending()));
    until("the connection is refused", SOON, async || reconnects.get() > before).await;
    running.abort();
}
