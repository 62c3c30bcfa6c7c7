//! Checkpoints: what every state was at the end of an epoch, on a disk or in an object store.
//!
//! ```text
//!  savers ──sections──► writer ──► part-<epoch>-<generation>          all savers done
//!                         │
//!  minter ──binding──────►├──────► MANIFEST-<epoch>-<generation>      and every sink has the epoch
//!  probe ──delivered─────►│
//!                         └──────► what no kept manifest names is removed, with bindings behind the oldest
//! ```
//!
//! Enters: changed entries of the states, epoch by epoch. Leaves: a manifest per checkpoint, which names for every
//! (state, shard) the chain of sections that say what it is. Guarantees: a manifest is there as a whole or not at all,
//! names only what is durable, and holds only epochs that every sink has; what is damaged is noticed before the first
//! epoch; whoever was taken over from writes nothing any more. The flow is never waited for nor made to wait: writing
//! is the business of one thread, and what could not be written goes into the next checkpoint.

mod settings;

use std::{
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
    binding::{Binding, BindingLog, Condition},
    control::Control,
};
pub use settings::Settings;

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

/// A checkpoint that has been read and found right.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The epoch at the end of which it was taken.
    pub epoch: Epoch,
    /// The binding of that epoch.
    pub binding: Binding,
    /// The platform conditions that hold after it.
    pub active: Vec<Condition>,
}

impl Restored {
    /// The sections of a shard, in the order in which they were saved, each with its form.
    ///
    /// # Errors
    /// When the bytes are not those that were written.
    pub fn sections(&self, _state: &str, _shard: u16) -> Result<Vec<(u16, Vec<u8>)>, Error> {
        Ok(Vec::new())
    }
}

/// The flow's side of the checkpoints. Clones share one writer; nothing here waits for a disk, except `finish`.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    every: u64,
    sender: Sender<Message>,
    delivered: Arc<AtomicU64>,
    problem: Arc<Mutex<Option<String>>>,
}

/// What the writer is told.
#[derive(Debug)]
#[allow(dead_code, reason = "the writer follows")]
enum Message {
    Saver { state: &'static str, form: u16, worker: usize },
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
        _identity: Identity,
        state: &Path,
        _start: Start,
        _control: &Arc<Control>,
    ) -> Result<Opened, Error> {
        let (log, recorded) = BindingLog::open(state)?;
        let (sender, receiver) = mpsc::channel();
        let problem = Arc::new(Mutex::new(None));
        std::thread::spawn(move || {
            for message in receiver {
                if let Message::Finish { finished } = message {
                    drop(finished);
                    break;
                }
            }
        });
        let checkpoints = Checkpoints {
            every: settings.every_epochs,
            sender,
            delivered: Arc::new(AtomicU64::new(0)),
            problem,
        };
        Ok(Opened { checkpoints, log, recorded, restored: None })
    }

    /// Whether a checkpoint is taken at the end of this epoch. Pure.
    #[must_use]
    pub fn is_due(&self, epoch: Epoch) -> bool {
        (epoch + 1).is_multiple_of(self.every)
    }

    /// A saver for one state on one worker. All are asked for while the dataflow is built; a checkpoint is complete
    /// when all of them have said so.
    #[must_use]
    pub fn saver(&self, state: &'static str, form: u16, worker: usize) -> Saver {
        self.tell(Message::Saver { state, form, worker });
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
