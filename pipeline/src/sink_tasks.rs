//! The sinks at work: tasks and threads that take deliveries and acknowledge them when they are durable.
//!
//! Enters: deliveries from the workers. Leaves: acknowledgements, and the condition of every sink for the minter.
//! Guarantees: each sink goes at its own speed; one that fails is retried and reported, never skipped.

mod kafka;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use schemas::Epoch;
use sinks::{
    Attach, Attached, Inlet, Placement, Terms, clickhouse::ClickHouse, kafka::Kafka, lease::Lease,
    runner::Status,
};
use tokio::sync::watch;

use crate::{config::Config, control::Control, flow::deliver::Delivery, progress::Progress};

/// How often a stop looks whether the sinks have settled.
const LOOK: Duration = Duration::from_millis(20);

/// Where the workers send their deliveries.
#[derive(Clone)]
pub struct SinkTasks {
    /// Kafka; in a cluster only the first process writes there.
    kafka: Option<Arc<dyn Inlet>>,
    /// The last epoch that Kafka has.
    pub kafka_has: Epoch,
    /// The others, which get an epoch once Kafka has it.
    pub behind: Arc<[SinkTask]>,
    /// The last epoch that the sinks have which work in each process.
    pub stored: Epoch,
    statuses: Vec<Status>,
    /// Turned true when the sinks shall end.
    stop: Arc<watch::Sender<bool>>,
}

/// A sink behind Kafka. It has a place in the dataflow also where nobody has configured it, so that processes of a cluster
/// agree on what the dataflow is.
#[derive(Clone)]
pub struct SinkTask {
    /// Its name.
    pub name: &'static str,
    /// The tables whose blocks it takes.
    pub tables: &'static [&'static str],
    /// Which processes it works in.
    pub placement: Placement,
    /// Where it takes them, if it works in this process.
    inlet: Option<Arc<dyn Inlet>>,
}

/// A sink of the configuration.
pub struct Configured<'c> {
    task: SinkTask,
    section: Option<&'c dyn Section>,
}

/// What of [`Attach`] does not depend on the type.
trait Section {
    fn problems(&self) -> Vec<String>;
    fn open(&self, terms: &Terms) -> Result<Attached, sinks::Error>;
}

impl<S: Attach> Section for S {
    fn problems(&self) -> Vec<String> {
        let section = self.validate().into_iter();
        section.map(|problem| format!("{}.{problem}", S::NAME)).collect()
    }

    fn open(&self, terms: &Terms) -> Result<Attached, sinks::Error> {
        Attach::open(self, terms)
    }
}

impl<'c> Configured<'c> {
    /// The sink of a section, if the section is there.
    pub fn by<S: Attach>(section: Option<&'c S>) -> Configured<'c> {
        let task = SinkTask { name: S::NAME, tables: S::TABLES, placement: S::PLACEMENT, inlet: None };
        Configured { task, section: section.map(|section| section as &dyn Section) }
    }

    /// What is wrong with the section; one line per problem, naming the key.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        self.section.map(Section::problems).unwrap_or_default()
    }
}

/// The place of a process among those of its pipeline.
pub struct Site {
    /// Its number; 0 leads.
    pub process: usize,
    /// The last epoch that the sinks have which work in each process.
    pub stored: Epoch,
    /// Kafka and the last epoch it has, in the process that writes there.
    pub kafka: Option<(Kafka, Epoch)>,
}

impl SinkTasks {
    /// Opens the sinks of the configuration and sets them to work.
    ///
    /// # Errors
    /// When one cannot be opened, or a thread cannot be started.
    pub fn start(
        config: &Config,
        site: Site,
        runtime: &tokio::runtime::Handle,
        progress: &Arc<Progress>,
        control: &Arc<Control>,
    ) -> anyhow::Result<SinkTasks> {
        let (stop, stopping) = watch::channel(false);
        let failing = Arc::clone(control);
        let terms = Terms {
            runtime: runtime.clone(),
            pipeline: config.pipeline.name.clone(),
            state: config.pipeline.state.clone(),
            process: site.process,
            stored: site.stored,
            store: ClickHouse::new(&config.clickhouse)?,
            // Opening Kafka turned away whoever was there before.
            lease: Arc::new(Lease::after(Instant::now())),
            stopping,
            fail: Arc::new(move |error| failing.fail(error.into())),
        };
        let (mut statuses, mut behind) = (Vec::new(), Vec::new());
        for Configured { mut task, section } in config.sinks() {
            let works = task.placement == Placement::Each || site.process == 0;
            if let Some(section) = section.filter(|_| works) {
                let attached = section.open(&terms)?;
                statuses.extend(attached.statuses);
                task.inlet = Some(attached.inlet);
            }
            behind.push(task);
        }
        let (kafka, kafka_has) = match site.kafka {
            Some((kafka, last)) => {
                let status = Status::new(sinks::kafka::NAME);
                statuses.push(status.clone());
                let thread =
                    kafka::Thread { kafka, status, lease: terms.lease, progress: Arc::clone(progress), last };
                (Some(thread.start(Arc::clone(control))?), last)
            }
            None => (None, 0),
        };
        let (behind, stop) = (behind.into(), Arc::new(stop));
        Ok(SinkTasks { kafka, kafka_has, behind, stored: terms.stored, statuses, stop })
    }

    /// How workers hand blocks to Kafka.
    pub fn to_kafka(&self) -> impl Fn(Delivery) + use<> {
        let kafka = self.kafka.clone();
        move |delivery| match &kafka {
            Some(kafka) => hand_in(kafka.as_ref(), delivery),
            None => unreachable!("all blocks for Kafka go to the first worker"),
        }
    }

    /// Waits until the sinks have settled, unless it takes longer than `patience`.
    pub fn settle(&self, patience: Duration) {
        let began = Instant::now();
        let inlets = || self.behind.iter().filter_map(|sink| sink.inlet.as_ref());
        while !inlets().all(|inlet| inlet.settled()) && began.elapsed() < patience {
            thread::sleep(LOOK);
        }
        for (sink, inlet) in self.behind.iter().filter_map(|sink| Some((sink, sink.inlet.as_ref()?))) {
            let inserts = inlet.waiting();
            if inserts > 0 {
                let sink = sink.name;
                tracing::warn!(inserts, sink, "some rows wait on disk for a sink: the next start sends them");
            }
        }
    }

    /// Ends what sinks do on their own; what they owe and what waits stays on disk.
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

impl SinkTask {
    /// How workers hand blocks to it; where it does not work, blocks are done with at once.
    pub fn deliveries(&self) -> impl Fn(Delivery) + use<> {
        let inlet = self.inlet.clone();
        move |delivery| match &inlet {
            Some(inlet) => hand_in(inlet.as_ref(), delivery),
            None => delivery.acknowledge(),
        }
    }
}

fn hand_in(inlet: &dyn Inlet, mut delivery: Delivery) {
    // What acknowledges must not keep the rows in memory.
    let blocks = std::mem::take(&mut delivery.blocks);
    inlet.put(delivery.epoch, blocks, Box::new(move || delivery.acknowledge()));
}
