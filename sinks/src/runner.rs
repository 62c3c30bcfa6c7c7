//! Writing until it is durable: the one retry loop of all sinks.
//!
//! Enters: a sink and blocks. Leaves: `Ok` once the sink has acknowledged all of them. Guarantees: a sink that answers
//! [`Error::Retry`] is asked again for ever, ever more slowly, and shows as paused; nothing is skipped. Only
//! [`Error::Stop`], [`Error::Reject`] and the end of the program come back as errors, and none of them acknowledges.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, histogram_opts,
    register_histogram_vec, register_int_counter_vec, register_int_gauge_vec,
};
pub use schemas::BackOff;
use schemas::{Millis, metrics};
use tokio::sync::watch;

use crate::{Block, Error, Sink};

/// Whether a sink is paused, and why: what the operational alarm says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pause {
    /// True while the sink does not accept what it is given.
    pub paused: bool,
    /// Since when, in wall time.
    pub since: Option<Millis>,
    /// Failed attempts since then.
    pub attempts: u32,
    /// What it said last; kept after it has recovered.
    pub error: Option<String>,
}

/// The state of one sink, shared with whoever raises the operational alarm, and its metrics.
#[derive(Clone)]
pub struct Status {
    sink: &'static str,
    pause: Arc<Mutex<Pause>>,
    metrics: Metrics,
}

#[derive(Clone)]
struct Metrics {
    batches: IntCounter,
    rows: IntCounter,
    retries: IntCounter,
    pending: IntGauge,
    paused: IntGauge,
    seconds: Histogram,
}

metrics! {
    /// Blocks that are durable at a sink.
    BATCHES: IntCounterVec =
        register_int_counter_vec!("nuanliu_sink_batches_total", "Blocks acknowledged.", &["sink"]);

    /// Rows in them.
    ROWS: IntCounterVec = register_int_counter_vec!("nuanliu_sink_rows_total", "Rows acknowledged.", &["sink"]);

    /// Attempts that a sink did not accept.
    RETRIES: IntCounterVec =
        register_int_counter_vec!("nuanliu_sink_retries_total", "Failed attempts.", &["sink"]);

    /// Blocks, or for the exchange rows, that a sink is still to take.
    PENDING: IntGaugeVec =
        register_int_gauge_vec!("nuanliu_sink_pending", "Blocks not yet acknowledged.", &["sink"]);

    /// Whether a sink is paused.
    PAUSED: IntGaugeVec =
        register_int_gauge_vec!("nuanliu_sink_paused", "1 while the sink holds data.", &["sink"]);

    /// How long a sink takes, attempts that failed included.
    SECONDS: HistogramVec = register_histogram_vec!(histogram_opts!(
        "nuanliu_sink_write_seconds", "From the first attempt to the acknowledgement.",
        (0..16).map(|doublings| 0.001 * f64::from(1 << doublings)).collect()), &["sink"]);
}

impl Metrics {
    fn of(sink: &'static str) -> Self {
        Metrics {
            batches: BATCHES.with_label_values(&[sink]),
            rows: ROWS.with_label_values(&[sink]),
            retries: RETRIES.with_label_values(&[sink]),
            pending: PENDING.with_label_values(&[sink]),
            paused: PAUSED.with_label_values(&[sink]),
            seconds: SECONDS.with_label_values(&[sink]),
        }
    }
}

impl Status {
    /// The status of a sink that has not failed yet.
    #[must_use]
    pub fn new(sink: &'static str) -> Self {
        Status { sink, pause: Arc::default(), metrics: Metrics::of(sink) }
    }

    /// The sink's name.
    #[must_use]
    pub fn sink(&self) -> &'static str {
        self.sink
    }

    /// Whether the sink is paused now, and why.
    #[must_use]
    pub fn pause(&self) -> Pause {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes a failed attempt: the sink holds data from now on.
    pub fn failed(&self, error: &str) {
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        if !pause.paused {
            pause.since = Some(jiff::Timestamp::now().as_millisecond());
            pause.attempts = 0;
            tracing::error!(
                sink = self.sink,
                error,
                "sink does not accept data: holding it and trying again"
            );
        }
        pause.paused = true;
        pause.attempts += 1;
        pause.error = Some(error.to_owned());
        self.metrics.retries.inc();
        self.metrics.paused.set(1);
    }

    /// Notes that the sink accepts data.
    pub fn succeeded(&self) {
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        if pause.paused {
            tracing::info!(sink = self.sink, attempts = pause.attempts, "sink accepts data again");
        }
        pause.paused = false;
        pause.since = None;
        pause.attempts = 0;
        self.metrics.paused.set(0);
    }

    /// Counts blocks that are durable.
    pub(crate) fn acknowledged(&self, blocks: u64, rows: u64, took: Duration) {
        self.metrics.batches.inc_by(blocks);
        self.metrics.rows.inc_by(rows);
        self.metrics.seconds.observe(took.as_secs_f64());
    }

    /// Sets how much is waiting, for sinks that deliver on their own.
    pub fn pending(&self, blocks: usize) {
        self.metrics.pending.set(i64::try_from(blocks).unwrap_or(i64::MAX));
    }
}

/// Writes blocks until the sink has acknowledged them; `stop` turning true ends the waiting.
///
/// # Errors
/// [`Error::Stop`] and [`Error::Reject`] as the sink gave them; [`Error::Retry`] only when `stop` turned true before
/// the sink accepted the blocks. After an error the blocks are not acknowledged.
pub async fn write_until_durable<S: Sink>(
    sink: &S,
    blocks: Arc<Vec<Block>>,
    status: &Status,
    stop: watch::Receiver<bool>,
) -> Result<(), Error> {
    write_with(sink, blocks, status, stop, BackOff::default(), tokio::time::sleep).await
}

/// As [`write_until_durable`], with the waits and the way of waiting given by the caller.
///
/// # Errors
/// As [`write_until_durable`].
pub async fn write_with<S: Sink, W: Future<Output = ()>>(
    sink: &S,
    blocks: Arc<Vec<Block>>,
    status: &Status,
    mut stop: watch::Receiver<bool>,
    back_off: BackOff,
    sleep: impl Fn(Duration) -> W,
) -> Result<(), Error> {
    let pending = Pending::new(&status.metrics.pending, blocks.len());
    let began = Instant::now();
    let mut attempt = 0;
    loop {
        match sink.write(Arc::clone(&blocks)).await {
            Ok(()) => break,
            Err(error @ Error::Retry { .. }) => {
                attempt += 1;
                status.failed(&error.to_string());
                if stopped_while(&mut stop, sleep(back_off.wait(attempt))).await {
                    return Err(error);
                }
            }
            Err(error) => {
                status.failed(&error.to_string());
                return Err(error);
            }
        }
    }
    drop(pending);
    status.succeeded();
    status.metrics.batches.inc_by(blocks.len() as u64);
    status.metrics.rows.inc_by(blocks.iter().map(|block| block.rows.len() as u64).sum());
    status.metrics.seconds.observe(began.elapsed().as_secs_f64());
    Ok(())
}

/// Waits, and says whether the program is to stop. A stopper that is gone counts as one that never stops.
pub(crate) async fn stopped_while(stop: &mut watch::Receiver<bool>, wait: impl Future<Output = ()>) -> bool {
    let stopped = async {
        if stop.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        () = stopped => true,
        () = wait => false,
    }
}

/// Counts blocks as pending while it lives.
struct Pending<'a>(&'a IntGauge, i64);

impl<'a> Pending<'a> {
    fn new(gauge: &'a IntGauge, blocks: usize) -> Self {
        let blocks = i64::try_from(blocks).unwrap_or(i64::MAX);
        gauge.add(blocks);
        Pending(gauge, blocks)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.sub(self.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Rows,
        memory::{Failure, Memory},
    };

    fn blocks() -> Arc<Vec<Block>> {
        Arc::new(vec![Block { epoch: 7, bucket: 0, rows: Rows::Kpis(Vec::new()) }])
    }

    /// Runs the loop without real waits and returns the waits it asked for.
    async fn run(sink: &Memory, status: &Status) -> (Result<(), Error>, Vec<Duration>) {
        let waits = Mutex::new(Vec::new());
        let (_keep, stop) = watch::channel(false);
        let back_off = BackOff { first: Duration::from_secs(1), cap: Duration::from_secs(5) };
        let result = write_with(sink, blocks(), status, stop, back_off, |wait| {
            waits.lock().unwrap().push(wait);
            std::future::ready(())
        })
        .await;
        (result, waits.into_inner().unwrap())
    }

    #[tokio::test]
    async fn waits_longer_each_time_up_to_the_cap_and_then_succeeds() {
        let sink = Memory::failing(vec![Failure::Retry; 5]);
        let status = Status::new("waits");
        let (result, waits) = run(&sink, &status).await;
        assert!(result.is_ok());
        assert_eq!(waits.iter().map(Duration::as_secs).collect::<Vec<_>>(), [1, 2, 4, 5, 5]);
        assert_eq!(sink.blocks().len(), 1);
        assert_eq!(status.metrics.retries.get(), 5);
        assert_eq!((status.metrics.batches.get(), status.metrics.pending.get()), (1, 0));
        let pause = status.pause();
        assert!(!pause.paused && pause.error.is_some_and(|error| error.contains("memory is not writable")));
    }

    #[rstest::rstest]
    #[case(Failure::Stop)]
    #[case(Failure::Reject)]
    #[tokio::test]
    async fn hopeless_answers_come_back_at_once(#[case] failure: Failure) {
        let sink = Memory::failing(vec![failure]);
        let status = Status::new("hopeless");
        let (result, waits) = run(&sink, &status).await;
        assert!(result.is_err() && waits.is_empty());
        assert!(status.pause().paused && status.pause().since.is_some());
        assert_eq!(status.metrics.pending.get(), 0);
    }

    #[tokio::test]
    async fn the_end_of_the_program_ends_the_waiting_without_acknowledging() {
        let sink = Memory::failing(vec![Failure::Retry; 1000]);
        let status = Status::new("ends");
        let (sender, stop) = watch::channel(false);
        let write = write_with(&sink, blocks(), &status, stop, BackOff::default(), |_| async {
            sender.send(true).unwrap();
            std::future::pending::<()>().await;
        });
        assert!(matches!(write.await, Err(Error::Retry { .. })));
        assert!(sink.blocks().is_empty());
    }
}
