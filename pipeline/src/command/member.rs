//! A process of a cluster that is not the first: it has workers and the sinks that work in each process, nothing else.
//!
//! Guarantees: it starts from the checkpoint that the first process has chosen, and ends when the dataflow does.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use schemas::{Epoch, avro::Codec};
use timely::dataflow::Scope;

use super::workers::{self, Reached};
use crate::{
    Error,
    checkpoint::{Identity, member},
    cluster::Cluster,
    conditions::LateReadings,
    config::Config,
    control::Control,
    dataflow,
    flow::saving::Recovery,
    progress::Progress,
    sink_tasks::{SinkTasks, Site},
    skips::Skips,
};

/// Runs the workers of this process until the dataflow ends.
///
/// # Errors
/// Why it could not start, or had to stop.
pub fn run(
    config: &Config,
    identity: Identity,
    cluster: &Cluster,
    codec: Codec,
    runtime: &tokio::runtime::Runtime,
    control: &Arc<Control>,
) -> anyhow::Result<()> {
    let pipeline = &config.pipeline;
    let progress = Arc::new(Progress::open(&pipeline.state, None)?);
    let site = Site { process: cluster.process, stored: progress.stored(), kafka: None };
    let sink_tasks = SinkTasks::start(config, site, runtime.handle(), &progress, control)?;
    tracing::info!(process = cluster.process, workers = pipeline.workers, "a member of a cluster starts");
    let share = Share {
        config: config.clone(),
        identity,
        process: cluster.process,
        codec,
        sink_tasks: sink_tasks.clone(),
        control: Arc::clone(control),
        recovery: Mutex::new(None),
    };
    // The first process decides when all is done; this one waits for it.
    let build = move |_: usize, scope: Scope<'_, Epoch>, reached: &Reached| {
        let parts = share.parts()?;
        dataflow::build(scope, &parts, None, &reached.delivered, &reached.stored)
    };
    let worked = workers::run(cluster, config, control, build, |_, _| {});
    if worked.is_ok() && !control.finished() {
        sink_tasks.settle(Duration::from_secs(pipeline.drain_seconds));
    }
    sink_tasks.stop();
    worked?;
    control.finish();
    Ok(())
}

/// What the workers of this process share.
struct Share {
    config: Config,
    identity: Identity,
    process: usize,
    codec: Codec,
    sink_tasks: SinkTasks,
    control: Arc<Control>,
    recovery: Mutex<Option<Recovery>>,
}

impl Share {
    /// What a worker needs; the first that asks reads the checkpoint.
    fn parts(&self) -> Result<dataflow::Parts, Error> {
        let Share { config, identity, process, codec, sink_tasks, control, recovery } = self;
        let mut recovery = recovery.lock().unwrap_or_else(PoisonError::into_inner);
        let recovery = match &mut *recovery {
            Some(recovery) => recovery.clone(),
            none => {
                let state = &config.pipeline.state;
                let joined = member::join(&config.checkpoint, identity, state, *process, control)?;
                let restored = joined.restored.map(Arc::new);
                none.insert(Recovery { checkpoints: joined.checkpoints, restored }).clone()
            }
        };
        Ok(dataflow::Parts {
            config: config.clone(),
            codec: codec.clone(),
            sink_tasks: sink_tasks.clone(),
            control: Arc::clone(control),
            recovery,
            skips: Arc::new(Skips::read(&config.pipeline.state)?),
            // The first process counts for all.
            late: LateReadings::default(),
        })
    }
}
