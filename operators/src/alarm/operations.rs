//! Alarms about our own operation, by the same machinery: a sink that does not answer, a topic that went silent.
//!
//! Enters: facts from the binding of the epoch, in their order. Leaves: transitions.
//! Guarantees: a replay of the bindings gives the same transitions, from a checkpoint as well as from the beginning. No
//! condition is known here by name: a fact says how grave it is and what to do.
//!
//! Form 2 of the state: what was told last under (subject, code). Form 1 named a condition by its place in a list.

use schemas::{AlarmTransition, Code, Millis, Transition};
use serde_json::json;

use super::{
    episode::Episode,
    journal::{Cause, Emission},
    transition::{Concern, sort},
};
use crate::{
    Object,
    durable::{Durable, GLOBAL, Keyed, RestoreError, Saved, known_form, read_section},
};

/// The facility that operational alarms are about.
pub const OURSELVES: &str = "nuanliu";

/// Something observed about the pipeline itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationalFact {
    /// What it is about, such as the name of a sink; becomes the device of the alarm.
    pub subject: String,
    /// The code of what may be wrong with it: the rule of the alarm.
    pub code: &'static str,
    /// The level of the alarm: 1 (gravest) to 3.
    pub level: u8,
    /// What to do about it.
    pub advice: &'static str,
    /// Whether the condition holds.
    pub active: bool,
    /// What is wrong, for the evidence. Another detail is told as an update: figures that change all the time do not
    /// belong here.
    pub detail: String,
}

/// Subject and code.
type Key = (String, Code);

/// What was told last, with the detail told.
type Known = (Emission, String);

/// What was told last of each subject and condition.
#[derive(Debug)]
pub struct Operations {
    /// Bounded by the number of subjects, which configuration names.
    known: Keyed<Key, Known>,
}

impl Default for Operations {
    fn default() -> Operations {
        Operations { known: Keyed::new(|_| GLOBAL) }
    }
}

/// All of it is in the shard of the first worker, which tells for all.
impl Durable for Operations {
    const STATE: &'static str = "operations";
    const FORM: u16 = 2;

    fn begin(&mut self) {
        self.known.begin();
    }

    fn save(&mut self, entries: usize, out: &mut Saved) -> bool {
        self.known.save(entries, out)
    }

    fn restore(&mut self, _shard: u16, form: u16, section: &[u8]) -> Result<(), RestoreError> {
        known_form(Self::STATE, form, Self::FORM)?;
        match form {
            1 => self.known.restore(Self::STATE, &section_of_form_1(section)?),
            _ => self.known.restore(Self::STATE, section),
        }
    }
}

/// The codes of the conditions as form 1 counted them. It stays as it is.
const OF_FORM_1: [&str; 8] = [
    "sink_down",
    "lag",
    "no_data",
    "checkpoint_failing",
    "disk_nearly_full",
    "clock_skew",
    "source_down",
    "data_lost",
];

/// A section of form 1 as form 2 has it.
fn section_of_form_1(section: &[u8]) -> Result<Vec<u8>, RestoreError> {
    let mut known = Ok(Saved::default());
    read_section(
        Operations::STATE,
        section,
        |(subject, place): (String, u32), value: Option<Known>| match (
            OF_FORM_1.get(place as usize),
            &mut known,
        ) {
            (Some(code), Ok(known)) => known.put(GLOBAL, &(subject, code), value.as_ref()),
            (Some(_), Err(_)) => {}
            (None, known) => *known = Err(place),
        },
    )?;
    let sections = known.map(Saved::into_sections).map_err(|place| RestoreError::Unreadable {
        state: Operations::STATE,
        detail: format!("form 1 has no condition {place}"),
    });
    Ok(sections?.remove(&GLOBAL).unwrap_or_default())
}

impl Operations {
    /// Takes the facts of an epoch. A fact that says what is already known changes nothing.
    pub fn apply(&mut self, clock: Millis, facts: &[OperationalFact]) -> Vec<AlarmTransition> {
        for (key, known) in self.known.all_restored() {
            self.known.insert_restored(key, known);
        }
        let mut transitions = Vec::new();
        for fact in facts {
            let key = (fact.subject.clone(), Code::const_new(fact.code));
            let known = self.known.number(&key).and_then(|number| self.known.get(number));
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

fn judge(clock: Millis, fact: &OperationalFact, known: Option<&Known>) -> Option<Emission> {
    let standing = known.filter(|(last, _)| last.episode.cleared_at.is_none());
    let next = |last, transition, episode| {
        Some(Emission::after(last, transition, clock, episode, Cause::Clock.into()))
    };
    match (standing, fact.active) {
        // The clock may stand still: then it is the same episode that goes on.
        (None, true) => {
            let last = known.map(|(last, _)| last).filter(|last| last.episode.onset == clock);
            next(last, Transition::Raised, begun(clock, fact.level))
        }
        (Some((last, detail)), true) if *detail != fact.detail => {
            next(Some(last), Transition::Updated, last.episode)
        }
        (Some((last, _)), false) => {
            let cleared_at = Some(clock.max(last.at));
            let ended = Episode { cleared_at, current_value: 0.0, ..last.episode };
            next(Some(last), Transition::Cleared, ended)
        }
        _ => None,
    }
}

fn begun(at: Millis, level: u8) -> Episode {
    Episode {
        onset: at,
        raised_at: at,
        cleared_at: None,
        first_value: 1.0,
        current_value: 1.0,
        peak_value: 1.0,
        peak_at: at,
        level,
        peak_level: level,
    }
}

fn describe(fact: &OperationalFact, told: &Emission) -> AlarmTransition {
    let object = Object { facility: Code::const_new(OURSELVES), device: Code::from(fact.subject.as_str()) };
    let concern = Concern {
        rule: fact.code,
        metric: None,
        object: &object,
        profile: None,
        analysed: false,
        advice: fact.advice,
    };
    concern.transition(told, &json!({ "subject": fact.subject, "detail": fact.detail }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::durable::restarts::{hex, unhex};

    fn fact(active: bool, detail: &str) -> OperationalFact {
        let (subject, detail) = ("clickhouse".to_owned(), detail.to_owned());
        OperationalFact { subject, code: "sink_down", level: 1, advice: "检查该服务", active, detail }
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

    #[test]
    fn code_level_and_advice_are_those_of_the_fact() {
        let fact = OperationalFact { code: "clock_skew", level: 2, advice: "NTP", ..fact(true, "3 s") };
        let told = Operations::default().apply(1_000, &[fact]);
        assert_eq!((told[0].rule.as_str(), told[0].level, told[0].peak_level), ("clock_skew", 2, 2));
        assert_eq!((told[0].advice.as_str(), told[0].device.as_str()), ("NTP", "clickhouse"));
    }

    /// Seconds that pass, facts, whether a checkpoint begins, whether the process is lost.
    type Made = (i64, Vec<OperationalFact>, bool, bool);

    fn made() -> impl Strategy<Value = Made> {
        let subject = prop::sample::select(vec!["clickhouse", "kafka", "exchange"]);
        let code = prop::sample::select(OF_FORM_1.to_vec());
        let detail = prop::sample::select(vec!["503", "timeout"]);
        let fact = (subject, code, any::<bool>(), detail).prop_map(|(subject, code, active, detail)| {
            OperationalFact { subject: subject.to_owned(), code, ..fact(active, detail) }
        });
        let facts = prop::collection::vec(fact, 0..8);
        (0..3_i64, facts, prop::bool::weighted(0.3), prop::bool::weighted(0.2))
    }

    proptest! {
        #[test]
        fn restored_conditions_go_on_as_if_nothing_had_happened(
            run in prop::collection::vec(made(), 1..40)
        ) {
            let clocks: Vec<Millis> =
                run.iter().scan(0, |clock, made| { *clock += made.0 * 1_000; Some(*clock) }).collect();
            let mut whole = Operations::default();
            let all: Vec<_> = run.iter().zip(&clocks).map(|(made, clock)| whole.apply(*clock, &made.1)).collect();

            let (mut torn, mut chain, mut done) = (Operations::default(), Vec::new(), None);
            let (mut under_way, mut saved) = (None, Saved::default());
            let (mut number, mut losses) = (0, 0);
            while number < run.len() {
                let (_, facts, begin, lost) = &run[number];
                prop_assert_eq!(&torn.apply(clocks[number], facts), &all[number]);
                if *begin {
                    torn.begin();
                    under_way = Some(number);
                }
                if torn.save(2, &mut saved) && under_way.is_some() {
                    done = under_way.take();
                    chain.extend(std::mem::take(&mut saved).into_sections());
                }
                number += 1;
                if *lost && losses < number {
                    losses = number;
                    (torn, under_way, saved) = (Operations::default(), None, Saved::default());
                    for (shard, section) in &chain {
                        torn.restore(*shard, Operations::FORM, section).unwrap();
                    }
                    if let Some(done) = done {
                        prop_assert_eq!(torn.apply(clocks[done], &[]), vec![]);
                    }
                    number = done.map_or(0, |done| done + 1);
                }
            }
        }
    }

    /// A section as form 1 wrote it. It stays as it is: what was saved must be readable for ever.
    const FORM_1: &str = "\
        0c0000000a636c69636b686f757365002b00000000a01f01a01fa01f00000000000000f03f000000000000f03f000000\
        000000f03fa01f01010403353033";

    /// The same as form 2 writes it.
    const FORM_2: &str = "\
        150000000a636c69636b686f7573650973696e6b5f646f776e2b00000000a01f01a01fa01f00000000000000f03f0000\
        00000000f03f000000000000f03fa01f01010403353033";

    #[rstest::rstest]
    #[case(1, FORM_1)]
    #[case(2, FORM_2)]
    fn a_section_of_each_form_goes_on(#[case] form: u16, #[case] section: &str) {
        let mut operations = Operations::default();
        operations.apply(2_000, &[fact(true, "503")]);
        operations.begin();
        let mut saved = Saved::default();
        operations.save(usize::MAX, &mut saved);
        let written = saved.into_sections().remove(&GLOBAL).unwrap();
        assert_eq!(hex(&written), FORM_2, "if the form has changed on purpose, it needs a new number");

        let mut restored = Operations::default();
        restored.restore(GLOBAL, form, &unhex(section)).unwrap();
        assert_eq!(restored.apply(2_000, &[]), []);
        let cleared = restored.apply(9_000, &[fact(false, "")]);
        assert_eq!(cleared, operations.apply(9_000, &[fact(false, "")]));
        assert_eq!((cleared[0].sequence, cleared[0].raised_at), (2, 2_000));
        assert!(restored.restore(GLOBAL, 3, &written).is_err(), "a form of a later version");
    }

    #[test]
    fn form_1_names_conditions_by_their_place() {
        let mut section = unhex(FORM_1);
        let place = 4 + 1 + "clickhouse".len();
        let restored = |section: &[u8]| {
            let mut operations = Operations::default();
            operations
                .restore(GLOBAL, 1, section)
                .map(|()| operations.known.all_restored().into_keys().next())
        };
        let places =
            "sink_down lag no_data checkpoint_failing disk_nearly_full clock_skew source_down data_lost";
        for (number, code) in (0..).zip(places.split(' ')) {
            section[place] = number;
            let key = ("clickhouse".to_owned(), Code::const_new(code));
            assert_eq!(restored(&section), Ok(Some(key)));
        }
        section[place] = 8;
        assert!(matches!(restored(&section), Err(RestoreError::Unreadable { state: "operations", .. })));
    }
}
