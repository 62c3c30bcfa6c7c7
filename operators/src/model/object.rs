//! What a model remembers and has learnt of one object, and how its past is judged again.
//!
//! Enters: closed hours, the same ones again when they changed, and the registry. Leaves: outcomes by hour. Guarantees:
//! whatever the order in which hours come, as long as none is older than the horizon, the last outcome of each is the
//! one that the hours in the order of their time give.
//!
//! Hours within the horizon are open. What was concluded before them is settled; a change of an open hour repeats the
//! course from there, with the fits that it leaves untouched.

use schemas::{KpiCause, Millis, season::Season, time::HOUR};

use super::{
    Model, Remembered, Terms,
    course::{Course, Fits, Outcome, Rules, Surroundings},
};
use crate::{
    alarm::journal::{Because, Cause},
    reason::Reason,
    season::Spell,
    window::ClosedHour,
};

/// Hours that are remembered before the open ones, at least: what looks back looks at three days.
const LEAST_REMEMBERED: i32 = 96;

/// What registry and settings say of an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ground<G> {
    pub(super) model: G,
    pub(super) season: Option<Season>,
}

/// The hours of one object and what was learnt from them.
#[derive(Debug)]
pub(super) struct ObjectState<M: Model> {
    ground: Ground<M::Ground>,
    /// The spell of the season that was asked for last.
    spell: Option<Spell>,
    /// By number.
    pub(super) hours: Vec<M::Hour>,
    /// The first hour that is open.
    pub(super) open: i32,
    /// After the hours that are settled.
    pub(super) settled: Course<M>,
    /// After all hours; follows from the others.
    latest: Course<M>,
    /// Of the open hours, by number.
    pub(super) fits: Fits<M::Fit>,
}

/// What became of an hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Put {
    /// It says what was known.
    Known,
    /// It must be judged, and all behind it.
    Changed(Because),
    /// It is older than the horizon and does not count.
    TooLate,
}

impl<M: Model> ObjectState<M> {
    /// An object of which nothing is known but what the registry says.
    pub(super) fn new(ground: Ground<M::Ground>, rules: &Rules) -> ObjectState<M> {
        ObjectState {
            ground,
            spell: None,
            hours: Vec::new(),
            open: i32::MIN,
            settled: Course::new(rules),
            latest: Course::new(rules),
            fits: Fits(Vec::new()),
        }
    }

    /// Takes what registry and settings now say; answers whether the open hours must be judged again.
    pub(super) fn reground(&mut self, ground: Ground<M::Ground>) -> bool {
        let changed = self.ground != ground;
        (self.ground, self.spell) = (ground, None);
        changed && self.newest().is_some()
    }

    /// The number of the newest hour.
    pub(super) fn newest(&self) -> Option<i32> {
        self.hours.last().map(M::Hour::number)
    }

    /// Remembers an hour.
    pub(super) fn put(&mut self, closed: &ClosedHour) -> Put {
        let new = M::hour(closed, &self.ground.model);
        let why = |cause| match closed.reason {
            Reason { cause: KpiCause::Redriven, by } => Because { cause: Cause::Redriven, by },
            Reason { by, .. } => Because { cause, by },
        };
        if new.number() < self.open {
            return Put::TooLate;
        }
        match self.hours.binary_search_by_key(&new.number(), M::Hour::number) {
            Ok(index) if self.hours[index].same(&new) => Put::Known,
            Ok(index) => {
                self.hours[index] = new;
                Put::Changed(why(Cause::Correction))
            }
            Err(index) => {
                let late = index < self.hours.len();
                self.hours.insert(index, new);
                Put::Changed(why(if late { Cause::LateData } else { Cause::Data }))
            }
        }
    }

    /// Judges the hours from `first` on, which are all newer than those judged before.
    pub(super) fn follow(&mut self, first: i32, terms: &Terms, rules: &Rules) -> Vec<Outcome<M>> {
        let (from, to) = (self.hours.partition_point(|hour| hour.number() < first), self.hours.len());
        let step = |index| {
            let heating = self.heating(index, terms);
            let around = Surroundings { rules, ground: &self.ground.model, heating };
            self.latest.step(&mut self.hours[..=index], &mut self.fits, &around)
        };
        (from..to).map(step).collect()
    }

    /// Judges all open hours again after one from `first` on changed. A change of the registry concerns all of them.
    pub(super) fn revise(&mut self, first: i32, terms: &Terms, rules: &Rules) -> Vec<Outcome<M>> {
        self.fits.keep(|hour| hour < first);
        self.repeat(terms, rules)
    }

    /// Judges all open hours again.
    pub(super) fn repeat(&mut self, terms: &Terms, rules: &Rules) -> Vec<Outcome<M>> {
        self.latest = self.settled.clone();
        self.follow(self.open, terms, rules)
    }

    fn heating(&mut self, index: usize, terms: &Terms) -> bool {
        let at = Millis::from(self.hours[index].number()) * HOUR;
        let season = self.ground.season;
        match self.spell.filter(|spell| spell.holds(at)) {
            Some(spell) => spell.heating,
            None => self.spell.insert(terms.seasons.spell(season, at)).heating,
        }
    }

    /// Settles what lies behind the horizon, and forgets what nothing looks at any more.
    pub(super) fn settle(&mut self, terms: &Terms, rules: &Rules) {
        let Some(newest) = self.newest() else { return };
        let open = newest.saturating_sub((terms.horizon / HOUR) as i32).max(self.open);
        let from = self.hours.partition_point(|hour| hour.number() < self.open);
        let to = self.hours.partition_point(|hour| hour.number() < open);
        for index in from..to {
            let heating = self.heating(index, terms);
            let around = Surroundings { rules, ground: &self.ground.model, heating };
            self.settled.step(&mut self.hours[..=index], &mut self.fits, &around);
        }
        self.open = open;
        self.fits.keep(|hour| hour >= open);
        let kept = open.saturating_sub(LEAST_REMEMBERED.max(M::memory(&self.ground.model)));
        let gone = self.hours.partition_point(|hour| hour.number() < kept);
        self.hours.drain(..gone);
    }
}
