//! A simulated city onto the platform: to Kafka directly, or through the endpoints that real senders use.
//!
//! Through the endpoints, stations, sources, weather and rooms go over HTTP and clean devices over MQTT; a minute begins
//! only when everything of the minute before is acknowledged and the MQTT connector is at most two minutes behind, so that
//! time never runs apart between the ways in.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use schemas::{Millis, Report, time};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::{
    Fault, Minute, Plan, Simulator,
    http_client::HttpClient,
    mqtt_backlog::MqttBacklog,
    mqtt_client::{Gateway, MqttClient},
    registry,
};
use crate::{
    Error, Outgoing, Publisher,
    feed::{BATCH, Feed},
    pace::{Pace, Pacer},
};

/// Where the reports go.
#[derive(Clone)]
pub enum Destination {
    /// To the topic, as the connectors would write them, origin `simulator`.
    Kafka(Publisher),
    /// To the connectors.
    Endpoints(Endpoints),
}

/// The endpoints that real senders use.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoints {
    /// Base URL of the HTTP connector. It must be set to accept `received_at` unless time runs at its own pace.
    pub http: String,
    /// `mqtt://host:port` of the broker; without it everything goes over HTTP.
    #[serde(default)]
    pub mqtt: Option<String>,
    /// Share of the clean devices that speak ThingsBoard gateway telemetry, 0 to 1. That form has no `received_at`, so
    /// it is used in real time only; at any other pace these devices speak the native form.
    #[serde(default = "tenth")]
    pub gateway_share: f64,
    /// What stands between facility and device in a gateway's device names.
    #[serde(default = "slash")]
    pub gateway_separator: String,
}

fn tenth() -> f64 {
    0.1
}
fn slash() -> String {
    "/".to_owned()
}

/// What a simulation came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Simulated {
    /// Minutes in which something arrived.
    pub minutes: u64,
    /// Reports sent.
    pub reports: u64,
    /// Readings in them.
    pub readings: u64,
    /// Reports sent to Kafka directly.
    pub kafka: u64,
    /// Reports sent over HTTP.
    pub http: u64,
    /// Reports sent over MQTT.
    pub mqtt: u64,
    /// Reports that HTTP answers accepted.
    pub http_accepted: u64,
    /// Records and readings that HTTP answers turned away, such as those of a wrong clock.
    pub http_rejected: u64,
}

/// The plan's registry as records for the registry topic.
#[must_use]
pub fn registry_records(plan: &Plan) -> Vec<Outgoing> {
    registry(plan).into_iter().map(|e| Outgoing::RegistryEntry(e.key(), Some(Box::new(e)))).collect()
}

/// Puts the plan's registry on Kafka and returns how many entries it has.
///
/// # Errors
/// What Kafka answered after repeated attempts.
pub async fn load_registry(plan: &Plan, publisher: &Publisher) -> Result<usize, Error> {
    let mut feed = Feed::new(publisher.clone());
    let mut records = registry_records(plan);
    let count = records.len();
    while !records.is_empty() {
        let rest = records.split_off(records.len().min(BATCH));
        feed.send(records).await?;
        records = rest;
    }
    feed.settle().await?;
    Ok(count)
}

/// Simulates a plan with faults and sends what it reports; returns once everything is acknowledged. `visible` shows a
/// progress bar on standard error.
///
/// # Errors
/// [`Error::Setting`] for a plan or address that cannot be; else what a receiver answered after repeated attempts.
pub async fn run(
    plan: &Plan,
    faults: Vec<Fault>,
    destination: Destination,
    pace: Pace,
    visible: bool,
) -> Result<Simulated, Error> {
    plan.check()?;
    let mut way = Way::open(destination, pace).await?;
    let bar = progress(plan, visible);
    let (sender, mut receiver) = mpsc::channel(2);
    let (plan, started) = (plan.clone(), std::time::Instant::now());
    let generator = std::thread::spawn(move || generate(&plan, faults, &sender));
    let mut pacer = Pacer::new(pace);
    let mut sum = Simulated::default();
    while let Some(Minute { at, reports }) = receiver.recv().await {
        sum.minutes += 1;
        sum.reports += reports.len() as u64;
        sum.readings += reports.iter().map(|r| r.readings.len() as u64).sum::<u64>();
        for slice in slices(reports, pace) {
            let last = slice.last().map_or(at, |report| report.received_at);
            pacer.until(last).await;
            way.send(slice, &mut sum).await?;
        }
        bar.inc(1);
        bar.set_message(message(at, sum.readings, started.elapsed()));
    }
    way.settle().await?;
    bar.finish();
    match generator.join() {
        Ok(result) => result.map(|()| sum),
        Err(_) => Err(Error::Io {
            object: "thread that simulates".to_owned(),
            source: std::io::Error::other("panicked"),
        }),
    }
}

/// Simulates minute after minute until the plan ends or nobody listens.
fn generate(plan: &Plan, faults: Vec<Fault>, sender: &mpsc::Sender<Minute>) -> Result<(), Error> {
    for minute in Simulator::new(plan, faults)? {
        if sender.blocking_send(minute).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// A minute's reports in the parts that are sent at one go: everything when only speed counts, else what arrives
/// within about a tenth of a second of real time, but at least a second of the data's.
fn slices(mut reports: Vec<Report>, pace: Pace) -> Vec<Vec<Report>> {
    let Pace::Times(times) = pace else { return vec![reports] };
    let width = ((100.0 * times) as Millis).clamp(time::SECOND, time::MINUTE);
    let mut slices = Vec::new();
    while let Some(first) = reports.first().map(|report| report.received_at.div_euclid(width)) {
        let rest = reports.split_off(reports.partition_point(|r| r.received_at.div_euclid(width) <= first));
        slices.push(std::mem::replace(&mut reports, rest));
    }
    slices
}

/// An open way to the platform.
enum Way {
    Kafka { feed: Feed, batch: Vec<Outgoing>, at_once: bool },
    Endpoints { http: HttpClient, mqtt: Option<(MqttClient, MqttBacklog)> },
}

impl Way {
    async fn open(destination: Destination, pace: Pace) -> Result<Way, Error> {
        match destination {
            Destination::Kafka(publisher) => Ok(Way::Kafka {
                feed: Feed::new(publisher),
                batch: Vec::new(),
                at_once: pace != Pace::Fastest,
            }),
            Destination::Endpoints(endpoints) => {
                let share = if pace == Pace::Times(1.0) { endpoints.gateway_share } else { 0.0 };
                let gateway = Gateway { share, separator: endpoints.gateway_separator };
                let mqtt = match endpoints.mqtt {
                    Some(url) => {
                        Some((MqttClient::new(&url, gateway)?, MqttBacklog::new(&endpoints.http).await))
                    }
                    None => None,
                };
                Ok(Way::Endpoints { http: HttpClient::new(&endpoints.http)?, mqtt })
            }
        }
    }

    async fn send(&mut self, reports: Vec<Report>, sum: &mut Simulated) -> Result<(), Error> {
        match self {
            Way::Kafka { feed, batch, at_once } => {
                sum.kafka += reports.len() as u64;
                for report in reports {
                    batch.push(Outgoing::Report(report));
                    if batch.len() >= BATCH {
                        feed.send(std::mem::take(batch)).await?;
                    }
                }
                if *at_once && !batch.is_empty() {
                    feed.send(std::mem::take(batch)).await?;
                }
            }
            Way::Endpoints { http, mqtt } => {
                let (messages, requests): (Vec<_>, Vec<_>) =
                    reports.into_iter().partition(|r| mqtt.is_some() && r.facility.starts_with("CD-"));
                sum.http += requests.len() as u64;
                sum.mqtt += messages.len() as u64;
                let over_mqtt = async {
                    if let Some((mqtt, taken)) = mqtt {
                        mqtt.send(&messages).await?;
                        taken.minute(&messages).await;
                    }
                    Ok(())
                };
                let (answers, ()) = tokio::try_join!(http.send(&requests), over_mqtt)?;
                sum.http_accepted += answers.accepted;
                sum.http_rejected += answers.rejected;
            }
        }
        Ok(())
    }

    async fn settle(self) -> Result<(), Error> {
        match self {
            Way::Kafka { mut feed, batch, .. } => {
                feed.send(batch).await?;
                feed.settle().await
            }
            Way::Endpoints { mqtt, .. } => {
                if let Some((_mqtt, mut taken)) = mqtt {
                    taken.all().await;
                }
                Ok(())
            }
        }
    }
}

fn progress(plan: &Plan, visible: bool) -> ProgressBar {
    if !visible {
        return ProgressBar::hidden();
    }
    let bar = if plan.hours == 0 {
        ProgressBar::new_spinner()
    } else {
        ProgressBar::new(u64::from(plan.hours) * 60)
    };
    let form = if plan.hours == 0 { "{spinner} {msg}" } else { "{bar:40} {percent}% {msg} ({eta} left)" };
    if let Ok(style) = ProgressStyle::with_template(form) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn message(at: Millis, readings: u64, elapsed: Duration) -> String {
    let rate = readings as f64 / elapsed.as_secs_f64().max(1e-3);
    format!("{} {readings} readings, {rate:.0}/s", time::rfc3339(at))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, atomic};

    use axum::{Router, http::StatusCode, response::IntoResponse, routing::post};

    use super::*;
    use crate::simulator::{FaultKind, Size};

    fn plan() -> Plan {
        let mut plan = Plan::of(Size::of_stations(3));
        (plan.size.rooms, plan.size.clean_devices, plan.hours) = (6, 8, 1);
        plan
    }

    /// A stand-in for the HTTP connector that is busy every third time.
    async fn stand_in(seen: Arc<Mutex<Vec<serde_json::Value>>>) -> String {
        let calls = Arc::new(atomic::AtomicU64::new(0));
        let answer = move |body: String| async move {
            if calls.fetch_add(1, atomic::Ordering::Relaxed) % 3 == 2 {
                return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")], "busy").into_response();
            }
            let lines: Vec<serde_json::Value> =
                body.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            let answer = format!("{{\"accepted\":{},\"rejected\":[{{\"index\":0}}]}}", lines.len() - 1);
            seen.lock().expect("lock").extend(lines);
            (StatusCode::ACCEPTED, answer).into_response()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
        let address = listener.local_addr().expect("address");
        let router = Router::new().route("/api/v1/reports", post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}/")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn everything_arrives_over_http_though_the_receiver_is_busy() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let http = stand_in(Arc::clone(&seen)).await;
        let endpoints = Endpoints { http, mqtt: None, gateway_share: 0.0, gateway_separator: slash() };
        let sum =
            run(&plan(), vec![], Destination::Endpoints(endpoints), Pace::Fastest, false).await.expect("run");
        let seen = seen.lock().expect("lock");
        assert_eq!((sum.reports, sum.http), (seen.len() as u64, seen.len() as u64));
        assert_eq!(sum.http_accepted + sum.http_rejected, sum.http);
        let readings: usize =
            seen.iter().map(|line| line["readings"].as_object().expect("object").len()).sum();
        assert_eq!(sum.readings, readings as u64);
        let minutes: Vec<i64> =
            seen.iter().map(|line| line["received_at"].as_i64().expect("ms") / time::MINUTE).collect();
        assert!(minutes.windows(2).all(|pair| pair[0] <= pair[1]), "a minute begins after the one before");
    }

    #[tokio::test]
    async fn a_receiver_that_refuses_ends_the_run() {
        let endpoints = Endpoints {
            http: stand_in(Arc::default()).await + "nowhere",
            mqtt: None,
            gateway_share: 0.0,
            gateway_separator: slash(),
        };
        let result = run(&plan(), vec![], Destination::Endpoints(endpoints), Pace::Fastest, false).await;
        let error = result.expect_err("refused").to_string();
        assert!(error.contains("404"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn devices_go_over_mqtt_and_every_message_is_acknowledged() {
        let Ok(broker) = std::env::var("NUANLIU_MQTT") else {
            println!("skipped: set NUANLIU_MQTT to a broker's mqtt://host:port");
            return;
        };
        let http = stand_in(Arc::default()).await;
        let endpoints =
            Endpoints { http, mqtt: Some(broker), gateway_share: 0.0, gateway_separator: slash() };
        let sum =
            run(&plan(), vec![], Destination::Endpoints(endpoints), Pace::Fastest, false).await.expect("run");
        assert!((8 * 59..=8 * 60).contains(&sum.mqtt), "{sum:?}");
        assert_eq!(sum.http + sum.mqtt, sum.reports);
    }

    #[tokio::test]
    async fn a_fault_that_cannot_be_is_told() {
        let fault = Fault {
            kind: FaultKind::Leak,
            facility: "ST-9999".into(),
            device: None,
            metric: None,
            start: 0,
            end: 1,
            magnitude: 1.0,
        };
        let endpoints = Endpoints {
            http: "http://127.0.0.1:9".to_owned(),
            mqtt: None,
            gateway_share: 0.0,
            gateway_separator: slash(),
        };
        let result = run(&plan(), vec![fault], Destination::Endpoints(endpoints), Pace::Fastest, false).await;
        assert!(result.expect_err("unknown").to_string().contains("ST-9999"));
    }

    #[test]
    fn slices_keep_every_report_in_order() {
        let mut simulator = Simulator::new(&plan(), vec![]).expect("plan");
        let reports = simulator.next().expect("minute").reports;
        for pace in [Pace::Times(1.0), Pace::Times(60.0), Pace::Times(1e6), Pace::Fastest] {
            let slices = slices(reports.clone(), pace);
            assert!(slices.iter().all(|slice| !slice.is_empty()));
            assert_eq!(slices.concat(), reports);
        }
        assert!(slices(reports, Pace::Times(1.0)).len() > 5);
    }
}
