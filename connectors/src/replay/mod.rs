//! Recorded data as reports: CSV files, plain or gzip, through a mapping file.
//!
//! Enters: files and a [`Mapping`]. Leaves: reports on Kafka in the order of time, and a reject with file and line for
//! every row that cannot be read. Guarantees: every row is one or the other; values pass unjudged; the same files give
//! the same reports; a time that daylight saving repeats is told apart or refused, one that it skips is refused.

mod cell;
mod drive;
mod mapping;
mod merge;
mod repeated_hour;
mod row;
mod row_time;
mod rows;

#[cfg(test)]
mod tests;

pub use drive::{Replayed, run};
pub use mapping::{EpochUnit, Mapping, MetricColumn, Naming, Occurrence, TimeColumn};
pub use merge::Merge;
pub use row::RowReject;
pub use rows::CsvRows;
