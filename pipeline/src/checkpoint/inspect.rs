//! Looking at checkpoints from outside, also while a pipeline runs.
//!
//! Enters: the settings. Leaves: what is there, what is in it and what is damaged. Guarantees: nothing is written, no
//! lock is taken, and what the running pipeline removes meanwhile is not called damaged.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use operators::durable::{compact, entries};
use schemas::{Epoch, Millis};

use super::{
    Settings,
    manifest::Manifest,
    open::{Listing, Restored, read_manifest, read_restored, verify},
    open_store,
};
use crate::{
    Error,
    place::{Generation, Id, Name, Store},
};

/// A place with checkpoints.
#[derive(Debug)]
pub struct CheckpointPlace {
    store: Arc<dyn Store>,
    listing: Listing,
}

/// One line of the list.
#[derive(Debug)]
pub struct Summary {
    /// The epoch at the end of which it was taken.
    pub epoch: Epoch,
    /// Which start wrote it.
    pub generation: Generation,
    /// How it is.
    pub condition: Wholeness,
}

/// How a checkpoint is, as its manifest says.
#[derive(Debug)]
pub enum Wholeness {
    /// It cannot be read.
    Unreadable(String),
    /// It can.
    Read {
        /// Wall time of its epoch.
        wall: Millis,
        /// Stored bytes that it names, of the states.
        bytes: u64,
        /// Bytes that the states have sealed.
        cold: u64,
        /// Parts that it names.
        parts: usize,
        /// States in it.
        states: usize,
        /// The most sections of one shard.
        longest_chain: usize,
        /// Whether no start uses it any more.
        superseded: bool,
    },
}

/// What a checkpoint holds.
#[derive(Debug)]
pub struct Contents {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Prefix of its topics.
    pub prefix: String,
    /// Wall time of its epoch.
    pub wall: Millis,
    /// (topic, partition, one past the last offset that was read).
    pub positions: Vec<(&'static str, i32, i64)>,
    /// Platform conditions that hold: (subject, what was seen).
    pub active: Vec<(String, String)>,
    /// Its states.
    pub states: Vec<StateContents>,
    /// Bytes that they have sealed.
    pub cold: u64,
    /// Files in which those lie.
    pub volumes: usize,
}

/// What a checkpoint holds of one state.
#[derive(Debug)]
pub struct StateContents {
    /// Name of the state.
    pub name: String,
    /// Entries that are there after all changes.
    pub entries: usize,
    /// Bytes of the sections.
    pub bytes: u64,
    /// Bytes in the parts.
    pub stored: u64,
    /// Shards that hold anything.
    pub shards: usize,
    /// The most sections of one shard.
    pub longest_chain: usize,
    /// Forms of the sections.
    pub forms: BTreeSet<u16>,
}

impl CheckpointPlace {
    /// The place that the settings name.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn open(settings: &Settings, state: &Path) -> Result<CheckpointPlace, Error> {
        if let Some(path) = settings.directory(state).filter(|path| !path.is_dir()) {
            let error = std::io::ErrorKind::NotFound.into();
            return Err(Error::CheckpointPlace { place: path.display().to_string(), error });
        }
        let store = open_store(settings, state)?;
        let listing = Listing::read(&*store)?;
        Ok(CheckpointPlace { store, listing })
    }

    /// What messages call it.
    #[must_use]
    pub fn name(&self) -> String {
        self.store.place()
    }

    /// All checkpoints, newest first.
    ///
    /// # Errors
    /// When the place does not answer.
    pub fn list(&self) -> Result<Vec<Summary>, Error> {
        let mut summaries = Vec::new();
        for id in &self.listing.manifests {
            let Some(read) = self.manifest(*id)? else { continue };
            let condition = match read {
                Err(detail) => Wholeness::Unreadable(detail),
                Ok(manifest) => Wholeness::Read {
                    wall: manifest.binding.wall,
                    bytes: manifest.sections().map(|(_, _, section)| section.stored).sum(),
                    cold: manifest.volume_files().values().sum(),
                    parts: manifest.parts.len(),
                    states: manifest.states.len(),
                    longest_chain: manifest.states.values().map(longest).max().unwrap_or(0),
                    superseded: self.listing.is_superseded(*id),
                },
            };
            summaries.push(Summary { epoch: id.epoch, generation: id.generation, condition });
        }
        Ok(summaries)
    }

    /// What the checkpoint of an epoch holds.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn show(&self, epoch: Epoch) -> Result<Contents, Error> {
        let Some(id) = self.listing.manifests.iter().find(|id| id.epoch == epoch) else {
            return Err(Error::NoSuchCheckpoint { epoch, place: self.name(), known: self.listing.epochs() });
        };
        let name = Name::Manifest(*id).to_string();
        let damaged = |detail| Error::DamagedCheckpoint { name: name.clone(), detail };
        let manifest = read_manifest(&*self.store, *id)?.map_err(damaged)?;
        let restored = read_restored(&*self.store, manifest)?.map_err(damaged)?;
        let manifest = &restored.manifest;
        let position = |range: &crate::binding::Range| (range.topic.name(), range.partition, range.upto);
        let states = manifest.states.iter().map(|(state, shards)| contents(&restored, state, shards));
        Ok(Contents {
            pipeline: manifest.pipeline.clone(),
            prefix: manifest.prefix.clone(),
            wall: manifest.binding.wall,
            positions: manifest.binding.ranges.iter().map(position).collect(),
            active: manifest.active.iter().map(|c| (c.subject.clone(), c.detail.clone())).collect(),
            states: states.collect::<Result<_, _>>()?,
            cold: manifest.volume_files().values().sum(),
            volumes: manifest.volume_files().len(),
        })
    }

    /// Reads every checkpoint to its last byte; gives what is damaged in each, newest first.
    ///
    /// # Errors
    /// When the place does not answer.
    pub fn verify(&self) -> Result<Vec<(Epoch, Vec<String>)>, Error> {
        let (mut found, mut checked) = (Vec::new(), Vec::new());
        for id in self.listing.manifests.iter().filter(|id| !self.listing.is_superseded(**id)) {
            let Some(read) = self.manifest(*id)? else { continue };
            let mut problems = Vec::new();
            match read {
                Ok(manifest) => {
                    verify(&*self.store, &manifest, |_, _| (), |problem| problems.push(problem))?;
                    for volume in &manifest.volumes {
                        // Checkpoints that follow one another name the same.
                        if checked.contains(volume) {
                            continue;
                        }
                        match volume.check(&*self.store) {
                            Ok(()) => checked.push(volume.clone()),
                            Err(detail) => problems.push(format!("{}: {detail}", volume.name())),
                        }
                    }
                    // Removed meanwhile, first the manifest and then its parts.
                    if !problems.is_empty() && self.manifest(*id)?.is_none() {
                        continue;
                    }
                }
                Err(detail) => problems.push(format!("{}: {detail}", Name::Manifest(*id))),
            }
            found.push((id.epoch, problems));
        }
        Ok(found)
    }

    /// A manifest, what is damaged in it, or nothing when it has been removed meanwhile.
    fn manifest(&self, id: Id) -> Result<Option<Result<Manifest, String>>, Error> {
        let read = match read_manifest(&*self.store, id) {
            Err(newer @ Error::NewerCheckpoint { .. }) => Err(newer.to_string()),
            other => other?,
        };
        let name = Name::Manifest(id).to_string();
        if read.is_err()
            && !self.store.has(&name).map_err(|error| crate::place::fence::unusable(&*self.store, error))?
        {
            return Ok(None);
        }
        Ok(Some(read))
    }
}

type Shards = BTreeMap<u16, Vec<super::manifest::Section>>;

fn longest(shards: &Shards) -> usize {
    shards.values().map(Vec::len).max().unwrap_or(0)
}

fn contents(restored: &Restored, state: &str, shards: &Shards) -> Result<StateContents, Error> {
    let sections = || shards.values().flatten();
    let mut held = 0;
    for shard in shards.keys() {
        let chain = restored.sections(state, *shard)?;
        let sections: Vec<&[u8]> = chain.iter().map(|(_, section)| section.as_slice()).collect();
        let count = compact("shown", &sections).and_then(|whole| {
            let mut count = 0;
            entries("shown", &whole, |_, _| {
                count += 1;
                Ok(())
            })?;
            Ok(count)
        });
        held += count.map_err(|error| Error::DamagedCheckpoint {
            name: Name::Manifest(restored.manifest.id()).to_string(),
            detail: format!("{state}, shard {shard}: {error}"),
        })?;
    }
    Ok(StateContents {
        name: state.to_owned(),
        entries: held,
        bytes: sections().map(|section| section.length).sum(),
        stored: sections().map(|section| section.stored).sum(),
        shards: shards.len(),
        longest_chain: longest(shards),
        forms: sections().map(|section| section.form).collect(),
    })
}
