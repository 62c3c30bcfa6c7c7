//! Our side of the reference job, in a process of its own: the bench starts itself again for it.
//!
//! Enters: the arguments `reference-job BROKERS PREFIX WINDOW_S WORKERS STATE`. Leaves: one line of JSON on the standard
//! output, as the Flink side prints it. Guarantees: time and CPU are those of the whole process, with its start.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use pipeline::{
    checkpoint::{self, Checkpoints, Identity, Opened, Start},
    conditions::{HealthProbe, Limits},
    control::Control,
    flow::{
        bind::{Minter, Pace},
        saving::Recovery,
    },
    kafka::Watermarks,
    progress::Progress,
    telemetry,
};
use schemas::{Epoch, KafkaSettings};
use timely::dataflow::ProbeHandle;

use super::flow::{Parts, STATES, Totals, build};
use crate::probe;

/// The name of the sub-command.
pub const NAME: &str = "reference-job";

/// Epochs between two checkpoints: about ten seconds, as between Flink's. An epoch of this backlog takes some 50 ms.
const CHECKPOINT_EPOCHS: u64 = 200;

/// Runs the job to the end of its topic.
pub fn main(arguments: &[String]) {
    let begun = Instant::now();
    let [brokers, prefix, window, workers, state] = arguments else { panic!("{NAME}: {arguments:?}") };
    let settings = serde_json::json!({ "brokers": brokers, "prefix": prefix });
    let kafka: KafkaSettings = serde_json::from_value(settings).unwrap();
    let (state, workers) = (PathBuf::from(state), workers.parse().unwrap());
    telemetry::start_logging(telemetry::LogForm::Text, "warn");
    let control = Arc::new(Control::default());
    let watermarks = Watermarks::follow(kafka.clone(), "reference", Arc::clone(&control)).unwrap();
    let identity =
        Identity { pipeline: "reference".to_owned(), prefix: kafka.prefix.clone(), states: STATES };
    let settings = checkpoint::Settings { every_epochs: CHECKPOINT_EPOCHS, ..Default::default() };
    let opened = Checkpoints::open(&settings, identity, &state, Start::default(), &control).unwrap();
    let progress = Arc::new(Progress::open(&state, Some(opened.log.generation())).unwrap());
    let totals = Arc::new(Totals::default());
    let checkpoints = opened.checkpoints.clone();
    let (recovery, minter) = wire(opened, &kafka, &state, &watermarks, &progress, &control);
    let width = window.parse::<i64>().unwrap() * 1000;
    let parts = Parts { kafka, control: Arc::clone(&control), recovery, width, totals: Arc::clone(&totals) };
    run(parts, workers, minter, &watermarks, &progress);
    checkpoints.finish();
    print(&totals, begun);
    control.finish();
}

/// What the product's `run` opens, without sinks.
fn wire(
    opened: Opened,
    kafka: &KafkaSettings,
    state: &std::path::Path,
    watermarks: &Watermarks,
    progress: &Arc<Progress>,
    control: &Arc<Control>,
) -> (Recovery, Minter) {
    let Opened { checkpoints, log, recorded, restored } = opened;
    let (limits, problems) = (Limits::default(), checkpoints.clone());
    let problem = Arc::new(move || problems.problem());
    let settings = pipeline::config::PipelineSettings::default();
    let beat = Duration::from_millis(settings.epoch_ms);
    let watch = HealthProbe::new(limits.clone(), false, beat, Arc::new(Vec::new), problem, state.to_owned());
    let minter = Minter {
        previous: restored.as_ref().map(|restored| restored.binding.clone()),
        active: Vec::new(),
        recorded: recorded.into(),
        log,
        watermarks: watermarks.clone(),
        watch,
        kafka: kafka.clone(),
        limits,
        accept_loss: false,
        pace: Pace {
            beat,
            in_flight: settings.epochs_in_flight,
            group: settings.block_epochs,
            records_per_partition: settings.records_per_partition,
            records_per_epoch: settings.records_per_epoch,
        },
        control: Arc::clone(control),
        progress: Arc::clone(progress),
        checkpoints: checkpoints.clone(),
    };
    (Recovery { checkpoints, restored: restored.map(Arc::new) }, minter)
}

/// Runs the workers until everything that lies on the topic has been counted.
fn run(parts: Parts, workers: usize, minter: Minter, watermarks: &Watermarks, progress: &Arc<Progress>) {
    let ends = watermarks.now();
    let (minter, progress) = (Mutex::new(Some(minter)), Arc::clone(progress));
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let first = worker.index() == 0;
        let minter = first.then(|| minter.lock().unwrap().take()).flatten();
        let delivered = ProbeHandle::new();
        worker.dataflow(|scope| build(scope, &parts, minter, &delivered)).unwrap();
        while worker.has_dataflows() {
            worker.step_or_park(Some(Duration::from_millis(5)));
            if first {
                let epoch = first_open(&delivered);
                progress.advance(epoch, epoch);
                parts.recovery.checkpoints.delivered(epoch);
                let read = progress.positions();
                let is_read = |end: &pipeline::binding::Watermark| {
                    read.iter().any(|at| {
                        (at.topic, at.partition) == (end.topic, end.partition) && at.offset >= end.high
                    })
                };
                if ends.iter().all(is_read) {
                    parts.control.drain();
                }
            }
            assert!(!parts.control.finished(), "the job failed: {:?}", parts.control.failure());
        }
    })
    .unwrap();
    guards.join().into_iter().for_each(|outcome| outcome.unwrap());
}

fn first_open(probe: &ProbeHandle<Epoch>) -> Epoch {
    probe.with_frontier(|frontier| frontier.first().copied()).unwrap_or(Epoch::MAX)
}

fn print(totals: &Totals, begun: Instant) {
    let metrics = telemetry::metrics_text();
    let taken = |line: &str| line.strip_prefix("nuanliu_checkpoint_seconds_count ")?.parse::<u64>().ok();
    let seen = *totals.seen.lock().unwrap();
    let id = std::process::id();
    println!(
        "{}",
        serde_json::json!({
            "readings": seen.readings,
            "rows": totals.rows.load(Relaxed),
            "checksum": format!("{:016x}", totals.checksum.load(Relaxed)),
            "failed": seen.failed,
            "late": seen.late,
            "checkpoints": metrics.lines().find_map(taken).unwrap_or(0),
            "seconds": begun.elapsed().as_secs_f64(),
            "cpu_seconds": probe::cpu_seconds_of(id),
            "memory_mb": probe::memory_mb_of(id, "VmHWM"),
        })
    );
}
