//! Reports to an MQTT broker, QoS 1: native, and part of them as ThingsBoard gateway telemetry.

use std::time::Duration;

use rumqttc::{AsyncClient, MqttOptions, PublishNotice, PublishOptions, QoS};
use schemas::Report;
use tokio::task::JoinHandle;

use super::{random::mix, wire_form};
use crate::Error;

/// Topic of gateway telemetry.
const GATEWAY: &str = "v1/gateway/telemetry";
/// Messages without acknowledgement at once.
const IN_FLIGHT: u16 = 1_000;
/// How long to wait for one acknowledgement before the message is sent again, and how often.
const PATIENCE: Duration = Duration::from_secs(20);
const ATTEMPTS: u32 = 10;

/// Which share of the devices speak ThingsBoard, and how they write facility and device in one name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Gateway {
    pub(super) share: f64,
    pub(super) separator: String,
}

/// Sends reports over MQTT.
pub(super) struct MqttClient {
    client: AsyncClient,
    url: String,
    gateway: Gateway,
    connection: JoinHandle<()>,
}

impl MqttClient {
    /// Connects to `mqtt://host:port`.
    pub(super) fn new(url: &str, gateway: Gateway) -> Result<Self, Error> {
        let (host, port) = address(url).ok_or_else(|| Error::Setting {
            name: "mqtt".to_owned(),
            detail: format!("{url} is not of the form mqtt://host:port"),
        })?;
        let id = format!("nuanliu-simulator-{}", std::process::id());
        let mut options = MqttOptions::new(id, (host, port));
        options.set_keep_alive(30);
        options.set_outgoing_inflight_upper_limit(IN_FLIGHT);
        options.set_max_request_batch(usize::from(IN_FLIGHT));
        let (client, mut events) = AsyncClient::builder(options).capacity(usize::from(IN_FLIGHT)).build();
        let broker = url.to_owned();
        let connection = tokio::spawn(async move {
            loop {
                if let Err(error) = events.poll().await {
                    tracing::warn!(broker, %error, "mqtt connection failed, trying again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        });
        Ok(MqttClient { client, url: url.to_owned(), gateway, connection })
    }

    /// Sends reports and returns once the broker has acknowledged every one.
    pub(super) async fn send(&self, reports: &[Report]) -> Result<(), Error> {
        let mut left: Vec<&Report> = reports.iter().collect();
        for _ in 0..ATTEMPTS {
            let mut notices = Vec::with_capacity(left.len());
            for report in left {
                notices.push((report, self.publish(report).await?));
            }
            left = Vec::new();
            for (report, notice) in notices {
                match tokio::time::timeout(PATIENCE, notice.wait_async()).await {
                    Ok(Ok(_)) => {}
                    _ => left.push(report),
                }
            }
            if left.is_empty() {
                return Ok(());
            }
        }
        Err(self.failed(&format!("{} messages were not acknowledged", left.len())))
    }

    async fn publish(&self, report: &Report) -> Result<PublishNotice, Error> {
        let mut payload = String::with_capacity(400);
        let topic = if self.by_gateway(report) {
            wire_form::thingsboard(report, &self.gateway.separator, &mut payload);
            GATEWAY.to_owned()
        } else {
            wire_form::native(report, &mut payload);
            format!("heating/{}/report", report.facility)
        };
        let sent = self.client.publish_tracked(topic, payload, PublishOptions::new(QoS::AtLeastOnce)).await;
        sent.map_err(|error| self.failed(&error.to_string()))
    }

    /// Whether the report's installation hangs on a gateway; the same one always does.
    fn by_gateway(&self, report: &Report) -> bool {
        let number = report.facility.bytes().fold(0, |sum, byte| mix(sum ^ u64::from(byte)));
        (number >> 11) as f64 / (1u64 << 53) as f64 <= self.gateway.share && self.gateway.share > 0.0
    }

    fn failed(&self, detail: &str) -> Error {
        Error::Io { object: self.url.clone(), source: std::io::Error::other(detail.to_owned()) }
    }
}

impl Drop for MqttClient {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn address(url: &str) -> Option<(&str, u16)> {
    let (host, port) = url.strip_prefix("mqtt://")?.trim_end_matches('/').rsplit_once(':')?;
    Some((host, port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn addresses_are_read() {
        assert_eq!(address("mqtt://127.0.0.1:1883"), Some(("127.0.0.1", 1883)));
        assert_eq!(address("mqtt://broker:1883/"), Some(("broker", 1883)));
        assert_eq!(address("mqtt://:1883"), None);
        assert_eq!(address("http://broker:1883"), None);
        assert_eq!(address("mqtt://broker"), None);
    }
}
