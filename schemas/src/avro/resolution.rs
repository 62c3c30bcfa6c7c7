//! Bytes of an older writer schema, made bytes of the current schema by Avro's rules of schema resolution.
//!
//! Fields are matched by name, a field the writer did not know takes its default, union branches are matched by type
//! and record name, numbers are widened. A closed set that once was an Avro enum is read as its text.

use std::collections::HashMap;

use apache_avro::{
    Schema,
    schema::{Name, RecordSchema, ResolvedSchema},
};
use serde_json::Value;

use super::{
    known::Known,
    wire::{Cursor, Put},
};
use crate::{Error, Topic};

/// How deep a record may nest.
const DEEPEST: usize = 32;

/// The body in the current schema of the topic.
///
/// # Errors
/// [`Error::Decode`] when the bytes are not of the writer schema, or that cannot be resolved to the current one.
pub(super) fn resolve(topic: Topic, writer: &Schema, body: &[u8]) -> Result<Vec<u8>, Error> {
    let reader = &Known::all().current(topic).schema;
    let names = |schema| {
        ResolvedSchema::new(schema).map_err(|error| Error::Decode {
            topic: topic.name(),
            detail: format!("writer schema is not usable: {error}"),
        })
    };
    let (writer_names, reader_names) = (names(writer)?, names(reader)?);
    let resolution = Resolution { writer: writer_names.get_names(), reader: reader_names.get_names() };
    let mut cursor = Cursor::new(topic, body);
    let mut out = Vec::with_capacity(body.len() + 16);
    resolution.value(&mut cursor, "record", writer, Some(reader), &mut out, 0)?;
    cursor.end()?;
    Ok(out)
}

type Names<'s> = HashMap<Name, &'s Schema>;

struct Resolution<'s> {
    writer: &'s Names<'s>,
    reader: &'s Names<'s>,
}

impl<'s> Resolution<'s> {
    /// Reads one value as `writer` wrote it and appends it as `reader` reads it; without reader it is skipped.
    fn value(
        &self,
        cursor: &mut Cursor<'_>,
        field: &str,
        writer: &'s Schema,
        reader: Option<&'s Schema>,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(cursor.wrong(field, format_args!("nests deeper than {DEEPEST} levels")));
        }
        let writer = named(writer, self.writer);
        if let Schema::Union(union) = writer {
            let branch = cursor.branch(field, union.variants().len())?;
            return self.value(cursor, field, &union.variants()[branch], reader, out, depth + 1);
        }
        let reader = match reader.map(|reader| named(reader, self.reader)) {
            Some(Schema::Union(union)) => {
                let variants = union.variants();
                let fits = |exactly| {
                    variants.iter().position(|one| matches(writer, named(one, self.reader), exactly))
                };
                let branch = fits(true).or_else(|| fits(false)).ok_or_else(|| mismatch(cursor, field))?;
                out.put_long(branch as i64);
                Some(named(&variants[branch], self.reader))
            }
            other => other,
        };
        if reader.is_some_and(|reader| !matches(writer, reader, false)) {
            return Err(mismatch(cursor, field));
        }
        match (writer, reader) {
            (Schema::Record(writer), reader) => {
                let reader = match reader {
                    Some(Schema::Record(reader)) => Some(reader),
                    _ => None,
                };
                self.record(cursor, writer, reader, out, depth)
            }
            (Schema::Array(writer), reader) => {
                let reader = match reader {
                    Some(Schema::Array(reader)) => Some(&*reader.items),
                    _ => None,
                };
                self.items(cursor, field, (&writer.items, reader, false), out, depth)
            }
            (Schema::Map(writer), reader) => {
                let reader = match reader {
                    Some(Schema::Map(reader)) => Some(&*reader.types),
                    _ => None,
                };
                self.items(cursor, field, (&writer.types, reader, true), out, depth)
            }
            (writer, reader) => primitive(cursor, field, writer, reader, out),
        }
    }

    fn record(
        &self,
        cursor: &mut Cursor<'_>,
        writer: &'s RecordSchema,
        reader: Option<&'s RecordSchema>,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), Error> {
        let fields = reader.map_or(&[][..], |reader| &reader.fields);
        let mut values: Vec<Option<Vec<u8>>> = vec![None; fields.len()];
        for written in &writer.fields {
            let place = fields.iter().position(|field| field.name == written.name);
            let mut value = Vec::new();
            let reader = place.map(|place| &fields[place].schema);
            self.value(cursor, &written.name, &written.schema, reader, &mut value, depth + 1)?;
            if let Some(place) = place {
                values[place] = Some(value);
            }
        }
        for (field, value) in fields.iter().zip(values) {
            match (value, &field.default) {
                (Some(value), _) => out.extend_from_slice(&value),
                (None, Some(default)) if put_default(default, &field.schema, out) => {}
                (None, _) => {
                    return Err(
                        cursor.wrong(&field.name, "the writer schema lacks it, and it has no default")
                    );
                }
            }
        }
        Ok(())
    }

    /// The blocks of an array, or of a map when `keyed`.
    fn items(
        &self,
        cursor: &mut Cursor<'_>,
        field: &str,
        (writer, reader, keyed): (&'s Schema, Option<&'s Schema>, bool),
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), Error> {
        loop {
            let count = cursor.block(field)?;
            out.put_long(count as i64);
            if count == 0 {
                return Ok(());
            }
            for _ in 0..count {
                if keyed {
                    out.put_str(cursor.str(field)?);
                }
                self.value(cursor, field, writer, reader, out, depth + 1)?;
            }
        }
    }
}

fn mismatch(cursor: &Cursor<'_>, field: &str) -> Error {
    cursor.wrong(field, "the type in the writer schema cannot become the type of the current schema")
}

/// The schema behind a reference.
fn named<'s>(schema: &'s Schema, names: &Names<'s>) -> &'s Schema {
    match schema {
        Schema::Ref { name } => names.get(name).copied().unwrap_or(schema),
        other => other,
    }
}

/// The wire form of a primitive type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Enum,
}

fn form(schema: &Schema) -> Option<Form> {
    Some(match schema {
        Schema::Null => Form::Null,
        Schema::Boolean => Form::Boolean,
        Schema::Int | Schema::Date | Schema::TimeMillis => Form::Int,
        Schema::Long
        | Schema::TimeMicros
        | Schema::TimestampMillis
        | Schema::TimestampMicros
        | Schema::TimestampNanos
        | Schema::LocalTimestampMillis
        | Schema::LocalTimestampMicros
        | Schema::LocalTimestampNanos => Form::Long,
        Schema::Float => Form::Float,
        Schema::Double => Form::Double,
        Schema::Bytes => Form::Bytes,
        Schema::String => Form::Text,
        Schema::Enum(_) => Form::Enum,
        _ => return None,
    })
}

/// Whether a value of `writer` can be read as `reader`, without or with widening.
fn matches(writer: &Schema, reader: &Schema, exactly: bool) -> bool {
    match (writer, reader) {
        (Schema::Record(writer), Schema::Record(reader)) => {
            !exactly || writer.name.name() == reader.name.name()
        }
        (Schema::Array(_), Schema::Array(_)) | (Schema::Map(_), Schema::Map(_)) => true,
        _ => match (form(writer), form(reader)) {
            (Some(writer), Some(reader)) if exactly => writer == reader,
            (Some(Form::Int), Some(Form::Long | Form::Float | Form::Double))
            | (Some(Form::Long), Some(Form::Float | Form::Double))
            | (Some(Form::Float), Some(Form::Double))
            | (Some(Form::Bytes | Form::Enum), Some(Form::Text))
            | (Some(Form::Text), Some(Form::Bytes)) => true,
            (Some(writer), Some(reader)) => writer == reader,
            _ => false,
        },
    }
}

fn primitive(
    cursor: &mut Cursor<'_>,
    field: &str,
    writer: &Schema,
    reader: Option<&Schema>,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let Some(written) = form(writer) else {
        return Err(cursor.wrong(field, "has a type in the writer schema that no schema of this topic uses"));
    };
    let wanted = reader.and_then(form).unwrap_or(written);
    match written {
        Form::Null => {}
        Form::Boolean => out.put_boolean(cursor.boolean(field)?),
        Form::Int | Form::Long => {
            let value = if written == Form::Int {
                cursor.number::<i32>(field)?.into()
            } else {
                cursor.long(field)?
            };
            match wanted {
                Form::Float => out.put_float(value as f32),
                Form::Double => out.put_double(value as f64),
                _ => out.put_long(value),
            }
        }
        Form::Float => match cursor.float(field)? {
            value if wanted == Form::Double => out.put_double(value.into()),
            value => out.put_float(value),
        },
        Form::Double => out.put_double(cursor.double(field)?),
        Form::Bytes if wanted == Form::Text => out.put_str(cursor.str(field)?),
        Form::Bytes => out.put_bytes(cursor.bytes(field)?),
        Form::Text => out.put_str(cursor.str(field)?),
        Form::Enum => {
            let Schema::Enum(of) = writer else { return Err(mismatch(cursor, field)) };
            out.put_str(&of.symbols[cursor.branch(field, of.symbols.len())?]);
        }
    }
    Ok(())
}

/// Appends a default of the current schema; false when the schema gives one that is not supported.
fn put_default(default: &Value, schema: &Schema, out: &mut Vec<u8>) -> bool {
    match (schema, default) {
        (Schema::Union(union), default) => {
            // Avro gives the default of a union for its first branch.
            out.put_long(0);
            union.variants().first().is_some_and(|first| put_default(default, first, out))
        }
        (Schema::Null, Value::Null) => true,
        (Schema::Boolean, Value::Bool(value)) => {
            out.put_boolean(*value);
            true
        }
        (Schema::Double, Value::Number(number)) => {
            number.as_f64().map(|value| out.put_double(value)).is_some()
        }
        (Schema::Float, Value::Number(number)) => {
            number.as_f64().map(|value| out.put_float(value as f32)).is_some()
        }
        (Schema::Int | Schema::Long | Schema::TimestampMillis, Value::Number(number)) => {
            number.as_i64().map(|value| out.put_long(value)).is_some()
        }
        (Schema::String, Value::String(text)) => {
            out.put_str(text);
            true
        }
        (Schema::Map(_), Value::Object(map)) if map.is_empty() => {
            out.put_long(0);
            true
        }
        (Schema::Array(_), Value::Array(items)) if items.is_empty() => {
            out.put_long(0);
            true
        }
        _ => false,
    }
}
