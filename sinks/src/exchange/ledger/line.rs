//! Rows, what becomes of them, and the lines of the file that say so.

use std::io::{self, Write};

use schemas::{Code, Epoch, Millis, RegistryEntry, RegistryKey};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The content of a row, by field code.
pub type Row = Map<String, Value>;

/// Which row: the later content for the same row replaces the earlier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RowId {
    /// Table of the exchange.
    pub table: Code,
    /// Our key of the record: facility, scope, device or alarm and transition.
    pub key: Code,
    /// Start of the window or time of the transition; 0 for what has no time.
    pub window: Millis,
}

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// To be sent.
    Pending,
    /// Sent; no answer yet.
    Attempted,
    /// The receiver has it.
    Delivered,
    /// The receiver will never take it.
    Refused,
    /// Sent, but the answer was lost: the receiver may have it.
    Uncertain,
}

impl Outcome {
    /// The name in the table `exchange_ledger`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Pending => "pending",
            Outcome::Attempted => "attempted",
            Outcome::Delivered => "delivered",
            Outcome::Refused => "refused",
            Outcome::Uncertain => "uncertain",
        }
    }
}

/// One line of the history: the mirror in ClickHouse holds the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Number of the line, from 1, never used twice.
    pub sequence: u64,
    /// The row.
    pub row: RowId,
    /// Attempts so far.
    pub attempt: u32,
    /// When, in wall time.
    pub at: Millis,
    /// Where it stands now.
    pub outcome: Outcome,
    /// Answer code.
    pub code: Code,
    /// Answer text.
    pub detail: String,
}

/// One line of the file.
#[derive(Serialize, Deserialize)]
pub(super) enum Line {
    /// A registry entry, known since.
    Registry(RegistryKey, Option<RegistryEntry>),
    /// New content of a row, owed from then on.
    Content(Event, Row),
    /// What became of a row.
    Event(Event),
    /// Everything of a pipeline is noted up to an epoch.
    Noted(String, Epoch),
}

/// Writes a line: checksum, content.
pub(super) fn write_line(bytes: &mut Vec<u8>, line: &Line) -> io::Result<()> {
    let json = serde_json::to_vec(line)?;
    write!(bytes, "{:08x} ", crc32fast::hash(&json))?;
    bytes.extend_from_slice(&json);
    bytes.push(b'\n');
    Ok(())
}

/// The line, where it is whole.
pub(super) fn read_line(line: &[u8]) -> Option<Line> {
    let (checksum, json) = line.split_at_checked(9)?;
    let checksum = u32::from_str_radix(std::str::from_utf8(checksum).ok()?.trim_end(), 16).ok()?;
    if crc32fast::hash(json) != checksum {
        return None;
    }
    serde_json::from_slice(json).ok()
}
