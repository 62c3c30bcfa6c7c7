//! Where everything stands: which station hangs on which source, which room in which building, and their properties.
//!
//! A pure function of the plan. Registry and physics both read it, so they cannot disagree.

use schemas::Code;

use super::{plan::Plan, random::Dice};

/// Outdoor design temperature of Changchun, °C (JGJ 26), and the indoor temperature the load is designed for.
pub(super) const DESIGN_OUTDOOR: f64 = -21.0;
/// Room temperature in balance with the curve, °C.
pub(super) const DESIGN_INDOOR: f64 = 21.0;
/// Design heat load of 1 m², kW.
const DESIGN_KW_PER_M2: f64 = 0.040;
/// Share of the stations that hang on plants when there are boiler houses too.
const SHARE_ON_PLANTS: f64 = 0.35;
/// Clean-heating devices on one transformer.
pub(super) const DEVICES_PER_TRANSFORMER: usize = 40;

/// The city and the districts in it; the last four are rural.
pub(super) const CITY: (&str, &str) = ("220100", "长春市");
/// Code, name, longitude, latitude.
pub(super) const DISTRICTS: [(&str, &str, f64, f64); 9] = [
    ("220104", "朝阳区", 125.288, 43.834),
    ("220102", "南关区", 125.350, 43.864),
    ("220103", "宽城区", 125.326, 43.944),
    ("220105", "二道区", 125.374, 43.866),
    ("220106", "绿园区", 125.256, 43.881),
    ("220112", "双阳区", 125.665, 43.525),
    ("220113", "九台区", 125.840, 44.152),
    ("220122", "农安县", 125.185, 44.433),
    ("220183", "德惠市", 125.729, 44.522),
];
/// The first rural district.
const RURAL: usize = 5;

/// Where a room lies in its building (attribute `position`).
pub(super) const POSITIONS: [(&str, f64); 4] =
    [("inner", 0.15), ("edge", -0.30), ("top", -0.35), ("corner", -0.60)];

/// Types of clean-heating devices, with the share of each.
pub(super) const DEVICE_TYPES: [(&str, f64); 3] =
    [("air_source_heat_pump", 0.7), ("electric_boiler", 0.2), ("ground_source_heat_pump", 0.1)];

/// The plan laid out.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) plan: Plan,
    dice: Dice,
    /// Sources of stations: branches first, then boiler houses.
    pub(super) sources: usize,
    pub(super) buildings_per_station: usize,
    pub(super) buildings: usize,
    pub(super) households: usize,
    pub(super) enterprises: usize,
    stations_on_plants: usize,
}

/// A building as built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site {
    pub(super) longitude: f64,
    pub(super) latitude: f64,
    pub(super) district: usize,
}

impl Layout {
    pub(super) fn new(plan: &Plan) -> Self {
        let size = plan.size;
        let households = size.rooms.div_ceil(2);
        let buildings_per_station =
            if size.stations == 0 { 0 } else { households.div_ceil(size.stations).div_ceil(6).clamp(1, 12) };
        let stations_on_plants = match (size.branches, size.boiler_houses) {
            (0, _) => 0,
            (_, 0) => size.stations,
            _ => ((size.stations as f64 * SHARE_ON_PLANTS) as usize).max(1).min(size.stations),
        };
        Layout {
            plan: plan.clone(),
            dice: Dice::new(plan.seed).stream(0x1a_70_07),
            sources: size.branches + size.boiler_houses,
            buildings_per_station,
            buildings: buildings_per_station * size.stations,
            households,
            enterprises: (size.stations.div_ceil(100)).max(1),
            stations_on_plants,
        }
    }

    /// The stream of chance of an object's properties.
    pub(super) fn dice(&self, kind: u64, index: usize) -> Dice {
        self.dice.stream(kind).stream(index as u64)
    }

    /// The plant of a branch.
    pub(super) fn plant_of(&self, branch: usize) -> usize {
        branch * self.plan.size.plants / self.plan.size.branches
    }

    /// The source of a station.
    pub(super) fn source_of(&self, station: usize) -> usize {
        let size = self.plan.size;
        if station < self.stations_on_plants {
            station * size.branches / self.stations_on_plants
        } else {
            let rest = size.stations - self.stations_on_plants;
            size.branches + (station - self.stations_on_plants) * size.boiler_houses / rest
        }
    }

    /// The enterprise that runs a source and everything below it.
    pub(super) fn enterprise_of(&self, source: usize) -> usize {
        source * self.enterprises / self.sources.max(1)
    }

    /// The enterprise of a plant: the one of its first branch.
    pub(super) fn enterprise_of_plant(&self, plant: usize) -> usize {
        let branch = (0..self.plan.size.branches).find(|b| self.plant_of(*b) == plant);
        self.enterprise_of(branch.unwrap_or(0))
    }

    /// Urban districts in use: few in a small plan.
    pub(super) fn urban(&self) -> usize {
        self.plan.size.stations.div_ceil(20).clamp(1, RURAL)
    }

    /// Rural districts in use.
    pub(super) fn rural(&self) -> usize {
        self.plan.size.clean_devices.div_ceil(500).clamp(1, DISTRICTS.len() - RURAL)
    }

    /// The districts in use, by their place in [`DISTRICTS`].
    pub(super) fn districts(&self) -> Vec<usize> {
        let rural = if self.plan.size.clean_devices == 0 { 0 } else { self.rural() };
        (0..self.urban()).chain(RURAL..RURAL + rural).collect()
    }

    fn near(&self, district: usize, dice: Dice, spread: f64) -> Site {
        let (_, _, longitude, latitude) = DISTRICTS[district];
        let place = |degrees: f64| (degrees * 1e6).round() / 1e6;
        Site {
            longitude: place(longitude + spread * dice.bell(90)),
            latitude: place(latitude + 0.7 * spread * dice.bell(91)),
            district,
        }
    }

    /// Where a source stands.
    pub(super) fn source_site(&self, source: usize) -> Site {
        self.near(source % self.urban(), self.dice(1, source), 0.02)
    }

    /// Where a station stands: in the district of its source, near it.
    pub(super) fn station_site(&self, station: usize) -> Site {
        let district = self.source_of(station) % self.urban();
        self.near(district, self.dice(2, station), 0.015)
    }

    /// Heated area of a station, m².
    pub(super) fn station_area(&self, station: usize) -> f64 {
        self.dice(2, station).between(0, 22_000.0, 58_000.0).round()
    }

    /// Design load of an area, kW.
    pub(super) fn design_load(area: f64) -> f64 {
        (area * DESIGN_KW_PER_M2 * 10.0).round() / 10.0
    }

    /// The station of a building.
    pub(super) fn station_of(&self, building: usize) -> usize {
        building / self.buildings_per_station
    }

    /// Heated area of a building, m².
    pub(super) fn building_area(&self, building: usize) -> f64 {
        (self.station_area(self.station_of(building)) / self.buildings_per_station as f64).round()
    }

    /// The building of a household: households fill buildings evenly.
    pub(super) fn building_of(&self, household: usize) -> usize {
        household * self.buildings / self.households
    }

    /// The rooms of a household.
    pub(super) fn rooms_of(&self, household: usize) -> std::ops::Range<usize> {
        household * 2..(household * 2 + 2).min(self.plan.size.rooms)
    }

    /// Where in its building a household lies: an index into [`POSITIONS`].
    pub(super) fn position(&self, household: usize) -> usize {
        match self.dice(4, household).unit(1) {
            u if u < 0.55 => 0,
            u if u < 0.75 => 1,
            u if u < 0.90 => 2,
            _ => 3,
        }
    }

    /// Where a clean-heating installation stands.
    pub(super) fn clean_site(&self, clean: usize) -> Site {
        let district = RURAL + clean * self.rural() / self.plan.size.clean_devices;
        self.near(district, self.dice(5, clean), 0.12)
    }

    /// The type of a clean-heating device: an index into [`DEVICE_TYPES`].
    pub(super) fn device_type(&self, clean: usize) -> usize {
        let mut left = self.dice(5, clean).unit(2);
        for (index, (_, share)) in DEVICE_TYPES.iter().enumerate() {
            if left < *share {
                return index;
            }
            left -= share;
        }
        0
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident => $form:literal;)*) => {
        $($(#[$doc])* pub(super) fn $name(index: usize) -> Code { format!($form, index + 1).into() })*
    };
}

codes! {
    /// Code of an enterprise.
    enterprise_code => "ENT-{:02}";
    /// Code of a plant.
    plant_code => "PL-{:02}";
    /// Code of a branch.
    branch_code => "BR-{:02}";
    /// Code of a boiler house.
    boiler_house_code => "BH-{:03}";
    /// Code of a station.
    station_code => "ST-{:04}";
    /// Code of a building.
    building_code => "BD-{:05}";
    /// Code of a household.
    household_code => "HH-{:06}";
    /// Code of a room sensor.
    room_code => "RS-{:06}";
    /// Code of a clean-heating installation.
    clean_code => "CD-{:06}";
    /// Code of its device.
    device_code => "DV-{:06}";
    /// Code of a transformer.
    transformer_code => "TR-{:05}";
}

/// Code of a source of stations.
pub(super) fn source_code(layout: &Layout, source: usize) -> Code {
    let branches = layout.plan.size.branches;
    if source < branches { branch_code(source) } else { boiler_house_code(source - branches) }
}

/// Code of a district's weather station.
pub(super) fn weather_code(district: usize) -> Code {
    format!("WS-{}", DISTRICTS[district].0).into()
}
