//! Everything the registry says about one facility, joined by the dataflow and sent to the worker that holds it.

use std::sync::Arc;

use schemas::{Code, Device, Facility, Scope, SortedMap, Threshold, time::SECOND};
use serde::{Deserialize, Serialize};

/// A facility with all that its stages need to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// The facility itself.
    pub facility: Facility,
    /// Its devices by code.
    pub devices: SortedMap<Code, Device>,
    /// The scopes its data rolls up to, sorted: facilities above it that are scopes, its enterprise, its district
    /// and every district above, the topmost as city. The facility itself is among them when its kind is a scope.
    /// Shared with the facilities that have the same.
    pub scopes: Arc<[Scope]>,
    /// The thresholds that name the facility, its kind, its devices or their types, sorted by
    /// (metric, side, scope). Which one wins is decided per object by [`Profile::threshold_rank`].
    /// List and thresholds are shared between the facilities that they concern.
    pub thresholds: Arc<[Arc<Threshold>]>,
    /// Households at or below it.
    pub households_below: u32,
    /// Heated area at or below it, m²: its own `heated_area` where it has one, else the sum of what lies below.
    pub area_below: f64,
}

/// A registry change of one facility: `None` when it is no longer registered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProfileChange {
    /// Facility code.
    pub facility: Code,
    /// What is now known about it.
    pub profile: Option<Arc<Profile>>,
}

impl Profile {
    /// How specific a threshold is for an object of this facility: 0 device, 1 facility, 2 device type, 3 facility
    /// kind; `None` when it does not concern the object. The least number wins.
    #[must_use]
    pub fn threshold_rank(&self, threshold: &Threshold, device: &str) -> Option<u8> {
        let scope = threshold.scope.as_str();
        if !device.is_empty() && scope == device {
            Some(0)
        } else if scope == self.facility.code {
            Some(1)
        } else if self.devices.get(device).is_some_and(|d| scope == d.kind) {
            Some(2)
        } else if scope == self.facility.kind.name() {
            Some(3)
        } else {
            None
        }
    }

    /// An attribute of the device, else of the facility, as a number.
    #[must_use]
    pub fn number(&self, device: &str, name: &str) -> Option<f64> {
        let of = schemas::registry::attribute::number;
        self.devices
            .get(device)
            .and_then(|d| of(&d.attributes, name))
            .or_else(|| of(&self.facility.attributes, name))
    }

    /// An attribute of the device, else of the facility, as it is written; none when it is empty.
    #[must_use]
    pub fn text(&self, device: &str, name: &str) -> Option<&str> {
        let device = self.devices.get(device).and_then(|device| device.attributes.get(name));
        let written = device.or_else(|| self.facility.attributes.get(name))?.trim();
        (!written.is_empty()).then_some(written)
    }

    /// Milliseconds between two reports of the object; 60 s when the registry does not say.
    #[must_use]
    pub fn interval(&self, device: &str) -> i64 {
        let seconds = self.number(device, schemas::registry::attribute::INTERVAL).filter(|s| *s > 0.0);
        seconds.map_or(60 * SECOND, |s| (s * SECOND as f64) as i64)
    }
}
