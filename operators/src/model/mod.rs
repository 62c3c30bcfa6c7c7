//! Models: what each object normally does, learnt from its own history while running.
//!
//! Enters: closed hours and the registry. Leaves: diagnoses per object and hour, and alarms through the machinery of
//! [`crate::alarm`] with `analysed` set. Guarantees: an output is a function of the hours in the order in which they
//! closed; every diagnosis names the version of its method and of what was learnt.

pub mod diagnosis;
pub mod energy_signature;
#[cfg(test)]
mod restarts;
mod saved;
pub mod station;
pub mod supply;
#[cfg(test)]
mod tests;

pub use diagnosis::{DiagnosedEpoch, Diagnosis, HoursEpoch, StationHour, SupplySettings, SupplyState};
pub use supply::Supply;
