//! What the connectors count.
//!
//! Enters: increments. Leaves: series in the default Prometheus registry, served at `/metrics`.

use std::sync::OnceLock;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
};
use schemas::Reason;

/// Handles on every series of this crate.
#[derive(Debug)]
pub struct Telemetry {
    /// `nuanliu_reports_in_total{connector}`: reports that Kafka has confirmed.
    pub reports_in: IntCounterVec,
    /// `nuanliu_readings_in_total`: readings within them.
    pub readings_in: IntCounter,
    /// `nuanliu_rejects_total{stage,reason}`: rejects that Kafka has confirmed.
    pub rejects: IntCounterVec,
    /// `nuanliu_publish_pending`: records that wait for Kafka's delivery report.
    pub publish_pending: IntGauge,
    /// `nuanliu_http_request_seconds{route,status}`.
    pub http_request_seconds: HistogramVec,
    /// `nuanliu_http_connections{listener}`: open now.
    pub http_connections: IntGaugeVec,
    /// `nuanliu_http_connections_refused_total{listener,reason}`: `address` (has as many as one may), `total` (all places
    /// are taken), `descriptors` (the process may open no more files).
    pub http_connections_refused: IntCounterVec,
    /// `nuanliu_http_connections_closed_total{listener,reason}`: closed by this side, for the peer kept it waiting
    /// (`head_timeout`, `idle_timeout`, `answer_timeout`) or another needed its place (`displaced`).
    pub http_connections_closed: IntCounterVec,
    /// `nuanliu_mqtt_connected{broker}`: 1 while subscribed.
    pub mqtt_connected: IntGaugeVec,
    /// `nuanliu_mqtt_reconnects_total{broker}`.
    pub mqtt_reconnects: IntCounterVec,
    /// `nuanliu_mqtt_session_lost_total{broker}`: sessions that the broker should have kept.
    pub mqtt_session_lost: IntCounterVec,
    /// `nuanliu_publish_seconds`: from sending a batch to its last delivery report.
    pub publish_seconds: Histogram,
}

/// The series of this process.
pub fn telemetry() -> &'static Telemetry {
    static TELEMETRY: OnceLock<Telemetry> = OnceLock::new();
    TELEMETRY.get_or_init(Telemetry::register)
}

impl Telemetry {
    /// Counts confirmed rejects of this crate.
    pub fn count_rejects(&self, reason: Reason, number: u64) {
        self.rejects.with_label_values(&["connector", reason.name()]).inc_by(number);
    }

    fn register() -> Telemetry {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            registered(prometheus::register_int_counter_vec!(Opts::new(name, help), labels), || {
                IntCounterVec::new(Opts::new(name, help), labels)
            })
        };
        let seconds = |name: &str, help: &str| {
            HistogramOpts::new(name, help).buckets(vec![
                0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
            ])
        };
        let http = || seconds("nuanliu_http_request_seconds", "Time from a request's head to its answer");
        let publish =
            || seconds("nuanliu_publish_seconds", "Time from sending a batch to its last delivery report");
        let readings = Opts::new("nuanliu_readings_in_total", "Readings accepted by connectors");
        let pending = Opts::new("nuanliu_publish_pending", "Records that wait for Kafka's delivery report");
        let connections = Opts::new("nuanliu_http_connections", "Connections that are open");
        let connected = Opts::new("nuanliu_mqtt_connected", "1 while connected to the broker");
        Telemetry {
            reports_in: counters(
                "nuanliu_reports_in_total",
                "Reports accepted by a connector",
                &["connector"],
            ),
            readings_in: registered(prometheus::register_int_counter!(readings.clone()), || {
                IntCounter::with_opts(readings)
            }),
            rejects: counters(
                "nuanliu_rejects_total",
                "Records and readings turned away",
                &["stage", "reason"],
            ),
            publish_pending: registered(prometheus::register_int_gauge!(pending.clone()), || {
                IntGauge::with_opts(pending)
            }),
            http_request_seconds: registered(
                prometheus::register_histogram_vec!(http(), &["route", "status"]),
                || HistogramVec::new(http(), &["route", "status"]),
            ),
            http_connections: registered(
                prometheus::register_int_gauge_vec!(connections.clone(), &["listener"]),
                || IntGaugeVec::new(connections, &["listener"]),
            ),
            http_connections_refused: counters(
                "nuanliu_http_connections_refused_total",
                "Connections that were not let in",
                &["listener", "reason"],
            ),
            http_connections_closed: counters(
                "nuanliu_http_connections_closed_total",
                "Connections that were closed because their peer kept them waiting",
                &["listener", "reason"],
            ),
            mqtt_connected: registered(
                prometheus::register_int_gauge_vec!(connected.clone(), &["broker"]),
                || IntGaugeVec::new(connected, &["broker"]),
            ),
            mqtt_reconnects: counters(
                "nuanliu_mqtt_reconnects_total",
                "Connections lost and retried",
                &["broker"],
            ),
            mqtt_session_lost: counters(
                "nuanliu_mqtt_session_lost_total",
                "Sessions that the broker should have kept and had not: messages for them are lost",
                &["broker"],
            ),
            publish_seconds: registered(prometheus::register_histogram!(publish()), || {
                Histogram::with_opts(publish())
            }),
        }
    }
}

/// The registered series; when another part of the process has the name already, one that is counted but not served,
/// since a metric must never stop a connector.
fn registered<T>(outcome: prometheus::Result<T>, unserved: impl FnOnce() -> prometheus::Result<T>) -> T {
    match outcome {
        Ok(series) => series,
        Err(error) => {
            tracing::warn!(%error, "a metric cannot be registered and is not served");
            // The names and labels above are constants in the form Prometheus demands.
            #[expect(clippy::expect_used, reason = "constant names")]
            unserved().expect("constant metric options")
        }
    }
}
