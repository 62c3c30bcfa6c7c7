//! What was redriven: a note per reject, written in one transaction with the records that it became.
//!
//! Enters: rejects that are taken again. Leaves: their records on the topics, a note on a topic of its own, and a copy of
//! the note in the store for `rejects list`. Guarantees: either both the records and the note are there or neither is,
//! also when the process is killed in between; a second redrive fences the first, so no reject is sent twice.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clickhouse::Row;
use connectors::Outgoing;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::Consumer,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, Producer},
};
use schemas::{KafkaSettings, Millis, Topic, avro::Codec};
use serde::{Deserialize, Serialize};

use crate::kafka;

const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// A redrive that is killed holds what it began no longer than this.
const ABANDONED_AFTER: &str = "15000";

/// Names a reject: its key in the table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// When it came.
    pub at: Millis,
    /// Why it was turned away.
    pub reason: String,
    /// Where it came from.
    pub origin: String,
    /// The epoch that told it.
    pub epoch: u64,
    /// Its place in the epoch.
    pub row: u64,
}

/// That a reject was redriven.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Note {
    key: Key,
    redriven_at: Millis,
}

#[derive(Row, Serialize)]
struct Noted<'a> {
    at: i64,
    reason: &'a str,
    origin: &'a str,
    epoch: u64,
    row: u64,
    redriven_at: i64,
}

/// The way of redriven rejects onto Kafka.
pub struct RedriveLog {
    producer: BaseProducer,
    settings: KafkaSettings,
    codec: Codec,
    topic: String,
    known: BTreeMap<Key, Millis>,
}

impl RedriveLog {
    /// Takes over from any earlier redrive and reads what was redriven.
    ///
    /// # Errors
    /// When the brokers do not answer or forbid it.
    pub async fn open(settings: &KafkaSettings, codec: Codec) -> anyhow::Result<RedriveLog> {
        let topic = format!("{}.redriven", settings.topic(Topic::Rejects));
        create(settings, &topic).await?;
        let mut config = ClientConfig::new();
        for (key, value) in settings.client_properties() {
            config.set(key, value);
        }
        let producer: BaseProducer = config
            .set("transactional.id", format!("{}.redrive", settings.prefix))
            .set("transaction.timeout.ms", ABANDONED_AFTER)
            .set("acks", "all")
            .set("compression.type", "lz4")
            .create()
            .context("creating a transactional producer")?;
        producer.init_transactions(ANSWER_WITHIN).context("taking over from an earlier redrive")?;
        let known = read(settings, &topic)?;
        Ok(RedriveLog { producer, settings: settings.clone(), codec, topic, known })
    }

    /// Whether a reject was redriven before.
    #[must_use]
    pub fn has(&self, key: &Key) -> bool {
        self.known.contains_key(key)
    }

    /// Makes records and notes visible at once.
    ///
    /// # Errors
    /// When nothing became visible; what was sent before stays.
    pub fn write(&mut self, taken: &[(Key, Vec<Outgoing>)], now: Millis) -> anyhow::Result<()> {
        self.producer.begin_transaction().context("beginning a transaction")?;
        let sent = self.send(taken, now).and_then(|()| self.commit());
        if let Err(error) = sent {
            // When this fails too, the brokers abort it after its time.
            let _ = self.producer.abort_transaction(ANSWER_WITHIN);
            return Err(error.context("nothing of this batch was sent: run the same command again"));
        }
        self.known.extend(taken.iter().map(|(key, _)| (key.clone(), now)));
        Ok(())
    }

    fn send(&self, taken: &[(Key, Vec<Outgoing>)], now: Millis) -> anyhow::Result<()> {
        for (key, records) in taken {
            for record in records {
                let (topic, name, value) = match record {
                    Outgoing::Report(report) => {
                        (Topic::Reports, report.facility.as_str(), self.codec.encode(report)?)
                    }
                    Outgoing::Event(event) => {
                        (Topic::Events, event.facility.as_str(), self.codec.encode(event)?)
                    }
                    Outgoing::Reject(reject) => {
                        (Topic::Rejects, reject.origin.as_str(), self.codec.encode(reject)?)
                    }
                    Outgoing::RegistryEntry(..) => continue,
                };
                self.send_one(&self.settings.topic(topic), name.as_bytes(), &value)?;
            }
            let note = Note { key: key.clone(), redriven_at: now };
            self.send_one(&self.topic, &serde_json::to_vec(key)?, &serde_json::to_vec(&note)?)?;
        }
        let deadline = Instant::now() + ANSWER_WITHIN;
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(Duration::from_millis(1));
            if Instant::now() > deadline {
                bail!("the brokers did not acknowledge in time");
            }
        }
        Ok(())
    }

    fn send_one(&self, topic: &str, key: &[u8], value: &[u8]) -> anyhow::Result<()> {
        let mut record = BaseRecord::to(topic).key(key).payload(value);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    self.producer.poll(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(error).with_context(|| format!("sending to {topic}")),
            }
        }
    }

    fn commit(&self) -> anyhow::Result<()> {
        loop {
            match self.producer.commit_transaction(ANSWER_WITHIN) {
                Ok(()) => return Ok(()),
                // Whether it was committed is not known; asking again is safe and tells.
                Err(KafkaError::Transaction(error)) if error.is_retriable() => {}
                Err(error) => return Err(error).context("committing a transaction"),
            }
        }
    }

    /// Copies to the store what it does not have, for `rejects list`; copying again changes nothing.
    ///
    /// # Errors
    /// When the store does not answer; the next redrive copies it.
    pub async fn copy_missing(&self, client: &clickhouse::Client) -> anyhow::Result<()> {
        let count: u64 = client
            .query("SELECT count() FROM rejects_redriven FINAL")
            .fetch_one()
            .await
            .context("asking for the notes (are the tables up to date? run `nuanliu migrate`)")?;
        if count < self.known.len() as u64 {
            copy(client, self.known.iter().map(|(key, at)| (key, *at))).await?;
        }
        Ok(())
    }
}

/// Copies notes to the store.
///
/// # Errors
/// When the store does not answer; the next redrive copies them.
pub async fn copy(
    client: &clickhouse::Client,
    notes: impl Iterator<Item = (&Key, Millis)>,
) -> anyhow::Result<()> {
    let mut insert =
        client.insert::<Noted<'_>>("rejects_redriven").await.context("noting what was redriven")?;
    for (key, redriven_at) in notes {
        let Key { at, reason, origin, epoch, row } = key;
        let noted = Noted { at: *at, reason, origin, epoch: *epoch, row: *row, redriven_at };
        insert.write(&noted).await.context("noting what was redriven")?;
    }
    insert.end().await.context("noting what was redriven")
}

async fn create(settings: &KafkaSettings, topic: &str) -> anyhow::Result<()> {
    let mut config = ClientConfig::new();
    for (key, value) in settings.client_properties() {
        config.set(key, value);
    }
    let admin: AdminClient<DefaultClientContext> = config.create().context("creating the admin client")?;
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(settings.replication))
        .set("cleanup.policy", "compact");
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
    for created in admin.create_topics([&new], &options).await.context("creating the topic of notes")? {
        match created {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => bail!("topic {name} cannot be created: {code}"),
        }
    }
    Ok(())
}

/// Every note on the topic.
fn read(settings: &KafkaSettings, topic: &str) -> anyhow::Result<BTreeMap<Key, Millis>> {
    let consumer = kafka::consumer(settings, "nuanliu-redrive")?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning)?;
    consumer.assign(&list)?;
    let mut notes = BTreeMap::new();
    let mut moved = Instant::now();
    loop {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                moved = Instant::now();
                let Some(bytes) = message.payload() else { continue };
                let note: Note = serde_json::from_slice(bytes).with_context(|| {
                    format!("note at offset {} of {topic} is not readable", message.offset())
                })?;
                notes.insert(note.key, note.redriven_at);
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(notes),
            Some(Err(error)) => tracing::debug!(%error, "reading {topic}"),
            None if moved.elapsed() > ANSWER_WITHIN => {
                bail!("{topic} cannot be read to its end: are the brokers there?")
            }
            None => {}
        }
    }
}
