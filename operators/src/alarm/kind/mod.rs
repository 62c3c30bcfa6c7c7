//! Kinds of alarms that no threshold of the registry expresses: a signal, its limits, and what an alarm shows of it.
//!
//! Enters: readings of one report, what an arrival brought, or an event. Leaves: the values of a signal, judged like
//! readings, and the rules over it. Guarantees: the engine names no kind; a series of a kind is known by the kind's id in checkpoints.
//! A kind is one file here and an entry in [`ALL`].
//!
//! Signals that are no series of an object's own: readings are watched by thresholds of the registry
//! ([`super::threshold`]), closed hours by models ([`crate::model`]), silence by [`super::communication`].

pub mod clock_wrong;
pub mod device_moved;
pub mod supply_stopped;
pub mod values_missing;

use std::rc::Rc;

use rustc_hash::FxHashMap;
use schemas::{Code, Event, Millis, Side};
use serde_json::Value;
use smallvec::SmallVec;

use super::{
    arrival::Brought, episode::Limits, journal::Emission, matter::Matter, rule::Rule, series::WatchedSeries,
};
use crate::{Change, Checked, Profile};

/// Every kind, in the order in which an object's series of kinds stand.
pub const ALL: &[&Kind] =
    &[&device_moved::KIND, &values_missing::KIND, &clock_wrong::KIND, &supply_stopped::KIND];

/// One kind.
#[derive(Debug)]
pub struct Kind {
    /// Names its series in checkpoints: one that no other kind ever had. Small, so that it is none of a metric's.
    pub id: u32,
    /// The rule code.
    pub code: &'static str,
    /// What its alarm says.
    pub meaning: &'static str,
    /// What to do about it.
    pub advice: &'static str,
    /// What it watches.
    pub signal: Signal,
    /// What the signal is judged by for an object.
    pub limits: fn(&Profile, &str) -> Limits,
}

/// What an alarm shows of a series.
pub type Evidence = fn(&Rule, &WatchedSeries, &Emission) -> Value;

/// What a kind watches.
#[derive(Debug)]
pub enum Signal {
    /// An expression over the readings of one report and what the registry says of the object.
    Report {
        /// What the registry says; `None` where the object is not watched.
        ground: fn(&Profile, &str) -> Option<Ground>,
        /// The value, where the report shows one.
        value: fn(&Ground, &Limits, &[Checked]) -> Option<Seen>,
        /// What an alarm shows.
        evidence: Evidence,
    },
    /// What an arrival brought; the series is kept only while something is wrong. 0 is good.
    Arrival {
        /// The value, where the arrival shows one.
        value: fn(Brought) -> Option<f64>,
        /// What an alarm shows.
        evidence: Evidence,
    },
    /// What events say is the matter with a facility; the signal is the sum of what is the matter at a time. It has no
    /// delays, for no event comes while nothing happens.
    Event(fn(&Event) -> Option<Matter>),
}

/// Numbers that a signal is measured against. When they change, the series begins anew.
pub type Ground = SmallVec<[f64; 2]>;

/// What a report shows of a signal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// `None` where it is not usable.
    pub value: Option<f64>,
    /// What its reading is relative to what was said before.
    pub change: Change,
}

/// How an object is watched by a kind of [`Signal::Report`].
#[derive(Clone, Debug, PartialEq)]
pub struct ReportWatch {
    /// Its place in [`ALL`].
    pub kind: u8,
    pub(super) rule: Rc<Rule>,
    ground: Ground,
}

impl ReportWatch {
    /// What a report shows.
    pub(super) fn seen(&self, readings: &[Checked]) -> Option<Seen> {
        match &ALL[usize::from(self.kind)].signal {
            Signal::Report { value, .. } => value(&self.ground, &self.rule.limits, readings),
            Signal::Arrival { .. } | Signal::Event(_) => None,
        }
    }
}

/// The rules over an object's arrivals, each with the place of its kind in [`ALL`].
pub type ArrivalRules = Vec<(u8, Rc<Rule>)>;

/// How an object is watched by all kinds.
#[derive(Clone, Debug)]
pub struct KindsOfObject {
    /// By reports, in the order of [`ALL`].
    pub reports: SmallVec<[ReportWatch; 1]>,
    /// By arrivals, in the order of [`ALL`]; the same for all objects to which they apply.
    pub arrivals: Rc<ArrivalRules>,
}

impl KindsOfObject {
    /// The rule of a kind, where it watches the object.
    pub(super) fn rule(&self, kind: u8) -> Option<&Rc<Rule>> {
        let by_report = self.reports.iter().map(|watch| (watch.kind, &watch.rule));
        let by_arrival = self.arrivals.iter().map(|(kind, rule)| (*kind, rule));
        by_report.chain(by_arrival).find(|(of, _)| *of == kind).map(|(_, rule)| rule)
    }
}

/// Whether a kind watches arrivals.
#[must_use]
pub fn is_of_arrivals(kind: u8) -> bool {
    matches!(ALL[usize::from(kind)].signal, Signal::Arrival { .. })
}

/// What an alarm of a kind over a series shows.
pub(super) fn evidence(kind: u8, rule: &Rule, series: &WatchedSeries, told: &Emission) -> Value {
    match ALL[usize::from(kind)].signal {
        Signal::Report { evidence, .. } | Signal::Arrival { evidence, .. } => evidence(rule, series, told),
        Signal::Event(_) => rule.describe(),
    }
}

/// What tells limits apart.
type LimitBits = [u64; 10];

/// Gives rules, each held once however many objects it applies to; bounded by the limits that the registry names.
#[derive(Debug, Default)]
pub struct KindRules {
    rules: FxHashMap<(u8, LimitBits), Rc<Rule>>,
    arrivals: FxHashMap<SmallVec<[LimitBits; 4]>, Rc<ArrivalRules>>,
}

impl KindRules {
    /// How an object is watched.
    pub fn of(&mut self, profile: &Profile, device: &str) -> KindsOfObject {
        let (mut reports, mut arrivals) = (SmallVec::new(), SmallVec::<[(u8, Limits); 4]>::new());
        for (place, kind) in (0..).zip(ALL) {
            match kind.signal {
                Signal::Report { ground, .. } => {
                    if let Some(ground) = ground(profile, device) {
                        let rule = self.rule(place, &(kind.limits)(profile, device));
                        reports.push(ReportWatch { kind: place, rule, ground });
                    }
                }
                Signal::Arrival { .. } => arrivals.push((place, (kind.limits)(profile, device))),
                Signal::Event(_) => {}
            }
        }
        let key = arrivals.iter().map(|(_, limits)| bits(limits)).collect();
        let arrivals = match self.arrivals.get(&key) {
            Some(known) => Rc::clone(known),
            None => {
                let rules = arrivals.iter().map(|(kind, limits)| (*kind, self.rule(*kind, limits)));
                let rules = Rc::new(rules.collect::<ArrivalRules>());
                self.arrivals.insert(key, Rc::clone(&rules));
                rules
            }
        };
        KindsOfObject { reports, arrivals }
    }

    /// The rule of a kind for a facility.
    pub fn of_facility(&mut self, place: u8, profile: &Profile) -> Rc<Rule> {
        self.rule(place, &(ALL[usize::from(place)].limits)(profile, ""))
    }

    fn rule(&mut self, place: u8, limits: &Limits) -> Rc<Rule> {
        let kind = ALL[usize::from(place)];
        let begin = || Rc::new(rule(kind, limits.clone()));
        Rc::clone(self.rules.entry((place, bits(limits))).or_insert_with(begin))
    }
}

fn rule(kind: &Kind, limits: Limits) -> Rule {
    Rule {
        code: Code::const_new(kind.code),
        name: Code::const_new(""),
        scope: Code::const_new(""),
        metric: None,
        limits,
        analysed: false,
        advice: kind.advice.to_owned(),
        heating: None,
    }
}

/// Stands for the rule of a kind that was in force and is not any more.
pub(super) fn out_of_force(kind: u8, side: Side) -> Rule {
    Rule::out_of_force(Code::const_new(ALL[usize::from(kind)].code), Code::const_new(""), None, side)
}

fn bits(limits: &Limits) -> LimitBits {
    let Limits { side, levels, deadband, on_delay, off_delay, confirmations, step, longest_gap } = limits;
    // No limit is NaN, so it can stand for none.
    let [first, second, third] = levels.map(|level| level.unwrap_or(f64::NAN).to_bits());
    let of_time = |time: Millis| time as u64;
    [
        u64::from(*side == Side::Low),
        first,
        second,
        third,
        deadband.to_bits(),
        of_time(*on_delay),
        of_time(*off_delay),
        u64::from(*confirmations),
        step.to_bits(),
        of_time(*longest_gap),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use schemas::Catalogue;

    use super::*;

    #[test]
    fn kinds_have_codes_and_ids_of_their_own() {
        let codes: BTreeSet<&str> = ALL.iter().map(|kind| kind.code).collect();
        let ids: BTreeSet<u32> = ALL.iter().map(|kind| kind.id).collect();
        assert_eq!((codes.len(), ids.len()), (ALL.len(), ALL.len()));
        let metrics = Catalogue::in_force().iter().map(|(_, metric)| schemas::metric::hash(&metric.code));
        assert!(metrics.into_iter().all(|hash| !ids.contains(&hash)));
    }
}
