//! What becomes of one row.

use schemas::{Millis, Reason, Reject, RejectStage, Report};

/// A row that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowReject {
    /// The file as given.
    pub file: String,
    /// Its line, from 1; 0 when the file itself breaks off.
    pub line: u64,
    /// The metric when only this reading of the row is meant.
    pub metric: Option<String>,
    /// Why.
    pub reason: Reason,
    /// What is wrong and what was expected.
    pub detail: String,
    /// The row.
    pub raw: Vec<u8>,
    /// How many readings it would have held.
    pub readings: u32,
}

impl RowReject {
    /// The record for `heating.rejects`.
    #[must_use]
    pub fn into_reject(self, at: Millis) -> Reject {
        let place = format!("replay:{}:{}", self.file, self.line);
        Reject {
            at,
            origin: self.metric.map_or(place.clone(), |metric| format!("{place}#{metric}")),
            reason: self.reason,
            detail: self.detail,
            raw: self.raw,
            stage: RejectStage::Connector,
            readings: self.readings,
        }
    }
}

/// A row's report, or a reject of the row or of one of its readings.
pub(super) type Row = Result<Report, RowReject>;
