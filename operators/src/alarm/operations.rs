//! Alarms about our own operation, by the same machinery: a sink that does not answer, a connector that is cut off.
//!
//! Enters: facts from the binding of the epoch, in their order. Leaves: transitions.
//! Guarantees: a replay of the bindings gives the same transitions.

use std::collections::BTreeMap;

use schemas::{AlarmTransition, Code, Millis, Transition};
use serde_json::json;

use super::{
    episode::Episode,
    transition::{Concern, sort},
    watch::{Cause, Told},
};
use crate::Object;

/// The facility that operational alarms are about.
pub const OURSELVES: &str = "nuanliu";

/// Something observed about the pipeline itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationalFact {
    /// What it is about, such as the name of a sink; becomes the device of the alarm.
    pub subject: String,
    /// The rule code, such as `sink_down`.
    pub condition: &'static str,
    /// Whether the condition holds.
    pub active: bool,
    /// What is wrong, for the evidence.
    pub detail: String,
}

/// What was told last of each (subject, condition), with the detail told.
#[derive(Debug, Default)]
pub struct Operations {
    /// Bounded by the number of subjects, which configuration names.
    known: BTreeMap<(String, &'static str), (Told, String)>,
}

impl Operations {
    /// Takes the facts of an epoch. A fact that says what is already known changes nothing.
    pub fn apply(&mut self, clock: Millis, facts: &[OperationalFact]) -> Vec<AlarmTransition> {
        let mut transitions = Vec::new();
        for fact in facts {
            let key = (fact.subject.clone(), fact.condition);
            let known = self.known.get(&key);
            let Some(told) = judge(clock, fact, known) else { continue };
            transitions.push(describe(fact, &told));
            self.known.insert(key, (told, fact.detail.clone()));
        }
        sort(&mut transitions);
        transitions
    }

    /// How many conditions are known.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.known.len()
    }
}

fn judge(clock: Millis, fact: &OperationalFact, known: Option<&(Told, String)>) -> Option<Told> {
    let standing = known.filter(|(last, _)| last.episode.cleared_at.is_none());
    match (standing, fact.active) {
        // The clock may stand still: then it is the same episode that goes on.
        (None, true) => Some(match known.filter(|(last, _)| last.episode.onset == clock) {
            Some((last, _)) => told(Transition::Raised, last.at, last.sequence + 1, begun(clock)),
            None => told(Transition::Raised, clock, 1, begun(clock)),
        }),
        (Some((last, detail)), true) if *detail != fact.detail => {
            Some(told(Transition::Updated, clock.max(last.at), last.sequence + 1, last.episode))
        }
        (Some((last, _)), false) => {
            let at = clock.max(last.at);
            let ended = Episode { cleared_at: Some(at), current_value: 0.0, ..last.episode };
            Some(told(Transition::Cleared, at, last.sequence + 1, ended))
        }
        _ => None,
    }
}

fn told(transition: Transition, at: Millis, sequence: u32, episode: Episode) -> Told {
    Told { transition, at, sequence, episode, cause: Cause::Clock }
}

fn begun(at: Millis) -> Episode {
    Episode {
        onset: at,
        raised_at: at,
        cleared_at: None,
        first_value: 1.0,
        current_value: 1.0,
        peak_value: 1.0,
        peak_at: at,
        level: 1,
        peak_level: 1,
    }
}

fn describe(fact: &OperationalFact, told: &Told) -> AlarmTransition {
    let object = Object { facility: Code::const_new(OURSELVES), device: Code::from(fact.subject.as_str()) };
    let concern = Concern {
        rule: fact.condition,
        metric: None,
        object: &object,
        profile: None,
        analysed: false,
        advice: "检查该服务及其连接；恢复后数据自动补送，不会丢失",
    };
    concern.transition(told, &json!({ "subject": fact.subject, "detail": fact.detail }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(active: bool, detail: &str) -> OperationalFact {
        OperationalFact {
            subject: "clickhouse".into(),
            condition: "sink_down",
            active,
            detail: detail.into(),
        }
    }

    #[test]
    fn a_sink_goes_down_and_comes_back() {
        let mut operations = Operations::default();
        let mut seen = Vec::new();
        for (clock, facts) in [
            (1_000, vec![fact(false, "")]),
            (2_000, vec![fact(true, "503")]),
            (3_000, vec![fact(true, "503")]),
            (4_000, vec![fact(true, "timeout"), fact(false, "")]),
            (5_000, vec![fact(true, "503"), fact(false, ""), fact(true, "503")]),
        ] {
            for t in operations.apply(clock, &facts) {
                seen.push((t.transition.name(), t.at, t.sequence, t.alarm_id));
            }
        }
        let what: Vec<_> = seen.iter().map(|(name, at, sequence, _)| (*name, *at, *sequence)).collect();
        assert_eq!(
            what,
            [
                ("raised", 2_000, 1),
                ("updated", 4_000, 2),
                ("cleared", 4_000, 3),
                ("raised", 5_000, 1),
                ("cleared", 5_000, 2),
                ("raised", 5_000, 3)
            ]
        );
        assert_eq!(seen[0].3, seen[2].3);
        assert_ne!(seen[0].3, seen[3].3, "another episode has another name");
        assert_eq!(operations.entries(), 1);
    }
}
