//! read: each worker releases exactly the bound offsets of its partitions, as batches of raw records.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, DefaultConsumerContext, base_consumer::PartitionQueue},
    error::KafkaError,
    message::OwnedMessage,
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

use crate::{
    Error,
    binding::{Binding, Range},
    control::Control,
    kafka,
};

/// Records that one activation reads at most, so that the other operators have their turn.
const RECORDS_PER_ACTIVATION: usize = 20_000;
/// Silence after which the end of a partition is asked for.
const SILENCE: Duration = Duration::from_millis(30);
/// Records in one batch.
const RECORDS_PER_BATCH: usize = 2_000;

/// Consecutive records of one partition, their bytes in one buffer.
#[derive(Clone, Debug)]
pub struct RecordBatch {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: i32,
    bytes: Vec<u8>,
    records: Vec<Bounds>,
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    offset: i64,
    appended_at: i64,
    key_end: u32,
    end: u32,
    tombstone: bool,
}

/// One record of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its offset.
    pub offset: i64,
    /// When the broker appended it, ms.
    pub appended_at: i64,
    /// Its key.
    pub key: &'a [u8],
    /// Its value; `None` for a tombstone.
    pub value: Option<&'a [u8]>,
}

impl RecordBatch {
    fn new(topic: Topic, partition: i32) -> RecordBatch {
        RecordBatch { topic, partition, bytes: Vec::new(), records: Vec::new() }
    }

    fn push(&mut self, message: &impl Message) {
        self.bytes.extend_from_slice(message.key().unwrap_or_default());
        let key_end = self.bytes.len() as u32;
        self.bytes.extend_from_slice(message.payload().unwrap_or_default());
        self.records.push(Bounds {
            offset: message.offset(),
            appended_at: message.timestamp().to_millis().unwrap_or_default(),
            key_end,
            end: self.bytes.len() as u32,
            tombstone: message.payload().is_none(),
        });
    }

    /// The records in the order of their offsets.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let mut start = 0;
        self.records.iter().map(move |bounds| {
            let (key, value) = (start..bounds.key_end as usize, bounds.key_end as usize..bounds.end as usize);
            start = value.end;
            Record {
                offset: bounds.offset,
                appended_at: bounds.appended_at,
                key: &self.bytes[key],
                value: (!bounds.tombstone).then(|| &self.bytes[value]),
            }
        })
    }
}

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
            let mut reader: Option<Reader> = None;
            move |input, output| {
                input.for_each(|time, bindings| {
                    failpoint::reached("read.before");
                    waiting.extend(bindings.drain(..).map(|binding| (time.retain(0), binding)));
                });
                while let Some((capability, binding)) = waiting.front() {
                    let mine = binding.ranges.iter().enumerate().filter(|(n, _)| n % workers == worker);
                    let mine: Vec<&Range> = mine.map(|(_, range)| range).collect();
                    let result = match &mut reader {
                        Some(reader) => Ok(reader),
                        None => Reader::assign(&settings, &group, &mine).map(|r| reader.insert(r)),
                    }
                    .and_then(|reader| reader.release(&mine, |batch| output.session(capability).give(batch)));
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

/// The partitions of one worker.
struct Reader {
    consumer: Arc<BaseConsumer>,
    topics: KafkaSettings,
    partitions: Vec<PartitionReader>,
}

struct PartitionReader {
    queue: PartitionQueue<DefaultConsumerContext>,
    /// The next offset that has not been released.
    position: i64,
    /// A record beyond the range in which it was met.
    ahead: Option<OwnedMessage>,
    /// When this partition last gave something while more was wanted.
    moved: Instant,
    /// Set while an end-of-partition answer is awaited that was asked for after the range was bound.
    confirming: bool,
}

impl Reader {
    fn assign(settings: &KafkaSettings, group: &str, ranges: &[&Range]) -> Result<Reader, Error> {
        let consumer = Arc::new(kafka::consumer(settings, group)?);
        let mut list = TopicPartitionList::new();
        let mut partitions = Vec::new();
        for range in ranges {
            let topic = settings.topic(range.topic);
            let what = || format!("assigning {topic}/{}", range.partition);
            list.add_partition_offset(&topic, range.partition, Offset::Offset(range.from))
                .map_err(|error| Error::Kafka { what: what(), error })?;
            let queue =
                consumer.split_partition_queue(&topic, range.partition).ok_or_else(|| Error::Kafka {
                    what: what(),
                    error: KafkaError::Subscription("the partition has no queue".to_owned()),
                })?;
            partitions.push(PartitionReader {
                queue,
                position: range.from,
                ahead: None,
                moved: Instant::now(),
                confirming: false,
            });
        }
        consumer
            .assign(&list)
            .map_err(|error| Error::Kafka { what: "assigning partitions".to_owned(), error })?;
        Ok(Reader { consumer, topics: settings.clone(), partitions })
    }

    /// Releases what is there of the ranges; true when all of them are complete.
    fn release(&mut self, ranges: &[&Range], mut give: impl FnMut(RecordBatch)) -> Result<bool, Error> {
        // Serves the client's own events; records come through the partitions' queues.
        if let Some(Err(error)) = self.consumer.poll(Duration::ZERO) {
            tracing::warn!(%error, "reading from kafka");
        }
        let mut room = RECORDS_PER_ACTIVATION;
        let mut complete = true;
        for (partition, range) in self.partitions.iter_mut().zip(ranges) {
            let at_end = partition.release(range, &mut room, &mut give)?;
            if !at_end {
                partition.confirm_end(&self.consumer, &self.topics.topic(range.topic), range.partition);
            }
            complete &= at_end;
        }
        Ok(complete)
    }
}

impl PartitionReader {
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
        if let Some(message) = self.ahead.take_if(|m| m.offset() < range.upto) {
            self.position = message.offset() + 1;
            batch.push(&message);
        }
        if self.ahead.is_some() {
            self.position = range.upto;
        }
        while self.position < range.upto && *room > 0 {
            match self.queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) if message.offset() < range.upto => {
                    self.position = message.offset() + 1;
                    (self.moved, self.confirming) = (Instant::now(), false);
                    *room -= 1;
                    batch.push(&message);
                    if batch.records.len() == RECORDS_PER_BATCH {
                        give(std::mem::replace(&mut batch, RecordBatch::new(range.topic, range.partition)));
                    }
                }
                Some(Ok(message)) => {
                    // The last offsets of the range hold no record: compacted away, or a transaction's mark.
                    self.ahead = Some(message.detach());
                    self.position = range.upto;
                    (self.moved, self.confirming) = (Instant::now(), false);
                }
                // The end lies at or behind `upto`, which existed when the epoch was bound. An answer that may be
                // older than the binding says nothing.
                Some(Err(KafkaError::PartitionEOF(_))) if self.confirming => {
                    self.position = range.upto;
                    (self.moved, self.confirming) = (Instant::now(), false);
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => {
                    let what = format!(
                        "reading {}/{} at offset {}",
                        range.topic.name(),
                        range.partition,
                        self.position
                    );
                    match error.rdkafka_error_code() {
                        Some(code) if is_passing(code) => tracing::warn!(%error, "{what}"),
                        _ => return Err(Error::Kafka { what, error }),
                    }
                }
            }
        }
        if !batch.records.is_empty() {
            give(batch);
        }
        Ok(self.position >= range.upto)
    }

    /// When nothing comes although more is bound, the rest of the range may hold no records (compaction, marks of
    /// transactions): reads again from the position, so that the next end-of-partition answer is known to be fresh.
    fn confirm_end(&mut self, consumer: &BaseConsumer, topic: &str, partition: i32) {
        if self.confirming || self.moved.elapsed() < SILENCE {
            return;
        }
        match consumer.seek(topic, partition, Offset::Offset(self.position), Duration::ZERO) {
            Ok(()) => self.confirming = true,
            Err(error) => tracing::debug!(%error, topic, partition, "cannot seek yet"),
        }
        self.moved = Instant::now();
    }
}

/// Whether the client goes on by itself after an error.
fn is_passing(code: rdkafka::types::RDKafkaErrorCode) -> bool {
    use rdkafka::types::RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::UnknownTopicOrPartition
            | Code::Resolve
    )
}
