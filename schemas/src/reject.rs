//! Records that cannot be used, and why. Nothing is dropped silently (design, invariant 1).

use serde::{Deserialize, Serialize};

use crate::Millis;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident => $name:literal, $advice:literal;)*) => {
        /// Why a record or a reading cannot be used.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason { $($(#[$doc])* #[serde(rename = $name)] $variant,)* }

        impl Reason {
            /// Every reason, in a fixed order.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// The name in answers, topics and tables.
            #[must_use]
            pub fn name(self) -> &'static str { match self { $(Reason::$variant => $name,)* } }

            /// What the sender or operator can do about it.
            #[must_use]
            pub fn advice(self) -> &'static str { match self { $(Reason::$variant => $advice,)* } }
        }
    };
}

reasons! {
    /// Bytes that are not in the form they claim (JSON, SenML, Avro, CSV).
    Malformed => "malformed", "send a well-formed record";
    /// A form that nests deeper than allowed.
    TooDeep => "too_deep", "flatten the record";
    /// A record larger than allowed.
    TooLarge => "too_large", "split the record or the batch";
    /// A batch or report without content.
    Empty => "empty", "send at least one reading";
    /// Bytes whose schema is not known.
    UnknownSchema => "unknown_schema", "register the schema or upgrade the reader";
    /// A required field is absent.
    MissingField => "missing_field", "add the field that the detail names";
    /// A field has the wrong type.
    WrongType => "wrong_type", "send the type that the detail names";
    /// The same field or metric stands twice in one record.
    DuplicateKey => "duplicate_key", "send each metric once per record";
    /// A facility that the registry does not hold.
    UnknownFacility => "unknown_facility", "load the facility into the registry, then redrive";
    /// A device that the registry does not hold, or not at this facility.
    UnknownDevice => "unknown_device", "load the device into the registry, then redrive";
    /// A metric that the catalogue does not hold.
    UnknownMetric => "unknown_metric", "use a metric code of the catalogue or map the field";
    /// A unit that cannot be converted to the metric's unit.
    WrongUnit => "wrong_unit", "send the unit that the detail names";
    /// Text that is no number.
    NotANumber => "not_a_number", "send a number";
    /// NaN or an infinity.
    NotFinite => "not_finite", "leave out values that were not measured";
    /// The sender says that nothing was measured.
    NotMeasured => "not_measured", "nothing to do: the reading counts as missing";
    /// A time that cannot be read.
    BadTime => "bad_time", "send RFC 3339 or milliseconds since 1970";
    /// A time before the year 2000.
    TimeBefore2000 => "time_before_2000", "set the device's clock";
    /// A time further ahead than clocks may differ.
    TimeInFuture => "time_in_future", "set the device's clock";
    /// A sequence number or offset below zero.
    NegativeNumber => "negative_number", "send a number of at least 0";
    /// The reading was received before, with the same value.
    Duplicate => "duplicate", "nothing to do: the first copy is used";
    /// The reading was replaced by a later one for the same time; this is the value it had.
    Superseded => "superseded", "nothing to do: the correction is used";
    /// A registry entry that contradicts the registry.
    RegistryConflict => "registry_conflict", "correct the registry entry that the detail names";
    /// A payload on a topic that no profile maps.
    NoProfile => "no_profile", "map the topic in the configuration";
    /// The receiving platform refused the record.
    Refused => "refused", "read the answer in the detail, correct the record, redrive";
}

/// Where a record was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Before Kafka: the sender was told.
    Connector,
    /// In the dataflow: the record had been accepted.
    Dataflow,
    /// After the dataflow: a receiver refused it for good.
    Sink,
}

/// One record, or one reading of a record, that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reject {
    /// When it was turned away: arrival at the connector, or the record's `received_at` in the dataflow.
    pub at: Millis,
    /// Where it came from: `http:198.51.100.7`, `mqtt:v1/gateway/telemetry`, `kafka:heating.reports/3/1042`,
    /// followed by `#metric` when only one reading of a record is meant.
    pub origin: String,
    /// Why.
    pub reason: Reason,
    /// What exactly is wrong, where, and what was expected.
    pub detail: String,
    /// The bytes as received.
    #[serde(with = "serde_bytes_form")]
    pub raw: Vec<u8>,
    /// Where it was turned away.
    pub stage: Stage,
    /// How many readings it stands for; 0 when they cannot be counted.
    pub readings: u32,
}

/// Byte strings in serde's own byte form, so that Avro writes `bytes` and not an array.
mod serde_bytes_form {
    use serde::{Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl<'de> de::Visitor<'de> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: de::Error>(self, v: &[u8]) -> Result<Self::Value, E> {
                Ok(v.to_vec())
            }
            fn visit_byte_buf<E: de::Error>(self, v: Vec<u8>) -> Result<Self::Value, E> {
                Ok(v)
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut out = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    out.push(byte);
                }
                Ok(out)
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}
