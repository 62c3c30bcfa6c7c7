//! When a rule judges that holds only while heating is due: low limits of what heating alone keeps up.
//!
//! Enters: the season of an object. Leaves: whether heating is due at a time, and when it stops by plan.
//! Guarantees: a pure function of season and time; the spell that was asked for last is remembered, as readings follow
//! one another.

use std::cell::Cell;

use schemas::{Millis, season::Season};

use crate::season::{Seasons, Spell};

/// The times at which heating is due by one season.
#[derive(Clone, Debug)]
pub struct HeatingTimes {
    seasons: Seasons,
    season: Season,
    /// The spell that was asked for last, and the pause that follows from it.
    spell: Cell<(Spell, Millis)>,
    /// The pause after the clock that was looked at last.
    stop: Cell<Millis>,
}

impl HeatingTimes {
    /// The times of a season.
    #[must_use]
    pub fn new(seasons: &Seasons, season: Season) -> HeatingTimes {
        let none = Spell { heating: true, from: Millis::MAX, until: Millis::MIN };
        let (spell, stop) = (Cell::new((none, Millis::MAX)), Cell::new(Millis::MIN));
        HeatingTimes { seasons: seasons.clone(), season, spell, stop }
    }

    /// The season.
    #[must_use]
    pub fn season(&self) -> Season {
        self.season
    }

    fn spell(&self, at: Millis) -> (Spell, Millis) {
        let known = self.spell.get();
        if known.0.holds(at) {
            return known;
        }
        let spell = self.seasons.spell(Some(self.season), at);
        let pause = self.seasons.pause(Some(self.season), at);
        self.spell.set((spell, pause));
        (spell, pause)
    }

    /// Whether heating is due at a time.
    #[must_use]
    pub fn due(&self, at: Millis) -> bool {
        self.spell(at).0.heating
    }

    /// The first moment at or after a time at which no heating is due.
    #[must_use]
    pub fn pause(&self, at: Millis) -> Millis {
        match self.spell(at) {
            (Spell { heating: true, .. }, pause) => pause,
            _ => at,
        }
    }

    /// Whether heating has stopped by plan since the clock was looked at last; true when it was never looked at.
    #[must_use]
    pub fn stopped(&self, clock: Millis) -> bool {
        if clock < self.stop.get() {
            return false;
        }
        let spell = self.seasons.spell(Some(self.season), clock);
        let begun = if spell.heating { clock } else { spell.until };
        self.stop.set(self.seasons.pause(Some(self.season), begun));
        true
    }
}

/// Those of the same season: the zone of the days is that of the platform.
impl PartialEq for HeatingTimes {
    fn eq(&self, other: &HeatingTimes) -> bool {
        self.season == other.season
    }
}
