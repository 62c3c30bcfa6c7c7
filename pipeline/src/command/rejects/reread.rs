//! A reject once more: its bytes, read as they were when they came, by the mapping and the registry of today.
//!
//! Enters: a reject. Leaves: the reports and events it becomes, or why it still cannot be used, or why it is not for us.
//! Guarantees: pure apart from the registry's codes; what comes out carries the arrival time of the reject, so that it
//! falls into the windows it belongs to.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use connectors::{
    KnownFacilities, Outgoing, connect,
    payload::{self, Arrival, Batch, native},
};
use jiff::tz::TimeZone;
use schemas::{Event, KafkaSettings, Millis, Reason, RejectStage, Report, Topic, avro::Codec};

/// A reject, as far as reading it again needs it.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// When it came.
    pub at: Millis,
    /// Where it came from.
    pub origin: String,
    /// Why it was turned away.
    pub reason: Reason,
    /// What exactly was wrong.
    pub detail: String,
    /// Its bytes.
    pub raw: Bytes,
    /// Where it was turned away.
    pub stage: RejectStage,
}

/// What becomes of it now.
#[derive(Clone, Debug, PartialEq)]
pub enum Reread {
    /// It is taken; with it go rejects of readings that were never looked at before.
    Taken(Vec<Outgoing>),
    /// It still cannot be used.
    Refused(Reason, String),
    /// Sending it again makes no sense, for this reason.
    LeftOut(String),
}

/// Reasons that no change of mapping or registry can heal.
pub const SETTLED: &[Reason] =
    &[Reason::Duplicate, Reason::Superseded, Reason::NotMeasured, Reason::RegistryConflict];

/// Reads rejects again.
pub struct Reader {
    /// How payloads of connectors are read, by the connector's name.
    pub connectors: BTreeMap<&'static str, connect::Reread>,
    /// The topics' names.
    pub kafka: KafkaSettings,
    /// How records are read.
    pub codec: Codec,
    /// How long before its arrival a record may have been measured, ms.
    pub backfill: Millis,
    /// The registry of today.
    pub known: KnownFacilities,
}

impl Reader {
    /// Reads a reject.
    #[must_use]
    pub fn read(&self, reject: &Rejected) -> Reread {
        if SETTLED.contains(&reject.reason) {
            return Reread::LeftOut(reject.reason.advice().to_owned());
        }
        if schemas::reject::is_cut(&reject.detail) {
            return Reread::LeftOut(
                "only a part of its bytes was kept: let the sender send it again".to_owned(),
            );
        }
        let (origin, metric) = match reject.origin.split_once('#') {
            Some((origin, metric)) => (origin, Some(metric)),
            None => (reject.origin.as_str(), None),
        };
        let (kind, place) = origin.split_once(':').unwrap_or((origin, ""));
        let batch = match (reject.stage, kind) {
            (RejectStage::Connector, kind) if connectors::NAMES.contains(&kind) => {
                match self.connectors.get(kind) {
                    Some(read) => read(place, &reject.raw, self.arrival(reject, origin)),
                    None => return Reread::LeftOut(format!("the configuration has no section [{kind}]")),
                }
            }
            (RejectStage::Dataflow, "kafka") => match self.record(reject, origin, place) {
                Ok(batch) => batch,
                Err(why) => return Reread::LeftOut(why),
            },
            (RejectStage::Connector, "replay") => {
                return Reread::LeftOut(
                    "it came from a file: correct the mapping and replay the file".to_owned(),
                );
            }
            (RejectStage::Sink, _) => {
                return Reread::LeftOut("the delivery ledger sends it again".to_owned());
            }
            _ => return Reread::LeftOut(format!("nothing reads payloads of {kind} again")),
        };
        self.judge(reject, origin, metric, batch)
    }

    /// Times without offset are in UTC, unless the connector knows better.
    fn arrival(&self, reject: &Rejected, origin: &str) -> Arrival {
        Arrival {
            at: reject.at,
            origin: origin.to_owned(),
            zone: TimeZone::UTC,
            decimal: None,
            // The dataflow's rejects carry the time at which they came.
            accept_received_at: reject.stage == RejectStage::Dataflow,
            backfill: self.backfill,
            facility: None,
            device: None,
        }
    }

    /// What the dataflow turned away: a report in the native form, or a record of a topic that it could not read.
    fn record(&self, reject: &Rejected, origin: &str, place: &str) -> Result<Batch, String> {
        let topic = place.split('/').next().unwrap_or_default();
        let is = |wanted: Topic| topic == self.kafka.topic(wanted);
        if is(Topic::Registry) {
            return Err("load the registry again: nuanliu registry load".to_owned());
        }
        if !is(Topic::Reports) && !is(Topic::Events) {
            return Err(format!("records of {topic} are not sent again"));
        }
        if !matches!(reject.reason, Reason::Malformed | Reason::UnknownSchema) {
            let arrival = self.arrival(reject, origin);
            return Ok(match is(Topic::Events) {
                true => payload::events(&reject.raw, &arrival, false),
                false => native::parse(&reject.raw, &arrival),
            });
        }
        let decoded = if is(Topic::Reports) {
            self.codec.decode::<Report>(&reject.raw).map(Outgoing::Report)
        } else {
            self.codec.decode::<Event>(&reject.raw).map(Outgoing::Event)
        };
        let mut batch = Batch::default();
        match decoded {
            Ok(record) => {
                batch.accepted.push(payload::Accepted { index: 0, record, raw: reject.raw.clone() });
            }
            Err(error) => batch.refuse(0, reject.reason, error.to_string(), reject.raw.clone(), 0),
        }
        Ok(batch)
    }

    fn judge(&self, reject: &Rejected, origin: &str, metric: Option<&str>, mut batch: Batch) -> Reread {
        batch.admit(&self.known);
        if let Some(metric) = metric {
            only_metric(&mut batch, metric);
        } else {
            only_named(&mut batch, reject);
        }
        if batch.accepted.is_empty() {
            let about = |refusal: &&payload::Refusal| refusal.metric.as_deref() == metric;
            let refusal = batch.refused.iter().find(about).or(batch.refused.first());
            return match refusal {
                Some(refusal) => Reread::Refused(refusal.reason, refusal.detail.clone()),
                None => Reread::Refused(reject.reason, reject.detail.clone()),
            };
        }
        let arrival = self.arrival(reject, origin);
        // A record that was turned away as a whole for its object had its readings looked at before.
        let looked_at = metric.is_some()
            || reject.stage == RejectStage::Dataflow
            || matches!(reject.reason, Reason::UnknownFacility | Reason::UnknownDevice);
        if looked_at {
            batch.refused.clear();
        }
        Reread::Taken(batch.take_outgoing(&arrival))
    }
}

/// Keeps only the reading that was turned away; when it has another name by now, all readings, of which the dataflow
/// knows those that it has.
fn only_metric(batch: &mut Batch, metric: &str) {
    let has = |record: &Outgoing| matches!(record, Outgoing::Report(r) if r.readings.iter().any(|r| r.metric == metric));
    if !batch.accepted.iter().any(|accepted| has(&accepted.record)) {
        return;
    }
    batch.accepted.retain(|accepted| has(&accepted.record));
    for accepted in &mut batch.accepted {
        if let Outgoing::Report(report) = &mut accepted.record {
            report.readings.retain(|reading| reading.metric == metric);
        }
    }
}

/// Of a payload about several objects keeps only the one that the reject names.
fn only_named(batch: &mut Batch, reject: &Rejected) {
    if batch.accepted.len() < 2 || !matches!(reject.reason, Reason::UnknownFacility | Reason::UnknownDevice) {
        return;
    }
    let words: BTreeSet<&str> = reject.detail.split([' ', ',']).collect();
    let named = |record: &Outgoing| match (record, reject.reason) {
        (Outgoing::Report(report), Reason::UnknownDevice) => {
            report.device.as_deref().is_some_and(|device| words.contains(device))
        }
        (Outgoing::Report(report), _) => words.contains(report.facility.as_str()),
        (Outgoing::Event(event), _) => words.contains(event.facility.as_str()),
        _ => false,
    };
    if batch.accepted.iter().any(|accepted| named(&accepted.record)) {
        batch.accepted.retain(|accepted| named(&accepted.record));
    }
}

#[cfg(test)]
mod tests;
