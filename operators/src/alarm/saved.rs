//! The written form of a watched series: its readings, and what each rule told. Not the rules: they follow from the
//! registry, and a million series would repeat them.
//!
//! Enters: a [`Series`] at the end of an epoch. Leaves: its bytes; from the bytes [`SavedSeries`], which becomes the
//! series again once its rules are known.
//! Guarantees: a series that comes back goes on exactly as the one that was written. A quiet series of one rule takes
//! some 45 bytes beside its packed readings.

use std::rc::Rc;

use schemas::{Millis, Side};
use serde::{Deserialize, Serialize, Serializer};
use smallvec::SmallVec;

use super::{
    episode::Fold,
    rule::Rule,
    series::Series,
    watch::{Record, Watch},
};
use crate::window::points::Points;

/// A series as it was written, without its rules.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SavedSeries {
    points: Points,
    /// Time from the last remembered reading to the newest that came: one may have been taken back.
    ahead: Millis,
    watches: SmallVec<[SavedWatch; 1]>,
}

/// What a rule told. Rules over one series differ in their side, so the side says which.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct SavedWatch {
    marks: u8,
    settled: Fold,
    tail: Fold,
    records: Vec<Record>,
}

const IN_FORCE: u8 = 1;
const LOW: u8 = 2;

impl SavedSeries {
    /// The series again. `rule_of` gives its rule of a side: the one in force, and where none is, one that has the name
    /// of the one that was ([`Rule::out_of_force`]).
    #[must_use]
    pub fn resume(self, mut rule_of: impl FnMut(Side) -> Rc<Rule>) -> Series {
        let watch = |saved: SavedWatch| Watch {
            rule: rule_of(if saved.marks & LOW == 0 { Side::High } else { Side::Low }),
            enabled: saved.marks & IN_FORCE != 0,
            settled: saved.settled,
            tail: saved.tail,
            records: saved.records,
        };
        Series {
            newest: last(&self.points).wrapping_add(self.ahead),
            points: self.points,
            revision: None,
            watches: self.watches.into_iter().map(watch).collect(),
        }
    }
}

/// Written as [`SavedSeries`] is read.
impl Serialize for Series {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        debug_assert!(self.revision.is_none(), "series are judged anew before their epoch ends");
        let ahead = self.newest.wrapping_sub(last(&self.points));
        (&self.points, ahead, &self.watches).serialize(serializer)
    }
}

/// Written as [`SavedWatch`] is read.
impl Serialize for Watch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let low = if self.rule.limits.side == Side::Low { LOW } else { 0 };
        let marks = if self.enabled { low | IN_FORCE } else { low };
        (marks, &self.settled, &self.tail, &self.records).serialize(serializer)
    }
}

fn last(points: &Points) -> Millis {
    points.last().map_or(0, |point| point.at)
}

#[cfg(test)]
mod tests {
    use schemas::{
        Catalogue, Threshold,
        time::{HOUR, MINUTE},
    };

    use super::{
        super::{
            rule::threshold_code,
            watch::{Cause, Told},
        },
        *,
    };

    const HORIZON: Millis = 2 * HOUR;

    fn rule(side: Side, level: f64) -> Rc<Rule> {
        Rc::new(Rule::of_threshold(&Threshold {
            scope: "station".into(),
            metric: Catalogue::builtin().id("secondary_supply_temp").unwrap(),
            side,
            level1: None,
            level2: None,
            level3: Some(level),
            deadband: 1.0,
            on_delay: 120,
            off_delay: 60,
            enabled: true,
            advice: String::new(),
        }))
    }

    /// Written and read back; the rules in force are known from elsewhere, others only by name.
    fn again(series: &Series) -> Series {
        let bytes = postcard::to_stdvec(series).unwrap();
        let saved: SavedSeries = postcard::from_bytes(&bytes).unwrap();
        let again = saved.resume(|side| {
            let in_force = |watch: &&Watch| watch.enabled && watch.rule.limits.side == side;
            if let Some(watch) = series.watches().iter().find(in_force) {
                return Rc::clone(&watch.rule);
            }
            let metric = rule(side, 0.0).metric.unwrap();
            Rc::new(Rule::out_of_force(threshold_code(metric, side), Some(metric), side))
        });
        assert_eq!(postcard::to_stdvec(&again).unwrap(), bytes, "the same is written again");
        again
    }

    /// One step of a series, and what it tells.
    fn step(series: &mut Series, number: i64) -> Vec<(usize, Told)> {
        let mut told = Vec::new();
        let all = [rule(Side::High, 60.0), rule(Side::Low, 40.0)];
        // A walk through good, bad and unusable, in order and late, with rules that leave and come back.
        let late = if number % 5 == 3 { (number * 13 % 140) * MINUTE } else { 0 };
        let value = [50.0, 61.0, 62.5, 70.0, 39.0, 50.0, 30.0][(number / 4 * 3 % 7) as usize];
        let usable = (number % 11 != 7).then_some(value);
        series.take(number * MINUTE - late, usable, Cause::LateData, HORIZON, &mut told);
        if number % 17 == 0 {
            let rules = [&all[..], &all[..1], &[], &all[1..]][(number / 17 % 4) as usize];
            series.watch(rules, number * MINUTE, &mut told);
        }
        series.revise(HORIZON, &mut told);
        told
    }

    #[test]
    fn a_series_read_back_after_every_step_tells_the_same() {
        let (mut whole, mut torn) = (Series::new(1), Series::new(1));
        let (mut told, mut in_force) = (0, [0; 3]);
        for number in 0..2_000 {
            torn = again(&torn);
            let seen = step(&mut whole, number);
            assert_eq!(step(&mut torn, number), seen, "step {number}");
            told += seen.len();
            in_force[whole.watches().iter().filter(|watch| watch.enabled).count()] += 1;
        }
        assert!(told > 200 && in_force.iter().all(|n| *n > 200), "{told} told, {in_force:?}");
    }

    #[test]
    fn an_empty_series_and_one_whose_newest_was_taken_back_come_back() {
        let mut series = Series::new(1);
        assert_eq!(again(&series).newest, Millis::MIN);
        for minute in [1, 2] {
            series.take(minute * MINUTE, Some(50.0), Cause::Data, HORIZON, &mut Vec::new());
        }
        series.take(2 * MINUTE, None, Cause::Correction, HORIZON, &mut Vec::new());
        series.revise(HORIZON, &mut Vec::new());
        assert_eq!(again(&series).newest, 2 * MINUTE);
    }
}
