//! What is computed: pure stages that the dataflow strings together.
//!
//! Enters: records of one epoch, already in their final order. Leaves: readings with marks, KPIs, alarms, rejects.
//! Guarantees: no I/O, no clock, no randomness; the output of an epoch is a function of the state before it and of
//! its input, and does not depend on the number of workers.

pub mod alarm;
pub mod capacity;
pub mod cold;
pub mod decode;
pub mod durable;
pub mod flow;
pub mod kpi;
pub mod model;
pub mod profile;
pub mod reason;
mod refuse;
pub mod registry;
pub mod season;
pub mod stage;
pub mod validate;
pub mod window;

pub use cold::ColdTier;
pub use durable::Durable;
pub use flow::{
    Change, Checked, CheckedEpoch, CheckedReport, CheckedReports, Heard, Object, Observation, Observations,
    Observed, ObservedEpoch, Repeated,
};
pub use profile::{Profile, ProfileChange};
pub use stage::Stage;
