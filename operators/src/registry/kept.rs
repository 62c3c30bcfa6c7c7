//! What the registry says now, kept for checkpoints: the topic is compacted, so what an epoch saw of it cannot be read
//! from it again.
//!
//! Enters: the records of each epoch. Leaves: after a restart, one record per entry. Guarantees: the join gives from
//! these records the profiles that it had given from all records before.

use schemas::{Code, RegistryEntry};
use serde::{Deserialize, Serialize};

use super::RegistryRecord;
use crate::durable::{Durable, Keyed, RestoreError, Saved, known_form, shard};

/// An entry as bytes, which take a fraction of the room, with its place in the topic.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    partition: i32,
    offset: i64,
    /// The [`RegistryEntry`] in postcard.
    entry: Box<[u8]>,
}

/// The last record of every key. An entry leaves with its tombstone.
#[derive(Debug)]
pub struct KeptRegistry {
    entries: Keyed<Code, Kept>,
}

impl Default for KeptRegistry {
    fn default() -> Self {
        KeptRegistry { entries: Keyed::new(|key: &Code| shard(key)) }
    }
}

impl KeptRegistry {
    /// Applies the records of an epoch, in any order; the last by (partition, offset) of a key counts.
    pub fn apply(&mut self, mut records: Vec<RegistryRecord>) {
        records.sort_by(|a, b| (&a.0, a.2).cmp(&(&b.0, b.2)));
        let mut records = records.into_iter().peekable();
        while let Some((key, entry, (partition, offset))) = records.next() {
            // The join refuses an entry under a foreign key, and what was there stays.
            let foreign = entry.as_ref().is_some_and(|entry| entry.key().0 != key);
            if foreign || records.peek().is_some_and(|next| next.0 == key) {
                continue;
            }
            match entry.as_ref().map(postcard::to_stdvec) {
                Some(Ok(bytes)) => {
                    let kept = Kept { partition, offset, entry: bytes.into_boxed_slice() };
                    self.entries.insert(key, kept);
                }
                // An entry that was read from Avro can be written; nothing else leads here.
                Some(Err(error)) => unreachable!("registry entry {key} cannot be serialised: {error}"),
                None => drop(self.entries.remove(&key)),
            }
        }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The records that were restored, sorted by key; they are kept again.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn restored(&mut self) -> Result<Vec<RegistryRecord>, RestoreError> {
        let mut records = Vec::new();
        for (key, kept) in self.entries.all_restored() {
            let entry: RegistryEntry = postcard::from_bytes(&kept.entry).map_err(|error| {
                RestoreError::Unreadable { state: Self::STATE, detail: format!("entry {key}: {error}") }
            })?;
            records.push((key.clone(), Some(entry), (kept.partition, kept.offset)));
            self.entries.insert(key, kept);
        }
        Ok(records)
    }
}

impl Durable for KeptRegistry {
    const STATE: &'static str = "registry";
    const FORM: u16 = 1;

    fn begin(&mut self) {
        self.entries.begin();
    }

    fn save(&mut self, entries: usize, out: &mut Saved) -> bool {
        self.entries.save(entries, out)
    }

    fn restore(&mut self, _shard: u16, form: u16, section: &[u8]) -> Result<(), RestoreError> {
        known_form(Self::STATE, form, Self::FORM)?;
        self.entries.restore(Self::STATE, section)
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Device, Enterprise, Facility, FacilityKind};

    use super::*;

    fn enterprise(code: &str, name: &str, offset: i64) -> RegistryRecord {
        let entry = RegistryEntry::Enterprise(Enterprise { code: code.into(), name: name.to_owned() });
        (Code::from(format!("enterprise/{code}")), Some(entry), (0, offset))
    }

    fn station() -> RegistryRecord {
        let entry = RegistryEntry::Facility(Facility {
            code: "ST-1".into(),
            kind: FacilityKind::Station,
            name: "一号站".to_owned(),
            parent: Some("PB-1".into()),
            enterprise: None,
            district: Some("220102".into()),
            longitude: Some(125.3),
            latitude: Some(43.8),
            heated_area: Some(52_000.0),
            attributes: [("interval".into(), "60".into())].into(),
        });
        ("facility/ST-1".into(), Some(entry), (1, 4))
    }

    fn device() -> RegistryRecord {
        let entry = RegistryEntry::Device(Device {
            code: "D-1".into(),
            facility: "ST-1".into(),
            kind: "heat_meter".into(),
            model: String::new(),
            maker: String::new(),
            installed: "2024-10-01".to_owned(),
            attributes: [].into(),
        });
        ("device/D-1".into(), Some(entry), (1, 5))
    }

    #[test]
    fn the_last_record_of_every_key_comes_back() {
        let mut kept = KeptRegistry::default();
        kept.apply(vec![enterprise("E", "new", 7), enterprise("E", "old", 3), enterprise("F", "gone", 4)]);
        kept.apply(vec![station(), device(), ("enterprise/F".into(), None, (0, 9))]);
        kept.begin();
        let mut saved = Saved::default();
        kept.apply(vec![enterprise("E", "newer", 12)]);
        while !kept.save(1, &mut saved) {}
        let mut back = KeptRegistry::default();
        for (shard, section) in saved.into_sections() {
            back.restore(shard, 1, &section).unwrap();
        }
        assert_eq!(back.restored().unwrap(), vec![device(), enterprise("E", "new", 7), station()]);
        assert_eq!(back.len(), 3);
    }
}
