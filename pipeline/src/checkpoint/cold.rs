//! The cold tier of a process: what its stages have sealed, as they find it again.
//!
//! ```text
//!  put ──► pending, in memory ──with the next checkpoint──► volumes in the store
//!  find ◄── newest first ◄──────────────┴────────────────────────────┘
//! ```
//!
//! Enters: batches of the stages of this process; volumes of the checkpoint that it goes on from. Leaves: records of a
//! facility. Guarantees: what was put is found, from memory until it is durable and from the store then; where the store
//! gives something else than was written, nothing that stands on it is told, and the process ends with what to do.

use std::{
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use operators::{
    cold::{self, Batch, Found, Take},
    durable::RestoreError,
};
use schemas::{Epoch, Millis};
use sinks::failpoint;

use super::volume::{self, Blocks, OpenVolume, Unread, Volume};
use crate::{
    Error,
    control::Control,
    place::{Id, Name, Store},
    telemetry,
};

/// How often a place that does not answer is asked, and how long the first wait is; each doubles.
const ATTEMPTS: u32 = 6;
/// See [`ATTEMPTS`].
const PAUSE: Duration = Duration::from_millis(100);

/// The cold tier of a process. Clones share it.
#[derive(Clone, Debug)]
pub struct ColdFiles {
    store: Arc<dyn Store>,
    control: Arc<Control>,
    held: Arc<Mutex<Held>>,
    blocks: Arc<Mutex<Blocks>>,
    failed: Arc<AtomicBool>,
}

/// What lies on it.
#[derive(Debug, Default)]
struct Held {
    /// Not yet durable, in the order in which they were put.
    pending: Vec<Arc<Batch>>,
    /// In the order in which they were put.
    volumes: Vec<Arc<OpenVolume>>,
    /// From which epoch on nobody asks for what lies before which time, by state.
    forgotten: Vec<(&'static str, Epoch, Millis)>,
}

impl ColdFiles {
    /// A tier with what a checkpoint names.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, volumes: &[Volume], control: &Arc<Control>) -> ColdFiles {
        let volumes = volumes.iter().map(|volume| Arc::new(OpenVolume::new(volume.clone()))).collect();
        ColdFiles {
            store,
            control: Arc::clone(control),
            held: Arc::new(Mutex::new(Held { volumes, ..Held::default() })),
            blocks: Arc::default(),
            failed: Arc::default(),
        }
    }

    /// The tier as the stages of a worker see it.
    #[must_use]
    pub fn of_worker(&self) -> Rc<dyn cold::ColdTier> {
        Rc::new(self.clone())
    }

    /// Whether something on it could not be read. What was computed since must not be told.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Makes what was put up to the epoch of a checkpoint durable; gives the volumes for its manifest.
    ///
    /// # Errors
    /// What went wrong, in words; nothing has changed then.
    pub fn write(&self, id: Id, process: usize) -> Result<Vec<Volume>, String> {
        let pending: Vec<Arc<Batch>> =
            self.held().pending.iter().filter(|batch| batch.epoch <= id.epoch).cloned().collect();
        if pending.is_empty() {
            return Ok(Vec::new());
        }
        let name = Name::Volume(id, process).to_string();
        let (file, volumes) = volume::pack((id, process), &pending).map_err(|error| error.to_string())?;
        failpoint::reached("volume.before");
        self.store.write(&name, file.into_pieces()).map_err(|error| format!("{name}: {error}"))?;
        failpoint::reached("volume.after");
        let mut held = self.held();
        held.pending.retain(|batch| batch.epoch > id.epoch);
        held.volumes.extend(volumes.iter().map(|volume| Arc::new(OpenVolume::new(volume.clone()))));
        held.volumes.sort_by_key(|open| open.volume.epoch);
        telemetry::COLD_BYTES.inc_by(volumes.first().map_or(0, |volume| volume.length));
        Ok(volumes)
    }

    /// Whether nobody asks for a volume from an epoch on.
    #[must_use]
    pub fn has_forgotten(&self, volume: &Volume, epoch: Epoch) -> bool {
        let held = self.held();
        let mut forgotten =
            held.forgotten.iter().filter(|(state, since, _)| *state == volume.state && *since <= epoch);
        forgotten.any(|(.., before)| volume.until <= *before)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record of a facility in a volume, given to `take`; answers whether more is wanted.
    fn read(&self, open: &OpenVolume, facility: &str, take: &mut Take<'_>) -> Result<bool, Unread> {
        let volume = &open.volume;
        let Some(place) = open.block(&*self.store, facility)? else { return Ok(true) };
        let known = self.blocks.lock().unwrap_or_else(PoisonError::into_inner).get(volume, &place);
        let block = match known {
            Some(block) => block,
            None => {
                let block = Arc::new(volume::read(volume, &*self.store, &place)?);
                let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
                blocks.put(volume, &place, &block);
                block
            }
        };
        let (form, until) = (place.form, volume.until);
        Ok(volume::record(&block, facility)?.is_none_or(|record| take(Found { form, until, record })))
    }

    /// The same, asked again while the place does not answer.
    fn read_again(&self, open: &OpenVolume, facility: &str, take: &mut Take<'_>) -> Result<bool, Unread> {
        let mut pause = PAUSE;
        for _ in 1..ATTEMPTS {
            match self.read(open, facility, take) {
                Err(Unread::Unanswered(error)) if !self.control.finished() => {
                    tracing::warn!(%error, name = %open.volume.name(), "what is sealed cannot be read for now");
                    std::thread::sleep(pause);
                    pause *= 2;
                }
                read => return read,
            }
        }
        self.read(open, facility, take)
    }

    fn stop(&self, error: Error) {
        self.failed.store(true, Ordering::Release);
        self.control.fail(error);
    }
}

impl cold::ColdTier for ColdFiles {
    fn put(&self, batch: Batch) {
        self.held().pending.push(Arc::new(batch));
    }

    fn find(&self, state: &'static str, facility: &str, from: Millis, take: &mut Take<'_>) {
        if self.failed() {
            return;
        }
        let asked = Instant::now();
        let (pending, volumes) = {
            let held = self.held();
            let pending = held.pending.iter().filter(|batch| batch.state == state && batch.until > from);
            let volumes = held.volumes.iter();
            let volumes = volumes.filter(|open| open.volume.state == state && open.volume.until > from);
            (pending.cloned().collect::<Vec<_>>(), volumes.cloned().collect::<Vec<_>>())
        };
        let mut more = true;
        for batch in pending.iter().rev() {
            more = more && batch.found(facility).is_none_or(&mut *take);
        }
        for open in volumes.iter().rev() {
            if !more {
                break;
            }
            match self.read_again(open, facility, take) {
                Ok(wanted) => more = wanted,
                Err(unread) => {
                    let name = open.volume.name().to_string();
                    self.stop(Error::DamagedVolume { name, detail: unread.to_string() });
                    return;
                }
            }
        }
        telemetry::THAW_SECONDS.observe(asked.elapsed().as_secs_f64());
    }

    fn fail(&self, error: RestoreError) {
        self.stop(error.into());
    }

    fn forget(&self, state: &'static str, epoch: Epoch, before: Millis) {
        let mut held = self.held();
        held.volumes.retain(|open| open.volume.state != state || open.volume.until > before);
        // Every worker says so.
        if held.forgotten.last() != Some(&(state, epoch, before)) {
            held.forgotten.push((state, epoch, before));
        }
    }
}
