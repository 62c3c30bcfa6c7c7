//! The system on one screen.
//!
//! ```text
//!            bindings (durable)                  ticks (epoch, clock)
//!  bind ────────┬──────────────► clock ─────────────┐
//!               ▼                  ▲ marks          ▼
//!  Kafka ───► read ───► decode ────┴─reports──► validate ─┬─► window ─┬─► roll up ─► revise ─► kpis, quality
//!                          ├─events───────────────►┤      │           └─► models ─┬─► estimates
//!                          └─registry─► join ──profiles──►┘                       │
//!                                                         ├─► alarms, events ─────┴─► alarms
//!                                                         ├─► readings
//!                                                         └─► rejects  (with those of decode and join)
//!  all of them ─► blocks ─► deliver to Kafka, then to the sinks of the configuration ─► delivered ─► bind
//! ```
//!
//! Enters: Kafka. Leaves: blocks at the sinks. Guarantees: the output of an epoch is a pure function of its binding and
//! of the epochs before it, byte for byte, for any number of workers.

use std::sync::Arc;

use operators::{
    Durable,
    alarm::{Alarms, EventAlarms, Operations},
    model,
    registry::{JoinRegistry, KeptRegistry},
    validate::Validate,
    window::Window,
};
use schemas::{AlarmTransition, Code, Epoch, EstimateRow, KpiRow, QualityRow, Reject, avro::Codec};
use sinks::Placement;
use timely::dataflow::{
    ProbeHandle, Scope, StreamVec,
    operators::{Concat, Concatenate, Exchange, Probe, vec::Broadcast},
};

use crate::{
    Error,
    conditions::LateReadings,
    config::Config,
    control::Control,
    flow::{
        alarms::{AlarmTransitions, Operational},
        bind::{Minter, bind},
        block::TableBlocks,
        clock::{Clock, Clocked, Tick},
        decode::{Decode, Decoded, RegistryRecord},
        deliver::{Beats, Deliver},
        estimates::Estimates,
        lateness::{ByEnterprise, CountLate, ToldTo},
        models::Modelled,
        read::Read,
        registry::Kept,
        rejects::{Bounded, Rejected, Stamped},
        revise::RollUp,
        saving::Recovery,
        stages::Staged,
        tables,
        validate::{SharedEpoch, Validated},
    },
    sink_tasks::SinkTasks,
    skips::Skips,
};

/// The states that checkpoints hold, beside those of the models.
const OWN_STATES: [&str; 7] = [
    KeptRegistry::STATE,
    Clock::STATE,
    Validate::STATE,
    Window::STATE,
    Alarms::STATE,
    EventAlarms::STATE,
    Operations::STATE,
];

/// The states that checkpoints hold.
pub const STATES: &[&str] = {
    const ALL: [&str; OWN_STATES.len() + model::STATES.len()] = {
        let mut all = [""; OWN_STATES.len() + model::STATES.len()];
        all.split_at_mut(OWN_STATES.len()).0.copy_from_slice(&OWN_STATES);
        all.split_at_mut(OWN_STATES.len()).1.copy_from_slice(&model::STATES);
        all
    };
    &ALL
};

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
    /// Where the first worker counts what came too late.
    pub late: LateReadings,
}

/// Builds the dataflow of one worker. `delivered` follows what every sink has acknowledged, `stored` what those have that
/// work in each process.
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
    let Parts { config, codec, sink_tasks, control, recovery, skips, late } = parts;
    let (kafka, pipeline, rules) = (&config.kafka, &config.pipeline, &config.rules);
    let (group, start) = (pipeline.block_epochs, recovery.epoch());

    // What comes in.
    let bindings = bind(scope, minter, delivered.clone());
    let records = bindings.clone().broadcast().read(kafka, &pipeline.name, Arc::clone(control));
    let decoded = records.decode(codec, kafka, skips, pipeline.clock);
    let clock = Clock::new(pipeline.clock, rules.calendar().longest_step());
    let ticks = bindings.clocked(decoded.marks.clone(), clock, recovery)?;
    let computed = compute(decoded, ticks.clone(), config, recovery)?;
    recovery.attached(pipeline.workers);
    computed.too_late.clone().exchange(|_| 0).told_to(late);

    // What goes out. Kafka first: it turns away a process that another one has replaced, which then writes nowhere.
    let blocks = computed.blocks(group);
    let to_kafka = blocks.of(&tables::published()).concat(ticks.beats(group)).exchange(|_| 0);
    let has = sink_tasks.kafka_has.max(start);
    let kafka_acked = to_kafka.deliver("deliver to kafka", has, sink_tasks.to_kafka());
    let mut acked = vec![kafka_acked.clone()];
    for sink in sink_tasks.behind.iter() {
        let (blocks, name) = (blocks.of(sink.tables), format!("deliver to {}", sink.name));
        let (fence, send) = (kafka_acked.clone(), sink.deliveries());
        acked.push(match sink.placement {
            Placement::First => blocks.exchange(|_| 0).deliver_behind(fence, &name, start, send),
            Placement::Each => {
                let has = sink_tasks.stored.max(start);
                let blocks = blocks.exchange(|block| u64::from(block.bucket));
                blocks.deliver_behind(fence, &name, has, send).probe_with(stored)
            }
        });
    }
    scope.concatenate(acked).probe_with(delivered);
    Ok(())
}

/// What the flow computes, by table.
pub struct Computed<'s> {
    /// Alarm transitions: of rules on readings, of models, and of the platform itself.
    pub alarms: StreamVec<'s, Epoch, AlarmTransition>,
    /// What was turned away.
    pub rejects: StreamVec<'s, Epoch, Reject>,
    /// KPI states.
    pub kpis: StreamVec<'s, Epoch, KpiRow>,
    /// Data-quality figures.
    pub quality: StreamVec<'s, Epoch, QualityRow>,
    /// What models expected and found.
    pub estimates: StreamVec<'s, Epoch, EstimateRow>,
    /// Readings with their marks.
    pub readings: StreamVec<'s, Epoch, SharedEpoch>,
    /// Registry entries.
    pub registry: StreamVec<'s, Epoch, RegistryRecord>,
    /// Readings that came after their windows had closed, by enterprise.
    pub too_late: StreamVec<'s, Epoch, (Code, u64)>,
}

impl<'s> Computed<'s> {
    /// Its blocks: alarms with every epoch, the rest in groups of epochs.
    #[must_use]
    pub fn blocks(self, group: u64) -> TableBlocks<'s> {
        TableBlocks::new(self.alarms.scope())
            .with::<tables::Alarms>(self.alarms.exchange(|_| 0), 1)
            .with::<tables::Rejects>(self.rejects.exchange(|_| 0), group)
            .with::<tables::Kpis>(self.kpis, group)
            .with::<tables::Registry>(self.registry.exchange(|_| 0), group)
            .with::<tables::Readings>(self.readings, group)
            .with::<tables::Quality>(self.quality, group)
            .with::<tables::Estimates>(self.estimates, group)
    }
}

/// Computes everything from what was decoded.
///
/// # Errors
/// When the state of the checkpoint cannot be read.
pub fn compute<'s>(
    decoded: Decoded<'s>,
    ticks: StreamVec<'s, Epoch, Tick>,
    config: &Config,
    recovery: &Recovery,
) -> Result<Computed<'s>, Error> {
    let rules = &config.rules;
    let (profiles, conflicts) = decoded.registry.clone().kept(recovery)?.join_registry();
    let validate = Validate::new(&config.kafka.topic(schemas::Topic::Reports), rules.memory());
    let validate = validate.with_backfill(rules.backfill());
    let validate = validate.with_events_topic(config.kafka.topic(schemas::Topic::Events));
    let (observations, events) = (decoded.observations, decoded.events);
    let checked = observations.validate(events, profiles, ticks.clone(), validate, recovery)?;
    let window = Window::new(rules.calendar()).with_cold(recovery.checkpoints.cold().of_worker());
    let windowed = checked.clone().stage(window, recovery)?.count_late();
    let by_readings = checked.clone().stage(Alarms::new(rules.alarms()), recovery)?;
    let by_rules = by_readings.concat(checked.clone().stage(EventAlarms::default(), recovery)?).count_late();
    let too_late = windowed.clone().by_enterprise();
    let modelled = windowed.clone().models(&rules.models(), recovery)?.count_late();
    let revised = windowed.roll_up(config.pipeline.block_epochs);
    let of_platform = ticks.clone().operations(recovery)?;
    let rejects = [decoded.rejects, conflicts.stamped(ticks), checked.clone().rejects()];
    Ok(Computed {
        alarms: by_rules.transitions().concat(modelled.clone().transitions()).concat(of_platform),
        rejects: checked.scope().concatenate(rejects).bounded(),
        kpis: revised.kpis,
        quality: revised.quality,
        estimates: modelled.estimates(),
        readings: checked,
        registry: decoded.registry,
        too_late,
    })
}
