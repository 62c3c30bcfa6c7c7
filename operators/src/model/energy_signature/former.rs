//! Stations as forms 1 and 2 of the state `supply` wrote them.
//!
//! Enters: bytes of a checkpoint. Leaves: stations as they are known now, with what was learnt and what stands. In form
//! 1 every hour was judged once, and nothing was judged again: all its hours are settled. Never changes.

use schemas::{Code, Side};
use serde::Deserialize;

use super::{
    EnergySignature, INTERMITTENT_SUPPLY, OVER_SUPPLY, Shares, UNDER_SUPPLY,
    diagnosis::Learnt,
    hours::{Hour, Verdict},
    known::{Known, by_place},
    learn::{Fit, Habit},
};
use crate::{
    alarm::{
        episode::Fold,
        saved::{SavedMonitor, SavedSeries},
    },
    model::{
        course::{Excluded, Fits},
        saved::SavedWatched,
    },
};

/// The rules in the order of form 2.
const RULES: [&str; 3] = [UNDER_SUPPLY, OVER_SUPPLY, INTERMITTENT_SUPPLY];

/// A station with its alarms, in form 2.
#[derive(Debug, Deserialize)]
pub(super) struct SecondForm {
    hours: Vec<Hour>,
    open: i32,
    settled: SecondCourse,
    fits: Vec<(i32, Fit)>,
    monitors: [SavedMonitor; 3],
}

#[derive(Debug, Deserialize)]
struct SecondCourse {
    #[serde(deserialize_with = "by_place::deserialize")]
    learnt: Option<Learnt>,
    habit: Habit,
    begun: Option<i32>,
    fitted: Option<i32>,
    since: i32,
    excluded: Excluded,
    idle: bool,
    shown: Shares,
    folds: [Fold; 3],
}

impl From<SecondForm> for SavedWatched<EnergySignature> {
    fn from(former: SecondForm) -> Self {
        let SecondForm { hours, open, settled, fits, monitors } = former;
        let SecondCourse { learnt, habit, begun, fitted, since, excluded, idle, shown, folds } = settled;
        let learnt = Known { learnt, habit, begun, fitted, since, idle, shown };
        let codes = RULES.map(Code::const_new);
        let folds = codes.clone().into_iter().zip(folds).collect();
        let monitors = codes.into_iter().zip(monitors).collect();
        SavedWatched { hours, open, learnt, excluded, fits: Fits(fits), folds, monitors }
    }
}

/// A station with its alarms, in form 1.
#[derive(Debug, Deserialize)]
pub(super) struct FirstForm {
    station: FirstStation,
    /// Supplied by expected, in %.
    ratios: SavedSeries,
}

#[derive(Debug, Deserialize)]
struct FirstStation {
    hours: Vec<FirstHour>,
    #[serde(deserialize_with = "by_place::deserialize")]
    learnt: Option<Learnt>,
    habit: Habit,
    _fresh: usize,
}

#[derive(Debug, Deserialize)]
struct FirstHour {
    number: i32,
    heat_kw: f32,
    outdoor_temp: f32,
    /// Under an alarm: not learnt from.
    excluded: bool,
}

impl From<FirstForm> for SavedWatched<EnergySignature> {
    fn from(former: FirstForm) -> Self {
        let FirstForm { station, ratios } = former;
        let FirstStation { hours, learnt, habit, .. } = station;
        let mut excluded = Excluded::default();
        for hour in hours.iter().filter(|hour| hour.excluded) {
            excluded.add(hour.number, hour.number + 1);
        }
        let begun = hours.iter().find(|hour| !hour.heat_kw.is_nan()).map(|hour| hour.number);
        let fitted = learnt.and(hours.last()).map(|hour| hour.number);
        let open = hours.last().map_or(i32::MIN, |hour| hour.number + 1);
        let code = |side| Code::const_new(if side == Side::Low { UNDER_SUPPLY } else { OVER_SUPPLY });
        let watches: Vec<(Side, Fold, SavedMonitor)> = ratios.into_watches().collect();
        SavedWatched {
            hours: hours.into_iter().map(Hour::from).collect(),
            open,
            learnt: Known { learnt, habit, begun, fitted, ..Known::default() },
            excluded,
            fits: Fits(Vec::new()),
            folds: watches.iter().map(|(side, fold, _)| (code(*side), fold.clone())).collect(),
            monitors: watches.into_iter().map(|(side, _, told)| (code(side), told)).collect(),
        }
    }
}

impl From<FirstHour> for Hour {
    fn from(former: FirstHour) -> Hour {
        let FirstHour { number, heat_kw, outdoor_temp, .. } = former;
        let verdict = if heat_kw.is_nan() { Verdict::Unmeasured } else { Verdict::Unjudged };
        Hour { number, heat_kw, outdoor_temp, setpoint: 0, verdict }
    }
}
