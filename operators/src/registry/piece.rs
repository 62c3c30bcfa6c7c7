//! What flows between the three steps: facts of the topology, and pieces of profiles.

use std::sync::Arc;

use schemas::{Code, Device, Facility, FacilityKind, ScopeKind, Threshold};
use serde::{Deserialize, Serialize};

/// One fact of the topology.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Link {
    /// A facility, and the one above it.
    Facility { code: Code, kind: FacilityKind, has_area: bool, parent: Option<Code> },
    /// A district, and the one above it.
    District { code: Code, parent: Option<Code> },
    /// An enterprise.
    Enterprise { code: Code },
    /// A facility's enterprise.
    RunBy { facility: Code, enterprise: Code },
    /// A facility's district.
    StandsIn { facility: Code, district: Code },
    /// What a facility adds to the sums of those above: counted in the difference.
    Adds { parent: Code, sum: Sum },
}

/// What is summed up below a facility.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Sum {
    /// Households, by number.
    Households,
    /// Heated area, in 0.001 m².
    Area,
}

/// Areas in the sums, in 0.001 m²; areas that no facility can have count as unknown.
pub(super) fn area_units(area: Option<f64>) -> Option<i64> {
    area.filter(|area| (0.0..=1e9).contains(area)).map(|area| (area * 1000.0).round() as i64)
}

/// One code on the way up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Step {
    pub code: Code,
    /// The scope it is for what lies below it.
    pub scope: Option<ScopeKind>,
    /// Whether it has an area of its own, so that areas from below do not count further up.
    pub has_area: bool,
}

/// A code and all above it, nearest first.
pub(super) type Path = Arc<Vec<Step>>;

/// What is known about a facility from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Joined {
    /// Its parent and all above.
    Above(Path),
    /// Its district and all above.
    Districts(Path),
    /// Its enterprise, which is registered.
    Enterprise(Code),
    /// A sum over what lies below it.
    Below(Sum, i64),
}

/// One change of what a profile is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Piece {
    /// The facility itself.
    Facility { code: Code, facility: Option<Box<Facility>> },
    /// A device of the facility.
    Device { facility: Code, code: Code, device: Option<Box<Device>> },
    /// A threshold, sent to every worker.
    Threshold { worker: u64, key: Code, threshold: Option<Box<Threshold>> },
    /// What the topology says, with a difference.
    Joined { facility: Code, joined: Joined, difference: i64 },
}
