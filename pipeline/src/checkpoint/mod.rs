//! Checkpoints: what every state was at the end of an epoch, on a disk or in an object store.
//!
//! ```text
//!  savers ──sections──► writer ──► part-<epoch>-<generation>          all savers done
//!                         │
//!  cold ───batches───────►├──────► volume-<epoch>-<generation>-0
//!  minter ──binding──────►├──────► MANIFEST-<epoch>-<generation>      and every sink has the epoch
//!  probe ──delivered─────►│
//!                         └──────► what no kept manifest names is removed, with bindings behind the oldest
//! ```
//!
//! Enters: changed entries of the states, epoch by epoch, and what they sealed. Leaves: a manifest per checkpoint, which
//! names for every (state, shard) the chain of sections that say what it is, and the volumes of what is sealed. Guarantees:
//! a manifest is there as a whole or not at all, names only what is durable, and holds only epochs that every sink has;
//! what is damaged is noticed before the first epoch, a bit within a volume when it is read; whoever was taken over from
//! writes nothing any more. The flow is never waited for nor made to wait: writing is the business of one thread, and what
//! could not be written goes into the next checkpoint.

mod bucket;
mod cold;
mod gather;
pub mod inspect;
mod manifest;
pub mod member;
mod open;
mod part;
mod settings;
mod volume;
mod write;
mod writer;

use std::{
    collections::{BTreeSet, VecDeque},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Sender},
    },
};

use operators::durable::Saved;
use schemas::Epoch;

use crate::{
    Error,
    binding::{Binding, BindingLog, Recorded},
    control::Control,
    place::{Directory, Fence, Id, Name, Store, fence},
};
use bucket::Bucket;
pub use cold::ColdFiles;
pub use open::Restored;
use open::{Listing, Loss};
pub use settings::Settings;
use writer::{Tools, Writer};

/// Whose checkpoints they are. Those of another pipeline are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Prefix of its topics.
    pub prefix: String,
    /// Names of all states that this version saves and restores. A checkpoint with others is refused.
    pub states: &'static [&'static str],
}

/// From where a start goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// The checkpoint of this epoch, instead of the newest that is right.
    pub from: Option<Epoch>,
    /// Goes on without the lock of a process that hangs. It can write nothing any more.
    pub take_over: bool,
    /// Other processes of the cluster, whose changes belong to the checkpoints.
    pub members: usize,
    /// Goes on without what was sealed and is lost.
    pub accept_loss: bool,
}

impl Start {
    fn loss(&self) -> Loss {
        if self.accept_loss { Loss::OfDamaged } else { Loss::Refused }
    }
}

/// One checkpoint in so many is taken by every state, so that some are complete however slowly states are saved.
const COMPLETE_EVERY: u64 = 4;

/// Who takes a checkpoint. One that a state left out is never complete; what it holds goes into the next that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Every state but those that are still saving for an earlier one.
    Unless,
    /// Every state.
    ByAll,
}

/// What a start begins with.
#[derive(Debug)]
pub struct Opened {
    /// Where the flow's states go.
    pub checkpoints: Checkpoints,
    /// Where new bindings go.
    pub log: BindingLog,
    /// Bindings after the restored epoch, to be replayed.
    pub recorded: Vec<Binding>,
    /// The checkpoint to restore, if there is one.
    pub restored: Option<Restored>,
}

/// The flow's side of the checkpoints. Clones share one writer; nothing here waits for a disk, except `finish`.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    every: u64,
    sender: Sender<Message>,
    delivered: Arc<AtomicU64>,
    problem: Arc<Mutex<Option<String>>>,
    cold: ColdFiles,
}

/// What the writer is told.
#[derive(Debug)]
enum Message {
    Saver { state: &'static str, worker: usize },
    Saved { state: &'static str, form: u16, epoch: Epoch, saved: Saved },
    Done { state: &'static str, worker: usize, epoch: Epoch },
    Bound { binding: Binding },
    Delivered { before: Epoch },
    Finish { finished: Sender<()> },
}

impl Checkpoints {
    /// Takes the pipeline's state over, finds the checkpoint to go on from and the bindings after it, and starts the
    /// writer. `control` is told when another process has taken over.
    ///
    /// # Errors
    /// When the state is held, or is another's, newer than this version, or damaged beyond every checkpoint.
    pub fn open(
        settings: &Settings,
        identity: Identity,
        state: &Path,
        start: Start,
        control: &Arc<Control>,
    ) -> Result<Opened, Error> {
        let store = open_store(settings, state)?;
        Checkpoints::open_in(store, settings, identity, state, start, control)
    }

    /// The same in a given place.
    fn open_in(
        store: Arc<dyn Store>,
        settings: &Settings,
        identity: Identity,
        state: &Path,
        start: Start,
        control: &Arc<Control>,
    ) -> Result<Opened, Error> {
        // Before the fence: whoever has no business here must not end a process that has.
        open::is_own(&*store, &Listing::read(&*store)?, &identity)?;
        let fence = Fence::take(state, Arc::clone(&store), start.take_over)?;
        let listing = Listing::read(&*store)?;
        let restored = open::choose(&*store, &listing, &identity, (start.from, start.loss()))?;
        let epoch = restored.as_ref().map_or(0, |restored| restored.epoch);
        let committed = Arc::new(AtomicU64::new(epoch));
        let (log, recorded) =
            BindingLog::open(state, &identity.pipeline, fence.clone(), Arc::clone(&committed))?;
        let recorded = after(recorded, restored.as_ref(), &*store)?;
        let kept = kept(&*store, &listing, epoch, settings.keep)?;
        fence.began_after(epoch)?;
        fence::forget(state, fence.generation());

        let (sender, receiver) = mpsc::channel();
        let problem = Arc::new(Mutex::new(None));
        let volumes = restored.as_ref().map(Restored::volumes).unwrap_or_default();
        let cold = ColdFiles::new(Arc::clone(&store), volumes, control);
        let tools = Tools {
            cold: cold.clone(),
            identity,
            settings: settings.clone(),
            state: state.to_owned(),
            store,
            fence,
            control: Arc::clone(control),
            problem: Arc::clone(&problem),
            committed,
        };
        let writer = Writer::new(tools, restored.as_ref(), kept, start.members);
        std::thread::Builder::new()
            .name("checkpoints".to_owned())
            .spawn(move || drop(writer.run(&receiver)))
            .map_err(|error| Error::State { path: state.to_owned(), error })?;
        let delivered = Arc::new(AtomicU64::new(0));
        let checkpoints = Checkpoints { every: settings.every_epochs, sender, delivered, problem, cold };
        Ok(Opened { checkpoints, log, recorded, restored })
    }

    /// Whether a checkpoint is taken at the end of this epoch. Pure, so that all workers take the same.
    #[must_use]
    pub fn due(&self, epoch: Epoch) -> Option<Due> {
        let number = epoch + 1;
        let complete = self.every.saturating_mul(COMPLETE_EVERY);
        match (number.is_multiple_of(self.every), number.is_multiple_of(complete)) {
            (false, _) => None,
            (true, complete) => Some(if complete { Due::ByAll } else { Due::Unless }),
        }
    }

    /// A saver for one state on one worker. All are asked for while the dataflow is built; a checkpoint is complete
    /// when all of them have said so.
    #[must_use]
    pub fn saver(&self, state: &'static str, form: u16, worker: usize) -> Saver {
        self.tell(Message::Saver { state, worker });
        Saver { state, form, worker, sender: self.sender.clone() }
    }

    /// Takes note of a binding, replayed or new, in order; a manifest holds the one of its epoch.
    pub fn bound(&self, binding: &Binding) {
        self.tell(Message::Bound { binding: binding.clone() });
    }

    /// Takes note that every sink has everything before this epoch. Cheap.
    pub fn delivered(&self, before: Epoch) {
        if self.delivered.fetch_max(before, Ordering::Relaxed) < before {
            self.tell(Message::Delivered { before });
        }
    }

    /// Where the stages of this process set state aside.
    #[must_use]
    pub fn cold(&self) -> &ColdFiles {
        &self.cold
    }

    /// What is wrong at present, for the operational alarm.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// At a clean stop: waits until what is complete has been written, and ends the writer.
    pub fn finish(&self) {
        let (finished, wait) = mpsc::channel();
        self.tell(Message::Finish { finished });
        // The sender is dropped when the writer has ended.
        let _ = wait.recv();
    }

    fn tell(&self, message: Message) {
        // The writer ends before the flow only when all has to end.
        let _ = self.sender.send(message);
    }
}

/// Where one state of one worker puts what it saves.
#[derive(Debug)]
pub struct Saver {
    state: &'static str,
    form: u16,
    worker: usize,
    sender: Sender<Message>,
}

impl Saver {
    /// Adds sections to the checkpoint of an epoch. Never waits.
    pub fn add(&self, epoch: Epoch, saved: Saved) {
        let _ = self.sender.send(Message::Saved { state: self.state, form: self.form, epoch, saved });
    }

    /// Says that this state has saved all for an epoch; also when nothing had changed.
    pub fn done(&self, epoch: Epoch) {
        let _ = self.sender.send(Message::Done { state: self.state, worker: self.worker, epoch });
    }
}

/// The place that the settings name.
fn open_store(settings: &Settings, state: &Path) -> Result<Arc<dyn Store>, Error> {
    let Some(path) = settings.directory(state) else {
        let place = settings.url.clone().unwrap_or_default();
        return match Bucket::open(&place, settings) {
            Ok(bucket) => Ok(Arc::new(bucket)),
            Err(error) => Err(Error::CheckpointPlace { place, error }),
        };
    };
    match Directory::open(&path) {
        Ok(directory) => Ok(Arc::new(directory)),
        Err(error) => Err(Error::CheckpointPlace { place: path.display().to_string(), error }),
    }
}

/// The bindings after a checkpoint.
fn after(recorded: Recorded, restored: Option<&Restored>, store: &dyn Store) -> Result<Vec<Binding>, Error> {
    let Some(restored) = restored else {
        return match recorded.after {
            0 => Ok(recorded.bindings),
            after => Err(Error::NoCheckpoint { place: store.place(), first: after + 1 }),
        };
    };
    let name = || Name::Manifest(restored.manifest.id()).to_string();
    let Restored { epoch, binding, .. } = restored;
    if recorded.after > *epoch || recorded.last() < *epoch {
        return Err(Error::BindingsApart {
            name: name(),
            epoch: *epoch,
            first: recorded.after + 1,
            last: recorded.last(),
        });
    }
    // Ranges may have been withdrawn because Kafka had lost the records; the time of an epoch never changes.
    if recorded.bindings.iter().any(|held| held.epoch == *epoch && held.wall != binding.wall) {
        return Err(Error::BindingsDiffer { name: name(), epoch: *epoch });
    }
    Ok(recorded.bindings.into_iter().filter(|binding| binding.epoch > *epoch).collect())
}

/// The newest `keep` checkpoints up to an epoch that can be read, oldest first, with their files.
fn kept(
    store: &dyn Store,
    listing: &Listing,
    epoch: Epoch,
    keep: usize,
) -> Result<VecDeque<(Id, BTreeSet<Name>)>, Error> {
    let mut kept = VecDeque::new();
    for id in listing.manifests.iter().filter(|id| id.epoch <= epoch && !listing.is_superseded(**id)) {
        if kept.len() == keep {
            break;
        }
        if let Ok(manifest) = open::read_manifest(store, *id)? {
            kept.push_front((*id, manifest.files()));
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests;
