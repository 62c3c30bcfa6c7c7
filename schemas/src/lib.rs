//! What the data is: the vocabulary every other crate speaks.
//!
//! Enters: nothing. Leaves: types, their Avro and file forms, and the catalogues (metrics, rules, exchange tables).
//! Guarantees: no I/O except [`registry_files`] and [`catalogues`], which read and write CSV; every type has one wire
//! form, kept backward-compatible.

pub mod alarm;
pub mod avro;
mod back_off;
pub mod catalogues;
pub mod estimate;
pub mod event;
pub mod exchange;
pub mod fnv;
pub mod kpi;
pub mod metric;
pub mod model;
pub mod nearest;
pub mod number;
pub mod place;
pub mod quality;
pub mod reading;
pub mod registry;
pub mod registry_files;
pub mod reject;
pub mod report;
pub mod season;
mod sentinel;
pub mod sorted_map;
mod telemetry;
pub mod time;
pub mod topic;
pub mod units;

pub use alarm::{AlarmState, AlarmTransition, Transition};
pub use back_off::BackOff;
pub use estimate::EstimateRow;
pub use event::Event;
pub use kpi::{KpiCause, KpiEntry, KpiRow, Period, QualityRow, Scope, ScopeKind};
pub use metric::{Catalogue, Low, Metric, MetricId, MetricKind, Zero};
pub use model::ModelSetting;
pub use place::RecordPlace;
pub use quality::{Dimension, Flag, QualityTest, TestSet};
pub use reading::Reading;
pub use registry::{
    Attributes, Device, District, Enterprise, Facility, FacilityKind, RegistryEntry, RegistryKey, Side,
    Threshold,
};
pub use reject::{Reason, Reject, RejectStage};
pub use report::{RawReading, RawValue, Report, ReportView};
pub use sentinel::Sentinel;
pub use sorted_map::SortedMap;
pub use time::Millis;
pub use topic::{KafkaSettings, Topic};

/// A code that names a facility, device, district or enterprise; stored inline up to 24 bytes.
pub type Code = compact_str::CompactString;

/// The number of an epoch: the timely timestamp. Epoch 0 is before the first.
pub type Epoch = u64;

/// What can go wrong with the forms of the data.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Bytes that are not a record of any schema known here.
    #[error("{topic} record is not readable: {detail}")]
    Decode {
        /// The kind of record that was expected, such as `report`.
        topic: &'static str,
        /// What is wrong, and at which byte where that is known.
        detail: String,
    },
    /// A record whose schema is not known here.
    #[error("{topic} record has unknown schema {fingerprint}: register it, or upgrade this reader")]
    UnknownSchema {
        /// The kind of record that was expected.
        topic: &'static str,
        /// The fingerprint or registry number found in the record's header.
        fingerprint: String,
    },
    /// A value that cannot be written in its schema.
    #[error("{topic} record cannot be encoded: {detail}")]
    Encode {
        /// The kind of record.
        topic: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// Registry files that contradict themselves or cannot be read; one line per problem, `file:line: what`.
    #[error("registry is not usable:\n{}", .0.join("\n"))]
    Registry(Vec<String>),
    /// Catalogue files that contradict themselves or cannot be read; one line per problem, `file:line: what`.
    #[error("catalogues are not usable:\n{}", .0.join("\n"))]
    Catalogues(Vec<String>),
    /// Other catalogues than those that are in force already.
    #[error("other catalogues are in force already: install them before anything else, and once")]
    CataloguesInUse,
}
