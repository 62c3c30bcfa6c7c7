//! `run`, `connect` and `all`: the long-running parts, until SIGTERM or a failure.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use clap::Args;
use schemas::{Epoch, avro::Codec};
use sinks::{clickhouse::ClickHouse, kafka::Kafka};
use timely::dataflow::ProbeHandle;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    Error,
    binding::{Binding, BindingLog},
    checkpoint::{Checkpoints, Identity, Opened, Start},
    config::Config,
    control::Control,
    dataflow,
    flow::bind::{Minter, Pace},
    kafka::Watermarks,
    outlets::{Outlets, Sinks},
    progress::Progress,
};

/// Which parts run in this process.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// The dataflow.
    pub dataflow: bool,
    /// The connectors.
    pub connectors: bool,
    /// From where the dataflow goes on.
    pub start: Start,
}

/// From where the dataflow goes on.
#[derive(Clone, Copy, Debug, Args)]
pub struct Arguments {
    /// Go back to the checkpoint of this epoch, instead of the newest (see `nuanliu checkpoints list`). What was read
    /// after it is read again from the same offsets; later checkpoints are not used any more.
    #[arg(long, value_name = "EPOCH")]
    from: Option<Epoch>,
    /// Go on although another process holds the state, because it hangs. It can write nothing any more.
    #[arg(long)]
    take_over: bool,
}

impl Arguments {
    /// The same as a value.
    #[must_use]
    pub fn start(self) -> Start {
        Start { from: self.from, take_over: self.take_over }
    }
}

/// Runs until asked to stop.
///
/// # Errors
/// Why it could not start, or had to stop.
pub fn run(config: &Config, parts: Parts) -> anyhow::Result<()> {
    let control = Arc::new(Control::default());
    let runtime = super::runtime()?;
    runtime.spawn(stop_on_signal(Arc::clone(&control)));
    run_until_stopped(config, parts, &runtime, &control)
}

/// Runs until `control` says stop; the demo calls this in a thread of its own.
///
/// # Errors
/// Why it could not start, or had to stop.
pub fn run_until_stopped(
    config: &Config,
    parts: Parts,
    runtime: &tokio::runtime::Runtime,
    control: &Arc<Control>,
) -> anyhow::Result<()> {
    if let Some(listen) = &config.telemetry.listen {
        super::metrics::serve(listen, runtime)?;
    }
    let codec = runtime.block_on(connectors::publish::codec(&config.kafka))?;
    let connecting = parts
        .connectors
        .then(|| runtime.spawn(super::connect::serve(config.clone(), codec.clone(), Arc::clone(control))));
    if parts.dataflow {
        run_dataflow(config, parts.start, codec, runtime, control)?;
    }
    if let Some(connecting) = connecting {
        if parts.dataflow {
            control.drain();
        }
        runtime.block_on(connecting)??;
    }
    control.failure().map_or(Ok(()), |error| Err(error.into()))
}

async fn stop_on_signal(control: Arc<Control>) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return tracing::warn!("signals are not handled: stop with SIGKILL");
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: what was read is finished first");
    control.drain();
}

/// The states that checkpoints hold.
const STATES: &[&str] = &[];

fn run_dataflow(
    config: &Config,
    start: Start,
    codec: Codec,
    runtime: &tokio::runtime::Runtime,
    control: &Arc<Control>,
) -> anyhow::Result<()> {
    let pipeline = &config.pipeline;
    let identity =
        Identity { pipeline: pipeline.name.clone(), prefix: config.kafka.prefix.clone(), states: STATES };
    let Opened { checkpoints, log, recorded, .. } =
        Checkpoints::open(&config.checkpoint, identity, &pipeline.state, start, control)?;
    let progress = Arc::new(Progress::open(&pipeline.state)?);
    let watermarks = Watermarks::follow(config.kafka.clone(), &pipeline.name, Arc::clone(control))?;
    let sinks = open_sinks(config, &codec, &progress, &watermarks)?;
    let outlets = Outlets::start(sinks, runtime.handle(), &progress, control)?;
    tracing::info!(
        replayed = recorded.len(),
        clickhouse = outlets.clickhouse_has,
        kafka = outlets.kafka_has,
        workers = pipeline.workers,
        "the dataflow starts"
    );
    let minter = minter(config, log, recorded, watermarks, &outlets, &progress, control);
    let parts = dataflow::Parts { config: config.clone(), codec, outlets, control: Arc::clone(control) };
    let outlets = parts.outlets.clone();
    let worked = work(parts, minter, &progress);
    outlets.stop();
    worked?;
    checkpoints.finish();
    control.finish();
    Ok(())
}

fn open_sinks(
    config: &Config,
    codec: &Codec,
    progress: &Progress,
    watermarks: &Watermarks,
) -> anyhow::Result<Sinks> {
    let partitions: Vec<_> = watermarks.now().iter().map(|mark| (mark.topic, mark.partition)).collect();
    let pipeline = &config.pipeline;
    let kafka =
        Kafka::open(&config.kafka, &pipeline.name, codec.clone(), pipeline.publish_kpis, &partitions)?;
    let clickhouse = ClickHouse::new(&config.clickhouse)?;
    Ok(Sinks { clickhouse: (clickhouse, progress.stored()), kafka, exchange: config.exchange.clone() })
}

fn minter(
    config: &Config,
    log: BindingLog,
    recorded: Vec<Binding>,
    watermarks: Watermarks,
    outlets: &Outlets,
    progress: &Arc<Progress>,
    control: &Arc<Control>,
) -> Minter {
    let pipeline = &config.pipeline;
    let outlets = outlets.clone();
    Minter {
        recorded: recorded.into(),
        log,
        watermarks,
        conditions: Arc::new(move || outlets.conditions()),
        pace: Pace {
            beat: Duration::from_millis(pipeline.epoch_ms),
            in_flight: pipeline.epochs_in_flight,
            group: pipeline.block_epochs,
            records_per_partition: pipeline.records_per_partition,
        },
        control: Arc::clone(control),
        progress: Arc::clone(progress),
    }
}

/// Runs the workers until the dataflow has ended or has to.
fn work(parts: dataflow::Parts, minter: Minter, progress: &Arc<Progress>) -> anyhow::Result<()> {
    let control = Arc::clone(&parts.control);
    let workers = parts.config.pipeline.workers;
    let patience = Duration::from_secs(parts.config.pipeline.drain_seconds);
    let minter = Mutex::new(Some(minter));
    let progress = Arc::clone(progress);
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let first = worker.index() == 0;
        let minter = first.then(|| minter.lock().unwrap_or_else(PoisonError::into_inner).take()).flatten();
        let (delivered, stored) = (ProbeHandle::new(), ProbeHandle::new());
        worker.dataflow(|scope| dataflow::build(scope, &parts, minter, &delivered, &stored));
        while worker.has_dataflows() && !control.finished() {
            worker.step_or_park(Some(Duration::from_millis(5)));
            if first {
                progress.advance(first_open(&delivered), first_open(&stored));
                if control.draining_for() > patience {
                    control.fail(Error::Undrained(patience));
                }
            }
        }
    })
    .map_err(|error| Error::State { path: "timely workers".into(), error: std::io::Error::other(error) })?;
    for outcome in guards.join() {
        outcome.map_err(|error| anyhow::anyhow!("a worker ended early: {error}"))?;
    }
    Ok(())
}

/// The first epoch that may still change behind a probe; when all is done, one past everything.
fn first_open(probe: &ProbeHandle<Epoch>) -> Epoch {
    probe.with_frontier(|frontier| frontier.first().copied()).unwrap_or(Epoch::MAX)
}
