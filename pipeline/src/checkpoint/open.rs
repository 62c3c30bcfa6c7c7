//! Finding the checkpoint to go on from.
//!
//! Enters: a place with manifests and parts. Leaves: the newest checkpoint that is right, read and verified as a whole.
//! Guarantees: a damaged one is passed over with a warning that names it and the one taken instead; one that is
//! another's or newer than this version is refused; nothing begins from nothing while there are manifests.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use schemas::Epoch;

use super::{
    Identity,
    manifest::{Flaw, Manifest},
    part,
    volume::Volume,
};
use crate::{
    Error,
    binding::{Binding, Condition},
    place::{Generation, Id, Name, Store, fence::unusable},
};

/// A checkpoint that has been read and found right. Clones share its bytes.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The epoch at the end of which it was taken.
    pub epoch: Epoch,
    /// The binding of that epoch.
    pub binding: Binding,
    /// The platform conditions that hold after it.
    pub active: Vec<Condition>,
    pub(super) manifest: Arc<Manifest>,
    parts: Arc<RwLock<BTreeMap<Id, Vec<u8>>>>,
    /// Workers that have taken what they hold.
    served: Arc<AtomicUsize>,
}

impl Restored {
    /// What the states have sealed.
    #[must_use]
    pub fn volumes(&self) -> &[Volume] {
        &self.manifest.volumes
    }

    /// The sections of a shard, in the order in which they were saved, each with its form.
    ///
    /// # Errors
    /// When the bytes are not those that were written.
    pub fn sections(&self, state: &str, shard: u16) -> Result<Vec<(u16, Vec<u8>)>, Error> {
        let chain = self.manifest.states.get(state).and_then(|shards| shards.get(&shard));
        let chain = chain.map(Vec::as_slice).unwrap_or_default();
        let parts = self.parts.read().unwrap_or_else(PoisonError::into_inner);
        chain
            .iter()
            .map(|section| {
                let held = parts.get(&section.part).map(Vec::as_slice).unwrap_or_default();
                let unpacked = stored(held, section).and_then(|bytes| part::unpack(section, bytes));
                unpacked.map(|bytes| (section.form, bytes)).map_err(|detail| Error::DamagedCheckpoint {
                    name: Name::Part(section.part).to_string(),
                    detail,
                })
            })
            .collect()
    }

    /// Says that a worker has taken what it holds. When all `workers` of the process have, the memory is given back.
    pub fn served(&self, workers: usize) {
        if self.served.fetch_add(1, Ordering::AcqRel) + 1 == workers {
            std::mem::take(&mut *self.parts.write().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

fn stored<'a>(part: &'a [u8], section: &super::manifest::Section) -> Result<&'a [u8], String> {
    let start = usize::try_from(section.offset).ok();
    let bytes = start.and_then(|start| part.get(start..)?.get(..usize::try_from(section.stored).ok()?));
    bytes.ok_or_else(|| "it is cut off".to_owned())
}

/// The manifests of a place, newest first, and from which epochs generations went on.
#[derive(Debug, Default)]
pub struct Listing {
    /// All manifests, newest first.
    pub manifests: Vec<Id>,
    began_after: BTreeMap<Generation, Epoch>,
}

impl Listing {
    /// Reads what is there.
    ///
    /// # Errors
    /// When the place does not answer.
    pub fn read(store: &dyn Store) -> Result<Listing, Error> {
        let mut listing = Listing::default();
        for object in store.list().map_err(|error| unusable(store, error))? {
            match Name::parse(&object.name) {
                Some(Name::Manifest(id)) => listing.manifests.push(id),
                Some(Name::Generation(generation)) if object.bytes > 0 => {
                    let bytes = store.read(&object.name).map_err(|error| unusable(store, error))?;
                    // An unreadable one sets nothing aside: its manifests carry the greater generation anyway.
                    if let Ok(epoch) = String::from_utf8_lossy(&bytes).trim().parse() {
                        listing.began_after.insert(generation, epoch);
                    }
                }
                _ => {}
            }
        }
        listing.manifests.sort_unstable_by(|a, b| b.cmp(a));
        Ok(listing)
    }

    /// The epochs that can be gone back to, as text.
    #[must_use]
    pub fn epochs(&self) -> String {
        let usable = self.manifests.iter().filter(|id| !self.is_superseded(**id));
        let epochs: Vec<String> = usable.map(|id| id.epoch.to_string()).collect();
        if epochs.is_empty() { "none".to_owned() } else { epochs.join(", ") }
    }

    /// From which epoch a start went on.
    #[must_use]
    pub fn began_after(&self, generation: Generation) -> Option<Epoch> {
        self.began_after.get(&generation).copied()
    }

    /// Whether a later start went on from before it: by `--from`, past a damaged one, or while a process that had been
    /// taken over from was still writing it.
    #[must_use]
    pub fn is_superseded(&self, id: Id) -> bool {
        self.began_after.range(id.generation + 1..).any(|(_, epoch)| id.epoch > *epoch)
    }
}

/// What becomes of a checkpoint whose volumes are not all what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It is not used.
    Refused,
    /// It is used without those that are not there as a whole.
    OfMissing,
    /// It is used without those of which any byte is damaged.
    OfDamaged,
}

/// Finds the checkpoint to go on from, `None` when there never was one.
///
/// # Errors
/// Why none of those that are there may be used.
pub fn choose(
    store: &dyn Store,
    listing: &Listing,
    identity: &Identity,
    (from, loss): (Option<Epoch>, Loss),
) -> Result<Option<Restored>, Error> {
    let usable: Vec<Id> =
        listing.manifests.iter().copied().filter(|id| !listing.is_superseded(*id)).collect();
    if let Some(epoch) = from {
        let Some(id) = usable.iter().find(|id| id.epoch == epoch) else {
            return Err(Error::NoSuchCheckpoint { epoch, place: store.place(), known: listing.epochs() });
        };
        let damaged = |detail| Error::DamagedCheckpoint { name: Name::Manifest(*id).to_string(), detail };
        return load(store, *id, identity, loss)?.map_err(damaged).map(Some);
    }
    let mut damaged = Vec::new();
    for id in &usable {
        match load(store, *id, identity, loss)? {
            Ok(restored) => {
                for problem in &damaged {
                    tracing::warn!(problem, instead = %Name::Manifest(*id), "a damaged checkpoint is passed over");
                }
                return Ok(Some(restored));
            }
            Err(detail) => damaged.push(format!("{}: {detail}", Name::Manifest(*id))),
        }
    }
    if damaged.is_empty() {
        return Ok(None);
    }
    Err(Error::NoUsableCheckpoint { place: store.place(), problems: damaged.join("; ") })
}

/// Reads and verifies a checkpoint; the inner error says what is damaged.
///
/// # Errors
/// When it must not be used although nothing is damaged, or the place does not answer.
fn load(
    store: &dyn Store,
    id: Id,
    identity: &Identity,
    loss: Loss,
) -> Result<Result<Restored, String>, Error> {
    let mut manifest = match read_manifest(store, id)? {
        Ok(manifest) => manifest,
        Err(detail) => return Ok(Err(detail)),
    };
    belongs(store, &manifest, identity)?;
    if loss != Loss::Refused {
        drop_lost(store, &mut manifest, loss)?;
    }
    read_restored(store, manifest)
}

/// Reads and verifies everything that a manifest names; the inner error says what is damaged.
///
/// # Errors
/// When the place does not answer.
pub fn read_restored(store: &dyn Store, manifest: Manifest) -> Result<Result<Restored, String>, Error> {
    let mut parts = BTreeMap::new();
    let mut problem = None;
    verify(
        store,
        &manifest,
        |id, bytes| drop(parts.insert(id, bytes)),
        |found| {
            problem.get_or_insert(found);
        },
    )?;
    if let Some(problem) = problem {
        return Ok(Err(problem));
    }
    Ok(Ok(Restored {
        epoch: manifest.epoch,
        binding: manifest.binding.clone(),
        active: manifest.active.clone(),
        manifest: Arc::new(manifest),
        parts: Arc::new(RwLock::new(parts)),
        served: Arc::default(),
    }))
}

/// Reads a manifest; the inner error says what is damaged.
///
/// # Errors
/// When a newer version wrote it, or the place does not answer.
pub fn read_manifest(store: &dyn Store, id: Id) -> Result<Result<Manifest, String>, Error> {
    let name = Name::Manifest(id).to_string();
    let bytes = match store.read(&name) {
        Ok(bytes) => bytes,
        Err(error) => return Ok(Err(format!("it cannot be read: {error}"))),
    };
    match Manifest::decode(&bytes) {
        Ok(manifest) if manifest.id() != id => {
            Ok(Err(format!("it holds the checkpoint of epoch {}", manifest.epoch)))
        }
        Ok(manifest) => Ok(manifest.contradiction().map_or(Ok(manifest), Err)),
        Err(Flaw::Damaged(detail)) => Ok(Err(detail)),
        Err(Flaw::Newer(found)) => {
            Err(Error::NewerCheckpoint { name, found, known: super::manifest::VERSION })
        }
    }
}

/// Refuses a place that is another pipeline's, by the newest checkpoint that can be read. Changes nothing there.
///
/// # Errors
/// Whose it is.
pub fn is_own(store: &dyn Store, listing: &Listing, identity: &Identity) -> Result<(), Error> {
    let mut manifests = listing.manifests.iter().filter_map(|id| read_manifest(store, *id).ok()?.ok());
    manifests.next().map_or(Ok(()), |manifest| same_pipeline(store, &manifest, identity))
}

/// Refuses what another pipeline or a newer version wrote.
fn belongs(store: &dyn Store, manifest: &Manifest, identity: &Identity) -> Result<(), Error> {
    same_pipeline(store, manifest, identity)?;
    match manifest.states.keys().find(|state| !identity.states.contains(&state.as_str())) {
        Some(state) => {
            Err(Error::UnknownState { name: Name::Manifest(manifest.id()).to_string(), state: state.clone() })
        }
        None => Ok(()),
    }
}

fn same_pipeline(store: &dyn Store, manifest: &Manifest, identity: &Identity) -> Result<(), Error> {
    let same = |what: &'static str, found: &str, expected: &str| {
        let (place, found, expected) = (store.place(), found.to_owned(), expected.to_owned());
        if found == expected { Ok(()) } else { Err(Error::AnotherPipeline { place, what, found, expected }) }
    };
    same("pipeline", &manifest.pipeline, &identity.pipeline)?;
    same("topic prefix", &manifest.prefix, &identity.prefix)
}

/// Reads every part that a manifest names and looks at every section, and whether its volumes are there as a whole; tells
/// each problem to `damaged` and gives the parts that could be read to `keep`.
///
/// # Errors
/// When the place does not answer.
pub fn verify(
    store: &dyn Store,
    manifest: &Manifest,
    mut keep: impl FnMut(Id, Vec<u8>),
    mut damaged: impl FnMut(String),
) -> Result<(), Error> {
    let mut sections: BTreeMap<Id, Vec<_>> = BTreeMap::new();
    for (state, shard, section) in manifest.sections() {
        sections.entry(section.part).or_default().push((state, shard, section));
    }
    for (id, length) in &manifest.parts {
        let name = Name::Part(*id);
        let bytes = match store.read(&name.to_string()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                damaged(format!("{name} is missing"));
                continue;
            }
            Err(error) => {
                damaged(format!("{name} cannot be read: {error}"));
                continue;
            }
        };
        if bytes.len() as u64 != *length {
            damaged(format!("{name} has {} bytes instead of {length}", bytes.len()));
            continue;
        }
        for (state, shard, section) in sections.remove(id).unwrap_or_default() {
            if !stored(&bytes, section).is_ok_and(|stored| part::is_whole(section, stored)) {
                damaged(format!(
                    "{name} is damaged at byte {}: {state}, shard {shard}, has a wrong checksum",
                    section.offset
                ));
            }
        }
        keep(*id, bytes);
    }
    for (name, problem) in broken_volumes(store, manifest)? {
        damaged(format!("{name} {problem}"));
    }
    Ok(())
}

/// Takes the volumes that are lost out of a manifest, with a warning each.
fn drop_lost(store: &dyn Store, manifest: &mut Manifest, loss: Loss) -> Result<(), Error> {
    let broken = broken_volumes(store, manifest)?;
    manifest.volumes.retain(|volume| {
        let problem = match broken.get(&volume.name()) {
            Some(problem) => Err(problem.clone()),
            None if loss == Loss::OfDamaged => volume.check(store),
            None => Ok(()),
        };
        if let Err(problem) = &problem {
            tracing::warn!(
                problem,
                name = %volume.name(),
                "what was sealed is lost: late data that needs it is too late from now on"
            );
        }
        problem.is_ok()
    });
    Ok(())
}

/// The volumes of a manifest that are not there as a whole, and what is wrong with each.
fn broken_volumes(store: &dyn Store, manifest: &Manifest) -> Result<BTreeMap<Name, String>, Error> {
    let there = store.list().map_err(|error| unusable(store, error))?;
    let there: BTreeMap<&str, u64> = there.iter().map(|file| (file.name.as_str(), file.bytes)).collect();
    let problem = |(name, length): (Name, u64)| match there.get(name.to_string().as_str()) {
        None => Some((name, "is missing".to_owned())),
        Some(bytes) if *bytes != length => Some((name, format!("has {bytes} bytes instead of {length}"))),
        Some(_) => None,
    };
    Ok(manifest.volume_files().into_iter().filter_map(problem).collect())
}

/// Everything that any of these manifests names.
#[must_use]
pub fn named<'a>(manifests: impl Iterator<Item = &'a BTreeSet<Name>>) -> BTreeSet<Name> {
    manifests.flatten().copied().collect()
}
