//! Communication lost: an object from which nothing has arrived for too long (T 2.1.1, upload interruption).
//!
//! Enters: times of arrival and the clock of the epoch. Leaves: what to tell of the silence.
//! Guarantees: a silence begins with the last arrival and is an alarm once it has lasted for the limit, whenever that
//! is noticed: `raised_at` is last arrival + limit and a silence that ended before the clock was looked at is told
//! all the same. An object that has never reported is not silent, so that a new installation raises no flood.
//! The order of the log does not matter: an arrival that is stamped before the last shortens, splits or retracts the
//! silence it falls into, as long as that silence is remembered.

use std::collections::BTreeSet;

use schemas::{
    FacilityKind, Millis, Transition,
    registry::attribute,
    time::{DAY, MINUTE, SECOND},
};
use serde::{Deserialize, Serialize};

use super::{
    episode::Episode,
    watch::{Cause, Told},
};
use crate::Profile;

/// The rule code.
pub const COMMUNICATION_LOST: &str = "communication_lost";

/// The advice given.
pub const ADVICE: &str = "检查现场供电、通信模块与网络，必要时派人核查";

/// How long a silence that ended is remembered.
const MEMORY: Millis = DAY;

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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contact {
    /// First and last arrival.
    first: Millis,
    last: Millis,
    /// Not written: both follow from the profile.
    #[serde(skip)]
    limit: Millis,
    #[serde(skip)]
    level: u8,
    /// What was told last of each remembered silence; of the one under way if its onset is the last arrival.
    told: Vec<Told>,
}

impl Contact {
    /// The first arrival.
    #[must_use]
    pub fn new(at: Millis, limit: Millis, level: u8) -> Contact {
        Contact { first: at, last: at, limit, level, told: Vec::new() }
    }

    /// After it was read back: with the limit and level of its profile.
    #[must_use]
    pub fn resume(self, limit: Millis, level: u8) -> Contact {
        Contact { limit, level, ..self }
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
        self.told_of(self.last)
            .filter(|told| !matches!(told.transition, Transition::Cleared | Transition::Retracted))
    }

    fn told_of(&self, onset: Millis) -> Option<Told> {
        self.told.iter().find(|told| told.episode.onset == onset).copied()
    }

    /// Takes an arrival.
    pub fn arrive(&mut self, at: Millis, told: &mut Vec<Told>) {
        if at < self.last {
            return self.arrive_late(at, told);
        }
        if at > self.deadline() {
            self.raise(self.last, Cause::Data, told);
        }
        if at > self.last {
            self.clear(at, Cause::Data, told);
            self.last = at;
            self.told.retain(|told| at - told.episode.onset <= MEMORY);
        }
    }

    /// Takes an arrival before the last: it matters where a silence was told, or before the first.
    fn arrive_late(&mut self, at: Millis, told: &mut Vec<Told>) {
        if at < self.first {
            self.silence(at, self.first, told);
            self.first = at;
            return;
        }
        let split = |told: &&Told| {
            told.transition != Transition::Retracted
                && told.episode.onset < at
                && told.episode.cleared_at.is_some_and(|cleared| at < cleared)
        };
        let Some(Told { episode, .. }) = self.told.iter().find(split).copied() else { return };
        if at - episode.onset > self.limit {
            self.end(episode, at, Cause::LateData, told);
        } else {
            self.tell(Transition::Retracted, at, episode, Cause::LateData, told);
        }
        if let Some(cleared) = episode.cleared_at {
            self.silence(at, cleared, told);
        }
    }

    /// Tells of a silence between two arrivals, if it was one.
    fn silence(&mut self, from: Millis, to: Millis, told: &mut Vec<Told>) {
        if to - from > self.limit {
            let episode = self.raise(from, Cause::LateData, told);
            self.end(episode, to, Cause::LateData, told);
        }
    }

    /// Looks at the clock.
    pub fn expire(&mut self, clock: Millis, told: &mut Vec<Told>) {
        if clock > self.deadline() {
            self.raise(self.last, Cause::Clock, told);
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
        if let Some(lost) = self.standing() {
            self.end(lost.episode, at, cause, told);
        }
    }

    fn end(&mut self, episode: Episode, at: Millis, cause: Cause, told: &mut Vec<Told>) {
        let minutes = (at - episode.onset) as f64 / MINUTE as f64;
        let ended = Episode {
            cleared_at: Some(at),
            current_value: minutes,
            peak_value: minutes,
            peak_at: at,
            ..episode
        };
        self.tell(Transition::Cleared, at, ended, cause, told);
    }

    /// Tells again what stands.
    pub fn repeat(&mut self, at: Millis, told: &mut Vec<Told>) {
        if let Some(lost) = self.standing() {
            self.tell(Transition::Updated, at, lost.episode, Cause::Registry, told);
        }
    }

    /// Tells that a silence has lasted for the limit, unless that stands already.
    fn raise(&mut self, onset: Millis, cause: Cause, told: &mut Vec<Told>) -> Episode {
        let standing = self.told_of(onset).filter(|told| told.transition != Transition::Retracted);
        if let Some(Told { episode, .. }) = standing {
            return episode;
        }
        let raised_at = onset + self.limit;
        let minutes = self.limit as f64 / MINUTE as f64;
        let episode = Episode {
            onset,
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
        episode
    }

    fn tell(
        &mut self,
        transition: Transition,
        at: Millis,
        episode: Episode,
        cause: Cause,
        told: &mut Vec<Told>,
    ) {
        let last = self.told_of(episode.onset);
        let sequence = last.map_or(1, |last| last.sequence + 1);
        let at = last.map_or(at, |last| at.max(last.at));
        let next = Told { transition, at, sequence, episode, cause };
        self.told.retain(|told| told.episode.onset != episode.onset);
        self.told.push(next);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// The silences that stand after arrivals in this order: (onset, cleared at).
    fn silences(arrivals: &[Millis], clock: Millis) -> Vec<(Millis, Option<Millis>)> {
        let mut contact = Contact::new(arrivals[0], 10, 2);
        let mut told = Vec::new();
        for at in &arrivals[1..] {
            contact.arrive(*at, &mut told);
        }
        contact.expire(clock, &mut told);
        let mut last: BTreeMap<Millis, Told> = BTreeMap::new();
        for next in told {
            let before = last.insert(next.episode.onset, next);
            assert_eq!(next.sequence, before.map_or(1, |before| before.sequence + 1));
        }
        let stands = last.into_values().filter(|told| told.transition != Transition::Retracted);
        stands.map(|told| (told.episode.onset, told.episode.cleared_at)).collect()
    }

    proptest! {
        #[test]
        fn the_order_of_arrivals_does_not_matter(
            (sorted, shuffled) in prop::collection::btree_set(0..300i64, 1..20).prop_flat_map(|times| {
                let times: Vec<Millis> = times.into_iter().collect();
                (Just(times.clone()), Just(times).prop_shuffle())
            })
        ) {
            let clock = 305;
            let mut expected: Vec<_> =
                sorted.windows(2).filter(|w| w[1] - w[0] > 10).map(|w| (w[0], Some(w[1]))).collect();
            let last = sorted[sorted.len() - 1];
            expected.extend((clock - last > 10).then_some((last, None)));
            prop_assert_eq!(silences(&shuffled, clock), expected);
        }
    }
}
