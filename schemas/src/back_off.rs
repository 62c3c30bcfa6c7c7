//! How long to wait before something is tried again.

use std::time::Duration;

/// Doubled with each attempt, up to a cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub cap: Duration,
}

impl Default for BackOff {
    fn default() -> Self {
        BackOff { first: Duration::from_millis(100), cap: Duration::from_secs(10) }
    }
}

impl BackOff {
    /// The wait after the given failed attempt, counted from 1.
    #[must_use]
    pub fn wait(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(20);
        self.first.saturating_mul(1 << doublings).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_longer_each_time_up_to_the_cap() {
        let back_off = BackOff { first: Duration::from_millis(250), cap: Duration::from_secs(30) };
        let waits = (0..=9).map(|attempt| back_off.wait(attempt).as_millis()).collect::<Vec<_>>();
        assert_eq!(waits, [250, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        assert_eq!(back_off.wait(u32::MAX), back_off.cap);
    }
}
