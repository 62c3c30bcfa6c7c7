//! `run`, `connect` and `all`: the long-running parts, until SIGTERM, SIGINT or SIGHUP, or a failure.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use clap::{ArgAction, Args};
use schemas::{Epoch, avro::Codec};
use sinks::kafka::Kafka;
use timely::dataflow::Scope;

use super::{
    signals,
    workers::{self, Reached, first_open},
};
use crate::{
    Error,
    binding::{Binding, BindingLog},
    checkpoint::{Checkpoints, Identity, Opened, Start},
    cluster::{self, Cluster},
    conditions::HealthProbe,
    config::Config,
    control::Control,
    dataflow,
    flow::{
        bind::{Minter, Pace},
        clock::ClockSource,
        saving::Recovery,
    },
    health,
    kafka::Watermarks,
    lost_input,
    progress::Progress,
    sink_tasks::{SinkTasks, Site},
    skips::Skips,
    watchdog::{self, Watched, Workers},
};

/// Which parts run in this process.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The dataflow.
    pub dataflow: bool,
    /// The connectors.
    pub connectors: bool,
    /// From where the dataflow goes on.
    pub start: Start,
    /// The place of this process among those that run the dataflow.
    pub cluster: Cluster,
    /// Whether the dataflow goes on when records are gone that were never read.
    pub accept_loss: bool,
}

/// From where the dataflow goes on, and with whom.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    cluster: cluster::Arguments,
    /// Go back to the checkpoint of this epoch, instead of the newest (see `nuanliu checkpoints list`). What was read
    /// after it is read again from the same offsets; later checkpoints are not used any more.
    #[arg(long, value_name = "EPOCH")]
    from: Option<Epoch>,
    /// Go on although another process holds the state, because it hangs. It can write nothing any more.
    #[arg(long)]
    take_over: bool,
    /// Go on although records are gone that were never read, such as behind the topics' retention. What is lost is
    /// recorded, and stands as the alarm `data_lost` as long as this process runs. Goes on likewise without volumes that
    /// are missing or damaged (what states have sealed): late data that would need them is too late.
    #[arg(long)]
    accept_loss: bool,
    /// Print help.
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

impl Parts {
    /// The dataflow, with or without the connectors.
    ///
    /// # Errors
    /// When the place in the cluster does not fit.
    pub fn of(arguments: &Arguments, connectors: bool) -> Result<Parts, Error> {
        let (cluster, accept_loss) = (arguments.cluster.cluster()?, arguments.accept_loss);
        let members = cluster.processes() - 1;
        let start = Start { from: arguments.from, take_over: arguments.take_over, members, accept_loss };
        Ok(Parts { dataflow: true, connectors, start, cluster, accept_loss })
    }

    /// The connectors alone.
    #[must_use]
    pub fn connectors() -> Parts {
        let (start, cluster) = (Start::default(), Cluster::default());
        Parts { dataflow: false, connectors: true, start, cluster, accept_loss: false }
    }
}

/// Runs until asked to stop.
///
/// # Errors
/// Why it could not start, or had to stop.
pub fn run(config: &Config, parts: &Parts) -> anyhow::Result<()> {
    if let Err(error) = connectors::http::raise_limit() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let control = Arc::new(Control::default());
    let runtime = super::runtime()?;
    runtime.spawn(signals::stop(Arc::clone(&control)));
    run_until_stopped(config, parts, &runtime, &control)
}

/// Runs until `control` says stop; the demo calls this in a thread of its own.
///
/// # Errors
/// Why it could not start, or had to stop.
pub fn run_until_stopped(
    config: &Config,
    parts: &Parts,
    runtime: &tokio::runtime::Runtime,
    control: &Arc<Control>,
) -> anyhow::Result<()> {
    if let Some(listen) = &config.telemetry.listen {
        super::metrics::serve(listen, runtime, Arc::clone(control))?;
    }
    let codec = runtime.block_on(connectors::publish::codec(&config.kafka))?;
    let connecting = parts
        .connectors
        .then(|| runtime.spawn(super::connect::serve(config.clone(), codec.clone(), Arc::clone(control))));
    if parts.dataflow {
        run_dataflow(config, parts, codec, runtime, control)?;
    }
    if let Some(connecting) = connecting {
        if parts.dataflow {
            control.drain();
        }
        runtime.block_on(connecting)??;
    }
    control.failure().map_or(Ok(()), |error| Err(error.into()))
}

fn run_dataflow(
    config: &Config,
    parts: &Parts,
    codec: Codec,
    runtime: &tokio::runtime::Runtime,
    control: &Arc<Control>,
) -> anyhow::Result<()> {
    let pipeline = &config.pipeline;
    let identity = Identity {
        pipeline: pipeline.name.clone(),
        prefix: config.kafka.prefix.clone(),
        states: dataflow::STATES,
    };
    if !parts.cluster.leads() {
        return super::member::run(config, identity, &parts.cluster, codec, runtime, control);
    }
    let Opened { checkpoints, log, mut recorded, restored } =
        Checkpoints::open(&config.checkpoint, identity, &pipeline.state, parts.start, control)?;
    let progress = Arc::new(Progress::open(&pipeline.state, Some(log.generation()))?);
    let watermarks = Watermarks::follow(config.kafka.clone(), &pipeline.name, Arc::clone(control))?;
    let lost = lost_input::withdraw(&mut recorded, &watermarks.now());
    if !lost.is_empty() && !parts.accept_loss {
        return Err(lost_input::refused(&lost, &config.kafka).into());
    }
    let stored = progress.stored().max(restored.as_ref().map_or(0, |restored| restored.epoch));
    let (kafka, kafka_has) = open_kafka(config, &codec, &watermarks)?;
    let known =
        recorded.last().map(|binding| binding.epoch).or(restored.as_ref().map(|restored| restored.epoch));
    lost_input::agrees(kafka_has, known.unwrap_or(0), &pipeline.name)?;
    let site = Site { process: parts.cluster.process, stored, kafka: Some((kafka, kafka_has)) };
    let sink_tasks = SinkTasks::start(config, site, runtime.handle(), &progress, control)?;
    tracing::info!(
        checkpoint = restored.as_ref().map_or(0, |restored| restored.epoch),
        replayed = recorded.len(),
        stored,
        kafka = kafka_has,
        workers = pipeline.workers * parts.cluster.processes(),
        "the dataflow starts"
    );
    let recovery = Recovery { checkpoints: checkpoints.clone(), restored: restored.map(Arc::new) };
    let mut watch = watch(config, &sink_tasks, &checkpoints);
    for gap in &lost {
        watch.lost(gap.place(&config.kafka), gap.gone());
    }
    let workers = Arc::new(Workers::new(pipeline.workers));
    let watched = Watched {
        progress: Arc::clone(&progress),
        workers: Arc::clone(&workers),
        sink_tasks: sink_tasks.clone(),
        watermarks: watermarks.clone(),
        control: Arc::clone(control),
        source_silence: Duration::from_secs(config.operations.source_seconds),
    };
    let late = watch.late();
    let mut minter = minter(config, (log, recorded), &recovery, watermarks, watch, &progress, control);
    minter.accept_loss = parts.accept_loss;
    let skips = Arc::new(Skips::read(&pipeline.state)?);
    if !skips.is_empty() {
        tracing::warn!(records = skips.len(), "records are passed over, as `nuanliu skip` has said");
    }
    let share = dataflow::Parts {
        config: config.clone(),
        codec,
        sink_tasks,
        control: Arc::clone(control),
        recovery,
        skips,
        late,
    };
    let sink_tasks = share.sink_tasks.clone();
    let limit = Duration::from_secs(config.operations.delivery_seconds);
    health::start(limit, Arc::clone(&progress), sink_tasks.clone(), Arc::clone(control))?;
    // The other processes do not see the frontiers; a supervisor restarts all of them when this one ends.
    watchdog::start(Duration::from_secs(config.operations.watchdog_seconds), watched)?;
    let worked = work(share, &parts.cluster, minter, &progress, &workers);
    if worked.is_ok() && !control.finished() {
        sink_tasks.settle(Duration::from_secs(pipeline.drain_seconds));
    }
    sink_tasks.stop();
    worked?;
    checkpoints.finish();
    control.finish();
    Ok(())
}

fn open_kafka(
    config: &Config,
    codec: &Codec,
    watermarks: &Watermarks,
) -> Result<(Kafka, Epoch), sinks::Error> {
    let partitions: Vec<_> = watermarks.now().iter().map(|mark| (mark.topic, mark.partition)).collect();
    let Config { kafka, pipeline, .. } = config;
    Kafka::open(kafka, &pipeline.name, codec.clone(), pipeline.publish_kpis, &partitions)
}

/// What the platform's conditions are told from.
fn watch(config: &Config, sink_tasks: &SinkTasks, checkpoints: &Checkpoints) -> HealthProbe {
    let (sink_tasks, checkpoints) = (sink_tasks.clone(), checkpoints.clone());
    HealthProbe::new(
        config.operations.clone(),
        config.pipeline.clock == ClockSource::Wall,
        Duration::from_millis(config.pipeline.epoch_ms),
        Arc::new(move || sink_tasks.conditions()),
        Arc::new(move || checkpoints.problem()),
        config.pipeline.state.clone(),
    )
}

fn minter(
    config: &Config,
    (log, recorded): (BindingLog, Vec<Binding>),
    recovery: &Recovery,
    watermarks: Watermarks,
    watch: HealthProbe,
    progress: &Arc<Progress>,
    control: &Arc<Control>,
) -> Minter {
    let pipeline = &config.pipeline;
    let restored = recovery.restored.as_deref();
    Minter {
        previous: restored.map(|restored| restored.binding.clone()),
        active: restored.map(|restored| restored.active.clone()).unwrap_or_default(),
        recorded: recorded.into(),
        log,
        watermarks,
        watch,
        kafka: config.kafka.clone(),
        limits: config.operations.clone(),
        accept_loss: false,
        pace: Pace {
            beat: Duration::from_millis(pipeline.epoch_ms),
            in_flight: pipeline.epochs_in_flight,
            group: pipeline.block_epochs,
            records_per_partition: pipeline.records_per_partition,
            records_per_epoch: pipeline.records_per_epoch,
        },
        control: Arc::clone(control),
        progress: Arc::clone(progress),
        checkpoints: recovery.checkpoints.clone(),
    }
}

/// Runs the workers; the first mints, and says how far the sinks have come.
fn work(
    parts: dataflow::Parts,
    cluster: &Cluster,
    minter: Minter,
    progress: &Arc<Progress>,
    seen: &Arc<Workers>,
) -> anyhow::Result<()> {
    let (config, control) = (parts.config.clone(), Arc::clone(&parts.control));
    let checkpoints = parts.recovery.checkpoints.clone();
    let (progress, seen) = (Arc::clone(progress), Arc::clone(seen));
    let (minter, threads) = (Mutex::new(Some(minter)), config.pipeline.workers);
    let build = move |worker: usize, scope: Scope<'_, Epoch>, reached: &Reached| {
        let first = worker == 0;
        let minter = first.then(|| minter.lock().unwrap_or_else(PoisonError::into_inner).take()).flatten();
        dataflow::build(scope, &parts, minter, &reached.delivered, &reached.stored)
    };
    workers::run(cluster, &config, &control, build, move |worker, reached| {
        seen.step(worker % threads);
        if worker == 0 {
            let delivered = first_open(&reached.delivered);
            progress.advance(delivered, first_open(&reached.stored));
            checkpoints.delivered(delivered);
        }
    })
}
