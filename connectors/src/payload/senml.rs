//! SenML in JSON (RFC 8428).
//!
//! A record's name, base name included, is `facility:metric` or `facility:device:metric`, with `/` as another
//! separator and `urn:nuanliu:` as a possible beginning. Records of one object and one time become one report, in the
//! order in which its first record stands. Units are converted to the metric's unit; a record without unit is taken to
//! be in it. Times below 2^28 are relative to the arrival (section 4.5.3). Sums (`s`) are not readings and are refused.

use bytes::Bytes;
use rustc_hash::FxHashMap;
use schemas::{Catalogue, Code, Millis, RawValue, Reason};

use super::{
    Arrival, Batch,
    json::{Kind, Member, Node},
    native::{each_element, field, object},
    record::{Draft, Wrong, code_text, value},
    units::{Conversion, conversion},
};

/// Times below are relative to now.
const RELATIVE: f64 = 268_435_456.0;
/// The version of SenML that a receiver of RFC 8428 understands.
const VERSION: f64 = 10.0;

/// What base fields have set for the records that follow.
#[derive(Clone, Default)]
struct Base {
    name: String,
    time: f64,
    unit: Option<String>,
    value: f64,
}

/// A resolved record.
struct Resolved {
    index: usize,
    group: usize,
    metric: String,
    value: Result<RawValue, Wrong>,
    bytes: Bytes,
}

/// Records of one object and time.
struct Group {
    index: usize,
    facility: Code,
    device: Option<Code>,
    at: Millis,
    bytes: Bytes,
}

/// Reads a SenML pack.
#[must_use]
pub fn parse(payload: &Bytes, arrival: &Arrival) -> Batch {
    let mut base = Base::default();
    let mut groups: Vec<Group> = Vec::new();
    let mut places: FxHashMap<(Code, Option<Code>, Millis), usize> = FxHashMap::default();
    let mut resolved = Vec::new();
    let mut batch = each_element(payload, |batch, index, source, node| {
        let bytes = source.bytes(&node.span);
        match record(&mut base, node, arrival) {
            Ok(None) => {}
            Ok(Some((object, metric, value))) => {
                let group = *places.entry(object.clone()).or_insert_with(|| {
                    let (facility, device, at) = object;
                    groups.push(Group { index, facility, device, at, bytes: bytes.clone() });
                    groups.len() - 1
                });
                resolved.push(Resolved { index, group, metric, value, bytes });
            }
            Err((reason, detail)) => batch.refuse(index, reason, detail, bytes, 1),
        }
    });
    if batch.unreadable {
        return batch;
    }
    if groups.is_empty() && batch.refused.is_empty() {
        return Batch::unreadable(payload, Reason::Empty, "the pack has no values".to_owned());
    }
    // Only the whole pack can be sent again, but a reject per object must not repeat it without bound.
    let whole = payload.len().saturating_mul(groups.len()) <= 4 << 20;
    let mut drafts: Vec<Draft> = groups
        .into_iter()
        .map(|group| {
            let raw = if whole { payload.clone() } else { group.bytes };
            let mut draft = Draft::new(group.index, raw, group.facility, group.at, arrival);
            draft.device = group.device;
            draft
        })
        .collect();
    for one in resolved {
        let draft = &mut drafts[one.group];
        let first = std::mem::replace(&mut draft.index, one.index);
        draft.reading(&mut batch, &one.metric, one.value, || one.bytes);
        draft.index = first;
    }
    for draft in drafts {
        draft.finish(&mut batch, arrival);
    }
    batch.refused.sort_by_key(|refusal| refusal.index);
    batch
}

/// Facility, device and time.
type Object = (Code, Option<Code>, Millis);

/// An object, the metric and its value.
type Found = (Object, String, Result<RawValue, Wrong>);

/// A record's object, metric and value; `None` when it only sets base fields.
fn record(base: &mut Base, node: &Node<'_>, arrival: &Arrival) -> Result<Option<Found>, Wrong> {
    let members = object(node)?;
    if let Some(member) = members.iter().find(|member| member.key.ends_with('_')) {
        // Section 4.4: a label ending in '_' must be understood.
        return Err((Reason::WrongType, format!("field {} is not understood", member.key)));
    }
    let mut next = base.clone();
    next.update(members)?;
    *base = next;
    let name = format!("{}{}", base.name, text(members, "n")?.unwrap_or_default());
    let values = ["v", "vb", "vs", "vd"];
    let given: Vec<&Member<'_>> = members.iter().filter(|member| values.contains(&&*member.key)).collect();
    let found = match given.as_slice() {
        [] if field(members, "s")?.is_some() => {
            return Err((Reason::WrongType, "a sum (s) is no reading, send v".to_owned()));
        }
        [] if field(members, "n")?.is_none() => return Ok(None),
        [] => return Err((Reason::MissingField, "the record has no value (v, vb or vs)".to_owned())),
        [one] => one,
        _ => return Err((Reason::DuplicateKey, "the record has more than one value".to_owned())),
    };
    let (facility, device, metric) = split(&name)?;
    let at = base.time + number(members, "t")?.unwrap_or(0.0);
    let at = if at < RELATIVE { arrival.at as f64 / 1e3 + at } else { at };
    let unit = text(members, "u")?.or(base.unit.as_deref());
    let value = converted(&metric, unit, base.value, found);
    Ok(Some(((facility, device, (at * 1e3).round() as Millis), metric, value)))
}

impl Base {
    fn update(&mut self, members: &[Member<'_>]) -> Result<(), Wrong> {
        if let Some(version) = number(members, "bver")?
            && version > VERSION
        {
            return Err((Reason::WrongType, format!("version {version} is not understood, {VERSION} is")));
        }
        if let Some(name) = text(members, "bn")? {
            name.clone_into(&mut self.name);
        }
        if let Some(unit) = text(members, "bu")? {
            self.unit = Some(unit.to_owned());
        }
        self.time = number(members, "bt")?.unwrap_or(self.time);
        self.value = number(members, "bv")?.unwrap_or(self.value);
        Ok(())
    }
}

/// Facility, device and metric of a name.
fn split(name: &str) -> Result<(Code, Option<Code>, String), Wrong> {
    let path = name.strip_prefix("urn:nuanliu:").unwrap_or(name);
    let parts: Vec<&str> = path.split([':', '/']).collect();
    match parts.as_slice() {
        [facility, metric] => Ok((code_text("facility", facility)?, None, (*metric).to_owned())),
        [facility, device, metric] => {
            Ok((code_text("facility", facility)?, Some(code_text("device", device)?), (*metric).to_owned()))
        }
        _ => {
            let shown: String = name.chars().take(80).collect();
            Err((
                Reason::MissingField,
                format!("name '{shown}' is not facility:metric or facility:device:metric"),
            ))
        }
    }
}

/// The value in the metric's unit; text is passed on as written when its unit is the metric's.
fn converted(metric: &str, unit: Option<&str>, base: f64, member: &Member<'_>) -> Result<RawValue, Wrong> {
    let Some(id) = Catalogue::builtin().id(metric) else {
        // The draft refuses the metric by its name.
        return Ok(RawValue::Missing);
    };
    let conversion = unit.map_or(Ok(Conversion::NONE), |unit| conversion(unit, id.metric()))?;
    let fits = matches!(
        (&*member.key, &member.value.kind),
        ("v", Kind::Number(_)) | ("vb", Kind::Bool(_)) | ("vs", Kind::Text(_)) | (_, Kind::Null)
    );
    if !fits {
        let found = member.value.kind.name();
        return Err((Reason::WrongType, format!("{} of {metric} is {found}", member.key)));
    }
    match value(metric, &member.value.kind)? {
        RawValue::Number(number) if member.key == "v" => {
            let number = conversion.apply(number + base);
            if number.is_finite() {
                Ok(RawValue::Number(number))
            } else {
                Err((Reason::NotFinite, format!("{metric} is no finite number")))
            }
        }
        RawValue::Text(text) if conversion != Conversion::NONE => {
            let number = schemas::number::parse(&text).map_err(|reason| (reason, text))?.value;
            Ok(RawValue::Number(conversion.apply(number)))
        }
        other => Ok(other),
    }
}

fn text<'n>(members: &'n [Member<'_>], key: &str) -> Result<Option<&'n str>, Wrong> {
    match field(members, key)?.map(|node| &node.kind) {
        None => Ok(None),
        Some(Kind::Text(text)) if text.len() <= 1_024 => Ok(Some(text)),
        Some(Kind::Text(text)) => Err((Reason::TooLarge, format!("{key} has {} bytes", text.len()))),
        Some(other) => Err((Reason::WrongType, format!("{key} is {}, expected text", other.name()))),
    }
}

fn number(members: &[Member<'_>], key: &str) -> Result<Option<f64>, Wrong> {
    match field(members, key)?.map(|node| &node.kind) {
        None => Ok(None),
        Some(Kind::Number(text)) => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Some(number)),
            _ => Err((Reason::NotFinite, format!("{key} is no finite number"))),
        },
        Some(other) => Err((Reason::WrongType, format!("{key} is {}, expected a number", other.name()))),
    }
}
