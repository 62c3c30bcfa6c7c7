//! What the registry holds, as far as a connector has to know: which facilities and devices there are.
//!
//! Enters: `heating.registry` from its beginning. Leaves: answers to "is there such a facility, such a device".
//! Guarantees: no answer before the topic was read to its end once; changes are seen within a second.

use std::{
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::BorrowedMessage,
};
use schemas::{Code, KafkaSettings, Reason, RegistryEntry, Topic, avro::Codec};

use crate::Error;

/// The codes of the registry; clones share them.
#[derive(Clone, Debug, Default)]
pub struct KnownFacilities {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    codes: RwLock<Codes>,
    complete: AtomicBool,
}

#[derive(Debug, Default)]
struct Codes {
    facilities: rustc_hash::FxHashSet<Code>,
    /// Facility by device.
    devices: rustc_hash::FxHashMap<Code, Code>,
}

/// The codes of the registry, which do not change while this is kept: keep it for one batch.
#[derive(Debug)]
pub struct KnownNow<'a>(RwLockReadGuard<'a, Codes>);

impl KnownNow<'_> {
    /// Whether the registry holds this facility, and this device at it.
    ///
    /// # Errors
    /// [`Reason::UnknownFacility`] or [`Reason::UnknownDevice`], with what exactly is not known.
    pub fn check(&self, facility: &str, device: Option<&str>) -> Result<(), (Reason, String)> {
        let codes = &self.0;
        if !codes.facilities.contains(facility) {
            return Err((Reason::UnknownFacility, format!("facility {facility} is not in the registry")));
        }
        let Some(device) = device else { return Ok(()) };
        match codes.devices.get(device) {
            Some(at) if at == facility => Ok(()),
            Some(at) => Err((
                Reason::UnknownDevice,
                format!("device {device} belongs to facility {at}, not to {facility}"),
            )),
            None => Err((Reason::UnknownDevice, format!("device {device} is not in the registry"))),
        }
    }
}

/// Ends the following of the registry when dropped.
#[derive(Debug)]
pub struct Following(#[expect(dead_code, reason = "dropping it closes the channel")] mpsc::Sender<()>);

impl KnownFacilities {
    /// Follows the registry's topic on a thread of its own until the handle is dropped.
    ///
    /// # Errors
    /// [`Error::Kafka`] when the consumer cannot be created.
    pub fn follow(kafka: &KafkaSettings, codec: Arc<Codec>) -> Result<(KnownFacilities, Following), Error> {
        let mut config = ClientConfig::new();
        config.set("group.id", format!("{}-connectors", kafka.prefix)).set("fetch.queue.backoff.ms", "1");
        for (name, value) in kafka.client_properties() {
            config.set(name, value);
        }
        config
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed");
        let consumer: BaseConsumer = config
            .create()
            .map_err(|source| Error::Kafka { action: "create the registry's consumer".to_owned(), source })?;
        let known = KnownFacilities::default();
        let (following, stopped) = mpsc::channel();
        let mut reader =
            Reader { consumer, known: known.clone(), codec, topic: kafka.topic(Topic::Registry), stopped };
        std::thread::Builder::new()
            .name("registry-reader".to_owned())
            .spawn(move || reader.run())
            .map_err(|source| Error::Io { object: "thread registry-reader".to_owned(), source })?;
        Ok((known, Following(following)))
    }

    /// Whether the registry was read to its end at least once.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.shared.complete.load(Ordering::Acquire)
    }

    /// What the registry holds now, for as long as the answer is kept.
    #[must_use]
    pub fn now(&self) -> KnownNow<'_> {
        KnownNow(self.shared.codes.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the registry holds this facility, and this device at it.
    ///
    /// # Errors
    /// As for [`KnownNow::check`].
    pub fn check(&self, facility: &str, device: Option<&str>) -> Result<(), (Reason, String)> {
        self.now().check(facility, device)
    }

    /// Applies one record of the registry's topic.
    pub fn apply(&self, key: &str, entry: Option<&RegistryEntry>) {
        let mut codes = self.shared.codes.write().unwrap_or_else(PoisonError::into_inner);
        match (key.split_once('/'), entry) {
            (_, Some(RegistryEntry::Facility(facility))) => {
                codes.facilities.insert(facility.code.clone());
            }
            (_, Some(RegistryEntry::Device(device))) => {
                codes.devices.insert(device.code.clone(), device.facility.clone());
            }
            (Some(("facility", code)), None) => {
                codes.facilities.remove(code);
            }
            (Some(("device", code)), None) => {
                codes.devices.remove(code);
            }
            _ => {}
        }
    }

    /// Declares the registry as read to its end.
    pub fn set_complete(&self) {
        if !self.shared.complete.swap(true, Ordering::AcqRel) {
            let codes = self.shared.codes.read().unwrap_or_else(PoisonError::into_inner);
            tracing::info!(
                facilities = codes.facilities.len(),
                devices = codes.devices.len(),
                "registry read to its end"
            );
        }
    }
}

/// The thread that reads the topic.
struct Reader {
    consumer: BaseConsumer,
    known: KnownFacilities,
    codec: Arc<Codec>,
    topic: String,
    stopped: mpsc::Receiver<()>,
}

impl Reader {
    fn run(&mut self) {
        let mut open = loop {
            match self.assign() {
                Ok(partitions) => break partitions,
                Err(error) => tracing::warn!(%error, topic = self.topic, "registry cannot be read yet"),
            }
            if self.stopped.recv_timeout(Duration::from_secs(1)) != Err(mpsc::RecvTimeoutError::Timeout) {
                return;
            }
        };
        while self.stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
            match self.consumer.poll(Duration::from_millis(500)) {
                Some(Ok(message)) => self.apply(&message),
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    open.retain(|other| *other != partition);
                    if open.is_empty() {
                        self.known.set_complete();
                    }
                }
                Some(Err(error)) => tracing::warn!(%error, topic = self.topic, "registry cannot be read"),
                None => {}
            }
        }
    }

    /// Assigns every partition from its beginning.
    fn assign(&self) -> Result<Vec<i32>, KafkaError> {
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), Duration::from_secs(3))?;
        let partitions: Vec<i32> = metadata
            .topics()
            .iter()
            .filter(|topic| topic.name() == self.topic)
            .flat_map(|topic| topic.partitions().iter().map(rdkafka::metadata::MetadataPartition::id))
            .collect();
        if partitions.is_empty() {
            return Err(KafkaError::MetadataFetch(rdkafka::error::RDKafkaErrorCode::UnknownTopic));
        }
        let mut list = TopicPartitionList::new();
        for partition in &partitions {
            list.add_partition_offset(&self.topic, *partition, Offset::Beginning)?;
        }
        self.consumer.assign(&list)?;
        Ok(partitions)
    }

    fn apply(&self, message: &BorrowedMessage<'_>) {
        let Some(Ok(key)) = message.key().map(std::str::from_utf8) else {
            let (partition, offset) = (message.partition(), message.offset());
            tracing::warn!(
                topic = self.topic,
                partition,
                offset,
                "registry record without readable key passed over"
            );
            return;
        };
        let entry = message.payload().map(|bytes| self.codec.decode::<RegistryEntry>(bytes));
        match entry.transpose() {
            Ok(entry) => self.known.apply(key, entry.as_ref()),
            // The dataflow, which owns the registry's meaning, turns the record into a reject.
            Err(error) => {
                let (topic, partition, offset) = (&self.topic, message.partition(), message.offset());
                tracing::warn!(topic, partition, offset, key, %error, "registry record is not readable, see nuanliu registry diff");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Device, Facility, FacilityKind};

    use super::*;

    fn facility(code: &str) -> RegistryEntry {
        RegistryEntry::Facility(Facility::new(code, FacilityKind::Station))
    }

    fn device(code: &str, facility: &str) -> RegistryEntry {
        RegistryEntry::Device(Device {
            code: code.into(),
            facility: facility.into(),
            kind: "room_sensor".into(),
            model: String::new(),
            maker: String::new(),
            installed: String::new(),
            attributes: Default::default(),
        })
    }

    #[test]
    fn follows_entries_moves_and_tombstones() {
        let known = KnownFacilities::default();
        for entry in [facility("A"), facility("B"), device("d", "A")] {
            known.apply(&entry.key().0, Some(&entry));
        }
        assert_eq!(known.check("A", None), Ok(()));
        assert_eq!(known.check("A", Some("d")), Ok(()));
        assert_eq!(known.check("C", None).unwrap_err().0, Reason::UnknownFacility);
        assert_eq!(known.check("A", Some("e")).unwrap_err().0, Reason::UnknownDevice);
        let (reason, detail) = known.check("B", Some("d")).unwrap_err();
        assert_eq!(
            (reason, detail.as_str()),
            (Reason::UnknownDevice, "device d belongs to facility A, not to B")
        );
        let moved = device("d", "B");
        known.apply(&moved.key().0, Some(&moved));
        assert_eq!(known.check("B", Some("d")), Ok(()));
        known.apply("device/d", None);
        known.apply("facility/A", None);
        assert_eq!(known.check("A", None).unwrap_err().0, Reason::UnknownFacility);
        assert_eq!(known.check("B", Some("d")).unwrap_err().0, Reason::UnknownDevice);
    }
}
