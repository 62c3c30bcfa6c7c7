//! The records of one epoch on their way to the producer.
//!
//! Enters: rows of tables. Leaves: records with key, payload, and the headers `epoch` and `sequence`. Guarantees: the
//! number of a record follows from the rows alone, so that it is the same when an epoch is tried again.

use std::{fmt::Write, thread, time::Duration};

use prometheus::{IntCounterVec, register_int_counter_vec};
use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::BaseRecord,
};
use schemas::{Epoch, Reason, Reject, RejectStage, Topic, avro::Record, metrics};

use super::{Kafka, NAME, REST, classify, is_too_large};
use crate::Error;

/// Bytes of a row that no broker takes, and characters of its key, that its reject keeps.
const REFUSED_BYTES: usize = 16 << 10;
const REFUSED_ORIGIN: usize = 512;

metrics! {
    /// Rows that a reject stands for.
    UNDELIVERABLE: IntCounterVec = register_int_counter_vec!(
        "nuanliu_sink_undeliverable_rows_total",
        "Rows that went as a reject because the sink takes none so large.",
        &["sink", "topic"]);
}

/// The records of one epoch on their way to the producer.
pub struct Sending<'a> {
    kafka: &'a Kafka,
    epoch: String,
    /// Number of the next record within the epoch.
    sequence: usize,
    /// In place of rows that no broker takes.
    rejects: Vec<Reject>,
    /// The topics of those rows.
    left_out: Vec<String>,
    /// Memory that all records use.
    key: String,
    payload: Vec<u8>,
    number: String,
}

impl Sending<'_> {
    pub(super) fn new(kafka: &Kafka, epoch: Epoch) -> Sending<'_> {
        let (key, number) = (String::new(), String::new());
        let (payload, rejects, left_out) = (Vec::new(), Vec::new(), Vec::new());
        Sending { kafka, epoch: epoch.to_string(), sequence: 0, rejects, left_out, key, payload, number }
    }

    /// Hands rows of one kind to the producer; `key` writes the key of each. A topic that the user does not want gets none.
    ///
    /// # Errors
    /// [`Error::Retry`] when the brokers do not take them for now, [`Error::Stop`] when they never will.
    pub fn all<'r, R: Record + 'r>(
        &mut self,
        rows: impl Iterator<Item = &'r R>,
        key: impl Fn(&R, &mut String),
    ) -> Result<(), Error> {
        if R::TOPIC == Topic::Kpis && !self.kafka.kpis {
            return Ok(());
        }
        let topic = self.kafka.settings.topic(R::TOPIC);
        for row in rows {
            self.key.clear();
            key(row, &mut self.key);
            self.payload.clear();
            let encoded = self.kafka.codec.encode_into(row, &mut self.payload);
            encoded.map_err(|error| Error::Stop { sink: NAME, detail: error.to_string() })?;
            self.one(&topic)?;
        }
        Ok(())
    }

    /// Hands over the record whose key and payload are ready, unless it is known that no broker takes it.
    fn one(&mut self, topic: &str) -> Result<(), Error> {
        let number = self.sequence;
        self.sequence += 1;
        if self.kafka.refused.numbers.contains(&number) {
            self.refuse(topic);
            return Ok(());
        }
        self.number.clear();
        // Writing to a string does not fail.
        let _ = write!(self.number, "{number}");
        let headers = OwnedHeaders::new_with_capacity(2)
            .insert(Header { key: "epoch", value: Some(&self.epoch) })
            .insert(Header { key: "sequence", value: Some(&self.number) });
        let record = BaseRecord::with_opaque_to(topic, number).key(&self.key).payload(&self.payload);
        let mut record = record.headers(headers);
        loop {
            match self.kafka.producer.send(record) {
                Ok(()) if self.kafka.refused.one_by_one => return self.kafka.flush(),
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    self.kafka.producer.poll(Duration::ZERO);
                    thread::sleep(REST);
                }
                // The client itself knows that it is too large.
                Err((error, _)) if is_too_large(&error) => {
                    self.refuse(topic);
                    return Ok(());
                }
                Err((error, _)) => return Err(classify("sending", &error)),
            }
        }
    }

    /// Makes the reject that goes in the place of the record whose key and payload are ready.
    fn refuse(&mut self, topic: &str) {
        let (key, bytes) = (&self.key, self.payload.len());
        tracing::error!(
            topic,
            key,
            bytes,
            epoch = self.epoch,
            "a row is larger than the brokers take and goes as a reject: raise message.max.bytes or shorten its evidence"
        );
        self.left_out.push(topic.to_owned());
        // Far below what made it too large, whatever the limit is.
        let kept = bytes.min(REFUSED_BYTES);
        let detail = format!("the row of epoch {} has {bytes} bytes, more than the brokers take", self.epoch);
        self.rejects.push(Reject {
            at: 0,
            origin: format!("kafka:{topic}#{key}").chars().take(REFUSED_ORIGIN).collect(),
            reason: Reason::TooLarge,
            detail,
            raw: self.payload[..kept].to_vec(),
            stage: RejectStage::Sink,
            readings: 0,
        });
    }

    /// Sends the rejects that go in the place of rows, and waits until everything is acknowledged; gives the topics of those
    /// rows. A reject that is too large itself has been told in the log.
    pub(super) fn finish(mut self) -> Result<LeftOut, Error> {
        let rejects = std::mem::take(&mut self.rejects);
        let at = jiff::Timestamp::now().as_millisecond();
        let rejects: Vec<Reject> = rejects.into_iter().map(|reject| Reject { at, ..reject }).collect();
        self.all(rejects.iter(), |row, key| key.push_str(&row.origin))?;
        self.kafka.flush()?;
        Ok(LeftOut(self.left_out))
    }
}

/// The topics of rows that went as rejects.
pub(super) struct LeftOut(Vec<String>);

impl LeftOut {
    /// Counts them, once what was sent is committed.
    pub(super) fn count(&self) {
        self.0.iter().for_each(|topic| UNDELIVERABLE.with_label_values(&[NAME, topic]).inc());
    }
}
