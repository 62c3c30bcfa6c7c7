//! Communication lost: an object from which nothing has arrived for too long (T 2.1.1, upload interruption).
//!
//! Enters: times of arrival and the clock of the epoch. Leaves: what to tell of the silence.
//! Guarantees: a silence begins with the last arrival and is an alarm once it has lasted for the limit, whenever that
//! is noticed: `raised_at` is last arrival + limit and a silence that ended before the clock was looked at is told
//! all the same. An object that has never reported is not silent, so that a new installation raises no flood.
//! Arrivals are taken in the order of the log; one that is stamped before the last is no news.

use std::collections::BTreeSet;

use schemas::{
    FacilityKind, Millis, Transition,
    registry::attribute,
    time::{MINUTE, SECOND},
};

use super::{
    episode::Episode,
    watch::{Cause, Told},
};
use crate::Profile;

/// The rule code.
pub const COMMUNICATION_LOST: &str = "communication_lost";

/// The advice given.
pub const ADVICE: &str = "检查现场供电、通信模块与网络，必要时派人核查";

/// How long the object may be silent: attribute `offline_after` in s, else five intervals but at least 10 min.
#[must_use]
pub fn limit(profile: &Profile, device: &str) -> Millis {
    match profile.number(device, attribute::OFFLINE_AFTER).filter(|seconds| *seconds > 0.0) {
        Some(seconds) => (seconds * SECOND as f64) as Millis,
        None => (5 * profile.interval(device)).max(10 * MINUTE),
    }
}

/// Level of the silence: 1 for heat sources, 2 for other facilities of the network, 3 for households and devices.
#[must_use]
pub fn level(profile: &Profile, device: &str) -> u8 {
    match profile.facility.kind {
        _ if !device.is_empty() => 3,
        FacilityKind::Plant | FacilityKind::PlantBranch | FacilityKind::BoilerHouse => 1,
        FacilityKind::Household | FacilityKind::CleanDevice => 3,
        _ => 2,
    }
}

/// What is known of one object's arrivals.
#[derive(Clone, Debug)]
pub struct Contact {
    /// Last arrival.
    last: Millis,
    limit: Millis,
    level: u8,
    /// What was told last; of the silence under way if its onset is the last arrival.
    told: Option<Box<Told>>,
}

impl Contact {
    /// The first arrival.
    #[must_use]
    pub fn new(at: Millis, limit: Millis, level: u8) -> Contact {
        Contact { last: at, limit, level, told: None }
    }

    /// When it counts as lost unless something arrives; it is lost when the clock is past this.
    #[must_use]
    pub fn deadline(&self) -> Millis {
        self.last + self.limit
    }

    /// Whether an alarm stands.
    #[must_use]
    pub fn lost(&self) -> bool {
        self.standing().is_some()
    }

    fn standing(&self) -> Option<Told> {
        self.told
            .as_deref()
            .copied()
            .filter(|told| !matches!(told.transition, Transition::Cleared | Transition::Retracted))
    }

    /// Takes an arrival.
    pub fn arrive(&mut self, at: Millis, told: &mut Vec<Told>) {
        if at <= self.last {
            return;
        }
        if at > self.deadline() {
            self.raise(Cause::Data, told);
        }
        self.clear(at, Cause::Data, told);
        self.last = at;
    }

    /// Looks at the clock.
    pub fn expire(&mut self, clock: Millis, told: &mut Vec<Told>) {
        if clock > self.deadline() {
            self.raise(Cause::Clock, told);
        }
    }

    /// Takes another limit; a standing alarm that would not have been raised yet is retracted.
    pub fn change(&mut self, limit: Millis, level: u8, clock: Millis, told: &mut Vec<Told>) {
        let changed = limit != self.limit || level != self.level;
        self.limit = limit;
        self.level = level;
        let Some(lost) = self.standing().filter(|_| changed) else { return };
        if clock > self.deadline() {
            let episode = Episode { raised_at: self.deadline(), level, peak_level: level, ..lost.episode };
            self.tell(Transition::Updated, clock, episode, Cause::Registry, told);
        } else {
            self.tell(Transition::Retracted, clock, lost.episode, Cause::Registry, told);
        }
    }

    /// Ends the alarm that stands, if any.
    pub fn clear(&mut self, at: Millis, cause: Cause, told: &mut Vec<Told>) {
        let Some(lost) = self.standing() else { return };
        let minutes = (at - self.last) as f64 / MINUTE as f64;
        let episode = Episode {
            cleared_at: Some(at),
            current_value: minutes,
            peak_value: minutes,
            peak_at: at,
            ..lost.episode
        };
        self.tell(Transition::Cleared, at, episode, cause, told);
    }

    /// Tells again what stands.
    pub fn repeat(&mut self, at: Millis, told: &mut Vec<Told>) {
        if let Some(lost) = self.standing() {
            self.tell(Transition::Updated, at, lost.episode, Cause::Registry, told);
        }
    }

    fn raise(&mut self, cause: Cause, told: &mut Vec<Told>) {
        if self.lost() {
            return;
        }
        let raised_at = self.deadline();
        let minutes = self.limit as f64 / MINUTE as f64;
        let episode = Episode {
            onset: self.last,
            raised_at,
            cleared_at: None,
            first_value: minutes,
            current_value: minutes,
            peak_value: minutes,
            peak_at: raised_at,
            level: self.level,
            peak_level: self.level,
        };
        self.tell(Transition::Raised, raised_at, episode, cause, told);
    }

    fn tell(
        &mut self,
        transition: Transition,
        at: Millis,
        episode: Episode,
        cause: Cause,
        told: &mut Vec<Told>,
    ) {
        let last = self.told.as_deref().filter(|last| last.episode.onset == episode.onset);
        let sequence = last.map_or(1, |last| last.sequence + 1);
        let at = last.map_or(at, |last| at.max(last.at));
        let next = Told { transition, at, sequence, episode, cause };
        self.told = Some(Box::new(next));
        told.push(next);
    }
}

/// When to look at which object. An object has an entry for as long as it is not lost; the entry may be early, as
/// arrivals do not move it: it is moved when it is due.
#[derive(Debug, Default)]
pub struct Deadlines(BTreeSet<(Millis, u32)>);

impl Deadlines {
    /// Asks to look at the object when the clock is past `at`.
    pub fn insert(&mut self, at: Millis, object: u32) {
        self.0.insert((at, object));
    }

    /// The next object to look at, if one is due.
    pub fn due(&mut self, clock: Millis) -> Option<u32> {
        let first = *self.0.first().filter(|(at, _)| *at < clock)?;
        self.0.remove(&first);
        Some(first.1)
    }
}
