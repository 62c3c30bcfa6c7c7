//! Records that cannot be used, and why. Nothing is dropped silently.

use serde::{Deserialize, Serialize};

use crate::Millis;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $variant:ident => $name:literal, $advice:literal;)*) => {
        /// Why a record or a reading cannot be used.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason { $($(#[doc = $doc])* #[serde(rename = $name)] $variant,)* }

        impl Reason {
            /// Every reason, in a fixed order.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// The name in answers, topics and tables.
            #[must_use]
            pub fn name(self) -> &'static str { match self { $(Reason::$variant => $name,)* } }

            /// What it means.
            #[must_use]
            pub fn meaning(self) -> &'static str { match self { $(Reason::$variant => concat!($($doc),*).trim_ascii(),)* } }

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
    /// Text that is one number with a decimal comma and another with a comma between thousands.
    AmbiguousNumber => "ambiguous_number", "send a number, or say with the setting decimal how numbers are written";
    /// NaN or an infinity.
    NotFinite => "not_finite", "leave out values that were not measured";
    /// The sender says that nothing was measured.
    NotMeasured => "not_measured", "nothing to do: the reading counts as missing";
    /// A time that cannot be read.
    BadTime => "bad_time", "send the form that the detail names";
    /// A time before the year 2000.
    TimeBefore2000 => "time_before_2000", "set the device's clock";
    /// A time longer before its arrival than data is held back.
    TooOld => "too_old", "set the device's clock; older data comes in as the detail says";
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
    /// A record that names another object than the topic it came on.
    TopicMismatch => "topic_mismatch", "publish on the topic of the object, or correct the code in the record";
    /// A payload on a topic that no profile maps.
    NoProfile => "no_profile", "map the topic in the configuration";
    /// An operator has the record passed over.
    Skipped => "skipped", "read in the detail why; once the cause is mended, send what it held again";
    /// The receiving platform refused the record.
    Refused => "refused", "read the answer in the detail, correct the record, redrive";
}

/// Where a record was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RejectStage {
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
    pub stage: RejectStage,
    /// How many readings it stands for; 0 when they cannot be counted.
    pub readings: u32,
}

/// Bytes of a record that its reject keeps at most: with room for the rest in what brokers take (1 MB by default).
pub const KEPT_BYTES: usize = 256 << 10;
/// Bytes of a detail and of an origin that are kept at most: both may quote what the sender wrote.
const TOLD_BYTES: usize = 4 << 10;

impl Reject {
    /// The same, cut to what any broker and any reader can take, and saying so: a reject must not fail for the very record
    /// that it is about.
    #[must_use]
    pub fn bounded(mut self) -> Reject {
        cut(&mut self.origin, TOLD_BYTES);
        cut(&mut self.detail, TOLD_BYTES);
        let whole = self.raw.len();
        if whole > KEPT_BYTES {
            self.raw.truncate(KEPT_BYTES);
            self.raw.shrink_to_fit();
            self.detail.push_str(&kept_of(KEPT_BYTES, whole));
        }
        self
    }
}

/// What a detail ends with when only the first bytes of a record are kept.
#[must_use]
pub fn kept_of(kept: usize, whole: usize) -> String {
    format!(" (the first {kept} of {whole} bytes are kept)")
}

/// Whether a detail says that only a part of the record is kept.
#[must_use]
pub fn is_cut(detail: &str) -> bool {
    detail.contains(" bytes are kept)")
}

/// Cuts a text at a character, with a sign that something is missing.
fn cut(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn reject(origin: &str, detail: &str, raw: Vec<u8>) -> Reject {
        let (origin, detail) = (origin.to_owned(), detail.to_owned());
        Reject {
            at: 0,
            origin,
            reason: Reason::Malformed,
            detail,
            raw,
            stage: RejectStage::Dataflow,
            readings: 0,
        }
    }

    #[test]
    fn what_is_short_stays_as_it_is() {
        let short = reject("kafka:heating.reports/0/1", "unreadable", vec![7; KEPT_BYTES]);
        assert_eq!(short.clone().bounded(), short);
    }

    #[test]
    fn what_an_outsider_made_long_is_cut_and_says_so() {
        let long = "热".repeat(TOLD_BYTES);
        let bounded = reject(&long, &long, vec![7; KEPT_BYTES + 1]).bounded();
        assert!(bounded.origin.len() <= TOLD_BYTES + 3 && bounded.origin.ends_with("热…"));
        assert_eq!(bounded.raw.len(), KEPT_BYTES);
        assert!(
            bounded.detail.ends_with("… (the first 262144 of 262145 bytes are kept)")
                && is_cut(&bounded.detail),
            "{}",
            bounded.detail
        );
    }
}
