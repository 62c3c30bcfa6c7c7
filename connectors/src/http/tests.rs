//! The server on real sockets, with a Kafka that answers.

use std::{
    io::Write,
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::Router;
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};
use schemas::{KafkaSettings, Topic};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

use super::{Server, Settings};
use crate::{Error, Intake, Publisher, publish, telemetry};

const SOON: Duration = Duration::from_secs(20);
const REPORT: &str = r#"{"facility": "ST-1", "observed_at": 1705305600000, "readings": {"voltage": 220}}"#;

/// A server that is ready to take reports of any facility.
struct House {
    address: SocketAddr,
    _cluster: MockCluster<'static, DefaultProducerContext>,
    _stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), Error>>,
}

impl Drop for House {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn house(settings: Settings) -> House {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let kafka: KafkaSettings = serde_json::from_value(serde_json::json!({ "brokers": brokers })).unwrap();
    for topic in Topic::ALL {
        cluster.create_topic(&kafka.topic(*topic), 1, 1).unwrap();
    }
    let codec = std::sync::Arc::new(publish::codec(&kafka).await.unwrap());
    let publisher = Publisher::connect(&kafka, codec, publish::Limits::default()).unwrap();
    let begun = Instant::now();
    while !publisher.reachable() {
        assert!(begun.elapsed() < SOON, "kafka does not answer");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let settings = Settings { listen: ([127, 0, 0, 1], 0).into(), ..settings };
    let server = Server::bind(settings, Intake { publisher, known: None }).await.unwrap();
    let address = server.address();
    let (stop, stopped) = oneshot::channel();
    let extra = Router::new().route("/extra", axum::routing::post(async |body: String| body));
    let serving = tokio::spawn(server.serve(extra, async {
        let _ = stopped.await;
    }));
    House { address, _cluster: cluster, _stop: stop, serving }
}

impl House {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A connection on which the head and the first bytes of a body were sent.
    async fn begin(&self, path: &str, length: usize, start: &str) -> TcpStream {
        let mut stream = self.connect().await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {length}"
        );
        stream.write_all(format!("{head}\r\n\r\n{start}").as_bytes()).await.unwrap();
        stream
    }

    /// The answer to one honest report.
    async fn report(&self) -> String {
        let stream = self.begin("/api/v1/reports", REPORT.len(), REPORT).await;
        answer(stream).await
    }
}

impl House {
    /// Waits until a report is taken.
    async fn served(&self) {
        let begun = Instant::now();
        loop {
            let answer = self.report().await;
            if answer.starts_with("HTTP/1.1 202") {
                return;
            }
            assert!(begun.elapsed() < SOON, "{answer}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The head of the answer on a connection, and what comes with it.
async fn answer(mut stream: TcpStream) -> String {
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(SOON, stream.read(&mut answer)).await.expect("an answer").unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

/// Whatever comes until the other side ends the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    // A connection that is reset has ended too.
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await;
    let _ = read.expect("the connection is ended");
    String::from_utf8_lossy(&rest).into_owned()
}

fn closed(why: &str) -> u64 {
    telemetry::HTTP_CONNECTIONS_CLOSED.with_label_values(&["http", why]).get()
}

fn refused(why: &str) -> u64 {
    telemetry::HTTP_CONNECTIONS_REFUSED.with_label_values(&["http", why]).get()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_starve_nobody() {
    let house = house(Settings::default()).await;
    let mut slow = Vec::new();
    for path in ["/api/v1/reports", "/extra"] {
        for _ in 0..300 {
            slow.push(house.begin(path, 100_000, "[").await);
        }
    }
    for _ in 0..20 {
        let begun = Instant::now();
        let answer = house.report().await;
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
        assert!(begun.elapsed() < Duration::from_secs(5), "served after {:?}", begun.elapsed());
    }
}

/// A packed body takes what has come of it, not what may come out.
#[tokio::test(flavor = "multi_thread")]
async fn packed_bodies_on_their_way_take_no_more_memory_than_came() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![b' '; 1_000_000]).unwrap();
    let packed = packed.finish().unwrap();
    let settings = Settings { max_body: 1 << 20, max_buffered: 1 << 20, ..Settings::default() };
    let house = house(settings).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let head = format!(
            "POST /api/v1/reports HTTP/1.1\r\nhost: a\r\ncontent-encoding: gzip\r\ncontent-length: {}",
            packed.len() + 1
        );
        let mut stream = house.connect().await;
        stream.write_all(format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
        stream.write_all(&packed).await.unwrap();
        slow.push(stream);
    }
    for _ in 0..20 {
        let answer = house.report().await;
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    }
}

#[rstest::rstest]
#[case("/api/v1/reports")]
#[case("/extra")]
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_is_answered_and_one_that_creeps_is_taken(#[case] path: &str) {
    let house = house(Settings { body_timeout: 6, body_rate: 1, ..Settings::default() }).await;
    let mut stops = house.begin(path, 1_000, "[").await;
    let mut creeps = house.begin(path, REPORT.len(), "").await;
    for piece in REPORT.as_bytes().chunks(10) {
        creeps.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = answer(creeps).await;
    assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
    let late = rest(&mut stops).await;
    assert!(late.starts_with("HTTP/1.1 408"), "{late}");
    assert!(late.contains("connection: close") && late.contains(r#""reason":"timeout""#), "{late}");
    assert!(late.contains("bytes of the body came in 2.0 s, less than 2"), "{late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_wait_too_long_are_closed() {
    let house = house(Settings { head_timeout: 1, idle_timeout: 2, ..Settings::default() }).await;
    let before = (closed("head_timeout"), closed("idle_timeout"));
    let mut silent = house.connect().await;
    let mut half = house.connect().await;
    half.write_all(b"POST /api/v1/reports HTTP/1.1\r\nhost: a\r\n").await.unwrap();
    let mut idle = house.begin("/api/v1/reports", REPORT.len(), REPORT).await;
    assert_eq!(rest(&mut silent).await, "");
    let late = rest(&mut half).await;
    assert!(late.starts_with("HTTP/1.1 408") && late.contains("the head of the request"), "{late}");
    let answered = rest(&mut idle).await;
    assert!(answered.starts_with("HTTP/1.1 202") && !answered.contains("408"), "{answered}");
    assert!(closed("head_timeout") >= before.0 + 2 && closed("idle_timeout") > before.1);
}

#[rstest::rstest]
#[case::address(4, [127, 0, 0, 1], "address", "429", "2 connections from this address are open")]
#[case::total(2, [127, 0, 0, 2], "total", "503", "2 connections are open")]
#[tokio::test(flavor = "multi_thread")]
async fn places_are_bounded_and_who_gets_none_is_told(
    #[case] max_connections: usize,
    #[case] from: [u8; 4],
    #[case] reason: &str,
    #[case] status: &str,
    #[case] detail: &str,
) {
    let settings = Settings { max_connections, max_connections_per_address: 2, ..Settings::default() };
    let house = house(settings).await;
    let before = refused(reason);
    let mut working = Vec::new();
    for _ in 0..2 {
        working.push(house.begin("/api/v1/reports", REPORT.len(), "").await);
    }
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let told = rest(&mut socket.connect(house.address).await.unwrap()).await;
    assert!(told.starts_with(&format!("HTTP/1.1 {status}")), "{told}");
    assert!(told.contains("retry-after: 1\r\n") && told.contains(detail), "{told}");
    assert!(told.ends_with('}') && told.contains(r#""reason":"busy""#), "{told}");
    assert!(refused(reason) > before);
    let mut done = working.pop().unwrap();
    done.write_all(REPORT.as_bytes()).await.unwrap();
    assert!(answer(done).await.starts_with("HTTP/1.1 202"), "who has a place is served");
    house.served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_keep_nobody_out() {
    let settings = Settings { max_connections: 50, max_connections_per_address: 50, ..Settings::default() };
    let house = house(settings).await;
    let mut idle = Vec::new();
    for _ in 0..50 {
        idle.push(house.connect().await);
    }
    let before = closed("displaced");
    house.served().await;
    assert!(closed("displaced") > before);
    assert_eq!(rest(&mut idle[0]).await, "", "the longest wait ends first");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_one_connection_are_answered_in_order() {
    let house = house(Settings::default()).await;
    let head = "POST /api/v1/reports HTTP/1.1\r\nhost: a\r\ncontent-length";
    let mut stream = house.connect().await;
    let requests = [REPORT, "[{", REPORT].map(|body| format!("{head}: {}\r\n\r\n{body}", body.len()));
    stream.write_all(requests.concat().as_bytes()).await.unwrap();
    let get = "GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(get.as_bytes()).await.unwrap();
    let answers = rest(&mut stream).await;
    let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["202", "400", "202", "200"]);
}

/// Asks for more and more and reads nothing.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_answers_is_cut_off() {
    let house = house(Settings { answer_timeout: 1, ..Settings::default() }).await;
    let before = closed("answer_timeout");
    let mut stream = house.connect().await;
    let request = b"GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n";
    let asking = async {
        // It ends with the connection.
        while stream.write_all(&request.repeat(100)).await.is_ok() {}
    };
    tokio::time::timeout(SOON, asking).await.expect("the connection is ended");
    assert!(closed("answer_timeout") > before);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_further_routes_are_bounded() {
    let house =
        house(Settings { max_body: 100, max_buffered: 100, body_rate: 1, ..Settings::default() }).await;
    let small = answer(house.begin("/extra", 5, "hello").await).await;
    assert!(small.starts_with("HTTP/1.1 200") && small.ends_with("hello"), "{small}");
    let large = answer(house.begin("/extra", 200, &" ".repeat(200)).await).await;
    assert!(large.starts_with("HTTP/1.1 413") && large.contains("100 are allowed"), "{large}");
}
