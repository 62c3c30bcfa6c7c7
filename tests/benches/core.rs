//! The core alone: records that lie in memory become blocks, on one worker and on two.
//!
//! Enters: the records of a simulated district, in epochs as a backlog has them. Leaves: what a second worker brings, and
//! the CPU of the core. Guarantees: the product's own operators from decoding to blocks, wired as in its dataflow; there
//! is no broker, no store and no checkpoint, so that two workers have two cores to themselves.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Instant,
};

use connectors::{
    Outgoing,
    simulator::{Plan, Simulator, Size, registry_records},
};
use operators::registry::RegistryRecord;
use pipeline::{
    checkpoint::{self, Checkpoints, Identity, Opened, Start},
    config::{Config, PipelineSettings},
    control::Control,
    dataflow::{STATES, compute},
    flow::{
        batch::RecordBatch,
        bucket,
        clock::{ClockSource, Tick},
        decode::{Decode, Decoded},
        saving::Recovery,
    },
    kafka::Fetched,
};
use schemas::{Epoch, Millis, Report, Topic, avro::Codec};
use sinks::Block;
use timely::{
    container::CapacityContainerBuilder,
    dataflow::{
        ProbeHandle, StreamVec,
        channels::pact::Pipeline,
        operators::{Input, Operator, Probe},
    },
};

use crate::{Figure, probe::cpu_seconds_of, runs, setting};

const PARTITIONS: i32 = 12;
/// About what an epoch of a backlog holds.
const REPORTS_PER_EPOCH: usize = 40_000;

pub fn measure() -> Vec<Figure> {
    let plan = Plan { hours: 6, ..Plan::of(Size::of_stations(120)) };
    let input = Arc::new(Records::of(&plan, setting("NUANLIU_BENCH_WHOLE_PATH_MINUTES", 360) / 2));
    let (mut gain, mut cost, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs() {
        let [alone, together] = [1, 2].map(|workers| run(&input, workers));
        assert_eq!(alone.rows, together.rows, "both have built the same");
        gain.push(alone.seconds / together.seconds);
        cost.push(alone.cpu_seconds / input.readings as f64 * 1e6);
        rates.push(input.readings as f64 / alone.seconds);
    }
    vec![
        Figure::new("core_two_workers_ratio", "2 : 1 workers", gain),
        Figure::new("core_cpu_s_per_million", "CPU s", cost),
        Figure::new("core_readings_per_s", "readings/s", rates),
    ]
}

/// What the topics would hold.
struct Records {
    registry: Vec<RegistryRecord>,
    epochs: Vec<(Millis, Vec<RecordBatch>)>,
    readings: u64,
}

impl Records {
    fn of(plan: &Plan, minutes: usize) -> Records {
        let entry = |record: Outgoing| match record {
            Outgoing::RegistryEntry(key, entry) => (key.0, entry.map(|entry| *entry), (0, 0)),
            other => panic!("a registry holds entries, not {other:?}"),
        };
        let registry = registry_records(plan).into_iter().map(entry).collect();
        let mut records = Records { registry, epochs: Vec::new(), readings: 0 };
        let (codec, mut offset) = (Codec::single_object(), 0);
        let mut reports: Vec<Report> = Vec::new();
        for minute in Simulator::new(plan, Vec::new()).unwrap().take(minutes) {
            reports.extend(minute.reports);
            if reports.len() >= REPORTS_PER_EPOCH {
                records.close(&mut reports, &codec, &mut offset);
            }
        }
        records.close(&mut reports, &codec, &mut offset);
        records
    }

    fn close(&mut self, reports: &mut Vec<Report>, codec: &Codec, offset: &mut i64) {
        let mut batches: BTreeMap<i32, RecordBatch> = BTreeMap::new();
        let (mut clock, mut value) = (0, Vec::new());
        for report in reports.drain(..) {
            value.clear();
            codec.encode_into(&report, &mut value).unwrap();
            clock = report.received_at.max(clock);
            self.readings += report.readings.len() as u64;
            let partition = (bucket(&report.facility) % PARTITIONS as u64) as i32;
            let batch =
                batches.entry(partition).or_insert_with(|| RecordBatch::new(Topic::Reports, partition));
            let timestamp = Some((report.received_at, true));
            batch.push(Fetched {
                offset: *offset,
                timestamp,
                key: report.facility.as_bytes(),
                value: Some(&value),
            });
            *offset += 1;
        }
        self.epochs.push((clock, batches.into_values().collect()));
    }
}

/// What it took.
struct Outcome {
    seconds: f64,
    cpu_seconds: f64,
    /// Rows by table: the same for any number of workers.
    rows: BTreeMap<&'static str, usize>,
}

fn run(input: &Arc<Records>, workers: usize) -> Outcome {
    let state = tempfile::tempdir().unwrap();
    let identity = Identity { pipeline: "core".to_owned(), prefix: "core".to_owned(), states: STATES };
    let settings = checkpoint::Settings { every_epochs: u64::MAX, ..Default::default() };
    let control = Arc::new(Control::default());
    let Opened { checkpoints, .. } =
        Checkpoints::open(&settings, identity, state.path(), Start::default(), &control).unwrap();
    let recovery = Recovery { checkpoints: checkpoints.clone(), restored: None };
    let (records, counted) = (Arc::clone(input), Arc::new(Mutex::new(BTreeMap::new())));
    let rows = Arc::clone(&counted);
    let (begun, before) = (Instant::now(), cpu_seconds_of(std::process::id()));
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let (own, peers) = (worker.index(), worker.peers());
        // As many as the product lets be under way of a backlog.
        let in_flight = 2 * PipelineSettings::default().block_epochs + 2;
        let done = ProbeHandle::new();
        let (mut reports, mut ticks, mut registry) = worker.dataflow::<Epoch, _, _>(|scope| {
            let (reports, batches) = scope.new_input::<Vec<RecordBatch>>();
            let (ticks, clock) = scope.new_input::<Vec<Tick>>();
            let (registry, entries) = scope.new_input::<Vec<RegistryRecord>>();
            build(batches, clock, entries, &recovery).count(&rows).probe_with(&done);
            (reports, ticks, registry)
        });
        reports.advance_to(1);
        ticks.advance_to(1);
        registry.advance_to(1);
        if own == 0 {
            records.registry.iter().for_each(|entry| registry.send(entry.clone()));
        }
        for (epoch, (clock, batches)) in (1..).zip(&records.epochs) {
            let ours = |batch: &&RecordBatch| batch.partition as usize % peers == own;
            batches.iter().filter(ours).for_each(|batch| reports.send(batch.clone()));
            ticks.send(Tick {
                epoch,
                clock: *clock,
                believed: Vec::new(),
                registry: None,
                conditions: Vec::new(),
            });
            reports.advance_to(epoch + 1);
            ticks.advance_to(epoch + 1);
            registry.advance_to(epoch + 1);
            worker.step_while(|| epoch > in_flight && done.less_than(&(epoch - in_flight)));
        }
    })
    .unwrap();
    guards.join().into_iter().for_each(|outcome| outcome.unwrap());
    let outcome = Outcome {
        seconds: begun.elapsed().as_secs_f64(),
        cpu_seconds: cpu_seconds_of(std::process::id()) - before,
        rows: counted.lock().unwrap().clone(),
    };
    checkpoints.finish();
    control.finish();
    outcome
}

/// What the product computes, as its dataflow wires it.
fn build<'s>(
    batches: StreamVec<'s, Epoch, RecordBatch>,
    ticks: StreamVec<'s, Epoch, Tick>,
    registry: StreamVec<'s, Epoch, RegistryRecord>,
    recovery: &Recovery,
) -> StreamVec<'s, Epoch, Block> {
    let config = config();
    let decoded = batches.decode(&Codec::single_object(), &config.kafka, &Arc::default(), ClockSource::Data);
    let computed = compute(Decoded { registry, ..decoded }, ticks, &config, recovery).unwrap();
    computed.blocks(config.pipeline.block_epochs).of(sinks::table::NAMES)
}

fn config() -> Config {
    let config = serde_json::json!({
        "kafka": { "brokers": "none", "prefix": "core" },
        "clickhouse": { "url": "http://none" },
    });
    serde_json::from_value(config).unwrap()
}

/// Counts rows.
trait Count<'s> {
    /// Adds the rows of each table to what is there, and gives nothing.
    fn count(self, rows: &Arc<Mutex<BTreeMap<&'static str, usize>>>) -> StreamVec<'s, Epoch, ()>;
}

impl<'s> Count<'s> for StreamVec<'s, Epoch, Block> {
    fn count(self, rows: &Arc<Mutex<BTreeMap<&'static str, usize>>>) -> StreamVec<'s, Epoch, ()> {
        type Nothing = CapacityContainerBuilder<Vec<()>>;
        let rows = Arc::clone(rows);
        self.unary::<Nothing, _, _, _>(Pipeline, "count", move |_, _| {
            move |input, _| {
                input.for_each(|_, blocks| {
                    let mut rows = rows.lock().unwrap();
                    blocks
                        .drain(..)
                        .for_each(|block| *rows.entry(block.place().0).or_default() += block.rows.len());
                });
            }
        })
    }
}
