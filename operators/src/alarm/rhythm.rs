//! The rhythm in which an object uploads: how long it may be silent before that is a loss.
//!
//! Enters: what the registry says of the object, and its pauses: the times between arrivals that do not follow one
//! another at its interval. Leaves: the limit of its silence. Guarantees: the limit follows from the last pauses alone.
//!
//! Data that is measured every minute and uploaded every half hour is no loss of contact between two uploads. A pause
//! that comes again is a rhythm: the limit is 2.5 times the second longest of the last six pauses, as one upload may be
//! missed and the longest may have been a loss. One pause alone is none, and an object that then reports live for as
//! long as it may be silent has no rhythm of uploads any more, so that an outage teaches nothing.

use schemas::{
    Millis,
    registry::attribute,
    time::{DAY, MINUTE, SECOND},
};
use serde::{Deserialize, Serialize};

use crate::Profile;

/// Pauses that are remembered.
const PAUSES: usize = 6;
/// What is learnt goes no further than this: a daily upload may be missed once.
const LONGEST: Millis = 2 * DAY;

/// What the registry says of an object's silence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    /// How long the object may be silent, whatever its rhythm, ms.
    pub least: Millis,
    /// Arrivals further apart than this have a pause between them, ms; at most `least`.
    pub pause: Millis,
    /// Whether the rhythm of its uploads is learnt.
    pub learns: bool,
}

impl Patience {
    /// Attribute `offline_after` in s, else five intervals but at least 10 min. With `uploads_every` in s at least 2.5
    /// times that, and nothing is learnt.
    #[must_use]
    pub fn of(profile: &Profile, device: &str) -> Patience {
        let registered = |name| {
            let seconds = profile.number(device, name).filter(|seconds| *seconds > 0.0);
            seconds.map(|seconds| (seconds * SECOND as f64) as Millis)
        };
        let interval = profile.interval(device);
        let offline = registered(attribute::OFFLINE_AFTER);
        let least = offline.unwrap_or_else(|| interval.saturating_mul(5).max(10 * MINUTE));
        if let Some(uploads) = registered(attribute::UPLOADS_EVERY) {
            let least = least.max(one_may_be_missed(uploads));
            return Patience { least, pause: least, learns: false };
        }
        let pause = if offline.is_some() { least } else { one_may_be_missed(interval).min(least) };
        Patience { least, pause, learns: true }
    }
}

fn one_may_be_missed(every: Millis) -> Millis {
    every.saturating_mul(5) / 2
}

/// The last pauses of an object, as long as it does not report live.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rhythm {
    /// By time.
    pauses: Vec<Millis>,
}

impl Rhythm {
    /// Takes arrivals without a pause that lasted so long.
    pub fn report(&mut self, lasted: Millis, patience: &Patience) {
        if lasted >= patience.least {
            self.pauses.clear();
        }
    }

    /// Takes the pause after them.
    pub fn pause(&mut self, lasted: Millis) {
        if self.pauses.len() == PAUSES {
            self.pauses.remove(0);
        }
        self.pauses.push(lasted);
    }

    /// How long the object may be silent now.
    #[must_use]
    pub fn limit(&self, patience: &Patience) -> Millis {
        let mut pauses = self.pauses.clone();
        pauses.sort_unstable();
        let second = pauses.len().checked_sub(2).filter(|_| patience.learns).map(|place| pauses[place]);
        second.map_or(0, |pause| one_may_be_missed(pause).min(LONGEST)).max(patience.least)
    }
}

#[cfg(test)]
mod tests {
    use schemas::time::HOUR;

    use super::*;

    const PATIENCE: Patience = Patience { least: 10 * MINUTE, pause: 3 * MINUTE, learns: true };

    #[rstest::rstest]
    #[case::nothing(&[], 10)]
    #[case::once(&[480], 10)]
    #[case::twice(&[30, 30], 75)]
    #[case::short(&[3, 4], 10)]
    #[case::one_loss(&[30, 30, 480, 30], 75)]
    #[case::the_last_six(&[480, 480, 30, 30, 30, 30, 30, 30], 75)]
    #[case::daily(&[1440, 1440], 2880)]
    fn limits(#[case] minutes: &[i64], #[case] want: i64) {
        let mut rhythm = Rhythm::default();
        minutes.iter().for_each(|minutes| rhythm.pause(minutes * MINUTE));
        assert_eq!(rhythm.limit(&PATIENCE), want * MINUTE);
        assert_eq!(rhythm.limit(&Patience { learns: false, ..PATIENCE }), PATIENCE.least);
        rhythm.report(9 * MINUTE, &PATIENCE);
        assert_eq!(rhythm.limit(&PATIENCE), want * MINUTE);
        rhythm.report(10 * MINUTE, &PATIENCE);
        rhythm.pause(HOUR);
        assert_eq!(rhythm.limit(&PATIENCE), PATIENCE.least);
    }
}
