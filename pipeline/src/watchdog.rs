//! The watchdog: ends a process whose frontier is stuck, so that the supervisor starts it again.
//!
//! Enters: how far binding and delivery have come, whether something is known to hold them, and when each worker was last
//! seen. Leaves: a dump of where everything stands, and an abort. Guarantees: nobody is aborted while a sink is paused, the
//! brokers are away, the process is stopping, or was itself not running (SIGSTOP, a suspended machine).

use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use schemas::Epoch;

use crate::{
    control::Control,
    kafka::Watermarks,
    progress::{Progress, Stand},
    sink_tasks::SinkTasks,
};

/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);

/// Decides whether the frontier is stuck. Pure: time is an argument.
#[derive(Clone, Debug)]
pub struct Judge {
    limit: Duration,
    last: Option<Stand>,
    still: Duration,
}

impl Judge {
    /// A judge with a limit to standing still.
    #[must_use]
    pub fn new(limit: Duration) -> Judge {
        Judge { limit, last: None, still: Duration::ZERO }
    }

    /// Takes a look, so long after the one before; true when nothing has moved for the limit and nothing `held` it.
    ///
    /// New epochs are bound all the time, also when nothing comes in, so standing still is never a lack of work. A look
    /// that comes much later than it was meant to says that the process was not running: that time does not count.
    pub fn is_stuck(&mut self, after: Duration, stand: Stand, held: bool) -> bool {
        if held || self.last != Some(stand) {
            self.last = Some(stand);
            self.still = Duration::ZERO;
            return false;
        }
        self.still += after.min(2 * LOOK);
        self.still >= self.limit
    }
}

/// When each worker last did something.
#[derive(Debug)]
pub struct Workers {
    started: Instant,
    seen: Vec<(AtomicU64, AtomicU64)>,
}

impl Workers {
    /// So many workers that have not begun.
    #[must_use]
    pub fn new(count: usize) -> Workers {
        Workers { started: Instant::now(), seen: (0..count).map(|_| Default::default()).collect() }
    }

    /// Notes a step of a worker.
    pub fn step(&self, worker: usize) {
        let Some((at, steps)) = self.seen.get(worker) else { return };
        at.store(self.now(), Ordering::Relaxed);
        steps.fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Everything the watchdog looks at.
pub struct Watched {
    /// Epochs.
    pub progress: Arc<Progress>,
    /// Workers.
    pub workers: Arc<Workers>,
    /// Sinks.
    pub sink_tasks: SinkTasks,
    /// Input.
    pub watermarks: Watermarks,
    /// Stop signals.
    pub control: Arc<Control>,
    /// For how long the brokers may be silent before they count as away.
    pub source_silence: Duration,
}

/// Starts the watchdog; a limit of zero starts none.
///
/// # Errors
/// When the thread cannot be started.
pub fn start(limit: Duration, watched: Watched) -> std::io::Result<()> {
    if limit.is_zero() {
        return Ok(());
    }
    thread::Builder::new().name("watchdog".to_owned()).spawn(move || watched.watch(Judge::new(limit)))?;
    Ok(())
}

impl Watched {
    fn watch(&self, mut judge: Judge) {
        let mut looked = Instant::now();
        while !self.control.finished() {
            thread::sleep(LOOK);
            let after = std::mem::replace(&mut looked, Instant::now()).elapsed();
            if judge.is_stuck(after, self.progress.stand(), self.held()) {
                tracing::error!(
                    "the frontier has not moved for {:?}: aborting\n{}",
                    judge.still,
                    self.dump()
                );
                std::process::abort();
            }
        }
    }

    /// Whether something is known to hold the frontier, which a restart would not help.
    fn held(&self) -> bool {
        self.control.draining()
            || self.watermarks.seen().age >= self.source_silence
            || self.sink_tasks.conditions().iter().any(|(_, wrong)| wrong.is_some())
    }

    /// Where everything stands.
    fn dump(&self) -> String {
        let Stand { bound, delivered, stored } = self.progress.stand();
        let mut text = format!(
            "bound up to epoch {bound}; first epoch not delivered {}; first epoch not stored {}\n",
            first_open(delivered),
            first_open(stored)
        );
        let now = self.workers.now();
        for (worker, (at, steps)) in self.workers.seen.iter().enumerate() {
            let ago = now.saturating_sub(at.load(Ordering::Relaxed));
            let steps = steps.load(Ordering::Relaxed);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "worker {worker}: {steps} steps, the last {ago} ms ago");
        }
        for (sink, wrong) in self.sink_tasks.conditions() {
            let state = wrong.as_deref().unwrap_or("accepts data");
            let _ = writeln!(text, "sink {sink}: {state}");
        }
        let seen = self.watermarks.seen();
        let _ = writeln!(text, "ends of the topics, {} ms old:", seen.age.as_millis());
        for mark in seen.marks {
            let _ = writeln!(text, "{}/{}: {} to {}", mark.topic.name(), mark.partition, mark.low, mark.high);
        }
        text
    }
}

/// An epoch of a frontier, or that it is past everything.
fn first_open(epoch: Epoch) -> String {
    if epoch == Epoch::MAX { "none".to_owned() } else { epoch.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stand(bound: Epoch, delivered: Epoch) -> Stand {
        Stand { bound, delivered, stored: delivered }
    }

    /// The second at which a script of (stand, held), one look a second, is found stuck with a limit of 10 s.
    fn stuck_at(script: impl IntoIterator<Item = (Stand, bool)>) -> Option<usize> {
        let mut judge = Judge::new(Duration::from_secs(10));
        script.into_iter().position(|(stand, held)| judge.is_stuck(LOOK, stand, held))
    }

    #[test]
    fn only_standing_still_without_a_reason_is_stuck() {
        let still = (stand(9, 4), false);
        assert_eq!(stuck_at([still; 60]), Some(10));
        assert_eq!(stuck_at((0..60).map(|n| (stand(9 + n / 9, 4), false))), None, "epochs are bound");
        assert_eq!(stuck_at((0..60).map(|n| (stand(9, 4 + n / 9), false))), None, "epochs are delivered");
        assert_eq!(stuck_at([(stand(9, 4), true); 60]), None, "a sink is paused");
        let after_a_pause = [(stand(9, 4), true); 30].into_iter().chain([still; 30]);
        assert_eq!(stuck_at(after_a_pause), Some(39), "the pause does not count");
    }

    #[test]
    fn time_in_which_the_process_did_not_run_does_not_count() {
        let mut judge = Judge::new(Duration::from_secs(10));
        assert!(!judge.is_stuck(LOOK, stand(9, 4), false));
        assert!(
            !judge.is_stuck(Duration::from_secs(600), stand(9, 4), false),
            "it was stopped for ten minutes"
        );
        assert!((0..8).any(|_| judge.is_stuck(LOOK, stand(9, 4), false)), "then it did not go on");
    }
}
