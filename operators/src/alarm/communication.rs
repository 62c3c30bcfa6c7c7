//! Communication lost: an object from which nothing has arrived for too long (T 2.1.1, upload interruption).
//!
//! Enters: times of arrival and the clock of the epoch. Leaves: what to tell of the silence.
//! Guarantees: a silence begins with the last arrival and is an alarm once it has lasted for the limit, whenever that
//! is noticed: `raised_at` is last arrival + limit and a silence that ended before the clock was looked at is told
//! all the same. An object that has never reported is not silent, so that a new installation raises no flood.
//! The limit follows the rhythm of the object's uploads ([`super::rhythm`]).
//! The order of the log does not matter: arrivals are remembered as spells without a pause between them, so an arrival
//! that is stamped before the last shortens, splits or retracts the silence it falls into, and what was learnt from it,
//! as long as it falls among the last [`SPELLS`] spells of the last day.

use std::collections::BTreeSet;

use schemas::{
    FacilityKind, Millis, Transition,
    time::{DAY, MINUTE},
};
use serde::{Deserialize, Serialize};

use super::{
    episode::Episode,
    journal::{Cause, Emission, Journal},
    rhythm::{Patience, Rhythm},
};
use crate::Profile;

/// The rule code.
pub const COMMUNICATION_LOST: &str = "communication_lost";

/// The advice given.
pub const ADVICE: &str = "检查现场供电、通信模块与网络，必要时派人核查";

/// How long a spell that ended is remembered.
const MEMORY: Millis = DAY;
/// How many spells are remembered at most, the running one among them.
pub const SPELLS: usize = 16;

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

/// Arrivals without a pause between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Spell {
    first: Millis,
    last: Millis,
}

/// The spells before the one that runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Past {
    /// By time.
    spells: Vec<Spell>,
    /// What the spells and pauses before them taught.
    rhythm: Rhythm,
    /// Whether there were any.
    forgot: bool,
}

/// What is known of one object's arrivals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contact {
    /// The spell that runs; it ends with the last arrival.
    now: Spell,
    /// Nothing for an object that reports without a pause.
    past: Option<Box<Past>>,
    /// Not written: both follow from the profile.
    #[serde(skip)]
    patience: Patience,
    #[serde(skip)]
    level: u8,
    /// Not written: the limit that the past has taught.
    #[serde(skip)]
    learnt: Millis,
    /// What was told last of the silence after each remembered spell; each begins with the end of its spell.
    told: Journal,
}

/// Contact as form 1 wrote it: one spell, whatever the pauses in it.
#[derive(Debug, Deserialize)]
pub struct FormerContact {
    first: Millis,
    last: Millis,
    told: Journal,
}

/// Silences that ended before are final; of the one under way it is known what was told.
impl From<FormerContact> for Contact {
    fn from(FormerContact { first, last, mut told }: FormerContact) -> Contact {
        told.retain(|onset| onset == last);
        Contact { now: Spell { first, last }, told, ..Contact::new(last, Patience::default(), 0) }
    }
}

/// A silence that ended, longer than its limit.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Silence {
    onset: Millis,
    limit: Millis,
    until: Millis,
}

impl Contact {
    /// The first arrival.
    #[must_use]
    pub fn new(at: Millis, patience: Patience, level: u8) -> Contact {
        let now = Spell { first: at, last: at };
        Contact { now, past: None, patience, level, learnt: patience.least, told: Journal::default() }
    }

    /// After it was read back: with the patience and level of its profile.
    #[must_use]
    pub fn resume(self, patience: Patience, level: u8) -> Contact {
        let mut contact = Contact { patience, level, ..self };
        contact.learn();
        contact
    }

    /// How long it may be silent now. An object that reports live has no rhythm of uploads.
    fn limit(&self) -> Millis {
        if self.now.last - self.now.first >= self.patience.least { self.patience.least } else { self.learnt }
    }

    /// When it counts as lost unless something arrives; it is lost when the clock is past this. It moves back only when
    /// the limit shrinks.
    #[must_use]
    pub fn deadline(&self) -> Millis {
        self.now.last.saturating_add(self.limit())
    }

    /// Whether an alarm stands.
    #[must_use]
    pub fn lost(&self) -> bool {
        self.standing().is_some()
    }

    /// The last arrival.
    #[must_use]
    pub fn last(&self) -> Millis {
        self.now.last
    }

    /// When the remembered spells begin and end, by time.
    pub fn bounds(&self) -> impl Iterator<Item = Millis> + '_ {
        self.spells().flat_map(|spell| [spell.first, spell.last])
    }

    fn spells(&self) -> impl Iterator<Item = Spell> + '_ {
        self.past.iter().flat_map(|past| past.spells.iter().copied()).chain([self.now])
    }

    fn standing(&self) -> Option<Emission> {
        self.told_of(self.now.last)
            .filter(|told| !matches!(told.transition, Transition::Cleared | Transition::Retracted))
    }

    fn told_of(&self, onset: Millis) -> Option<Emission> {
        self.told.of(onset).copied()
    }

    /// Takes an arrival.
    pub fn arrive(&mut self, at: Millis, told: &mut Vec<Emission>) {
        if at <= self.now.last {
            if at < self.now.first {
                self.arrive_late(at, told);
            }
            return;
        }
        let (pause, limit) = (at - self.now.last, self.limit());
        if pause > limit {
            let episode = self.raise(self.now.last, limit, Cause::Data, told);
            self.end(episode, at, Cause::Data, told);
        } else if let Some(lost) = self.standing() {
            // The clock had come further than the arrivals.
            self.tell(Transition::Retracted, at, lost.episode, Cause::LateData, told);
        }
        if pause > self.patience.pause {
            self.begin(at);
        } else {
            // What was told of the end that moves was retracted, and no silence can begin there any more.
            let before = std::mem::replace(&mut self.now.last, at);
            self.told.retain(|onset| onset != before);
        }
    }

    /// A pause is over.
    fn begin(&mut self, at: Millis) {
        let ended = std::mem::replace(&mut self.now, Spell { first: at, last: at });
        let past = self.past.get_or_insert_default();
        past.spells.push(ended);
        while let Some(first) = past.spells.first().copied()
            && (past.spells.len() >= SPELLS || at - first.last > MEMORY)
        {
            let next = past.spells.get(1).map_or(at, |next| next.first);
            past.rhythm.report(first.last - first.first, &self.patience);
            past.rhythm.pause(next - first.last);
            past.spells.remove(0);
            past.forgot = true;
        }
        let first = past.spells.first().map_or(at, |first| first.last);
        self.told.retain(|onset| onset >= first);
        self.learn();
    }

    /// Brings the limit that the past has taught up to date.
    fn learn(&mut self) {
        self.learnt = self.silences().1;
    }

    /// The silences among the remembered spells, and the limit of the next.
    fn silences(&self) -> (Vec<Silence>, Millis) {
        let mut rhythm = self.past.as_ref().map(|past| past.rhythm.clone()).unwrap_or_default();
        let (mut silences, mut before) = (Vec::new(), None::<Spell>);
        for spell in self.spells() {
            if let Some(before) = before.replace(spell) {
                rhythm.report(before.last - before.first, &self.patience);
                let (limit, pause) = (rhythm.limit(&self.patience), spell.first - before.last);
                if pause > limit {
                    silences.push(Silence { onset: before.last, limit, until: spell.first });
                }
                rhythm.pause(pause);
            }
        }
        (silences, rhythm.limit(&self.patience))
    }

    /// Takes an arrival before the spell that runs.
    fn arrive_late(&mut self, at: Millis, told: &mut Vec<Emission>) {
        let mut spells: Vec<Spell> = self.spells().collect();
        let place = spells.partition_point(|spell| spell.first <= at);
        let near = |a: Millis, b: Millis| b - a <= self.patience.pause;
        let joins_next = near(at, spells[place].first);
        let joins_last = match place.checked_sub(1) {
            Some(before) if at <= spells[before].last => return,
            Some(before) => near(spells[before].last, at),
            // Before all that is remembered.
            None if self.past.as_ref().is_some_and(|past| past.forgot) && !joins_next => return,
            None => false,
        };
        match (joins_last, joins_next) {
            (true, true) => {
                spells[place - 1].last = spells[place].last;
                spells.remove(place);
            }
            (true, false) => spells[place - 1].last = at,
            (false, true) => spells[place].first = at,
            (false, false) => spells.insert(place, Spell { first: at, last: at }),
        }
        self.now = spells.pop().unwrap_or(self.now);
        if !spells.is_empty() || self.past.is_some() {
            self.past.get_or_insert_default().spells = spells;
        }
        self.learn();
        self.reconcile(at, told);
    }

    /// Tells the difference between what was told and what the remembered spells say.
    fn reconcile(&mut self, at: Millis, told: &mut Vec<Emission>) {
        let silences = self.silences().0;
        let first = self.spells().next().map_or(self.now.first, |spell| spell.first);
        let stands =
            |told: &&Emission| told.transition != Transition::Retracted && told.episode.onset >= first;
        let known: Vec<Episode> = self.told.iter().filter(stands).map(|told| told.episode).collect();
        let deadline = self.deadline();
        for episode in &known {
            let wanted = match episode.onset == self.now.last {
                true => episode.raised_at == deadline,
                false => silences.iter().any(|silence| silence.onset == episode.onset),
            };
            if !wanted {
                self.tell(Transition::Retracted, at, *episode, Cause::LateData, told);
            }
        }
        for Silence { onset, limit, until } in silences {
            match known.iter().find(|episode| episode.onset == onset) {
                Some(episode) if episode.cleared_at == Some(until) && episode.raised_at == onset + limit => {}
                Some(episode) => {
                    let minutes = limit as f64 / MINUTE as f64;
                    let raised = Episode { raised_at: onset + limit, first_value: minutes, ..*episode };
                    self.end(raised, until, Cause::LateData, told);
                }
                None => {
                    let episode = self.raise(onset, limit, Cause::LateData, told);
                    self.end(episode, until, Cause::LateData, told);
                }
            }
        }
    }

    /// Looks at the clock.
    pub fn expire(&mut self, clock: Millis, told: &mut Vec<Emission>) {
        if clock > self.deadline() {
            self.raise(self.now.last, self.limit(), Cause::Clock, told);
        }
    }

    /// Takes another patience; a standing alarm that would not have been raised yet is retracted.
    pub fn change(&mut self, patience: Patience, level: u8, clock: Millis, told: &mut Vec<Emission>) {
        let changed = patience != self.patience || level != self.level;
        (self.patience, self.level) = (patience, level);
        self.learn();
        let Some(lost) = self.standing().filter(|_| changed) else { return };
        if clock > self.deadline() {
            let episode = Episode { raised_at: self.deadline(), level, peak_level: level, ..lost.episode };
            self.tell(Transition::Updated, clock, episode, Cause::Registry, told);
        } else {
            self.tell(Transition::Retracted, clock, lost.episode, Cause::Registry, told);
        }
    }

    /// Ends the alarm that stands, if any.
    pub fn clear(&mut self, at: Millis, cause: Cause, told: &mut Vec<Emission>) {
        if let Some(lost) = self.standing() {
            self.end(lost.episode, at, cause, told);
        }
    }

    fn end(&mut self, episode: Episode, at: Millis, cause: Cause, told: &mut Vec<Emission>) {
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
    pub fn repeat(&mut self, at: Millis, told: &mut Vec<Emission>) {
        if let Some(lost) = self.standing() {
            self.tell(Transition::Updated, at, lost.episode, Cause::Registry, told);
        }
    }

    /// Tells that a silence has lasted for the limit, unless that stands already.
    fn raise(&mut self, onset: Millis, limit: Millis, cause: Cause, told: &mut Vec<Emission>) -> Episode {
        let standing = self.told_of(onset).filter(|told| told.transition != Transition::Retracted);
        if let Some(Emission { episode, .. }) = standing {
            return episode;
        }
        let raised_at = onset + limit;
        let minutes = limit as f64 / MINUTE as f64;
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
        told: &mut Vec<Emission>,
    ) {
        told.push(self.told.emit(transition, at, episode, cause.into()));
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
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;
    use schemas::time::{HOUR, SECOND};

    use super::*;

    const PATIENCE: Patience = Patience { least: 10, pause: 4, learns: true };

    /// Every silence that stands after arrivals in this order: (onset, raised at, cleared at). The clock is looked at
    /// after every arrival that stands in the log behind all earlier ones.
    fn silences(
        arrivals: &[Millis],
        patience: Patience,
        clock: Millis,
    ) -> Vec<(Millis, Millis, Option<Millis>)> {
        let mut contact = Contact::new(arrivals[0], patience, 2);
        let (mut told, mut newest) = (Vec::new(), arrivals[0]);
        for at in &arrivals[1..] {
            contact.arrive(*at, &mut told);
            let bytes = postcard::to_stdvec(&contact).unwrap();
            let again = postcard::from_bytes::<Contact>(&bytes).unwrap().resume(patience, 2);
            assert_eq!(again, contact, "what is read back is the same");
            newest = newest.max(*at);
            contact.expire(newest, &mut told);
        }
        contact.expire(clock, &mut told);
        let mut last: BTreeMap<Millis, Emission> = BTreeMap::new();
        for next in told {
            let before = last.insert(next.episode.onset, next);
            assert_eq!(next.sequence, before.map_or(1, |before| before.sequence + 1), "{before:?}");
        }
        let stands = last.into_values().filter(|told| told.transition != Transition::Retracted);
        stands.map(|told| (told.episode.onset, told.episode.raised_at, told.episode.cleared_at)).collect()
    }

    /// The same by looking at all arrivals at once, in their order.
    fn oracle(sorted: &[Millis], patience: Patience, clock: Millis) -> Vec<(Millis, Millis, Option<Millis>)> {
        let mut found = Vec::new();
        for (index, onset) in sorted.iter().enumerate() {
            // Back from here: the pauses, until a stretch without any that lasted for long enough.
            let (mut pauses, mut end) = (Vec::new(), *onset);
            for pair in sorted[..=index].windows(2).rev() {
                if pair[1] - pair[0] > patience.pause {
                    pauses.push(pair[1] - pair[0]);
                    end = pair[0];
                } else if end - pair[0] >= patience.least {
                    break;
                }
            }
            pauses.truncate(6);
            pauses.sort_unstable_by(|a, b| b.cmp(a));
            let learnt = pauses.get(1).map_or(0, |second| (second * 5 / 2).min(2 * DAY));
            let limit = learnt.max(patience.least);
            let next = sorted.get(index + 1).copied();
            if next.unwrap_or(clock) - onset > limit {
                found.push((*onset, onset + limit, next));
            }
        }
        found
    }

    /// Bursts of arrivals with pauses between them.
    fn bursts() -> impl Strategy<Value = Vec<Millis>> {
        let pause = prop_oneof![3 => Just(30_i64), 2 => 5_i64..14, 1 => 14_i64..120];
        let burst = prop_oneof![3 => prop::collection::vec(0_i64..4, 0..4), 1 => prop::collection::vec(3_i64..5, 2..6)];
        prop::collection::vec((pause, burst), 1..40).prop_map(|bursts| {
            let (mut at, mut times) = (0, BTreeSet::new());
            for (pause, burst) in bursts {
                at += pause;
                times.insert(at);
                for gap in burst {
                    at += gap.min(4);
                    times.insert(at);
                }
            }
            times.into_iter().collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn the_order_of_arrivals_does_not_matter(
            (sorted, shuffled) in bursts().prop_flat_map(|mut times| {
                // Each may be a spell of its own until those beside it have come.
                times.truncate(SPELLS - 1);
                (Just(times.clone()), Just(times).prop_shuffle())
            }),
            learns in any::<bool>(),
            after in 0_i64..200,
        ) {
            let (patience, clock) = (Patience { learns, ..PATIENCE }, sorted[sorted.len() - 1] + after);
            let mut expected = oracle(&sorted, patience, clock);
            if !learns {
                expected = sorted
                    .windows(2)
                    .filter(|w| w[1] - w[0] > 10)
                    .map(|w| (w[0], w[0] + 10, Some(w[1])))
                    .collect();
                let last = sorted[sorted.len() - 1];
                expected.extend((after > 10).then_some((last, last + 10, None)));
            }
            prop_assert_eq!(silences(&sorted, patience, clock), expected.clone());
            prop_assert_eq!(silences(&shuffled, patience, clock), expected);
        }
    }

    proptest! {
        #[test]
        fn silences_follow_the_rhythm(sorted in bursts(), after in 0_i64..200) {
            let clock = sorted[sorted.len() - 1] + after;
            prop_assert_eq!(silences(&sorted, PATIENCE, clock), oracle(&sorted, PATIENCE, clock));
        }
    }

    /// Twelve days of uploads every half hour, a real loss after them: at most two uploads alarm, and the loss is found
    /// after two and a half of them.
    #[test]
    fn uploads_in_batches_are_no_silence() {
        let uploads = (0..12 * 48).flat_map(|n| {
            let jitter = (n * 7919) % 120 * SECOND;
            (0..30).map(move |report| n * 30 * MINUTE + jitter + report * 100)
        });
        let arrivals: Vec<Millis> = uploads.collect();
        let patience = Patience { least: 10 * MINUTE, pause: 150 * SECOND, learns: true };
        let last = arrivals[arrivals.len() - 1];
        let found = silences(&arrivals, patience, last + 2 * HOUR);
        assert_eq!(found.iter().filter(|silence| silence.2.is_some()).count(), 2, "{found:?}");
        let (onset, raised_at, cleared_at) = found[2];
        assert_eq!((onset, cleared_at), (last, None));
        assert!((raised_at - last - 75 * MINUTE).abs() < 5 * MINUTE, "{raised_at}");
    }

    #[test]
    fn the_memory_of_arrivals_is_bounded() {
        let mut contact = Contact::new(0, PATIENCE, 2);
        for n in 0..10_000 {
            contact.arrive(n * 30, &mut Vec::new());
        }
        assert!(contact.spells().count() <= SPELLS && contact.told.iter().count() <= SPELLS);
        assert!(postcard::to_stdvec(&contact).unwrap().len() < 200);
    }
}
