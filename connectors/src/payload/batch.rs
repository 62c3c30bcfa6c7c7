//! What becomes of a payload.

use bytes::Bytes;
use schemas::{Reason, Reject, RejectStage, Report, reject};

use super::{Arrival, MAX_RAW, MAX_REFUSED};
use crate::{KnownFacilities, Outgoing};

/// A report or event, and where it stood.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// The place of its record in the payload, from 0.
    pub index: usize,
    /// [`Outgoing::Report`] or [`Outgoing::Event`].
    pub record: Outgoing,
    /// Its bytes, for a reject should the registry not hold its object.
    pub raw: Bytes,
}

/// A record, or one reading of a record, that cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The place of its record in the payload, from 0.
    pub index: usize,
    /// The metric when only this reading is meant.
    pub metric: Option<String>,
    /// Why.
    pub reason: Reason,
    /// What exactly is wrong and what was expected.
    pub detail: String,
    /// The bytes of its record as received; of the reading alone where the record would be repeated too often.
    pub raw: Bytes,
    /// How many readings it stands for; 0 when they cannot be counted.
    pub readings: u32,
}

/// A payload taken apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// What can be used.
    pub accepted: Vec<Accepted>,
    /// What cannot.
    pub refused: Vec<Refusal>,
    /// Reports without readings, for records of which nothing is accepted: their objects are in contact. No sender's
    /// count of accepted records holds them.
    pub heard: Vec<Report>,
    /// True when the payload as a whole was not readable.
    pub unreadable: bool,
    /// Bytes that refusals carry already.
    carried: usize,
}

impl Batch {
    /// A payload that is not readable as a whole.
    #[must_use]
    pub fn unreadable(payload: &Bytes, reason: Reason, detail: String) -> Batch {
        let mut batch = Batch { unreadable: true, ..Batch::default() };
        batch.refuse(0, reason, detail, payload.clone(), 0);
        batch
    }

    /// Whether so much was refused already that no further record may be taken in part.
    ///
    /// # Errors
    /// [`Reason::TooLarge`].
    pub(super) fn has_room(&self) -> Result<(), (Reason, String)> {
        if self.refused.len() < MAX_REFUSED {
            return Ok(());
        }
        Err((
            Reason::TooLarge,
            format!("the payload has {MAX_REFUSED} problems before this record, send it again alone"),
        ))
    }

    /// Turns a record away.
    pub fn refuse(&mut self, index: usize, reason: Reason, detail: String, raw: Bytes, readings: usize) {
        let readings = u32::try_from(readings).unwrap_or(u32::MAX);
        self.refused.push(Refusal { index, metric: None, reason, detail, raw, readings });
    }

    /// Turns one reading of a record away. The refusal carries the whole record, so that it can be sent again, as long as
    /// all refusals together stay within a few megabytes; then only the reading.
    pub fn refuse_reading(
        &mut self,
        index: usize,
        metric: &str,
        (reason, detail): (Reason, String),
        record: &Bytes,
        reading: Bytes,
    ) {
        let whole = self.repeats(record);
        self.carried += if whole { record.len() } else { reading.len() };
        let raw = if whole { record.clone() } else { reading };
        let metric = Some(metric.chars().take(super::MAX_TEXT).collect());
        self.refused.push(Refusal { index, metric, reason, detail, raw, readings: 1 });
    }

    /// Whether the refusal of one reading still carries its whole record.
    pub(super) fn repeats(&self, record: &Bytes) -> bool {
        self.carried + record.len() <= 4 << 20
    }

    /// The reports that are accepted.
    pub fn reports(&self) -> impl Iterator<Item = &Report> {
        self.accepted.iter().filter_map(|accepted| match &accepted.record {
            Outgoing::Report(report) => Some(report),
            _ => None,
        })
    }

    /// Readings of the reports that are accepted.
    #[must_use]
    pub fn readings(&self) -> usize {
        self.reports().map(|report| report.readings.len()).sum()
    }

    /// Turns away the reports and events of objects that the registry does not hold.
    pub fn admit(&mut self, known: &KnownFacilities) {
        let (now, refused) = (known.now(), &mut self.refused);
        let before = refused.len();
        self.accepted.retain(|one| {
            let (facility, device, readings) = match &one.record {
                Outgoing::Report(r) => (&r.facility, r.device.as_deref(), r.readings.len()),
                Outgoing::Event(event) => (&event.facility, None, 0),
                _ => return false,
            };
            let Err((reason, detail)) = now.check(facility, device) else { return true };
            let readings = u32::try_from(readings).unwrap_or(u32::MAX);
            let raw = one.raw.clone();
            refused.push(Refusal { index: one.index, metric: None, reason, detail, raw, readings });
            false
        });
        self.heard.retain(|report| now.check(&report.facility, report.device.as_deref()).is_ok());
        if refused.len() > before {
            refused.sort_by_key(|refusal| refusal.index);
        }
    }

    /// The records, then the rejects, as they go to Kafka; the records leave the batch.
    #[must_use]
    pub fn take_outgoing(&mut self, arrival: &Arrival) -> Vec<Outgoing> {
        let heard = self.heard.drain(..).map(Outgoing::Report);
        let records = self.accepted.drain(..).map(|accepted| accepted.record).chain(heard);
        let rejects = self.refused.iter().map(|refusal| Outgoing::Reject(refusal.reject(arrival)));
        records.chain(rejects).collect()
    }
}

impl Refusal {
    /// The record for `heating.rejects`. Of enormous bytes the first [`MAX_RAW`] are kept.
    #[must_use]
    pub fn reject(&self, arrival: &Arrival) -> Reject {
        let mut detail = self.detail.clone();
        let mut raw: &[u8] = &self.raw;
        if raw.len() > MAX_RAW {
            raw = &raw[..MAX_RAW];
            detail.push_str(&reject::kept_of(MAX_RAW, self.raw.len()));
        }
        let origin = match &self.metric {
            None => arrival.origin.clone(),
            Some(metric) => format!("{}#{metric}", arrival.origin),
        };
        Reject {
            at: arrival.at,
            origin,
            reason: self.reason,
            detail,
            raw: raw.to_vec(),
            stage: RejectStage::Connector,
            readings: self.readings,
        }
    }
}
