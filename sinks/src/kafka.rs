//! The Kafka sink: what the dataflow says in one epoch becomes visible to `read_committed` readers at once, and once.
//!
//! Enters: the blocks of an epoch. Leaves: one transaction that carries the records and the group's offsets with
//! `epoch=N` in their metadata. Guarantees: after a restart [`Kafka::open`] fences the process before and tells the last
//! epoch that is there, so that nothing is written twice. A row that no broker takes does not hold up the others: a
//! reject with its key and its first bytes goes to `heating.rejects` in its place.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseProducer, Producer, ProducerContext},
};
use schemas::{Epoch, KafkaSettings, Topic, avro::Codec};

mod sending;

pub(crate) use sending::collectors;

use sending::LeftOut;
pub use sending::Sending;

use crate::{Block, Error, failpoint};

/// The sink's name.
pub const NAME: &str = "kafka";
/// What brokers answer when they know nothing of the transaction.
const LOST: RDKafkaErrorCode = RDKafkaErrorCode::InvalidTransactionalState;
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long aborting waits before the reports of records are looked at again.
const TURN: Duration = Duration::from_millis(200);
/// How long to rest before the state of records is looked at again.
const REST: Duration = Duration::from_micros(500);

/// A place up to which an input partition has been delivered to every sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: i32,
    /// One past the last offset.
    pub offset: i64,
}

/// Which rows of an epoch the brokers find too large, by their numbers.
#[derive(Default)]
struct TooLarge(Mutex<BTreeSet<usize>>);

impl ClientContext for TooLarge {}

impl ProducerContext for TooLarge {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        if let Err((error, _)) = result
            && is_too_large(error)
        {
            self.numbers().insert(number);
        }
    }
}

impl TooLarge {
    fn numbers(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Producing = BaseProducer<TooLarge>;

/// What is known of rows that brokers do not take, while an epoch is tried again.
#[derive(Debug, Default)]
struct Refused {
    epoch: Epoch,
    /// Each row travels alone: brokers answer for a whole batch, in which most are innocent.
    one_by_one: bool,
    /// In whose place a reject goes.
    numbers: BTreeSet<usize>,
}

/// The transactional producer of one pipeline.
pub struct Kafka {
    producer: Producing,
    consumer: BaseConsumer,
    settings: KafkaSettings,
    pipeline: String,
    codec: Codec,
    /// Whether KPI states go to `heating.kpis`.
    kpis: bool,
    /// Whether a transaction was begun and neither committed nor aborted.
    open: bool,
    refused: Refused,
}

impl Kafka {
    /// Opens the producer under the pipeline's transactional id, which fences any earlier process of the pipeline, and
    /// tells the last epoch that is committed.
    ///
    /// # Errors
    /// [`Error::Retry`] while the brokers do not answer, [`Error::Stop`] when they never will accept us.
    pub fn open(
        settings: &KafkaSettings,
        pipeline: &str,
        codec: Codec,
        kpis: bool,
        partitions: &[(Topic, i32)],
    ) -> Result<(Kafka, Epoch), Error> {
        let consumer: BaseConsumer = configured(ClientConfig::new(), settings)
            .set("group.id", pipeline)
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .create()
            .map_err(|error| stop("creating a consumer", &error))?;
        let producer = producer(settings, pipeline)?;
        let kafka = Kafka {
            producer,
            consumer,
            settings: settings.clone(),
            pipeline: pipeline.to_owned(),
            codec,
            kpis,
            open: false,
            refused: Refused::default(),
        };
        let epoch = kafka.committed_epoch(partitions)?;
        Ok((kafka, epoch))
    }

    /// Writes the blocks of an epoch and commits `positions` with it. An aborted attempt is invisible; call again.
    ///
    /// # Errors
    /// [`Error::Retry`] when nothing became visible, [`Error::Stop`] when another process has taken over.
    pub fn write(&mut self, epoch: Epoch, blocks: &[Block], positions: &[Position]) -> Result<(), Error> {
        if self.is_lost() && self.reopen(positions)? >= epoch {
            return Ok(());
        }
        let written = self.attempt(epoch, blocks, positions);
        if written.is_err() && self.is_lost() {
            return Err(retry("the brokers have lost the transaction while they were away".to_owned()));
        }
        written
    }

    fn attempt(&mut self, epoch: Epoch, blocks: &[Block], positions: &[Position]) -> Result<(), Error> {
        // An attempt whose abort failed too is in the way of the next.
        self.abort()?;
        self.producer.begin_transaction().map_err(|error| classify("beginning a transaction", &error))?;
        self.open = true;
        failpoint::reached("kafka.begun");
        if self.refused.epoch != epoch {
            self.refused = Refused { epoch, ..Refused::default() };
        }
        self.producer.context().numbers().clear();
        let sent = self.send(epoch, blocks);
        let written = sent.and_then(|left_out| self.commit(epoch, positions).map(|()| left_out));
        self.learn();
        match &written {
            Ok(left_out) => {
                failpoint::reached("kafka.after_commit");
                self.open = false;
                left_out.count();
            }
            Err(Error::Retry { .. }) => self.abort()?,
            Err(_) => {}
        }
        written.map(drop)
    }

    /// Takes note of rows that were too large: the next attempt sends one by one to find them, the one after that goes
    /// without them.
    fn learn(&mut self) {
        let mut found = std::mem::take(&mut *self.producer.context().numbers());
        if found.is_empty() {
            return;
        }
        if self.refused.one_by_one {
            self.refused.numbers.append(&mut found);
        }
        self.refused.one_by_one = true;
    }

    /// Whether the brokers forgot the open transaction while they were away. A process that was replaced gets another
    /// answer: its epoch is looked at first.
    fn is_lost(&self) -> bool {
        self.producer.client().fatal_error().is_some_and(|(code, _)| code == LOST)
    }

    /// Begins anew with a producer of the same identity, which ends what the one before left open, and tells the last
    /// epoch that is committed: whether that of the lost transaction is was not known.
    fn reopen(&mut self, positions: &[Position]) -> Result<Epoch, Error> {
        tracing::warn!("the brokers have lost a transaction: the producer is opened anew");
        let producer = producer(&self.settings, &self.pipeline)?;
        let partitions: Vec<_> = positions.iter().map(|place| (place.topic, place.partition)).collect();
        let epoch = self.committed_epoch(&partitions)?;
        (self.producer, self.open) = (producer, false);
        Ok(epoch)
    }

    /// Aborts the transaction that is open, if there is one. It gives up the records under way, and waits until their
    /// reports have been taken, which only this thread does: so both take turns.
    fn abort(&mut self) -> Result<(), Error> {
        if !self.open {
            return Ok(());
        }
        let deadline = Instant::now() + ANSWER_WITHIN;
        loop {
            match self.producer.abort_transaction(TURN) {
                Ok(()) => break,
                Err(KafkaError::Transaction(error)) if error.is_retriable() && Instant::now() < deadline => {
                    self.producer.poll(Duration::from_millis(1));
                }
                Err(error) => return Err(classify("aborting", &error)),
            }
        }
        self.open = false;
        Ok(())
    }

    /// Sends the rows of an epoch; answers the topics of those that a reject stands for.
    fn send(&self, epoch: Epoch, blocks: &[Block]) -> Result<LeftOut, Error> {
        let mut sending = Sending::new(self, epoch);
        blocks.iter().try_for_each(|block| block.rows.publish(&mut sending))?;
        sending.finish()
    }

    /// Waits until the brokers have acknowledged everything.
    fn flush(&self) -> Result<(), Error> {
        let deadline = Instant::now() + ANSWER_WITHIN;
        // The client's own flush waits in steps of 100 ms, and its poll asks without rest through the last of them.
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(Duration::ZERO);
            thread::sleep(REST);
            if Instant::now() > deadline {
                return Err(retry("the brokers did not acknowledge in time".to_owned()));
            }
        }
        Ok(())
    }

    fn commit(&self, epoch: Epoch, positions: &[Position]) -> Result<(), Error> {
        let mut list = TopicPartitionList::new();
        for position in positions {
            let topic = self.settings.topic(position.topic);
            let mut place = list.add_partition(&topic, position.partition);
            place
                .set_offset(Offset::Offset(position.offset))
                .map_err(|error| stop("naming an offset", &error))?;
            place.set_metadata(format!("epoch={epoch}"));
        }
        let group = self.consumer.group_metadata().ok_or_else(|| Error::Stop {
            sink: NAME,
            detail: "the consumer group has no metadata: set pipeline.name".to_owned(),
        })?;
        self.producer
            .send_offsets_to_transaction(&list, &group, ANSWER_WITHIN)
            .map_err(|error| classify("committing offsets", &error))?;
        failpoint::reached("kafka.before_commit");
        loop {
            match self.producer.commit_transaction(ANSWER_WITHIN) {
                Ok(()) => return Ok(()),
                // Whether it was committed is not known; asking again is safe and tells.
                Err(KafkaError::Transaction(error)) if error.is_retriable() => {}
                Err(error) => return Err(classify("committing a transaction", &error)),
            }
        }
    }

    /// The epoch in the metadata of the committed offsets, 0 when there is none.
    fn committed_epoch(&self, partitions: &[(Topic, i32)]) -> Result<Epoch, Error> {
        let mut list = TopicPartitionList::new();
        for &(topic, partition) in partitions {
            list.add_partition(&self.settings.topic(topic), partition);
        }
        let committed = self
            .consumer
            .committed_offsets(list, ANSWER_WITHIN)
            .map_err(|error| classify("asking for committed offsets", &error))?;
        let epochs = committed.elements().into_iter().filter_map(|place| {
            let metadata = place.metadata().to_owned();
            metadata.strip_prefix("epoch=")?.parse::<Epoch>().ok()
        });
        Ok(epochs.max().unwrap_or(0))
    }
}

fn is_too_large(error: &KafkaError) -> bool {
    error.rdkafka_error_code().is_some_and(|code| code == RDKafkaErrorCode::MessageSizeTooLarge)
}

/// With the properties that the user has set.
fn configured(mut config: ClientConfig, settings: &KafkaSettings) -> ClientConfig {
    for (key, value) in settings.client_properties() {
        config.set(key, value);
    }
    config
}

/// A producer under the transactional id of a pipeline; fences those before it.
fn producer(settings: &KafkaSettings, pipeline: &str) -> Result<Producing, Error> {
    let mut config = ClientConfig::new();
    config
        .set("compression.type", "lz4")
        // What is said in one go travels in one batch. An epoch waits for its last batch, so not for long.
        .set("linger.ms", "2");
    let producer: Producing = configured(config, settings)
        .set("transactional.id", format!("{}.{pipeline}", settings.prefix))
        .set("acks", "all")
        // A record that fails fails the transaction: nobody asks about the others one by one.
        .set("delivery.report.only.error", "true")
        .create_with_context(TooLarge::default())
        .map_err(|error| stop("creating a transactional producer", &error))?;
    producer.init_transactions(ANSWER_WITHIN).map_err(|error| classify("opening transactions", &error))?;
    Ok(producer)
}

fn classify(what: &str, error: &KafkaError) -> Error {
    let fatal = match error {
        KafkaError::Transaction(error) => error.is_fatal(),
        other => matches!(
            other.rdkafka_error_code(),
            Some(RDKafkaErrorCode::Fatal | RDKafkaErrorCode::Fenced | RDKafkaErrorCode::InvalidProducerEpoch)
        ),
    };
    if fatal { stop(what, error) } else { retry(format!("{what}: {error}")) }
}

fn retry(detail: String) -> Error {
    Error::Retry { sink: NAME, detail }
}

fn stop(what: &str, error: &KafkaError) -> Error {
    let detail = format!(
        "{what}: {error}: another process of this pipeline may have taken over, or the settings are wrong"
    );
    Error::Stop { sink: NAME, detail }
}
