//! Threshold rules: which of the registry's limits apply to an object (three levels per device or type).
//!
//! Enters: a profile. Leaves: the rules for one of its objects.
//! Guarantees: the most specific threshold of each (metric, side, rule) wins, whatever their order. A delay passes only while the
//! object reports: three intervals without a reading, and it begins again. A low limit of what heating alone keeps up
//! holds while heating is due.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
    rc::Rc,
    sync::Arc,
};

use rustc_hash::{FxHashMap, FxHashSet};
use schemas::{
    Code, Low, MetricId, Millis, Side, Threshold,
    registry::attribute,
    season::Season,
    time::{HOUR, MINUTE},
};

use super::{heating::HeatingTimes, rule::Rule};
use crate::{Profile, season::Seasons};

/// Readings this near to one another show what lies between them, however short the interval.
const LEAST_GAP: Millis = 10 * MINUTE;
/// The same for objects of which the registry gives no interval: rooms may be measured every half hour.
const LEAST_GAP_OF_UNKNOWN: Millis = HOUR;

/// How far apart two readings of an object may be, ms, for a state to be taken as lasting between them: three of its
/// intervals, at least [`LEAST_GAP`].
#[must_use]
pub fn longest_gap(profile: &Profile, device: &str) -> Millis {
    let known = profile.number(device, attribute::INTERVAL).is_some_and(|seconds| seconds > 0.0);
    let least = if known { LEAST_GAP } else { LEAST_GAP_OF_UNKNOWN };
    profile.interval(device).saturating_mul(3).max(least)
}

/// A rule, and the threshold that it follows from.
#[derive(Debug)]
struct Held {
    threshold: Arc<Threshold>,
    rule: Rc<Rule>,
}

/// The rules that apply to an object, sorted by (metric, side, name); the same list for all objects to which they apply.
pub type RuleList = Rc<[Rc<Rule>]>;

/// What a rule takes from its object: the longest gap between readings, ms, and the season by which it judges.
type Taken = (Millis, Option<Season>);

/// The rules in force, each held once however many objects it applies to, and so are their lists.
#[derive(Debug, Default)]
pub struct Rules {
    /// The newest rule of each threshold and what it takes from its objects; replaced when the threshold changes, so it is bounded by the registry.
    known: FxHashMap<(Code, MetricId, Side, Code, Taken), Held>,
    seasons: Seasons,
    /// By season; bounded by the seasons that the registry names.
    heating: BTreeMap<Season, Rc<HeatingTimes>>,
    lists: FxHashSet<Listed>,
    /// With so many lists, those that no object has any more are let go.
    sweep: usize,
}

/// A list, known by the rules themselves: they live as long as it does.
#[derive(Debug)]
struct Listed(RuleList);

impl Listed {
    fn rules(&self) -> impl Iterator<Item = *const Rule> {
        self.0.iter().map(Rc::as_ptr)
    }
}

impl PartialEq for Listed {
    fn eq(&self, other: &Listed) -> bool {
        self.rules().eq(other.rules())
    }
}

impl Eq for Listed {}

impl Hash for Listed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rules().for_each(|rule| rule.hash(state));
    }
}

impl Rules {
    /// No rules yet; heating is due by `seasons`.
    #[must_use]
    pub fn new(seasons: Seasons) -> Rules {
        Rules { seasons, ..Rules::default() }
    }

    /// Whether heating has stopped by plan somewhere since the clock was looked at last.
    #[must_use]
    pub fn stopped(&self, clock: Millis) -> bool {
        // Each looks at the clock.
        self.heating.values().filter(|heating| heating.stopped(clock)).count() > 0
    }

    /// The rules that apply to a device of the facility (or the facility itself), sorted by (metric, side, name).
    ///
    /// The most specific threshold wins (device, facility, device type, facility kind); when that one is disabled or
    /// has no level, there is no rule.
    pub fn resolve(&mut self, profile: &Profile, device: &str) -> RuleList {
        let mut winners: Vec<(u8, &Arc<Threshold>)> = Vec::new();
        for threshold in profile.thresholds.iter() {
            let Some(rank) = profile.threshold_rank(threshold, device) else { continue };
            let of = |threshold: &Threshold| (threshold.metric, threshold.side, threshold.rule.clone());
            let same = |other: &Threshold| of(other) == of(threshold);
            match winners.iter_mut().find(|(_, other)| same(other)) {
                Some(winner) if rank < winner.0 => *winner = (rank, threshold),
                Some(_) => {}
                None => winners.push((rank, threshold)),
            }
        }
        winners.retain(|(_, t)| t.enabled && [t.level1, t.level2, t.level3].iter().any(Option::is_some));
        winners.sort_by_key(|(_, t)| (t.metric, t.side, t.rule.clone()));
        let gap = longest_gap(profile, device);
        let season = self.seasons.of(profile, device);
        let hold = |(_, threshold): (u8, &Arc<Threshold>)| {
            let seasonal = threshold.side == Side::Low && threshold.metric.metric().low == Some(Low::Heating);
            self.hold(threshold, (gap, season.filter(|_| seasonal)))
        };
        let list = winners.into_iter().map(hold).collect();
        self.share(Listed(list))
    }

    fn share(&mut self, list: Listed) -> RuleList {
        if let Some(known) = self.lists.get(&list) {
            return Rc::clone(&known.0);
        }
        if self.lists.len() >= self.sweep {
            self.lists.retain(|list| Rc::strong_count(&list.0) > 1);
            self.sweep = 2 * self.lists.len() + 1_024;
        }
        let shared = Rc::clone(&list.0);
        self.lists.insert(list);
        shared
    }

    fn hold(&mut self, threshold: &Arc<Threshold>, taken: Taken) -> Rc<Rule> {
        let Threshold { scope, metric, side, rule, .. } = threshold.as_ref();
        let key = (scope.clone(), *metric, *side, rule.clone(), taken);
        match self.known.get(&key) {
            Some(held) if held.threshold == *threshold => Rc::clone(&held.rule),
            _ => {
                let heating = taken.1.map(|season| {
                    let begin = || Rc::new(HeatingTimes::new(&self.seasons, season));
                    Rc::clone(self.heating.entry(season).or_insert_with(begin))
                });
                let rule = Rc::new(Rule::of_threshold(threshold, taken.0, heating));
                let held = Held { threshold: Arc::clone(threshold), rule: Rc::clone(&rule) };
                self.known.insert(key, held);
                rule
            }
        }
    }
}
