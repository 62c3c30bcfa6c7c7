//! The written form of objects and their watched series: arrivals, readings, and what each rule told. Not the rules,
//! limits and places: they follow from the registry, and a million series would repeat them.
//!
//! Enters: the state of an object at the end of an epoch. Leaves: its bytes; from the bytes [`SavedObject`], which
//! becomes the object again once its profile is known.
//! Guarantees: an object that comes back goes on exactly as the one that was written. A quiet series of one rule takes
//! some 45 bytes beside its packed readings.

use std::{fmt, rc::Rc, sync::OnceLock};

use rustc_hash::FxHashMap;
use schemas::{Catalogue, Code, Millis, Side, metric};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{SeqAccess, Visitor},
};
use smallvec::SmallVec;

use super::{
    communication::{Contact, FormerContact},
    episode::Fold,
    journal::Journal,
    kind::{self, KindsOfObject},
    monitor::{Judged, RuleMonitor},
    object::{ObjectState, Subject},
    rhythm::Patience,
    rule::{Rule, threshold_code},
    series::WatchedSeries,
};
use crate::{Object, window::points::Points};

/// An object as it was written, without what its profile says.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SavedObject {
    contact: Contact,
    series: Vec<(SavedSubject, SavedSeries)>,
}

/// An object as form 1 wrote it: it did not remember how uploads are spaced.
#[derive(Debug, Deserialize)]
pub struct FormerObject {
    contact: FormerContact,
    series: Vec<(SavedSubject, SavedSeries)>,
}

impl From<FormerObject> for SavedObject {
    fn from(former: FormerObject) -> SavedObject {
        SavedObject { contact: former.contact.into(), series: former.series }
    }
}

impl SavedObject {
    /// The object again, under the rules, the place and the patience of its profile.
    ///
    /// When they are those under which it was written, nothing is to be told. Otherwise what changed must be put in
    /// force as a change of the registry ([`ObjectState::watch`]).
    #[must_use]
    pub fn resume(
        self,
        object: Rc<Object>,
        rules: &[Rc<Rule>],
        kinds: &KindsOfObject,
        (patience, level): (Patience, u8),
    ) -> ObjectState {
        let series = |(SavedSubject(subject), series): (SavedSubject, SavedSeries)| {
            let rule_of = |side, name: &Code| {
                let rule = match subject {
                    Subject::Kind(kind) => kinds.rule(kind),
                    Subject::Metric(metric) => {
                        let of = |rule: &&Rc<Rule>| {
                            rule.metric == Some(metric) && rule.limits.side == side && rule.name == *name
                        };
                        rules.iter().find(of)
                    }
                };
                rule.map_or_else(|| Rc::new(out_of_force(subject, side, name)), Rc::clone)
            };
            (subject, series.resume(rule_of))
        };
        // One that never took a reading begins with its first.
        let begun = self.series.into_iter().filter(|(_, series)| series.newest() > Millis::MIN);
        let mut series: Vec<(Subject, WatchedSeries)> = begun.map(series).collect();
        // The process that wrote it may have had other numbers for the same metrics.
        series.sort_unstable_by_key(|(subject, _)| *subject);
        let contact = self.contact.resume(patience, level);
        let reports = (!kinds.reports.is_empty()).then(|| Box::new(kinds.reports.clone()));
        ObjectState { series, reports, ..ObjectState::new(object, contact) }
    }
}

fn out_of_force(subject: Subject, side: Side, name: &Code) -> Rule {
    match subject {
        Subject::Kind(kind) => kind::out_of_force(kind, side),
        Subject::Metric(metric) => {
            let code = threshold_code(metric, side, name);
            Rule::out_of_force(code, name.clone(), Some(metric), side)
        }
    }
}

/// Written as [`SavedObject`] is read.
impl Serialize for ObjectState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        debug_assert!(!self.dirty, "objects are judged anew before their epoch ends");
        (&self.contact, Listed(&self.series)).serialize(serializer)
    }
}

/// Series under the names of their metrics.
struct Listed<'a>(&'a [(Subject, WatchedSeries)]);

impl Serialize for Listed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(subject, series)| (SavedSubject(*subject), series)))
    }
}

/// What a series is of in four bytes: for a metric a hash of its code, as numbers in the catalogue may shift from version
/// to version; for the signal of a kind its id.
#[derive(Clone, Copy, Debug, PartialEq)]
struct SavedSubject(Subject);

impl SavedSubject {
    /// A catalogue refuses metrics that would have the same.
    fn name(self) -> [u8; 4] {
        let name: u32 = match self.0 {
            Subject::Kind(kind) => kind::ALL[usize::from(kind)].id,
            Subject::Metric(metric) => metric::hash(metric.code()),
        };
        name.to_le_bytes()
    }
}

impl Serialize for SavedSubject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.name().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SavedSubject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SavedSubject, D::Error> {
        static SUBJECTS: OnceLock<FxHashMap<[u8; 4], SavedSubject>> = OnceLock::new();
        let subjects = SUBJECTS.get_or_init(|| {
            subjects().map(|subject| (SavedSubject(subject).name(), SavedSubject(subject))).collect()
        });
        let name = <[u8; 4]>::deserialize(deserializer)?;
        subjects.get(&name).copied().ok_or_else(|| {
            let hash = u32::from_le_bytes(name);
            metric::unknown(format_args!("with the hash {hash:08x} (its code is not written here)"))
        })
    }
}

/// Everything that a series may be of.
fn subjects() -> impl Iterator<Item = Subject> {
    let metrics = Catalogue::in_force().iter().map(|(metric, _)| Subject::Metric(metric));
    (0..kind::ALL.len() as u8).map(Subject::Kind).chain(metrics)
}

/// A series as it was written, without its rules.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SavedSeries {
    points: Points,
    /// Time from the last remembered reading to the newest that came: one may have been taken back.
    ahead: Millis,
    watches: SmallVec<[SavedMonitor; 1]>,
}

/// What a rule told. Rules over one series differ in their side and their name, so these say which.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedMonitor {
    marks: u8,
    settled: Fold,
    latest: Fold,
    journal: Journal,
    /// Written only when it is not empty, as for most rules: then the marks say so.
    name: Code,
}

const IN_FORCE: u8 = 1;
const LOW: u8 = 2;
const NAMED: u8 = 4;

impl<'de> Deserialize<'de> for SavedMonitor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SavedMonitor, D::Error> {
        struct Parts;

        impl<'de> Visitor<'de> for Parts {
            type Value = SavedMonitor;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("marks, two folds, a journal and, where the marks say so, a name")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<SavedMonitor, A::Error> {
                fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(parts: &mut A) -> Result<T, A::Error> {
                    parts.next_element()?.ok_or_else(|| serde::de::Error::custom("a monitor is cut off"))
                }
                let marks: u8 = next(&mut parts)?;
                let (settled, latest, journal) = (next(&mut parts)?, next(&mut parts)?, next(&mut parts)?);
                let name = if marks & NAMED == 0 { Code::default() } else { next(&mut parts)? };
                Ok(SavedMonitor { marks, settled, latest, journal, name })
            }
        }

        deserializer.deserialize_tuple(5, Parts)
    }
}

impl SavedSeries {
    fn newest(&self) -> Millis {
        last(&self.points).wrapping_add(self.ahead)
    }

    /// The series again. `rule_of` gives its rule of a side and name: the one in force, and where none is, one that has the name
    /// of the one that was ([`Rule::out_of_force`]).
    #[must_use]
    pub fn resume(self, mut rule_of: impl FnMut(Side, &Code) -> Rc<Rule>) -> WatchedSeries {
        WatchedSeries {
            newest: self.newest(),
            points: self.points,
            revision: None,
            watches: self.watches.into_iter().map(|watch| watch.resume(&mut rule_of)).collect(),
        }
    }
}

impl SavedMonitor {
    /// The rule again with what it told; `rule_of` gives the rule of a side and name.
    #[must_use]
    pub fn resume(self, mut rule_of: impl FnMut(Side, &Code) -> Rc<Rule>) -> RuleMonitor {
        let SavedMonitor { marks, settled, latest, journal, name } = self;
        let judged = Judged { settled, latest, journal };
        RuleMonitor {
            rule: rule_of(if marks & LOW == 0 { Side::High } else { Side::Low }, &name),
            enabled: marks & IN_FORCE != 0,
            judged: (!judged.is_empty()).then(|| Box::new(judged)),
        }
    }
}

impl SavedSeries {
    /// What the rules over it told, by side, without the readings: where each fold stands, and what was told.
    pub fn into_watches(self) -> impl Iterator<Item = (Side, Fold, SavedMonitor)> {
        self.watches.into_iter().map(|watch| {
            let side = if watch.marks & LOW == 0 { Side::High } else { Side::Low };
            let told = SavedMonitor { marks: watch.marks, journal: watch.journal, ..SavedMonitor::new(side) };
            (side, watch.latest, told)
        })
    }
}

impl SavedMonitor {
    /// A rule in force of which nothing was told.
    #[must_use]
    pub fn new(side: Side) -> SavedMonitor {
        let marks = if side == Side::Low { IN_FORCE | LOW } else { IN_FORCE };
        let (settled, latest) = (Fold::default(), Fold::default());
        SavedMonitor { marks, settled, latest, journal: Journal::default(), name: Code::default() }
    }
}

/// Written as [`SavedSeries`] is read.
impl Serialize for WatchedSeries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        debug_assert!(self.revision.is_none(), "series are judged anew before their epoch ends");
        let ahead = self.newest.wrapping_sub(last(&self.points));
        (&self.points, ahead, &self.watches).serialize(serializer)
    }
}

/// Written as [`SavedMonitor`] is read.
impl Serialize for RuleMonitor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mark = |holds: bool, mark: u8| if holds { mark } else { 0 };
        let name = &self.rule.name;
        let low = mark(self.rule.limits.side == Side::Low, LOW);
        let marks = low | mark(self.enabled, IN_FORCE) | mark(!name.is_empty(), NAMED);
        let calm = Judged::default();
        let Judged { settled, latest, journal } = self.judged.as_deref().unwrap_or(&calm);
        match name.is_empty() {
            true => (marks, settled, latest, journal).serialize(serializer),
            false => (marks, settled, latest, journal, name).serialize(serializer),
        }
    }
}

fn last(points: &Points) -> Millis {
    points.last().map_or(0, |point| point.at)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use schemas::{
        Threshold,
        time::{HOUR, MINUTE},
    };

    use super::{
        super::{
            journal::{Cause, Emission},
            series::Reach,
        },
        *,
    };

    const NOW: Reach = Reach { clock: 0, horizon: 2 * HOUR };

    fn rule(side: Side, level: f64, name: &str) -> Rc<Rule> {
        Rc::new(Rule::of_threshold(
            &Threshold {
                scope: "station".into(),
                metric: Catalogue::in_force().id("secondary_supply_temp").unwrap(),
                side,
                level1: None,
                level2: None,
                level3: Some(level),
                deadband: 1.0,
                on_delay: 120,
                off_delay: 60,
                enabled: true,
                advice: String::new(),
                rule: name.into(),
            },
            10 * MINUTE,
            None,
        ))
    }

    /// Written and read back; the rules in force are known from elsewhere, others only by name.
    fn again(series: &WatchedSeries) -> WatchedSeries {
        let bytes = postcard::to_stdvec(series).unwrap();
        let saved: SavedSeries = postcard::from_bytes(&bytes).unwrap();
        let again = saved.resume(|side, name| {
            let in_force = |watch: &&RuleMonitor| {
                watch.enabled && watch.rule.limits.side == side && watch.rule.name == *name
            };
            if let Some(watch) = series.watches().iter().find(in_force) {
                return Rc::clone(&watch.rule);
            }
            Rc::new(out_of_force(Subject::Metric(rule(side, 0.0, "").metric.unwrap()), side, name))
        });
        assert_eq!(postcard::to_stdvec(&again).unwrap(), bytes, "the same is written again");
        again
    }

    /// One step of a series, and what it tells.
    fn step(series: &mut WatchedSeries, number: i64) -> Vec<(usize, Emission)> {
        let mut told = Vec::new();
        let all = [rule(Side::High, 60.0, ""), rule(Side::High, 65.0, "grave"), rule(Side::Low, 40.0, "")];
        // A walk through good, bad and unusable, in order and late, with rules that leave and come back.
        let late = if number % 5 == 3 { (number * 13 % 140) * MINUTE } else { 0 };
        let value = [50.0, 61.0, 62.5, 70.0, 39.0, 50.0, 30.0][(number / 4 * 3 % 7) as usize];
        let usable = (number % 11 != 7).then_some(value);
        series.take(number * MINUTE - late, usable, Cause::LateData.into(), NOW, &mut told);
        if number % 17 == 0 {
            let rules = [&all[..], &all[..1], &[], &all[1..2], &all[2..]][(number / 17 % 5) as usize];
            series.watch(rules, number * MINUTE, &mut told);
        }
        series.revise(NOW, &mut told);
        told
    }

    #[test]
    fn a_series_read_back_after_every_step_tells_the_same() {
        let (mut whole, mut torn) = (WatchedSeries::new(1), WatchedSeries::new(1));
        let (mut told, mut in_force) = (0, [0; 4]);
        for number in 0..2_000 {
            torn = again(&torn);
            let seen = step(&mut whole, number);
            assert_eq!(step(&mut torn, number), seen, "step {number}");
            told += seen.len();
            in_force[whole.watches().iter().filter(|watch| watch.enabled).count()] += 1;
        }
        assert!(told > 200 && [0, 1, 3].iter().all(|n| in_force[*n] > 200), "{told} told, {in_force:?}");
    }

    #[test]
    fn metrics_differ_in_their_written_names() {
        let names: BTreeMap<_, _> =
            subjects().map(|subject| (SavedSubject(subject).name(), subject)).collect();
        assert_eq!(names.len(), subjects().count());
        for metric in names.into_values() {
            let bytes = postcard::to_stdvec(&SavedSubject(metric)).unwrap();
            assert_eq!((bytes.len(), postcard::from_bytes(&bytes)), (4, Ok(SavedSubject(metric))));
        }
        assert!(postcard::from_bytes::<SavedSubject>(&[1, 2, 3, 4]).is_err());
    }

    #[test]
    fn an_empty_series_and_one_whose_newest_was_taken_back_come_back() {
        let mut series = WatchedSeries::new(1);
        assert_eq!(again(&series).newest, Millis::MIN);
        for minute in [1, 2] {
            series.take(minute * MINUTE, Some(50.0), Cause::Data.into(), NOW, &mut Vec::new());
        }
        series.take(2 * MINUTE, None, Cause::Correction.into(), NOW, &mut Vec::new());
        series.revise(NOW, &mut Vec::new());
        assert_eq!(again(&series).newest, 2 * MINUTE);
    }
}
