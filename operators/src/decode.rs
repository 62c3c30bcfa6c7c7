//! Decoding: Kafka values become observations.
//!
//! Enters: the bytes of a record with its place in the topic. Leaves: observations whose metrics are known and whose
//! values are finite, and rejects. Guarantees: every reading of a readable record leaves either in its observation
//! or as a reject of its own, so one bad reading does not hold up the others; an unreadable record leaves as a
//! reject with its bytes. Values are read, not judged, except that text is marked as not normal.
//!
//! A reading that the sender reports as not measured leaves as a reject (`not_measured`): it is no reading and has no
//! row, and for completeness it counts as missing like one that never came. A negative sequence number is for the
//! connectors to refuse; one that has come this far is passed on as it is.

use schemas::{
    Catalogue, Error, Metric, MetricId, Millis, Reason, Reject, ReportView, Stage,
    avro::{Codec, Record},
    number,
    report::ValueView,
};
use smallvec::SmallVec;

use crate::{
    flow::{Observation, Observed},
    refuse::{self, Header},
};

/// A record of Kafka.
#[derive(Clone, Copy, Debug)]
pub struct KafkaRecord<'a> {
    /// Partition of the topic.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// When the broker appended it: the time of the reject when the record has none of its own.
    pub appended_at: Millis,
    /// The value.
    pub value: &'a [u8],
}

/// Decodes reports. What it learns from one report makes the next one faster and changes no output.
pub struct ReportDecoder {
    codec: Codec,
    topic: String,
    metrics: MetricLookup,
}

impl ReportDecoder {
    /// A decoder for a topic of this name.
    #[must_use]
    pub fn new(codec: Codec, topic: &str) -> ReportDecoder {
        ReportDecoder { codec, topic: topic.to_owned(), metrics: MetricLookup::new(Catalogue::builtin()) }
    }

    /// Decodes one record into at most one observation and any number of rejects.
    pub fn decode(
        &mut self,
        record: KafkaRecord<'_>,
        observations: &mut Vec<Observation>,
        rejects: &mut Vec<Reject>,
    ) {
        match self.codec.view_report(record.value) {
            Ok(report) => {
                let place = Place { record, topic: &self.topic };
                let observed = observe(&mut self.metrics, place, report.view(), report.readings(), rejects);
                observations.extend(observed);
            }
            Err(error) => rejects.push(unreadable(&self.topic, record, &error)),
        }
    }
}

/// Decodes a record of any other topic.
///
/// # Errors
/// The reject of a record that cannot be read, with its bytes.
pub fn decode<R: Record>(codec: &Codec, topic: &str, record: KafkaRecord<'_>) -> Result<R, Box<Reject>> {
    codec.decode(record.value).map_err(|error| Box::new(unreadable(topic, record, &error)))
}

/// Where a report was read.
#[derive(Clone, Copy)]
struct Place<'a> {
    record: KafkaRecord<'a>,
    topic: &'a str,
}

impl Place<'_> {
    fn origin(self) -> String {
        refuse::origin(self.topic, self.record.partition, self.record.offset)
    }
}

fn unreadable(topic: &str, record: KafkaRecord<'_>, error: &Error) -> Reject {
    let reason = match error {
        Error::UnknownSchema { .. } => Reason::UnknownSchema,
        _ => Reason::Malformed,
    };
    whole(Place { record, topic }, record.appended_at, reason, error.to_string())
}

fn whole(place: Place<'_>, at: Millis, reason: Reason, detail: String) -> Reject {
    let raw = place.record.value.to_vec();
    Reject { at, origin: place.origin(), reason, detail, raw, stage: Stage::Dataflow, readings: 0 }
}

/// Reads the readings of a report; `None` when none of them is left.
fn observe<'a>(
    metrics: &mut MetricLookup,
    place: Place<'_>,
    report: ReportView<'_>,
    readings: impl Iterator<Item = (&'a str, ValueView<'a>)>,
    rejects: &mut Vec<Reject>,
) -> Option<Observation> {
    let mut observed = SmallVec::new();
    let mut refused = false;
    let mut before = None;
    for (code, value) in readings {
        let metric = metrics.find(before, code);
        match metric.ok_or(Reason::UnknownMetric).and_then(|metric| read(metric, value)) {
            Ok(reading) => {
                before = Some(reading.metric);
                observed.push(reading);
            }
            Err(reason) => {
                refused = true;
                let detail = explain(reason, code, value);
                rejects.push(refuse::reading(header(report), &place.origin(), (code, value), reason, detail));
            }
        }
    }
    if observed.is_empty() {
        if !refused {
            let detail = format!("report of {} has no readings", refuse::object(header(report)));
            rejects.push(whole(place, report.received_at, Reason::Empty, detail));
        }
        return None;
    }
    Some(Observation {
        facility: report.facility.into(),
        device: report.device.unwrap_or_default().into(),
        observed_at: report.observed_at,
        received_at: report.received_at,
        sequence: report.sequence,
        partition: place.record.partition,
        offset: place.record.offset,
        readings: observed,
    })
}

fn header(report: ReportView<'_>) -> Header<'_> {
    Header {
        facility: report.facility,
        device: report.device.unwrap_or_default(),
        observed_at: report.observed_at,
        received_at: report.received_at,
        sequence: report.sequence,
    }
}

/// Text is read where it can be, and is not normal even when it is plain: a number belongs there.
fn read(metric: MetricId, value: ValueView<'_>) -> Result<Observed, Reason> {
    match value {
        ValueView::Number(value) if value.is_finite() => Ok(Observed { metric, value, normal: true }),
        ValueView::Number(_) => Err(Reason::NotFinite),
        ValueView::Text(text) => {
            number::parse(text).map(|parsed| Observed { metric, value: parsed.value, normal: false })
        }
        ValueView::Missing => Err(Reason::NotMeasured),
    }
}

fn explain(reason: Reason, code: &str, value: ValueView<'_>) -> String {
    match (reason, value) {
        (Reason::UnknownMetric, _) => format!("metric {code} is not in the catalogue"),
        (Reason::NotMeasured, _) => format!("{code} was reported as not measured"),
        (_, ValueView::Number(value)) => format!("{code} is {value}, expected a finite number"),
        (_, ValueView::Text(text)) => format!("{code} is the text {text:?}, expected a finite number"),
        (_, ValueView::Missing) => format!("{code} has no value"),
    }
}

/// Finds metrics by code. Readings mostly follow one another as they did before, so the one that came after the
/// metric before is tried first.
struct MetricLookup {
    catalogue: &'static Catalogue,
    /// By the number of the metric before, and one more for the first of a report.
    after: Vec<Option<(MetricId, &'static Metric)>>,
}

impl MetricLookup {
    fn new(catalogue: &'static Catalogue) -> MetricLookup {
        MetricLookup { catalogue, after: vec![None; catalogue.iter().count() + 1] }
    }

    fn find(&mut self, before: Option<MetricId>, code: &str) -> Option<MetricId> {
        let after = match before {
            Some(metric) => &mut self.after[usize::from(metric.0)],
            None => self.after.last_mut()?,
        };
        if let Some((id, metric)) = after
            && metric.code == code
        {
            return Some(*id);
        }
        let id = self.catalogue.id(code)?;
        *after = Some((id, self.catalogue.metric(id)));
        Some(id)
    }
}
