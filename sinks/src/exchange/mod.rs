//! The provincial exchange (T 3, 4, 6.1, 6.2): our records as its tables, pushed, signed, and accounted for.
//!
//! Enters: blocks of registry entries, closed KPI windows and alarm transitions; others are acknowledged and passed
//! over. Leaves: rows at the receiver, in order. Guarantees: a block is acknowledged once its rows are durable in the
//! delivery ledger, so a dead receiver never stops the city's own dataflow; [`Delivery`] then pushes until every row is
//! delivered or refused with a reason.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use schemars::JsonSchema;
use schemas::{Millis, exchange::Tables};
use serde::Deserialize;
use tokio::sync::Notify;

pub mod client;
pub mod delivery;
pub mod ledger;
pub mod mapping;
pub mod province;
pub mod receiver;
pub mod signing;
#[cfg(test)]
mod tests;
mod windows;

pub use delivery::Delivery;

use crate::{
    Block, Error, Rows, Sink,
    attach::{Attach, Attached, Placement, Terms, one_by_one},
    clickhouse::ClickHouse,
    lease::Lease,
    runner::Status,
    table::{Alarms, Kpis, Registry, Table},
};
use ledger::{Ledger, Row, RowId};
use mapping::Mapping;

pub(crate) const NAME: &str = "exchange";

/// The `[exchange]` section: the receiver, and what it gets.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `http://ip:port`, or the whole address of `pushdata`.
    pub url: String,
    /// Who we are to the receiver (appID).
    pub app_id: String,
    /// Version of the interface.
    #[serde(default = "default_version")]
    pub version: String,
    /// Codes in the answer's body that mean success.
    #[serde(default = "default_success_codes")]
    pub success_codes: Vec<String>,
    /// Directory of the delivery ledger; on a disk that survives restarts.
    pub state_directory: PathBuf,
    /// Tables to push; all of the catalogue when empty.
    #[serde(default)]
    pub tables: Vec<String>,
    /// Rows per request.
    #[serde(default = "default_batch")]
    pub batch: usize,
    /// Agreed times of day for pushing, such as `["00:00-06:00", "12:30-13:30"]`; always when empty.
    #[serde(default)]
    pub windows: Vec<String>,
    /// Hours that the receiver's civil time is ahead of UTC.
    #[serde(default = "default_utc_offset_hours")]
    pub utc_offset_hours: i8,
    /// How long an answer may take, s.
    #[serde(default = "default_timeout")]
    pub timeout: u64,
    /// Hours that delivered rows are remembered, to be completed by late KPIs and not be sent twice.
    #[serde(default = "default_keep_hours")]
    pub keep_hours: u32,
    /// The signing convention.
    pub signing: signing::Settings,
}

fn default_version() -> String {
    "1.0".to_owned()
}
fn default_success_codes() -> Vec<String> {
    ["0", "200", "201", "202", "10000"].map(str::to_owned).into()
}
fn default_batch() -> usize {
    100
}
fn default_utc_offset_hours() -> i8 {
    8
}
fn default_timeout() -> u64 {
    30
}
fn default_keep_hours() -> u32 {
    48
}

impl Attach for Settings {
    const NAME: &'static str = NAME;
    const TABLES: &'static [&'static str] = &[Alarms::NAME, Kpis::NAME, Registry::NAME];
    const PLACEMENT: Placement = Placement::First;

    fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(self.url.starts_with("http://") || self.url.starts_with("https://")) {
            problems.push(format!("url: {:?} does not begin with http:// or https://", self.url));
        }
        if self.app_id.is_empty() {
            problems.push("app_id: must not be empty".to_owned());
        }
        if self.batch == 0 {
            problems.push("batch: must be at least 1".to_owned());
        }
        problems.extend(windows::Windows::new(&self.windows, self.utc_offset_hours).err());
        problems.extend(Mapping::new(Tables::in_force(), &self.tables, self.utc_offset_hours).err());
        problems
    }

    fn open(&self, terms: &Terms) -> Result<Attached, Error> {
        let status = Status::new(NAME);
        let (mirror, lease) = (Some(terms.store.clone()), Some(Arc::clone(&terms.lease)));
        let (sink, delivery) = open(self, status.clone(), mirror, lease)?;
        let (stopping, fail) = (terms.stopping.clone(), Arc::clone(&terms.fail));
        terms.runtime.spawn(async move {
            if let Err(error) = delivery.run(stopping).await {
                fail(error);
            }
        });
        let inlet = one_by_one(sink.of_pipeline(&terms.pipeline), status.clone(), terms);
        Ok(Attached { inlet, statuses: vec![status] })
    }
}

/// Builds the sink and the task that delivers for it. `mirror` gets the history as `exchange_ledger`, and refused rows
/// as rejects. With a `lease` nothing is sent while it is not held.
///
/// # Errors
/// [`Error::Stop`] when the settings are wrong, a key cannot be read, or the ledger is damaged.
pub fn open(
    settings: &Settings,
    status: Status,
    mirror: Option<ClickHouse>,
    lease: Option<Arc<Lease>>,
) -> Result<(Exchange, Delivery), Error> {
    let stop = |detail: String| Error::Stop { sink: NAME, detail };
    let problems = settings.validate();
    if !problems.is_empty() {
        return Err(stop(problems.join("; ")));
    }
    let convention = signing::Convention::new(settings.signing.clone()).map_err(stop)?;
    let client = client::Client::new(
        &settings.url,
        &settings.app_id,
        &settings.version,
        &settings.success_codes,
        Duration::from_secs(settings.timeout),
        convention,
    )
    .map_err(stop)?;
    let mapping = Mapping::new(Tables::in_force(), &settings.tables, settings.utc_offset_hours);
    let windows = windows::Windows::new(&settings.windows, settings.utc_offset_hours).map_err(stop)?;
    let ledger = Ledger::open(&settings.state_directory)
        .map_err(|e| stop(format!("ledger in {}: {e}", settings.state_directory.display())))?;
    let shared = Shared { ledger: Arc::new(Mutex::new(ledger)), wake: Arc::default() };
    let exchange = Exchange { shared: shared.clone(), mapping: mapping.map_err(stop)?, pipeline: None };
    let keep = Millis::from(settings.keep_hours) * schemas::time::HOUR;
    let delivery = Delivery::new(shared, client, windows, settings.batch, keep, status, mirror, lease);
    Ok((exchange, delivery))
}

/// What the sink and the delivering task share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    ledger: Arc<Mutex<Ledger>>,
    wake: Arc<Notify>,
}

impl Shared {
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sink: notes in the ledger what is owed.
#[derive(Clone, Debug)]
pub struct Exchange {
    shared: Shared,
    mapping: Mapping,
    /// Whose epochs the blocks have.
    pipeline: Option<String>,
}

impl Exchange {
    /// The sink of a named pipeline, which offers every epoch with all its blocks and in order: what it replays of epochs
    /// that are noted is passed over, so that no row goes back to what it was for a while.
    #[must_use]
    pub fn of_pipeline(self, name: &str) -> Exchange {
        Exchange { pipeline: Some(name.to_owned()), ..self }
    }

    /// How many rows stand where, by the names of [`ledger::Outcome`].
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        self.shared.ledger().counts()
    }

    /// Notes blocks at a wall time.
    fn note(&self, blocks: &[Block], at: Millis) -> std::io::Result<usize> {
        let mut ledger = self.shared.ledger();
        let epoch = blocks.iter().map(|block| block.epoch).max().unwrap_or_default();
        let complete = self.pipeline.as_deref().map(|pipeline| (pipeline, epoch));
        if complete.is_some_and(|(pipeline, epoch)| epoch <= ledger.noted(pipeline)) {
            return Ok(0);
        }
        for block in blocks {
            if let Rows::Registry(entries) = &block.rows {
                ledger.know(entries)?;
            }
        }
        let mut rows: Vec<(RowId, Row)> = Vec::new();
        // KPIs of one window complete each other, within this call and with what the ledger holds.
        let mut completed: BTreeMap<RowId, Row> = BTreeMap::new();
        for block in blocks {
            let registry = ledger.registry();
            match &block.rows {
                Rows::Registry(entries) => {
                    let entries = entries.iter().filter_map(|(_, entry)| entry.as_ref());
                    rows.extend(entries.flat_map(|entry| self.mapping.entry(entry, registry)));
                }
                Rows::Alarms(alarms) => {
                    rows.extend(alarms.iter().flat_map(|alarm| self.mapping.alarm(alarm, registry)));
                }
                Rows::Kpis(kpis) => {
                    for kpi in kpis {
                        let before = |id: &RowId| {
                            let noted = || ledger.entry(id).map(|entry| entry.content.clone());
                            completed.get(id).cloned().or_else(noted).unwrap_or_default()
                        };
                        completed.extend(self.mapping.kpi(kpi, registry, before));
                    }
                }
                // The province gets nothing else.
                _ => {}
            }
        }
        rows.extend(completed);
        ledger.note(rows, complete, at)
    }
}

impl Sink for Exchange {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn write(&self, blocks: Arc<Vec<Block>>) -> Result<(), Error> {
        let exchange = self.clone();
        let at = jiff::Timestamp::now().as_millisecond();
        let noted = tokio::task::spawn_blocking(move || exchange.note(&blocks, at)).await;
        let retry = |detail: String| Error::Retry { sink: NAME, detail };
        match noted {
            Ok(Ok(0)) => Ok(()),
            Ok(Ok(_)) => {
                self.shared.wake.notify_one();
                Ok(())
            }
            Ok(Err(error)) if ledger::is_replaced(&error) => {
                Err(Error::Stop { sink: NAME, detail: error.to_string() })
            }
            Ok(Err(error)) => Err(retry(format!("ledger: {error}"))),
            Err(error) => Err(retry(format!("ledger: {error}"))),
        }
    }
}
