//! What flows between the stages.
//!
//! Within a worker an epoch travels as one value behind an `Rc`, so that several stages read it without copying.
//! Everything of a facility is on one worker, in the order of its partition's offsets. Reports lie flat: many in one
//! allocation, and their readings side by side in another.

mod checked;
mod observed;
mod stash;
#[cfg(test)]
pub(crate) mod whole;

use std::{rc::Rc, sync::Arc};

use schemas::{Code, Epoch, Event, Flag, MetricId, Millis, RecordPlace, Reject, TestSet, Topic};
use serde::{Deserialize, Serialize};

use crate::profile::{Profile, ProfileChange};

pub use checked::CheckedReports;
pub use observed::{Observations, Size};
pub use stash::Stash;

/// What was measured: a facility, or a device of it (then `device` is not empty).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Object {
    /// Facility code.
    pub facility: Code,
    /// Device code, or empty.
    pub device: Code,
}

/// One value as decoded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// What was measured.
    pub metric: MetricId,
    /// The finite value.
    pub value: f64,
    /// False when it was not written in the normal form.
    pub normal: bool,
}

/// One decoded report: its metrics are known and its values finite; nothing else is decided yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation<'a> {
    /// Facility code.
    pub facility: &'a str,
    /// Device code, or empty.
    pub device: &'a str,
    /// When it was measured.
    pub observed_at: Millis,
    /// When it arrived.
    pub received_at: Millis,
    /// The sender's counter.
    pub sequence: Option<i64>,
    /// Partition of the reports topic.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// Whether it was a reject that was sent again.
    pub redriven: bool,
    /// The values.
    pub readings: &'a [Observed],
}

impl Observation<'_> {
    /// The record that it came in.
    #[must_use]
    pub fn carrier(&self) -> Carrier {
        Carrier { partition: self.partition, offset: self.offset, redriven: self.redriven }
    }
}

/// The record that a report came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carrier {
    /// Partition of the reports topic.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// Whether it was a reject that was sent again.
    pub redriven: bool,
}

impl Carrier {
    /// Where it lies.
    #[must_use]
    pub fn place(self) -> RecordPlace {
        RecordPlace { topic: Topic::Reports, partition: self.partition, offset: self.offset }
    }
}

/// An event and where it lies on its topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlacedEvent {
    /// Partition of the events topic.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// What it says.
    pub event: Event,
}

/// An event of a registered facility.
#[derive(Clone, Debug)]
pub struct CheckedEvent {
    /// What it says; its fields are what its kind asks for.
    pub event: Event,
    /// The record that it came in.
    pub place: RecordPlace,
    /// What the registry says of the facility.
    pub profile: Arc<Profile>,
}

/// One worker's share of an epoch before validation.
#[derive(Debug, Default)]
pub struct ObservedEpoch {
    /// Number of the epoch.
    pub epoch: Epoch,
    /// The clock of the epoch: how far time has come, monotone.
    pub clock: Millis,
    /// Up to when reports of a partition are believed to have arrived, sorted by partition; of others every time is.
    pub believed: Vec<(i32, Millis)>,
    /// Registry changes, to apply first; at most one per facility, sorted by facility.
    pub profiles: Vec<ProfileChange>,
    /// The last registry record of the epoch, where it has some: of changes that have several, it stands for all.
    pub registry: Option<RecordPlace>,
    /// Reports, sorted by (partition, offset).
    pub observations: Vec<Observations>,
    /// Events, sorted by (partition, offset).
    pub events: Vec<PlacedEvent>,
}

impl ObservedEpoch {
    /// Up to when reports of a partition are believed to have arrived.
    #[must_use]
    pub fn believed_of(&self, partition: i32) -> Millis {
        let place = self.believed.binary_search_by_key(&partition, |(partition, _)| *partition);
        place.map_or(Millis::MAX, |place| self.believed[place].1)
    }
}

/// What a checked reading is relative to what was said before about the same (object, metric, time).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// The first word about it.
    New,
    /// The value stands, its mark was revised by what came later.
    Remarked,
    /// Another value was sent for the same time and replaces the first.
    Corrected,
    /// It is older than what is remembered: whether anything was said before about it cannot be told.
    Unverified,
}

impl Change {
    /// Whether it is the first word, as far as can be told.
    #[must_use]
    pub fn is_first(self) -> bool {
        matches!(self, Change::New | Change::Unverified)
    }
}

/// A reading with its mark.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Checked {
    /// What was measured.
    pub metric: MetricId,
    /// The value, in the metric's unit.
    pub value: f64,
    /// The aggregate mark.
    pub flag: Flag,
    /// The tests that did not pass.
    pub failed: TestSet,
    /// Relative to what was said before.
    pub change: Change,
}

/// The checked readings of one object at one time. Without readings it says that the object reported on time and had
/// no value to give.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CheckedReport<'a> {
    /// Whose.
    pub object: &'a Rc<Object>,
    /// When it was measured.
    pub observed_at: Millis,
    /// When it arrived.
    pub received_at: Millis,
    /// The record that it came in; of revised readings, the one that revises them.
    pub carrier: Carrier,
    /// The readings.
    pub readings: &'a [Checked],
}

/// A report whose readings, or some of them, had been received before with the same values.
#[derive(Clone, Debug, PartialEq)]
pub struct Repeated {
    /// Whose.
    pub object: Rc<Object>,
    /// When it was measured.
    pub observed_at: Millis,
    /// How many of its readings were repetitions.
    pub readings: u32,
}

/// A report that leaves validation with nothing new: its object is in contact, and no more is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// Whose.
    pub object: Rc<Object>,
    /// When it was measured, as it says.
    pub observed_at: Millis,
    /// When it arrived.
    pub received_at: Millis,
    /// The record that it came in.
    pub carrier: Carrier,
    /// Whether it was refused for a time that cannot be true: the object's clock is wrong.
    pub misdated: bool,
}

/// One worker's share of an epoch after validation.
#[derive(Debug, Default)]
pub struct CheckedEpoch {
    /// Number of the epoch.
    pub epoch: Epoch,
    /// The clock of the epoch.
    pub clock: Millis,
    /// Registry changes, to apply first.
    pub profiles: Vec<ProfileChange>,
    /// The last registry record of the epoch, where it has some.
    pub registry: Option<RecordPlace>,
    /// Readings, in the order in which they were accepted; revisions of older readings among them.
    pub reports: CheckedReports,
    /// Repetitions, counted for the uniqueness figure; each repeated reading is among the rejects too.
    pub repeated: Vec<Repeated>,
    /// Arrivals that are not among `reports`: all of their readings were repetitions, or their time cannot be true.
    pub heard: Vec<Heard>,
    /// Events, in their order.
    pub events: Vec<CheckedEvent>,
    /// What cannot be used.
    pub rejects: Vec<Reject>,
}
