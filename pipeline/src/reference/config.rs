//! The keys of the configuration file, from the doc comments of the settings.
//!
//! Enters: the JSON schema of [`Config`]. Leaves: its keys by section, or the schema itself. Guarantees: a key that the
//! configuration takes is there once, with its default.

use std::collections::BTreeMap;

use schemars::{Schema, schema_for};
use serde_json::Value;

use super::table::{chapter, code};
use crate::config::Config;

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The section, such as `exchange.signing`; `*` stands for names of the user's.
    pub section: String,
    /// The name in it.
    pub name: String,
    /// What may be written, such as `integer` or the values of a choice.
    pub kind: String,
    /// The default in TOML; empty where the key may be absent; none where it must be there.
    pub default: Option<String>,
    /// What it means.
    pub meaning: String,
}

/// The schema, as editors take it.
#[must_use]
pub fn schema() -> Schema {
    schema_for!(Config)
}

/// Every key, in the order of sections and names.
#[must_use]
pub fn keys() -> Vec<Key> {
    let schema = schema().to_value();
    let mut walk = Walk { definitions: schema.get("$defs"), keys: Vec::new() };
    walk.object("", &schema);
    walk.keys.sort();
    walk.keys
}

/// A table per section.
pub(super) fn text() -> String {
    let mut sections: BTreeMap<String, Vec<Key>> = BTreeMap::new();
    keys().into_iter().for_each(|key| sections.entry(key.section.clone()).or_default().push(key));
    let columns = ["key", "type", "default", "unit", "meaning"];
    let table = |(section, keys): (&String, &Vec<Key>)| {
        let rows = keys.iter().map(|key| {
            let default = key.default.as_deref().map_or_else(|| "required".to_owned(), code);
            let unit = unit(&key.name, &key.meaning).unwrap_or_default().to_owned();
            [code(&key.name), key.kind.clone(), default, unit, key.meaning.clone()]
        });
        chapter(&format!("`[{section}]`"), columns, rows)
    };
    sections.iter().map(table).collect()
}

/// The unit of a key, where its name or the start of its meaning says one.
pub(super) fn unit(name: &str, meaning: &str) -> Option<&'static str> {
    const UNITS: [(&str, &str, &str); 9] = [
        ("_ms", "Milliseconds", "ms"),
        ("_seconds", "Seconds", "s"),
        ("_minutes", "Minutes", "min"),
        ("_hours", "Hours", "h"),
        ("_days", "Days", "d"),
        ("_years", "Years", "a"),
        ("_bytes", "Bytes", "B"),
        ("_percent", "Percent", "%"),
        ("_epochs", "Epochs", "epochs"),
    ];
    let named = UNITS.iter().find(|(end, start, _)| name.ends_with(end) || meaning.starts_with(start));
    let written = |part: &str, unit| meaning.contains(part).then_some(unit);
    named
        .map(|(.., unit)| *unit)
        .or_else(|| written(", bytes/s", "B/s"))
        .or_else(|| written(" in bytes", "B"))
        .or_else(|| {
            meaning.split(", s").skip(1).any(|rest| !rest.starts_with(char::is_alphanumeric)).then_some("s")
        })
}

struct Walk<'s> {
    definitions: Option<&'s Value>,
    keys: Vec<Key>,
}

impl<'s> Walk<'s> {
    /// Goes through the properties of a section.
    fn object(&mut self, section: &str, object: &'s Value) {
        let properties = object.get("properties").and_then(Value::as_object);
        let required = object.get("required").and_then(Value::as_array);
        for (name, property) in properties.into_iter().flatten() {
            let path = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
            let shape = self.shape(property);
            let part = |name: &str| shape.get(name).map(|inner| self.shape(inner));
            let is_section = |part: &&Value| part.get("properties").is_some();
            let sections = [Some(shape), part("items"), part("additionalProperties")];
            match sections.map(|section| section.filter(is_section)) {
                [Some(section), ..] | [_, Some(section), _] => self.object(&path, section),
                [.., Some(section)] => self.object(&format!("{path}.*"), section),
                [None, None, None] => {
                    let must = required.is_some_and(|names| names.iter().any(|required| required == name));
                    let default = property.get("default").map(toml).unwrap_or_default();
                    self.keys.push(Key {
                        section: section.to_owned(),
                        name: name.clone(),
                        kind: self.kind(shape),
                        default: (!must).then_some(default),
                        meaning: text_of(property).or_else(|| text_of(shape)).unwrap_or_default(),
                    });
                }
            }
        }
    }

    /// What a property is, without the reference to it and without the choice of being absent.
    fn shape(&self, property: &'s Value) -> &'s Value {
        if let Some(name) = property.get("$ref").and_then(Value::as_str) {
            let name = name.trim_start_matches("#/$defs/");
            return self
                .definitions
                .and_then(|all| all.get(name))
                .map_or(property, |found| self.shape(found));
        }
        let mut choices = property.get("anyOf").and_then(Value::as_array).into_iter().flatten();
        let some = choices.find(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
        some.map_or(property, |some| self.shape(some))
    }

    /// What may be written, in words.
    fn kind(&self, shape: &'s Value) -> String {
        let choices = shape.get("oneOf").and_then(Value::as_array).into_iter().flatten();
        let of_choices = choices.filter_map(|choice| choice.get("const"));
        let of_list = shape.get("enum").and_then(Value::as_array).into_iter().flatten();
        let values: Vec<String> = of_choices.chain(of_list).map(|value| code(&toml(value))).collect();
        if !values.is_empty() {
            return values.join(", ");
        }
        let kinds = match shape.get("type") {
            Some(Value::Array(kinds)) => kinds.iter().find(|kind| **kind != "null"),
            kind => kind,
        };
        let part = |name: &str| shape.get(name).map(|inner| self.kind(self.shape(inner))).unwrap_or_default();
        match kinds.and_then(Value::as_str).unwrap_or("string") {
            "array" => format!("list of {}", part("items")),
            "object" => format!("table of {}", part("additionalProperties")),
            kind => kind.to_owned(),
        }
    }
}

fn text_of(schema: &Value) -> Option<String> {
    schema.get("description").and_then(Value::as_str).map(str::to_owned)
}

/// A value as the configuration file has it.
fn toml(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Array(values) => format!("[{}]", values.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Value::Object(values) if values.is_empty() => "{}".to_owned(),
        other => other.to_string(),
    }
}
