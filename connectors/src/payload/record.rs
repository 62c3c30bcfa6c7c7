//! One record: the checks and readings that every form has in common.
//!
//! Enters: the fields of a record as they were found. Leaves: a report, and a refusal per reading that cannot be used.

use bytes::Bytes;
use schemas::{Catalogue, Code, MetricId, Millis, RawReading, RawValue, Reason, Report, time};

use super::{
    Arrival, Batch, MAX_READINGS, MAX_RECORD, MAX_TEXT,
    batch::Accepted,
    json::{Kind, MAX_DEPTH, Node},
};
use crate::Outgoing;

/// Why something cannot be used, and what exactly.
pub type Wrong = (Reason, String);

/// A payload's text within its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The bytes.
    pub payload: &'a Bytes,
    /// Where `text` begins in them.
    pub offset: usize,
}

impl Source<'_> {
    /// The bytes of a place in the text.
    #[must_use]
    pub fn bytes(&self, span: &std::ops::Range<usize>) -> Bytes {
        self.payload.slice(self.offset + span.start..self.offset + span.end)
    }
}

/// A record that is being read.
#[derive(Debug)]
pub struct Draft {
    /// Its place in the payload.
    pub index: usize,
    /// Its bytes.
    pub raw: Bytes,
    /// Facility code.
    pub facility: Code,
    /// Device code.
    pub device: Option<Code>,
    /// When it was measured.
    pub observed_at: Millis,
    /// When it arrived.
    pub received_at: Millis,
    /// The sender's counter.
    pub sequence: Option<i64>,
    /// What was read so far.
    pub readings: smallvec::SmallVec<[RawReading; 4]>,
    /// A bit per metric of the catalogue.
    seen: smallvec::SmallVec<[u64; 4]>,
    refused: usize,
    /// Whether every refusal names the object, because the record's own bytes may not.
    names_object: bool,
}

impl Draft {
    /// A record without readings yet.
    #[must_use]
    pub fn new(index: usize, raw: Bytes, facility: Code, observed_at: Millis, arrival: &Arrival) -> Draft {
        Draft {
            index,
            raw,
            facility,
            device: None,
            observed_at,
            received_at: arrival.at,
            sequence: None,
            readings: smallvec::SmallVec::new(),
            seen: smallvec::SmallVec::new(),
            refused: 0,
            names_object: false,
        }
    }

    /// The same record with its object's name in every refusal.
    #[must_use]
    pub fn naming_object(self) -> Draft {
        Draft { names_object: true, ..self }
    }

    /// Adds a reading, or refuses it with its bytes in `batch`.
    pub fn reading(
        &mut self,
        batch: &mut Batch,
        metric: &str,
        value: Result<RawValue, Wrong>,
        bytes: impl FnOnce() -> Bytes,
    ) {
        match self.checked(metric, value) {
            Ok(reading) => self.readings.push(reading),
            Err((reason, mut detail)) => {
                self.refused += 1;
                if self.names_object || !batch.repeats(&self.raw) {
                    detail = self.named(&detail);
                }
                batch.refuse_reading(self.index, metric, (reason, detail), &self.raw, bytes());
            }
        }
    }

    /// What is wrong, and with what object.
    fn named(&self, detail: &str) -> String {
        match &self.device {
            None => format!("facility {}: {detail}", self.facility),
            Some(device) => format!("facility {}, device {device}: {detail}", self.facility),
        }
    }

    fn refuse(&self, batch: &mut Batch, reason: Reason, detail: String) {
        let detail = if self.names_object { self.named(&detail) } else { detail };
        batch.refuse(self.index, reason, detail, self.raw.clone(), self.readings.len());
    }

    fn checked(&mut self, metric: &str, value: Result<RawValue, Wrong>) -> Result<RawReading, Wrong> {
        if metric.is_empty()
            && let Err(wrong) = value
        {
            return Err(wrong);
        }
        let Some(id) = Catalogue::in_force().id(metric) else {
            return Err((Reason::UnknownMetric, unknown_metric(metric)));
        };
        if self.readings.len() + self.refused >= MAX_READINGS {
            return Err((Reason::TooLarge, format!("a report may hold {MAX_READINGS} readings")));
        }
        if self.has(id) {
            return Err((
                Reason::DuplicateKey,
                format!("{metric} stands more than once in the record, the first is used"),
            ));
        }
        let value = value?;
        self.mark(id);
        Ok(RawReading { metric: Code::const_new(id.code()), value })
    }

    fn has(&self, metric: MetricId) -> bool {
        let (word, bit) = (usize::from(metric.0 / 64), metric.0 % 64);
        self.seen.get(word).is_some_and(|bits| bits >> bit & 1 == 1)
    }

    fn mark(&mut self, metric: MetricId) {
        let (word, bit) = (usize::from(metric.0 / 64), metric.0 % 64);
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        self.seen[word] |= 1 << bit;
    }

    /// Ends the record: a report when it has readings, a refusal when it never had any. What cannot be used still shows
    /// that its object is in contact, and leaves as a report without readings too.
    pub fn finish(mut self, batch: &mut Batch, arrival: &Arrival) {
        if let Err(reason) = time::plausible(self.observed_at, self.received_at, arrival.backfill) {
            let detail = match reason {
                Reason::TooOld => time::too_old(self.observed_at, self.received_at, arrival.backfill),
                _ => implausible(self.observed_at, self.received_at),
            };
            self.refuse(batch, reason, detail);
            self.readings.clear();
            return batch.heard.push(self.report(arrival));
        }
        if self.readings.is_empty() {
            if self.refused == 0 {
                self.refuse(batch, Reason::Empty, "the record has no readings".to_owned());
            }
            return batch.heard.push(self.report(arrival));
        }
        let (index, raw) = (self.index, self.raw.clone());
        batch.accepted.push(Accepted { index, record: Outgoing::Report(self.report(arrival)), raw });
    }

    fn report(self, arrival: &Arrival) -> Report {
        Report {
            facility: self.facility,
            device: self.device,
            observed_at: self.observed_at,
            received_at: self.received_at,
            origin: Code::new(&arrival.origin),
            sequence: self.sequence,
            readings: self.readings,
        }
    }
}

/// Why a time cannot be true, for [`time::plausible`].
fn implausible(observed_at: Millis, received_at: Millis) -> String {
    let shown = time::rfc3339(observed_at);
    if observed_at >= time::EARLIEST {
        let hint = match observed_at / time::EARLIEST {
            0..1_000 => "",
            1_000..1_000_000 => ": it looks like microseconds, milliseconds are expected",
            _ => ": it looks like nanoseconds, milliseconds are expected",
        };
        return format!(
            "observed_at is {shown}, more than an hour after it arrived at {}{hint}",
            time::rfc3339(received_at)
        );
    }
    let hint = if (190_001_010_000..210_001_010_000).contains(&observed_at) {
        ": it looks like yyyyMMddHHmm, yyyyMMddHHmmss is expected"
    } else if (time::EARLIEST / 1000..time::EARLIEST).contains(&observed_at) {
        ": it looks like seconds, milliseconds are expected"
    } else {
        ""
    };
    format!("observed_at is {shown}{hint}")
}

/// Why a value that is not of the expected kind cannot be used.
pub fn unfit(what: &str, kind: &Kind<'_>, expected: &str) -> Wrong {
    match kind {
        Kind::Broken(error) => (Reason::Malformed, format!("{what} is no JSON value: {error}")),
        Kind::NoText(byte) => (Reason::Malformed, format!("byte {byte} is no UTF-8")),
        Kind::TooLong(length) => {
            (Reason::TooLarge, format!("{what} has {length} bytes, {MAX_RECORD} are allowed"))
        }
        Kind::TooDeep => (Reason::TooDeep, format!("{what} nests deeper than {MAX_DEPTH}")),
        other => (Reason::WrongType, format!("{what} is {}, expected {expected}", other.name())),
    }
}

/// Facility and device of a record: those that it names, and those of its topic where it names none.
///
/// # Errors
/// [`Reason::TopicMismatch`] when the record names another than its topic, [`Reason::MissingField`] when neither names a
/// facility.
pub fn object_of(
    facility: Option<Code>,
    device: Option<Code>,
    arrival: &Arrival,
) -> Result<(Code, Option<Code>), Wrong> {
    let one = |what: &str, named: Option<Code>, topic: &Option<Code>| match (named, topic) {
        (Some(named), Some(topic)) if named != *topic => {
            let detail = format!("the record names {what} {named}, its topic names {what} {topic}");
            Err((Reason::TopicMismatch, detail))
        }
        (named, topic) => Ok(named.or_else(|| topic.clone())),
    };
    let facility = one("facility", facility, &arrival.facility)?
        .ok_or_else(|| (Reason::MissingField, "field facility is missing".to_owned()))?;
    Ok((facility, one("device", device, &arrival.device)?))
}

/// A code from JSON: a facility or device.
///
/// # Errors
/// [`Reason::WrongType`] when it is no text, [`Reason::MissingField`] when it is empty, [`Reason::TooLarge`].
pub fn code(field: &str, node: &Node<'_>) -> Result<Code, Wrong> {
    match &node.kind {
        Kind::Text(text) => code_text(field, text),
        other => Err(unfit(field, other, "text")),
    }
}

/// A code from text.
///
/// # Errors
/// As for [`code`].
pub fn code_text(field: &str, text: &str) -> Result<Code, Wrong> {
    let text = text.trim();
    if text.is_empty() {
        Err((Reason::MissingField, format!("{field} is empty")))
    } else if text.len() > MAX_TEXT {
        Err((Reason::TooLarge, format!("{field} has {} bytes, {MAX_TEXT} are allowed", text.len())))
    } else {
        Ok(Code::new(text))
    }
}

/// A sequence number from JSON.
///
/// # Errors
/// [`Reason::NegativeNumber`], [`Reason::WrongType`].
pub fn sequence(node: &Node<'_>) -> Result<Option<i64>, Wrong> {
    let wrong = |found: &str| {
        (Reason::WrongType, format!("sequence is {found}, expected a whole number from 0 to {}", i64::MAX))
    };
    match &node.kind {
        Kind::Null => Ok(None),
        Kind::Number(text) => match text.parse::<i64>() {
            Ok(number) if number < 0 => {
                Err((Reason::NegativeNumber, format!("sequence is {number}, expected at least 0")))
            }
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(wrong(&text.chars().take(40).collect::<String>())),
        },
        Kind::Broken(_) => Err(unfit("sequence", &node.kind, "a whole number")),
        other => Err(wrong(other.name())),
    }
}

fn unknown_metric(metric: &str) -> String {
    let shown: String = metric.chars().take(MAX_TEXT).collect();
    match nearest(metric) {
        Some(near) => format!("metric {shown} is not in the catalogue, the nearest is {near}"),
        None => format!("metric {shown} is not in the catalogue"),
    }
}

/// The code that differs by no more than a slip of the pen.
fn nearest(metric: &str) -> Option<&'static str> {
    let slips = 1 + metric.len() / 6;
    let codes = Catalogue::in_force().iter().map(|(id, _)| id.code());
    // What is long is no code, and comparing it costs time.
    (metric.len() <= 40).then(|| schemas::nearest::within(slips, metric, codes)).flatten()
}
