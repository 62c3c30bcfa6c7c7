//! Alarms: episodes over readings, arrivals, positions and events (T 3.5.2 (7), CJJ/T 241).
//!
//! Enters: checked epochs. Leaves: the transitions of alarm episodes.
//! Guarantees: episodes follow the time of the data. The same readings in another order, or later by less than the
//! horizon, end in the same episodes; what was told wrongly meanwhile is told anew or retracted, and says why.
//!
//! ```text
//! readings --> [`threshold`] rules --\
//! reports ---> [`kind`]s of reports ---> [`series`] -> [`monitor`] folds by [`episode`] -> [`transition`]
//! arrivals --> [`kind`]s of arrivals --/
//! events ----> [`kind`]s of events ----> [`events`] -> [`monitor`] folds by [`episode`] -> [`transition`]
//! arrivals --> [`communication`] ------------------------------------------------------> [`transition`]
//! ```

pub mod alarms;
pub mod arrival;
pub mod communication;
pub mod episode;
pub mod events;
pub mod heating;
pub mod journal;
pub mod kind;
pub mod matter;
pub mod monitor;
pub mod object;
pub mod operations;
#[cfg(test)]
mod oracle;
mod others;
#[cfg(test)]
mod resume;
pub mod rhythm;
pub mod rule;
pub mod saved;
pub mod series;
#[cfg(test)]
mod tests;
pub mod threshold;
pub mod transition;

use schemas::{AlarmTransition, Epoch, Millis};

pub use alarms::Alarms;
pub use events::EventAlarms;
pub use operations::{OperationalFact, Operations};

/// One worker's alarm transitions of an epoch.
#[derive(Debug, Default, PartialEq)]
pub struct AlarmedEpoch {
    /// Number of the epoch.
    pub epoch: Epoch,
    /// The clock of the epoch.
    pub clock: Millis,
    /// Sorted by (at, alarm, sequence).
    pub transitions: Vec<AlarmTransition>,
    /// Readings of watched series that came later than the horizon and did not count for alarms.
    pub too_late: u64,
}
