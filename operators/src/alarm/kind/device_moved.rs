//! Device moved: the position it reports against the coordinates it is registered at.

use std::sync::OnceLock;

use schemas::{Catalogue, MetricId, Side, registry::attribute};
use smallvec::smallvec;

use super::{Ground, Kind, Seen, Signal};
use crate::{
    Checked, Profile,
    alarm::{episode::Limits, transition::describe_values},
};

/// How far a device may be from where it is registered, m, unless its attribute `moved_after` says otherwise.
pub const MOVED_AFTER_METRES: f64 = 300.0;

/// See the module.
pub const KIND: Kind = Kind {
    id: 0,
    code: "device_moved",
    meaning: "the device is not where the registry has it",
    advice: "现场核查设备位置，必要时更新登记坐标",
    signal: Signal::Report {
        ground: registered,
        value: distance,
        evidence: |rule, series, _| describe_values(rule, series),
    },
    limits,
};

/// How many readings must agree that it moved.
const CONFIRMATIONS: u16 = 2;

const EARTH_RADIUS_METRES: f64 = 6_371_008.8;

/// Latitude and longitude of a device: its own or else its facility's. 0, 0 is no place.
fn registered(profile: &Profile, device: &str) -> Option<Ground> {
    let own = |name| profile.devices.get(device).and_then(|d| attribute::number(&d.attributes, name));
    let (latitude, longitude) = match (own("latitude"), own("longitude")) {
        (Some(latitude), Some(longitude)) => (latitude, longitude),
        _ => (profile.facility.latitude?, profile.facility.longitude?),
    };
    (latitude != 0.0 || longitude != 0.0).then(|| smallvec![latitude, longitude])
}

fn limits(profile: &Profile, device: &str) -> Limits {
    let limit = profile.number(device, "moved_after").filter(|m| *m > 0.0).unwrap_or(MOVED_AFTER_METRES);
    Limits {
        deadband: limit / 4.0,
        confirmations: CONFIRMATIONS,
        step: limit,
        ..Limits::plain(Side::High, [None, Some(limit), None])
    }
}

/// Distance in whole m; 0 where it is far below the limit, so that jitter need not be remembered. A position of 0, 0 is
/// none: quality control has failed both.
fn distance(ground: &Ground, limits: &Limits, readings: &[Checked]) -> Option<Seen> {
    let (latitude, longitude) = find(readings)?;
    let usable = latitude.flag.usable() && longitude.flag.usable();
    let worst = if latitude.change > longitude.change { latitude } else { longitude };
    let metres = haversine(ground[0], ground[1], latitude.value, longitude.value).round();
    let limit = limits.levels[1].unwrap_or(MOVED_AFTER_METRES);
    let metres = if metres < limit / 2.0 { 0.0 } else { metres };
    Some(Seen { value: usable.then_some(metres), change: worst.change })
}

/// The position in a report, where there is one.
fn find(readings: &[Checked]) -> Option<(&Checked, &Checked)> {
    static METRICS: OnceLock<Option<(MetricId, MetricId)>> = OnceLock::new();
    let catalogue = Catalogue::in_force();
    let (latitude, longitude) =
        (*METRICS.get_or_init(|| Some((catalogue.id("latitude")?, catalogue.id("longitude")?))))?;
    let find = |metric| readings.iter().find(|reading| reading.metric == metric);
    Some((find(latitude)?, find(longitude)?))
}

/// Great-circle distance in m between two points in degrees (haversine formula).
#[must_use]
pub fn haversine(latitude1: f64, longitude1: f64, latitude2: f64, longitude2: f64) -> f64 {
    let half = |degrees: f64| (degrees.to_radians() / 2.0).sin().powi(2);
    let a = half(latitude2 - latitude1)
        + latitude1.to_radians().cos() * latitude2.to_radians().cos() * half(longitude2 - longitude1);
    2.0 * EARTH_RADIUS_METRES * a.sqrt().min(1.0).asin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_agree_with_known_ones() {
        // A degree of latitude is 111.2 km, and of longitude at 60° half of that.
        assert!((haversine(43.0, 125.0, 44.0, 125.0) - 111_195.0).abs() < 10.0);
        assert!((haversine(60.0, 125.0, 60.0, 126.0) - 55_597.0).abs() < 20.0);
        assert_eq!(haversine(43.9, 125.3, 43.9, 125.3), 0.0);
        assert!((haversine(0.0, 0.0, 0.0, 180.0) - 20_015_115.0).abs() < 10.0);
    }
}
