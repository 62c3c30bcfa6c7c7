//! What a checkpoint consists of, as one file.
//!
//! Enters: a [`Manifest`]. Leaves: `magic | crc | version | payload`, the payload in postcard, the checksum over
//! everything behind it. Guarantees: a file that was cut or changed is told from one that a newer version wrote.

use std::collections::{BTreeMap, BTreeSet};

use operators::durable::SHARDS;
use schemas::Epoch;
use serde::{Deserialize, Serialize};
use sinks::disk;

use crate::{
    binding::{Binding, Condition},
    place::{Generation, Id, Name},
};

use super::volume::Volume;

const MAGIC: &[u8; 16] = b"nuanliu manifest";

/// The version of manifests and parts that is written. All up to it are read. Version 1 named no volumes.
pub const VERSION: u32 = 2;

/// Where a section lies and what it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// The part that holds it.
    pub part: Id,
    /// First byte in the part.
    pub offset: u64,
    /// Bytes in the part.
    pub stored: u64,
    /// Bytes of the section itself; the stored ones are compressed when they are fewer.
    pub length: u64,
    /// Checksum of the stored bytes.
    pub crc: u32,
    /// Form of the entries.
    pub form: u16,
}

/// Sections in the order in which they were saved, by state and shard.
pub type Chains = BTreeMap<String, BTreeMap<u16, Vec<Section>>>;

/// A checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Prefix of its topics.
    pub prefix: String,
    /// Which start wrote it.
    pub generation: Generation,
    /// The epoch at the end of which it was taken.
    pub epoch: Epoch,
    /// How many shards states are divided into, without the global one.
    pub shards: u16,
    /// The binding of the epoch.
    pub binding: Binding,
    /// Platform conditions that hold after the epoch.
    pub active: Vec<Condition>,
    /// The parts that it names, with their lengths.
    pub parts: BTreeMap<Id, u64>,
    /// Where the states are.
    pub states: Chains,
    /// What the states have sealed, in the order in which they did. Written behind the rest.
    #[serde(skip)]
    pub volumes: Vec<Volume>,
}

/// Why a manifest cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The bytes are not those that were written.
    Damaged(String),
    /// A newer version wrote it.
    Newer(u32),
}

impl Manifest {
    /// Its name.
    #[must_use]
    pub fn id(&self) -> Id {
        Id { epoch: self.epoch, generation: self.generation }
    }

    /// The bytes of its file.
    ///
    /// # Errors
    /// When it cannot be serialised, which plain values never are.
    pub fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        let body = postcard::to_extend(self, VERSION.to_le_bytes().to_vec())?;
        let body = postcard::to_extend(&self.volumes, body)?;
        Ok([&MAGIC[..], &disk::sealed(&body)].concat())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Why it is not a manifest that this version reads.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, Flaw> {
        let damaged = |detail: &str| Flaw::Damaged(detail.to_owned());
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| damaged("it does not begin as a manifest"))?;
        let wrong = || damaged("its checksum is wrong: it is cut off or was changed");
        let body = disk::unsealed(rest).ok_or_else(wrong)?;
        let (version, payload) = body.split_first_chunk::<4>().ok_or_else(|| damaged("it is cut off"))?;
        let unreadable = |error: postcard::Error| Flaw::Damaged(error.to_string());
        match u32::from_le_bytes(*version) {
            1 => postcard::from_bytes(payload).map_err(unreadable),
            VERSION => {
                let (manifest, rest) = postcard::take_from_bytes(payload).map_err(unreadable)?;
                let volumes = postcard::from_bytes(rest).map_err(unreadable)?;
                Ok(Manifest { volumes, ..manifest })
            }
            newer if newer > VERSION => Err(Flaw::Newer(newer)),
            other => Err(Flaw::Damaged(format!("there never was a version {other}"))),
        }
    }

    /// What does not fit together in it, if anything.
    #[must_use]
    pub fn contradiction(&self) -> Option<String> {
        if self.shards != SHARDS {
            return Some(format!("it has {} shards, this version {SHARDS}", self.shards));
        }
        if self.binding.epoch != self.epoch {
            return Some(format!("it holds the binding of epoch {}", self.binding.epoch));
        }
        self.sections().find_map(|(state, shard, section)| {
            let length = self.parts.get(&section.part).copied().unwrap_or(0);
            let end = section.offset.checked_add(section.stored);
            (end.is_none_or(|end| end > length))
                .then(|| format!("a section of {state}, shard {shard}, lies outside its part"))
        })
    }

    /// All sections with their state and shard.
    pub fn sections(&self) -> impl Iterator<Item = (&str, u16, &Section)> {
        self.states.iter().flat_map(|(state, shards)| {
            shards.iter().flat_map(move |(shard, chain)| {
                chain.iter().map(move |section| (state.as_str(), *shard, section))
            })
        })
    }

    /// The files of its volumes, with their lengths.
    #[must_use]
    pub fn volume_files(&self) -> BTreeMap<Name, u64> {
        self.volumes.iter().map(|volume| (volume.name(), volume.length)).collect()
    }

    /// The files that it names.
    #[must_use]
    pub fn files(&self) -> BTreeSet<Name> {
        self.parts.keys().map(|id| Name::Part(*id)).chain(self.volume_files().into_keys()).collect()
    }
}
