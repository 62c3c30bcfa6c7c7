//! How the state of the supply model is saved and read back.
//!
//! Enters and leaves: stations with their hours, what was learnt of them, and the alarms over their ratios. Design and
//! rules follow from the registry and the code, and are not written.

use serde::{Deserialize, Serialize, Serializer};

use super::{
    Supply,
    energy_signature::Signature,
    station::{Hour, Learnt},
};
use crate::{
    alarm::saved::SavedSeries,
    durable::{Durable, RestoreError, Saved, known_form},
};

impl Durable for Supply {
    const STATE: &'static str = "supply";
    const FORM: u16 = 1;

    fn begin(&mut self) {
        self.stations.begin();
    }

    fn save(&mut self, entries: usize, out: &mut Saved) -> bool {
        self.stations.save(entries, out)
    }

    fn restore(&mut self, _shard: u16, form: u16, section: &[u8]) -> Result<(), RestoreError> {
        known_form(Self::STATE, form, Self::FORM)?;
        self.stations.restore(Self::STATE, section)
    }
}

/// A station with its alarms, as it was saved.
#[derive(Debug, Deserialize)]
pub struct SavedWatched {
    pub(super) station: SavedStation,
    pub(super) ratios: SavedSeries,
}

/// A station, as it was saved.
#[derive(Debug, Deserialize)]
pub struct SavedStation {
    pub(super) hours: Vec<Hour>,
    pub(super) learnt: Option<(u32, u8, Signature)>,
    pub(super) habit: [f32; 24],
    pub(super) fresh: usize,
}

/// Writes what was learnt: its form for people has names, which do not belong into saved state.
pub(super) fn learnt<S: Serializer>(learnt: &Option<Learnt>, serializer: S) -> Result<S::Ok, S::Error> {
    let parts = learnt.map(|learnt| (learnt.version, learnt.smoothing_hours, learnt.signature));
    parts.serialize(serializer)
}
