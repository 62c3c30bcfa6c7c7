//! What a downstream system sees on a topic.

use std::time::Duration;

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::Headers,
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

/// Reads a topic from its beginning to its present end, as a `read_committed` consumer.
pub fn consume<R: Record>(kafka: &KafkaSettings, topic: Topic) -> Vec<Consumed<R>> {
    let name = kafka.topic(topic);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &kafka.brokers)
        .set("group.id", "tests")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(&name), Duration::from_secs(10)).unwrap();
    let partitions: Vec<i32> = metadata.topics()[0].partitions().iter().map(|p| p.id()).collect();
    let mut list = TopicPartitionList::new();
    for partition in &partitions {
        list.add_partition_offset(&name, *partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (codec, mut unread, mut records) = (Codec::single_object(), partitions.len(), Vec::new());
    while unread > 0 {
        match consumer.poll(Duration::from_secs(30)).expect("the topic is not readable to its end") {
            Ok(message) => {
                let epoch = message.headers().and_then(|headers| {
                    let header = headers.iter().find(|header| header.key == "epoch")?;
                    String::from_utf8_lossy(header.value?).parse().ok()
                });
                let key = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
                let value = codec.decode(message.payload().expect("no tombstones here")).unwrap();
                records.push(Consumed { key, value, epoch });
            }
            Err(KafkaError::PartitionEOF(_)) => unread -= 1,
            Err(error) => panic!("{name}: {error}"),
        }
    }
    records
}
