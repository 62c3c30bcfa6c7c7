//! What was acknowledged to a device or a sender is on Kafka, whatever dies: the connector, Mosquitto, Kafka. What is
//! delivered again changes no output.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use reqwest::{Client, StatusCode};
use schemas::{Millis, Report, Topic, time::HOUR};
use serde_json::json;
use tests::{Process, Service, Site, consume, device, district, until};
use tokio::task::JoinSet;

/// The client gives up a request of before an outage only after a minute, and on a busy machine several in turn.
const SOON: Duration = Duration::from_secs(240);
const STATIONS: usize = 8;
/// Messages of one station in one batch.
const MESSAGES: usize = 40;

/// Between two messages of a station.
const BETWEEN: Duration = Duration::from_millis(100);

/// A report of a station as text, every second another one.
fn text(station: usize, at: Millis) -> String {
    let readings = json!({ "secondary_supply_temp": 45.0 + (at / 1_000 % 9) as f64, "outdoor_temp": -9.5 });
    json!({ "facility": district::code(station), "observed_at": at, "received_at": at + 500, "readings": readings })
        .to_string()
}

fn batch(start: Millis) -> Vec<Vec<String>> {
    let messages = |station| (0..MESSAGES as i64).map(|n| text(station, start + n * 1_000)).collect();
    (1..=STATIONS).map(messages).collect()
}

/// A site with a Mosquitto of its own.
struct Scene {
    broker: Service,
    site: Site,
}

impl Scene {
    fn new() -> Scene {
        let broker = Service::mosquitto();
        let address = &broker.address;
        let config = format!(
            "clock = \"data\"\n---\n[rules]\nremember_hours = 48\nremember_reports = 2000\n\
             [mqtt]\nbroker = \"mqtt://{address}\"\nclient_id = \"connector\"\naccept_received_at = true\n[[mqtt.profiles]]\ntopic = \"heating/{{facility}}/report\"\nformat = \"native\"\n"
        );
        Scene { site: Site::new("devices", &config), broker }
    }

    async fn connect(&self) -> Process {
        let mut process = self.site.start(&["connect"]);
        let connected = format!("nuanliu_mqtt_connected{{broker={:?}}}", self.broker.address);
        until("the connector is connected", SOON, async || {
            process.must_run();
            self.site.metric(&connected).await == Some(1.0)
        })
        .await;
        process
    }

    /// Every station sends its messages; `acknowledged` counts along.
    fn send(&self, batch: &[Vec<String>], acknowledged: &Arc<AtomicUsize>) -> JoinSet<()> {
        let mut sending = JoinSet::new();
        for (station, messages) in (1..).zip(batch.to_vec()) {
            let (broker, acknowledged) = (self.broker.address.clone(), Arc::clone(acknowledged));
            sending.spawn(async move {
                let topic = format!("heating/{}/report", district::code(station));
                let id = format!("device-{station}");
                device::send(&broker, &id, &topic, &messages, BETWEEN, &acknowledged).await;
            });
        }
        sending
    }

    /// The reports on Kafka, and how many of them are different ones.
    fn on_kafka(&self) -> (usize, usize) {
        let reports = consume::<Report>(&self.site.kafka(), Topic::Reports);
        let place = |report: &Report| (report.facility.to_string(), report.observed_at);
        let different: BTreeSet<_> = reports.iter().map(|record| place(&record.value)).collect();
        (reports.len(), different.len())
    }

    /// Runs the dataflow over what is on Kafka; gives what the outputs are then, and what counts deliveries aside.
    async fn outputs(&self) -> Vec<Vec<String>> {
        let mut process = self.site.start(&["run"]);
        self.site.stored(2 * self.on_kafka().0 as u64, &mut process, SOON).await;
        assert_eq!(process.terminate(SOON), 0);
        let mut outputs = Vec::new();
        for table in ["readings", "kpis", "alarms", "alarm_events"] {
            let sql = format!(
                "SELECT '{table}', count(), sum(cityHash64(tuple(* EXCEPT (written_at)))) FROM {table} FINAL"
            );
            outputs.extend(self.site.query(&sql).await);
        }
        outputs
    }
}

async fn reach(acknowledged: &AtomicUsize, number: usize) {
    until("messages are acknowledged", SOON, async || acknowledged.load(Ordering::SeqCst) >= number).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_devices_were_told_is_on_kafka_though_mosquitto_and_the_connector_die() {
    let scene = Scene::new();
    scene.site.nuanliu(&["migrate"]);
    scene.site.publish(&district::registry(STATIONS)).await;
    let connector = scene.connect().await;
    // Mosquitto knows the session also after a kill from now on.
    scene.broker.saved().await;

    // A batch while the connector dies, and one while Mosquitto does.
    let start = district::MIDNIGHT;
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let one = STATIONS * MESSAGES;
    let mut sending = scene.send(&batch(start), &acknowledged);
    reach(&acknowledged, one / 4).await;
    connector.kill();
    let connector = scene.connect().await;
    while sending.join_next().await.is_some() {}
    let mut sending = scene.send(&batch(start + HOUR), &acknowledged);
    reach(&acknowledged, one + one / 4).await;
    // What Mosquitto has acknowledged and not saved goes with it, unless it was handed on.
    scene.broker.pause();
    until("what was acknowledged is on Kafka", SOON, async || {
        let handed_on = scene.on_kafka().1;
        handed_on >= acknowledged.load(Ordering::SeqCst)
    })
    .await;
    scene.broker.kill();
    assert!(acknowledged.load(Ordering::SeqCst) < 2 * one, "killed when all was sent: send more");
    scene.broker.up();
    while sending.join_next().await.is_some() {}

    // While there is no connector, Mosquitto keeps what comes, and has it after a kill once it was saved.
    connector.kill();
    let mut sending = scene.send(&batch(start + 2 * HOUR), &acknowledged);
    while sending.join_next().await.is_some() {}
    scene.broker.saved().await;
    scene.broker.kill();
    scene.broker.up();
    let connector = scene.connect().await;
    let sent = 3 * one;
    assert_eq!(acknowledged.load(Ordering::SeqCst), sent);
    let all = tokio::time::timeout(SOON, async {
        while scene.on_kafka().1 < sent {
            tokio::time::sleep(BETWEEN).await;
        }
    });
    if all.await.is_err() {
        panic!("{} of {sent} are on Kafka:\n{}", scene.on_kafka().1, connector.words());
    }
    assert_eq!(connector.terminate(SOON), 0);

    let outputs = scene.outputs().await;
    assert_eq!(outputs[0][1], (2 * sent).to_string(), "a repeated delivery is one reading");

    // Every device repeats all of it.
    let before = scene.on_kafka().0;
    let connector = scene.connect().await;
    let mut sending = scene.send(&batch(start), &acknowledged);
    while sending.join_next().await.is_some() {}
    until("the repetitions are on Kafka", SOON, async || scene.on_kafka().0 >= before + one).await;
    assert_eq!(connector.terminate(SOON), 0);
    assert_eq!(scene.outputs().await, outputs, "repeated deliveries change no output");
}

/// Sends reports of a station over HTTP, each until it is acknowledged; counts the times it was told to wait.
async fn post_all(
    url: String,
    station: usize,
    start: Millis,
    told: Arc<AtomicUsize>,
    done: Arc<AtomicUsize>,
) {
    let client = Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
    for number in 0..MESSAGES as i64 {
        loop {
            let body = text(station, start + number * 1_000);
            let answer = client.post(&url).header("content-type", "application/json").body(body).send().await;
            match answer {
                Ok(answer) if answer.status() == StatusCode::ACCEPTED => break,
                Ok(answer) if answer.status() == StatusCode::SERVICE_UNAVAILABLE => {
                    assert!(answer.headers().contains_key("retry-after"), "{answer:?}");
                    told.fetch_add(1, Ordering::SeqCst);
                }
                Ok(other) => panic!("neither taken nor told to wait: {other:?}"),
                // The process may end while Kafka is away; its supervisor starts it again.
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        done.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(BETWEEN).await;
    }
}

/// How many leader epochs each partition of the reports has seen, by the broker's own record.
fn leader_epochs(broker: &Service, site: &Site) -> Vec<usize> {
    let kafka = site.kafka();
    let epochs = |partition| {
        let file = format!("{}-{partition}/leader-epoch-checkpoint", kafka.topic(Topic::Reports));
        // A version, a number, and a line for each.
        fs::read_to_string(broker.data().join(file)).unwrap().lines().skip(2).count()
    };
    (0..kafka.partitions).map(epochs).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_kafka_is_away_senders_are_told_to_wait_and_nothing_is_lost() {
    let broker = Service::kafka();
    let config = "epoch_ms = 50\n---\n[operations]\nsource_seconds = 5\n";
    let site = Site::with_broker(&broker, "kafka_away", config);
    site.nuanliu(&["migrate"]);
    site.publish(&district::registry(STATIONS)).await;
    let mut process = site.supervise(&[], &["all"]);
    site.ready(&mut process, SOON).await;
    let (told, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let url = format!("http://{}/api/v1/reports", site.http);
    let start = jiff::Timestamp::now().as_millisecond() - 600_000;
    let mut sending = JoinSet::new();
    for station in 1..=STATIONS {
        sending.spawn(post_all(url.clone(), station, start, Arc::clone(&told), Arc::clone(&done)));
    }
    reach(&done, STATIONS * MESSAGES / 4).await;
    broker.kill();
    tokio::time::sleep(Duration::from_secs(20)).await;
    process.must_run();
    assert!(done.load(Ordering::SeqCst) < STATIONS * MESSAGES, "all was sent before: send more");
    broker.up();
    let sent = tokio::time::timeout(3 * SOON, async {
        while let Some(sent) = sending.join_next().await {
            sent.unwrap();
        }
    });
    assert!(sent.await.is_ok(), "not everything is taken:\n{}", process.words());
    assert!(told.load(Ordering::SeqCst) >= STATIONS, "every sender was told to wait");

    // What was told to wait may have been stored all the same, and was sent again.
    let on_kafka = consume::<Report>(&site.kafka(), Topic::Reports).len();
    site.stored(2 * on_kafka as u64, &mut process, SOON).await;
    let rows = site.number("SELECT count() FROM readings FINAL").await;
    assert_eq!(rows as usize, 2 * STATIONS * MESSAGES);
    site.told_and_cleared("source_down", &mut process, SOON).await;
    assert_eq!(site.alarms("communication_lost").await, Vec::<String>::new());
    assert_eq!(process.terminate(SOON), 0);
    let epochs = leader_epochs(&broker, &site);
    assert!(epochs.iter().any(|epochs| *epochs > 1), "the leader epoch has changed: {epochs:?}");
}
