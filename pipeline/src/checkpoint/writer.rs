//! The thread that writes checkpoints.
//!
//! Enters: what the savers, the minter and the probe tell. Leaves: parts, manifests, and room where old ones were.
//! Guarantees: parts are durable before their manifest, every sink has the epoch before its manifest, what is removed
//! is named by no manifest that stays; a failure is told and repeated, and the flow goes on.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};

use operators::durable::SHARDS;
use schemas::Epoch;
use sinks::failpoint;

use super::{
    Identity, Message, Settings,
    cold::ColdFiles,
    gather::{Changes, Gathering},
    manifest::Manifest,
    member,
    open::{Restored, named},
    volume::Volume,
    write::Written,
};
use crate::{
    Error,
    binding::{self, Binding, Condition},
    control::Control,
    place::{Fence, Id, Name, Store, fence},
    telemetry::{CHECKPOINT_BYTES, CHECKPOINT_EPOCH, CHECKPOINT_FAILURES, CHECKPOINT_SECONDS},
};

/// How long a commit that failed waits for the next attempt, when nothing else happens.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often the changes of other processes are looked for.
const LOOK_AFTER: Duration = Duration::from_millis(100);
/// What other processes count as among the savers; their number stands for the worker.
const MEMBER: &str = "member";

/// Everything the writer works with.
#[derive(Debug)]
pub struct Tools {
    /// Whose checkpoints.
    pub identity: Identity,
    /// How many, how compact.
    pub settings: Settings,
    /// Where the binding log is.
    pub state: PathBuf,
    /// Where parts and manifests go.
    pub store: Arc<dyn Store>,
    /// What the stages of this process sealed.
    pub cold: ColdFiles,
    /// The right to write.
    pub fence: Fence,
    /// Told when another process has taken over.
    pub control: Arc<Control>,
    /// What is wrong at present.
    pub problem: Arc<Mutex<Option<String>>>,
    /// The epoch of the newest checkpoint.
    pub committed: Arc<AtomicU64>,
}

/// What the writer knows.
#[derive(Debug)]
pub struct Writer {
    tools: Tools,
    gathering: Gathering,
    /// Other processes whose changes belong to the checkpoints.
    members: usize,
    /// Changes that could not be written.
    carried: Changes,
    /// Bindings and the conditions after them, of epochs at whose end a checkpoint is due.
    bindings: BTreeMap<Epoch, (Binding, Vec<Condition>)>,
    /// Since when checkpoints that are not complete have been due.
    due: BTreeMap<Epoch, Instant>,
    active: Vec<Condition>,
    /// The chains after the last part.
    written: Written,
    /// Manifests that wait for the sinks.
    waiting: VecDeque<Manifest>,
    /// The checkpoints that stay, with their files, oldest first.
    kept: VecDeque<(Id, BTreeSet<Name>)>,
    delivered: Epoch,
    /// When changes of other processes were last looked for.
    looked: Instant,
    /// When the last commit failed.
    failed: Option<Instant>,
    /// That another process has taken over.
    fenced: Option<Error>,
}

impl Writer {
    /// A writer that goes on after `restored`; `kept` are the checkpoints up to it.
    #[must_use]
    pub fn new(
        tools: Tools,
        restored: Option<&Restored>,
        kept: VecDeque<(Id, BTreeSet<Name>)>,
        members: usize,
    ) -> Writer {
        let mut gathering = Gathering::default();
        (1..=members).for_each(|process| gathering.saver(MEMBER, process));
        let written = restored.map(|restored| Written {
            parts: restored.manifest.parts.clone(),
            chains: restored.manifest.states.clone(),
            volumes: restored.manifest.volumes.clone(),
        });
        CHECKPOINT_EPOCH.set(restored.map_or(0, |restored| restored.epoch) as i64);
        CHECKPOINT_BYTES.set(0);
        // A counter is there from its first use on, and an alert needs it before the first failure.
        CHECKPOINT_FAILURES.inc_by(0);
        Writer {
            tools,
            gathering,
            members,
            carried: Changes::default(),
            bindings: BTreeMap::new(),
            due: BTreeMap::new(),
            active: restored.map(|restored| restored.active.clone()).unwrap_or_default(),
            written: written.unwrap_or_default(),
            waiting: VecDeque::new(),
            kept,
            delivered: 0,
            looked: Instant::now(),
            failed: None,
            fenced: None,
        }
    }

    /// Works until told to finish, until the flow is gone, or until another process has taken over. Gives back whom to
    /// tell that it has finished, when the locks are gone.
    pub fn run(mut self, messages: &Receiver<Message>) -> Option<Sender<()>> {
        loop {
            let pause = if self.members > 0 { LOOK_AFTER } else { RETRY_AFTER };
            let finished = match messages.recv_timeout(pause) {
                Ok(Message::Finish { finished }) => Some(finished),
                Ok(message) => {
                    self.take(message);
                    None
                }
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return None,
            };
            if let Err(error) = self.take_from_members() {
                tracing::warn!(%error, "the changes of other processes are not readable for now");
                // Nothing writes them again.
                if matches!(error, Error::DamagedCheckpoint { .. }) {
                    self.tell(Some(error.to_string()));
                }
            }
            let due = finished.is_some() || self.failed.is_none_or(|at| at.elapsed() >= RETRY_AFTER);
            let fenced = if due { self.commit_delivered().err() } else { None };
            if let Some(error) = self.fenced.take().or(fenced) {
                self.tools.control.fail(error);
                return finished;
            }
            if finished.is_some() {
                return finished;
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Saver { state, worker } => {
                if !self.tools.identity.states.contains(&state) {
                    self.tell(Some(format!("state {state} is not among the states of this pipeline")));
                }
                self.gathering.saver(state, worker);
            }
            Message::Saved { state, form, epoch, saved } => self.gathering.add(state, form, epoch, saved),
            Message::Done { state, worker, epoch } => self.done(state, worker, epoch),
            Message::Bound { binding } => self.bound(binding),
            Message::Delivered { before } => self.delivered = before,
            Message::Finish { .. } => {}
        }
    }

    fn done(&mut self, state: &'static str, worker: usize, epoch: Epoch) {
        if let Some(changes) = self.gathering.done(state, worker, epoch) {
            self.write(epoch, changes);
        }
    }

    /// Takes what the other processes of the cluster have written for checkpoints under way.
    fn take_from_members(&mut self) -> Result<(), Error> {
        if self.members == 0 || !self.gathering.is_under_way() || self.looked.elapsed() < LOOK_AFTER {
            return Ok(());
        }
        self.looked = Instant::now();
        let Tools { store, fence, identity, .. } = &self.tools;
        let (store, generation, states) = (Arc::clone(store), fence.generation(), identity.states);
        let failed = |error| fence::unusable(&*store, error);
        for object in store.list().map_err(failed)? {
            let Some(Name::Changes(id, process)) = Name::parse(&object.name) else { continue };
            if id.generation != generation {
                continue;
            }
            let bytes = store.read(&object.name).map_err(failed)?;
            let (changes, volumes) = member::decode(&bytes, states)
                .map_err(|detail| Error::DamagedCheckpoint { name: object.name.clone(), detail })?;
            store.remove(&object.name).map_err(failed)?;
            self.gathering.merge(id.epoch, changes);
            self.written.volumes.extend(volumes);
            self.done(MEMBER, process, id.epoch);
        }
        Ok(())
    }

    fn bound(&mut self, binding: Binding) {
        binding::apply(&mut self.active, &binding.conditions);
        if (binding.epoch + 1).is_multiple_of(self.tools.settings.every_epochs) {
            self.due.insert(binding.epoch, Instant::now());
            self.bindings.insert(binding.epoch, (binding, self.active.clone()));
        }
    }

    /// Writes the part of an epoch. What cannot be written is carried into the next.
    fn write(&mut self, epoch: Epoch, changes: Changes) {
        self.carried.append(changes);
        let held = match self.tools.fence.check_store() {
            Err(error @ Error::Fenced { .. }) => {
                self.fenced = Some(error);
                return;
            }
            held => held.map_err(|error| error.to_string()),
        };
        match held.and_then(|()| self.write_part(epoch)) {
            Ok(manifest) => {
                self.carried = Changes::default();
                self.waiting.push_back(manifest);
            }
            Err(problem) => {
                CHECKPOINT_FAILURES.inc();
                tracing::error!(epoch, problem, "a checkpoint is not written; its changes go into the next");
                self.tell(Some(format!("checkpoint of epoch {epoch} is not written: {problem}")));
                if let Err(error) = self.carried.shrink() {
                    tracing::error!(%error, "changes that wait cannot be read");
                }
            }
        }
    }

    fn write_part(&mut self, epoch: Epoch) -> Result<Manifest, String> {
        let Tools { identity, settings, store, cold, fence, .. } = &self.tools;
        if let Some(((state, _), _)) =
            self.carried.0.iter().find(|((state, _), _)| !identity.states.contains(state))
        {
            return Err(format!("state {state} is not among the states of this pipeline"));
        }
        let later = self.bindings.split_off(&(epoch + 1));
        let bound = std::mem::replace(&mut self.bindings, later).remove(&epoch);
        let (binding, active) = bound.ok_or("nobody told its binding")?;
        let id = Id { epoch, generation: fence.generation() };
        self.written.volumes.extend(cold.write(id, 0)?);
        self.written.volumes.retain(|volume| !cold.has_forgotten(volume, epoch));
        self.written.volumes.sort_by_key(|volume| volume.epoch);
        let written =
            self.written.write(&**store, id, &self.carried, identity.states, settings.compact_after)?;
        self.written = written;
        CHECKPOINT_BYTES.set(self.written.parts.get(&id).copied().unwrap_or(0) as i64);
        Ok(Manifest {
            pipeline: identity.pipeline.clone(),
            prefix: identity.prefix.clone(),
            generation: id.generation,
            epoch,
            shards: SHARDS,
            binding,
            active,
            parts: self.written.parts.clone(),
            states: self.written.chains.clone(),
            // Members may be ahead.
            volumes: self.written.volumes.iter().filter(|volume| volume.epoch <= epoch).cloned().collect(),
        })
    }

    /// Commits the newest checkpoint that every sink has; earlier ones that wait are contained in it.
    fn commit_delivered(&mut self) -> Result<(), Error> {
        let ready = self.waiting.iter().take_while(|manifest| manifest.epoch < self.delivered).count();
        let Some(newest) = ready.checked_sub(1).and_then(|last| self.waiting.get(last)) else {
            return Ok(());
        };
        let id = newest.id();
        match self.commit(newest) {
            Ok(()) => {
                let files = newest.files();
                self.waiting.drain(..ready);
                self.kept.push_back((id, files));
                self.tools.committed.store(id.epoch, Ordering::Relaxed);
                self.count(id.epoch);
                self.failed = None;
                if self.carried == Changes::default() {
                    self.tell(None);
                }
                tracing::debug!(epoch = id.epoch, "checkpoint complete");
                if let Err(error) = self.clean_up() {
                    tracing::warn!(%error, "old checkpoints are not removed: they take room");
                }
                Ok(())
            }
            Err(error @ Error::Fenced { .. }) => Err(error),
            Err(error) => {
                CHECKPOINT_FAILURES.inc();
                if self.failed.replace(Instant::now()).is_none() {
                    tracing::error!(epoch = id.epoch, %error, "a checkpoint is not completed; it is tried again");
                }
                self.tell(Some(format!("checkpoint of epoch {} is not completed: {error}", id.epoch)));
                Ok(())
            }
        }
    }

    /// Shows a complete checkpoint to whoever watches.
    fn count(&mut self, epoch: Epoch) {
        CHECKPOINT_EPOCH.set(epoch as i64);
        let later = self.due.split_off(&(epoch + 1));
        if let Some(since) = std::mem::replace(&mut self.due, later).get(&epoch) {
            CHECKPOINT_SECONDS.observe(since.elapsed().as_secs_f64());
        }
    }

    fn commit(&self, manifest: &Manifest) -> Result<(), Error> {
        let Tools { store, fence, .. } = &self.tools;
        let failed = |error| fence::unusable(&**store, error);
        let bytes = manifest.encode().map_err(std::io::Error::other).map_err(failed)?;
        failpoint::reached("manifest.before");
        fence.check_store()?;
        store.write(&Name::Manifest(manifest.id()).to_string(), vec![bytes.into()]).map_err(failed)?;
        failpoint::reached("manifest.after");
        // Who took over before this goes on from an earlier one and sets this one aside.
        fence.check_store()
    }

    /// Removes checkpoints beyond the last N, parts and volumes that nothing names, and bindings behind the oldest
    /// checkpoint.
    fn clean_up(&mut self) -> Result<(), Error> {
        let Tools { store, fence, settings, state, .. } = &self.tools;
        while self.kept.len() > settings.keep.max(1) {
            self.kept.pop_front();
        }
        let manifests: BTreeSet<Id> = self.kept.iter().map(|(id, _)| *id).collect();
        let waiting: Vec<BTreeSet<Name>> = self.waiting.iter().map(Manifest::files).collect();
        let mut files = named(self.kept.iter().map(|(_, files)| files).chain(&waiting));
        files.extend(self.written.parts.keys().map(|id| Name::Part(*id)));
        files.extend(self.written.volumes.iter().map(Volume::name));
        let newest = manifests.last().map_or(0, |id| id.epoch);
        let failed = |error| fence::unusable(&**store, error);
        let objects = store.list().map_err(failed)?;
        fence.check_store()?;
        // Manifests go before the files that they name.
        let (gone_manifests, gone_files): (Vec<_>, Vec<_>) = objects
            .into_iter()
            .map(|object| object.name)
            .filter(|name| match Name::parse(name.strip_suffix(".new").unwrap_or(name)) {
                Some(Name::Manifest(id)) => {
                    id.generation <= fence.generation() && id.epoch <= newest && !manifests.contains(&id)
                }
                Some(Name::Changes(id, _)) => id.generation < fence.generation(),
                Some(file @ Name::Part(id)) => id.generation <= fence.generation() && !files.contains(&file),
                // A member may just have written one, for a checkpoint to come.
                Some(file @ Name::Volume(id, _)) => {
                    id.generation <= fence.generation() && id.epoch <= newest && !files.contains(&file)
                }
                _ => false,
            })
            .partition(|name| name.starts_with("MANIFEST"));
        for name in gone_manifests.iter().chain(&gone_files) {
            failpoint::reached("clean_up.before");
            store.remove(name).map_err(failed)?;
        }
        failpoint::reached("clean_up.after");
        // Until there are as many checkpoints as shall stay, a start from nothing is possible too.
        if let Some(oldest) = manifests.first().filter(|_| self.kept.len() >= settings.keep.max(1)) {
            binding::log::forget(state, oldest.epoch)
                .map_err(|error| Error::State { path: state.clone(), error })?;
        }
        Ok(())
    }

    fn tell(&self, problem: Option<String>) {
        *self.tools.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}
