//! How many readings came after their windows had closed, by enterprise: told to the conditions from the dataflow.
//!
//! Enters: counts of epochs. Leaves: how many came since it began, until none has come for [`QUIET`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use schemas::Code;

/// After so long without any more it is over.
const QUIET: Duration = Duration::from_secs(3600);

/// The counts; clones share them.
#[derive(Clone, Debug, Default)]
pub struct LateReadings(Arc<Mutex<BTreeMap<Code, Late>>>);

#[derive(Clone, Copy, Debug)]
struct Late {
    readings: u64,
    last: Instant,
}

impl LateReadings {
    /// Counts readings of an enterprise.
    pub fn add(&self, enterprise: &Code, readings: u64, now: Instant) {
        let mut counts = self.lock();
        let late = counts.entry(enterprise.clone()).or_insert(Late { readings: 0, last: now });
        if now.duration_since(late.last) >= QUIET {
            late.readings = 0;
        }
        *late = Late { readings: late.readings + readings, last: now };
    }

    /// How many came of each enterprise that ever sent some; 0 of those that have been quiet.
    #[must_use]
    pub fn now(&self, now: Instant) -> Vec<(String, u64)> {
        let readings = |late: &Late| if now.duration_since(late.last) < QUIET { late.readings } else { 0 };
        self.lock().iter().map(|(enterprise, late)| (enterprise.to_string(), readings(late))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Code, Late>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_grow_until_it_has_been_quiet() {
        let (late, start) = (LateReadings::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let of = |seconds| late.now(at(seconds)).first().map(|(_, readings)| *readings);
        assert_eq!(of(0), None);
        late.add(&"EN-1".into(), 3, at(0));
        late.add(&"EN-1".into(), 4, at(3000));
        assert_eq!([of(3000), of(6599), of(6600)], [Some(7), Some(7), Some(0)]);
        late.add(&"EN-1".into(), 1, at(7000));
        assert_eq!(of(7000), Some(1));
    }
}
