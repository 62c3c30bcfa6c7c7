//! What was told of episodes: the one place that numbers transitions and keeps them from going back in time.
//!
//! Enters: what is to be told of an episode. Leaves: the same as an [`Emission`], numbered. Guarantees: the transitions of an
//! episode have the numbers 1, 2, 3, … and times that never decrease, whatever order they are concluded in.

use schemas::{Millis, RecordPlace, Transition};
use serde::{Deserialize, Serialize};

use super::episode::Episode;
use crate::{Change, flow::Carrier};

/// Why something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The next reading.
    Data,
    /// A reading that came after later ones.
    LateData,
    /// A reading whose value or mark was revised.
    Correction,
    /// A change of the registry.
    Registry,
    /// The passing of time.
    Clock,
    /// No heating is due at this time of the year.
    Season,
    /// The weather asks for no heat.
    MildWeather,
    /// A relation that has lasted was taken for the object's own.
    NewSignature,
    /// A reject that was sent again.
    Redriven,
}

/// Why something is told, and the record that brought it about, where it was one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Because {
    /// Why.
    pub cause: Cause,
    /// The record.
    pub by: Option<RecordPlace>,
}

impl From<Cause> for Because {
    fn from(cause: Cause) -> Because {
        Because { cause, by: None }
    }
}

impl Because {
    /// Why a reading may change the past.
    #[must_use]
    pub fn of(change: Change, carrier: Carrier) -> Because {
        let cause = match change {
            Change::Remarked | Change::Corrected => Cause::Correction,
            Change::New | Change::Unverified if carrier.redriven => Cause::Redriven,
            Change::New | Change::Unverified => Cause::LateData,
        };
        Because { cause, by: Some(carrier.place()) }
    }

    /// The same, unless something else than a record decided.
    #[must_use]
    pub fn unless(self, decided: Option<Cause>) -> Because {
        decided.map_or(self, Because::from)
    }
}

impl Cause {
    /// As written in a transition.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Cause::Data => "data",
            Cause::LateData => "late data",
            Cause::Correction => "correction",
            Cause::Registry => "registry",
            Cause::Clock => "clock",
            Cause::Season => "season",
            Cause::MildWeather => "mild weather",
            Cause::NewSignature => "new signature",
            Cause::Redriven => "redriven",
        }
    }
}

/// One transition to be told.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Emission {
    /// What happened.
    pub transition: Transition,
    /// When, in event time; never before an earlier transition of the episode.
    pub at: Millis,
    /// Number within the episode, from 1.
    pub sequence: u32,
    /// The episode after it.
    pub episode: Episode,
    /// Why.
    pub cause: Cause,
    /// The record that brought it about; not remembered.
    #[serde(skip)]
    pub by: Option<RecordPlace>,
}

impl Emission {
    /// What is told next of an episode of which this was told last, if anything.
    #[must_use]
    pub fn after(
        last: Option<&Emission>,
        transition: Transition,
        at: Millis,
        episode: Episode,
        Because { cause, by }: Because,
    ) -> Emission {
        let (at, sequence) = last.map_or((at, 1), |last| (at.max(last.at), last.sequence + 1));
        Emission { transition, at, sequence, episode, cause, by }
    }

    /// Whether the episode stands after it.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.transition != Transition::Retracted && self.episode.cleared_at.is_none()
    }
}

/// What was told last of each episode that may still change, by onset.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Journal(Vec<Emission>);

impl Journal {
    /// Tells of an episode.
    pub fn emit(&mut self, transition: Transition, at: Millis, episode: Episode, why: Because) -> Emission {
        let known = self.0.iter_mut().rfind(|last| last.episode.onset == episode.onset);
        let told = Emission::after(known.as_deref(), transition, at, episode, why);
        let kept = Emission { by: None, ..told };
        match known {
            Some(last) => *last = kept,
            None => {
                let place = self.0.partition_point(|last| last.episode.onset < episode.onset);
                self.0.insert(place, kept);
            }
        }
        told
    }

    /// What was told last of the episode that began then.
    #[must_use]
    pub fn of(&self, onset: Millis) -> Option<&Emission> {
        self.0.iter().rfind(|last| last.episode.onset == onset)
    }

    /// What was told last of every episode.
    pub fn iter(&self) -> impl Iterator<Item = &Emission> {
        self.0.iter()
    }

    /// Keeps the episodes of some onsets.
    pub fn retain(&mut self, keep: impl Fn(Millis) -> bool) {
        self.0.retain(|last| keep(last.episode.onset));
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn episode(onset: Millis) -> Episode {
        Episode {
            onset,
            raised_at: onset + 1,
            cleared_at: None,
            first_value: 1.0,
            current_value: 1.0,
            peak_value: 1.0,
            peak_at: onset,
            level: 3,
            peak_level: 3,
        }
    }

    #[test]
    fn transitions_of_an_episode_are_numbered_and_never_go_back_in_time() {
        let mut journal = Journal::default();
        let mut emit = |onset, transition, at| {
            let told = journal.emit(transition, at, episode(onset), Cause::Data.into());
            (told.sequence, told.at)
        };
        assert_eq!(emit(50, Transition::Raised, 51), (1, 51));
        assert_eq!(emit(10, Transition::Raised, 60), (1, 60));
        assert_eq!(emit(10, Transition::Updated, 40), (2, 60));
        assert_eq!(emit(50, Transition::Retracted, 70), (2, 70));
        let onsets: Vec<Millis> = journal.iter().map(|last| last.episode.onset).collect();
        assert_eq!(onsets, [10, 50]);
        assert!(journal.of(10).unwrap().stands() && !journal.of(50).unwrap().stands());
        journal.retain(|onset| onset > 10);
        assert!(journal.of(10).is_none() && !journal.is_empty());
    }
}
