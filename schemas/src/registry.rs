//! The registry: what exists, where it stands in the topology, and its limits. Every change is data.

use serde::{Deserialize, Serialize};

use crate::{Code, MetricId, ScopeKind, SortedMap, kpi::named};

/// Further columns of an entry by name.
pub type Attributes = SortedMap<Code, Code>;

named! {
    /// What a facility is.
    FacilityKind {
        /// A heat and power plant.
        Plant => "plant",
        /// A branch of a plant's primary network.
        PlantBranch => "plant_branch",
        /// A district boiler house.
        BoilerHouse => "boiler_house",
        /// A relay pump station.
        RelayPumpStation => "relay_pump_station",
        /// A heat storage.
        HeatStorage => "heat_storage",
        /// A water tank.
        WaterTank => "water_tank",
        /// A heat exchange station, or one unit (机组) of it.
        Station => "station",
        /// A residential community.
        Community => "community",
        /// A building.
        Building => "building",
        /// A household, with its rooms.
        Household => "household",
        /// A rural clean-heating installation.
        CleanDevice => "clean_device",
        /// A weather station.
        WeatherStation => "weather_station",
    }
}

impl FacilityKind {
    /// The kind of scope a facility of this kind is for what lies below it; `None` when it is no roll-up scope.
    #[must_use]
    pub fn scope(self) -> Option<ScopeKind> {
        match self {
            FacilityKind::Plant | FacilityKind::PlantBranch | FacilityKind::BoilerHouse => {
                Some(ScopeKind::Source)
            }
            FacilityKind::Station => Some(ScopeKind::Station),
            FacilityKind::Community => Some(ScopeKind::Community),
            FacilityKind::Building => Some(ScopeKind::Building),
            _ => None,
        }
    }
}

/// An administrative district.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct District {
    /// 6 or 9 digits.
    pub code: Code,
    /// Name.
    pub name: String,
    /// The district above; `None` for a city.
    pub parent: Option<Code>,
}

/// A heating enterprise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Enterprise {
    /// Code.
    pub code: Code,
    /// Name.
    pub name: String,
}

/// A facility.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facility {
    /// Code.
    pub code: Code,
    /// What it is.
    pub kind: FacilityKind,
    /// Name.
    pub name: String,
    /// The facility its heat comes from, or that contains it.
    pub parent: Option<Code>,
    /// The enterprise that runs it.
    pub enterprise: Option<Code>,
    /// The district it stands in.
    pub district: Option<Code>,
    /// Degrees east, WGS-84.
    pub longitude: Option<f64>,
    /// Degrees north, WGS-84.
    pub latitude: Option<f64>,
    /// Heated area, m².
    pub heated_area: Option<f64>,
    /// Further attributes by the name of their column, such as `interval` (s between reports), `standard_temp` (°C),
    /// `design_load` (kW), `offline_after` (s). See [`attribute`].
    pub attributes: Attributes,
}

impl Facility {
    /// A facility of which no more is known.
    #[must_use]
    pub fn new(code: impl Into<Code>, kind: FacilityKind) -> Facility {
        Facility {
            code: code.into(),
            kind,
            name: String::new(),
            parent: None,
            enterprise: None,
            district: None,
            longitude: None,
            latitude: None,
            heated_area: None,
            attributes: Attributes::default(),
        }
    }
}

/// A device of a facility.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Code.
    pub code: Code,
    /// The facility it belongs to.
    pub facility: Code,
    /// Type, such as `room_sensor` or `air_source_heat_pump`; thresholds may name it.
    #[serde(rename = "type")]
    pub kind: Code,
    /// Model.
    pub model: String,
    /// Maker.
    pub maker: String,
    /// Date of installation, as written.
    pub installed: String,
    /// Further attributes by the name of their column, as for a facility.
    pub attributes: Attributes,
}

named! {
    /// Which side of a limit is bad.
    Side {
        /// Values at or above the limit.
        High => "high",
        /// Values at or below the limit.
        Low => "low",
    }
}

/// A threshold rule: three levels for one metric of one scope. Level 1 is the gravest; of rules with the same name the
/// most specific scope wins: device, then facility, then device type, then facility kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// A device code, facility code, device type or facility kind.
    pub scope: Code,
    /// The metric.
    pub metric: MetricId,
    /// Which side is bad.
    pub side: Side,
    /// The gravest limit, in the metric's unit.
    pub level1: Option<f64>,
    /// The middle limit.
    pub level2: Option<f64>,
    /// The mildest limit.
    pub level3: Option<f64>,
    /// A level is left only when the value is back by this much.
    pub deadband: f64,
    /// The value must be bad this long before the alarm is raised, s of event time.
    pub on_delay: u32,
    /// The value must be good this long before the alarm is cleared, s of event time.
    pub off_delay: u32,
    /// Disabled rules are resolved (and hide less specific ones) but raise nothing.
    pub enabled: bool,
    /// Suggested action.
    pub advice: String,
    /// Tells several rules of one scope, metric and side apart; empty for the first.
    pub rule: Code,
}

/// One entry of the registry: the value on `heating.registry`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RegistryEntry {
    /// A district.
    District(District),
    /// An enterprise.
    Enterprise(Enterprise),
    /// A facility.
    Facility(Facility),
    /// A device.
    Device(Device),
    /// A threshold.
    Threshold(Threshold),
}

/// The key of an entry: `kind/code`. For thresholds the code is `scope/metric/side`, for further
/// ones of the same side `scope/metric/side:rule`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RegistryKey(pub Code);

impl RegistryEntry {
    /// The entry's key on the compacted topic.
    #[must_use]
    pub fn key(&self) -> RegistryKey {
        RegistryKey(compact_str::CompactString::from(match self {
            RegistryEntry::District(d) => format!("district/{}", d.code),
            RegistryEntry::Enterprise(e) => format!("enterprise/{}", e.code),
            RegistryEntry::Facility(f) => format!("facility/{}", f.code),
            RegistryEntry::Device(d) => format!("device/{}", d.code),
            RegistryEntry::Threshold(t) => {
                let colon = if t.rule.is_empty() { "" } else { ":" };
                format!("threshold/{}/{}/{}{colon}{}", t.scope, t.metric.code(), t.side.name(), t.rule)
            }
        }))
    }
}

/// Names of the attributes that the dataflow reads.
pub mod attribute {
    /// Seconds between two reports of the object.
    pub const INTERVAL: &str = "interval";
    /// Seconds of silence after which the object counts as offline.
    pub const OFFLINE_AFTER: &str = "offline_after";
    /// Seconds between two uploads of an object that stores what it measures and sends it together.
    pub const UPLOADS_EVERY: &str = "uploads_every";
    /// Seconds a reading may take to arrive before it fails the timeliness test.
    pub const ARRIVES_WITHIN: &str = "arrives_within";
    /// Standard room temperature, °C; 18 when absent.
    pub const STANDARD_TEMP: &str = "standard_temp";
    /// Design heat load, kW.
    pub const DESIGN_LOAD: &str = "design_load";
    /// Installed heat capacity of a source, MW.
    pub const CAPACITY: &str = "capacity";
    /// Rating of the transformer, kVA.
    pub const TRANSFORMER_CAPACITY: &str = "transformer_capacity";

    /// The legal heating season, `MM-DD..MM-DD` ([`crate::season::Season`]); outside it no heat is due.
    pub const HEATING_SEASON: &str = "heating_season";

    /// The attribute as a number, where it is one.
    #[must_use]
    pub fn number(attributes: &super::Attributes, name: &str) -> Option<f64> {
        attributes.get(name)?.trim().parse().ok()
    }
}
