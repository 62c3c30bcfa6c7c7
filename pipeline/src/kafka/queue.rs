//! One partition's records, fetched many at a time: half the cost per record of polling them one by one.
//!
//! Enters: what the client has fetched of a partition. Leaves: records and errors in their order, borrowed from the
//! client's memory until the next one. Guarantees: what is not taken stays; what was fetched before a seek is never seen
//! after it. The only module with `unsafe` code: the client's batch interface has no safe binding.
#![allow(unsafe_code)]

use std::{ffi::CString, os::raw::c_void, ptr, sync::Arc};

use rdkafka::{
    bindings as native,
    consumer::{BaseConsumer, Consumer},
    types::{RDKafkaErrorCode, RDKafkaRespErr},
};

/// Messages fetched at once.
const FETCHED_AT_ONCE: usize = 1_000;

/// The queue of one partition of an assignment. Not for other threads.
pub struct PartitionQueue {
    queue: *mut native::rd_kafka_queue_t,
    /// Messages that were fetched and not taken: those from `next` on. Each is owned here until it is destroyed.
    messages: Vec<*mut native::rd_kafka_message_t>,
    next: usize,
    /// The queue belongs to this consumer, which must outlive it.
    _consumer: Arc<BaseConsumer>,
}

/// One record, as it lies in the client's memory.
#[derive(Clone, Copy, Debug)]
pub struct Fetched<'a> {
    /// Its offset.
    pub offset: i64,
    /// Its time, ms, and whether the broker stamped it when it appended the record.
    pub timestamp: Option<(i64, bool)>,
    /// Its key.
    pub key: &'a [u8],
    /// Its value; `None` for a tombstone.
    pub value: Option<&'a [u8]>,
}

impl PartitionQueue {
    /// Gives a partition a queue of its own, which stays when the partition is assigned. `None` when the name of the
    /// topic is none.
    pub fn split(consumer: &Arc<BaseConsumer>, topic: &str, partition: i32) -> Option<PartitionQueue> {
        let topic = CString::new(topic).ok()?;
        // SAFETY: the client is alive as long as `consumer`, of which the new queue keeps a share, and the name is a
        // C string that the call copies.
        let queue = unsafe {
            native::rd_kafka_queue_get_partition(consumer.client().native_ptr(), topic.as_ptr(), partition)
        };
        if queue.is_null() {
            return None;
        }
        // SAFETY: `queue` is not null and is owned here; forwarding to null makes it stand alone.
        unsafe { native::rd_kafka_queue_forward(queue, ptr::null_mut()) };
        Some(PartitionQueue { queue, messages: Vec::new(), next: 0, _consumer: Arc::clone(consumer) })
    }

    /// The next record or error, if there is one: the same until [`PartitionQueue::take`] takes it. Does not wait.
    pub fn peek(&mut self) -> Option<Result<Fetched<'_>, RDKafkaErrorCode>> {
        if self.next == self.messages.len() {
            self.fetch();
        }
        let message = *self.messages.get(self.next)?;
        // SAFETY: messages from `next` on were given by the client, which sets the pointer and length of key and value
        // or null, and are destroyed only by methods that need `&mut self`, while the result borrows `self`.
        unsafe { Some(read(message)) }
    }

    /// Takes what [`PartitionQueue::peek`] showed.
    pub fn take(&mut self) {
        if let Some(message) = self.messages.get(self.next) {
            // SAFETY: it is owned here, and stepping over it makes sure that it is not destroyed again.
            unsafe { native::rd_kafka_message_destroy(*message) };
            self.next += 1;
        }
    }

    /// Forgets what was fetched and not taken: what comes next is of the place that was sought before.
    pub fn clear(&mut self) {
        while self.next < self.messages.len() {
            self.take();
        }
    }

    fn fetch(&mut self) {
        self.messages.clear();
        self.messages.reserve(FETCHED_AT_ONCE);
        self.next = 0;
        let room = self.messages.spare_capacity_mut();
        let (first, most) = (room.as_mut_ptr().cast(), room.len().min(FETCHED_AT_ONCE));
        // SAFETY: the queue is alive, `first` points to room for `most` pointers, and the client writes as many as it
        // says, each to a message that the caller owns.
        unsafe {
            let count = native::rd_kafka_consume_batch_queue(self.queue, 0, first, most);
            self.messages.set_len(usize::try_from(count).unwrap_or(0));
        }
    }
}

impl Drop for PartitionQueue {
    fn drop(&mut self) {
        self.clear();
        // SAFETY: it is owned here, nobody uses it any more, and its consumer is dropped behind it.
        unsafe { native::rd_kafka_queue_destroy(self.queue) };
    }
}

/// # Safety
/// `message` must be whole and stay so for `'a`.
unsafe fn read<'a>(message: *const native::rd_kafka_message_t) -> Result<Fetched<'a>, RDKafkaErrorCode> {
    // SAFETY: as the caller promises.
    let (whole, timestamp) = unsafe {
        let mut kind = native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        let at = native::rd_kafka_message_timestamp(message, &mut kind);
        let appended = kind == native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME;
        (&*message, (at >= 0).then_some((at, appended)))
    };
    if whole.err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Err(whole.err.into());
    }
    // SAFETY: the client gives null or as many bytes as it says, which live as long as the message.
    let (key, value) = unsafe { (bytes(whole.key, whole.key_len), bytes(whole.payload, whole.len)) };
    Ok(Fetched { offset: whole.offset, timestamp, key: key.unwrap_or_default(), value })
}

/// # Safety
/// `start` must be null or point to `length` bytes that stay for `'a`.
unsafe fn bytes<'a>(start: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: as the caller promises.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast(), length) })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rdkafka::{
        ClientConfig, Offset, TopicPartitionList,
        mocking::MockCluster,
        producer::{BaseProducer, BaseRecord, Producer},
    };

    use super::*;

    const RECORDS: i64 = 2_500;

    fn written() -> (MockCluster<'static, rdkafka::producer::DefaultProducerContext>, Arc<BaseConsumer>) {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("reports", 1, 1).unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers());
        let producer: BaseProducer = config.create().unwrap();
        for n in 0..RECORDS {
            let (key, value) = (format!("K{n}"), "x".repeat(n as usize % 7));
            let record = BaseRecord::to("reports").partition(0).key(&key).timestamp(1_000 + n);
            // Every tenth is a tombstone.
            let record = if n % 10 == 0 { record } else { record.payload(&value) };
            producer.send(record).unwrap();
        }
        producer.flush(Duration::from_secs(30)).unwrap();
        config
            .set("group.id", "queue")
            .set("enable.partition.eof", "true")
            .set("fetch.queue.backoff.ms", "1");
        (cluster, Arc::new(config.create().unwrap()))
    }

    /// What comes next; answers within a time that is never needed.
    fn next(queue: &mut PartitionQueue, consumer: &BaseConsumer) -> Result<(i64, String), RDKafkaErrorCode> {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing comes");
            if let Some(Err(error)) = consumer.poll(Duration::ZERO) {
                panic!("{error}");
            }
            let Some(seen) = queue.peek() else {
                std::thread::yield_now();
                continue;
            };
            let seen = seen.map(|record| {
                assert_eq!(record.key, format!("K{}", record.offset).as_bytes());
                assert_eq!(record.timestamp, Some((1_000 + record.offset, false)));
                assert_eq!(record.value.is_none(), record.offset % 10 == 0);
                let length = record.value.unwrap_or_default().len() as i64;
                assert_eq!(length, if record.value.is_none() { 0 } else { record.offset % 7 });
                (record.offset, format!("{record:?}"))
            });
            let again = queue.peek().unwrap().map(|record| (record.offset, format!("{record:?}")));
            assert_eq!(seen, again, "it stays until it is taken");
            queue.take();
            return seen;
        }
    }

    #[test]
    fn records_come_in_order_and_a_seek_forgets_what_was_fetched() {
        let (_cluster, consumer) = written();
        let mut queue = PartitionQueue::split(&consumer, "reports", 0).unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("reports", 0, Offset::Offset(3)).unwrap();
        consumer.assign(&list).unwrap();
        for offset in 3..1_200 {
            assert_eq!(next(&mut queue, &consumer).unwrap().0, offset);
        }
        consumer.seek("reports", 0, Offset::Offset(40), Duration::ZERO).unwrap();
        queue.clear();
        for offset in 40..RECORDS {
            assert_eq!(next(&mut queue, &consumer).unwrap().0, offset);
        }
        assert_eq!(next(&mut queue, &consumer), Err(RDKafkaErrorCode::PartitionEOF));
        consumer.seek("reports", 0, Offset::Offset(7), Duration::ZERO).unwrap();
        queue.clear();
        assert_eq!(next(&mut queue, &consumer).unwrap().0, 7);
        // What was fetched and not taken is given back when the queue goes.
    }

    #[test]
    fn a_name_that_is_none_has_no_queue() {
        let (_cluster, consumer) = written();
        assert!(PartitionQueue::split(&consumer, "re\0ports", 0).is_none());
    }
}
