//! Device moved: the position it reports against the coordinates it is registered at.

use std::{rc::Rc, sync::OnceLock};

use rustc_hash::FxHashMap;
use schemas::{Catalogue, Code, MetricId, Millis, Side, registry::attribute};

use super::{episode::Limits, rule::Rule};
use crate::{Checked, Profile};

/// The rule code.
pub const DEVICE_MOVED: &str = "device_moved";

/// How far a device may be from where it is registered, m, unless its attribute `moved_after` says otherwise.
pub const MOVED_AFTER_METRES: f64 = 300.0;

/// How many readings must agree that it moved.
const CONFIRMATIONS: u16 = 2;

const EARTH_RADIUS_METRES: f64 = 6_371_008.8;

/// Where an object is registered, with the rule that its distance is judged by.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    latitude: f64,
    longitude: f64,
    /// The rule over the distance in m.
    pub rule: Rc<Rule>,
}

/// Gives places, with each rule held once however many objects it applies to.
#[derive(Debug, Default)]
pub struct Places {
    /// By the bits of the limit; bounded by the limits that the registry names.
    rules: FxHashMap<u64, Rc<Rule>>,
}

impl Places {
    /// The place of a device, by its own coordinates or else its facility's; `None` when none are registered. 0, 0 is
    /// none.
    #[must_use]
    pub fn of(&mut self, profile: &Profile, device: &str) -> Option<Place> {
        let own = |name| profile.devices.get(device).and_then(|d| attribute::number(&d.attributes, name));
        let (latitude, longitude) = match (own("latitude"), own("longitude")) {
            (Some(latitude), Some(longitude)) => (latitude, longitude),
            _ => (profile.facility.latitude?, profile.facility.longitude?),
        };
        if latitude == 0.0 && longitude == 0.0 {
            return None;
        }
        let limit = profile.number(device, "moved_after").filter(|m| *m > 0.0).unwrap_or(MOVED_AFTER_METRES);
        let rule = self.rules.entry(limit.to_bits()).or_insert_with(|| Rc::new(moved(limit)));
        Some(Place { latitude, longitude, rule: Rc::clone(rule) })
    }
}

impl Place {
    /// Distance in whole m; 0 where it is far below the limit, so that jitter need not be remembered.
    #[must_use]
    pub fn distance(&self, latitude: f64, longitude: f64) -> f64 {
        let metres = haversine(self.latitude, self.longitude, latitude, longitude).round();
        let limit = self.rule.limits.levels[1].unwrap_or(MOVED_AFTER_METRES);
        if metres < limit / 2.0 { 0.0 } else { metres }
    }
}

/// The position in a report, where there is one. One of 0, 0 is none: quality control has failed both.
#[must_use]
pub fn find(readings: &[Checked]) -> Option<(&Checked, &Checked)> {
    static METRICS: OnceLock<Option<(MetricId, MetricId)>> = OnceLock::new();
    let catalogue = Catalogue::in_force();
    let (latitude, longitude) =
        (*METRICS.get_or_init(|| Some((catalogue.id("latitude")?, catalogue.id("longitude")?))))?;
    let find = |metric| readings.iter().find(|reading| reading.metric == metric);
    Some((find(latitude)?, find(longitude)?))
}

fn moved(limit: f64) -> Rule {
    Rule {
        code: Code::const_new(DEVICE_MOVED),
        scope: Code::const_new(""),
        metric: None,
        limits: Limits {
            side: Side::High,
            levels: [None, Some(limit), None],
            deadband: limit / 4.0,
            on_delay: 0,
            off_delay: 0,
            confirmations: CONFIRMATIONS,
            step: limit,
            longest_gap: Millis::MAX,
        },
        analysed: false,
        advice: "现场核查设备位置，必要时更新登记坐标".to_owned(),
        heating: None,
    }
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
