//! How far the sinks have come: for committed offsets, for metrics, and for a restart that repeats little.
//!
//! Guarantees: what is written down is never ahead of what the sinks have acknowledged, and what a process writes down
//! after another has taken over is not read: every generation has a file of its own, `stored-<generation>`.

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use schemas::Epoch;
use sinks::{
    disk::{self, numbered},
    failpoint,
    kafka::Position,
};

use crate::{
    Error,
    binding::{Binding, Range},
    place::Generation,
    telemetry,
};

/// How often the file is written.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// What the name of the file begins with; behind it stands the number of the generation.
const NAME: &str = "stored";

/// How far everything has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    /// The last epoch that was bound.
    pub bound: Epoch,
    /// The first epoch that some sink does not have.
    pub delivered: Epoch,
    /// The first epoch that the store does not have.
    pub stored: Epoch,
}

/// Progress of one pipeline.
#[derive(Debug)]
pub struct Progress {
    /// The file of this generation; a process of a cluster that does not lead has none.
    path: Option<PathBuf>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Bound and not delivered to every sink, with the time of binding.
    open: VecDeque<(Epoch, Instant, Vec<Position>)>,
    /// Up to where every sink has everything.
    positions: Vec<Position>,
    /// The last epoch that was bound.
    bound: Epoch,
    stored: Epoch,
    /// The first epochs that are not yet with every sink, and not yet in the store.
    frontiers: (Epoch, Epoch),
    written: Option<Instant>,
}

impl Progress {
    /// Reads what an earlier process left, and goes on in the file of this generation; a process of a cluster that does
    /// not lead has none.
    ///
    /// # Errors
    /// When a file is there and not readable, or the disk takes none.
    pub fn open(state: &Path, generation: Option<Generation>) -> Result<Progress, Error> {
        let failed = |error| Error::State { path: state.to_owned(), error };
        let before = numbered::files(state, NAME, "").map_err(failed)?;
        let stored = before.last().map_or(Ok(0), |(_, path)| read(path))?;
        let path = generation.map(|number| state.join(format!("{NAME}-{number:06}")));
        if let Some(path) = &path {
            replace(path, stored).map_err(failed)?;
            let mut others = before.iter().filter(|(_, other)| other != path);
            others.try_for_each(|(_, other)| fs::remove_file(other)).map_err(failed)?;
        }
        let inner = Inner {
            open: VecDeque::new(),
            positions: Vec::new(),
            bound: 0,
            stored,
            frontiers: (0, 0),
            written: None,
        };
        Ok(Progress { path, inner: Mutex::new(inner) })
    }

    /// The last epoch of which the store has every block.
    #[must_use]
    pub fn stored(&self) -> Epoch {
        self.lock().stored
    }

    /// Takes note of a binding.
    pub fn bound(&self, binding: &Binding) {
        let positions = |offset: fn(&Range) -> i64| -> Vec<Position> {
            let position = |range: &Range| Position {
                topic: range.topic,
                partition: range.partition,
                offset: offset(range),
            };
            binding.ranges.iter().map(position).collect()
        };
        let mut inner = self.lock();
        if inner.positions.is_empty() {
            // Nothing is delivered yet, but the first transaction needs offsets that carry its epoch.
            inner.positions = positions(|range| range.from);
        }
        let positions = positions(|range| range.upto);
        inner.open.push_back((binding.epoch, Instant::now(), positions));
        inner.bound = binding.epoch;
        telemetry::EPOCH_BOUND.set(binding.epoch as i64);
    }

    /// Offsets behind which every sink has everything.
    #[must_use]
    pub fn positions(&self) -> Vec<Position> {
        self.lock().positions.clone()
    }

    /// How far everything has come, for the watchdog.
    #[must_use]
    pub fn stand(&self) -> Stand {
        let inner = self.lock();
        let (delivered, stored) = inner.frontiers;
        Stand { bound: inner.bound, delivered, stored }
    }

    /// For how long the oldest epoch that some sink does not have has been waiting.
    #[must_use]
    pub fn waiting(&self) -> Duration {
        self.lock().open.front().map_or(Duration::ZERO, |(_, bound, _)| bound.elapsed())
    }

    /// Takes note of frontiers: the first epochs that are not yet with every sink, and not yet in the store.
    pub fn advance(&self, delivered: Epoch, stored: Epoch) {
        let mut inner = self.lock();
        inner.frontiers = (delivered, stored);
        while inner.open.front().is_some_and(|(epoch, ..)| *epoch < delivered) {
            let Some((epoch, bound, positions)) = inner.open.pop_front() else { break };
            telemetry::EPOCH_DELIVERED.set(epoch as i64);
            telemetry::EPOCH_SECONDS.observe(bound.elapsed().as_secs_f64());
            inner.positions = positions;
        }
        let age = inner.open.front().map_or(0.0, |(_, bound, _)| bound.elapsed().as_secs_f64());
        telemetry::FRONTIER_AGE.set(age);
        // At the end the frontiers are past everything.
        let complete = stored.saturating_sub(1).min(inner.bound);
        let due = inner.written.is_none_or(|at| at.elapsed() >= WRITE_EVERY) || stored == Epoch::MAX;
        if complete > inner.stored && due {
            inner.stored = complete;
            inner.written = Some(Instant::now());
            self.write(complete);
        }
    }

    fn write(&self, epoch: Epoch) {
        let Some(path) = &self.path else { return };
        failpoint::reached("progress.before");
        if let Err(error) = replace(path, epoch) {
            tracing::warn!(%error, path = %path.display(), "progress is not written: a restart repeats more");
        }
        failpoint::reached("progress.after");
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> Result<Epoch, Error> {
    let failed = |error| Error::State { path: path.to_owned(), error };
    let text = match fs::read_to_string(path) {
        // Whoever leads the cluster has replaced it since it was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.map_err(failed)?,
    };
    if text.is_empty() {
        // A loss of power leaves it so too: blocks are then offered again, which changes nothing.
        return Ok(0);
    }
    let advice = "is not an epoch: remove the file, and blocks are offered again";
    text.trim().parse().map_err(|_| failed(io::Error::other(advice)))
}

fn replace(path: &Path, epoch: Epoch) -> io::Result<()> {
    // The first worker does it, once a second: it does not wait for the disk.
    disk::replace_unsynced(path, epoch.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use schemas::Topic;

    use super::*;

    fn binding(epoch: Epoch, from: i64, upto: i64) -> Binding {
        let range = Range { topic: Topic::Reports, partition: 0, from, upto, caught_up: true };
        Binding { epoch, wall: 0, ranges: vec![range], conditions: Vec::new() }
    }

    #[test]
    fn positions_follow_what_every_sink_has_and_are_there_from_the_first_epoch() {
        let state = tempfile::tempdir().unwrap();
        let progress = Progress::open(state.path(), Some(1)).unwrap();
        let offset = || progress.positions()[0].offset;
        progress.bound(&binding(1, 5, 9));
        assert_eq!(offset(), 5);
        progress.bound(&binding(2, 9, 12));
        progress.advance(2, 1);
        assert_eq!((offset(), progress.stored()), (9, 0));
        progress.advance(Epoch::MAX, Epoch::MAX);
        assert_eq!((offset(), progress.stored()), (12, 2), "the end is the last epoch, not beyond it");
        assert_eq!(Progress::open(state.path(), Some(2)).unwrap().stored(), 2);
    }

    #[test]
    fn a_member_may_begin_before_its_leader() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(Progress::open(&state.path().join("none"), None).unwrap().stored(), 0);
    }

    #[test]
    fn what_a_replaced_process_writes_is_not_read() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join("stored-000006"), "5").unwrap();
        let zombie = Progress::open(state.path(), Some(7)).unwrap();
        assert_eq!(zombie.stored(), 5);
        let follower = Progress::open(state.path(), None).unwrap();
        let progress = Progress::open(state.path(), Some(8)).unwrap();
        zombie.bound(&binding(9, 0, 1));
        zombie.advance(10, 10);
        follower.bound(&binding(9, 0, 1));
        follower.advance(10, 10);
        assert_eq!((zombie.stored(), progress.stored()), (9, 5));
        assert_eq!(Progress::open(state.path(), Some(9)).unwrap().stored(), 5);
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 1);
    }
}
