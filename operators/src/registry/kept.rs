//! What the registry says now, kept for checkpoints: the topic is compacted, so what an epoch saw of it cannot be read
//! from it again.
//!
//! Enters: the records of each epoch. Leaves: after a restart, one record per entry. Guarantees: the join gives from
//! these records the profiles that it had given from all records before.

use std::collections::BTreeMap;

use schemas::{Code, RegistryEntry};
use serde::{Deserialize, Serialize};

use super::RegistryRecord;
use crate::durable::{Durable, RestoreError, Saved, decode, known_form, read_section, shard};

/// An entry with its place in the topic.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    partition: i32,
    offset: i64,
    /// The [`RegistryEntry`] in postcard.
    entry: Box<[u8]>,
}

impl Kept {
    /// Form 1 knew no names of thresholds, which stand last: an empty one is a zero.
    fn of_form_1(mut self) -> Kept {
        const THRESHOLD: u8 = 4;
        if self.entry.first() == Some(&THRESHOLD) {
            let mut entry = self.entry.into_vec();
            entry.push(0);
            self.entry = entry.into_boxed_slice();
        }
        self
    }
}

/// The last record of every key, in the checkpoints alone: nobody asks for one until the process starts again, and then
/// for all. In memory are those that the next checkpoint still has to take; a key leaves with its tombstone.
#[derive(Debug, Default)]
pub struct KeptRegistry {
    /// Changed since the last checkpoint began.
    changed: BTreeMap<Code, Option<Kept>>,
    /// Still to be saved for the checkpoint under way.
    saving: BTreeMap<Code, Option<Kept>>,
    restored: BTreeMap<Code, Kept>,
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
            let kept = entry.as_ref().map(postcard::to_stdvec).map(|bytes| match bytes {
                Ok(bytes) => Kept { partition, offset, entry: bytes.into_boxed_slice() },
                // An entry that was read from Avro can be written; nothing else leads here.
                Err(error) => unreachable!("registry entry {key} cannot be serialised: {error}"),
            });
            self.changed.insert(key, kept);
        }
    }

    /// Takes the records that were restored, sorted by key.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn restored(&mut self) -> Result<Vec<RegistryRecord>, RestoreError> {
        let record = |(key, kept): (Code, Kept)| {
            let entry: RegistryEntry = decode(Self::STATE, &format!("entry {key}: "), &kept.entry)?;
            Ok((key, Some(entry), (kept.partition, kept.offset)))
        };
        std::mem::take(&mut self.restored).into_iter().map(record).collect()
    }
}

impl Durable for KeptRegistry {
    const STATE: &'static str = "registry";
    const FORM: u16 = 2;

    fn begin(&mut self) {
        self.saving.append(&mut self.changed);
    }

    fn save(&mut self, entries: usize, out: &mut Saved) -> bool {
        for _ in 0..entries {
            let Some((key, kept)) = self.saving.pop_first() else { break };
            out.put(shard(&key), &key, kept.as_ref());
        }
        self.saving.is_empty()
    }

    fn restore(&mut self, _shard: u16, form: u16, section: &[u8]) -> Result<(), RestoreError> {
        known_form(Self::STATE, form, Self::FORM)?;
        let upgrade = if form == 1 { Kept::of_form_1 } else { |kept| kept };
        read_section(Self::STATE, section, |key, kept: Option<Kept>| match kept.map(upgrade) {
            Some(kept) => drop(self.restored.insert(key, kept)),
            None => drop(self.restored.remove(&key)),
        })
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Device, Enterprise, Facility, FacilityKind};

    use super::{super::tests::threshold, *};
    use crate::durable::restarts::unhex;
    use crate::durable::restarts::with;

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
        let mut chain = begin_and_save(&mut kept, vec![station(), device()]);
        kept.apply(vec![("enterprise/F".into(), None, (0, 9))]);
        chain.extend(begin_and_save(&mut kept, vec![enterprise("E", "newer", 12)]));
        assert_eq!(restored(&chain), vec![device(), enterprise("E", "new", 7), station()]);
        assert!(
            kept.saving.is_empty() && kept.changed.len() == 1,
            "what a checkpoint holds is not in memory"
        );
        chain.extend(begin_and_save(&mut kept, Vec::new()));
        assert_eq!(restored(&chain), vec![device(), enterprise("E", "newer", 12), station()]);
    }

    /// Takes a checkpoint, during which records come that do not belong to it.
    fn begin_and_save(kept: &mut KeptRegistry, meanwhile: Vec<RegistryRecord>) -> Vec<(u16, Vec<u8>)> {
        kept.begin();
        let mut saved = Saved::default();
        kept.apply(meanwhile);
        while !kept.save(1, &mut saved) {}
        saved.into_sections().into_iter().collect()
    }

    fn restored(chain: &[(u16, Vec<u8>)]) -> Vec<RegistryRecord> {
        let mut back = KeptRegistry::default();
        chain.iter().for_each(|(shard, section)| back.restore(*shard, KeptRegistry::FORM, section).unwrap());
        let records = back.restored().unwrap();
        let mut empty = Saved::default();
        back.begin();
        assert!(back.save(9, &mut empty) && empty.bytes() == 0, "what was restored has not changed");
        records
    }

    /// As form 1 wrote a threshold, which had no name.
    const FORM_1: &str = concat!(
        "1e0000001d7468726573686f6c642f53542d312f726f6f6d5f74656d702f686967682c00000002042804045354",
        "2d3109726f6f6d5f74656d70000100000000000024400000000000000000000000000100",
    );

    #[test]
    fn entries_of_form_1_are_read() {
        let entry = threshold("ST-1", "room_temp", 10.0);
        let key = entry.key().0;
        let mut back = KeptRegistry::default();
        back.restore(shard(&key), 1, &unhex(FORM_1)).unwrap();
        assert_eq!(back.restored().unwrap(), [(key, Some(entry), (1, 2))]);
    }

    #[test]
    fn a_threshold_for_a_metric_that_the_catalogue_lacks_is_refused() {
        let mut kept = KeptRegistry::default();
        let entry = threshold("ST-1", "room_temp", 10.0);
        kept.apply(vec![(entry.key().0, Some(entry), (1, 2))]);
        let mut back = KeptRegistry::default();
        for (shard, section) in begin_and_save(&mut kept, Vec::new()) {
            // First it stands in the key.
            let section = with(&section, b"room_temp", b"room_tamp");
            back.restore(shard, KeptRegistry::FORM, &with(&section, b"room_temp", b"room_tamp")).unwrap();
        }
        let refused = back.restored().unwrap_err();
        assert_eq!(
            refused,
            RestoreError::UnknownMetric { state: "registry", metric: "room_tamp".to_owned() }
        );
    }
}
