//! Custom JSON: where facility, device, time and values stand is said in the configuration, by JSON pointers (RFC 6901).
//!
//! Fields that no pointer names are passed over; a pointer that finds nothing is no reading.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::fmt::strtime;
use schemars::JsonSchema;
use schemas::{
    Catalogue, Metric, Millis, RawValue, Reason, number,
    units::{Conversion, conversion},
};
use serde::{Deserialize, Serialize};

use super::{
    Arrival, Batch, MAX_RECORDS,
    instant::{instant, is_compact, moment},
    json::{self, Kind, Node},
    readable::Readable,
    record::{Draft, Source, Wrong, code, object_of, sequence, unfit},
    value::value,
};
use crate::Error;

/// Where things stand in the payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pointers {
    /// The array of records, or the one record; the whole payload when absent. Other pointers start at a record.
    #[serde(default)]
    pub records: String,
    /// The facility's code; may be absent when the topic names it.
    pub facility: Option<String>,
    /// The device's code.
    pub device: Option<String>,
    /// The time; the arrival's when absent.
    pub time: Option<String>,
    /// How the time is written.
    #[serde(default = "auto")]
    pub time_format: String,
    /// The sender's counter.
    pub sequence: Option<String>,
    /// Metrics by the pointers to their values.
    pub fields: BTreeMap<String, Field>,
}

/// One value: its metric and how it becomes the metric's unit: `value · factor + offset`, then from `unit`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Metric code of the catalogue.
    pub metric: String,
    /// Multiplied first.
    #[serde(default = "one")]
    pub factor: f64,
    /// Added then.
    #[serde(default)]
    pub offset: f64,
    /// The unit after that; the metric's own when absent.
    pub unit: Option<String>,
}

fn auto() -> String {
    "auto".to_owned()
}

fn one() -> f64 {
    1.0
}

/// Pointers that were checked, ready for use.
#[derive(Clone, Debug)]
pub struct Mapping {
    pointers: Pointers,
    time: TimeFormat,
    fields: Vec<(String, &'static Metric, Scale)>,
}

#[derive(Clone, Debug, PartialEq)]
enum TimeFormat {
    /// RFC 3339, a civil time, or milliseconds.
    Auto,
    Seconds,
    Millis,
    /// As for strptime.
    Pattern(String),
}

/// Two steps: the configured one, then the unit's.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scale {
    configured: Conversion,
    unit: Conversion,
}

impl Mapping {
    /// Checks the pointers.
    ///
    /// # Errors
    /// [`Error::Setting`] for a malformed pointer, an unknown metric, a unit that does not fit, a time format that is
    /// none of `auto`, `ms`, `s` and a strptime pattern, or when nothing is mapped.
    pub fn new(pointers: Pointers, topic_names_facility: bool) -> Result<Mapping, Error> {
        let wrong = |name: &str, detail: String| Error::Setting { name: format!("pointers.{name}"), detail };
        if pointers.facility.is_none() && !topic_names_facility {
            return Err(wrong("facility", "neither a pointer nor the topic names the facility".to_owned()));
        }
        if pointers.fields.is_empty() {
            return Err(wrong("fields", "nothing is mapped".to_owned()));
        }
        let named = [
            ("records", Some(&pointers.records)),
            ("facility", pointers.facility.as_ref()),
            ("device", pointers.device.as_ref()),
            ("time", pointers.time.as_ref()),
            ("sequence", pointers.sequence.as_ref()),
        ];
        let all = named.into_iter().filter_map(|(name, pointer)| Some((name, pointer?)));
        for (name, pointer) in all.chain(pointers.fields.keys().map(|pointer| ("fields", pointer))) {
            if !pointer.is_empty() && !pointer.starts_with('/') {
                return Err(wrong(name, format!("'{pointer}' is no JSON pointer: it begins with /")));
            }
        }
        let mut fields = Vec::new();
        for (pointer, field) in &pointers.fields {
            let name = format!("fields.\"{pointer}\"");
            let id = Catalogue::in_force()
                .id(&field.metric)
                .ok_or_else(|| wrong(&name, format!("metric {} is not in the catalogue", field.metric)))?;
            let unit = match &field.unit {
                None => Conversion::NONE,
                Some(unit) => conversion(unit, id.metric()).map_err(|(_, detail)| wrong(&name, detail))?,
            };
            let configured = Conversion { factor: field.factor, offset: field.offset };
            if !(configured.factor.is_finite() && configured.offset.is_finite()) || configured.factor == 0.0 {
                return Err(wrong(&name, "factor and offset must be finite, the factor not 0".to_owned()));
            }
            fields.push((pointer.clone(), id.metric(), Scale { configured, unit }));
        }
        let time = match pointers.time_format.as_str() {
            "auto" => TimeFormat::Auto,
            "ms" => TimeFormat::Millis,
            "s" => TimeFormat::Seconds,
            pattern if pattern.contains('%') => TimeFormat::Pattern(pattern.to_owned()),
            other => {
                let detail = format!("'{other}' is none of auto, ms, s and a pattern such as %Y%m%d%H%M%S");
                return Err(wrong("time_format", detail));
            }
        };
        Ok(Mapping { pointers, time, fields })
    }

    /// Reads a payload.
    #[must_use]
    pub fn parse(&self, payload: &Bytes, arrival: &Arrival) -> Batch {
        let readable = match Readable::new(payload) {
            Ok(readable) => readable,
            Err((reason, detail)) => return Batch::unreadable(payload, reason, detail),
        };
        let node = match json::parse(&readable.text) {
            Ok(node) => node,
            Err(error) => {
                let (reason, detail) = readable.unreadable(&error);
                return Batch::unreadable(payload, reason, detail);
            }
        };
        let records = match find(&node, &self.pointers.records) {
            Ok(Some(Node { kind: Kind::Array(records), .. })) => records.as_slice(),
            Ok(Some(record)) => std::slice::from_ref(record),
            Ok(None) => {
                let detail = format!("there is nothing at {}", self.pointers.records);
                return Batch::unreadable(payload, Reason::MissingField, detail);
            }
            Err((reason, detail)) => return Batch::unreadable(payload, reason, detail),
        };
        if records.is_empty() {
            return Batch::unreadable(payload, Reason::Empty, "there are no records".to_owned());
        }
        if records.len() > MAX_RECORDS {
            let detail = format!("{} records, {MAX_RECORDS} are allowed", records.len());
            return Batch::unreadable(payload, Reason::TooLarge, detail);
        }
        let source = readable.source;
        let mut batch = Batch::default();
        for (index, record) in records.iter().enumerate() {
            // The whole payload when it is one record: then a reject can be sent again as it came.
            let raw = if records.len() == 1 { payload.clone() } else { source.bytes(&record.span) };
            let checked = batch.has_room().and_then(|()| readable.check(record));
            match checked.and_then(|()| self.head(index, raw.clone(), record, arrival)) {
                Ok(draft) => self.readings(&mut batch, draft, source, record, arrival),
                Err((reason, detail)) => {
                    let readings = self
                        .fields
                        .iter()
                        .filter(|field| matches!(find(record, &field.0), Ok(Some(_))))
                        .count();
                    batch.refuse(index, reason, detail, raw, readings);
                }
            }
        }
        batch
    }

    fn head(&self, index: usize, raw: Bytes, record: &Node<'_>, arrival: &Arrival) -> Result<Draft, Wrong> {
        let at = |pointer: &Option<String>| match pointer {
            Some(pointer) => Ok(find(record, pointer)?.filter(|node| node.kind != Kind::Null)),
            None => Ok::<_, Wrong>(None),
        };
        if matches!(record.kind, Kind::Broken(_)) {
            return Err(unfit("the record", &record.kind, "an object"));
        }
        let named = |what, pointer| at(pointer)?.map(|node| code(what, node)).transpose();
        let (facility, device) = object_of(
            named("facility", &self.pointers.facility)?,
            named("device", &self.pointers.device)?,
            arrival,
        )?;
        let observed_at = match (&self.pointers.time, at(&self.pointers.time)?) {
            (Some(_), Some(node)) => self.time.read(node, arrival)?,
            (Some(pointer), None) => {
                return Err((Reason::MissingField, format!("the time at {pointer} is missing")));
            }
            (None, _) => arrival.at,
        };
        let mut draft = Draft::new(index, raw, facility, observed_at, arrival);
        draft.device = device;
        if let Some(node) = at(&self.pointers.sequence)? {
            draft.sequence = sequence(node)?;
        }
        Ok(draft)
    }

    fn readings(
        &self,
        batch: &mut Batch,
        mut draft: Draft,
        source: Source<'_>,
        record: &Node<'_>,
        arrival: &Arrival,
    ) {
        for (pointer, metric, scale) in &self.fields {
            match find(record, pointer) {
                Ok(None) => {}
                Ok(Some(node)) => {
                    let found = value(&metric.code, &node.kind, arrival.decimal)
                        .and_then(|raw| scale.apply(&metric.code, raw));
                    draft.reading(batch, &metric.code, found, || source.bytes(&node.span));
                }
                Err(wrong) => draft.reading(batch, &metric.code, Err(wrong), || source.bytes(&record.span)),
            }
        }
        draft.finish(batch, arrival);
    }
}

impl Scale {
    /// The value in the metric's unit; text is passed on as written when nothing has to be computed.
    fn apply(self, metric: &str, raw: RawValue) -> Result<RawValue, Wrong> {
        if self.configured == Conversion::NONE && self.unit == Conversion::NONE {
            return Ok(raw);
        }
        let number = match raw {
            RawValue::Missing => return Ok(RawValue::Missing),
            RawValue::Number(number) => number,
            // What can only be read by the decimal sign is a number by now.
            RawValue::Text(text) => {
                number::parse(&text).map_err(|reason| (reason, format!("{metric} is '{text}'")))?.value
            }
        };
        let number = self.unit.apply(self.configured.apply(number));
        if number.is_finite() {
            Ok(RawValue::Number(number))
        } else {
            Err((Reason::NotFinite, format!("{metric} is no finite number")))
        }
    }
}

impl TimeFormat {
    fn read(&self, node: &Node<'_>, arrival: &Arrival) -> Result<Millis, Wrong> {
        let written = match &node.kind {
            Kind::Number(text) => *text,
            Kind::Text(text) => text,
            other => return Err(unfit("the time", other, "a number or text")),
        };
        let bad = |expected: &str| {
            let shown: String = written.chars().take(40).collect();
            (Reason::BadTime, format!("the time is '{shown}', expected {expected}"))
        };
        let scaled = |scale: f64, expected: &str| {
            let number = written.trim().parse::<f64>().ok().map(|number| number * scale);
            let number = number.filter(|number| number.abs() < 9.0e15).ok_or_else(|| bad(expected))?;
            let millis = number.floor() as Millis;
            if is_compact(millis) { Err(bad(expected)) } else { Ok(millis) }
        };
        match self {
            TimeFormat::Auto => instant("the time", node, arrival),
            TimeFormat::Millis => scaled(1.0, "milliseconds since 1970"),
            TimeFormat::Seconds => scaled(1e3, "seconds since 1970"),
            TimeFormat::Pattern(pattern) => pattern_time(pattern, written, arrival)
                .map_err(|why| bad(&format!("the form {pattern}{why}"))),
        }
    }
}

/// A time by a strptime pattern; without offset it is in the arrival's zone.
///
/// # Errors
/// What else is wrong than its form.
fn pattern_time(pattern: &str, written: &str, arrival: &Arrival) -> Result<Millis, String> {
    let broken = strtime::parse(pattern, written.trim()).map_err(|_| String::new())?;
    if let Ok(timestamp) = broken.to_timestamp() {
        return Ok(timestamp.as_millisecond());
    }
    let civil = broken.to_datetime().map_err(|_| String::new())?;
    moment(civil, &arrival.zone).map_err(|why| format!(", and it {why}"))
}

/// The value at a pointer.
///
/// # Errors
/// [`Reason::DuplicateKey`] when a key on the way stands more than once.
fn find<'n, 'a>(node: &'n Node<'a>, pointer: &str) -> Result<Option<&'n Node<'a>>, Wrong> {
    let mut at = node;
    for token in pointer.split('/').skip(1) {
        let key = token.replace("~1", "/").replace("~0", "~");
        let next = match &at.kind {
            Kind::Object(members) => super::native::field(members, &key)?,
            Kind::Array(nodes) => key.parse::<usize>().ok().and_then(|index| nodes.get(index)),
            _ => None,
        };
        match next {
            Some(next) => at = next,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}
