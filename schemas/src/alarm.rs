//! Alarms: episodes and their transitions (T 3.5.2 (7), CJJ/T 241).

use serde::{Deserialize, Serialize};

use crate::{Code, MetricId, Millis, RecordPlace, kpi::named};

named! {
    /// What happened to an alarm.
    Transition {
        /// The episode began.
        Raised => "raised",
        /// A graver level was reached.
        Escalated => "escalated",
        /// The level fell.
        Deescalated => "de-escalated",
        /// A new extreme, or changed evidence.
        Updated => "updated",
        /// The condition ended.
        Cleared => "cleared",
        /// A correction showed that the episode never was, or not this one.
        Retracted => "retracted",
    }
}

named! {
    /// Where an episode stands.
    AlarmState {
        /// The condition holds.
        Active => "active",
        /// The condition ended.
        Cleared => "cleared",
        /// It never was.
        Retracted => "retracted",
    }
}

/// One transition, carrying the whole state of its episode after it.
///
/// Level 1 is the gravest, 3 the mildest. Values are in the metric's unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlarmTransition {
    /// Names the episode: a function of rule, object, metric and onset, so a replay gives the same.
    pub alarm_id: String,
    /// Number of this transition within the episode, from 1.
    pub sequence: u32,
    /// What happened.
    pub transition: Transition,
    /// When, in event time.
    pub at: Millis,
    /// Where the episode stands now.
    pub state: AlarmState,
    /// Rule or model code.
    pub rule: Code,
    /// Facility code.
    pub facility: Code,
    /// Device code, empty for the facility itself.
    pub device: Code,
    /// Metric, where the rule is about one.
    pub metric: Option<MetricId>,
    /// Level now: 1, 2 or 3.
    pub level: u8,
    /// When it was raised.
    pub raised_at: Millis,
    /// When it was cleared.
    pub cleared_at: Option<Millis>,
    /// Value at the onset.
    pub first_value: f64,
    /// Value now.
    pub current_value: f64,
    /// The most extreme value.
    pub peak_value: f64,
    /// When that was.
    pub peak_at: Millis,
    /// The gravest level reached.
    pub peak_level: u8,
    /// False: measured against a limit; true: concluded by a model.
    pub analysed: bool,
    /// Households below the object.
    pub affected_households: u32,
    /// Heated area below the object, m².
    pub affected_area: f64,
    /// The readings, flags and rule behind it, as JSON.
    pub evidence: String,
    /// What to do about it.
    pub advice: String,
    /// Why this transition happened: `data`, `late data`, `correction`, `registry`, `clock`, `season`,
    /// `mild weather`, `new signature`, `redriven`.
    pub cause: String,
    /// The record that brought it about, where it was one.
    pub caused_by: Option<RecordPlace>,
}
