//! The sinks at work: tasks and threads that take deliveries and acknowledge them when they are durable.
//!
//! Enters: deliveries from the workers. Leaves: acknowledgements, and the condition of every sink for the minter.
//! Guarantees: each sink goes at its own speed; one that fails is retried and reported, never skipped.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use schemas::Epoch;
use sinks::{
    Block, Sink,
    clickhouse::ClickHouse,
    disk::spool::Spool,
    exchange,
    kafka::Kafka,
    lease::Lease,
    outbox::{self, Outbox},
    runner::{self, BackOff, Status},
};
use tokio::sync::{mpsc as channel, watch};

use crate::{control::Control, flow::deliver::Delivery, progress::Progress};

/// After so long without anything to say Kafka is asked whether it still accepts us.
const SILENCE: Duration = Duration::from_secs(1);
/// How often a stop looks whether the spool is empty.
const LOOK: Duration = Duration::from_millis(20);

/// Where the workers send their deliveries.
#[derive(Clone)]
pub struct SinkTasks {
    /// To ClickHouse, at once or through the spool.
    pub clickhouse: Outbox,
    /// To Kafka, in the process that writes there.
    pub kafka: Option<mpsc::Sender<Delivery>>,
    /// To the provincial platform's ledger.
    pub exchange: Option<channel::UnboundedSender<Delivery>>,
    /// The last epoch that ClickHouse or the spool has.
    pub clickhouse_has: Epoch,
    /// The last epoch that Kafka has.
    pub kafka_has: Epoch,
    statuses: Vec<Status>,
    /// Turned true when deliveries to the provincial platform shall end.
    stop: Arc<watch::Sender<bool>>,
}

/// The sinks before they are at work.
pub struct Sinks {
    /// ClickHouse, and the last epoch that it or the spool has.
    pub clickhouse: (ClickHouse, Epoch),
    /// Where blocks for ClickHouse wait, and whether new ones may.
    pub spool: (Spool, bool),
    /// Kafka, and the last epoch it has. In a cluster only the first process writes there.
    pub kafka: Option<(Kafka, Epoch)>,
    /// The settings of the provincial platform, where there is one, and the name of the pipeline.
    pub exchange: Option<(exchange::Settings, String)>,
}

impl SinkTasks {
    /// Sets the sinks to work.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(
        sinks: Sinks,
        runtime: &tokio::runtime::Handle,
        progress: &Arc<Progress>,
        control: &Arc<Control>,
    ) -> anyhow::Result<SinkTasks> {
        let (stop, stopping) = watch::channel(false);
        let mut statuses = Vec::new();
        let mut status = |name: &'static str| {
            let status = Status::new(name);
            statuses.push(status.clone());
            status
        };
        let (clickhouse, clickhouse_has) = sinks.clickhouse;
        // Opening Kafka turned away whoever was there before.
        let lease = Arc::new(Lease::after(Instant::now()));
        let exchange = match &sinks.exchange {
            Some((settings, pipeline)) => {
                let status = status("exchange");
                let (sink, delivery) = exchange::open(
                    settings,
                    status.clone(),
                    Some(clickhouse.clone()),
                    Some(Arc::clone(&lease)),
                )?;
                runtime.spawn(deliver(delivery, stopping.clone(), Arc::clone(control)));
                let sink = sink.of_pipeline(pipeline);
                Some(start_sink(sink, status, runtime, stopping.clone(), Arc::clone(control)))
            }
            None => None,
        };
        let control_of_store = Arc::clone(control);
        let settings = outbox::Settings {
            spool: sinks.spool.0,
            spooling: sinks.spool.1,
            status: status("clickhouse"),
            spool_status: status("spool"),
            stop: stopping,
            fail: Arc::new(move |error| control_of_store.fail(error.into())),
        };
        let clickhouse = Outbox::start(clickhouse, settings, runtime)?;
        let (kafka, kafka_has) = match sinks.kafka {
            Some((kafka, last)) => {
                let said =
                    KafkaSinkThread { status: status("kafka"), lease, progress: Arc::clone(progress), last };
                (Some(start_kafka(kafka, said, Arc::clone(control))?), last)
            }
            None => (None, 0),
        };
        let stop = Arc::new(stop);
        Ok(SinkTasks { clickhouse, kafka, exchange, clickhouse_has, kafka_has, statuses, stop })
    }

    /// How workers hand blocks to ClickHouse.
    pub fn to_clickhouse(&self) -> impl Fn(Delivery) + use<> {
        let outbox = self.clickhouse.clone();
        move |mut delivery| {
            // What acknowledges must not keep the rows in memory.
            let blocks = std::mem::take(&mut delivery.blocks);
            outbox.put(blocks, Box::new(move || delivery.acknowledge()));
        }
    }

    /// How workers hand blocks to the provincial platform; where there is none, blocks are done with at once.
    pub fn to_exchange(&self) -> impl Fn(Delivery) + use<> {
        let sender = self.exchange.clone();
        move |delivery| match &sender {
            Some(sender) => drop(sender.send(delivery)),
            None => delivery.acknowledge(),
        }
    }

    /// How workers hand blocks to Kafka.
    pub fn to_kafka(&self) -> impl Fn(Delivery) + use<> {
        let kafka = self.kafka.clone();
        move |delivery| match &kafka {
            // Fails only when the thread has ended, and then the pipeline is stopping.
            Some(kafka) => drop(kafka.send(delivery)),
            None => unreachable!("all blocks for Kafka go to the first worker"),
        }
    }

    /// Waits until the spool is empty, unless ClickHouse is away or it takes longer than `patience`.
    pub fn settle(&self, patience: Duration) {
        let began = Instant::now();
        while !self.clickhouse.settled() && began.elapsed() < patience {
            thread::sleep(LOOK);
        }
        let waiting = self.clickhouse.waiting();
        if waiting > 0 {
            tracing::warn!(
                inserts = waiting,
                "some rows wait on disk for ClickHouse: the next start sends them"
            );
        }
    }

    /// Ends the deliveries to the provincial platform and from the spool; what is owed stays in the ledger, what waits
    /// stays on disk.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// The condition of every sink: its name, and what is wrong with it.
    #[must_use]
    pub fn conditions(&self) -> Vec<(String, Option<String>)> {
        let condition = |status: &Status| {
            let pause = status.pause();
            (status.sink().to_owned(), pause.paused.then(|| pause.error.unwrap_or_default()))
        };
        self.statuses.iter().map(condition).collect()
    }
}

async fn deliver(delivery: exchange::Delivery, stopping: watch::Receiver<bool>, control: Arc<Control>) {
    if let Err(error) = delivery.run(stopping).await {
        control.fail(error.into());
    }
}

/// Deliveries are written one after the other: what comes later replaces what came before.
fn start_sink<S: Sink>(
    sink: S,
    status: Status,
    runtime: &tokio::runtime::Handle,
    stopping: watch::Receiver<bool>,
    control: Arc<Control>,
) -> channel::UnboundedSender<Delivery> {
    let (sender, mut deliveries) = channel::unbounded_channel::<Delivery>();
    runtime.spawn(async move {
        while let Some(delivery) = deliveries.recv().await {
            let blocks = Arc::clone(&delivery.blocks);
            match runner::write_until_durable(&sink, blocks, &status, stopping.clone()).await {
                Ok(()) => delivery.acknowledge(),
                // It stops: what is not written is offered again.
                Err(sinks::Error::Retry { .. }) => {}
                Err(error) => control.fail(error.into()),
            }
        }
    });
    sender
}

/// What the thread of the Kafka sink keeps up to date.
struct KafkaSinkThread {
    status: Status,
    lease: Arc<Lease>,
    progress: Arc<Progress>,
    /// The last epoch that is committed.
    last: Epoch,
}

/// Kafka's transactions are one after the other and its client blocks, so it has a thread.
fn start_kafka(
    mut kafka: Kafka,
    mut said: KafkaSinkThread,
    control: Arc<Control>,
) -> std::io::Result<mpsc::Sender<Delivery>> {
    let (sender, deliveries) = mpsc::channel::<Delivery>();
    thread::Builder::new().name("kafka sink".to_owned()).spawn(move || {
        loop {
            let done = match deliveries.recv_timeout(SILENCE) {
                Ok(delivery) => {
                    said.last = delivery.epoch;
                    let done = said.write(&mut kafka, &delivery.blocks, &control);
                    if done {
                        delivery.acknowledge();
                    }
                    done
                }
                Err(mpsc::RecvTimeoutError::Timeout) => said.write(&mut kafka, &[], &control),
                Err(mpsc::RecvTimeoutError::Disconnected) => false,
            };
            if !done {
                return;
            }
        }
    })?;
    Ok(sender)
}

impl KafkaSinkThread {
    /// Writes until it is committed; false when the pipeline ends before.
    fn write(&self, kafka: &mut Kafka, blocks: &[Block], control: &Control) -> bool {
        let positions = self.progress.positions();
        if positions.is_empty() {
            // Nothing is bound yet, so nothing can be said.
            return true;
        }
        let mut attempt = 0;
        loop {
            let begun = Instant::now();
            match kafka.write(self.last, blocks, &positions) {
                Ok(()) => {
                    self.lease.renew(begun);
                    self.status.succeeded();
                    return true;
                }
                Err(_) if control.finished() => return false,
                Err(error @ sinks::Error::Retry { .. }) => {
                    self.status.failed(&error.to_string());
                    attempt += 1;
                    thread::sleep(BackOff::default().wait(attempt));
                }
                Err(error) => {
                    control.fail(error.into());
                    return false;
                }
            }
        }
    }
}
