//! The tables of ours. One file holds what is known of a table: its name, the order of its rows, how rows of one key and of
//! two workers become one, the columns that it fills, its records on Kafka, what it counts, and examples.
//!
//! Enters: what the dataflow has computed. Leaves: [`Rows`], and from them inserts and records. Guarantees: every function
//! of a table is a function of its arguments alone. Everything that goes through all tables follows from the list
//! [`tables!`](Rows); a new table is a file, its `mod` and its entry at the end of that list.

use std::{cmp::Ordering, fmt};

use schemas::RecordPlace;
use serde::{Serialize, de::DeserializeOwned};

mod alarms;
mod estimates;
pub mod exchange_ledger;
mod kpis;
mod quality;
mod readings;
mod registry;
mod rejects;

pub use alarms::Alarms;
pub use estimates::Estimates;
pub use kpis::Kpis;
pub use quality::Quality;
pub use readings::{Measured, ObjectRun, ReadingColumns, Readings, reading};
pub use registry::{Place, Registry};
pub use rejects::Rejects;

use crate::{Block, Error, clickhouse::Insert, kafka::Sending};

/// The metrics of the tables that count.
pub(crate) fn collectors() -> Vec<Box<dyn prometheus::core::Collector>> {
    [alarms::collectors(), readings::collectors(), rejects::collectors()].into_iter().flatten().collect()
}

/// A table of ours.
pub trait Table: 'static {
    /// The name in deduplication tokens. Blocks of an epoch go to Kafka in the order of these names.
    const NAME: &'static str;
    /// The tables of the store that it fills.
    const STORED: &'static [&'static str];
    /// Whether its rows have a topic on Kafka.
    const PUBLISHED: bool = false;
    /// The rows of a block.
    type Rows: Clone + fmt::Debug + PartialEq + Serialize + DeserializeOwned;

    /// Takes in another worker's rows of the same block: the keys of the two differ. False, and nothing is taken, for a
    /// table that one worker writes alone.
    fn unite(_rows: &mut Self::Rows, _others: &mut Self::Rows) -> bool {
        false
    }

    /// What goes into the store: one insert per table. The block gives epoch, number and token.
    fn inserts(rows: &Self::Rows, block: &Block) -> Vec<Insert>;

    /// Writes the rows to their topic on Kafka, for a table that has one.
    ///
    /// # Errors
    /// As [`Sending::all`].
    fn publish(_rows: &Self::Rows, _records: &mut Sending<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// Counts the rows in the metrics of the program, for a table that shows there.
    fn count(_rows: &Self::Rows) {}

    /// The keys that the rows have in the tables of the store: for each row its table and its key there as text.
    fn keys(rows: &Self::Rows, block: &Block) -> Vec<(&'static str, String)>;

    /// A few rows of an epoch at a time, equal whenever they are asked for; none for a table that the suite of
    /// [`crate::compliance`] leaves out.
    fn examples(epoch: schemas::Epoch, at: schemas::Millis) -> Self::Rows;
}

/// A table whose blocks are gathered row by row from a stream.
pub trait Gathered: Table {
    /// What flows: a row, or more than a row where that decides which one counts.
    type Item: Clone + 'static;

    /// The facility or scope whose rows stand in one block; `None` where all rows of an epoch do.
    fn subject(item: &Self::Item) -> Option<&str>;

    /// The rows of a block, from items in any order: in the order of the table's key, with the last state of each key.
    fn close(items: Vec<Self::Item>) -> Self::Rows;
}

/// A table in the list.
pub trait Listed: Table {
    /// Its rows as those of a block.
    fn rows(rows: Self::Rows) -> Rows;
}

macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident,)*) => {
        /// The rows of a block, by table.
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        pub enum Rows { $($(#[$doc])* $table(<$table as Table>::Rows),)* }

        $(impl Listed for $table {
            fn rows(rows: Self::Rows) -> Rows {
                Rows::$table(rows)
            }
        })*

        impl Rows {
            /// The name of their table.
            #[must_use]
            pub fn table(&self) -> &'static str {
                match self { $(Rows::$table(_) => $table::NAME,)* }
            }

            /// The number of rows.
            #[must_use]
            pub fn len(&self) -> usize {
                match self { $(Rows::$table(rows) => rows.len(),)* }
            }

            /// Takes in another worker's rows of the same block; see [`Table::unite`].
            pub fn unite(&mut self, others: &mut Rows) -> bool {
                match (self, others) {
                    $((Rows::$table(rows), Rows::$table(others)) => $table::unite(rows, others),)*
                    _ => false,
                }
            }

            /// Writes them to their topic; see [`Table::publish`].
            pub(crate) fn publish(&self, records: &mut Sending<'_>) -> Result<(), Error> {
                match self { $(Rows::$table(rows) => $table::publish(rows, records),)* }
            }
        }

        impl Block {
            /// What goes into the store; nothing when the block has no rows.
            pub(crate) fn inserts(&self) -> Vec<Insert> {
                let mut inserts = match &self.rows { $(Rows::$table(rows) => $table::inserts(rows, self),)* };
                inserts.retain(|insert| insert.columns.rows() > 0);
                inserts
            }

            /// The keys of its rows in the tables of the store; see [`Table::keys`].
            pub(crate) fn keys(&self) -> Vec<(&'static str, String)> {
                match &self.rows { $(Rows::$table(rows) => $table::keys(rows, self),)* }
            }
        }

        /// The names of all tables.
        pub const NAMES: &[&str] = &[$($table::NAME,)*];

        /// The names of the tables that have a topic on Kafka.
        #[must_use]
        pub fn published() -> Vec<&'static str> {
            [$(($table::NAME, $table::PUBLISHED),)*]
                .into_iter()
                .filter_map(|(name, published)| published.then_some(name))
                .collect()
        }

        /// The tables of the store that blocks fill.
        pub const STORED: &[&[&str]] = &[$($table::STORED,)*];

        /// The examples of every table; see [`Table::examples`].
        pub(crate) fn examples(epoch: schemas::Epoch, at: schemas::Millis) -> Vec<Rows> {
            let mut examples = vec![$(Rows::$table($table::examples(epoch, at)),)*];
            examples.retain(|rows| !rows.is_empty());
            examples
        }
    };
}

// Processes of a cluster know them by their place: append, never insert.
tables! {
    /// Trusted readings, sorted by (facility, device, metric, observed_at).
    Readings,
    /// KPI states, sorted by (kpi, scope, period, window).
    Kpis,
    /// Alarm transitions in their order; `alarms` takes the last of each id, `alarm_events` all.
    Alarms,
    /// Rejects, sorted.
    Rejects,
    /// Data-quality figures, sorted by (scope, period, window).
    Quality,
    /// What models expected and found, sorted by (model, facility, device, hour).
    Estimates,
    /// Registry entries by key; `None` when removed.
    Registry,
}

impl Rows {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The place of a record as it is stored; empty where there is none.
fn place(place: Option<RecordPlace>) -> String {
    place.map_or_else(String::new, |place| place.to_string())
}

/// Two workers' rows in one order. What each brings is in that order already.
fn unite_sorted<R>(rows: &mut Vec<R>, others: &mut Vec<R>, order: impl Fn(&R, &R) -> Ordering) -> bool {
    rows.append(others);
    rows.sort_by(order);
    true
}

/// Leaves the last of equal keys in a sorted list.
fn keep_last<R>(rows: &mut Vec<R>, same_key: impl Fn(&R, &R) -> bool) {
    rows.reverse();
    rows.dedup_by(|a, b| same_key(a, b));
    rows.reverse();
}

#[cfg(test)]
mod tests;
