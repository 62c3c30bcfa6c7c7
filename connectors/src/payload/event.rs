//! Business events: `{"id", "kind", "facility", "at", "fields": {…}}`, one object, an array of them, or one per line.

use std::collections::BTreeMap;

use bytes::Bytes;
use schemas::{Event, Reason, event::KINDS};

use super::{
    Arrival, Batch,
    batch::Accepted,
    instant::instant,
    json::{Kind, Node},
    native::{each_element, each_line, field, object, required},
    record::{Source, Wrong, code, unfit},
};
use crate::Outgoing;

/// How many fields one event may have.
const MAX_FIELDS: usize = 256;

/// Reads events; `lines` when each stands on a line of its own. The values of `fields` become text: strings and numbers
/// as written, `null` is left out, anything deeper stays JSON. Plans may lie in the future, other events may not.
#[must_use]
pub fn events(payload: &Bytes, arrival: &Arrival, lines: bool) -> Batch {
    let each = |batch: &mut Batch, index: usize, source: Source<'_>, node: &Node<'_>| {
        let raw = source.bytes(&node.span);
        match event(source, node, arrival) {
            Ok(event) => batch.accepted.push(Accepted { index, record: Outgoing::Event(event), raw }),
            Err((reason, detail)) => batch.refuse(index, reason, detail, raw, 0),
        }
    };
    if lines { each_line(payload, each) } else { each_element(payload, each) }
}

fn event(source: Source<'_>, node: &Node<'_>, arrival: &Arrival) -> Result<Event, Wrong> {
    let members = object(node)?;
    let kind = code("kind", required(members, "kind")?)?;
    if !KINDS.contains(&kind.as_str()) {
        return Err((Reason::WrongType, format!("kind is '{kind}', expected one of {}", KINDS.join(", "))));
    }
    let at = instant("at", required(members, "at")?, arrival)?;
    let event = Event {
        id: code("id", required(members, "id")?)?.into(),
        kind: kind.into(),
        facility: code("facility", required(members, "facility")?)?,
        at,
        received_at: arrival.at,
        origin: arrival.origin.clone(),
        fields: match field(members, "fields")? {
            Some(node) => fields(source, node)?,
            None => BTreeMap::new(),
        },
    };
    event.check()?;
    Ok(event)
}

fn fields(source: Source<'_>, node: &Node<'_>) -> Result<BTreeMap<String, String>, Wrong> {
    let Kind::Object(members) = &node.kind else {
        return Err(unfit("fields", &node.kind, "an object"));
    };
    if members.len() > MAX_FIELDS {
        return Err((Reason::TooLarge, format!("{} fields, {MAX_FIELDS} are allowed", members.len())));
    }
    let mut fields = BTreeMap::new();
    for member in members {
        let text = match &member.value.kind {
            Kind::Null => continue,
            Kind::Bool(set) => set.to_string(),
            Kind::Number(text) => (*text).to_owned(),
            Kind::Text(text) => text.clone().into_owned(),
            Kind::Array(_) | Kind::Object(_) => {
                String::from_utf8_lossy(&source.bytes(&member.value.span)).into_owned()
            }
            unread => return Err(unfit(&format!("field {}", member.key), unread, "a value")),
        };
        if fields.insert(member.key.clone().into_owned(), text).is_some() {
            return Err((Reason::DuplicateKey, format!("field {} stands more than once", member.key)));
        }
    }
    Ok(fields)
}
