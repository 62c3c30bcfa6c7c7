//! What the platform says about itself: sinks that are down, input that lags or stays away, a disk that fills, data
//! that come too late.
//!
//! Enters: what can be seen of the sinks, the input, the disk and the clocks when an epoch is bound. Leaves: the
//! [`Condition`]s that changed, for the binding. Guarantees: a condition is raised and cleared only after it has held for
//! a while, so that nothing flaps; one that the bindings say holds stays until it is seen to be over, also across
//! restarts; a replay of the bindings gives the same conditions, because only new bindings ask here.
//!
//! A kind of condition is a file in [`kind`] and an entry in its `ALL`; nothing here knows one by name.

mod input;
pub mod kind;
mod latch;
mod late;
mod limits;
mod presence;
mod probe;
mod sight;

use std::{collections::BTreeMap, time::Duration};

use operators::alarm::OperationalFact;

use self::{input::Input, kind::Kind, latch::Latch};
pub use self::{
    input::TopicFlow,
    latch::{Patience, Sign},
    late::LateReadings,
    limits::Limits,
    probe::{Checkpoints, HealthProbe, Sinks},
    sight::{Sight, View},
};
use crate::binding::Condition;

impl Condition {
    /// A condition as it is recorded: the subject carries the kind, `kind/subject`.
    #[must_use]
    pub fn of(kind: &Kind, subject: &str, wrong: Option<String>) -> Condition {
        let subject = format!("{}/{subject}", kind.code);
        Condition { subject, active: wrong.is_some(), detail: wrong.unwrap_or_default() }
    }

    /// Its kind and what it is about. A plain subject means a sink that is down, as the first version wrote it.
    #[must_use]
    pub fn about(&self) -> (&'static Kind, &str) {
        let known = self.subject.split_once('/').and_then(|(kind, subject)| Some((Kind::of(kind)?, subject)));
        known.unwrap_or((kind::SINK_DOWN, &self.subject))
    }

    /// What alarms are told from.
    #[must_use]
    pub fn fact(&self) -> OperationalFact {
        let (Kind { code, level, advice, .. }, subject) = self.about();
        OperationalFact {
            subject: subject.to_owned(),
            code,
            level: *level,
            advice,
            active: self.active,
            detail: self.detail.clone(),
        }
    }
}

/// The place of a kind in [`kind::ALL`], and the subject.
type Key = (usize, String);

/// All conditions with their hysteresis. Pure: time is an argument.
#[derive(Debug)]
pub struct Conditions {
    limits: Limits,
    live: bool,
    latches: BTreeMap<Key, Latch>,
    input: Input,
}

impl Conditions {
    /// Conditions that nothing is known of; see [`View::live`].
    #[must_use]
    pub fn new(limits: Limits, live: bool) -> Conditions {
        Conditions { limits, live, latches: BTreeMap::new(), input: Input::default() }
    }

    /// Takes a sight at a time since the start, and gives what changed against `active`, what holds by the bindings.
    pub fn observe(&mut self, now: Duration, sight: &Sight<'_>, active: &[Condition]) -> Vec<Condition> {
        let mut signs = self.signs(now, sight);
        let holds = active.iter().filter(|condition| condition.active).filter_map(|condition| {
            let (kind, subject) = condition.about();
            let place = kind::ALL.iter().position(|known| known.code == kind.code)?;
            Some(((place, subject.to_owned()), condition))
        });
        let holds: BTreeMap<Key, &Condition> = holds.collect();
        // What nobody looks at any more, such as a sink that was taken out of the configuration, is over.
        for key in holds.keys() {
            signs.entry(key.clone()).or_insert(Sign::Good);
        }
        let mut changed = Vec::new();
        for (key, sign) in signs {
            let (kind, held) = (kind::ALL[key.0], holds.get(&key));
            let latch = self.latches.entry(key.clone()).or_default();
            if latch.on != held.is_some() {
                *latch = Latch::that_is(held.is_some());
            }
            let mut patience = kind.patience;
            if sight.stopping {
                patience.clear = Duration::ZERO;
            }
            if latch.update(now, &sign, patience) {
                let turned = Condition::of(kind, &key.1, latch.on.then(|| latch.detail.clone()));
                // It ends under the subject that it was recorded with.
                let subject = held.map_or(turned.subject, |held| held.subject.clone());
                changed.push(Condition { subject, ..turned });
            }
        }
        changed
    }

    /// What every kind sees.
    fn signs(&mut self, now: Duration, sight: &Sight<'_>) -> BTreeMap<Key, Sign> {
        let topics = self.input.look(now, sight, &self.limits);
        let view = View { sight, limits: &self.limits, live: self.live, topics: &topics };
        let of_kind = |(place, kind): (usize, &&Kind)| {
            (kind.signs)(&view).into_iter().map(move |(subject, sign)| ((place, subject), sign))
        };
        kind::ALL.iter().enumerate().flat_map(of_kind).collect()
    }
}

#[cfg(test)]
mod tests;
