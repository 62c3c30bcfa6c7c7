//! The schemas that ship with the product, current and older, and their fingerprints.

use std::{collections::BTreeMap, sync::OnceLock};

use apache_avro::{Schema, rabin::Rabin};

use crate::Topic;

/// CRC-64-AVRO of a schema's canonical form, little endian.
pub(super) type Fingerprint = [u8; 8];

macro_rules! schema {
    ($file:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/avro/", $file))
    };
}

/// Earlier schemas of the topics.
pub(super) const OLDER: &[(Topic, &str)] = &[
    (Topic::Reports, schema!("old/reports.1.avsc")),
    (Topic::Registry, schema!("old/registry.1.avsc")),
    (Topic::Registry, schema!("old/registry.2.avsc")),
    (Topic::Alarms, schema!("old/alarms.1.avsc")),
    (Topic::Alarms, schema!("old/alarms.2.avsc")),
    (Topic::Kpis, schema!("old/kpis.1.avsc")),
];

/// The text of a topic's current schema.
pub(super) fn json(topic: Topic) -> &'static str {
    match topic {
        Topic::Reports => schema!("reports.avsc"),
        Topic::Registry => schema!("registry.avsc"),
        Topic::Events => schema!("events.avsc"),
        Topic::Rejects => schema!("rejects.avsc"),
        Topic::Readings => schema!("readings.avsc"),
        Topic::Kpis => schema!("kpis.avsc"),
        Topic::Alarms => schema!("alarms.avsc"),
    }
}

/// Reads a schema that may refer to types of its own.
pub(super) fn parse(json: &str) -> Result<Schema, Box<apache_avro::Error>> {
    Schema::parse_str(json).map_err(Box::new)
}

pub(super) fn fingerprint(schema: &Schema) -> Fingerprint {
    let mut fingerprint = [0; 8];
    fingerprint.copy_from_slice(&schema.fingerprint::<Rabin>().bytes);
    fingerprint
}

/// One schema with its fingerprint.
#[derive(Debug)]
pub(super) struct Current {
    pub schema: Schema,
    pub fingerprint: Fingerprint,
}

/// Every schema that ships with the product.
#[derive(Debug)]
pub(super) struct Known {
    /// In the order of [`Topic::ALL`], which is the order of the enum.
    current: Vec<Current>,
    older: BTreeMap<Fingerprint, (Topic, Schema)>,
}

impl Known {
    pub fn all() -> &'static Known {
        static KNOWN: OnceLock<Known> = OnceLock::new();
        KNOWN.get_or_init(|| {
            // A test parses every one of these files, so they cannot be malformed in a released binary.
            let read = |json| parse(json).unwrap_or_else(|error| panic!("built-in schema: {error}"));
            let current = Topic::ALL.iter().map(|topic| {
                let schema = read(json(*topic));
                Current { fingerprint: fingerprint(&schema), schema }
            });
            let older = OLDER.iter().map(|(topic, json)| {
                let schema = read(json);
                (fingerprint(&schema), (*topic, schema))
            });
            Known { current: current.collect(), older: older.collect() }
        })
    }

    #[inline]
    pub fn current(&self, topic: Topic) -> &Current {
        &self.current[topic as usize]
    }

    /// The topic of a fingerprint, and its schema where that is not the current one.
    pub fn find(&self, fingerprint: &Fingerprint) -> Option<(Topic, Option<&Schema>)> {
        let current = Topic::ALL.iter().find(|topic| self.current(**topic).fingerprint == *fingerprint);
        current
            .map(|topic| (*topic, None))
            .or_else(|| self.older.get(fingerprint).map(|(topic, schema)| (*topic, Some(schema))))
    }
}
