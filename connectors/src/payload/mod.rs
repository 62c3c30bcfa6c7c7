//! Payloads: from the bytes that a sender sent to reports, without any I/O.
//!
//! Enters: bytes in one of four forms ([`native`], [`senml`], [`thingsboard`], [`pointer`]) and what is known of their
//! [`Arrival`]. Leaves: a [`Batch`]. Guarantees: every record and every reading is either in a report or in a refusal
//! that names its reason and carries its bytes; one bad reading costs only itself, one bad record only itself; values
//! are passed on as they were written, not interpreted.
//!
//! ```
//! use connectors::payload::{Arrival, native};
//! use jiff::tz::TimeZone;
//! use schemas::{Reason, time};
//!
//! let arrival = Arrival {
//!     at: 1_768_435_200_000,
//!     origin: "http:198.51.100.7".to_owned(),
//!     zone: TimeZone::UTC,
//!     decimal: None,
//!     accept_received_at: false,
//!     backfill: time::BACKFILL,
//!     facility: None,
//!     device: None,
//! };
//! let payload = r#"[
//!     {"facility": "ST-0001", "observed_at": "2026-01-15T00:00:00Z", "readings": {"outdoor_temp": -7.5}},
//!     {"observed_at": "2026-01-15T00:00:00Z", "readings": {"outdoor_temp": -7.5}}
//! ]"#;
//! let batch = native::parse(&payload.into(), &arrival);
//! assert_eq!(batch.accepted.len(), 1);
//! let [refused] = &batch.refused[..] else { panic!("{batch:?}") };
//! assert_eq!((refused.index, refused.reason), (1, Reason::MissingField));
//! ```

pub mod instant;
pub mod json;
pub mod native;
pub mod pointer;
pub mod record;
pub mod senml;
pub mod thingsboard;
pub mod value;

mod batch;
mod event;
mod readable;
#[cfg(test)]
mod tests;

pub use batch::{Accepted, Batch, Refusal};
pub use event::events;

use jiff::tz::TimeZone;
use schemas::{Code, Millis, number::Decimal};

/// How many records (lines, elements) one payload may hold.
pub const MAX_RECORDS: usize = 50_000;
/// How many readings one report may hold, so that it fits a Kafka message.
pub const MAX_READINGS: usize = schemas::report::MAX_READINGS;
/// How many records and readings of one payload are refused one by one; records after that are taken whole or not at all.
pub const MAX_REFUSED: usize = 20_000;
/// The greatest length of one record, in bytes.
pub const MAX_RECORD: usize = 1 << 20;
/// The greatest length of a code and of a value written as text, in bytes.
pub const MAX_TEXT: usize = schemas::report::MAX_CODE;
/// How many bytes of one record or payload a reject carries at most; its detail says when there were more.
pub const MAX_RAW: usize = 512 << 10;

/// When and how a payload arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When.
    pub at: Millis,
    /// Connector and peer, such as `http:198.51.100.7`.
    pub origin: String,
    /// The time zone of times that are written without an offset.
    pub zone: TimeZone,
    /// The decimal sign of numbers that are written as text, where it is known.
    pub decimal: Option<Decimal>,
    /// Whether a record's own `received_at` counts: for replays and simulations only.
    pub accept_received_at: bool,
    /// How long before its arrival a record may have been measured, ms.
    pub backfill: Millis,
    /// The facility that the topic names, for records that name none; a record that names another is refused.
    pub facility: Option<Code>,
    /// The device that the topic names, likewise.
    pub device: Option<Code>,
}
