//! What to simulate: sizes, span, intervals, faults. Settings, checked before anything is built.

use std::fmt;

use jiff::Timestamp;
use schemas::{
    Millis,
    time::{DAY, HOUR, MINUTE},
};
use serde::Deserialize;

/// A plan that cannot be simulated; the text names the setting and what it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("simulation plan: {0}")]
pub struct PlanError(pub String);

impl From<PlanError> for crate::Error {
    fn from(error: PlanError) -> Self {
        crate::Error::Setting { name: "simulation plan".to_owned(), detail: error.0 }
    }
}

/// How many objects of each kind there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Heat and power plants.
    pub plants: usize,
    /// Branches of the plants' primary networks, at least one per plant.
    pub branches: usize,
    /// Boiler houses.
    pub boiler_houses: usize,
    /// Heat exchange stations.
    pub stations: usize,
    /// Rooms with a sensor, two to a household.
    pub rooms: usize,
    /// Rural clean-heating installations, each with one device.
    pub clean_devices: usize,
}

impl Size {
    /// A district of so many stations, with everything else in proportion: 25 rooms and 25 devices per station.
    #[must_use]
    pub fn of_stations(stations: usize) -> Self {
        let boiler_houses = if stations < 3 { 0 } else { stations.div_ceil(22) };
        Size {
            plants: 1.max(stations / 600),
            branches: 1.max(stations / 130),
            boiler_houses,
            stations,
            rooms: 25 * stations,
            clean_devices: 25 * stations,
        }
    }

    /// All of Changchun.
    #[must_use]
    pub fn changchun() -> Self {
        Size {
            plants: 6,
            branches: 27,
            boiler_houses: 162,
            stations: 3_500,
            rooms: 120_000,
            clean_devices: 110_000,
        }
    }

    /// Reads `changchun` or a number of stations.
    ///
    /// # Errors
    /// [`PlanError`] when it is neither.
    pub fn named(name: &str) -> Result<Self, PlanError> {
        match name {
            "changchun" => Ok(Size::changchun()),
            _ => name.parse().map(Size::of_stations).map_err(|_| {
                PlanError(format!("size {name:?} is neither `changchun` nor a number of stations"))
            }),
        }
    }
}

/// How often objects report, in whole minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Intervals {
    /// Plants, branches and boiler houses.
    pub source: u32,
    /// Stations.
    pub station: u32,
    /// Room sensors: between two stored measurements.
    pub room: u32,
    /// Room sensors: between two uploads of what was stored.
    pub room_upload: u32,
    /// Clean-heating devices.
    pub clean_device: u32,
    /// Weather stations.
    pub weather: u32,
}

impl Default for Intervals {
    fn default() -> Self {
        Intervals { source: 1, station: 1, room: 10, room_upload: 30, clean_device: 1, weather: 10 }
    }
}

/// What to simulate.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    /// How many objects.
    pub size: Size,
    /// The first simulated minute.
    pub start: Timestamp,
    /// How long, in hours; 0 for without end.
    pub hours: u32,
    /// The same seed gives the same bytes.
    pub seed: u64,
    /// How often objects report.
    pub intervals: Intervals,
    /// How many faults of each kind to spread over the objects; 0 for a healthy city.
    pub faults_per_kind: u32,
}

impl Default for Plan {
    /// Three stations over two winter days from 2025-01-10 in Changchun, without faults.
    fn default() -> Self {
        Plan {
            size: Size::of_stations(3),
            start: Timestamp::constant(1_736_438_400, 0),
            hours: 48,
            seed: 1,
            intervals: Intervals::default(),
            faults_per_kind: 0,
        }
    }
}

impl Plan {
    /// A plan of the default span for a size.
    #[must_use]
    pub fn of(size: Size) -> Self {
        Plan { size, ..Plan::default() }
    }

    /// The first simulated minute.
    #[must_use]
    pub fn from(&self) -> Millis {
        self.start.as_millisecond().div_euclid(MINUTE) * MINUTE
    }

    /// The end of the span: nothing is measured at or after it. Ten years when the span has no end.
    #[must_use]
    pub fn until(&self) -> Millis {
        self.from() + if self.hours == 0 { 3_653 * DAY } else { Millis::from(self.hours) * HOUR }
    }

    /// Checks the plan.
    ///
    /// # Errors
    /// [`PlanError`] naming the first setting that cannot be.
    pub fn check(&self) -> Result<(), PlanError> {
        let size = &self.size;
        let wrong = |text: &str| Err(PlanError(text.to_owned()));
        if size.stations == 0 && size.clean_devices == 0 {
            return wrong("size.stations and size.clean_devices are both 0, so nothing would report");
        }
        if size.stations > 0 && size.branches + size.boiler_houses == 0 {
            return wrong("size.branches and size.boiler_houses are both 0, so stations have no source");
        }
        if size.branches > 0 && (size.plants == 0 || size.branches < size.plants) {
            return wrong("size.branches needs a plant, and every plant at least one branch");
        }
        if size.rooms > 0 && size.stations == 0 {
            return wrong("size.rooms needs size.stations, since rooms are heated by stations");
        }
        let i = &self.intervals;
        if [i.source, i.station, i.room, i.room_upload, i.clean_device, i.weather].contains(&0) {
            return wrong("intervals are whole minutes of at least 1");
        }
        if i.room_upload < i.room {
            return wrong("intervals.room_upload is below intervals.room");
        }
        if self.start.as_millisecond() < schemas::time::EARLIEST {
            return wrong("start is before the year 2000");
        }
        Ok(())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} plants, {} branches, {} boiler houses, {} stations, {} rooms, {} clean devices",
            self.plants, self.branches, self.boiler_houses, self.stations, self.rooms, self.clean_devices
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_from_toml_and_unknown_keys_are_refused() {
        let plan: Plan =
            toml::from_str("hours = 6\nstart = \"2025-01-10T00:00:00+08:00\"\n[intervals]\nroom = 5\n")
                .expect("plan");
        assert_eq!((plan.hours, plan.intervals.room, plan.from()), (6, 5, 1_736_438_400_000));
        assert!(toml::from_str::<Plan>("hour = 6").is_err());
    }

    #[rstest::rstest]
    #[case(|p: &mut Plan| p.size.boiler_houses = 0, true)]
    #[case(|p: &mut Plan| { p.size.boiler_houses = 0; p.size.branches = 0; }, false)]
    #[case(|p: &mut Plan| p.size.plants = 0, false)]
    #[case(|p: &mut Plan| p.intervals.station = 0, false)]
    #[case(|p: &mut Plan| p.intervals.room_upload = 5, false)]
    #[case(|p: &mut Plan| { p.size.stations = 0; p.size.rooms = 0; }, true)]
    #[case(|p: &mut Plan| p.size.stations = 0, false)]
    fn plans_are_checked(#[case] change: fn(&mut Plan), #[case] good: bool) {
        let mut plan = Plan::default();
        change(&mut plan);
        assert_eq!(plan.check().is_ok(), good, "{:?}", plan.check());
    }

    #[test]
    fn sizes_are_named() {
        assert_eq!(Size::named("changchun"), Ok(Size::changchun()));
        assert_eq!(Size::named("200").map(|s| (s.rooms, s.clean_devices)), Ok((5_000, 5_000)));
        assert!(Size::named("big").is_err());
    }
}
