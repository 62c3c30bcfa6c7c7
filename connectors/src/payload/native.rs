//! The native form (design, section 4): one object, an array of them, or one per line.
//!
//! `{"facility": "ST-0001", "device": …?, "observed_at": RFC 3339 or epoch ms, "sequence": n?, "readings": {metric:
//! value, …} or [{"metric": …, "value": …}, …]}`. Further fields are passed over.

use bytes::Bytes;
use schemas::Reason;

use super::{
    Arrival, Batch, MAX_READINGS, MAX_RECORD, MAX_RECORDS,
    json::{self, Kind, MAX_DEPTH, Member, Node},
    record::{Draft, Source, Wrong, code, instant, sequence, value},
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
    let (text, offset) = match text(payload) {
        Ok(found) => found,
        Err((reason, detail)) => return Batch::unreadable(payload, reason, detail),
    };
    let (source, mut batch) = (Source { payload, offset }, Batch::default());
    let read = json::each_element(text, MAX_RECORD, |index, element| match element {
        // The payload as a whole is refused below.
        _ if index >= MAX_RECORDS => {}
        Ok(node) => record(&mut batch, index, source, &node),
        Err(place) => too_long(&mut batch, index, source.bytes(&place)),
    });
    match read {
        Err(error) => Batch::unreadable(payload, Reason::Malformed, error.to_string()),
        Ok(0) => Batch::unreadable(payload, Reason::Empty, "the array has no elements".to_owned()),
        Ok(number) if number > MAX_RECORDS => {
            let detail = format!("{number} records, {MAX_RECORDS} are allowed");
            Batch::unreadable(payload, Reason::TooLarge, detail)
        }
        Ok(_) => batch,
    }
}

fn too_long(batch: &mut Batch, index: usize, record: Bytes) {
    let detail = format!("the record has {} bytes, {MAX_RECORD} are allowed", record.len());
    batch.refuse(index, Reason::TooLarge, detail, record, 0);
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
            Ok((text, _)) if text.len() > MAX_RECORD => too_long(&mut batch, index, bytes),
            Ok((text, skipped)) => match json::parse(text) {
                Ok(node) => record(&mut batch, index, Source { payload, offset: offset + skipped }, &node),
                Err(error) => {
                    let line = bytes.slice(skipped..);
                    batch.refuse(index, Reason::Malformed, error.to_string(), line, 0);
                }
            },
            Err((reason, detail)) => batch.refuse(index, reason, detail, bytes, 0),
        }
        index += 1;
    }
    if index == 0 {
        return Batch::unreadable(payload, Reason::Empty, "the payload has no lines".to_owned());
    }
    batch
}

/// The payload as text without a byte order mark, and how many bytes that mark took.
pub(super) fn text(payload: &Bytes) -> Result<(&str, usize), Wrong> {
    if payload.trim_ascii().is_empty() {
        return Err((Reason::Empty, "the payload is empty".to_owned()));
    }
    let skipped = if payload.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    match std::str::from_utf8(&payload[skipped..]) {
        Ok(text) => Ok((text, skipped)),
        Err(error) => Err((Reason::Malformed, format!("byte {} is no UTF-8", skipped + error.valid_up_to()))),
    }
}

fn record(batch: &mut Batch, index: usize, source: Source<'_>, node: &Node<'_>, arrival: &Arrival) {
    let raw = source.bytes(&node.span);
    match batch.has_room().and_then(|()| head(index, &raw, node, arrival)) {
        Ok((mut draft, readings)) => {
            self::readings(batch, &mut draft, source, readings);
            draft.finish(batch, arrival);
        }
        Err((reason, detail)) => batch.refuse(index, reason, detail, raw, count(node)),
    }
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
    let (facility, from_topic) = match (field(members, "facility")?, &arrival.facility) {
        (None, Some(named)) => (named.clone(), arrival.device.clone()),
        _ => (code("facility", required(members, "facility")?)?, None),
    };
    let observed_at = instant("observed_at", required(members, "observed_at")?, arrival)?;
    let readings = required(members, "readings")?;
    match &readings.kind {
        Kind::Object(_) | Kind::Array(_) => readable(count(node))?,
        Kind::TooDeep => return Err((Reason::TooDeep, format!("readings nests deeper than {MAX_DEPTH}"))),
        other => {
            let detail = format!("readings is {}, expected an object or an array", other.name());
            return Err((Reason::WrongType, detail));
        }
    }
    let mut draft = Draft::new(index, raw.clone(), facility, observed_at, arrival);
    draft.device = from_topic;
    match field(members, "device")? {
        None | Some(Node { kind: Kind::Null, .. }) => {}
        Some(device) => draft.device = Some(code("device", device)?),
    }
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
pub(super) fn readable(readings: usize) -> Result<(), Wrong> {
    if readings <= MAX_READINGS {
        return Ok(());
    }
    Err((Reason::TooLarge, format!("the record has {readings} readings, {MAX_READINGS} are allowed")))
}

/// The members of an object.
///
/// # Errors
/// [`Reason::WrongType`] or [`Reason::TooDeep`] when it is none.
pub(super) fn object<'n, 'a>(node: &'n Node<'a>) -> Result<&'n [Member<'a>], Wrong> {
    match &node.kind {
        Kind::Object(members) => Ok(members),
        Kind::TooDeep => Err((Reason::TooDeep, format!("the record nests deeper than {MAX_DEPTH}"))),
        other => Err((Reason::WrongType, format!("the record is {}, expected an object", other.name()))),
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

fn readings(batch: &mut Batch, draft: &mut Draft, source: Source<'_>, node: &Node<'_>) {
    match &node.kind {
        Kind::Object(members) => {
            for member in members {
                let found = value(&member.key, &member.value.kind);
                draft.reading(batch, &member.key, found, || source.bytes(&member.span));
            }
        }
        Kind::Array(elements) => {
            for element in elements {
                let (metric, found) = pair(element);
                draft.reading(batch, metric, found, || source.bytes(&element.span));
            }
        }
        // `head` lets nothing else through.
        _ => {}
    }
}

/// One `{"metric": …, "value": …}`.
fn pair<'n>(element: &'n Node<'_>) -> (&'n str, Result<schemas::RawValue, Wrong>) {
    let read = || -> Result<(&'n str, Result<schemas::RawValue, Wrong>), Wrong> {
        let members = object(element)?;
        let Kind::Text(metric) = &required(members, "metric")?.kind else {
            return Err((Reason::WrongType, "metric is no text".to_owned()));
        };
        let found = match field(members, "value") {
            Ok(Some(node)) => value(metric, &node.kind),
            Ok(None) => Err((Reason::MissingField, format!("{metric} has no field value"))),
            Err(wrong) => Err(wrong),
        };
        Ok((metric, found))
    };
    read().unwrap_or_else(|wrong| ("", Err(wrong)))
}
