//! A KPI of one scope in one window, the quality of its data there, and what may be set of a KPI.

use serde::{Deserialize, Serialize};

use crate::{Code, Millis, RecordPlace};

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
        )]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// Every value.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The name in tables and on topics.
            #[must_use]
            pub fn name(self) -> &'static str { match self { $($name::$variant => $text,)* } }
        }
    };
}
pub(crate) use named;

named! {
    /// What a KPI or quality figure is about.
    ScopeKind {
        /// One facility.
        Facility => "facility",
        /// A building and what lies in it.
        Building => "building",
        /// A community and what lies in it.
        Community => "community",
        /// A heat exchange station and what it feeds.
        Station => "station",
        /// A plant, branch or boiler house and what it feeds.
        Source => "source",
        /// An enterprise's facilities.
        Enterprise => "enterprise",
        /// A district's facilities.
        District => "district",
        /// A city's facilities: a district without parent.
        City => "city",
        /// All devices of one type.
        DeviceType => "device_type",
    }
}

named! {
    /// The length of a window. New ones come last: checkpoints name them by their place.
    Period {
        /// One hour of UTC.
        Hour => "hour",
        /// One day in the configured time zone.
        Day => "day",
        /// One calendar month in the configured time zone.
        Month => "month",
        /// One heating season of the object, by its legal dates.
        Season => "season",
        /// One week from Monday, in the configured time zone.
        Week => "week",
        /// One calendar quarter in the configured time zone.
        Quarter => "quarter",
        /// One calendar year in the configured time zone.
        Year => "year",
    }
}

named! {
    /// Why a KPI has the value it has now.
    KpiCause {
        /// Data arrived in its turn.
        Live => "live",
        /// The window ended; what was not received counts as missing.
        Closed => "closed",
        /// Data arrived after its window had ended.
        Late => "late",
        /// A reading was corrected, or its quality mark revised.
        Corrected => "corrected",
        /// The registry changed: an area, a parent, a standard temperature.
        Registry => "registry",
        /// A reject that was sent again after its window had ended.
        Redriven => "redriven",
    }
}

/// What the catalogue says of a KPI (`kpis.csv`): everything but how it is computed.
#[derive(Clone, Debug, PartialEq)]
pub struct KpiEntry {
    /// The code in tables and on topics.
    pub code: String,
    /// Chinese name.
    pub name: String,
    /// English name.
    pub english: String,
    /// Unit symbol, that of the computation.
    pub unit: String,
    /// Decimals of an hour's or day's value, at least `season_decimals`.
    pub decimals: u8,
    /// Decimals that the source prescribes for a season.
    pub season_decimals: u8,
    /// The clause that defines it.
    pub source: String,
    /// Whether it is published.
    pub enabled: bool,
    /// The numbers in its definition, by name; those that the shipped row has, in its order.
    pub parameters: Vec<(String, f64)>,
}

/// What a KPI is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Scope {
    /// The kind.
    pub kind: ScopeKind,
    /// The code of the facility, enterprise, district or device type.
    pub code: Code,
}

/// The state of one KPI: a revision is a row with the same key and a higher epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KpiRow {
    /// KPI code, such as `heat_supplied`.
    pub kpi: Code,
    /// What it is about.
    pub scope: Scope,
    /// Length of the window.
    pub period: Period,
    /// Start of the window.
    pub window_start: Millis,
    /// The value in the KPI's unit and decimals; `None` when nothing was measured.
    pub value: Option<f64>,
    /// The value before this revision.
    pub previous: Option<f64>,
    /// Share of the expected data behind it, 0 to 1.
    pub coverage: f32,
    /// Why it has this value.
    pub cause: KpiCause,
    /// The record that made it so, the last one where there were several; none when the data came in its turn or the
    /// window ended.
    pub caused_by: Option<RecordPlace>,
}

/// The quality of one scope's data in one window (C 1.4): shares from 0 to 1. A revision is a row with the same key and a
/// higher epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QualityRow {
    /// Whose data.
    pub scope: Scope,
    /// Length of the window.
    pub period: Period,
    /// Start of the window.
    pub window_start: Millis,
    /// (expected − missing − invalid) / expected.
    pub completeness: f32,
    /// Readings that came within the time allowed, of those received.
    pub timeliness: f32,
    /// Readings that may be used, of those received.
    pub validity: f32,
    /// Readings in normal form whose clock, counter and earlier copies do not contradict them, of those received.
    pub consistency: f32,
    /// Readings received once, of all copies received.
    pub uniqueness: f32,
    /// Weighted mean of the five.
    pub score: f32,
    /// Readings that arrived in the window after their own had closed: they are stored and flagged, and revise nothing.
    pub beyond_revision: u64,
}
