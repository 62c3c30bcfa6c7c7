//! State that outlives the process: saved in pieces behind the flow, restored before the first epoch.
//!
//! ```text
//! apply(epoch) ... begin ─► save a few entries ─► apply(next epoch) ─► save a few more ─► ... ─► done
//!                    └─ what is saved is the state at `begin`: an entry about to change is saved before it does
//! ```
//!
//! Enters: the state of a stage at the end of an epoch. Leaves: per shard the entries that changed since the checkpoint
//! before. Guarantees: what was saved and restored, on any number of workers, goes on exactly as if
//! nothing had happened; a form that cannot be read is an error and never a guess.

mod keyed;
#[cfg(test)]
pub(crate) mod restarts;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    hash::{Hash, Hasher},
};

use rustc_hash::FxHasher;
use schemas::metric;
use serde::{Serialize, de::DeserializeOwned};

pub use keyed::Keyed;

/// How many shards states are divided into. Fixed: checkpoints name them.
pub const SHARDS: u16 = 256;

/// How many buckets facilities and scopes fall into. Routing and blocks go by bucket, so at most this many workers
/// have work, and blocks do not depend on their number.
pub const BUCKETS: u16 = 16;

/// The shard of what every worker knows alike, such as a clock. The first worker saves it, all restore it.
pub const GLOBAL: u16 = SHARDS;

/// The shard of a facility, scope or registry key.
///
/// The upper bits of the product are used: hash maps of the operators look at the lower ones.
#[must_use]
pub fn shard(code: &str) -> u16 {
    let mut hasher = FxHasher::default();
    code.hash(&mut hasher);
    ((hasher.finish() >> 40) % u64::from(SHARDS)) as u16
}

/// The bucket of a facility, scope or registry key: shards are parts of buckets.
#[must_use]
pub fn bucket(code: &str) -> u64 {
    u64::from(shard(code) % BUCKETS)
}

/// Which worker holds a shard.
#[must_use]
pub fn holder(shard: u16, workers: usize) -> usize {
    usize::from(shard % BUCKETS) % workers.max(1)
}

/// Why a saved state cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The bytes are not what this version writes.
    #[error(
        "the saved state of {state} cannot be read: {detail}: start from an earlier checkpoint (nuanliu checkpoints list)"
    )]
    Unreadable {
        /// Name of the state.
        state: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// It names a metric that no catalogue has.
    #[error(
        "the saved state of {state} holds metric {metric}, which the catalogues do not have: put its row back into \
         metrics.csv of catalogue.directory, or go back to a checkpoint from before it came with \
         `nuanliu run --from EPOCH` (nuanliu checkpoints list)"
    )]
    UnknownMetric {
        /// Name of the state.
        state: &'static str,
        /// Its code, or what is known of it.
        metric: String,
    },
    /// It was written in a form of another version.
    #[error(
        "the saved state of {state} has form {found}, this version reads up to form {known}: run the version that wrote it, or start from an earlier checkpoint"
    )]
    UnknownForm {
        /// Name of the state.
        state: &'static str,
        /// The form found.
        found: u16,
        /// The newest form known.
        known: u16,
    },
}

/// State that can be saved and restored.
///
/// The dataflow calls [`Durable::begin`] at the end of an epoch, then [`Durable::save`] until it answers that all is
/// saved, applying further epochs in between. State in a [`Keyed`] map saves what changed of itself:
///
/// ```
/// use operators::durable::{Durable, Keyed, RestoreError, Saved, known_form, shard};
///
/// /// A count per facility.
/// struct Counts(Keyed<String, u64>);
///
/// impl Counts {
///     fn new() -> Counts {
///         Counts(Keyed::new(|facility: &String| shard(facility)))
///     }
/// }
///
/// impl Durable for Counts {
///     const STATE: &'static str = "counts";
///     const FORM: u16 = 1;
///
///     fn begin(&mut self) {
///         self.0.begin();
///     }
///
///     fn save(&mut self, entries: usize, out: &mut Saved) -> bool {
///         self.0.save(entries, out)
///     }
///
///     fn restore(&mut self, _shard: u16, form: u16, section: &[u8]) -> Result<(), RestoreError> {
///         known_form(Self::STATE, form, Self::FORM)?;
///         self.0.restore(Self::STATE, section)
///     }
/// }
///
/// let mut counts = Counts::new();
/// counts.0.insert("ST-1".to_owned(), 7);
/// counts.begin();
/// let mut saved = Saved::default();
/// while !counts.save(100, &mut saved) {}
///
/// let mut again = Counts::new();
/// for (shard, section) in saved.into_sections() {
///     again.restore(shard, Counts::FORM, &section)?;
/// }
/// let number = again.0.know("ST-1".to_owned(), |saved| (saved.unwrap_or(0), true));
/// assert_eq!(again.0.get(number), Some(&7));
/// # Ok::<(), RestoreError>(())
/// ```
pub trait Durable {
    /// Its name in checkpoints; never changes.
    const STATE: &'static str;
    /// The form in which it is saved now. A reader knows this form and all before it.
    const FORM: u16;

    /// Begins a checkpoint of the state as it is now: what changed since the last `begin` is to be saved. What was still
    /// to be saved of the one before is saved with this one.
    fn begin(&mut self);

    /// Saves at most about `entries` more; answers whether everything has been saved.
    fn save(&mut self, entries: usize, out: &mut Saved) -> bool;

    /// Takes a section back, before the first epoch. Sections of a shard come in the order in which they were saved; a
    /// key that comes again replaces what came before.
    ///
    /// # Errors
    /// When the bytes are not of the given form.
    fn restore(&mut self, shard: u16, form: u16, section: &[u8]) -> Result<(), RestoreError>;
}

/// Saved entries by shard. A section is a sequence of entries `key length | key | value length + 1 | value` with
/// lengths as little-endian u32, keys and values in postcard; 0 in the place of the value's length says that the key
/// left. So a chain of sections can be compacted without knowing what they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    sections: BTreeMap<u16, Vec<u8>>,
}

impl Saved {
    /// Adds an entry, or that there is none any more.
    pub fn put<K: Serialize + ?Sized, V: Serialize + ?Sized>(
        &mut self,
        shard: u16,
        key: &K,
        value: Option<&V>,
    ) {
        let section = self.sections.entry(shard).or_default();
        append(section, 0, key);
        match value {
            Some(value) => append(section, 1, value),
            None => section.extend(0_u32.to_le_bytes()),
        }
    }

    /// How many bytes there are.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.sections.values().map(Vec::len).sum()
    }

    /// Appends everything of `other`.
    pub fn append(&mut self, other: &mut Saved) {
        for (shard, mut bytes) in std::mem::take(&mut other.sections) {
            match self.sections.entry(shard) {
                // Nothing is copied: this may be much.
                Entry::Vacant(place) => drop(place.insert(bytes)),
                Entry::Occupied(mut held) => held.get_mut().append(&mut bytes),
            }
        }
    }

    /// Takes a shard out.
    pub fn remove(&mut self, shard: u16) {
        self.sections.remove(&shard);
    }

    /// The sections by shard.
    #[must_use]
    pub fn into_sections(self) -> BTreeMap<u16, Vec<u8>> {
        self.sections
    }
}

/// Appends `length + more | value`.
fn append<T: Serialize + ?Sized>(section: &mut Vec<u8>, more: u32, value: &T) {
    let start = section.len();
    section.extend([0; 4]);
    let written = postcard::to_extend(value, std::mem::take(section));
    // Serialising plain values into memory has nothing that could fail; if it did, going on would lose state.
    *section = written.unwrap_or_else(|error| unreachable!("a plain value cannot be serialised: {error}"));
    let length = (section.len() - start - 4) as u32 + more;
    section[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Takes a section apart: calls `take` with the bytes of each key and of its value.
///
/// # Errors
/// When the bytes are not such a sequence.
pub fn entries<'a>(
    state: &'static str,
    section: &'a [u8],
    mut take: impl FnMut(&'a [u8], Option<&'a [u8]>) -> Result<(), RestoreError>,
) -> Result<(), RestoreError> {
    let torn = || RestoreError::Unreadable { state, detail: "an entry is cut off".to_owned() };
    let mut rest = section;
    let mut next = |more: u32| -> Result<Option<Option<&'a [u8]>>, RestoreError> {
        if rest.is_empty() && more == 0 {
            return Ok(None);
        }
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(torn)?;
        let Some(length) = u32::from_le_bytes(*length).checked_sub(more) else {
            rest = after;
            return Ok(Some(None));
        };
        let (bytes, after) = after.split_at_checked(length as usize).ok_or_else(torn)?;
        rest = after;
        Ok(Some(Some(bytes)))
    };
    while let Some(Some(key)) = next(0)? {
        take(key, next(1)?.flatten())?;
    }
    Ok(())
}

/// One section that says what a chain of them says: the last value of every key, sorted by the bytes of the keys.
///
/// # Errors
/// When a section is not a sequence of entries.
pub fn compact(state: &'static str, chain: &[impl AsRef<[u8]>]) -> Result<Vec<u8>, RestoreError> {
    let mut last = last_of_every_key(state, chain)?;
    last.retain(|_, value| value.is_some());
    Ok(section_of(&last))
}

/// The same for a chain that others come before: also says which keys left.
///
/// # Errors
/// When a section is not a sequence of entries.
pub fn compact_changes(state: &'static str, chain: &[impl AsRef<[u8]>]) -> Result<Vec<u8>, RestoreError> {
    Ok(section_of(&last_of_every_key(state, chain)?))
}

/// What a chain says last, by the bytes of the key; no value when the key left.
type Last<'a> = BTreeMap<&'a [u8], Option<&'a [u8]>>;

fn last_of_every_key<'a>(
    state: &'static str,
    chain: &'a [impl AsRef<[u8]>],
) -> Result<Last<'a>, RestoreError> {
    let mut last = Last::new();
    for section in chain {
        entries(state, section.as_ref(), |key, value| {
            last.insert(key, value);
            Ok(())
        })?;
    }
    Ok(last)
}

fn section_of(last: &Last<'_>) -> Vec<u8> {
    let length = |(key, value): (&&[u8], &Option<&[u8]>)| 8 + key.len() + value.map_or(0, <[u8]>::len);
    let mut section = Vec::with_capacity(last.iter().map(length).sum());
    last.iter().for_each(|(key, value)| append_entry(&mut section, key, *value));
    section
}

/// Appends an entry from the bytes of its key and value, as [`entries`] gives them; without a value it says that the key
/// left.
pub fn append_entry(section: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    section.extend((key.len() as u32).to_le_bytes());
    section.extend(key);
    section.extend(value.map_or(0, |value| value.len() as u32 + 1).to_le_bytes());
    section.extend(value.unwrap_or_default());
}

/// Reads a section: calls `take` with each key and its value.
///
/// # Errors
/// When the bytes are not such a sequence.
pub fn read_section<K: DeserializeOwned, V: DeserializeOwned>(
    state: &'static str,
    section: &[u8],
    mut take: impl FnMut(K, Option<V>),
) -> Result<(), RestoreError> {
    entries(state, section, |key, value| {
        let key = decode(state, "", key)?;
        take(key, value.map(|value| decode(state, "", value)).transpose()?);
        Ok(())
    })
}

/// Reads a value in postcard; `what` is said before the detail of an error.
///
/// # Errors
/// [`RestoreError::UnknownMetric`] when it names one, [`RestoreError::Unreadable`] when it is not such a value.
pub(crate) fn decode<T: DeserializeOwned>(
    state: &'static str,
    what: &str,
    bytes: &[u8],
) -> Result<T, RestoreError> {
    // What an earlier failure left is not of this one.
    let _earlier = metric::take_unknown();
    postcard::from_bytes(bytes).map_err(|error| match metric::take_unknown() {
        Some(metric) => RestoreError::UnknownMetric { state, metric },
        None => RestoreError::Unreadable { state, detail: format!("{what}{error}") },
    })
}

/// Refuses forms that are newer than `known`.
///
/// # Errors
/// [`RestoreError::UnknownForm`].
pub fn known_form(state: &'static str, found: u16, known: u16) -> Result<(), RestoreError> {
    if found == 0 || found > known {
        return Err(RestoreError::UnknownForm { state, found, known });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_compacted_to_the_last_values() {
        let section = |entries: &[(&str, Option<u32>)]| {
            let mut saved = Saved::default();
            entries.iter().for_each(|(key, value)| saved.put(7, key, value.as_ref()));
            saved.into_sections().remove(&7).unwrap()
        };
        let chain = [
            section(&[("a", Some(1)), ("b", Some(2)), ("c", Some(3))]),
            section(&[("b", None), ("a", Some(9))]),
            section(&[("d", Some(4))]),
        ];
        let compacted = compact("test", &chain).unwrap();
        assert_eq!(compacted, section(&[("a", Some(9)), ("c", Some(3)), ("d", Some(4))]));
        assert!(compact("test", &[&compacted[..compacted.len() - 1]]).is_err(), "a cut section is refused");
    }

    #[test]
    fn shards_are_parts_of_buckets_on_any_number_of_workers() {
        for number in 0..1000 {
            let code = format!("ST-{number:04}");
            for workers in 1..=5 {
                assert_eq!(holder(shard(&code), workers), bucket(&code) as usize % workers);
            }
        }
    }

    #[test]
    fn a_newer_form_is_refused_with_advice() {
        let error = known_form("window", 3, 2).unwrap_err().to_string();
        assert!(
            error.contains("window") && error.contains("form 3") && error.contains("up to form 2"),
            "{error}"
        );
    }
}
