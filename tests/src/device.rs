//! A device that reports over MQTT with QoS 1, as devices do: one message at a time, each sent until the broker has
//! acknowledged it.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, PublishOptions, QoS};

/// How long a device waits for an acknowledgement before it connects anew.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it waits before it connects anew.
const PAUSE: Duration = Duration::from_millis(100);

/// Sends messages to a broker at `host:port`, with a pause between two; returns when all are acknowledged. Each
/// acknowledgement is counted.
pub async fn send(
    broker: &str,
    id: &str,
    topic: &str,
    messages: &[String],
    between: Duration,
    acknowledged: &AtomicUsize,
) {
    let mut connection = None;
    for message in messages {
        loop {
            let (client, events) = connection.get_or_insert_with(|| connect(broker, id));
            if publish(client, events, topic, message).await {
                acknowledged.fetch_add(1, Ordering::SeqCst);
                break;
            }
            connection = None;
            tokio::time::sleep(PAUSE).await;
        }
        tokio::time::sleep(between).await;
    }
}

fn connect(broker: &str, id: &str) -> (AsyncClient, EventLoop) {
    let (host, port) = broker.split_once(':').unwrap();
    let options = MqttOptions::new(id, (host, port.parse().unwrap()));
    AsyncClient::builder(options).capacity(10).build()
}

/// Publishes a message; whether it was acknowledged on this connection.
async fn publish(client: &AsyncClient, events: &mut EventLoop, topic: &str, message: &str) -> bool {
    let options = PublishOptions::new(QoS::AtLeastOnce);
    client.publish(topic, message.to_owned(), options).await.unwrap();
    let acknowledged = async {
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::PubAck(_))) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    };
    tokio::time::timeout(PATIENCE, acknowledged).await.unwrap_or(false)
}
