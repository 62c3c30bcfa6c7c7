//! decode: raw records become observations, registry records and rejects; nothing is dropped.

use std::sync::Arc;

use operators::{
    Observations,
    decode::{self, ArrivalTimes, KafkaRecord, ReportDecoder},
    flow::{PlacedEvent, Size},
};
use schemas::{Code, Epoch, Event, KafkaSettings, RegistryEntry, Reject, RejectStage, Topic, avro::Codec};
use serde::{Deserialize, Serialize};
use timely::{
    container::CapacityContainerBuilder,
    dataflow::{
        StreamVec,
        channels::pact::Pipeline,
        operators::generic::{OutputBuilder, builder_rc::OperatorBuilder},
    },
};

use super::{
    batch::RecordBatch,
    clock::{ClockSource, Mark},
};
use crate::{skips::Skips, telemetry};

pub use operators::registry::RegistryRecord;

/// What of a batch belongs to one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Share {
    /// The worker.
    pub worker: u64,
    /// The reports of its facilities.
    pub observations: Observations,
}

/// What decoding gives.
pub struct Decoded<'s> {
    /// Reports of known form, to be given to the workers that hold their facilities.
    pub observations: StreamVec<'s, Epoch, Share>,
    /// Registry changes.
    pub registry: StreamVec<'s, Epoch, RegistryRecord>,
    /// What is not readable here, and what the connectors turned away.
    pub rejects: StreamVec<'s, Epoch, Reject>,
    /// Events of known form.
    pub events: StreamVec<'s, Epoch, PlacedEvent>,
    /// How far the partitions have come.
    pub marks: StreamVec<'s, Epoch, Mark>,
}

/// Decodes records.
pub trait Decode<'s> {
    /// Turns every record into what it says, or into a reject that says why it cannot be read or is passed over.
    /// A clock of the data is told when reports arrived by them alone, a clock of the wall believes no arrival that is
    /// ahead of the broker's stamp.
    fn decode(
        self,
        codec: &Codec,
        settings: &KafkaSettings,
        skips: &Arc<Skips>,
        clock: ClockSource,
    ) -> Decoded<'s>;
}

impl<'s> Decode<'s> for StreamVec<'s, Epoch, RecordBatch> {
    fn decode(
        self,
        codec: &Codec,
        settings: &KafkaSettings,
        skips: &Arc<Skips>,
        clock: ClockSource,
    ) -> Decoded<'s> {
        let arrivals = match clock {
            ClockSource::Wall => ArrivalTimes::BeforeStamp,
            ClockSource::Data => ArrivalTimes::Any,
        };
        let workers = self.scope().peers();
        type Builder<T> = CapacityContainerBuilder<Vec<T>>;
        let mut builder = OperatorBuilder::new("decode".to_owned(), self.scope());
        let mut input = builder.new_input(self, Pipeline);
        let (observed, observations) = builder.new_output::<Vec<Share>>();
        let (registered, registry) = builder.new_output::<Vec<RegistryRecord>>();
        let (refused, rejects) = builder.new_output::<Vec<Reject>>();
        let (marked, marks) = builder.new_output::<Vec<Mark>>();
        let (reported, events) = builder.new_output::<Vec<PlacedEvent>>();
        let mut observed = OutputBuilder::<_, Builder<Share>>::from(observed);
        let mut registered = OutputBuilder::<_, Builder<RegistryRecord>>::from(registered);
        let mut refused = OutputBuilder::<_, Builder<Reject>>::from(refused);
        let mut marked = OutputBuilder::<_, Builder<Mark>>::from(marked);
        let mut reported = OutputBuilder::<_, Builder<PlacedEvent>>::from(reported);
        let mut decoder = Decoder {
            reports: ReportDecoder::new(codec.clone(), &settings.topic(Topic::Reports), arrivals),
            codec: codec.clone(),
            settings: settings.clone(),
            skips: Arc::clone(skips),
            workers,
            out: Batch::default(),
        };
        builder.build(move |_| {
            move |_| {
                let (mut observed, mut registered) = (observed.activate(), registered.activate());
                let (mut refused, mut marked) = (refused.activate(), marked.activate());
                let mut reported = reported.activate();
                input.for_each(|time, batches| {
                    for batch in batches.drain(..) {
                        decoder.decode(&batch);
                        let out = &mut decoder.out;
                        observed.session(&time.retain(0)).give_iterator(out.shares());
                        registered.session(&time.retain(1)).give_iterator(out.registry.drain(..));
                        refused.session(&time.retain(2)).give_iterator(out.rejects.drain(..));
                        if let Some(reach) = out.reach.take() {
                            let mark = Mark { epoch: *time.time(), partition: batch.partition, ..reach };
                            marked.session(&time.retain(3)).give(mark);
                        }
                        reported.session(&time.retain(4)).give_iterator(out.events.drain(..));
                    }
                });
            }
        });
        Decoded { observations, registry, rejects, events, marks }
    }
}

/// What one batch of records says.
#[derive(Default)]
struct Batch {
    /// By worker.
    observations: Vec<Observations>,
    /// Of the first worker's share of the batch before: the next will be about as large.
    size: Size,
    registry: Vec<RegistryRecord>,
    rejects: Vec<Reject>,
    events: Vec<PlacedEvent>,
    /// How far the batch's reports have come.
    reach: Option<Mark>,
}

struct Decoder {
    reports: ReportDecoder,
    codec: Codec,
    settings: KafkaSettings,
    skips: Arc<Skips>,
    workers: usize,
    out: Batch,
}

impl Batch {
    /// Takes the reports out, for the workers that have some.
    fn shares(&mut self) -> impl Iterator<Item = Share> {
        self.size = self.observations.first().map(Observations::size).unwrap_or_default();
        let shares = self.observations.drain(..).zip(0..);
        shares
            .filter(|(share, _)| !share.is_empty())
            .map(|(observations, worker)| Share { worker, observations })
    }
}

impl Decoder {
    fn decode(&mut self, batch: &RecordBatch) {
        let topic = self.settings.topic(batch.topic);
        let size = self.out.size;
        self.out.observations.resize_with(self.workers, || Observations::sized(batch.partition, size));
        let mut records = 0;
        for record in batch.iter() {
            records += 1;
            let value = record.value.unwrap_or_default();
            let (offset, appended_at) = (record.offset, record.appended_at);
            let read = KafkaRecord { partition: batch.partition, offset, appended_at, value };
            if let Some(reason) = self.skips.reason(&topic, batch.partition, offset) {
                self.out.rejects.push(decode::skipped(&topic, read, reason));
                continue;
            }
            match batch.topic {
                Topic::Reports => self.report(read),
                Topic::Registry => self.registry(&topic, record.key, record.value.is_some(), read),
                Topic::Rejects => self.reject(&topic, read),
                Topic::Events => self.event(&topic, read),
                // Not inputs.
                Topic::Readings | Topic::Kpis | Topic::Alarms => {}
            }
        }
        telemetry::RECORDS_READ.inc_by(records);
    }

    fn report(&mut self, record: KafkaRecord<'_>) {
        let arrived = self.reports.decode(record, &mut self.out.observations, &mut self.out.rejects);
        let reach = self.out.reach.get_or_insert_default();
        reach.offset = record.offset;
        reach.appended_at = record.appended_at.max(reach.appended_at);
        match arrived {
            Some(arrived) if arrived.as_said => reach.arrivals.add((arrived.at, arrived.shard)),
            Some(_) => telemetry::ARRIVALS_NOT_BELIEVED.inc(),
            None => {}
        }
    }

    fn registry(&mut self, topic: &str, key: &[u8], present: bool, record: KafkaRecord<'_>) {
        let entry = present.then(|| decode::decode::<RegistryEntry>(&self.codec, topic, record)).transpose();
        let key = Code::from_utf8_lossy(key);
        match entry {
            Ok(entry) => self.out.registry.push((key, entry, (record.partition, record.offset))),
            Err(reject) => self.out.rejects.push(*reject),
        }
    }

    /// The dataflow's own rejects lie on this topic too; they have been counted where they arose. Those of the Kafka sink
    /// have not: it writes them in place of a row that no broker takes.
    fn reject(&mut self, topic: &str, record: KafkaRecord<'_>) {
        match decode::decode::<Reject>(&self.codec, topic, record) {
            Ok(reject) => self.out.rejects.extend((reject.stage != RejectStage::Dataflow).then_some(reject)),
            Err(reject) => self.out.rejects.push(*reject),
        }
    }

    fn event(&mut self, topic: &str, record: KafkaRecord<'_>) {
        let KafkaRecord { partition, offset, .. } = record;
        match decode::decode::<Event>(&self.codec, topic, record) {
            Ok(event) => self.out.events.push(PlacedEvent { partition, offset, event }),
            Err(reject) => self.out.rejects.push(*reject),
        }
    }
}
