//! What every sink behind Kafka owes: a section of the configuration that can be checked and opened.
//!
//! Enters: the blocks of an epoch, once Kafka has committed it. Leaves: a call when they are durable. Guarantees: the
//! dataflow, the conditions, the watchdog and the end of the program find a sink by the list of the configuration, and
//! name none.

use std::{path::PathBuf, sync::Arc};

use schemas::Epoch;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};

use crate::{
    Block, Error, Sink,
    clickhouse::ClickHouse,
    lease::Lease,
    runner::{self, Status},
};

/// A sink behind Kafka, as its section of the configuration says.
///
/// ```
/// use sinks::{
///     Attach, Attached, Error, Placement, Terms,
///     attach::one_by_one,
///     memory::Memory,
///     runner::Status,
///     table::{Alarms, Table},
/// };
///
/// /// The section `[wall]`: a display that shows alarms.
/// struct Settings {
///     lines: usize,
/// }
///
/// impl Attach for Settings {
///     const NAME: &'static str = "wall";
///     const TABLES: &'static [&'static str] = &[Alarms::NAME];
///     const PLACEMENT: Placement = Placement::First;
///
///     fn validate(&self) -> Vec<String> {
///         (self.lines == 0).then(|| "lines: must be at least 1".to_owned()).into_iter().collect()
///     }
///
///     fn open(&self, terms: &Terms) -> Result<Attached, Error> {
///         let status = Status::new(Self::NAME);
///         let inlet = one_by_one(Memory::new(), status.clone(), terms);
///         Ok(Attached { inlet, statuses: vec![status] })
///     }
/// }
///
/// assert_eq!(Settings { lines: 0 }.validate(), ["lines: must be at least 1"]);
/// ```
pub trait Attach {
    /// The section's name; also that of the sink in logs, metrics and alarms.
    const NAME: &'static str;
    /// The tables whose blocks it takes; see [`crate::table`].
    const TABLES: &'static [&'static str];
    /// Which processes of a cluster it works in.
    const PLACEMENT: Placement;

    /// Checks what can be checked without a network or a disk; one line per problem, naming the key.
    fn validate(&self) -> Vec<String>;

    /// Opens it and starts what it works with.
    ///
    /// # Errors
    /// Why it cannot work.
    fn open(&self, terms: &Terms) -> Result<Attached, Error>;
}

/// Which processes of a cluster a sink works in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The first: it gets all blocks, an epoch after the other. After a restart it is offered those since the checkpoint.
    First,
    /// Each: a block goes to the process that holds its number. After a restart it is offered those since
    /// [`Terms::stored`].
    Each,
}

/// What a sink is opened with.
pub struct Terms {
    /// Where its tasks run.
    pub runtime: Handle,
    /// The name of the pipeline.
    pub pipeline: String,
    /// The directory of the pipeline's state.
    pub state: PathBuf,
    /// The place of this process in its cluster; 0 leads.
    pub process: usize,
    /// The last epoch that the sinks of [`Placement::Each`] have.
    pub stored: Epoch,
    /// The store, for the history of a sink's own.
    pub store: ClickHouse,
    /// Says whether this process may act where nothing turns away one that was replaced.
    pub lease: Arc<Lease>,
    /// Turned true when the program ends: what is under way is finished, what waits is left for the next start.
    pub stopping: watch::Receiver<bool>,
    /// Hears of what cannot go on.
    pub fail: Fail,
}

/// What to do with blocks that are durable.
pub type Done = Box<dyn FnOnce() + Send>;
/// What to do with an error that nothing but the operator can mend.
pub type Fail = Arc<dyn Fn(Error) + Send + Sync>;

/// A sink at work.
pub struct Attached {
    /// Where blocks are handed in.
    pub inlet: Arc<dyn Inlet>,
    /// What the operational alarms say of it.
    pub statuses: Vec<Status>,
}

/// Where blocks are handed in.
pub trait Inlet: Send + Sync {
    /// Takes the blocks of an epoch, later epochs after earlier ones; `done` is called when they are durable. Returns at
    /// once.
    fn put(&self, epoch: Epoch, blocks: Arc<Vec<Block>>, done: Done);

    /// Whether nothing more is to be waited for when the program ends.
    fn settled(&self) -> bool {
        true
    }

    /// How many inserts are left on disk for the next start.
    fn waiting(&self) -> u64 {
        0
    }
}

/// Epochs are written one after the other: what comes later replaces what came before.
pub fn one_by_one<S: Sink>(sink: S, status: Status, terms: &Terms) -> Arc<dyn Inlet> {
    let (inlet, mut deliveries) = mpsc::unbounded_channel::<(Arc<Vec<Block>>, Done)>();
    let (stopping, fail) = (terms.stopping.clone(), Arc::clone(&terms.fail));
    terms.runtime.spawn(async move {
        while let Some((blocks, done)) = deliveries.recv().await {
            match runner::write_until_durable(&sink, blocks, &status, stopping.clone()).await {
                Ok(()) => done(),
                // It stops: what is not written is offered again.
                Err(Error::Retry { .. }) => {}
                Err(error) => fail(error),
            }
        }
    });
    Arc::new(Queue(inlet))
}

struct Queue(mpsc::UnboundedSender<(Arc<Vec<Block>>, Done)>);

impl Inlet for Queue {
    fn put(&self, _epoch: Epoch, blocks: Arc<Vec<Block>>, done: Done) {
        // Fails only when the program is ending.
        let _ = self.0.send((blocks, done));
    }
}
