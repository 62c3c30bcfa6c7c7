//! Alarms about our own operation, by the same machinery: a sink that does not answer, a topic that went silent.
//!
//! Enters: facts from the binding of the epoch, in their order. Leaves: transitions.
//! Guarantees: a replay of the bindings gives the same transitions, from a checkpoint as well as from the beginning.

use schemas::{AlarmTransition, Code, Millis, Transition};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    episode::Episode,
    monitor::{Cause, Emission},
    transition::{Concern, sort},
};
use crate::{
    Object,
    durable::{Durable, GLOBAL, Keyed, RestoreError, Saved, known_form},
};

/// The facility that operational alarms are about.
pub const OURSELVES: &str = "nuanliu";

macro_rules! conditions {
    ($($(#[$doc:meta])* $variant:ident => $code:literal, $level:literal, $advice:literal;)*) => {
        /// What can be wrong with the pipeline itself.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum OperationalCondition { $($(#[$doc])* $variant,)* }

        impl OperationalCondition {
            /// Every condition. New ones come last: checkpoints name them by their place.
            pub const ALL: &'static [OperationalCondition] = &[$(OperationalCondition::$variant,)*];

            /// The rule code of its alarms.
            #[must_use]
            pub fn code(self) -> &'static str { match self { $(Self::$variant => $code,)* } }

            /// The level of its alarms: 1 (gravest) to 3.
            #[must_use]
            pub fn level(self) -> u8 { match self { $(Self::$variant => $level,)* } }

            /// What to do about it.
            #[must_use]
            pub fn advice(self) -> &'static str { match self { $(Self::$variant => $advice,)* } }
        }
    };
}

conditions! {
    /// A sink does not take what it is given.
    SinkDown => "sink_down", 1, "检查该服务及其连接；恢复后数据自动补送，不会丢失";
    /// The flow is behind its input.
    Lag => "lag", 2, "检查处理能力与各输出服务的速度；积压数据会自动补算，不会丢失";
    /// A topic has brought nothing for too long.
    NoData => "no_data", 2, "检查该主题的采集接入服务、上游平台与网络；恢复后自动继续处理";
    /// Checkpoints cannot be written.
    CheckpointFailing => "checkpoint_failing", 2, "检查检查点存储的空间、权限与连接；在恢复之前重启耗时更长，数据不会丢失";
    /// A disk is nearly full.
    DiskNearlyFull => "disk_nearly_full", 2, "清理该磁盘或扩容，避免写入失败";
    /// Clocks disagree.
    ClockSkew => "clock_skew", 2, "检查各服务器的时间同步（NTP）服务";
    /// The brokers do not answer.
    SourceDown => "source_down", 1, "检查 Kafka 服务及其连接；恢复后自动继续处理，期间时钟停走，不误报离线";
    /// Records were gone before they were read, and the operator accepted that.
    DataLost => "data_lost", 1, "核对证据中的分区与偏移量，从上游补传该时段数据；延长主题保留时间";
}

impl OperationalCondition {
    /// The condition of a rule code.
    #[must_use]
    pub fn of(code: &str) -> Option<OperationalCondition> {
        Self::ALL.iter().copied().find(|condition| condition.code() == code)
    }
}

/// Something observed about the pipeline itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationalFact {
    /// What it is about, such as the name of a sink; becomes the device of the alarm.
    pub subject: String,
    /// What may be wrong with it.
    pub condition: OperationalCondition,
    /// Whether the condition holds.
    pub active: bool,
    /// What is wrong, for the evidence. Another detail is told as an update: figures that change all the time do not
    /// belong here.
    pub detail: String,
}

/// Subject and condition.
type Key = (String, OperationalCondition);

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
    const FORM: u16 = 1;

    fn begin(&mut self) {
        self.known.begin();
    }

    fn save(&mut self, entries: usize, out: &mut Saved) -> bool {
        self.known.save(entries, out)
    }

    fn restore(&mut self, _shard: u16, form: u16, section: &[u8]) -> Result<(), RestoreError> {
        known_form(Self::STATE, form, Self::FORM)?;
        self.known.restore(Self::STATE, section)
    }
}

impl Operations {
    /// Takes the facts of an epoch. A fact that says what is already known changes nothing.
    pub fn apply(&mut self, clock: Millis, facts: &[OperationalFact]) -> Vec<AlarmTransition> {
        for (key, known) in self.known.all_restored() {
            self.known.insert_restored(key, known);
        }
        let mut transitions = Vec::new();
        for fact in facts {
            let key = (fact.subject.clone(), fact.condition);
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
    let level = fact.condition.level();
    let standing = known.filter(|(last, _)| last.episode.cleared_at.is_none());
    match (standing, fact.active) {
        // The clock may stand still: then it is the same episode that goes on.
        (None, true) => Some(match known.filter(|(last, _)| last.episode.onset == clock) {
            Some((last, _)) => told(Transition::Raised, last.at, last.sequence + 1, begun(clock, level)),
            None => told(Transition::Raised, clock, 1, begun(clock, level)),
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

fn told(transition: Transition, at: Millis, sequence: u32, episode: Episode) -> Emission {
    Emission { transition, at, sequence, episode, cause: Cause::Clock }
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
        rule: fact.condition.code(),
        metric: None,
        object: &object,
        profile: None,
        analysed: false,
        advice: fact.condition.advice(),
    };
    concern.transition(told, &json!({ "subject": fact.subject, "detail": fact.detail }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::durable::restarts::{hex, unhex};

    fn fact(active: bool, detail: &str) -> OperationalFact {
        OperationalFact {
            subject: "clickhouse".into(),
            condition: OperationalCondition::SinkDown,
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

    #[test]
    fn conditions_are_known_by_their_codes() {
        for condition in OperationalCondition::ALL {
            assert_eq!(OperationalCondition::of(condition.code()), Some(*condition));
            assert!((1..=3).contains(&condition.level()) && !condition.advice().is_empty());
        }
        assert_eq!(OperationalCondition::of("sink_up"), None);
        let fact = OperationalFact { condition: OperationalCondition::ClockSkew, ..fact(true, "3 s") };
        let told = Operations::default().apply(1_000, &[fact]);
        assert_eq!((told[0].rule.as_str(), told[0].level, told[0].peak_level), ("clock_skew", 2, 2));
        assert!(told[0].advice.contains("NTP"), "{}", told[0].advice);
    }

    /// Seconds that pass, facts, whether a checkpoint begins, whether the process is lost.
    type Made = (i64, Vec<OperationalFact>, bool, bool);

    fn made() -> impl Strategy<Value = Made> {
        let subject = prop::sample::select(vec!["clickhouse", "kafka", "exchange"]);
        let condition = prop::sample::select(OperationalCondition::ALL);
        let detail = prop::sample::select(vec!["503", "timeout"]);
        let fact =
            (subject, condition, any::<bool>(), detail).prop_map(|(subject, condition, active, detail)| {
                OperationalFact { subject: subject.to_owned(), condition, active, detail: detail.to_owned() }
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

    #[test]
    fn a_section_of_form_1_goes_on() {
        let mut operations = Operations::default();
        operations.apply(2_000, &[fact(true, "503")]);
        operations.begin();
        let mut saved = Saved::default();
        operations.save(usize::MAX, &mut saved);
        let section = saved.into_sections().remove(&GLOBAL).unwrap();
        assert_eq!(hex(&section), FORM_1, "if the form has changed on purpose, it needs a new number");

        let mut restored = Operations::default();
        restored.restore(GLOBAL, 1, &unhex(FORM_1)).unwrap();
        assert_eq!(restored.apply(2_000, &[]), []);
        let cleared = restored.apply(9_000, &[fact(false, "")]);
        assert_eq!(cleared, operations.apply(9_000, &[fact(false, "")]));
        assert_eq!((cleared[0].sequence, cleared[0].raised_at), (2, 2_000));
        assert!(restored.restore(GLOBAL, 2, &section).is_err(), "a form of a later version");
    }
}
