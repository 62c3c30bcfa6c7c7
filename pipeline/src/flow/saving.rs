//! Saves a state behind the flow: a slice whenever its operator runs, never long enough to be felt.
//!
//! Enters: a state and the end of its epochs. Leaves: what changed since the checkpoint before, for the writer of the
//! checkpoints. Guarantees: what is saved is the state at the end of the checkpoint's epoch.

use std::time::{Duration, Instant};

use operators::{
    Durable,
    durable::{GLOBAL, SHARDS, Saved, holder},
};
use schemas::Epoch;

use crate::{
    Error,
    checkpoint::{Checkpoints, Restored, Saver},
    telemetry,
};

/// How long a slice may take.
const SLICE: Duration = Duration::from_millis(2);
/// Entries between two looks at the watch.
const ENTRIES: usize = 16;

/// What every operator with a state needs to save and restore it.
#[derive(Clone)]
pub struct Recovery {
    /// The checkpoints that are written.
    pub checkpoints: Checkpoints,
    /// The one that the pipeline starts from.
    pub restored: Option<std::sync::Arc<Restored>>,
}

impl Recovery {
    /// The epoch that the restored states stand at the end of; 0 without a checkpoint.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.restored.as_ref().map_or(0, |restored| restored.epoch)
    }

    /// Says that a worker has attached all its states, of so many workers in this process.
    pub fn attached(&self, workers: usize) {
        if let Some(restored) = &self.restored {
            restored.served(workers);
        }
    }

    /// Gives a state what a worker holds of it, and the means to save it.
    ///
    /// # Errors
    /// When what was saved cannot be read.
    pub fn attach<D: Durable>(
        &self,
        state: &mut D,
        (worker, workers): (usize, usize),
    ) -> Result<Saving, Error> {
        if let Some(restored) = &self.restored {
            let held = (0..SHARDS).filter(|shard| holder(*shard, workers) == worker);
            for shard in held.chain([GLOBAL]) {
                for (form, section) in restored.sections(D::STATE, shard)? {
                    state.restore(shard, form, &section)?;
                }
            }
        }
        let saver = self.checkpoints.saver(D::STATE, D::FORM, worker);
        Ok(Saving { checkpoints: self.checkpoints.clone(), saver, global: worker == 0, under_way: None })
    }
}

/// Saves the state of one operator of one worker.
pub struct Saving {
    checkpoints: Checkpoints,
    saver: Saver,
    /// Whether it speaks for what all workers know alike.
    global: bool,
    under_way: Option<Epoch>,
}

impl Saving {
    /// The epoch has been applied: begins a checkpoint when one is due. One that is still under way is ended first.
    pub fn applied<D: Durable>(&mut self, state: &mut D, epoch: Epoch) {
        if !self.checkpoints.is_due(epoch) {
            return;
        }
        if let Some(earlier) = self.under_way.take() {
            self.slice(state, earlier, usize::MAX);
            self.saver.done(earlier);
        }
        let started = Instant::now();
        state.begin();
        telemetry::CHECKPOINT_PAUSE.observe(started.elapsed().as_secs_f64());
        self.under_way = Some(epoch);
    }

    /// Saves a slice; answers whether there is more, and the operator is to run again soon.
    pub fn proceed<D: Durable>(&mut self, state: &mut D) -> bool {
        let Some(epoch) = self.under_way else { return false };
        let started = Instant::now();
        while started.elapsed() < SLICE {
            if self.slice(state, epoch, ENTRIES) {
                self.saver.done(epoch);
                self.under_way = None;
                break;
            }
        }
        telemetry::CHECKPOINT_PAUSE.observe(started.elapsed().as_secs_f64());
        self.under_way.is_some()
    }

    fn slice<D: Durable>(&mut self, state: &mut D, epoch: Epoch, entries: usize) -> bool {
        let mut saved = Saved::default();
        let all = state.save(entries, &mut saved);
        if !self.global {
            saved.remove(GLOBAL);
        }
        self.saver.add(epoch, saved);
        all
    }
}
