//! How the state of the supply model is saved and read back.
//!
//! Enters and leaves: stations with their hours, what was learnt of them, and what was told of their alarms. Design,
//! season and rules follow from the registry and the code, and are not written; nor is what follows from the rest.
//! Form 2; form 1 is read by [`super::former`].

use serde::Deserialize;

use super::{Supply, course::Course, former::FormerWatched, hours::Hour, learn::Fit, supply::RULES};
use crate::{
    alarm::saved::SavedMonitor,
    durable::{Durable, RestoreError, Saved, known_form},
};

impl Durable for Supply {
    const STATE: &'static str = "supply";
    const FORM: u16 = 2;

    fn begin(&mut self) {
        self.stations.begin();
    }

    fn save(&mut self, entries: usize, out: &mut Saved) -> bool {
        self.stations.save(entries, out)
    }

    fn restore(&mut self, _shard: u16, form: u16, section: &[u8]) -> Result<(), RestoreError> {
        known_form(Self::STATE, form, Self::FORM)?;
        match form {
            1 => self.stations.restore_former::<FormerWatched>(Self::STATE, section),
            _ => self.stations.restore(Self::STATE, section),
        }
    }
}

/// A station with its alarms, as it was saved.
#[derive(Debug, Deserialize)]
pub struct SavedWatched {
    pub(super) station: SavedStation,
    pub(super) watches: [SavedMonitor; RULES],
}

/// A station, as it was saved.
#[derive(Debug, Deserialize)]
pub(super) struct SavedStation {
    pub(super) hours: Vec<Hour>,
    pub(super) open: i32,
    pub(super) settled: Course,
    pub(super) fits: Vec<Fit>,
}

/// What was learnt: its form for people has names, which do not belong into saved state.
pub(super) mod learnt {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::super::{course::Learnt, energy_signature::Signature};

    type Parts = Option<(u32, u8, Signature)>;

    pub(in super::super) fn serialize<S: Serializer>(
        learnt: &Option<Learnt>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let parts: Parts = learnt.map(|learnt| (learnt.version, learnt.smoothing_hours, learnt.signature));
        parts.serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Learnt>, D::Error> {
        let parts = Parts::deserialize(deserializer)?;
        Ok(parts.map(|(version, smoothing_hours, signature)| Learnt { version, smoothing_hours, signature }))
    }
}
