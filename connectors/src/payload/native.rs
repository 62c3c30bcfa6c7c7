//! The native form: one object, an array of them, or one per line.
//!
//! `{"facility": "ST-0001", "device": …?, "observed_at": RFC 3339 or epoch ms, "sequence": n?, "readings": {metric:
//! value, …} or [{"metric": …, "value": …}, …]}`. Further fields are passed over.

use std::ops::Range;

use bytes::Bytes;
use schemas::{Reason, Report, number::Decimal};
use smallvec::SmallVec;

use super::{
    Arrival, Batch, MAX_READINGS, MAX_RECORD, MAX_RECORDS,
    instant::instant,
    json::{self, Kind, Member, Node},
    readable::{Readable, text},
    record::{Draft, Source, Wrong, code, object_of, sequence, unfit},
    value::value,
};

/// Reads an object or an array of objects. A syntax error anywhere makes the whole payload unreadable.
#[must_use]
pub fn parse(payload: &Bytes, arrival: &Arrival) -> Batch {
    each_element(payload, |batch, index, source, node| record(batch, index, source, node, arrival))
}

/// Reads one object per line; empty lines are passed over, a syntax error costs only its line.
#[must_use]
pub fn parse_lines(payload: &Bytes, arrival: &Arrival) -> Batch {
    each_line(payload, |batch, index, source, node| record(batch, index, source, node, arrival))
}

/// Takes a payload apart into the elements of its array, or itself.
pub(super) fn each_element(
    payload: &Bytes,
    mut record: impl FnMut(&mut Batch, usize, Source<'_>, &Node<'_>),
) -> Batch {
    let readable = match Readable::of_records(payload) {
        Ok(readable) => readable,
        Err((reason, detail)) => return Batch::unreadable(payload, reason, detail),
    };
    let mut batch = Batch::default();
    let read = json::each_element(&readable.text, MAX_RECORD, |index, element| {
        // More records are refused below, with the whole payload.
        if index < MAX_RECORDS {
            let mut node = element.unwrap_or_else(too_long);
            readable.judge(&mut node);
            record(&mut batch, index, readable.source, &node);
        }
    });
    match read {
        Err(error) => {
            let (reason, detail) = readable.unreadable(&error);
            Batch::unreadable(payload, reason, detail)
        }
        Ok(0) => Batch::unreadable(payload, Reason::Empty, "the array has no elements".to_owned()),
        Ok(number) if number > MAX_RECORDS => {
            let detail = format!("{number} records, {MAX_RECORDS} are allowed");
            Batch::unreadable(payload, Reason::TooLarge, detail)
        }
        Ok(_) => batch,
    }
}

fn too_long<'a>(span: Range<usize>) -> Node<'a> {
    Node { kind: Kind::TooLong(span.len()), span }
}

/// Takes a payload apart into its lines.
pub(super) fn each_line(
    payload: &Bytes,
    mut record: impl FnMut(&mut Batch, usize, Source<'_>, &Node<'_>),
) -> Batch {
    let mut batch = Batch::default();
    let mut index = 0;
    let mut start = 0;
    for line in payload.split_inclusive(|byte| *byte == b'\n') {
        let offset = start;
        start += line.len();
        if line.trim_ascii().is_empty() {
            continue;
        }
        if index == MAX_RECORDS {
            let detail = format!("more than {MAX_RECORDS} lines");
            return Batch::unreadable(payload, Reason::TooLarge, detail);
        }
        let bytes = payload.slice(offset..offset + line.trim_ascii_end().len());
        match text(&bytes) {
            Ok((text, skipped)) => {
                let span = 0..text.len();
                let node = if text.len() > MAX_RECORD {
                    too_long(span)
                } else {
                    json::parse(text).unwrap_or_else(|error| Node { span, kind: Kind::Broken(error) })
                };
                record(&mut batch, index, Source { payload, offset: offset + skipped }, &node);
            }
            Err((reason, detail)) => batch.refuse(index, reason, detail, bytes, 0),
        }
        index += 1;
    }
    if index == 0 {
        return Batch::unreadable(payload, Reason::Empty, "the payload has no lines".to_owned());
    }
    batch
}

fn record(batch: &mut Batch, index: usize, source: Source<'_>, node: &Node<'_>, arrival: &Arrival) {
    let raw = source.bytes(&node.span);
    match batch.has_room().and_then(|()| head(index, &raw, node, arrival)) {
        Ok((mut draft, readings)) => {
            self::readings(batch, &mut draft, source, readings, arrival.decimal);
            draft.finish(batch, arrival);
        }
        Err((reason, detail)) => {
            batch.heard.extend(sender(node, arrival));
            batch.refuse(index, reason, detail, raw, count(node));
        }
    }
}

/// Whose a record is that is turned away, where that can be read: its object is in contact. A time that cannot be read
/// becomes one that cannot be true.
fn sender(node: &Node<'_>, arrival: &Arrival) -> Option<Report> {
    let members = object(node).ok()?;
    let named = |key| field(members, key).ok().flatten();
    let facility = match (named("facility"), &arrival.facility) {
        (Some(facility), _) => code("facility", facility).ok()?,
        (None, facility) => facility.clone()?,
    };
    let device = match named("device") {
        None | Some(Node { kind: Kind::Null, .. }) => arrival.device.clone(),
        Some(device) => Some(code("device", device).ok()?),
    };
    let observed_at = named("observed_at").and_then(|at| instant("observed_at", at, arrival).ok());
    Some(Report {
        facility,
        device,
        observed_at: observed_at.unwrap_or(0),
        received_at: arrival.at,
        origin: arrival.origin.as_str().into(),
        sequence: None,
        readings: SmallVec::new(),
    })
}

/// How many readings a record holds that is turned away.
fn count(node: &Node<'_>) -> usize {
    let Kind::Object(members) = &node.kind else { return 0 };
    members.iter().find(|member| member.key == "readings").map_or(0, |member| match &member.value.kind {
        Kind::Object(readings) => readings.len(),
        Kind::Array(readings) => readings.len(),
        _ => 0,
    })
}

/// The fields beside the readings, and the readings.
fn head<'n, 'a>(
    index: usize,
    raw: &Bytes,
    node: &'n Node<'a>,
    arrival: &Arrival,
) -> Result<(Draft, &'n Node<'a>), Wrong> {
    let members = object(node)?;
    let named = |what| match field(members, what)? {
        None | Some(Node { kind: Kind::Null, .. }) => Ok(None),
        Some(node) => code(what, node).map(Some),
    };
    let (facility, device) = object_of(named("facility")?, named("device")?, arrival)?;
    let observed_at = instant("observed_at", required(members, "observed_at")?, arrival)?;
    let readings = required(members, "readings")?;
    match &readings.kind {
        Kind::Object(_) | Kind::Array(_) => bounded(count(node))?,
        other => {
            return Err(unfit("readings", other, "an object or an array"));
        }
    }
    let mut draft = Draft::new(index, raw.clone(), facility, observed_at, arrival);
    draft.device = device;
    if let Some(found) = field(members, "sequence")? {
        draft.sequence = sequence(found)?;
    }
    if arrival.accept_received_at
        && let Some(found) = field(members, "received_at")?
    {
        draft.received_at = instant("received_at", found, arrival)?;
    }
    Ok((draft, readings))
}

/// Whether a record may hold so many readings.
///
/// # Errors
/// [`Reason::TooLarge`].
pub(super) fn bounded(readings: usize) -> Result<(), Wrong> {
    if readings <= MAX_READINGS {
        return Ok(());
    }
    Err((Reason::TooLarge, format!("the record has {readings} readings, {MAX_READINGS} are allowed")))
}

/// The members of an object.
///
/// # Errors
/// As for [`unfit`] when it is none.
pub(super) fn object<'n, 'a>(node: &'n Node<'a>) -> Result<&'n [Member<'a>], Wrong> {
    match &node.kind {
        Kind::Object(members) => Ok(members),
        other => Err(unfit("the record", other, "an object")),
    }
}

/// A member that must be there.
///
/// # Errors
/// [`Reason::MissingField`], or as for [`field`].
pub(super) fn required<'n, 'a>(members: &'n [Member<'a>], key: &str) -> Result<&'n Node<'a>, Wrong> {
    match field(members, key)? {
        None | Some(Node { kind: Kind::Null, .. }) => {
            Err((Reason::MissingField, format!("field {key} is missing")))
        }
        Some(node) => Ok(node),
    }
}

/// A member that may be there, once.
///
/// # Errors
/// [`Reason::DuplicateKey`].
pub(super) fn field<'n, 'a>(members: &'n [Member<'a>], key: &str) -> Result<Option<&'n Node<'a>>, Wrong> {
    let mut found = members.iter().filter(|member| member.key == key);
    let first = found.next();
    if found.next().is_some() {
        return Err((Reason::DuplicateKey, format!("field {key} stands more than once")));
    }
    Ok(first.map(|member| &member.value))
}

fn readings(
    batch: &mut Batch,
    draft: &mut Draft,
    source: Source<'_>,
    node: &Node<'_>,
    decimal: Option<Decimal>,
) {
    match &node.kind {
        Kind::Object(members) => {
            for member in members {
                let found = value(&member.key, &member.value.kind, decimal);
                draft.reading(batch, &member.key, found, || source.bytes(&member.span));
            }
        }
        Kind::Array(elements) => {
            for element in elements {
                let (metric, found) = pair(element, decimal);
                draft.reading(batch, metric, found, || source.bytes(&element.span));
            }
        }
        // `head` lets nothing else through.
        _ => {}
    }
}

/// One `{"metric": …, "value": …}`.
fn pair<'n>(element: &'n Node<'_>, decimal: Option<Decimal>) -> (&'n str, Result<schemas::RawValue, Wrong>) {
    let read = || -> Result<(&'n str, Result<schemas::RawValue, Wrong>), Wrong> {
        let members = object(element)?;
        let metric = match &required(members, "metric")?.kind {
            Kind::Text(metric) => metric,
            other => return Err(unfit("metric", other, "text")),
        };
        let found = match field(members, "value") {
            Ok(Some(node)) => value(metric, &node.kind, decimal),
            Ok(None) => Err((Reason::MissingField, format!("{metric} has no field value"))),
            Err(wrong) => Err(wrong),
        };
        Ok((metric, found))
    };
    read().unwrap_or_else(|wrong| ("", Err(wrong)))
}
