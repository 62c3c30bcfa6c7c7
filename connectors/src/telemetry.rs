//! What the connectors count.
//!
//! Enters: increments. Leaves: series in the default Prometheus registry, served at `/metrics`.

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    register_histogram, register_histogram_vec, register_int_counter, register_int_counter_vec,
    register_int_gauge, register_int_gauge_vec,
};
use schemas::{Reason, metrics};

metrics! {
    /// Reports that Kafka has confirmed.
    pub REPORTS_IN: IntCounterVec = register_int_counter_vec!(
        "nuanliu_reports_in_total", "Reports accepted by a connector", &["connector"]);

    /// Readings within them.
    pub READINGS_IN: IntCounter =
        register_int_counter!("nuanliu_readings_in_total", "Readings accepted by connectors");

    /// Rejects that Kafka has confirmed.
    pub REJECTS: IntCounterVec = register_int_counter_vec!(
        "nuanliu_rejects_total", "Records and readings turned away", &["stage", "reason"]);

    /// Records that wait for Kafka's delivery report.
    pub PUBLISH_PENDING: IntGauge =
        register_int_gauge!("nuanliu_publish_pending", "Records that wait for Kafka's delivery report");

    /// From sending a batch to its last delivery report.
    pub PUBLISH_SECONDS: Histogram = register_histogram!(seconds(
        "nuanliu_publish_seconds", "Time from sending a batch to its last delivery report"));

    /// From a request's head to its answer.
    pub HTTP_REQUEST_SECONDS: HistogramVec = register_histogram_vec!(
        seconds("nuanliu_http_request_seconds", "Time from a request's head to its answer"), &["route", "status"]);

    /// Connections that are open now.
    pub HTTP_CONNECTIONS: IntGaugeVec =
        register_int_gauge_vec!("nuanliu_http_connections", "Connections that are open", &["listener"]);

    /// For `address` (has as many as one may), `total` (all places are taken), `descriptors` (the process may open no
    /// more files).
    pub HTTP_CONNECTIONS_REFUSED: IntCounterVec = register_int_counter_vec!(
        "nuanliu_http_connections_refused_total", "Connections that were not let in", &["listener", "reason"]);

    /// Closed by this side, for the peer kept it waiting (`head_timeout`, `idle_timeout`, `answer_timeout`) or another
    /// needed its place (`displaced`).
    pub HTTP_CONNECTIONS_CLOSED: IntCounterVec = register_int_counter_vec!(
        "nuanliu_http_connections_closed_total", "Connections that were closed because their peer kept them waiting",
        &["listener", "reason"]);

    /// 1 while subscribed.
    pub MQTT_CONNECTED: IntGaugeVec =
        register_int_gauge_vec!("nuanliu_mqtt_connected", "1 while connected to the broker", &["broker"]);

    /// Connections that were lost.
    pub MQTT_RECONNECTS: IntCounterVec = register_int_counter_vec!(
        "nuanliu_mqtt_reconnects_total", "Connections lost and retried", &["broker"]);

    /// Sessions that the broker should have kept.
    pub MQTT_SESSION_LOST: IntCounterVec = register_int_counter_vec!(
        "nuanliu_mqtt_session_lost_total",
        "Sessions that the broker should have kept and had not: messages for them are lost", &["broker"]);
}

/// The metrics of this crate.
#[must_use]
pub fn all() -> Vec<Box<dyn prometheus::core::Collector>> {
    collectors()
}

fn seconds(name: &str, help: &str) -> HistogramOpts {
    HistogramOpts::new(name, help)
        .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
}

/// Counts confirmed rejects of the connectors.
pub fn count_rejects(reason: Reason, number: u64) {
    REJECTS.with_label_values(&["connector", reason.name()]).inc_by(number);
}
