//! What a downstream system sees on a topic.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::{Header, Headers},
};
use schemas::{
    KafkaSettings, Topic,
    avro::{Codec, Record},
};

/// One record.
#[derive(Clone, Debug)]
pub struct Consumed<R> {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: R,
    /// The header `epoch`, where it has one.
    pub epoch: Option<u64>,
}

/// One record as it lies on a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value; `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers, in their order.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Raw {
    /// The number in a header.
    pub fn number(&self, header: &str) -> Option<u64> {
        let (_, value) = self.headers.iter().find(|(name, _)| name == header)?;
        String::from_utf8_lossy(value).parse().ok()
    }

    /// The record without its offset: offsets also count the marks of transactions.
    pub fn content(self) -> Raw {
        Raw { offset: 0, ..self }
    }
}

fn consumer(kafka: &KafkaSettings) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", &kafka.brokers)
        .set("group.id", "tests")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .create()
        .unwrap()
}

/// One past the last offset of every partition of a topic.
pub fn ends(kafka: &KafkaSettings, topic: Topic) -> BTreeMap<i32, i64> {
    let (name, consumer) = (kafka.topic(topic), consumer(kafka));
    let metadata = consumer.fetch_metadata(Some(&name), Duration::from_secs(10)).unwrap();
    let end =
        |partition: i32| consumer.fetch_watermarks(&name, partition, Duration::from_secs(10)).unwrap().1;
    metadata.topics()[0].partitions().iter().map(|p| (p.id(), end(p.id()))).collect()
}

/// Reads a topic to its present end, as a `read_committed` consumer, from the offsets given or from its beginning; sorted
/// by partition and offset.
pub fn raw(kafka: &KafkaSettings, topic: Topic, from: &BTreeMap<i32, i64>) -> Vec<Raw> {
    let (name, consumer) = (kafka.topic(topic), consumer(kafka));
    let metadata = consumer.fetch_metadata(Some(&name), Duration::from_secs(10)).unwrap();
    let partitions: Vec<i32> = metadata.topics()[0].partitions().iter().map(|p| p.id()).collect();
    let mut list = TopicPartitionList::new();
    for partition in &partitions {
        let start = from.get(partition).map_or(Offset::Beginning, |offset| Offset::Offset(*offset));
        list.add_partition_offset(&name, *partition, start).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut unread, mut records) = (partitions.len(), Vec::new());
    while unread > 0 {
        match consumer.poll(Duration::from_secs(30)).expect("the topic is not readable to its end") {
            Ok(message) => {
                let header = |header: Header<'_, &[u8]>| {
                    (header.key.to_owned(), header.value.unwrap_or_default().to_vec())
                };
                records.push(Raw {
                    partition: message.partition(),
                    offset: message.offset(),
                    key: message.key().unwrap_or_default().to_vec(),
                    value: message.payload().map(<[u8]>::to_vec),
                    headers: message.headers().map(|h| h.iter().map(header).collect()).unwrap_or_default(),
                });
            }
            Err(KafkaError::PartitionEOF(_)) => unread -= 1,
            Err(error) => panic!("{name}: {error}"),
        }
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

/// Reads a topic from its beginning to its present end, as a `read_committed` consumer.
pub fn consume<R: Record>(kafka: &KafkaSettings, topic: Topic) -> Vec<Consumed<R>> {
    let codec = Codec::single_object();
    let consumed = |record: Raw| Consumed {
        key: String::from_utf8_lossy(&record.key).into_owned(),
        value: codec.decode(record.value.as_deref().expect("no tombstones here")).unwrap(),
        epoch: record.number("epoch"),
    };
    raw(kafka, topic, &BTreeMap::new()).into_iter().map(consumed).collect()
}
