//! How far the MQTT connector has come, as its `/metrics` say.
//!
//! A broker acknowledges what the connector has yet to fetch. So that time does not run apart between the ways in, the
//! driver compares what it sent over MQTT with `nuanliu_reports_in_total{connector="mqtt"}`, which counts what Kafka has
//! confirmed.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use reqwest::Client;
use schemas::{Report, time};

const SERIES: &str = "nuanliu_reports_in_total{connector=\"mqtt\"}";
/// Simulated minutes that the connector may be behind.
const BEHIND: usize = 2;
/// What the connector shows of its subscription.
const CONNECTED: &str = "nuanliu_mqtt_connected{";
/// How long the connector may take to subscribe: before that, a broker keeps nothing for it.
const SUBSCRIBED_WITHIN: Duration = Duration::from_secs(30);
/// How long nothing may move before what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// Compares what was sent over MQTT with what arrived.
pub(super) struct MqttBacklog {
    client: Client,
    url: String,
    /// The count before the first report; `None` when it cannot be seen.
    baseline: Option<u64>,
    sent: u64,
    /// What was sent up to the ends of the last minutes.
    marks: VecDeque<u64>,
}

impl MqttBacklog {
    /// Looks at the connector for the first time.
    pub(super) async fn new(base: &str) -> Self {
        let url = format!("{}/metrics", base.trim_end_matches('/'));
        let mut taken =
            MqttBacklog { client: Client::new(), url, baseline: None, sent: 0, marks: VecDeque::new() };
        let begun = Instant::now();
        loop {
            let Some(metrics) = taken.metrics().await else {
                tracing::warn!(url = taken.url, "no metrics there, so MQTT may run behind HTTP");
                return taken;
            };
            taken.baseline = Some(count(&metrics));
            if subscribed(&metrics) {
                return taken;
            }
            if begun.elapsed() > SUBSCRIBED_WITHIN {
                tracing::warn!(url = taken.url, "the MQTT connector is not subscribed, so MQTT may be lost");
                taken.baseline = None;
                return taken;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Notes what was sent in a minute, and waits while the connector is more than two minutes behind. Reports that it
    /// must reject for their time are not waited for.
    pub(super) async fn minute(&mut self, reports: &[Report]) {
        let counted = |r: &&Report| time::plausible(r.observed_at, r.received_at, time::BACKFILL).is_ok();
        self.sent += reports.iter().filter(counted).count() as u64;
        self.marks.push_back(self.sent);
        if self.marks.len() > BEHIND
            && let Some(mark) = self.marks.pop_front()
        {
            self.until(mark).await;
        }
    }

    /// Waits until the connector has taken everything.
    pub(super) async fn all(&mut self) {
        self.until(self.sent).await;
    }

    async fn until(&mut self, mark: u64) {
        let Some(baseline) = self.baseline else { return };
        let (mut best, mut moved) = (0, Instant::now());
        loop {
            let arrived = self.count().await.map_or(best, |count| count.saturating_sub(baseline));
            if arrived >= mark {
                return;
            }
            if arrived > best {
                (best, moved) = (arrived, Instant::now());
            } else if moved.elapsed() > PATIENCE {
                let missing = mark - arrived;
                tracing::warn!(
                    url = self.url,
                    missing,
                    "MQTT has stopped moving, what is missing counts as lost"
                );
                self.forget(missing);
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits no more for so many reports, but still for those sent after them: a broker's queue grows by a minute per
    /// [`PATIENCE`] at most, whatever has become of the connector.
    fn forget(&mut self, missing: u64) {
        self.sent -= missing;
        self.marks.iter_mut().for_each(|mark| *mark -= missing);
    }

    async fn count(&self) -> Option<u64> {
        self.metrics().await.map(|metrics| count(&metrics))
    }

    async fn metrics(&self) -> Option<String> {
        let answer = self.client.get(&self.url).send().await.ok()?;
        answer.error_for_status().ok()?.text().await.ok()
    }
}

/// Whether a text of metrics shows a connector that is subscribed.
fn subscribed(metrics: &str) -> bool {
    metrics.lines().any(|line| line.starts_with(CONNECTED) && line.ends_with(" 1"))
}

/// The count in a text of metrics; 0 before the first report.
fn count(metrics: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(SERIES));
    line.and_then(|value| value.trim().parse::<f64>().ok()).map_or(0, |value| value as u64)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::AtomicU64, atomic::Ordering};

    use axum::{Router, routing::get};

    use super::*;
    use crate::simulator::{Plan, Simulator};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_minute_waits_for_the_one_two_before_and_the_end_for_all() {
        // A connector that takes ten reports between any two looks; five came before this run.
        let count = Arc::new(AtomicU64::new(5));
        let seen = Arc::clone(&count);
        let metrics = move || async move {
            format!(
                "nuanliu_mqtt_connected{{broker=\"b\"}} 1\nnuanliu_reports_in_total{{connector=\"mqtt\"}} {}\n",
                seen.fetch_add(10, Ordering::SeqCst)
            )
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
        let base = format!("http://{}", listener.local_addr().expect("address"));
        let router = Router::new().route("/metrics", get(metrics));
        tokio::spawn(async move { axum::serve(listener, router).await });

        let reports = Simulator::new(&Plan::default(), vec![]).expect("plan").next().expect("minute").reports;
        let reports = &reports[..50];
        let mut taken = MqttBacklog::new(&base).await;
        taken.minute(reports).await;
        taken.minute(reports).await;
        assert_eq!(count.load(Ordering::SeqCst), 15, "nothing is waited for yet");
        taken.minute(reports).await;
        assert!((55..100).contains(&count.load(Ordering::SeqCst)));
        taken.all().await;
        assert!(count.load(Ordering::SeqCst) >= 155);
    }

    #[test]
    fn what_is_lost_is_not_waited_for_again() {
        let mut taken = MqttBacklog {
            client: Client::new(),
            url: String::new(),
            baseline: Some(0),
            sent: 300,
            marks: VecDeque::from([200, 300]),
        };
        taken.forget(40);
        assert_eq!((taken.baseline, taken.sent, taken.marks), (Some(0), 260, VecDeque::from([160, 260])));
    }

    #[test]
    fn the_count_is_found() {
        let text = "# TYPE nuanliu_reports_in_total counter\nnuanliu_reports_in_total{connector=\"http\"} 7\n\
                    nuanliu_reports_in_total{connector=\"mqtt\"} 1234567\n";
        assert_eq!(count(text), 1_234_567);
        assert_eq!(count("# nothing yet\n"), 0);
    }
}
