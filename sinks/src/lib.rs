//! What goes out: blocks of rows, each written exactly once or retried until it is.
//!
//! Enters: [`Block`]s, which are a pure function of (checkpoint, binding, Kafka). Leaves: acknowledgements.
//! Guarantees: a block is acknowledged only after its destination made it durable; writing it again changes nothing.

pub mod clickhouse;
pub mod compliance;
pub mod exchange;
pub mod failpoint;
pub mod kafka;
pub mod lease;
pub mod memory;
pub mod numbered;
pub mod order;
pub mod outbox;
mod readings;
pub mod runner;
pub mod spool;

use std::{fmt, future::Future, sync::Arc};

pub use readings::{Measured, ObjectRun, ReadingColumns};
pub use schemas::QualityRow;
use schemas::{AlarmTransition, Epoch, EstimateRow, KpiRow, RegistryEntry, Reject};

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

/// The rows of a block, by table.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Rows {
    /// Trusted readings, sorted by (facility, device, metric, observed_at).
    Readings(ReadingColumns),
    /// KPI states, sorted by (kpi, scope, period, window).
    Kpis(Vec<KpiRow>),
    /// Alarm transitions in their order; `alarms` takes the last of each id, `alarm_events` all.
    Alarms(Vec<AlarmTransition>),
    /// Rejects, sorted.
    Rejects(Vec<Reject>),
    /// Data-quality figures: KPI rows of the quality family, one row per scope and window.
    Quality(Vec<QualityRow>),
    /// What models expected and found, sorted by (model, facility, device, hour).
    Estimates(Vec<EstimateRow>),
    /// Registry entries by key; `None` when removed.
    Registry(Vec<(schemas::RegistryKey, Option<RegistryEntry>)>),
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
        let table = match self.rows {
            Rows::Readings(_) => "readings",
            Rows::Kpis(_) => "kpis",
            Rows::Alarms(_) => "alarms",
            Rows::Rejects(_) => "rejects",
            Rows::Quality(_) => "quality",
            Rows::Estimates(_) => "estimates",
            Rows::Registry(_) => "registry",
        };
        (table, self.bucket)
    }
}

impl fmt::Display for Block {
    /// The deduplication token: `table/epoch/bucket`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (table, bucket) = self.place();
        write!(f, "{table}/{}/{bucket}", self.epoch)
    }
}

/// A destination for blocks.
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
