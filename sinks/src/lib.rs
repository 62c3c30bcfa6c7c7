//! What goes out: blocks of rows, each written exactly once or retried until it is.
//!
//! Enters: [`Block`]s, which are a pure function of (checkpoint, binding, Kafka). Leaves: acknowledgements.
//! Guarantees: a block is acknowledged only after its destination made it durable; writing it again changes nothing.

pub mod attach;
pub mod clickhouse;
pub mod compliance;
pub mod disk;
pub mod exchange;
pub mod failpoint;
pub mod kafka;
pub mod lease;
pub mod memory;
pub mod outbox;
pub mod runner;
pub mod table;

use std::{fmt, future::Future, sync::Arc};

pub use attach::{Attach, Attached, Inlet, Placement, Terms};
use schemas::Epoch;
pub use table::{Measured, ObjectRun, ReadingColumns, Rows};

/// What can go wrong in a sink, by what must be done about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The destination does not answer or refuses for now (timeouts, 5xx, 401/403): hold the data, try again.
    #[error("{sink} is not writable: {detail}")]
    Retry {
        /// The sink's name.
        sink: &'static str,
        /// What it said.
        detail: String,
    },
    /// The destination refuses these rows for good, and the sink has no way to sift them out: stop the pipeline and say why.
    #[error("{sink} refuses the rows: {detail}")]
    Reject {
        /// The sink's name.
        sink: &'static str,
        /// What it said.
        detail: String,
    },
    /// Going on would lose or double data (fenced, wrong schema): stop the pipeline and say why.
    #[error("{sink} must stop: {detail}")]
    Stop {
        /// The sink's name.
        sink: &'static str,
        /// What it said, and what to do.
        detail: String,
    },
}

/// The metrics of this crate.
#[must_use]
pub fn collectors() -> Vec<Box<dyn prometheus::core::Collector>> {
    let of_sinks = [runner::collectors(), disk::spool::collectors(), kafka::collectors()];
    of_sinks.into_iter().flatten().chain(table::collectors()).collect()
}

/// One block: the unit of writing and of deduplication.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Block {
    /// The last epoch it covers; the column `epoch` of its rows.
    pub epoch: Epoch,
    /// Which of the table's blocks of this epoch it is; how many there are does not depend on the number of workers.
    pub bucket: u16,
    /// The rows.
    pub rows: Rows,
}

impl Block {
    /// The place of the block among those of its epoch: table and bucket, one of each.
    #[must_use]
    pub fn place(&self) -> (&'static str, u16) {
        (self.rows.table(), self.bucket)
    }
}

impl fmt::Display for Block {
    /// The deduplication token: `table/epoch/bucket`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (table, bucket) = self.place();
        write!(f, "{table}/{}/{bucket}", self.epoch)
    }
}

/// A destination for blocks. Run [`compliance::check`] on every one.
///
/// ```
/// use std::{
///     collections::BTreeMap,
///     sync::{Arc, Mutex},
/// };
///
/// use sinks::{Block, Error, Rows, Sink};
///
/// /// Blocks by their token, so that one that comes again replaces itself.
/// #[derive(Default)]
/// struct Shelf(Mutex<BTreeMap<String, Block>>);
///
/// impl Sink for Shelf {
///     fn name(&self) -> &'static str {
///         "shelf"
///     }
///
///     async fn write(&self, blocks: Arc<Vec<Block>>) -> Result<(), Error> {
///         let stop = |_| Error::Stop { sink: "shelf", detail: "a writer has panicked".to_owned() };
///         let mut shelf = self.0.lock().map_err(stop)?;
///         shelf.extend(blocks.iter().map(|block| (block.to_string(), block.clone())));
///         Ok(())
///     }
/// }
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let shelf = Shelf::default();
/// let blocks = Arc::new(vec![Block { epoch: 7, bucket: 0, rows: Rows::Kpis(Vec::new()) }]);
/// shelf.write(Arc::clone(&blocks)).await?;
/// shelf.write(blocks).await?;
/// assert_eq!(shelf.0.lock().unwrap().keys().collect::<Vec<_>>(), ["kpis/7/0"]);
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
pub trait Sink: Send + Sync + 'static {
    /// The sink's name in logs, metrics and alarms.
    fn name(&self) -> &'static str;

    /// Writes blocks that may be written in any order; returns when all are durable. Writing a block again, after
    /// a lost answer or a restart, changes nothing.
    fn write(&self, blocks: Arc<Vec<Block>>) -> impl Future<Output = Result<(), Error>> + Send;
}

/// The result that asks for more: stop before retry before success.
pub(crate) fn graver(one: Result<(), Error>, other: Result<(), Error>) -> Result<(), Error> {
    match (&one, &other) {
        (Err(Error::Stop { .. }), _) => one,
        (_, Err(Error::Stop { .. })) | (Ok(()), _) => other,
        _ => one,
    }
}
