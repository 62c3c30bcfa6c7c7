//! Raw records of a partition, many in one allocation.

use schemas::Topic;

use crate::kafka::Fetched;

/// Consecutive records of one partition, their bytes in one buffer.
#[derive(Clone, Debug)]
pub struct RecordBatch {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: i32,
    bytes: Vec<u8>,
    pub(super) records: Vec<Bounds>,
    /// When the brokers appended the newest record, where they stamp records.
    pub(super) newest: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
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
    /// No records yet.
    #[must_use]
    pub fn new(topic: Topic, partition: i32) -> RecordBatch {
        RecordBatch { topic, partition, bytes: Vec::new(), records: Vec::new(), newest: None }
    }

    /// Makes room for so many bytes and records.
    pub(super) fn reserve(&mut self, (bytes, records): (usize, usize)) {
        self.bytes.reserve(bytes);
        self.records.reserve(records);
    }

    pub(super) fn size(&self) -> (usize, usize) {
        (self.bytes.len(), self.records.len())
    }

    /// Adds a record behind the others.
    pub fn push(&mut self, record: Fetched<'_>) {
        self.bytes.extend_from_slice(record.key);
        let key_end = self.bytes.len() as u32;
        let (appended_at, by_broker) = record.timestamp.unwrap_or_default();
        if by_broker {
            self.newest = self.newest.max(Some(appended_at));
        }
        self.bytes.extend_from_slice(record.value.unwrap_or_default());
        self.records.push(Bounds {
            offset: record.offset,
            appended_at,
            key_end,
            end: self.bytes.len() as u32,
            tombstone: record.value.is_none(),
        });
    }

    /// Takes the records out, and leaves room for as many.
    pub(super) fn next(&mut self) -> RecordBatch {
        let mut next = RecordBatch::new(self.topic, self.partition);
        next.reserve(self.size());
        std::mem::replace(self, next)
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
