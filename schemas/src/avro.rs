//! Avro forms of the topics' values, in both framings.
//!
//! Enters: records, or the bytes of a Kafka value. Leaves: the other of the two. Guarantees: what one reader of a
//! topic writes every reader reads; bytes of an older schema are resolved to the current one; malformed bytes give
//! an error that names the field and the byte, and never a panic.
//!
//! The schemas are the files `avro/*.avsc`, older ones `avro/old/*.avsc`. A change to a schema keeps the old file,
//! and gives every new field a default.

use std::{borrow::Cow, collections::BTreeMap};

use apache_avro::Schema;

use crate::{Error, Topic};

mod known;
mod records;
mod registry;
mod report;
mod resolution;
mod wire;

#[cfg(test)]
mod tests;

pub use report::{Named, ReportReader};

use known::{Fingerprint, Known};

/// A type whose values lie on a topic.
pub trait Record: Sized {
    /// The topic.
    const TOPIC: Topic;

    /// Appends the record in the binary form of the current schema, without any header.
    ///
    /// # Errors
    /// [`Error::Encode`] for a value that has no place in the schema, such as a metric outside the catalogue.
    fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), Error>;

    /// Reads a record from exactly these bytes of the current schema, which carry no header.
    ///
    /// # Errors
    /// [`Error::Decode`] with the field and byte that are malformed, or the number of bytes left over.
    fn decode_body(bytes: &[u8]) -> Result<Self, Error>;
}

/// The JSON text of a topic's current schema, to register it.
#[must_use]
pub fn schema_json(topic: Topic) -> &'static str {
    known::json(topic)
}

/// What the header of a value begins with.
const SINGLE_OBJECT: [u8; 2] = [0xc3, 0x01];
const CONFLUENT: u8 = 0x00;

/// How the header is written.
#[derive(Clone, Debug)]
enum Framing {
    SingleObject,
    Confluent(BTreeMap<Topic, u32>),
}

/// The schema a value was written with.
#[derive(Clone, Debug)]
enum Writer {
    Current,
    Older(Box<Schema>),
}

/// Writes and reads the values of the topics. Immutable; share it between threads.
///
/// ```
/// use schemas::{RawReading, RawValue, Report, avro::Codec};
///
/// let report = Report {
///     facility: "ST-0001".into(),
///     device: None,
///     observed_at: 1_768_435_200_000,
///     received_at: 1_768_435_200_250,
///     origin: "http:198.51.100.7".into(),
///     sequence: None,
///     readings: [RawReading { metric: "outdoor_temp".into(), value: RawValue::Number(-7.5) }].into_iter().collect(),
/// };
/// let codec = Codec::single_object();
/// let value = codec.encode(&report)?;
/// assert_eq!(codec.decode::<Report>(&value)?, report);
/// # Ok::<(), schemas::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Codec {
    framing: Framing,
    /// Writer schemas by their number in the schema registry.
    numbered: BTreeMap<u32, (Topic, Writer)>,
}

impl Codec {
    /// Writes Avro single-object encoding: C3 01, then the schema's CRC-64-AVRO fingerprint, little endian.
    #[must_use]
    pub fn single_object() -> Codec {
        Codec { framing: Framing::SingleObject, numbered: BTreeMap::new() }
    }

    /// Writes Confluent framing: 00, then the schema's number in the registry, big endian.
    ///
    /// `ids` are the numbers under which the current schemas ([`schema_json`]) are registered; `writers` are further
    /// schemas (JSON) by their number, to read values that others wrote.
    ///
    /// # Errors
    /// [`Error::Decode`] when a writer schema is not readable.
    pub fn confluent(
        ids: BTreeMap<Topic, u32>,
        writers: BTreeMap<u32, (Topic, String)>,
    ) -> Result<Codec, Error> {
        let mut numbered = BTreeMap::new();
        for (id, (topic, json)) in writers {
            let schema = known::parse(&json).map_err(|error| Error::Decode {
                topic: topic.name(),
                detail: format!("schema {id} of the registry is not usable: {error}"),
            })?;
            let current = known::fingerprint(&schema) == Known::all().current(topic).fingerprint;
            let writer = if current { Writer::Current } else { Writer::Older(Box::new(schema)) };
            numbered.insert(id, (topic, writer));
        }
        for (topic, id) in &ids {
            numbered.entry(*id).or_insert((*topic, Writer::Current));
        }
        Ok(Codec { framing: Framing::Confluent(ids), numbered })
    }

    /// The record with its header.
    ///
    /// # Errors
    /// As for [`Codec::encode_into`].
    pub fn encode<R: Record>(&self, record: &R) -> Result<Vec<u8>, Error> {
        let mut out = Vec::with_capacity(256);
        self.encode_into(record, &mut out)?;
        Ok(out)
    }

    /// Appends the record with its header; `out` is unchanged when that fails.
    ///
    /// # Errors
    /// [`Error::Encode`] as for [`Record::encode_body`], or when the topic's schema is not registered.
    pub fn encode_into<R: Record>(&self, record: &R, out: &mut Vec<u8>) -> Result<(), Error> {
        let start = out.len();
        match &self.framing {
            Framing::SingleObject => {
                out.extend_from_slice(&SINGLE_OBJECT);
                out.extend_from_slice(&Known::all().current(R::TOPIC).fingerprint);
            }
            Framing::Confluent(ids) => {
                let id = ids.get(&R::TOPIC).ok_or_else(|| Error::Encode {
                    topic: R::TOPIC.name(),
                    detail: "its schema has no number: register it at the schema registry".to_owned(),
                })?;
                out.push(CONFLUENT);
                out.extend_from_slice(&id.to_be_bytes());
            }
        }
        record.encode_body(out).inspect_err(|_| out.truncate(start))
    }

    /// Reads a record of any known schema, in either framing.
    ///
    /// # Errors
    /// [`Error::Decode`] for malformed bytes, [`Error::UnknownSchema`] for a header that names no known schema.
    pub fn decode<R: Record>(&self, bytes: &[u8]) -> Result<R, Error> {
        match self.open(R::TOPIC, bytes)? {
            (None, body) => R::decode_body(body),
            (Some(writer), body) => R::decode_body(&resolution::resolve(R::TOPIC, writer, body)?),
        }
    }

    /// The body of a report for a [`ReportReader`]: in place when it is of the current schema.
    ///
    /// # Errors
    /// As for [`Codec::decode`], except for what the reader finds.
    #[inline]
    pub fn report_body<'a>(&self, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, Error> {
        match self.open(Topic::Reports, bytes)? {
            (None, body) => Ok(Cow::Borrowed(body)),
            (Some(writer), body) => resolution::resolve(Topic::Reports, writer, body).map(Cow::Owned),
        }
    }

    /// The writer schema, `None` for the current one, and the body.
    #[inline]
    fn open<'s, 'a>(
        &'s self,
        topic: Topic,
        bytes: &'a [u8],
    ) -> Result<(Option<&'s Schema>, &'a [u8]), Error> {
        if let Some((header, body)) = bytes.split_first_chunk::<10>()
            && header[..2] == SINGLE_OBJECT
            && header[2..] == Known::all().current(topic).fingerprint
        {
            return Ok((None, body));
        }
        let wrong = |detail: String| Error::Decode { topic: topic.name(), detail };
        let unknown = |fingerprint: String| Error::UnknownSchema { topic: topic.name(), fingerprint };
        let (of, writer, body) = if bytes.first() == Some(&CONFLUENT) {
            let Some((header, body)) = bytes.split_first_chunk::<5>() else {
                return Err(wrong(format!("header at byte 0 needs 5 bytes, there are {}", bytes.len())));
            };
            let id = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
            let (of, writer) = self.numbered.get(&id).ok_or_else(|| unknown(format!("number {id}")))?;
            let writer = match writer {
                Writer::Current => None,
                Writer::Older(schema) => Some(&**schema),
            };
            (*of, writer, body)
        } else if bytes.starts_with(&SINGLE_OBJECT) {
            let Some((header, body)) = bytes.split_first_chunk::<10>() else {
                return Err(wrong(format!("header at byte 0 needs 10 bytes, there are {}", bytes.len())));
            };
            let mut fingerprint: Fingerprint = [0; 8];
            fingerprint.copy_from_slice(&header[2..]);
            let (of, writer) = Known::all()
                .find(&fingerprint)
                .ok_or_else(|| unknown(format!("{:016x}", u64::from_le_bytes(fingerprint))))?;
            (of, writer, body)
        } else {
            let start: String = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
            return Err(wrong(format!(
                "header at byte 0 is {}, expected c301 (single object) or 00 (schema registry)",
                if start.is_empty() { "absent" } else { &start }
            )));
        };
        if of == topic {
            Ok((writer, body))
        } else {
            Err(wrong(format!("header at byte 0 names a schema of {}", of.name())))
        }
    }
}
