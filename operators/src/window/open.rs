//! The open windows of a facility, as they are kept and written.

use schemas::{Millis, time::HOUR};
use serde::{Deserialize, Serialize};

use super::{facts::Facts, ladder::Longer, object::Object};
use crate::reason::{Reason, Reasons};

/// What a facility does not know from its profile.
#[derive(Debug, Deserialize)]
pub(super) struct RestoredSite {
    pub(super) objects: Vec<Object>,
    /// Never after the horizon of hours.
    pub(super) hot_from: Millis,
    pub(super) hours: Vec<Hour>,
    pub(super) days: Vec<Day>,
    pub(super) outdoor_since: Millis,
    pub(super) longer: Option<Box<Longer>>,
}

/// A facility as form 4 wrote it: it forgot its hours when they closed for the scopes, but for those since a silence.
#[derive(Debug, Deserialize)]
pub(super) struct FourthSite {
    objects: Vec<Object>,
    hours: Vec<Hour>,
    days: Vec<DayWithHole>,
    outdoor_since: Millis,
    longer: Option<Box<Longer>>,
}

/// A facility as form 2 wrote it: there were no longer windows than days.
#[derive(Debug, Deserialize)]
pub(super) struct SecondSite {
    objects: Vec<Object>,
    hours: Vec<Hour>,
    days: Vec<DayWithHole>,
    outdoor_since: Millis,
}

/// An open day as forms 2 to 4 wrote it.
#[derive(Debug, Deserialize)]
struct DayWithHole {
    start: Millis,
    facts: Facts,
    /// The first of its hours in which something was silent; from it on everything was kept.
    hole: Option<Millis>,
}

impl From<FourthSite> for RestoredSite {
    fn from(FourthSite { objects, hours, days, outdoor_since, longer }: FourthSite) -> RestoredSite {
        let hot_from = days.iter().find_map(|day| day.hole).unwrap_or(Millis::MAX);
        let days = days.into_iter().map(|DayWithHole { start, facts, .. }| Day { start, facts }).collect();
        RestoredSite { objects, hot_from, hours, days, outdoor_since, longer }
    }
}

impl From<SecondSite> for RestoredSite {
    fn from(SecondSite { objects, hours, days, outdoor_since }: SecondSite) -> RestoredSite {
        FourthSite { objects, hours, days, outdoor_since, longer: None }.into()
    }
}

/// An hour whose data are in memory. It is open in the facility and its day, and as long as the horizon says in the scopes
/// above.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Hour {
    pub(super) start: Millis,
    pub(super) facts: Facts,
    /// How much of it has passed as far as the facility's data and the clock say, ms.
    pub(super) elapsed: u32,
    /// Changed in this epoch: the facts before are among [`Touches`].
    #[serde(skip)]
    pub(super) touched: bool,
    /// Given to the models.
    pub(super) settled: bool,
    /// The last set point of the secondary supply temperature in it, 0.1 °C; 0 when unknown.
    pub(super) setpoint: u16,
}

impl Hour {
    /// Whether it has ended by the clock.
    pub(super) fn over(&self) -> bool {
        Millis::from(self.elapsed) == HOUR
    }
}

/// An open day.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Day {
    pub(super) start: Millis,
    pub(super) facts: Facts,
}

/// An hour that changed in this epoch.
#[derive(Debug)]
pub(super) struct Touched {
    pub(super) site: u32,
    pub(super) hour: Millis,
    /// Its facts before.
    pub(super) before: Facts,
}

/// What changed in this epoch.
#[derive(Debug, Default)]
pub(super) struct Touches {
    pub(super) hours: Vec<Touched>,
    /// Why, by site and hour, where not because data came in its turn.
    reasons: Reasons<(u32, Millis)>,
}

impl Touches {
    /// Notes why an hour changes.
    pub(super) fn because(&mut self, site: u32, hour: Millis, reason: Reason) {
        self.reasons.add((site, hour), reason);
    }

    /// Why an hour changed.
    pub(super) fn reason(&self, site: u32, hour: Millis) -> Reason {
        self.reasons.of(&(site, hour))
    }

    /// Starts anew. An epoch of a backlog touches everything; those after it need not hold room for that.
    pub(super) fn clear(&mut self) {
        let room = 2 * self.hours.len();
        self.hours.clear();
        self.hours.shrink_to(room);
        self.reasons = Reasons::default();
    }
}
