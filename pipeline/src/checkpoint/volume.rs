//! Volumes: what stages have sealed, beside the parts and never read as a whole.
//!
//! ```text
//!  magic | block | block | … | index | block | … | index
//!          records by facility, sorted    first facility and place of each block
//! ```
//!
//! Enters: batches of records. Leaves: one file per checkpoint and process, and for each batch where its index lies; later
//! the record of a facility in a batch. Guarantees: a record comes back as it was, or as an error; reading one costs one
//! block, and the index once.

use std::{collections::BTreeMap, sync::OnceLock};

use operators::{
    cold::Batch,
    durable::{SHARDS, append_entry, entries, shard},
};
use schemas::{Code, Epoch, Millis};
use serde::{Deserialize, Serialize};

use super::{
    manifest::Section,
    part::{self, Packed, Part},
};
use crate::place::{Id, Name, Store};

/// Bytes of records in a block, before it is compressed: small enough that one record costs little, and large enough that
/// its place costs less.
const BLOCK: usize = 16 << 10;

/// One batch in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The checkpoint that it was written for.
    pub id: Id,
    /// The process that wrote it.
    pub process: usize,
    /// Bytes of the whole file.
    pub length: u64,
    /// Name of the state.
    pub state: String,
    /// The epoch in which the batch was put.
    pub epoch: Epoch,
    /// All of it lies before this time.
    pub until: Millis,
    /// The shards that it has records of, a bit each.
    shards: [u64; SHARDS as usize / 64],
    /// Where its index lies.
    index: Section,
}

/// Where a block lies, by the first facility in it.
type Index = Vec<(Code, Section)>;

impl Volume {
    /// Its file.
    #[must_use]
    pub fn name(&self) -> Name {
        Name::Volume(self.id, self.process)
    }

    /// Whether it may hold records of a shard.
    fn may_hold(&self, shard: u16) -> bool {
        self.shards[usize::from(shard) / 64] & (1 << (shard % 64)) != 0
    }

    /// Reads every byte; answers what is damaged.
    pub fn check(&self, store: &dyn Store) -> Result<(), String> {
        for (_, block) in &read_index(self, store).map_err(|unread| unread.to_string())? {
            read(self, store, block).map_err(|unread| unread.to_string())?;
        }
        Ok(())
    }
}

/// What becomes one volume.
struct Merged<'a> {
    /// The first of its batches.
    first: &'a Batch,
    /// The epoch of the last.
    epoch: Epoch,
    records: BTreeMap<&'a Code, &'a [u8]>,
}

/// Batches of a state that follow one another and reach as far are one volume, where no facility is in two of them. A
/// stage seals in slices, and who thaws looks into every volume.
fn merged(batches: &[impl AsRef<Batch>]) -> Vec<Merged<'_>> {
    let mut merged: Vec<Merged<'_>> = Vec::new();
    for batch in batches.iter().map(AsRef::as_ref) {
        let alike = |Merged { first, records, .. }: &&mut Merged<'_>| {
            (first.state, first.form, first.until) == (batch.state, batch.form, batch.until)
                && !batch.records.keys().any(|facility| records.contains_key(facility))
        };
        let records = batch.records.iter().map(|(facility, record)| (facility, record.as_slice()));
        match merged.last_mut().filter(alike) {
            Some(last) => {
                last.epoch = last.epoch.max(batch.epoch);
                last.records.extend(records);
            }
            None => merged.push(Merged { first: batch, epoch: batch.epoch, records: records.collect() }),
        }
    }
    merged
}

/// The file of some batches, and what is to be known of each of its volumes.
///
/// # Errors
/// When an index cannot be serialised, which plain values never are.
pub fn pack(
    (id, process): (Id, usize),
    batches: &[impl AsRef<Batch>],
) -> Result<(Part, Vec<Volume>), postcard::Error> {
    let (mut file, mut volumes) = (Part::new(id), Vec::new());
    for Merged { first: Batch { state, form, until, .. }, epoch, records } in merged(batches) {
        let (mut index, mut block, mut first) = (Index::new(), Vec::with_capacity(BLOCK), None);
        let mut shards = [0; SHARDS as usize / 64];
        let mut put = |first: &mut Option<Code>, block: &mut Vec<u8>| {
            if let Some(first) = first.take() {
                index.push((first, file.push(&Packed::of(*form, block))));
                block.clear();
            }
        };
        for (facility, record) in records {
            let shard = shard(facility);
            shards[usize::from(shard) / 64] |= 1 << (shard % 64);
            first.get_or_insert_with(|| facility.clone());
            append_entry(&mut block, facility.as_bytes(), Some(record));
            if block.len() >= BLOCK {
                put(&mut first, &mut block);
            }
        }
        put(&mut first, &mut block);
        let index = file.push(&Packed::of(*form, &postcard::to_stdvec(&index)?));
        let (state, until) = ((*state).to_owned(), *until);
        volumes.push(Volume { id, process, length: 0, state, epoch, until, shards, index });
    }
    volumes.iter_mut().for_each(|volume| volume.length = file.length());
    Ok((file, volumes))
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// The bytes are not those that were written, or are gone.
    #[error("{0}")]
    Damaged(String),
    /// The place does not answer.
    #[error("it cannot be read: {0}")]
    Unanswered(std::io::Error),
}

/// A volume that is read from.
#[derive(Debug)]
pub struct OpenVolume {
    /// What is known of it.
    pub volume: Volume,
    index: OnceLock<Index>,
}

/// Blocks that were read last, by file and place.
#[derive(Debug, Default)]
pub struct Blocks(BTreeMap<(Name, u64), std::sync::Arc<Vec<u8>>>);

impl Blocks {
    /// With more of them it begins anew: what is read together is read within moments.
    const MOST: usize = 512;

    /// A block that was read.
    #[must_use]
    pub fn get(&self, volume: &Volume, block: &Section) -> Option<std::sync::Arc<Vec<u8>>> {
        self.0.get(&(volume.name(), block.offset)).cloned()
    }

    /// Takes a block in.
    pub fn put(&mut self, volume: &Volume, block: &Section, bytes: &std::sync::Arc<Vec<u8>>) {
        if self.0.len() >= Blocks::MOST {
            self.0.clear();
        }
        self.0.insert((volume.name(), block.offset), std::sync::Arc::clone(bytes));
    }
}

impl OpenVolume {
    /// A volume whose index has not been read.
    #[must_use]
    pub fn new(volume: Volume) -> OpenVolume {
        OpenVolume { volume, index: OnceLock::new() }
    }

    /// The block that would hold the record of a facility.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn block(&self, store: &dyn Store, facility: &str) -> Result<Option<Section>, Unread> {
        if !self.volume.may_hold(shard(facility)) {
            return Ok(None);
        }
        let index = match self.index.get() {
            Some(index) => index,
            None => {
                let read = read_index(&self.volume, store)?;
                self.index.get_or_init(|| read)
            }
        };
        let after = index.partition_point(|(first, _)| first.as_str() <= facility);
        Ok(after.checked_sub(1).map(|at| index[at].1.clone()))
    }
}

/// The bytes of a section of a volume.
///
/// # Errors
/// When they cannot be read, or are not what was written.
pub fn read(volume: &Volume, store: &dyn Store, section: &Section) -> Result<Vec<u8>, Unread> {
    let name = volume.name().to_string();
    let stored =
        store.read_range(&name, section.offset, section.stored).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Unread::Damaged("it is missing".to_owned()),
            std::io::ErrorKind::UnexpectedEof => Unread::Damaged("it is cut off".to_owned()),
            _ => Unread::Unanswered(error),
        })?;
    part::unpack(section, &stored).map_err(Unread::Damaged)
}

fn read_index(volume: &Volume, store: &dyn Store) -> Result<Index, Unread> {
    let bytes = read(volume, store, &volume.index)?;
    postcard::from_bytes(&bytes).map_err(|error| Unread::Damaged(format!("its index: {error}")))
}

/// The record of a facility in a block.
///
/// # Errors
/// When the block is no sequence of records.
pub fn record<'a>(block: &'a [u8], facility: &str) -> Result<Option<&'a [u8]>, Unread> {
    let mut found = None;
    let read = entries("what is sealed", block, |key, value| {
        if key == facility.as_bytes() {
            found = value;
        }
        Ok(())
    });
    read.map_err(|error| Unread::Damaged(error.to_string()))?;
    Ok(found)
}
