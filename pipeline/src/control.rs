//! How a running pipeline is told to stop, and how it tells why it cannot go on.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use schemas::{Epoch, Millis};

use crate::Error;

/// Shared by everything that runs.
#[derive(Debug, Default)]
pub struct Control {
    draining: OnceLock<Instant>,
    finished: AtomicBool,
    failure: Mutex<Option<Error>>,
    /// Why nothing is delivered, while that is so.
    held: Mutex<Option<String>>,
    /// Newest append times by epoch, from the readers for the minter.
    appended: Mutex<BTreeMap<Epoch, Millis>>,
}

impl Control {
    /// Asks for a clean stop: no new records are read, what was read is finished.
    pub fn drain(&self) {
        self.draining.get_or_init(Instant::now);
    }

    /// Whether a clean stop was asked for.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.draining.get().is_some()
    }

    /// How long ago a clean stop was asked for; zero when it was not.
    #[must_use]
    pub fn draining_for(&self) -> Duration {
        self.draining.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    /// Stops at once because going on would lose or double data. The first reason is kept.
    pub fn fail(&self, error: Error) {
        tracing::error!(%error, "the pipeline stops");
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.finish();
    }

    /// Says why nothing is delivered, or that something is again.
    pub fn hold(&self, why: Option<String>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Why nothing is delivered, while that is so.
    #[must_use]
    pub fn held(&self) -> Option<String> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says that nothing runs any more.
    pub fn finish(&self) {
        self.finished.store(true, Ordering::SeqCst);
    }

    /// Whether everything has to end now.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.finished.load(Ordering::SeqCst)
    }

    /// Notes when the brokers appended the newest record of an epoch.
    pub fn note_appended(&self, epoch: Epoch, at: Millis) {
        let mut appended = self.appended.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = appended.entry(epoch).or_insert(at);
        *newest = at.max(*newest);
    }

    /// Gives the append times that were noted since the last call.
    #[must_use]
    pub fn take_appended(&self) -> BTreeMap<Epoch, Millis> {
        std::mem::take(&mut *self.appended.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why the pipeline failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
