//! A map whose changes can be saved while it goes on changing.

use std::{
    borrow::Borrow,
    collections::BTreeMap,
    hash::{BuildHasher, Hash},
    ops::Bound,
};

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use serde::{Serialize, de::DeserializeOwned};

use super::{RestoreError, Saved, read_section};

/// State by key. Entries have stable small numbers, so that queues can name them.
///
/// `V` is what lives in memory and how it is written; `F` is how it is read again, from the same bytes: the same type,
/// or the part of it that does not follow from the registry.
#[derive(Debug)]
pub struct Keyed<K, V, F = V> {
    /// Found by the hashes of their keys, which stand in the slots alone.
    numbers: HashTable<u32>,
    slots: Vec<Option<Slot<K, V>>>,
    free: Vec<u32>,
    /// Changed since the last checkpoint began.
    changed: Vec<u32>,
    /// Left since the last checkpoint began.
    left: Vec<K>,
    /// Still to be saved for the checkpoint under way.
    saving: Vec<u32>,
    /// Saved because they were about to change.
    ahead: Saved,
    shard: fn(&K) -> u16,
    restored: BTreeMap<K, F>,
}

#[derive(Debug)]
struct Slot<K, V> {
    key: K,
    value: V,
    changed: bool,
    saving: bool,
}

impl<K, V, F> Keyed<K, V, F>
where
    K: Clone + Eq + Hash + Ord + Serialize + DeserializeOwned,
    V: Serialize,
    F: DeserializeOwned,
{
    /// An empty map; `shard` says where a key belongs.
    #[must_use]
    pub fn new(shard: fn(&K) -> u16) -> Self {
        Keyed {
            numbers: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            changed: Vec::new(),
            left: Vec::new(),
            saving: Vec::new(),
            ahead: Saved::default(),
            shard,
            restored: BTreeMap::new(),
        }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// The number of a key, which it keeps until it leaves.
    #[must_use]
    pub fn number<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
    {
        self.numbers.find(hash(key), |number| self.is_of(*number, key)).copied()
    }

    /// The numbers of many keys, in their order. The waits for memory overlap, which come one after the other when keys
    /// are looked up one by one.
    pub fn numbers<'k, Q>(&self, keys: impl Iterator<Item = &'k Q> + Clone, numbers: &mut Vec<Option<u32>>)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized + 'k,
    {
        numbers.clear();
        // Without a look at the slots: what is found by a part of the hash is nearly always the key's.
        numbers.extend(keys.clone().map(|key| self.numbers.find(hash(key), |_| true).copied()));
        for (number, key) in numbers.iter_mut().zip(keys) {
            if number.is_some_and(|number| !self.is_of(number, key)) {
                *number = self.number(key);
            }
        }
    }

    fn is_of<Q: Eq + ?Sized>(&self, number: u32, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.key(number).is_some_and(|held| held.borrow() == key)
    }

    /// One past the greatest number, to go through all of them.
    #[must_use]
    pub fn end(&self) -> u32 {
        self.slots.len() as u32
    }

    /// The entry of a number.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&V> {
        self.slots.get(number as usize)?.as_ref().map(|slot| &slot.value)
    }

    /// The key of a number.
    #[must_use]
    pub fn key(&self, number: u32) -> Option<&K> {
        self.slots.get(number as usize)?.as_ref().map(|slot| &slot.key)
    }

    /// The entry of a number, about to change.
    pub fn get_mut(&mut self, number: u32) -> Option<&mut V> {
        let slot = self.slots.get_mut(number as usize)?.as_mut()?;
        if std::mem::take(&mut slot.saving) {
            self.ahead.put((self.shard)(&slot.key), &slot.key, Some(&slot.value));
        }
        if !std::mem::replace(&mut slot.changed, true) {
            self.changed.push(number);
        }
        Some(&mut slot.value)
    }

    /// All entries by number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &K, &V)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(number, slot)| slot.as_ref().map(|slot| (number as u32, &slot.key, &slot.value)))
    }

    /// Puts an entry in and gives its number. An entry that was there under the key is replaced.
    pub fn insert(&mut self, key: K, value: V) -> u32 {
        if let Some(number) = self.number(&key) {
            if let Some(held) = self.get_mut(number) {
                *held = value;
            }
            return number;
        }
        let number = self.place(key, value, true);
        self.changed.push(number);
        number
    }

    /// Puts an entry in that is as it was restored, under a key that is not there, and gives its number. The checkpoint
    /// that it comes from holds it, so it need not be saved before it changes.
    pub fn insert_restored(&mut self, key: K, value: V) -> u32 {
        debug_assert!(self.number(&key).is_none(), "an entry is restored once");
        self.place(key, value, false)
    }

    fn place(&mut self, key: K, value: V, changed: bool) -> u32 {
        let hash_of_key = hash(&key);
        let slot = Some(Slot { key, value, changed, saving: false });
        let number = match self.free.pop() {
            Some(number) => {
                self.slots[number as usize] = slot;
                number
            }
            None => {
                // Not doubled, as slots are large and hardly any follow once a city is known.
                if self.slots.len() == self.slots.capacity() {
                    self.slots.reserve_exact(self.slots.len() / 8 + 8);
                }
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        let slots = &self.slots;
        let again = |number: &u32| slots[*number as usize].as_ref().map_or(0, |slot| hash(&slot.key));
        self.numbers.insert_unique(hash_of_key, number, again);
        number
    }

    /// Takes an entry out.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let number = self.number(key)?;
        self.numbers.find_entry(hash(key), |held| *held == number).ok()?.remove();
        let slot = self.slots[number as usize].take()?;
        if slot.saving {
            self.ahead.put((self.shard)(&slot.key), &slot.key, Some(&slot.value));
        }
        self.left.push(slot.key);
        self.free.push(number);
        Some(slot.value)
    }

    /// See [`super::Durable::begin`].
    pub fn begin(&mut self) {
        for key in std::mem::take(&mut self.left) {
            if self.number(&key).is_none() {
                self.ahead.put::<K, V>((self.shard)(&key), &key, None);
            }
        }
        for number in std::mem::take(&mut self.changed) {
            // A number may have been freed and given again since: it stands here twice then, and is taken once.
            if let Some(slot) = self.slots[number as usize].as_mut().filter(|slot| slot.changed) {
                slot.changed = false;
                if !std::mem::replace(&mut slot.saving, true) {
                    self.saving.push(number);
                }
            }
        }
    }

    /// See [`super::Durable::save`].
    pub fn save(&mut self, entries: usize, out: &mut Saved) -> bool {
        out.append(&mut self.ahead);
        let mut saved = 0;
        while saved < entries {
            let Some(number) = self.saving.pop() else { return true };
            if let Some(slot) = self.slots[number as usize].as_mut().filter(|slot| slot.saving) {
                slot.saving = false;
                out.put((self.shard)(&slot.key), &slot.key, Some(&slot.value));
                saved += 1;
            }
        }
        self.saving.is_empty()
    }

    /// See [`super::Durable::restore`]: what is read waits until [`Keyed::know`] asks for it.
    ///
    /// # Errors
    /// When the bytes are not what `save` wrote.
    pub fn restore(&mut self, state: &'static str, section: &[u8]) -> Result<(), RestoreError> {
        self.restore_former::<F>(state, section)
    }

    /// The same for a section that an earlier version wrote, whose values were `G`.
    ///
    /// # Errors
    /// As [`Keyed::restore`].
    pub fn restore_former<G>(&mut self, state: &'static str, section: &[u8]) -> Result<(), RestoreError>
    where
        G: DeserializeOwned + Into<F>,
    {
        let restored = &mut self.restored;
        read_section(state, section, |key, value: Option<G>| match value {
            Some(value) => drop(restored.insert(key, value.into())),
            None => drop(restored.remove(&key)),
        })
    }

    /// Puts an entry in that becomes known, and gives its number: `make` is given what was restored under the key, and says
    /// whether the entry is as it was restored. Then it need not be saved before it changes.
    pub fn know(&mut self, key: K, make: impl FnOnce(Option<F>) -> (V, bool)) -> u32 {
        let restored = self.restored.remove(&key);
        let was_saved = restored.is_some();
        match make(restored) {
            (value, true) if was_saved => self.insert_restored(key, value),
            (value, _) => self.insert(key, value),
        }
    }

    /// Takes what was restored under the keys from `first` on, as far as they belong together.
    pub fn restored_from<Q: Ord + ?Sized>(&mut self, first: &Q, belongs: impl Fn(&K) -> bool) -> Vec<(K, F)>
    where
        K: Borrow<Q>,
    {
        let from = (Bound::Included(first), Bound::Unbounded);
        let keys = self.restored.range::<Q, _>(from).map(|(key, _)| key).take_while(|key| belongs(key));
        let keys: Vec<K> = keys.cloned().collect();
        keys.into_iter().filter_map(|key| self.restored.remove_entry(key.borrow())).collect()
    }

    /// Takes everything that was restored and not asked for, sorted by key.
    pub fn all_restored(&mut self) -> BTreeMap<K, F> {
        std::mem::take(&mut self.restored)
    }

    /// Forgets what was restored and not asked for; the next checkpoint says that it left.
    pub fn forget_restored(&mut self) {
        self.left.extend(std::mem::take(&mut self.restored).into_keys());
    }
}

fn hash<Q: Hash + ?Sized>(key: &Q) -> u64 {
    FxBuildHasher.hash_one(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Map = Keyed<u8, u32>;

    fn shard(key: &u8) -> u16 {
        u16::from(*key % 4)
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(u8, u32),
        Change(u8, u32),
        Remove(u8),
        Begin,
        /// Begins before everything of the last checkpoint is saved.
        BeginAnew,
        Save(usize),
        /// The process dies, and the next one has no use for one of the keys.
        Crash(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..24_u8, any::<u32>()).prop_map(|(key, value)| Step::Put(key, value)),
            4 => (0..24_u8, any::<u32>()).prop_map(|(key, value)| Step::Change(key, value)),
            2 => (0..24_u8).prop_map(Step::Remove),
            1 => Just(Step::Begin),
            1 => Just(Step::BeginAnew),
            3 => (0..5_usize).prop_map(Step::Save),
            1 => (0..24_u8).prop_map(Step::Crash),
        ]
    }

    proptest! {
        /// Whatever happens between `begin` and the last `save`, the chain of sections gives the state at `begin`.
        #[test]
        fn sections_give_the_state_at_the_beginning(steps in prop::collection::vec(step(), 1..200)) {
            let mut map = Map::new(shard);
            let mut model: BTreeMap<u8, u32> = BTreeMap::new();
            let mut at_begin = BTreeMap::new();
            let mut chains: BTreeMap<u16, Vec<Vec<u8>>> = BTreeMap::new();
            let mut under_way = Saved::default();
            let finish = |map: &mut Map, under_way: &mut Saved,
                          chains: &mut BTreeMap<u16, Vec<Vec<u8>>>, expected: &BTreeMap<u8, u32>| {
                while !map.save(3, under_way) {}
                for (shard, section) in std::mem::take(under_way).into_sections() {
                    chains.entry(shard).or_default().push(section);
                }
                let mut back = Map::new(shard);
                for section in chains.values().flatten() {
                    back.restore("test", section).unwrap();
                }
                assert_eq!(&back.all_restored(), expected);
            };
            for step in steps {
                match step {
                    Step::Put(key, value) => { map.insert(key, value); model.insert(key, value); }
                    Step::Change(key, value) => {
                        let number = map.number(&key);
                        if let Some(held) = number.and_then(|number| map.get_mut(number)) {
                            *held = value;
                            model.insert(key, value);
                        }
                    }
                    Step::Remove(key) => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                    Step::Begin | Step::BeginAnew => {
                        if matches!(step, Step::Begin) {
                            finish(&mut map, &mut under_way, &mut chains, &at_begin);
                        }
                        at_begin.clone_from(&model);
                        map.begin();
                    }
                    Step::Save(entries) => { let _all = map.save(entries, &mut under_way); }
                    Step::Crash(useless) => {
                        finish(&mut map, &mut under_way, &mut chains, &at_begin);
                        map = Map::new(shard);
                        chains.values().flatten().for_each(|section| map.restore("test", section).unwrap());
                        model.clone_from(&at_begin);
                        for (key, value) in at_begin.iter().filter(|(key, _)| **key != useless) {
                            let mut restored = None;
                            map.know(*key, |saved| {
                                restored = saved;
                                (*value, true)
                            });
                            prop_assert_eq!(restored, Some(*value));
                        }
                        map.forget_restored();
                        model.remove(&useless);
                    }
                }
                prop_assert_eq!(map.len(), model.len());
            }
            finish(&mut map, &mut under_way, &mut chains, &at_begin);
        }
    }

    /// So many that parts of their hashes are equal.
    #[test]
    fn keys_are_found_together_as_they_are_one_by_one() {
        let mut map: Keyed<u32, ()> = Keyed::new(|_| 0);
        for key in 0..50_000 {
            map.insert(key * 3, ());
        }
        (0..50_000).step_by(7).for_each(|key| map.remove(&(key * 3)).unwrap());
        let keys: Vec<u32> = (0..150_000).collect();
        let mut together = vec![Some(1)];
        map.numbers(keys.iter(), &mut together);
        assert_eq!(together, keys.iter().map(|key| map.number(key)).collect::<Vec<_>>());
        assert_eq!(together.iter().flatten().count(), map.len());
    }
}
