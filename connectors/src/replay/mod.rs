//! Recorded data as reports: CSV files, plain or gzip, through a mapping file.
//!
//! Enters: files and a [`Mapping`]. Leaves: reports on Kafka in the order of time, and a reject with file and line for
//! every row that cannot be read. Guarantees: every row is one or the other; values pass unjudged; the same files give
//! the same reports, also in the hours that daylight saving repeats or skips.

mod drive;
mod mapping;
mod merge;
mod rows;

#[cfg(test)]
mod tests;

pub use drive::{Replayed, run};
pub use mapping::{Mapping, MetricColumn, Naming, TimeColumn};
pub use merge::Merge;
pub use rows::{RowReject, Rows};
