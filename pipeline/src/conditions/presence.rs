//! How much time has passed for this process.

use std::time::Duration;

/// A look that comes later than this after the one before says that the process was not running in between.
const STRIDE: Duration = Duration::from_secs(2);

/// The time that conditions are judged by: it runs only while the process does. Whoever was stopped (SIGSTOP, a machine
/// that was suspended) has heard nothing meanwhile, which says nothing about the brokers. Pure: time is an argument.
#[derive(Debug)]
pub(super) struct Presence {
    /// Between two looks at most so much is counted.
    stride: Duration,
    clock: Duration,
    answered: Duration,
}

impl Presence {
    /// A process that has just begun and looks about once in `beat`.
    pub(super) fn new(beat: Duration) -> Presence {
        Presence { stride: STRIDE + beat, clock: Duration::ZERO, answered: Duration::ZERO }
    }

    /// Takes a look so long `after` the one before, when the last answer of the brokers has this `age`. Gives the time
    /// since the start, and for how much of it the brokers have been silent.
    pub(super) fn look(&mut self, after: Duration, age: Duration) -> (Duration, Duration) {
        let counted = after.min(self.stride);
        self.clock += counted;
        if age < after {
            self.answered = self.clock.saturating_sub(age.min(counted));
        }
        (self.clock, self.clock.saturating_sub(self.answered))
    }
}
