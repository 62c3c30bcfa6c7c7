//! SenML in JSON (RFC 8428).
//!
//! A record's name, base name included, is `facility:metric` or `facility:device:metric`, with `/` as another
//! separator and `urn:nuanliu:` as a possible beginning; on a topic that names the facility it may be `metric` alone.
//! Records of one object and one time become one report, in the order in which its first record stands. A base field that
//! cannot be read, or that a record without readable fields may have set, refuses the records that rest on it until it is
//! set anew; a label ending in `_` and a later version refuse the whole pack (section 4.4). Units are converted to the metric's unit; a record without unit is taken to
//! be in it. Times below 2^28 are relative to the arrival (section 4.5.3). Sums (`s`) are not readings and are refused.

use bytes::Bytes;
use rustc_hash::FxHashMap;
use schemas::{
    Catalogue, Code, Millis, RawValue, Reason,
    units::{Conversion, conversion},
};

use super::{
    Arrival, Batch,
    json::{Kind, Member},
    native::{each_element, field, object},
    record::{Draft, Wrong, code_text, object_of, unfit},
    value::value,
};

/// Times below are relative to now.
const RELATIVE: f64 = 268_435_456.0;
/// Times from here on (year 5138) are no seconds but milliseconds or digits of a date.
const LATEST: f64 = 1e11;
/// The version of SenML that a receiver of RFC 8428 understands.
const VERSION: f64 = 10.0;

/// What a base field was set to, or the record that set it and cannot be read.
type Set<T> = Result<T, usize>;

/// What base fields have set for the records that follow.
struct Base {
    name: Set<String>,
    time: Set<f64>,
    unit: Set<Option<String>>,
    value: Set<f64>,
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
    let mut base = Base { name: Ok(String::new()), time: Ok(0.0), unit: Ok(None), value: Ok(0.0) };
    let (mut records, mut not_understood) = (0, None);
    let mut groups: Vec<Group> = Vec::new();
    let mut places: FxHashMap<(Code, Option<Code>, Millis), usize> = FxHashMap::default();
    let mut resolved = Vec::new();
    let mut batch = each_element(payload, |batch, index, source, node| {
        let bytes = source.bytes(&node.span);
        records += 1;
        let found = match object(node) {
            Ok(members) => {
                not_understood = not_understood.take().or_else(|| refuses_pack(index, members));
                record(&mut base, index, members, arrival)
            }
            Err(wrong) => {
                base.forget(index, &bytes);
                Err(wrong)
            }
        };
        match found {
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
    if let Some((reason, detail)) = not_understood {
        let mut batch = Batch::unreadable(payload, reason, detail);
        batch.refused[0].readings = records;
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
            let draft = Draft::new(group.index, raw, group.facility, group.at, arrival);
            let mut draft = draft.naming_object();
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

/// Why a record refuses the whole pack (section 4.4).
fn refuses_pack(index: usize, members: &[Member<'_>]) -> Option<Wrong> {
    if let Some(member) = members.iter().find(|member| member.key.ends_with('_')) {
        let shown: String = member.key.chars().take(80).collect();
        return Some((
            Reason::WrongType,
            format!("record {index} has field {shown}, which is not understood"),
        ));
    }
    match number(members, "bver") {
        Ok(version) if version.is_none_or(|version| version <= VERSION) => None,
        Ok(version) => {
            let version = version.unwrap_or_default();
            let detail =
                format!("record {index} has version {version}, which is not understood, {VERSION} is");
            Some((Reason::WrongType, detail))
        }
        Err((reason, detail)) => Some((reason, format!("record {index}: {detail}"))),
    }
}

/// A record's object, metric and value; `None` when it only sets base fields.
fn record(
    base: &mut Base,
    index: usize,
    members: &[Member<'_>],
    arrival: &Arrival,
) -> Result<Option<Found>, Wrong> {
    base.update(index, members)?;
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
    let name = format!("{}{}", resolved("bn", &base.name)?, text(members, "n")?.unwrap_or_default());
    let (facility, device, metric) = split(&name, arrival)?;
    let at = resolved("bt", &base.time)? + number(members, "t")?.unwrap_or(0.0);
    if at >= LATEST {
        return Err((Reason::BadTime, format!("the time is {at}, expected seconds since 1970")));
    }
    let at = if at < RELATIVE { arrival.at as f64 / 1e3 + at } else { at };
    let unit = match text(members, "u")? {
        Some(unit) => Some(unit),
        None => resolved("bu", &base.unit)?.as_deref(),
    };
    let added = if found.key == "v" { *resolved("bv", &base.value)? } else { 0.0 };
    let value = converted(&metric, unit, added, found, arrival);
    Ok(Some(((facility, device, (at * 1e3).round() as Millis), metric, value)))
}

/// What a base field was set to.
fn resolved<'b, T>(name: &str, set: &'b Set<T>) -> Result<&'b T, Wrong> {
    set.as_ref().map_err(|index| {
        let detail = format!("it rests on {name} of record {index}, which cannot be read: send {name} again");
        (Reason::MissingField, detail)
    })
}

impl Base {
    /// Takes over what a record sets; fields that cannot be read are not resolved from here on.
    fn update(&mut self, index: usize, members: &[Member<'_>]) -> Result<(), Wrong> {
        let mut read = Ok(());
        let text = |key| text(members, key).map(|found| found.map(str::to_owned));
        let mut note = |wrong| {
            if read.is_ok() {
                read = Err(wrong);
            }
            index
        };
        set(&mut self.name, text("bn"), &mut note);
        set(&mut self.time, number(members, "bt"), &mut note);
        set(&mut self.unit, text("bu").map(|unit| unit.map(Some)), &mut note);
        set(&mut self.value, number(members, "bv"), &mut note);
        read
    }

    /// Forgets every base field that may stand in a record without readable fields.
    fn forget(&mut self, index: usize, record: &[u8]) {
        // An escape may hide a label.
        let may_set = |label: &[u8]| {
            [label, b"\\u"].iter().any(|part| record.windows(part.len()).any(|bytes| bytes == *part))
        };
        if may_set(b"\"bn\"") {
            self.name = Err(index);
        }
        if may_set(b"\"bt\"") {
            self.time = Err(index);
        }
        if may_set(b"\"bu\"") {
            self.unit = Err(index);
        }
        if may_set(b"\"bv\"") {
            self.value = Err(index);
        }
    }
}

fn set<T>(field: &mut Set<T>, read: Result<Option<T>, Wrong>, note: &mut impl FnMut(Wrong) -> usize) {
    match read {
        Ok(None) => {}
        Ok(Some(value)) => *field = Ok(value),
        Err(wrong) => *field = Err(note(wrong)),
    }
}

/// Facility, device and metric of a name.
fn split(name: &str, arrival: &Arrival) -> Result<(Code, Option<Code>, String), Wrong> {
    let path = name.strip_prefix("urn:nuanliu:").unwrap_or(name);
    let parts: Vec<&str> = path.split([':', '/']).collect();
    let (facility, device, metric) = match parts.as_slice() {
        [metric] if arrival.facility.is_some() && !metric.is_empty() => (None, None, metric),
        [facility, metric] => (Some(code_text("facility", facility)?), None, metric),
        [facility, device, metric] => {
            (Some(code_text("facility", facility)?), Some(code_text("device", device)?), metric)
        }
        _ => {
            let shown: String = name.chars().take(80).collect();
            let detail = format!("name '{shown}' is not facility:metric or facility:device:metric");
            return Err((Reason::MissingField, detail));
        }
    };
    let (facility, device) = object_of(facility, device, arrival)?;
    Ok((facility, device, (*metric).to_owned()))
}

/// The value in the metric's unit; text is passed on as written when its unit is the metric's.
fn converted(
    metric: &str,
    unit: Option<&str>,
    base: f64,
    member: &Member<'_>,
    arrival: &Arrival,
) -> Result<RawValue, Wrong> {
    let Some(id) = Catalogue::in_force().id(metric) else {
        // The draft refuses the metric by its name.
        return Ok(RawValue::Missing);
    };
    let conversion = unit.map_or(Ok(Conversion::NONE), |unit| conversion(unit, id.metric()))?;
    let fits = matches!(
        (&*member.key, &member.value.kind),
        ("v", Kind::Number(_)) | ("vb", Kind::Bool(_)) | ("vs", Kind::Text(_)) | (_, Kind::Null)
    );
    if !fits {
        return Err(unfit(&format!("{} of {metric}", member.key), &member.value.kind, "another type"));
    }
    match value(metric, &member.value.kind, arrival.decimal)? {
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
        Some(other) => Err(unfit(key, other, "text")),
    }
}

fn number(members: &[Member<'_>], key: &str) -> Result<Option<f64>, Wrong> {
    match field(members, key)?.map(|node| &node.kind) {
        None => Ok(None),
        Some(Kind::Number(text)) => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Some(number)),
            _ => Err((Reason::NotFinite, format!("{key} is no finite number"))),
        },
        Some(other) => Err(unfit(key, other, "a number")),
    }
}
