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
use timely::scheduling::Activator;

use crate::{
    Error,
    checkpoint::{Checkpoints, Due, Restored, Saver},
    telemetry,
};

/// How long a slice takes at least, and at most.
const SLICE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(20));
/// A worker that is busy comes by seldom: then a slice may take one part in so many of the time since the last; a
/// greater part when another checkpoint has been due meanwhile. Three states of a city are saved at a time, and each
/// rests while the others are: with a part of a half they would leave nothing to the flow.
const SHARE: [u32; 2] = [8, 4];
/// How often slices are doubled at most, for a state that cannot be saved from one complete checkpoint to the next: no
/// slice takes 50 ms.
const DOUBLINGS: u32 = 1;
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
    fn attach<D: Durable>(&self, state: &mut D, (worker, workers): (usize, usize)) -> Result<Saving, Error> {
        if let Some(restored) = &self.restored {
            let held = (0..SHARDS).filter(|shard| holder(*shard, workers) == worker);
            for shard in held.chain([GLOBAL]) {
                for (form, section) in restored.sections(D::STATE, shard)? {
                    state.restore(shard, form, &section)?;
                }
            }
        }
        let saver = self.checkpoints.saver(D::STATE, D::FORM, worker);
        Ok(Saving {
            checkpoints: self.checkpoints.clone(),
            saver,
            global: worker == 0,
            under_way: None,
            behind: 0,
            rested: Instant::now(),
        })
    }
}

/// A state inside its operator: applied epoch by epoch, and saved behind the flow.
pub struct DurableState<S> {
    state: S,
    /// `None` where another worker speaks for all.
    saving: Option<Saving>,
    start: Epoch,
    activator: Option<Activator>,
}

impl Recovery {
    /// A state with what a worker of so many holds of it.
    ///
    /// # Errors
    /// When what was saved cannot be read.
    pub fn restore<S: Durable>(
        &self,
        mut state: S,
        worker: (usize, usize),
    ) -> Result<DurableState<S>, Error> {
        let saving = Some(self.attach(&mut state, worker)?);
        Ok(DurableState { state, saving, start: self.epoch(), activator: None })
    }

    /// A state that the first worker has for all: the others are given it as it is.
    ///
    /// # Errors
    /// When what was saved cannot be read.
    pub fn restore_on_first<S: Durable>(
        &self,
        state: S,
        (worker, workers): (usize, usize),
    ) -> Result<DurableState<S>, Error> {
        match worker {
            0 => self.restore(state, (0, workers)),
            _ => Ok(DurableState { state, saving: None, start: self.epoch(), activator: None }),
        }
    }
}

impl<S> DurableState<S> {
    /// The same, whose operator is run again by this activator as long as something is to be saved.
    #[must_use]
    pub fn woken_by(self, activator: Activator) -> DurableState<S> {
        DurableState { activator: Some(activator), ..self }
    }

    /// Whether it is saved here.
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.saving.is_some()
    }

    /// The state as it is.
    pub fn state(&mut self) -> &mut S {
        &mut self.state
    }
}

impl<S: Durable> DurableState<S> {
    /// Applies an epoch. Those that the restored state has seen change nothing that is to be saved.
    pub fn apply<R>(&mut self, epoch: Epoch, step: impl FnOnce(&mut S) -> R) -> R {
        let result = step(&mut self.state);
        if let Some(saving) = self.saving.as_mut().filter(|_| epoch > self.start) {
            saving.applied(&mut self.state, epoch);
        }
        result
    }

    /// Saves a slice. To be called whenever the operator runs.
    pub fn proceed(&mut self) {
        if self.saving.as_mut().is_some_and(|saving| saving.proceed(&mut self.state))
            && let Some(activator) = &self.activator
        {
            activator.activate();
        }
    }
}

/// Saves the state of one operator of one worker.
struct Saving {
    checkpoints: Checkpoints,
    saver: Saver,
    /// Whether it speaks for what all workers know alike.
    global: bool,
    under_way: Option<Epoch>,
    /// 0 as long as no other checkpoint has been due since the one under way began; then 1, and one more for each that
    /// was taken by all.
    behind: u32,
    /// When the last slice ended.
    rested: Instant,
}

impl Saving {
    /// The epoch has been applied: begins a checkpoint when one is due. While one is under way it is left out, and
    /// what changed is saved with the next; one that is taken by all takes over what is still to be saved.
    fn applied<D: Durable>(&mut self, state: &mut D, epoch: Epoch) {
        let Some(due) = self.checkpoints.due(epoch) else { return };
        if self.under_way.is_some() {
            self.behind = self.behind.max(1);
            match due {
                Due::Unless => return,
                Due::ByAll => self.behind = (self.behind + 1).min(2 + DOUBLINGS),
            }
        }
        let started = Stopwatch::start();
        state.begin();
        self.rested(started);
        self.under_way = Some(epoch);
    }

    /// Saves a slice; answers whether there is more, and the operator is to run again soon.
    fn proceed<D: Durable>(&mut self, state: &mut D) -> bool {
        let Some(epoch) = self.under_way else { return false };
        let started = Stopwatch::start();
        let slice = length(started.at.duration_since(self.rested), self.behind);
        while started.at.elapsed() < slice {
            if self.slice(state, epoch) {
                self.saver.done(epoch);
                (self.under_way, self.behind) = (None, 0);
                break;
            }
        }
        self.rested(started);
        self.under_way.is_some()
    }

    fn slice<D: Durable>(&mut self, state: &mut D, epoch: Epoch) -> bool {
        let mut saved = Saved::default();
        let all = state.save(ENTRIES, &mut saved);
        if !self.global {
            saved.remove(GLOBAL);
        }
        self.saver.add(epoch, saved);
        all
    }

    fn rested(&mut self, started: Stopwatch) {
        self.rested = Instant::now();
        telemetry::CHECKPOINT_PAUSE.observe(self.rested.duration_since(started.at).as_secs_f64());
        telemetry::CHECKPOINT_WORK.observe((thread_time() - started.worked).as_secs_f64());
    }
}

/// When something began, by the clock and by the CPU time of the thread: a thread that waits for a core works less than
/// it takes.
#[derive(Clone, Copy)]
struct Stopwatch {
    at: Instant,
    worked: Duration,
}

impl Stopwatch {
    fn start() -> Stopwatch {
        Stopwatch { at: Instant::now(), worked: thread_time() }
    }
}

fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// How long a slice takes that begins so long after the last. Those of a state that stays behind are longer.
fn length(rested: Duration, behind: u32) -> Duration {
    let share = SHARE[usize::from(behind > 0)];
    (rested / share).clamp(SLICE.0, SLICE.1) * 2_u32.pow(behind.saturating_sub(2))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path, sync::Arc};

    use operators::durable::{Keyed, RestoreError, shard};

    use super::*;
    use crate::{
        binding,
        checkpoint::{Identity, Opened, Settings, Start},
        control::Control,
    };

    struct Counts(Keyed<String, u32>);

    impl Durable for Counts {
        const STATE: &'static str = "counts";
        const FORM: u16 = 1;

        fn begin(&mut self) {
            self.0.begin();
        }

        fn save(&mut self, entries: usize, out: &mut Saved) -> bool {
            self.0.save(entries, out)
        }

        fn restore(&mut self, _shard: u16, _form: u16, section: &[u8]) -> Result<(), RestoreError> {
            self.0.restore(Self::STATE, section)
        }
    }

    fn open(state: &Path) -> Opened {
        let identity =
            Identity { pipeline: "city".into(), prefix: "heating".into(), states: &[Counts::STATE] };
        let settings = Settings { every_epochs: 1, ..Settings::default() };
        Checkpoints::open(&settings, identity, state, Start::default(), &Arc::new(Control::default()))
            .unwrap()
    }

    fn counts() -> Counts {
        Counts(Keyed::new(|key| shard(key)))
    }

    #[test]
    fn slices_are_a_share_of_the_time_and_grow_for_a_state_that_stays_behind() {
        let cases = [
            (0, 0, 2_000),
            (50, 0, 6_250),
            (400, 0, 20_000),
            (0, 1, 2_000),
            (50, 1, 12_500),
            (400, 2, 20_000),
            (0, 3, 4_000),
            (400, 2 + DOUBLINGS, 40_000),
        ];
        for (rested, behind, slice) in cases {
            let length = length(Duration::from_millis(rested), behind);
            assert_eq!(length.as_micros(), slice, "{rested} ms, {behind}");
        }
    }

    #[test]
    fn a_slow_state_leaves_checkpoints_out_and_nothing_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let Opened { checkpoints, mut log, .. } = open(directory.path());
        let recovery = Recovery { checkpoints: checkpoints.clone(), restored: None };
        let mut states = [counts(), counts()];
        let mut savings = [0, 1].map(|worker| recovery.attach(&mut states[worker], (worker, 2)).unwrap());
        let (mut model, mut models) = (BTreeMap::new(), Vec::new());
        let (mut begun, mut behind) = (Vec::new(), Vec::new());
        for epoch in 1..=9 {
            let binding =
                binding::Binding { epoch, ..binding::next(None, &[], epoch as i64, 10, Vec::new()) };
            log.append(&binding).unwrap();
            checkpoints.bound(&binding);
            for number in 0..400 {
                let key = format!("ST-{number}");
                if number % 7 != epoch as u32 % 7 {
                    states[holder(shard(&key), 2)].0.insert(key.clone(), epoch as u32 * 1000 + number);
                    model.insert(key, epoch as u32 * 1000 + number);
                }
            }
            models.push(model.clone());
            for (saving, state) in savings.iter_mut().zip(&mut states) {
                saving.applied(state, epoch);
            }
            while savings[0].proceed(&mut states[0]) {}
            begun.push(savings[1].under_way);
            behind.push(savings[1].behind);
            // The second worker gets round to it only now and then.
            match epoch {
                2 | 6 => assert!(!savings[1].slice(&mut states[1], savings[1].under_way.unwrap())),
                5 | 9 => while savings[1].proceed(&mut states[1]) {},
                _ => {}
            }
        }
        // Those of epochs 3 and 7 are taken by all.
        assert_eq!(begun, [1, 1, 3, 3, 3, 6, 7, 7, 7].map(Some));
        assert_eq!(behind, [0, 1, 2, 2, 2, 0, 2, 2, 2]);
        checkpoints.delivered(10);
        checkpoints.finish();
        drop(log);

        let restored = open(directory.path()).restored.unwrap();
        assert_eq!(restored.epoch, 7);
        let mut back = counts();
        for shard in 0..SHARDS {
            for (form, section) in restored.sections(Counts::STATE, shard).unwrap() {
                back.restore(shard, form, &section).unwrap();
            }
        }
        assert_eq!(back.0.all_restored(), models[6]);
    }
}
