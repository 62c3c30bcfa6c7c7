//! The system on one screen.
//!
//! ```text
//!            bindings (durable)                  ticks (epoch, clock)
//!  bind ────────┬──────────────► clock ─────────────┐
//!               ▼                  ▲ marks          ▼
//!  Kafka ───► read ───► decode ────┴─reports──► validate ─┬─► window ─┬─► roll up ─► revise ─► kpis, quality
//!                          └─registry─► join ──profiles──►┘           ├─► energy signature ─┬─► estimates
//!                                                         ├─► alarms ─┴─────────────────────┴─► alarms
//!                                                         ├─► readings
//!                                                         └─► rejects  (with those of decode and join)
//!  all of them ─► blocks ─► deliver to Kafka, then to ClickHouse and the exchange ─► delivered ─► bind
//! ```
//!
//! Enters: Kafka. Leaves: blocks at the sinks. Guarantees: the output of an epoch is a pure function of its binding and
//! of the epochs before it, byte for byte, for any number of workers.

use std::sync::Arc;

use operators::{
    Durable,
    alarm::{Alarms, Operations},
    model::Supply,
    registry::{JoinRegistry, KeptRegistry},
    validate::Validate,
    window::Window,
};
use schemas::{Epoch, avro::Codec};
use timely::dataflow::{
    ProbeHandle, Scope,
    operators::{Concat, Concatenate, Exchange, Probe, vec::Broadcast},
};

use crate::{
    Error,
    config::Config,
    control::Control,
    flow::{
        alarms::{AlarmTransitions, Operational},
        bind::{Minter, bind},
        block::Blocks,
        clock::{Clock, Clocked},
        decode::Decode,
        deliver::{Beats, Deliver},
        estimates::Estimates,
        hours::Hours,
        lateness::CountLate,
        read::Read,
        registry::Kept,
        rejects::{Bounded, Rejected, Stamped},
        revise::RollUp,
        saving::Recovery,
        stages::Staged,
        tables,
        validate::Validated,
    },
    sink_tasks::SinkTasks,
    skips::Skips,
};

/// The states that checkpoints hold.
pub const STATES: &[&str] = &[
    KeptRegistry::STATE,
    Clock::STATE,
    Validate::STATE,
    Window::STATE,
    Alarms::STATE,
    Supply::STATE,
    Operations::STATE,
];

/// What every worker needs to build its share.
pub struct Parts {
    /// The configuration.
    pub config: Config,
    /// How records are read.
    pub codec: Codec,
    /// Where blocks go.
    pub sink_tasks: SinkTasks,
    /// Stop signals.
    pub control: Arc<Control>,
    /// Where states come from and go to.
    pub recovery: Recovery,
    /// Records that are passed over.
    pub skips: Arc<Skips>,
}

/// Builds the dataflow of one worker. `delivered` follows what every sink has acknowledged, `stored` ClickHouse.
///
/// # Errors
/// When the state of the checkpoint cannot be read.
pub fn build(
    scope: Scope<'_, Epoch>,
    parts: &Parts,
    minter: Option<Minter>,
    delivered: &ProbeHandle<Epoch>,
    stored: &ProbeHandle<Epoch>,
) -> Result<(), Error> {
    let Parts { config, codec, sink_tasks, control, recovery, skips } = parts;
    let (kafka, pipeline, rules) = (&config.kafka, &config.pipeline, &config.rules);
    let (group, start) = (pipeline.block_epochs, recovery.epoch());

    // What comes in.
    let bindings = bind(scope, minter, delivered.clone());
    let records = bindings.clone().broadcast().read(kafka, &pipeline.name, Arc::clone(control));
    let decoded = records.decode(codec, kafka, skips, pipeline.clock);
    let clock = Clock::new(pipeline.clock, rules.calendar().longest_step());
    let ticks = bindings.clocked(decoded.marks, clock, recovery)?;
    let (profiles, conflicts) = decoded.registry.clone().kept(recovery)?.join_registry();

    // What is computed.
    let validate = Validate::new(&kafka.topic(schemas::Topic::Reports), rules.memory());
    let validate = validate.with_backfill(rules.backfill());
    let checked = decoded.observations.validate(profiles, ticks.clone(), validate, recovery)?;
    let windowed = checked.clone().stage(Window::new(rules.calendar()), recovery)?.count_late();
    let alarmed = checked.clone().stage(Alarms::new(rules.alarms()), recovery)?.count_late();
    let supply = Supply::new(rules.supply());
    let diagnosed = windowed.clone().hours(checked.clone()).stage(supply, recovery)?.count_late();
    let revised = windowed.roll_up(group);
    let alarms = alarmed
        .transitions()
        .concat(diagnosed.clone().transitions())
        .concat(ticks.clone().operations(recovery)?);
    recovery.attached(pipeline.workers);
    let beats = ticks.clone().beats(group);
    let rejects = [decoded.rejects, conflicts.stamped(ticks), checked.clone().rejects()];
    let rejects = scope.concatenate(rejects).bounded();

    // What goes out: alarms with every epoch, the rest in groups of epochs.
    let alarms = alarms.exchange(|_| 0).blocks::<tables::Alarms>(1);
    let rejects = rejects.exchange(|_| 0).blocks::<tables::Rejects>(group);
    let kpis = revised.kpis.blocks::<tables::Kpis>(group);
    let registry = decoded.registry.exchange(|_| 0).blocks::<tables::Registry>(group);
    let readings = checked.blocks::<tables::Readings>(group);
    let quality = revised.quality.blocks::<tables::Quality>(group);
    let estimates = diagnosed.estimates().blocks::<tables::Estimates>(group);

    let stored_blocks = [&alarms, &rejects, &kpis, &registry].map(Clone::clone);
    let to_store = scope.concatenate(stored_blocks).concat(readings).concat(quality).concat(estimates);
    let to_store = to_store.exchange(|block| u64::from(block.bucket));
    let said_blocks = [alarms.clone(), rejects, kpis.clone(), beats];
    let to_kafka = scope.concatenate(said_blocks).exchange(|_| 0);
    let to_province = scope.concatenate([alarms, kpis, registry]).exchange(|_| 0);
    // Kafka first: it turns away a process that another one has replaced, which then writes nowhere.
    let said = to_kafka.deliver("deliver to kafka", sink_tasks.kafka_has.max(start), sink_tasks.to_kafka());
    let has = sink_tasks.clickhouse_has.max(start);
    let store =
        to_store.deliver_behind(said.clone(), "deliver to clickhouse", has, sink_tasks.to_clickhouse());
    let told =
        to_province.deliver_behind(said.clone(), "deliver to the exchange", start, sink_tasks.to_exchange());
    scope.concatenate([store.probe_with(stored), said, told]).probe_with(delivered);
    Ok(())
}
