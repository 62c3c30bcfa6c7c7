//! Stations as form 1 of the supply model wrote them: every hour was judged once, and nothing was judged again.
//!
//! Enters: bytes of a checkpoint. Leaves: stations as they are known now, with what was learnt and what stands. All their
//! hours are settled. Never changes.

use schemas::Side;
use serde::Deserialize;

use super::{
    course::{Course, Learnt},
    hours::{Hour, Verdict},
    learn::Habit,
    saved::{SavedStation, SavedWatched, learnt},
    supply::{OVER, RULES, UNDER},
};
use crate::alarm::saved::{SavedMonitor, SavedSeries};

/// A station with its alarms.
#[derive(Debug, Deserialize)]
pub(super) struct FormerWatched {
    station: FormerStation,
    /// Supplied by expected, in %.
    ratios: SavedSeries,
}

#[derive(Debug, Deserialize)]
struct FormerStation {
    hours: Vec<FormerHour>,
    #[serde(deserialize_with = "learnt::deserialize")]
    learnt: Option<Learnt>,
    habit: Habit,
    _fresh: usize,
}

#[derive(Debug, Deserialize)]
struct FormerHour {
    number: i32,
    heat_kw: f32,
    outdoor_temp: f32,
    /// Under an alarm: not learnt from.
    excluded: bool,
}

impl From<FormerWatched> for SavedWatched {
    fn from(former: FormerWatched) -> SavedWatched {
        let FormerWatched { station, ratios } = former;
        let (mut settled, hours) = station.taken_over();
        let sides: [Side; RULES] =
            std::array::from_fn(|rule| if rule == UNDER { Side::Low } else { Side::High });
        let mut watches = sides.map(SavedMonitor::new);
        for (side, fold, told) in ratios.into_watches() {
            let rule = if side == Side::Low { UNDER } else { OVER };
            (settled.folds[rule], watches[rule]) = (fold, told);
        }
        let open = hours.last().map_or(i32::MIN, |hour| hour.number + 1);
        SavedWatched { station: SavedStation { hours, open, settled, fits: Vec::new() }, watches }
    }
}

impl FormerStation {
    fn taken_over(self) -> (Course, Vec<Hour>) {
        let mut course = Course::default();
        course.habit = self.habit;
        course.learnt = self.learnt;
        course.begun = self.hours.iter().find(|hour| !hour.heat_kw.is_nan()).map(|hour| hour.number);
        course.fitted = course.learnt.and(self.hours.last()).map(|hour| hour.number);
        for hour in self.hours.iter().filter(|hour| hour.excluded) {
            match course.excluded.last_mut().filter(|(_, until)| *until == hour.number) {
                Some((_, until)) => *until += 1,
                None => course.excluded.push((hour.number, hour.number + 1)),
            }
        }
        (course, self.hours.into_iter().map(Hour::from).collect())
    }
}

impl From<FormerHour> for Hour {
    fn from(former: FormerHour) -> Hour {
        let FormerHour { number, heat_kw, outdoor_temp, .. } = former;
        let verdict = if heat_kw.is_nan() { Verdict::Unmeasured } else { Verdict::Unjudged };
        Hour { number, heat_kw, outdoor_temp, setpoint: 0, verdict }
    }
}
