//! Models: what each object normally does, learnt from its own history while running.
//!
//! Enters: closed hours and the registry. Leaves: diagnoses per object and hour, and alarms through the machinery of
//! [`crate::alarm`] with `analysed` set. Guarantees: what is said last of an hour and of an alarm is a function of the
//! hours in the order of their time, whatever the order in which they came; every diagnosis names the version of its
//! method and of what was learnt.
//!
//! ```text
//! closed hours -> [`supply`] -> [`station`] repeats -> [`course`] judges by -> [`hours`]
//!                                                         └ learns by -> [`learn`] -> [`energy_signature`]
//! ```

mod course;
pub mod diagnosis;
pub mod energy_signature;
mod former;
mod hours;
mod learn;
#[cfg(test)]
mod restarts;
mod saved;
mod station;
pub mod supply;
#[cfg(test)]
mod tests;

pub use course::Learnt;
pub use diagnosis::{
    DiagnosedEpoch, Diagnosis, HoursEpoch, Reason, StationHour, SupplySettings, SupplyState,
};
pub use supply::Supply;
