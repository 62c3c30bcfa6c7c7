//! ThingsBoard's gateway telemetry (topic `v1/gateway/telemetry`).
//!
//! `{"device name": [{"ts": epoch ms, "values": {metric: value, …}}, …], …}`. An element without `ts` and `values` is
//! itself the values, at the time of arrival. A device name is a facility, or facility and device around a separator.

use bytes::Bytes;
use schemas::{Code, Reason};

use super::{
    Arrival, Batch, MAX_RECORDS,
    json::{self, Kind, Member, Node},
    native::{field, object, readable, required, text},
    record::{Draft, Source, Wrong, code_text, instant, value},
};

/// Reads gateway telemetry; records are numbered over all devices in their order.
#[must_use]
pub fn parse(payload: &Bytes, arrival: &Arrival, separator: &str) -> Batch {
    let (text, offset) = match text(payload) {
        Ok(found) => found,
        Err((reason, detail)) => return Batch::unreadable(payload, reason, detail),
    };
    let node = match json::parse(text) {
        Ok(node) => node,
        Err(error) => return Batch::unreadable(payload, Reason::Malformed, error.to_string()),
    };
    let members = match object(&node) {
        Ok([]) => {
            return Batch::unreadable(payload, Reason::Empty, "the payload names no device".to_owned());
        }
        Ok(members) => members,
        Err((reason, detail)) => return Batch::unreadable(payload, reason, detail),
    };
    let source = Source { payload, offset };
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
            batch.refuse(index, Reason::Empty, detail, source.bytes(&member.span), 0);
            index += 1;
        }
        for element in elements {
            // A single element keeps its device's name in the reject, one of many would repeat the others.
            let raw = source.bytes(if elements.len() == 1 { &member.span } else { &element.span });
            record(&mut batch, index, source, raw, (&member.key, separator), element, arrival);
            index += 1;
        }
    }
    batch
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
        readable(count(element))?;
        let (facility, device) = object_of(name, separator)?;
        let (observed_at, values) = match object(element)? {
            members if field(members, "values")?.is_some() => {
                let at = match field(members, "ts")? {
                    Some(node) => instant("ts", node, arrival)?,
                    None => arrival.at,
                };
                (at, object(required(members, "values")?)?)
            }
            members => (arrival.at, members),
        };
        let mut draft = Draft::new(index, raw.clone(), facility, observed_at, arrival);
        draft.device = device;
        Ok((draft, values))
    };
    match read() {
        Ok((mut draft, values)) => {
            for member in values {
                let found = value(&member.key, &member.value.kind);
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

fn object_of(name: &str, separator: &str) -> Result<(Code, Option<Code>), Wrong> {
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
