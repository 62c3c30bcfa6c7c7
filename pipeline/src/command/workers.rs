//! The workers of this process: each builds its share of the dataflow and steps it until it has ended or has to.
//!
//! Enters: how to build a share, and what to do after each step. Leaves: nothing; failures go to [`Control`].
//! Guarantees: ends when the dataflow has ended, when something has failed, or when draining takes too long.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use schemas::Epoch;
use timely::dataflow::{ProbeHandle, Scope};

use crate::{Error, cluster::Cluster, config::Config, control::Control};

/// How long a worker sleeps when there is nothing to do.
const PARK: Duration = Duration::from_millis(5);

/// How far the sinks have come, as one worker sees it.
pub struct Reached {
    /// Follows what every sink has acknowledged.
    pub delivered: ProbeHandle<Epoch>,
    /// Follows what ClickHouse has acknowledged.
    pub stored: ProbeHandle<Epoch>,
}

/// Runs the workers of this process. `build` gives the share of a worker of this index, `stepped` is told after each
/// step.
///
/// # Errors
/// When the workers cannot start, or one of them ended early.
pub fn run(
    cluster: &Cluster,
    config: &Config,
    control: &Arc<Control>,
    build: impl Fn(usize, Scope<'_, Epoch>, &Reached) -> Result<(), Error> + Send + Sync + 'static,
    stepped: impl Fn(usize, &Reached) + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let patience = Duration::from_secs(config.pipeline.drain_seconds);
    let (connected, control) = (cluster.await_others(), Arc::clone(control));
    let guards = timely::execute(cluster.timely(config.pipeline.workers), move |worker| {
        connected.store(true, Ordering::Relaxed);
        let index = worker.index();
        let reached = Reached { delivered: ProbeHandle::new(), stored: ProbeHandle::new() };
        if let Err(error) = worker.dataflow(|scope| build(index, scope, &reached)) {
            control.fail(error);
        }
        while worker.has_dataflows() && !control.finished() {
            worker.step_or_park(Some(PARK));
            stepped(index, &reached);
            if control.draining_for() > patience {
                control.fail(Error::Undrained(patience));
            }
        }
        // What has failed never finishes by itself, and timely waits for it.
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
    })
    .map_err(|error| Error::Cluster(format!("the workers do not start: {error}")))?;
    for outcome in guards.join() {
        outcome.map_err(|error| anyhow::anyhow!("a worker ended early: {error}"))?;
    }
    Ok(())
}

/// The first epoch that may still change behind a probe; when all is done, one past everything.
pub fn first_open(probe: &ProbeHandle<Epoch>) -> Epoch {
    probe.with_frontier(|frontier| frontier.first().copied()).unwrap_or(Epoch::MAX)
}
