//! The reading side of Kafka: which partitions there are, how far they reach, and consumers for exact ranges.

mod queue;

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    types::RDKafkaErrorCode,
};
use schemas::{KafkaSettings, Topic};

pub use queue::{Fetched, PartitionQueue};

use crate::{Error, binding::Watermark, control::Control};

/// The topics the dataflow reads, in the order in which an epoch applies them.
pub const INPUTS: &[Topic] = &[Topic::Registry, Topic::Reports, Topic::Events, Topic::Rejects];

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How often the ends of the partitions are asked for.
const WATERMARK_PAUSE: Duration = Duration::from_millis(20);
/// How often their beginnings are.
const BEGINNINGS_PAUSE: Duration = Duration::from_secs(1);
/// How often the partitions of the next topic are asked for.
const LISTING_PAUSE: Duration = Duration::from_secs(1);
/// How long to wait after a question that was not answered.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// A consumer that is told what to read and never commits or joins a group by itself.
///
/// # Errors
/// When a property is not known to the client.
pub fn consumer(settings: &KafkaSettings, group: &str) -> Result<BaseConsumer, Error> {
    let consumer = consumer_properties(settings, group).create();
    consumer.map_err(|error| Error::Kafka { what: "creating a consumer".to_owned(), error })
}

/// Our tuning, then what the user says, then what the guarantees rest on.
fn consumer_properties(settings: &KafkaSettings, group: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        // With librdkafka's default of one second a full queue makes reading eight times slower.
        .set("fetch.queue.backoff.ms", "5")
        .set("queued.min.messages", "20000")
        .set("fetch.wait.max.ms", "50");
    for (key, value) in settings.client_properties() {
        config.set(key, value);
    }
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed");
    config
}

/// The present watermarks of every partition of every input topic, sorted by topic and partition. Waits for leaders that
/// are being chosen.
///
/// # Errors
/// When the brokers do not answer, or a topic does not exist.
pub fn watermarks(consumer: &BaseConsumer, settings: &KafkaSettings) -> Result<Vec<Watermark>, Error> {
    let begun = Instant::now();
    loop {
        match ask_for_all(consumer, settings) {
            Err(Error::Kafka { error, .. }) if lacks_leader(&error) && begun.elapsed() < ANSWER_WITHIN => {
                thread::sleep(RETRY_PAUSE);
            }
            answer => return answer,
        }
    }
}

/// Whether a partition has no leader for a moment, as when its topic was just made or a broker left.
fn lacks_leader(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        FencedLeaderEpoch, LeaderNotAvailable, NotLeaderForPartition, UnknownLeaderEpoch,
    };
    let passing = [FencedLeaderEpoch, LeaderNotAvailable, NotLeaderForPartition, UnknownLeaderEpoch];
    error.rdkafka_error_code().is_some_and(|code| passing.contains(&code))
}

fn ask_for_all(consumer: &BaseConsumer, settings: &KafkaSettings) -> Result<Vec<Watermark>, Error> {
    let mut marks = Vec::new();
    for &topic in INPUTS {
        marks.append(&mut partitions(consumer, settings, topic)?);
    }
    marks.sort_by_key(|mark| (mark.topic, mark.partition));
    ask(consumer, settings, &mut marks, End::Low)?;
    ask(consumer, settings, &mut marks, End::High)?;
    Ok(marks)
}

/// The partitions of a topic, of which the ends are not known yet.
fn partitions(
    consumer: &BaseConsumer,
    settings: &KafkaSettings,
    topic: Topic,
) -> Result<Vec<Watermark>, Error> {
    let name = settings.topic(topic);
    let failed = |error| Error::Kafka { what: format!("asking for the partitions of {name}"), error };
    let metadata = consumer.fetch_metadata(Some(&name), ANSWER_WITHIN).map_err(failed)?;
    let partitions = metadata.topics().first().map(|t| t.partitions()).unwrap_or_default();
    if partitions.is_empty() {
        return Err(Error::NoTopic(name));
    }
    Ok(partitions.iter().map(|of| Watermark { topic, partition: of.id(), low: 0, high: 0 }).collect())
}

/// Which end of a partition.
#[derive(Clone, Copy)]
enum End {
    Low,
    High,
}

/// Asks for one end of all partitions with one request to each broker. After an error some may be fresh.
fn ask(
    consumer: &BaseConsumer,
    settings: &KafkaSettings,
    marks: &mut [Watermark],
    end: End,
) -> Result<(), Error> {
    let named = |mark: &Watermark| format!("{}/{}", settings.topic(mark.topic), mark.partition);
    let failed = |what: String, error| Error::Kafka { what: format!("asking how far {what} reaches"), error };
    let mut list = TopicPartitionList::with_capacity(marks.len());
    for mark in &*marks {
        // A question for a time; these two stand for the ends.
        let time = match end {
            End::Low => Offset::Beginning,
            End::High => Offset::End,
        };
        list.add_partition_offset(&settings.topic(mark.topic), mark.partition, time)
            .map_err(|error| failed(named(mark), error))?;
    }
    let answer = consumer.offsets_for_times(list, ANSWER_WITHIN);
    let answer = answer.map_err(|error| failed("the input topics".to_owned(), error))?;
    for mark in marks {
        let place = answer.find_partition(&settings.topic(mark.topic), mark.partition);
        let offset = place.map(|place| (place.error(), place.offset()));
        let known = match offset {
            Some((Ok(()), Offset::Offset(offset))) => offset,
            Some((Err(error), _)) => return Err(failed(named(mark), error)),
            _ => {
                let none = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownPartition);
                return Err(failed(named(mark), none));
            }
        };
        match end {
            End::Low => mark.low = known,
            End::High => mark.high = known,
        }
    }
    Ok(())
}

/// How far the topics reach, and how old that knowledge is.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The ends of every partition.
    pub marks: Vec<Watermark>,
    /// For how long the brokers have not answered.
    pub age: Duration,
}

/// The watermarks, kept fresh by a thread of their own.
#[derive(Clone, Debug)]
pub struct Watermarks(Arc<Mutex<(Vec<Watermark>, Instant)>>);

impl Watermarks {
    /// Reads them once, then goes on in the background until the pipeline stops. While the brokers are away the last
    /// known values stand: no new epoch reads anything. Partitions that are added are found within seconds.
    ///
    /// # Errors
    /// When they cannot be read the first time.
    pub fn follow(settings: KafkaSettings, group: &str, control: Arc<Control>) -> Result<Watermarks, Error> {
        let consumer = consumer(&settings, group)?;
        let marks = watermarks(&consumer, &settings)?;
        let shared = Watermarks(Arc::new(Mutex::new((marks.clone(), Instant::now()))));
        let fresh = shared.clone();
        thread::Builder::new()
            .name("watermarks".to_owned())
            .spawn(move || fresh.refresh(marks, &consumer, &settings, &control))
            .map_err(|error| Error::State { path: "watermarks thread".into(), error })?;
        Ok(shared)
    }

    /// What never changes.
    #[cfg(test)]
    pub fn known(marks: Vec<Watermark>) -> Watermarks {
        Watermarks(Arc::new(Mutex::new((marks, Instant::now()))))
    }

    /// The latest values.
    #[must_use]
    pub fn now(&self) -> Vec<Watermark> {
        self.seen().marks
    }

    /// The latest values with their age.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Seen { marks: seen.0.clone(), age: seen.1.elapsed() }
    }

    fn refresh(
        &self,
        mut marks: Vec<Watermark>,
        consumer: &BaseConsumer,
        settings: &KafkaSettings,
        control: &Control,
    ) {
        let (mut listed, mut begun, mut answering) = (Instant::now(), Instant::now(), true);
        let mut turn = 0;
        while !control.finished() {
            // One question beside the one for the ends at most, so that a slow broker does not count as a silent one.
            let beside = if listed.elapsed() >= LISTING_PAUSE {
                listed = Instant::now();
                turn = (turn + 1) % INPUTS.len();
                partitions(consumer, settings, INPUTS[turn])
                    .and_then(|found| adopt(&mut marks, found, |new| ask(consumer, settings, new, End::Low)))
            } else if begun.elapsed() >= BEGINNINGS_PAUSE {
                begun = Instant::now();
                ask(consumer, settings, &mut marks, End::Low)
            } else {
                Ok(())
            };
            let round = beside.and_then(|()| ask(consumer, settings, &mut marks, End::High));
            match round {
                Ok(()) => {
                    *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (marks.clone(), Instant::now());
                    if !answering {
                        tracing::info!("the brokers say again how far the topics reach");
                    }
                    answering = true;
                    thread::sleep(WATERMARK_PAUSE);
                }
                Err(error) => {
                    if answering {
                        tracing::warn!(%error, "the ends of the topics are not known for now: nothing new is read");
                    }
                    answering = false;
                    thread::sleep(RETRY_PAUSE);
                }
            }
        }
    }
}

/// Takes partitions in that were added, once it is known where they `begin`. One that is not listed for now is kept.
fn adopt(
    marks: &mut Vec<Watermark>,
    found: Vec<Watermark>,
    begin: impl Fn(&mut [Watermark]) -> Result<(), Error>,
) -> Result<(), Error> {
    let is_known =
        |mark: &Watermark| marks.iter().any(|m| (m.topic, m.partition) == (mark.topic, mark.partition));
    let mut added: Vec<Watermark> = found.into_iter().filter(|mark| !is_known(mark)).collect();
    if added.is_empty() {
        return Ok(());
    }
    begin(&mut added)?;
    for mark in &added {
        tracing::info!(topic = mark.topic.name(), partition = mark.partition, "a partition was added");
    }
    marks.append(&mut added);
    marks.sort_by_key(|mark| (mark.topic, mark.partition));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_may_tune_a_consumer_and_not_change_what_it_reads() {
        let settings = serde_json::json!({
            "brokers": "one:9092",
            "properties": { "fetch.wait.max.ms": "70", "isolation.level": "read_uncommitted" },
        });
        let config = consumer_properties(&serde_json::from_value(settings).unwrap(), "group");
        assert_eq!(config.get("bootstrap.servers"), Some("one:9092"));
        assert_eq!(config.get("fetch.wait.max.ms"), Some("70"));
        assert_eq!(config.get("fetch.queue.backoff.ms"), Some("5"));
        assert_eq!(config.get("isolation.level"), Some("read_committed"));
    }

    #[rstest::rstest]
    #[case::a_topic_was_just_made(RDKafkaErrorCode::NotLeaderForPartition, true)]
    #[case::its_leader_changed(RDKafkaErrorCode::FencedLeaderEpoch, true)]
    #[case::nobody_answers(RDKafkaErrorCode::OperationTimedOut, false)]
    #[case::it_is_not_there(RDKafkaErrorCode::UnknownTopicOrPartition, false)]
    fn only_a_leader_is_waited_for(#[case] code: RDKafkaErrorCode, #[case] waits: bool) {
        assert_eq!(lacks_leader(&KafkaError::MetadataFetch(code)), waits);
        assert_eq!(lacks_leader(&KafkaError::OffsetFetch(code)), waits);
    }
}
