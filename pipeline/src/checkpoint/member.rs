//! The checkpoints of a cluster: members hand what their states saved to the leader, which completes the checkpoint.
//!
//! ```text
//!  member: cold ───► volume-<epoch>-<generation>-<process>
//!          savers ──► changes-<epoch>-<generation>-<process>  ──► leader: gathered like one more saver ──► part
//! ```
//!
//! Enters: saved entries of one process, and what it sealed. Leaves: a file per checkpoint and member, removed when the
//! leader has taken it, and volumes.
//! Guarantees: a checkpoint is complete only with the changes of every member; changes of another start are not taken.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::AtomicU64,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use schemas::Epoch;
use serde::{Deserialize, Serialize};
use sinks::disk;

use super::{
    Checkpoints, Identity, Message, Settings,
    cold::ColdFiles,
    gather::{Changes, Gathering},
    open::{self, Listing, Loss, Restored},
    open_store,
    volume::Volume,
};
use crate::{
    Error,
    control::Control,
    place::{Generation, Id, Name, Store, fence::newest, fence::unusable},
};

/// How long a file that could not be written waits.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Entries of one state and shard: name of the state, shard, form, section.
#[derive(Debug, Serialize, Deserialize)]
struct Entry(String, u16, u16, Vec<u8>);

/// What a member begins with.
#[derive(Debug)]
pub struct Joined {
    /// Where the flow's states go.
    pub checkpoints: Checkpoints,
    /// The checkpoint that the leader has chosen.
    pub restored: Option<Restored>,
}

/// Finds the checkpoint that the leader goes on from. The leader has opened it before it talks to anyone, so this is
/// asked once the processes are connected.
///
/// # Errors
/// When the leader has not started, or the checkpoint cannot be read here.
pub fn join(
    settings: &Settings,
    identity: &Identity,
    state: &Path,
    process: usize,
    control: &Arc<Control>,
) -> Result<Joined, Error> {
    let store = open_store(settings, state)?;
    let generation = newest(&*store).map_err(|error| unusable(&*store, error))?;
    let generation = generation.ok_or_else(|| apart(&*store))?;
    let listing = Listing::read(&*store)?;
    let began = listing.began_after(generation).ok_or_else(|| apart(&*store))?;
    let restored = match began {
        0 => None,
        epoch => open::choose(&*store, &listing, identity, (Some(epoch), Loss::OfMissing))?,
    };
    let (sender, receiver) = mpsc::channel();
    let problem = Arc::new(Mutex::new(None));
    let volumes = restored.as_ref().map(Restored::volumes).unwrap_or_default();
    let cold = ColdFiles::new(Arc::clone(&store), volumes, control);
    let member = Member {
        store,
        cold: cold.clone(),
        generation,
        process,
        gathering: Gathering::default(),
        unwritten: Vec::new(),
        volumes: Vec::new(),
    };
    let control = Arc::clone(control);
    std::thread::Builder::new()
        .name("checkpoints".to_owned())
        .spawn(move || member.run(&receiver, &control))
        .map_err(|error| Error::State { path: state.to_owned(), error })?;
    let delivered = Arc::new(AtomicU64::new(0));
    let checkpoints = Checkpoints { every: settings.every_epochs, sender, delivered, problem, cold };
    Ok(Joined { checkpoints, restored })
}

fn apart(store: &dyn Store) -> Error {
    Error::Cluster(format!(
        "nothing at {} says that the first process has started: give all processes the same pipeline.state and \
         checkpoint.url",
        store.place()
    ))
}

struct Member {
    store: Arc<dyn Store>,
    cold: ColdFiles,
    generation: Generation,
    process: usize,
    gathering: Gathering,
    unwritten: Vec<(Epoch, Changes)>,
    /// Written, and not yet told to the leader.
    volumes: Vec<Volume>,
}

impl Member {
    fn run(mut self, messages: &Receiver<Message>, control: &Control) {
        loop {
            match messages.recv_timeout(RETRY_AFTER) {
                Ok(Message::Saver { state, worker }) => self.gathering.saver(state, worker),
                Ok(Message::Saved { state, form, epoch, saved }) => {
                    self.gathering.add(state, form, epoch, saved);
                }
                Ok(Message::Done { state, worker, epoch }) => {
                    if let Some(changes) = self.gathering.done(state, worker, epoch) {
                        self.unwritten.push((epoch, changes));
                    }
                }
                Ok(Message::Finish { finished }) => return drop(finished),
                Ok(Message::Bound { .. } | Message::Delivered { .. }) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Err(error) = self.write() {
                match error {
                    Error::Fenced { .. } => return control.fail(error),
                    error => {
                        tracing::error!(%error, "changes do not reach the checkpoint; they are sent again");
                    }
                }
            }
        }
    }

    fn write(&mut self) -> Result<(), Error> {
        while let Some((epoch, changes)) = self.unwritten.first() {
            let failed = |error| unusable(&*self.store, error);
            let next = Name::Generation(self.generation + 1).to_string();
            if self.store.has(&next).map_err(failed)? {
                return Err(Error::Fenced { place: self.store.place(), generation: self.generation });
            }
            let id = Id { epoch: *epoch, generation: self.generation };
            let other = |error| failed(std::io::Error::other(error));
            self.volumes.extend(self.cold.write(id, self.process).map_err(other)?);
            let bytes = encode(changes, &self.volumes).map_err(other)?;
            let name = Name::Changes(id, self.process).to_string();
            self.store.write(&name, vec![bytes.into()]).map_err(failed)?;
            self.unwritten.remove(0);
            self.volumes.clear();
        }
        Ok(())
    }
}

/// What a member wrote: `crc | entries and volumes`.
fn encode(changes: &Changes, volumes: &[Volume]) -> Result<Vec<u8>, String> {
    let mut entries = Vec::new();
    for ((state, shard), sections) in &changes.0 {
        let chain = sections.unpacked()?.into_iter();
        entries.extend(chain.map(|(form, section)| Entry((*state).to_owned(), *shard, form, section)));
    }
    let body = postcard::to_stdvec(&(entries, volumes)).map_err(|error| error.to_string())?;
    Ok(disk::sealed(&body))
}

/// Reads what a member wrote, for states of this version.
///
/// # Errors
/// What is wrong with it.
pub fn decode(bytes: &[u8], states: &[&'static str]) -> Result<(Changes, Vec<Volume>), String> {
    let body = disk::unsealed(bytes).ok_or("its checksum is wrong: it is cut off or was changed")?;
    let read = postcard::from_bytes(body).map_err(|error| error.to_string());
    let (entries, volumes): (Vec<Entry>, Vec<Volume>) = read?;
    let mut changes = Changes::default();
    for Entry(state, shard, form, section) in entries {
        let state =
            states.iter().find(|known| **known == state).ok_or_else(|| format!("unknown state {state}"))?;
        changes.push(state, shard, form, section);
    }
    Ok((changes, volumes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_as_they_were() {
        let mut changes = Changes::default();
        changes.push("window", 3, 1, vec![1, 2, 3]);
        changes.push("alarm", 256, 2, vec![9]);
        let bytes = encode(&changes, &[]).unwrap();
        assert_eq!(decode(&bytes, &["alarm", "window"]).unwrap(), (changes, vec![]));
        assert!(decode(&bytes, &["alarm"]).unwrap_err().contains("unknown state window"));
        assert!(decode(&bytes[..bytes.len() - 1], &["alarm", "window"]).unwrap_err().contains("checksum"));
    }
}
