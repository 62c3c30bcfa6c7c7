//! The one way onto Kafka for every connector.
//!
//! Enters: reports, events, rejects and registry entries. Leaves: Avro records on their topics, keyed as the contract
//! says. Guarantees: [`Publisher::publish`] returns `Ok` only after Kafka's delivery report of every
//! record of the batch (all in-sync replicas, idempotent producer, so order within a key is kept and nothing is stored
//! twice by a retry); a batch that does not fit is refused before its first record is sent; memory is bounded.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    error::RDKafkaErrorCode,
    producer::{BaseRecord, Producer, ThreadedProducer},
};
use schemas::{Event, KafkaSettings, RegistryEntry, RegistryKey, Reject, Report, Topic, avro::Codec};

use tokio::sync::oneshot;

use crate::{Error, telemetry};

mod delivery;
mod schema_registry;
mod topics;

pub use schema_registry::codec;
pub use topics::ensure_topics;

use delivery::{Batch, Deliveries, Pressure};

/// One record on its way to Kafka.
#[derive(Clone, Debug, PartialEq)]
pub enum Outgoing {
    /// To `heating.reports`, keyed by facility.
    Report(Report),
    /// To `heating.events`, keyed by facility.
    Event(Event),
    /// To `heating.rejects`, keyed by origin.
    Reject(Reject),
    /// To `heating.registry`; `None` removes the entry.
    RegistryEntry(RegistryKey, Option<Box<RegistryEntry>>),
}

/// How much may wait, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of records without delivery report, over all batches. One batch alone is never refused for its size.
    pub pending_bytes: usize,
    /// A record that is not confirmed by then has failed.
    pub delivery_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { pending_bytes: 64 << 20, delivery_timeout: Duration::from_secs(10) }
    }
}

/// Writes to Kafka for every connector of the process; clones share one producer.
#[derive(Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
}

struct Shared {
    producer: ThreadedProducer<Deliveries>,
    codec: Arc<Codec>,
    names: Vec<String>,
    pressure: Arc<Pressure>,
    limits: Limits,
    broker: Arc<BrokerState>,
    /// Dropped with the publisher, which ends the probe.
    _probe: mpsc::Sender<()>,
}

/// What is known of the brokers: nothing at first, then one of the following.
#[derive(Debug, Default)]
struct BrokerState(AtomicU8);

const REACHABLE: u8 = 1;
const UNREACHABLE: u8 = 2;
/// The producer has lost its idempotence and can only be replaced by a restart.
const FATAL: u8 = 3;

impl BrokerState {
    fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the state, unless the producer is beyond repair.
    fn set(&self, state: u8) {
        let before =
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now != FATAL).then_some(state));
        match (before, state) {
            (Ok(before), UNREACHABLE) if before != UNREACHABLE => tracing::warn!("kafka is not reachable"),
            (Ok(UNREACHABLE), REACHABLE) => tracing::info!("kafka is reachable again"),
            _ => {}
        }
    }
}

/// Records in the form in which they lie on Kafka, on their way there together.
#[derive(Debug, Default)]
pub struct Parcel {
    /// Key after value after key.
    buffer: Vec<u8>,
    slots: Vec<Slot>,
}

/// Where a record of a parcel lies.
#[derive(Debug)]
struct Slot {
    topic: Topic,
    key_end: usize,
    end: usize,
    tombstone: bool,
}

impl Parcel {
    /// A parcel for about so many records.
    #[must_use]
    pub fn for_records(records: usize) -> Parcel {
        Parcel { buffer: Vec::with_capacity(records * 192), slots: Vec::with_capacity(records) }
    }
}

impl Publisher {
    /// Starts the producer; brokers are contacted in the background.
    ///
    /// # Errors
    /// [`Error::Kafka`] when librdkafka refuses a property.
    pub fn connect(kafka: &KafkaSettings, codec: Arc<Codec>, limits: Limits) -> Result<Publisher, Error> {
        let broker = Arc::new(BrokerState::default());
        let pressure = Arc::new(Pressure::default());
        let producer = producer_properties(kafka, limits)
            .create_with_context(Deliveries { broker: Arc::clone(&broker) })
            .map_err(|source| Error::Kafka { action: "create the producer".to_owned(), source })?;
        let (probe, stopped) = mpsc::channel();
        let names = Topic::ALL.iter().map(|topic| kafka.topic(*topic)).collect();
        let shared = Arc::new(Shared { producer, codec, names, pressure, limits, broker, _probe: probe });
        let probed = Arc::downgrade(&shared);
        std::thread::Builder::new()
            .name("kafka-probe".to_owned())
            .spawn(move || {
                while let Some(shared) = probed.upgrade() {
                    shared.probe();
                    drop(shared);
                    if stopped.recv_timeout(Duration::from_secs(2))
                        == Err(mpsc::RecvTimeoutError::Disconnected)
                    {
                        return;
                    }
                }
            })
            .map_err(|source| Error::Io { object: "thread kafka-probe".to_owned(), source })?;
        Ok(Publisher { shared })
    }

    /// Whether Kafka answered the last time it was asked, at most some seconds ago.
    #[must_use]
    pub fn reachable(&self) -> bool {
        self.shared.broker.get() == REACHABLE
    }

    /// False once the producer can no longer be used and the process has to be restarted.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.shared.broker.get() != FATAL
    }

    /// Puts a batch on Kafka and waits for the delivery report of each of its records.
    ///
    /// When the caller stops waiting, the batch is sent nevertheless.
    ///
    /// # Errors
    /// As for [`Publisher::start`] and [`Delivery::confirmed`].
    pub async fn publish(&self, outgoing: Vec<Outgoing>) -> Result<(), Error> {
        self.start(&outgoing)?.confirmed().await
    }

    /// Hands a batch to the producer. Batches are stored in the order of these calls.
    ///
    /// # Errors
    /// As for [`Publisher::pack`] and [`Publisher::send`].
    pub fn start(&self, outgoing: &[Outgoing]) -> Result<Delivery, Error> {
        let mut parcel = Parcel::for_records(outgoing.len());
        for record in outgoing {
            self.pack(record, &mut parcel)?;
        }
        self.send(&parcel)
    }

    /// Adds a record to a parcel.
    ///
    /// # Errors
    /// [`Error::Schemas`] for a record without Avro form; the parcel must not be sent then.
    pub fn pack(&self, record: &Outgoing, parcel: &mut Parcel) -> Result<(), Error> {
        let (topic, key) = match record {
            Outgoing::Report(report) => (Topic::Reports, report.facility.as_str()),
            Outgoing::Event(event) => (Topic::Events, event.facility.as_str()),
            Outgoing::Reject(reject) => (Topic::Rejects, reject.origin.as_str()),
            Outgoing::RegistryEntry(key, _) => (Topic::Registry, key.0.as_str()),
        };
        let (codec, buffer) = (&self.shared.codec, &mut parcel.buffer);
        buffer.extend_from_slice(key.as_bytes());
        let key_end = buffer.len();
        let mut tombstone = false;
        match record {
            Outgoing::Report(report) => codec.encode_into(report, buffer)?,
            Outgoing::Event(event) => codec.encode_into(event, buffer)?,
            Outgoing::Reject(reject) => codec.encode_into(reject, buffer)?,
            Outgoing::RegistryEntry(_, Some(entry)) => codec.encode_into(&**entry, buffer)?,
            Outgoing::RegistryEntry(_, None) => tombstone = true,
        }
        parcel.slots.push(Slot { topic, key_end, end: buffer.len(), tombstone });
        Ok(())
    }

    /// Hands a parcel to the producer. Parcels are stored in the order of these calls.
    ///
    /// # Errors
    /// Before anything is sent: [`Error::Busy`] when it does not fit beside those that wait, [`Error::Gone`] when no
    /// broker answers.
    pub fn send(&self, parcel: &Parcel) -> Result<Delivery, Error> {
        let started = Instant::now();
        if parcel.slots.is_empty() {
            return Ok(Delivery { done: None, started });
        }
        match self.shared.broker.get() {
            UNREACHABLE => return Err(Error::Gone { detail: "no broker answers".to_owned() }),
            FATAL => return Err(Error::Gone { detail: "the producer has failed, restart".to_owned() }),
            _ => {}
        }
        let limit = self.shared.limits.pending_bytes;
        let (batch, done) =
            Batch::admit(&self.shared.pressure, parcel.slots.len(), parcel.buffer.len(), limit)?;
        self.shared.produce(parcel, &batch);
        Ok(Delivery { done: Some(done), started })
    }

    /// Waits until no record is without delivery report.
    pub async fn drained(&self) {
        self.shared.pressure.drained().await;
    }
}

/// A batch on its way.
#[derive(Debug)]
#[must_use = "only the delivery reports say that the batch is stored"]
pub struct Delivery {
    done: Option<oneshot::Receiver<Option<RDKafkaErrorCode>>>,
    started: Instant,
}

impl Delivery {
    /// Waits for the delivery report of every record.
    ///
    /// # Errors
    /// [`Error::Gone`] and [`Error::Refused`] when a record was not confirmed: others of the batch may have been, so
    /// sending it again repeats them, which the dataflow recognises.
    pub async fn confirmed(self) -> Result<(), Error> {
        let Some(done) = self.done else { return Ok(()) };
        let failure = done.await.unwrap_or(Some(RDKafkaErrorCode::Fail));
        telemetry::PUBLISH_SECONDS.observe(self.started.elapsed().as_secs_f64());
        failure.map_or(Ok(()), |code| Err(delivery::error(code)))
    }
}

impl Shared {
    /// Hands every record to librdkafka, which copies it. What it does not take fails the batch.
    fn produce(&self, parcel: &Parcel, batch: &Arc<Batch>) {
        let (buffer, slots) = (&parcel.buffer, &parcel.slots);
        let mut start = 0;
        for (number, slot) in slots.iter().enumerate() {
            let mut record = BaseRecord::<[u8], [u8], Arc<Batch>>::with_opaque_to(
                &self.names[slot.topic as usize],
                Arc::clone(batch),
            );
            record.key = Some(&buffer[start..slot.key_end]);
            record.payload = (!slot.tombstone).then(|| &buffer[slot.key_end..slot.end]);
            start = slot.end;
            if let Err((error, _)) = self.producer.send(record) {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                batch.settle(slots.len() - number, Some(code));
                return;
            }
        }
    }

    fn probe(&self) {
        let topic = &self.names[Topic::Reports as usize];
        let answer = self.producer.client().fetch_metadata(Some(topic), Duration::from_secs(3));
        self.broker.set(if answer.is_ok() { REACHABLE } else { UNREACHABLE });
    }
}

fn producer_properties(kafka: &KafkaSettings, limits: Limits) -> ClientConfig {
    let mut config = ClientConfig::new();
    let timeout = limits.delivery_timeout.as_millis().to_string();
    config
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        // Admission is decided by `Limits`; these only have to be wider, so that no batch is cut in two.
        .set("queue.buffering.max.messages", "10000000")
        .set("queue.buffering.max.kbytes", (limits.pending_bytes / 1024 * 4).max(262_144).to_string())
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.max.ms", "2000");
    for (name, value) in kafka.client_properties() {
        config.set(name, value);
    }
    // What devices are told depends on these.
    config.set("acks", "all").set("enable.idempotence", "true").set("message.timeout.ms", &timeout);
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_may_tune_a_producer_and_not_change_what_an_answer_promises() {
        let kafka = serde_json::json!({
            "brokers": "one:9092",
            "properties": { "linger.ms": "70", "acks": "0", "message.timeout.ms": "1" },
        });
        let limits = Limits::default();
        let config = producer_properties(&serde_json::from_value(kafka).unwrap(), limits);
        assert_eq!(config.get("linger.ms"), Some("70"));
        assert_eq!(config.get("compression.type"), Some("lz4"));
        assert_eq!(config.get("acks"), Some("all"));
        let timeout = limits.delivery_timeout.as_millis().to_string();
        assert_eq!(config.get("message.timeout.ms"), Some(timeout.as_str()));
    }
}
