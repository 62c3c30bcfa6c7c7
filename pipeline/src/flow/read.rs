//! read: each worker releases exactly the bound offsets of its partitions, as batches of raw records.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    types::RDKafkaErrorCode,
};
use schemas::{Epoch, KafkaSettings, Topic};
use sinks::failpoint;
use timely::{
    container::CapacityContainerBuilder,
    dataflow::{
        StreamVec,
        channels::pact::Pipeline,
        operators::{Capability, Operator},
    },
};

use super::batch::RecordBatch;
use crate::{
    Error,
    binding::{Binding, Range},
    control::Control,
    kafka::{self, PartitionQueue},
};

/// Records that one activation reads at most, so that the other operators have their turn.
const RECORDS_PER_ACTIVATION: usize = 20_000;
/// Silence after which the end of a partition is asked for.
const SILENCE: Duration = Duration::from_millis(30);
/// Records in one batch.
const RECORDS_PER_BATCH: usize = 2_000;

/// Reads bound ranges.
pub trait Read<'s> {
    /// Turns every binding into the records of this worker's partitions, at the binding's epoch. The epoch stays open
    /// until every record of the ranges has been released; a partition that cannot be read stops the pipeline.
    fn read(
        self,
        settings: &KafkaSettings,
        group: &str,
        control: Arc<Control>,
    ) -> StreamVec<'s, Epoch, RecordBatch>;
}

impl<'s> Read<'s> for StreamVec<'s, Epoch, Binding> {
    fn read(
        self,
        settings: &KafkaSettings,
        group: &str,
        control: Arc<Control>,
    ) -> StreamVec<'s, Epoch, RecordBatch> {
        let scope = self.scope();
        let (worker, workers) = (scope.index(), scope.peers());
        let (settings, group) = (settings.clone(), group.to_owned());
        type Builder = CapacityContainerBuilder<Vec<RecordBatch>>;
        self.unary::<Builder, _, _, _>(Pipeline, "read", move |_, info| {
            let activator = scope.activator_for(info.address);
            let mut waiting: VecDeque<(Capability<Epoch>, Binding)> = VecDeque::new();
            let mut reader = Reader { settings, group, consumers: Vec::new(), partitions: Vec::new() };
            move |input, output| {
                input.for_each(|time, bindings| {
                    failpoint::reached("read.before");
                    waiting.extend(bindings.drain(..).map(|binding| (time.retain(0), binding)));
                });
                while let Some((capability, binding)) = waiting.front() {
                    let mine = |range: &&Range| home(range) % workers == worker;
                    let mine: Vec<&Range> = binding.ranges.iter().filter(mine).collect();
                    let result = reader.release(&mine, |batch| {
                        if let Some(newest) = batch.newest {
                            control.note_appended(binding.epoch, newest);
                        }
                        output.session(capability).give(batch);
                    });
                    match result {
                        Ok(true) => {
                            failpoint::reached("read.after");
                            drop(waiting.pop_front());
                        }
                        Ok(false) => return activator.activate_after(Duration::from_micros(500)),
                        Err(error) => return control.fail(error),
                    }
                }
            }
        })
    }
}

/// Which worker reads a partition. It stays the same when partitions are added.
fn home(range: &Range) -> usize {
    range.topic as usize + range.partition.unsigned_abs() as usize
}

/// The partitions of one worker.
struct Reader {
    settings: KafkaSettings,
    group: String,
    /// For the partitions that were there at first and again each time some were added: one for reports, one for what is
    /// quiet. A consumer asks a broker one thing at a time, and while the queues of busy partitions are full it asks for
    /// the quiet ones alone: that question, kept open by the broker, would let the busy ones run dry.
    consumers: Vec<Arc<BaseConsumer>>,
    partitions: Vec<PartitionReader>,
}

struct PartitionReader {
    topic: Topic,
    partition: i32,
    consumer: Arc<BaseConsumer>,
    queue: PartitionQueue,
    /// Of the batch before: the next will be about as large.
    size: (usize, usize),
    /// The next offset that has not been released.
    position: i64,
    /// The range that is being read.
    current: (i64, i64),
    /// When this partition last gave something while more was wanted.
    moved: Instant,
    /// Set while an end-of-partition answer is awaited that was asked for after the range was bound.
    confirming: bool,
}

impl Reader {
    /// Begins with the ranges of partitions that are not read yet, on a consumer of their own.
    fn add(&mut self, ranges: &[&Range]) -> Result<(), Error> {
        let consumer = Arc::new(kafka::consumer(&self.settings, &self.group)?);
        let mut list = TopicPartitionList::new();
        for range in ranges {
            let topic = self.settings.topic(range.topic);
            let what = || format!("assigning {topic}/{}", range.partition);
            list.add_partition_offset(&topic, range.partition, Offset::Offset(range.from))
                .map_err(|error| Error::Kafka { what: what(), error })?;
            let queue =
                PartitionQueue::split(&consumer, &topic, range.partition).ok_or_else(|| Error::Kafka {
                    what: what(),
                    error: KafkaError::Subscription("the partition has no queue".to_owned()),
                })?;
            self.partitions.push(PartitionReader {
                topic: range.topic,
                partition: range.partition,
                consumer: Arc::clone(&consumer),
                queue,
                size: (0, 0),
                position: range.from,
                current: (range.from, range.from),
                moved: Instant::now(),
                confirming: false,
            });
        }
        consumer
            .assign(&list)
            .map_err(|error| Error::Kafka { what: "assigning partitions".to_owned(), error })?;
        self.consumers.push(consumer);
        Ok(())
    }

    /// Releases what is there of the ranges; true when all of them are complete.
    fn release(&mut self, ranges: &[&Range], mut give: impl FnMut(RecordBatch)) -> Result<bool, Error> {
        let known = |range: &&Range| self.partitions.iter().any(|partition| partition.reads(range));
        let unknown: Vec<&Range> = ranges.iter().copied().filter(|range| !known(range)).collect();
        let (busy, quiet): (Vec<&Range>, _) =
            unknown.into_iter().partition(|range| range.topic == Topic::Reports);
        for added in [busy, quiet].iter().filter(|added| !added.is_empty()) {
            self.add(added)?;
        }
        // Serves the clients' own events; records come through the partitions' queues.
        for consumer in &self.consumers {
            if let Some(Err(error)) = consumer.poll(Duration::ZERO) {
                tracing::warn!(%error, "reading from kafka");
            }
        }
        let mut room = RECORDS_PER_ACTIVATION;
        let mut complete = true;
        for range in ranges {
            let Some(partition) = self.partitions.iter_mut().find(|partition| partition.reads(range)) else {
                continue;
            };
            let topic = self.settings.topic(range.topic);
            let at_end = partition.begin(range, &topic) && partition.release(range, &mut room, &mut give)?;
            if !at_end && room > 0 {
                partition.confirm_end(&topic);
            }
            complete &= at_end;
        }
        Ok(complete)
    }
}

impl PartitionReader {
    fn reads(&self, range: &Range) -> bool {
        (self.topic, self.partition) == (range.topic, range.partition)
    }

    /// Goes to where a range begins, which is where the last one ended unless records in between are gone and the
    /// operator accepted that. False when the client cannot do that yet.
    fn begin(&mut self, range: &Range, topic: &str) -> bool {
        if self.current == (range.from, range.upto) {
            return true;
        }
        if self.position != range.from {
            let place = Offset::Offset(range.from);
            if let Err(error) = self.consumer.seek(topic, self.partition, place, Duration::ZERO) {
                tracing::debug!(%error, topic, partition = self.partition, "cannot seek yet");
                return false;
            }
            self.queue.clear();
            (self.position, self.confirming) = (range.from, false);
        }
        self.current = (range.from, range.upto);
        true
    }

    fn release(
        &mut self,
        range: &Range,
        room: &mut usize,
        give: &mut impl FnMut(RecordBatch),
    ) -> Result<bool, Error> {
        if self.position >= range.upto {
            self.moved = Instant::now();
            return Ok(true);
        }
        let mut batch = RecordBatch::new(range.topic, range.partition);
        let before = self.position;
        while self.position < range.upto && *room > 0 {
            match self.queue.peek() {
                None => break,
                // Fetched again by a seek that found it under way.
                Some(Ok(record)) if record.offset < self.position => {}
                Some(Ok(record)) if record.offset < range.upto => {
                    self.position = record.offset + 1;
                    if batch.records.is_empty() {
                        batch.reserve(self.size);
                    }
                    batch.push(record);
                    *room -= 1;
                    if batch.records.len() == RECORDS_PER_BATCH {
                        give(batch.next());
                    }
                }
                // The last offsets of the range hold no record: compacted away, or a transaction's mark. This record
                // waits for the range it belongs to.
                Some(Ok(_)) => {
                    self.position = range.upto;
                    break;
                }
                // The end lies at or behind `upto`, which existed when the epoch was bound. An answer that may be
                // older than the binding says nothing.
                Some(Err(RDKafkaErrorCode::PartitionEOF)) if self.confirming => self.position = range.upto,
                Some(Err(RDKafkaErrorCode::PartitionEOF)) => {}
                Some(Err(code)) => self.judge(code, range)?,
            }
            self.queue.take();
        }
        if self.position > before {
            (self.moved, self.confirming) = (Instant::now(), false);
        }
        if !batch.records.is_empty() {
            self.size = batch.size();
            give(batch);
        }
        Ok(self.position >= range.upto)
    }

    /// What an error of the client means for a range.
    fn judge(&self, code: RDKafkaErrorCode, range: &Range) -> Result<(), Error> {
        let Range { partition, upto, .. } = *range;
        let (topic, position) = (range.topic.name(), self.position);
        let what = format!("reading {topic}/{partition} at offset {position}");
        let error = KafkaError::MessageConsumption(code);
        match code {
            code if is_passing(code) => {
                tracing::warn!(%error, "{what}");
                Ok(())
            }
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
                Err(Error::Lost(format!(
                    "{topic}/{partition}: offset {position} is no longer there, up to {upto} was to be read"
                )))
            }
            _ => Err(Error::Kafka { what, error }),
        }
    }

    /// When nothing comes although more is bound, the rest of the range may hold no records (compaction, marks of
    /// transactions): reads again from the position, so that the next end-of-partition answer is known to be fresh. To be
    /// called when everything that had come was released.
    fn confirm_end(&mut self, topic: &str) {
        if self.confirming || self.moved.elapsed() < SILENCE {
            return;
        }
        match self.consumer.seek(topic, self.partition, Offset::Offset(self.position), Duration::ZERO) {
            Ok(()) => {
                self.queue.clear();
                self.confirming = true;
            }
            Err(error) => tracing::debug!(%error, topic, partition = self.partition, "cannot seek yet"),
        }
        self.moved = Instant::now();
    }
}

/// Whether the client goes on by itself after an error.
fn is_passing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::UnknownTopicOrPartition
            | Code::BrokerNotAvailable
            | Code::ReplicaNotAvailable
            | Code::NetworkException
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::OffsetNotAvailable
            | Code::SSL
            | Code::Authentication
            | Code::Resolve
    )
}

#[cfg(test)]
mod tests {
    use rdkafka::{
        ClientConfig,
        mocking::MockCluster,
        producer::{BaseProducer, BaseRecord, Producer},
    };

    use super::*;

    const RECORDS: i64 = 2_500;

    /// Whatever is asked for in between, however little room there is.
    #[test]
    fn every_record_is_released_once() {
        let cluster = MockCluster::new(1).unwrap();
        let brokers = cluster.bootstrap_servers();
        let settings = serde_json::json!({ "brokers": brokers, "prefix": "read" });
        let settings: KafkaSettings = serde_json::from_value(settings).unwrap();
        let topic = settings.topic(Topic::Reports);
        cluster.create_topic(&topic, 1, 1).unwrap();
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
        for n in 0..RECORDS {
            let (key, value) = (n.to_string(), "x".repeat(n as usize % 7));
            producer.send(BaseRecord::to(&topic).partition(0).key(&key).payload(&value)).unwrap();
        }
        producer.flush(Duration::from_secs(30)).unwrap();

        let range = Range { topic: Topic::Reports, partition: 0, from: 0, upto: RECORDS, caught_up: true };
        let mut reader = Reader { settings, group: "read".into(), consumers: vec![], partitions: vec![] };
        reader.add(&[&range]).unwrap();
        let partition = &mut reader.partitions[0];
        let mut released = Vec::new();
        let begun = Instant::now();
        let (mut done, mut seen) = (false, 0);
        while !done {
            assert!(begun.elapsed() < Duration::from_secs(60), "{} of {RECORDS} came", released.len());
            let mut give = |batch: RecordBatch| released.extend(batch.iter().map(|record| record.offset));
            let _events = partition.consumer.poll(Duration::ZERO);
            done = partition.begin(&range, &topic) && partition.release(&range, &mut 100, &mut give).unwrap();
            if released.len() > seen && released.len() % 700 == 100 {
                // As if it had been silent, with records here that were not released.
                seen = released.len();
                partition.moved -= SILENCE;
                partition.confirm_end(&topic);
            }
        }
        assert_eq!(released, (0..RECORDS).collect::<Vec<_>>());
    }
}
