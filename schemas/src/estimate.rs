//! What a model expected of an object in an hour, and what it found (C 1.5).

use serde::{Deserialize, Serialize};

use crate::{Code, Millis};

/// One estimate: a revision is a row with the same model, object and hour and a higher epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EstimateRow {
    /// The model's code, such as `energy_signature`.
    pub model: Code,
    /// The object's facility.
    pub facility: Code,
    /// The object's device; empty when it is the facility itself.
    pub device: Code,
    /// Start of the hour.
    pub hour: Millis,
    /// What the model expects, in `unit`; `None` when it cannot tell.
    pub expected: Option<f64>,
    /// What was measured, in `unit`.
    pub actual: Option<f64>,
    /// Unit symbol of both.
    pub unit: Code,
    /// What it comes to, in the model's own words.
    pub state: Code,
    /// Why nothing can be said, or why nothing is expected; empty otherwise.
    pub reason: Code,
    /// How far the expectation can be trusted, 0 to 1.
    pub confidence: Option<f64>,
    /// Version of method and settings.
    pub method: u32,
    /// Version of what was learnt of the object; 0 before anything was.
    pub learnt: u32,
    /// What was learnt, as JSON: everything that the expectation follows from.
    pub parameters: String,
}
