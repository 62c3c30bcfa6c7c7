//! What is remembered and learnt of one station, and how its past is judged again.
//!
//! Enters: closed hours, the same ones again when they changed, and the registry. Leaves: outcomes by hour. Guarantees:
//! whatever the order in which hours come, as long as none is older than the horizon, the last outcome of each is the
//! one that the hours in the order of their time give.
//!
//! Hours within the horizon are open. What was concluded before them is settled; a change of an open hour repeats the
//! course from there, with the fits that it leaves untouched.

use schemas::{Millis, season::Season, time::HOUR};
use serde::Serialize;

use super::{
    course::{Course, Outcome, Terms},
    diagnosis::{StationHour, SupplySettings},
    energy_signature::Design,
    hours::{Hour, Past, number},
    learn::Fit,
    saved::SavedStation,
    supply::Rules,
};
use crate::{alarm::monitor::Cause, season::Spell};

/// Hours that are remembered before the open ones, at least: what looks back looks at three days.
const LEAST_REMEMBERED: i32 = 96;

/// What the registry says of a station.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ground {
    pub(super) design: Design,
    pub(super) season: Option<Season>,
}

/// The hours of one station and what was learnt from them.
#[derive(Debug, Serialize)]
pub(super) struct StationState {
    #[serde(skip)]
    ground: Ground,
    /// The spell of the season that was asked for last.
    #[serde(skip)]
    spell: Option<Spell>,
    /// By number.
    hours: Vec<Hour>,
    /// The first hour that is open.
    open: i32,
    /// After the hours that are settled.
    settled: Course,
    /// After all hours; follows from the others.
    #[serde(skip)]
    tail: Course,
    /// Of the open hours, by number.
    fits: Vec<Fit>,
}

/// What became of an hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Put {
    /// It says what was known.
    Known,
    /// It must be judged, and all behind it.
    Changed(Cause),
    /// It is older than the horizon and does not count.
    TooLate,
}

impl StationState {
    /// A station of which nothing is known but what the registry says.
    pub(super) fn new(ground: Ground) -> StationState {
        StationState {
            ground,
            spell: None,
            hours: Vec::new(),
            open: i32::MIN,
            settled: Course::default(),
            tail: Course::default(),
            fits: Vec::new(),
        }
    }

    /// A station as it was saved.
    pub(super) fn resume(
        saved: SavedStation,
        ground: Ground,
        settings: &SupplySettings,
        rules: &Rules,
    ) -> StationState {
        let SavedStation { hours, open, settled, fits } = saved;
        let mut station = StationState { hours, open, settled, fits, ..StationState::new(ground) };
        station.repeat(settings, rules);
        station
    }

    /// Takes what the registry now says; answers whether the open hours must be judged again.
    pub(super) fn reground(&mut self, ground: Ground) -> bool {
        let changed = self.ground != ground;
        (self.ground, self.spell) = (ground, None);
        changed && self.newest().is_some()
    }

    /// How many hours are remembered.
    pub(super) fn len(&self) -> usize {
        self.hours.len()
    }

    /// The number of the newest hour.
    pub(super) fn newest(&self) -> Option<i32> {
        self.hours.last().map(|hour| hour.number)
    }

    /// The number of the first open hour.
    pub(super) fn open(&self) -> i32 {
        self.open
    }

    /// Where the judgement stood before the open hours.
    pub(super) fn settled(&self) -> &Course {
        &self.settled
    }

    /// Remembers an hour.
    pub(super) fn put(&mut self, hour: &StationHour, settings: &SupplySettings) -> Put {
        let new = Hour::of(hour, settings);
        if new.number < self.open {
            return Put::TooLate;
        }
        match self.hours.binary_search_by_key(&new.number, |hour| hour.number) {
            Ok(index) if self.hours[index].same(&new) => Put::Known,
            Ok(index) => {
                self.hours[index] = new;
                Put::Changed(Cause::Correction)
            }
            Err(index) => {
                let late = index < self.hours.len();
                self.hours.insert(index, new);
                Put::Changed(if late { Cause::LateData } else { Cause::Data })
            }
        }
    }

    /// Judges the hours from `first` on, which are all newer than those judged before.
    pub(super) fn follow(&mut self, first: i32, settings: &SupplySettings, rules: &Rules) -> Vec<Outcome> {
        let from = self.hours.partition_point(|hour| hour.number < first);
        (from..self.hours.len()).map(|index| self.step(index, settings, rules)).collect()
    }

    /// Judges all open hours again after one from `first` on changed. A change of the registry concerns all of them.
    pub(super) fn revise(&mut self, first: i32, settings: &SupplySettings, rules: &Rules) -> Vec<Outcome> {
        self.fits.retain(|fit| fit.number < first);
        self.repeat(settings, rules)
    }

    fn repeat(&mut self, settings: &SupplySettings, rules: &Rules) -> Vec<Outcome> {
        self.tail = self.settled.clone();
        self.follow(self.open, settings, rules)
    }

    fn step(&mut self, index: usize, settings: &SupplySettings, rules: &Rules) -> Outcome {
        let heating = self.heating(index, settings);
        let terms = Terms { settings, rules, design: &self.ground.design, heating };
        self.tail.step(&mut self.hours[..=index], &mut self.fits, &terms)
    }

    fn heating(&mut self, index: usize, settings: &SupplySettings) -> bool {
        let at = self.hours[index].start();
        let season = self.ground.season;
        match self.spell.filter(|spell| spell.holds(at)) {
            Some(spell) => spell.heating,
            None => self.spell.insert(settings.seasons.spell(season, at)).heating,
        }
    }

    /// Settles what lies behind the horizon, and forgets what nothing looks at any more.
    pub(super) fn settle(&mut self, settings: &SupplySettings, rules: &Rules) {
        let Some(newest) = self.newest() else { return };
        let open = newest.saturating_sub((settings.horizon / HOUR) as i32).max(self.open);
        let from = self.hours.partition_point(|hour| hour.number < self.open);
        let to = self.hours.partition_point(|hour| hour.number < open);
        for index in from..to {
            let heating = self.heating(index, settings);
            let terms = Terms { settings, rules, design: &self.ground.design, heating };
            self.settled.step(&mut self.hours[..=index], &mut self.fits, &terms);
        }
        self.open = open;
        self.fits.retain(|fit| fit.number >= open);
        let kept = open.saturating_sub(LEAST_REMEMBERED.max(settings.most_hours as i32));
        let gone = self.hours.partition_point(|hour| hour.number < kept);
        self.hours.drain(..gone);
    }

    /// The outdoor temperatures that the mean of an hour was made of, oldest first; absent ones are NaN.
    pub(super) fn outdoor_temps(&self, hour: Millis, smoothing: u8) -> Vec<(i32, f32)> {
        let window = Past(&self.hours).window(number(hour), smoothing);
        let mut temps: Vec<_> = window.map(|hour| (hour.number, hour.outdoor_temp)).collect();
        temps.reverse();
        temps
    }
}
