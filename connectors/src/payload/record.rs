//! One record: the checks and readings that every form has in common.
//!
//! Enters: the fields of a record as they were found. Leaves: a report, and a refusal per reading that cannot be used.

use bytes::Bytes;
use jiff::{civil::DateTime, tz::TimeZone};
use schemas::{
    Catalogue, Code, MetricId, MetricKind, Millis, RawReading, RawValue, Reason, Report,
    number::{self, Decimal},
    time::{self, Moments, Written},
};

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
        let Some(id) = Catalogue::builtin().id(metric) else {
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
        if let Err(reason) = time::plausible(self.observed_at, self.received_at) {
            let detail = implausible(self.observed_at, self.received_at);
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

/// A reading's value from JSON. Text that is a number, perhaps in full-width digits, is passed on as text.
///
/// # Errors
/// [`Reason::NotANumber`], [`Reason::NotFinite`], [`Reason::WrongType`], [`Reason::TooDeep`].
pub fn value(metric: &str, kind: &Kind<'_>, decimal: Option<Decimal>) -> Result<RawValue, Wrong> {
    match kind {
        Kind::Null => Ok(RawValue::Missing),
        Kind::Number(text) => finite(metric, text).map(RawValue::Number),
        Kind::Bool(set) if is_state(metric) => Ok(RawValue::Number(f64::from(u8::from(*set)))),
        Kind::Text(text) if text.len() > MAX_TEXT => {
            Err((Reason::NotANumber, format!("{metric} is text of {} bytes, expected a number", text.len())))
        }
        Kind::Text(text) => written(metric, text, decimal),
        other => Err(unfit(metric, other, "a number")),
    }
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

/// A number that is written as text. It goes on as written for the dataflow to read and mark; with a decimal sign that is
/// agreed on it is a number already.
///
/// # Errors
/// [`Reason::NotANumber`], [`Reason::AmbiguousNumber`], [`Reason::NotFinite`].
pub fn written(what: &str, text: &str, decimal: Option<Decimal>) -> Result<RawValue, Wrong> {
    let read = match decimal {
        Some(decimal) => number::parse_as(text, decimal).map(RawValue::Number),
        None => number::parse(text).map(|_| RawValue::Text(text.to_owned())),
    };
    match read {
        Ok(value) => Ok(value),
        Err(Reason::NotFinite) => Err((Reason::NotFinite, format!("{what} is {text}"))),
        Err(reason) => Err((reason, format!("{what} is the text '{text}', {}", expected(text, decimal)))),
    }
}

/// What was expected of text that is no number in the form that is known or without one.
fn expected(text: &str, decimal: Option<Decimal>) -> String {
    let (point, comma) = (number::parse_as(text, Decimal::Point), number::parse_as(text, Decimal::Comma));
    match (decimal, point, comma) {
        (None, Ok(point), Ok(comma)) => format!(
            "which is {point} or {comma}: send a number, or let the setting decimal of the profile or mapping say which"
        ),
        (None, Ok(_), Err(_)) => "expected a number; the setting decimal = \".\" reads it".to_owned(),
        (None, Err(_), Ok(_)) => "expected a number; the setting decimal = \",\" reads it".to_owned(),
        (None, Err(_), Err(_)) => "expected a number".to_owned(),
        (Some(Decimal::Point), ..) => "expected a number with the decimal sign '.' as configured".to_owned(),
        (Some(Decimal::Comma), ..) => "expected a number with the decimal sign ',' as configured".to_owned(),
    }
}

/// The finite value of a JSON number; integers beyond 2^53 become the nearest one.
fn finite(metric: &str, text: &str) -> Result<f64, Wrong> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => {
            let shown: String = text.chars().take(40).collect();
            Err((Reason::NotFinite, format!("{metric} is {shown}, which is no finite number")))
        }
    }
}

fn is_state(metric: &str) -> bool {
    Catalogue::builtin().id(metric).is_some_and(|id| id.metric().kind == MetricKind::State)
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

/// A time from JSON: RFC 3339, a civil time in the arrival's zone (compact as in HJ 212 also), or milliseconds since 1970
/// as a number or as digits. 14 and 17 digits are a compact time: as milliseconds they would be centuries ahead.
///
/// # Errors
/// [`Reason::BadTime`], [`Reason::WrongType`].
pub fn instant(field: &str, node: &Node<'_>, arrival: &Arrival) -> Result<Millis, Wrong> {
    match &node.kind {
        Kind::Number(text) => match millis(text).ok_or_else(|| bad_time(field, text))? {
            compact if is_compact(compact) => local_time(field, &compact.to_string(), arrival),
            millis => Ok(millis),
        },
        Kind::Text(text) => instant_text(field, text, arrival),
        other => Err(unfit(field, other, "RFC 3339 text or milliseconds since 1970")),
    }
}

/// A time from text.
///
/// # Errors
/// [`Reason::BadTime`].
pub fn instant_text(field: &str, text: &str, arrival: &Arrival) -> Result<Millis, Wrong> {
    // Compact civil dates such as 20240115 are also digits; milliseconds of this century have 12 or 13.
    let digits = text.len() >= 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    match millis(text).filter(|millis| digits && !is_compact(*millis)) {
        Some(millis) => Ok(millis),
        None => local_time(field, text, arrival),
    }
}

/// Whether a number has the 14 or 17 digits of a compact time.
pub fn is_compact(number: i64) -> bool {
    matches!(number.checked_ilog10(), Some(13 | 16))
}

/// A time that is not written as milliseconds.
fn local_time(field: &str, text: &str, arrival: &Arrival) -> Result<Millis, Wrong> {
    match time::read(text).ok_or_else(|| bad_time(field, text))? {
        Written::Moment(at) => Ok(at),
        Written::Local(local) => moment(local, &arrival.zone).map_err(|why| {
            let shown: String = text.chars().take(40).collect();
            (Reason::BadTime, format!("{field} is '{shown}', which {why}"))
        }),
    }
}

/// When a local time was.
///
/// # Errors
/// Why it cannot be said, and what to send.
pub fn moment(local: DateTime, zone: &TimeZone) -> Result<Millis, String> {
    let name = zone.iana_name().unwrap_or("its zone");
    match time::moments(local, zone) {
        Some(Moments::One(at)) => Ok(at),
        Some(Moments::Two(..)) => Err(format!("occurs twice in {name}: send it with its offset")),
        Some(Moments::Never) => Err(format!("does not occur in {name}: send it with its offset")),
        None => Err("is out of range".to_owned()),
    }
}

fn bad_time(field: &str, text: &str) -> Wrong {
    let shown: String = text.chars().take(40).collect();
    let detail =
        format!("{field} is '{shown}', expected RFC 3339, yyyyMMddHHmmss or milliseconds since 1970");
    (Reason::BadTime, detail)
}

/// Whole milliseconds from a JSON number, which some senders write with a fraction or an exponent.
fn millis(text: &str) -> Option<Millis> {
    text.parse::<i64>().ok().or_else(|| {
        let value = text.parse::<f64>().ok()?;
        (value.abs() < 9.0e15).then_some(value.floor() as i64)
    })
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

fn unknown_metric(metric: &str) -> String {
    let shown: String = metric.chars().take(MAX_TEXT).collect();
    match nearest(metric) {
        Some(near) => format!("metric {shown} is not in the catalogue, the nearest is {near}"),
        None => format!("metric {shown} is not in the catalogue"),
    }
}

/// The code that differs least, when it differs by no more than a slip of the pen.
fn nearest(metric: &str) -> Option<&'static str> {
    if metric.len() > 40 {
        return None;
    }
    let far = 1 + metric.len() / 6;
    let codes = Catalogue::builtin().iter().map(|(id, _)| id.code());
    codes
        .filter(|code| code.len().abs_diff(metric.len()) <= far)
        .map(|code| (distance(code.as_bytes(), metric.as_bytes()), code))
        .filter(|(distance, _)| *distance <= far)
        .min()
        .map(|(_, code)| code)
}

/// How many letters have to be changed, added or left out.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
