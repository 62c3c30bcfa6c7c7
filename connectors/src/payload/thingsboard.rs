//! ThingsBoard's gateway telemetry (topic `v1/gateway/telemetry`).
//!
//! `{"device name": [{"ts": epoch ms, "values": {metric: value, …}}, …], …}`; `ts` may also be RFC 3339 text. An element
//! without `ts` and `values` is itself the values, at the time of arrival; one with `ts` beside the values is neither form
//! and is refused. A device name is a facility, or facility and device around a separator. Every refusal names them, and
//! its bytes are a payload with this element alone, which can be sent again.

use bytes::Bytes;
use schemas::{Code, Reason};

use super::{
    Arrival, Batch, MAX_RECORDS,
    instant::instant,
    json::{self, Kind, Member, Node},
    native::{bounded, field, object, required},
    readable::Readable,
    record::{Draft, Source, Wrong, code_text, object_of, unfit},
    value::value,
};

/// Reads gateway telemetry; records are numbered over all devices in their order.
#[must_use]
pub fn parse(payload: &Bytes, arrival: &Arrival, separator: &str) -> Batch {
    let readable = match Readable::new(payload) {
        Ok(readable) => readable,
        Err((reason, detail)) => return Batch::unreadable(payload, reason, detail),
    };
    let mut node = match json::parse(&readable.text) {
        Ok(node) => node,
        Err(error) => {
            let (reason, detail) = readable.unreadable(&error);
            return Batch::unreadable(payload, reason, detail);
        }
    };
    mark(&readable, &mut node);
    let members = match object(&node) {
        Ok([]) => {
            return Batch::unreadable(payload, Reason::Empty, "the payload names no device".to_owned());
        }
        Ok(members) => members,
        Err((reason, detail)) => return Batch::unreadable(payload, reason, detail),
    };
    let source = readable.source;
    let mut batch = Batch::default();
    let mut index = 0;
    for member in members {
        let elements: &[Node<'_>] = match &member.value.kind {
            Kind::Array(elements) => elements,
            _ => std::slice::from_ref(&member.value),
        };
        if index + elements.len() > MAX_RECORDS {
            let detail = format!("more than {MAX_RECORDS} records");
            return Batch::unreadable(payload, Reason::TooLarge, detail);
        }
        if elements.is_empty() {
            let detail = format!("device {} has no telemetry", shown(&member.key));
            batch.refuse(index, Reason::Empty, detail, alone(source, member, &member.value, 1), 0);
            index += 1;
        }
        for element in elements {
            let raw = alone(source, member, element, members.len() * elements.len());
            record(&mut batch, index, source, raw, (&member.key, separator), element, arrival);
            index += 1;
        }
    }
    batch
}

/// Marks devices and elements with bytes that are no text.
fn mark(readable: &Readable<'_>, payload: &mut Node<'_>) {
    let Kind::Object(members) = &mut payload.kind else { return };
    for member in members {
        match &mut member.value.kind {
            Kind::Array(elements) => elements.iter_mut().for_each(|element| readable.judge(element)),
            _ => readable.judge(&mut member.value),
        }
    }
}

/// A payload with one element of one device; the whole payload when there is no other.
fn alone(source: Source<'_>, device: &Member<'_>, element: &Node<'_>, elements: usize) -> Bytes {
    if elements == 1 {
        return source.payload.clone();
    }
    let name = &source.payload[source.offset + device.span.start..source.offset + device.value.span.start];
    let element = source.bytes(&element.span);
    let mut alone = Vec::with_capacity(name.len() + element.len() + 4);
    for part in [b"{", name, b"[", &element, b"]}"] {
        alone.extend_from_slice(part);
    }
    alone.into()
}

fn record(
    batch: &mut Batch,
    index: usize,
    source: Source<'_>,
    raw: Bytes,
    (name, separator): (&str, &str),
    element: &Node<'_>,
    arrival: &Arrival,
) {
    let room = batch.has_room();
    let read = || -> Result<(Draft, &[Member<'_>]), Wrong> {
        room.clone()?;
        bounded(count(element))?;
        let (facility, device) = named(name, separator)?;
        let (facility, device) = object_of(Some(facility), device, arrival)?;
        let (observed_at, values) = match object(element)? {
            members if field(members, "values")?.is_some() => {
                let at = match field(members, "ts")? {
                    Some(node) => instant("ts", node, arrival)?,
                    None => arrival.at,
                };
                let values = required(members, "values")?;
                let Kind::Object(values) = &values.kind else {
                    return Err(unfit("values", &values.kind, "an object"));
                };
                (at, values.as_slice())
            }
            members if field(members, "ts")?.is_some() => {
                let detail = "ts stands beside the values, expected {\"ts\": …, \"values\": {…}}".to_owned();
                return Err((Reason::MissingField, detail));
            }
            members => (arrival.at, members),
        };
        let mut draft = Draft::new(index, raw.clone(), facility, observed_at, arrival).naming_object();
        draft.device = device;
        Ok((draft, values))
    };
    match read() {
        Ok((mut draft, values)) => {
            for member in values {
                let found = value(&member.key, &member.value.kind, arrival.decimal);
                draft.reading(batch, &member.key, found, || source.bytes(&member.span));
            }
            draft.finish(batch, arrival);
        }
        Err((reason, detail)) => {
            let detail = format!("device {}: {detail}", shown(name));
            batch.refuse(index, reason, detail, raw, count(element));
        }
    }
}

fn count(element: &Node<'_>) -> usize {
    let Kind::Object(members) = &element.kind else { return 0 };
    match members.iter().find(|member| member.key == "values").map(|member| &member.value.kind) {
        Some(Kind::Object(values)) => values.len(),
        Some(_) => 0,
        None => members.len(),
    }
}

fn named(name: &str, separator: &str) -> Result<(Code, Option<Code>), Wrong> {
    match name.split_once(separator) {
        Some((facility, device)) if !separator.is_empty() => {
            Ok((code_text("facility", facility)?, Some(code_text("device", device)?)))
        }
        _ => Ok((code_text("facility", name)?, None)),
    }
}

fn shown(name: &str) -> String {
    name.chars().take(80).collect()
}
