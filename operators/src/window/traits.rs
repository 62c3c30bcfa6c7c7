//! What surrounds an object: what registry and catalogue say of it, and where the stage stands.

use schemas::{Catalogue, Millis, registry::attribute::STANDARD_TEMP, time::HOUR};

use super::{
    calendar::Calendar,
    quantity::{Quantities, Role},
    segment::Rises,
};
use crate::{Profile, capacity::RiseLimit, kpi};

/// The room temperatures that segments are measured against, °C.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct RoomLimits {
    /// Must be reached where the registry does not say.
    pub(super) standard: f64,
    /// Above it a room is over-heated.
    pub(super) over_high: f64,
}

impl RoomLimits {
    /// Those of states that name none (see `saved`).
    pub(super) const UNNAMED: RoomLimits = RoomLimits { standard: 18.0, over_high: 24.0 };

    /// Those of the catalogue in force.
    pub(super) fn in_force() -> RoomLimits {
        let kpi::Parameters { standard_temp: standard, over_high, .. } = *kpi::Parameters::in_force();
        RoomLimits { standard, over_high }
    }
}

/// What the registry says about an object. Until it says something there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ObjectTraits {
    /// Between two reports, ms, at least 1.
    pub(super) interval: Millis,
    /// Its room temperatures.
    pub(super) rooms: RoomLimits,
    /// How far its counters can rise; none where there are no counters, as of most objects.
    pub(super) rises: Option<Box<Rises>>,
}

impl ObjectTraits {
    pub(super) fn of(profile: &Profile, device: &str, rooms: RoomLimits) -> ObjectTraits {
        let standard = profile.number(device, STANDARD_TEMP);
        ObjectTraits {
            interval: profile.interval(device).max(1),
            rooms: RoomLimits {
                standard: standard.filter(|s| s.is_finite()).unwrap_or(rooms.standard),
                ..rooms
            },
            rises: rises(profile, device),
        }
    }
}

fn rises(profile: &Profile, device: &str) -> Option<Box<Rises>> {
    if matches!(Role::of(profile.facility.kind), Role::Rooms | Role::Weather) {
        return None;
    }
    let catalogue = Catalogue::in_force();
    let limit = |code| {
        let metric = catalogue.id(code).map(|id| catalogue.metric(id));
        metric.map_or(RiseLimit::NONE, |metric| RiseLimit::of(profile, device, metric))
    };
    Some(Box::new(Rises {
        heat: limit("heat_total"),
        makeup: limit("makeup_total"),
        electricity: limit("energy_total"),
    }))
}

/// Where the stage stands while it handles a report.
pub(super) struct WindowContext<'a> {
    pub(super) calendar: &'a Calendar,
    pub(super) quantities: &'a Quantities,
    pub(super) role: Role,
    /// Hours before this one are closed.
    pub(super) floor: Millis,
    /// The clock before this epoch: hours that ended by then have their full expectation.
    pub(super) clock: Millis,
}

impl WindowContext<'_> {
    pub(super) fn ended(&self, hour: Millis) -> bool {
        hour + HOUR <= self.clock
    }
}
