//! A trusted reading: a value with its quality mark.

use serde::{Deserialize, Serialize};

use crate::{Code, Flag, MetricId, Millis, TestSet};

/// One value of one metric of one object, marked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Facility code.
    pub facility: Code,
    /// Device code, empty when the facility itself was measured.
    pub device: Code,
    /// What was measured.
    pub metric: MetricId,
    /// When.
    pub observed_at: Millis,
    /// When it arrived.
    pub received_at: Millis,
    /// The value, in the metric's unit.
    pub value: f64,
    /// The aggregate mark.
    pub flag: Flag,
    /// The tests that did not pass.
    pub failed: TestSet,
}
