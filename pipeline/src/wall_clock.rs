//! The wall time that bindings record: our clock, as long as it can be trusted.
//!
//! Enters: the system's clock, which may be set forward or back at any time, a clock that only runs, and the brokers'
//! append times of records that were read as they came. Leaves: the time for the next binding. Guarantees: it never runs
//! back; a jump of the system's clock is not followed until the brokers' time confirms it, so that a clock set hours
//! forward closes no window and declares nobody silent, and one set back stops nothing. Pure: every time is an argument.
//!
//! When no record comes that could confirm a jump, time goes on at its own rate from where it was before.

use schemas::{Epoch, Millis};
use std::collections::VecDeque;

/// Epochs whose time of binding is remembered.
const REMEMBERED: usize = 512;
/// Two bindings further apart than this say too little about when a record between them was appended.
const CLOSE: Millis = 5_000;
/// For so long after a restart time stands where the bindings left it, unless a fresh record says how late it is.
const SETTLE: Millis = 3_000;

/// What is known about the time. All differences are against the clock that only runs.
#[derive(Debug)]
pub struct WallClock {
    tolerance: Millis,
    /// The difference that is believed.
    trusted: Option<Millis>,
    /// The brokers' difference, once it is known.
    brokers: Option<Millis>,
    /// The latest difference of the system's clock.
    system: Millis,
    last: Millis,
    /// Set after a restart until the time is confirmed, with when the input was first read to its end.
    settling: Option<Option<Millis>>,
    /// When epochs were bound whose records were fresh.
    fresh: VecDeque<(Epoch, Millis)>,
    /// When the last epoch was bound, and whether it read the input to its end.
    bound: Option<(Millis, bool)>,
}

impl WallClock {
    /// A clock that allows so much difference, going on from the wall time of a recorded binding, where there is one.
    #[must_use]
    pub fn new(tolerance: Millis, recorded: Option<Millis>) -> WallClock {
        WallClock {
            tolerance,
            trusted: None,
            brokers: None,
            system: 0,
            last: recorded.unwrap_or(Millis::MIN),
            settling: recorded.map(|_| None),
            fresh: VecDeque::new(),
            bound: None,
        }
    }

    /// The time for a binding, from the running clock and the system's.
    pub fn now(&mut self, running: Millis, system: Millis) -> Millis {
        self.system = system - running;
        let trusted = *self.trusted.get_or_insert(self.system);
        if (self.system - trusted).abs() <= self.tolerance && self.agrees(self.system) {
            self.trusted = Some(self.system);
        }
        if let Some(since) = self.settling {
            match since {
                Some(since) if running - since >= SETTLE => self.settling = None,
                _ => return self.last,
            }
        }
        self.last = self.last.max(running + self.trusted.unwrap_or(self.system));
        self.last
    }

    /// Takes note of a binding: when, and whether it reads the input to its end.
    pub fn bound(&mut self, epoch: Epoch, running: Millis, caught_up: bool) {
        if let Some((before, true)) = self.bound
            && caught_up
            && running - before <= CLOSE
        {
            self.fresh.push_back((epoch, running));
            if self.fresh.len() > REMEMBERED {
                self.fresh.pop_front();
            }
        }
        if caught_up && let Some(since @ None) = &mut self.settling {
            *since = Some(running);
        }
        self.bound = Some((running, caught_up));
    }

    /// Takes the append time of a record of an epoch. It counts when the record came between this epoch's binding and the
    /// one before.
    pub fn appended(&mut self, epoch: Epoch, at: Millis) {
        let Some((_, running)) = self.fresh.iter().find(|(fresh, _)| *fresh == epoch) else { return };
        let brokers = at - running;
        self.brokers = Some(brokers);
        self.settling = None;
        self.trusted = Some(if self.agrees(self.system) { self.system } else { brokers });
    }

    fn agrees(&self, difference: Millis) -> bool {
        self.brokers.is_none_or(|brokers| (difference - brokers).abs() <= self.tolerance)
    }

    /// What is wrong with the system's clock.
    #[must_use]
    pub fn skew(&self) -> Option<String> {
        let (against, reference) = match (self.brokers, self.trusted) {
            (Some(brokers), _) => ("the brokers' clock", brokers),
            (None, Some(trusted)) => ("what it was before", trusted),
            (None, None) => return None,
        };
        let difference = self.system - reference;
        (difference.abs() > self.tolerance).then(|| {
            let way = if difference > 0 { "ahead of" } else { "behind" };
            format!("our clock is {} s {way} {against}", difference.abs() / 1_000)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Millis = 1_700_000_000_000;
    const HOUR: Millis = 3_600_000;
    const TOLERANCE: Millis = 60_000;

    /// A clock that has run for a second of quarter-second epochs; gives the next epoch and running time.
    fn running(data: bool) -> (WallClock, Epoch, Millis) {
        let mut clock = WallClock::new(TOLERANCE, None);
        for epoch in 1..=4 {
            step(&mut clock, epoch, 0, data.then_some(0));
        }
        (clock, 5, 5 * 250)
    }

    /// One epoch, with the system's clock off by so much, and perhaps a record stamped by brokers off by so much.
    fn step(clock: &mut WallClock, epoch: Epoch, system: Millis, brokers: Option<Millis>) -> Millis {
        let running = epoch as Millis * 250;
        let wall = clock.now(running, START + running + system);
        clock.bound(epoch, running, true);
        if let Some(off) = brokers {
            clock.appended(epoch, START + running - 100 + off);
        }
        wall - START
    }

    #[rstest::rstest]
    #[case::forward_with_data(true, 5 * HOUR, true)]
    #[case::forward_in_silence(false, 5 * HOUR, true)]
    #[case::back_with_data(true, -5 * HOUR, true)]
    #[case::back_in_silence(false, -5 * HOUR, true)]
    #[case::slewed(true, 20_000, false)]
    fn a_jump_is_not_followed(#[case] data: bool, #[case] jump: Millis, #[case] skewed: bool) {
        let (mut clock, epoch, at) = running(data);
        assert_eq!(clock.skew(), None);
        let first = step(&mut clock, epoch, jump, data.then_some(0));
        let later = (epoch + 1..epoch + 40).map(|e| step(&mut clock, e, jump, data.then_some(0))).last();
        let followed = if skewed { 0 } else { jump };
        // The brokers' stamps are a little older than the bindings.
        assert!((first - at - followed).abs() <= 100, "{first}");
        assert!((later.unwrap() - (at + 39 * 250) - followed).abs() <= 100, "{later:?}");
        assert_eq!(clock.skew().is_some(), skewed);
    }

    #[test]
    fn a_jump_that_the_brokers_confirm_is_followed() {
        // The clock was an hour behind and is set right.
        let mut clock = WallClock::new(TOLERANCE, None);
        assert_eq!(step(&mut clock, 1, -HOUR, None), 250 - HOUR);
        assert_eq!(step(&mut clock, 2, 0, Some(0)), 500 - HOUR);
        assert_eq!(step(&mut clock, 3, 0, Some(0)), 750);
        assert_eq!(clock.skew(), None);
    }

    #[test]
    fn a_clock_that_is_wrong_from_the_start_gives_way_to_the_brokers() {
        let mut clock = WallClock::new(TOLERANCE, None);
        assert_eq!(step(&mut clock, 1, -HOUR, Some(0)), 250 - HOUR);
        step(&mut clock, 2, -HOUR, Some(0));
        assert!(step(&mut clock, 3, -HOUR, Some(0)) >= 750 - 100);
        assert!(clock.skew().unwrap().contains("3599 s behind the brokers' clock"), "{:?}", clock.skew());
    }

    #[test]
    fn after_a_restart_time_stands_until_a_fresh_record_or_a_while_of_silence() {
        let recorded = START - 10_000;
        let mut silent = WallClock::new(TOLERANCE, Some(recorded));
        let walls: Vec<_> = (1..=20).map(|epoch| step(&mut silent, epoch, 5 * HOUR, None)).collect();
        assert!(walls[..12].iter().all(|wall| *wall == -10_000), "{walls:?}");
        assert_eq!(walls[19], 20 * 250 + 5 * HOUR, "there is nothing better than our own clock");

        let mut flowing = WallClock::new(TOLERANCE, Some(recorded));
        let walls: Vec<_> = (1..=20).map(|epoch| step(&mut flowing, epoch, 5 * HOUR, Some(0))).collect();
        assert!(walls.iter().all(|wall| *wall <= 20 * 250), "nothing runs ahead of the brokers: {walls:?}");
        assert!(walls[19] >= 20 * 250 - 100);
    }

    #[test]
    fn records_of_a_backlog_say_nothing_about_the_time() {
        let (mut clock, epoch, at) = running(true);
        // The pipeline stood still for an hour: the epoch that ends it holds old records.
        let late = at + HOUR;
        assert_eq!(clock.now(late, START + late) - START, late);
        clock.bound(epoch, late, true);
        clock.appended(epoch, START + at);
        assert_eq!(clock.skew(), None);
        assert_eq!(clock.now(late + 250, START + late + 250) - START, late + 250);
    }
}
