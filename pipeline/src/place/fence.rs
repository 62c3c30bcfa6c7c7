//! Who may write: the process of the greatest generation.
//!
//! Enters: the state directory and the place of the checkpoints. Leaves: a [`Fence`] with the next generation.
//! Guarantees: two starts never have the same generation; a process that was taken over from is told so before and
//! after everything it makes durable, and what it wrote in between is not read.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use schemas::Epoch;
use sinks::failpoint;

use super::{
    name::{Generation, Name},
    store::{Directory, Store},
};
use crate::Error;

/// The right to write, until a newer generation takes it. Clones share it.
#[derive(Clone, Debug)]
pub struct Fence {
    generation: Generation,
    state: Arc<Directory>,
    store: Arc<dyn Store>,
    /// Locks of the ordinary case, where the process before is gone; they go with the process.
    _locks: Arc<Vec<File>>,
}

impl Fence {
    /// Takes the state over. Unless `take_over` is said, only when no process holds it.
    ///
    /// # Errors
    /// When another process holds the state, or a disk fails.
    pub fn take(state: &Path, store: Arc<dyn Store>, take_over: bool) -> Result<Fence, Error> {
        let failed = |error| Error::State { path: state.to_owned(), error };
        let directory = Directory::open(state).map_err(failed)?;
        let here = newest(&directory).map_err(failed)?;
        let mut locks = Vec::new();
        // The holder locks the file of its generation.
        if let Some(holder) = here {
            let path = state.join(Name::Generation(holder).to_string());
            let file = lockable(&path).map_err(|error| Error::State { path: path.clone(), error })?;
            match file.try_lock() {
                Ok(()) => locks.push(file),
                Err(_) if take_over => {
                    tracing::warn!(path = %path.display(), "taking over from a process that holds the state");
                }
                Err(_) => return Err(Error::Locked(state.to_owned())),
            }
        }
        let there = newest(&*store).map_err(|error| unusable(&*store, error))?;
        let generation = here.max(there).unwrap_or(0) + 1;
        // Holders look only at the number after theirs.
        fill(&directory, here, generation).map_err(failed)?;
        fill(&*store, there, generation).map_err(|error| unusable(&*store, error))?;
        let name = Name::Generation(generation).to_string();
        if !directory.create(&name).map_err(failed)? {
            return Err(Error::Locked(state.to_owned()));
        }
        let own = lockable(&state.join(&name)).map_err(failed)?;
        own.try_lock().map_err(|_| Error::Locked(state.to_owned()))?;
        locks.push(own);
        if !store.create(&name).map_err(|error| unusable(&*store, error))? {
            return Err(Error::Locked(PathBuf::from(store.place())));
        }
        failpoint::reached("fence.taken");
        Ok(Fence { generation, state: Arc::new(directory), store, _locks: Arc::new(locks) })
    }

    /// The generation of this process.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Whether this process may still append to the state directory. Cheap.
    ///
    /// # Errors
    /// [`Error::Fenced`] when a newer generation has taken over.
    pub fn check_state(&self) -> Result<(), Error> {
        self.check(&*self.state)
    }

    /// Whether this process may still write checkpoints.
    ///
    /// # Errors
    /// [`Error::Fenced`] when a newer generation has taken over; that the place does not answer, or has lost what was
    /// there, are errors of their own.
    pub fn check_store(&self) -> Result<(), Error> {
        self.check(&*self.store)
    }

    /// Each start takes the number after the greatest one and removes none near it, so the next number is there when
    /// anyone has taken over; and the own one is gone when that was very long ago.
    fn check(&self, store: &dyn Store) -> Result<(), Error> {
        let has = |number| {
            let name = Name::Generation(number).to_string();
            store.has(&name).map_err(|error| unusable(store, error))
        };
        if has(self.generation + 1)? {
            return Err(self.fenced(store));
        }
        if !has(self.generation)? {
            let later = newest(store).ok().flatten() > Some(self.generation);
            let gone = Error::Gone { place: store.place(), generation: self.generation };
            return Err(if later { self.fenced(store) } else { gone });
        }
        Ok(())
    }

    fn fenced(&self, store: &dyn Store) -> Error {
        Error::Fenced { place: store.place(), generation: self.generation }
    }

    /// Writes down from which checkpoint this generation goes on: later ones of generations before are not used any
    /// more. Done before the first new binding.
    ///
    /// # Errors
    /// When the place does not take it.
    pub fn began_after(&self, epoch: Epoch) -> Result<(), Error> {
        let name = Name::Generation(self.generation).to_string();
        self.store
            .write(&name, vec![format!("{epoch}\n").into()])
            .map_err(|error| unusable(&*self.store, error))
    }
}

/// An error of the place of the checkpoints.
pub fn unusable(store: &dyn Store, error: io::Error) -> Error {
    Error::CheckpointPlace { place: store.place(), error }
}

/// The greatest generation that has started there.
pub fn newest(store: &dyn Store) -> io::Result<Option<Generation>> {
    let numbers = store.list()?.into_iter().filter_map(|object| match Name::parse(&object.name) {
        Some(Name::Generation(number)) => Some(number),
        _ => None,
    });
    Ok(numbers.max())
}

/// Marks the numbers between the newest of a place and `generation`, which another place has given.
fn fill(store: &dyn Store, newest: Option<Generation>, generation: Generation) -> io::Result<()> {
    let mut numbers = newest.map_or(generation, |newest| newest + 1)..generation;
    numbers.try_for_each(|number| store.create(&Name::Generation(number).to_string()).map(drop))
}

fn lockable(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).open(path)
}

/// Removes the marks of generations long before `generation` from a state directory.
pub fn forget(state: &Path, generation: Generation) {
    for number in generation.saturating_sub(200)..generation.saturating_sub(100) {
        let _ = fs::remove_file(state.join(Name::Generation(number).to_string()));
    }
}
