//! What benches put onto the topics, as fast as the broker takes it and with little CPU of their own.
//!
//! Enters: a site, and reports or a plan. Leaves: records as the connectors would write them. Guarantees: what was sent is
//! on the topics when `flush` returns.

use std::time::Duration;

use connectors::simulator::{self, Plan, Simulator};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, Producer},
};
use schemas::{KafkaSettings, Report, Topic, avro::Codec};
use tests::Site;

/// Sends reports.
pub struct Loader {
    producer: BaseProducer,
    topic: String,
    codec: Codec,
    value: Vec<u8>,
    sent: usize,
}

impl Loader {
    /// A producer that gathers records for so long.
    pub fn new(kafka: &KafkaSettings, linger: Duration) -> Loader {
        let producer = config(kafka)
            .set("compression.type", "lz4")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", linger.as_millis().to_string())
            .set("batch.size", "131072")
            .set("acks", "1")
            .set("queue.buffering.max.messages", "200000")
            .create()
            .unwrap();
        let (topic, codec) = (kafka.topic(Topic::Reports), Codec::single_object());
        Loader { producer, topic, codec, value: Vec::new(), sent: 0 }
    }

    pub fn report(&mut self, report: &Report) {
        let mut value = std::mem::take(&mut self.value);
        value.clear();
        self.codec.encode_into(report, &mut value).unwrap();
        self.bytes(&report.facility, &value);
        self.value = value;
    }

    pub fn bytes(&mut self, key: &str, value: &[u8]) {
        let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
        while let Err((error, _)) = self.producer.send(BaseRecord::to(&self.topic).key(key).payload(value)) {
            assert_eq!(error, full);
            self.producer.poll(Duration::from_millis(20));
        }
        self.sent += 1;
        if self.sent.is_multiple_of(1000) {
            self.producer.poll(Duration::ZERO);
        }
    }

    /// Waits until everything is on the topic; gives how many records that is.
    pub fn flush(self) -> usize {
        self.producer.flush(Duration::from_secs(60)).unwrap();
        self.sent
    }
}

fn config(kafka: &KafkaSettings) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (key, value) in kafka.client_properties() {
        config.set(key, value);
    }
    config
}

/// Puts the registry of a plan and what arrives in its first minutes onto the topics of a site, and before every so many
/// reports bytes that no schema knows; gives the number of records.
pub async fn simulated(site: &Site, plan: &Plan, minutes: usize, garbage_every: Option<usize>) -> usize {
    simulator::load_registry(plan, &site.publisher()).await.unwrap();
    reports(site, &mut Simulator::new(plan, Vec::new()).unwrap(), minutes, garbage_every, |_| true)
}

/// The same for the next minutes of a simulation, of the facilities of which `wanted` says so.
pub fn reports(
    site: &Site,
    simulator: &mut Simulator,
    minutes: usize,
    garbage_every: Option<usize>,
    wanted: impl Fn(&str) -> bool,
) -> usize {
    let mut loader = Loader::new(&site.kafka(), Duration::from_millis(20));
    let reports = simulator.take(minutes).flat_map(|minute| minute.reports);
    for (number, report) in reports.filter(|report| wanted(&report.facility)).enumerate() {
        if garbage_every.is_some_and(|every| number.is_multiple_of(every)) {
            loader.bytes(&report.facility, &number.to_le_bytes());
        }
        loader.report(&report);
    }
    loader.flush()
}

/// Gives the disk back. What the topics held is gone.
pub async fn delete_topics(site: &Site) {
    let kafka = site.kafka();
    let admin: AdminClient<DefaultClientContext> = config(&kafka).create().unwrap();
    let names: Vec<String> = Topic::ALL.iter().map(|topic| kafka.topic(*topic)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    admin.delete_topics(&names, &AdminOptions::new()).await.unwrap();
}
