//! Whether a whole registry is consistent, wherever its entries come from.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{catalogue_thresholds, datum};
use crate::{
    Facility, FacilityKind, ModelSetting, RegistryEntry, RegistryKey, Side, Threshold, nearest::hint,
    registry::attribute,
};

/// How grave a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The registry cannot be used.
    Error,
    /// It can, but look at it.
    Warning,
}

/// Something wrong with one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The entry.
    pub key: RegistryKey,
    /// How grave it is.
    pub severity: Severity,
    /// What is wrong, and what to do.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key.0, self.what)
    }
}

/// Greatest believable heated area of one facility, m².
const GREATEST_AREA: f64 = 1e7;
/// For how many problems a similar known code is looked for: each search reads every code.
const HINTS: usize = 100;

/// Every problem of a registry, in the order of its keys.
#[must_use]
pub fn check(entries: &BTreeMap<RegistryKey, RegistryEntry>) -> Vec<Problem> {
    let mut check = Check::new(entries);
    for (key, entry) in entries {
        check.entry(key, entry);
    }
    for (what, parents) in
        [("district", check.known.district_parents()), ("facility", check.known.facility_parents())]
    {
        for cycle in cycles(&parents) {
            let key = RegistryKey(format!("{what}/{}", cycle[0]).into());
            let path = [&cycle[..], &cycle[..1]].concat().join(" -> ");
            check.error(
                &key,
                format!("the parents of {what} {} form a circle: {path}: correct one parent", cycle[0]),
            );
        }
    }
    check.problems.sort_by(|a, b| a.key.cmp(&b.key));
    check.problems
}

/// The codes that entries may refer to.
struct Known<'e> {
    districts: BTreeMap<&'e str, Option<&'e str>>,
    enterprises: BTreeSet<&'e str>,
    facilities: BTreeMap<&'e str, Option<&'e str>>,
    devices: BTreeSet<&'e str>,
    device_types: BTreeSet<&'e str>,
}

impl<'e> Known<'e> {
    fn district_parents(&self) -> BTreeMap<&'e str, &'e str> {
        parents(&self.districts)
    }

    fn facility_parents(&self) -> BTreeMap<&'e str, &'e str> {
        parents(&self.facilities)
    }
}

fn parents<'e>(of: &BTreeMap<&'e str, Option<&'e str>>) -> BTreeMap<&'e str, &'e str> {
    of.iter().filter_map(|(code, parent)| parent.map(|parent| (*code, parent))).collect()
}

struct Check<'e> {
    known: Known<'e>,
    problems: Vec<Problem>,
}

impl<'e> Check<'e> {
    fn new(entries: &'e BTreeMap<RegistryKey, RegistryEntry>) -> Self {
        let mut known = Known {
            districts: BTreeMap::new(),
            enterprises: BTreeSet::new(),
            facilities: BTreeMap::new(),
            devices: BTreeSet::new(),
            device_types: catalogue_thresholds().iter().map(|threshold| threshold.scope.as_str()).collect(),
        };
        for entry in entries.values() {
            match entry {
                RegistryEntry::District(d) => drop(known.districts.insert(&d.code, d.parent.as_deref())),
                RegistryEntry::Enterprise(e) => drop(known.enterprises.insert(&e.code)),
                RegistryEntry::Facility(f) => drop(known.facilities.insert(&f.code, f.parent.as_deref())),
                RegistryEntry::Device(d) => {
                    known.devices.insert(&d.code);
                    known.device_types.insert(&d.kind);
                }
                RegistryEntry::Threshold(_) => {}
            }
        }
        Check { known, problems: Vec::new() }
    }

    fn add(&mut self, key: &RegistryKey, severity: Severity, what: String) {
        self.problems.push(Problem { key: key.clone(), severity, what });
    }

    fn error(&mut self, key: &RegistryKey, what: String) {
        self.add(key, Severity::Error, what);
    }

    fn entry(&mut self, key: &RegistryKey, entry: &'e RegistryEntry) {
        match entry {
            RegistryEntry::District(district) => {
                let digits = district.code.bytes().all(|byte| byte.is_ascii_digit());
                if !digits || ![6, 9].contains(&district.code.len()) {
                    self.error(key, format!("district code {} is not 6 or 9 digits", district.code));
                }
                self.reference(key, "parent", "district", district.parent.as_deref());
            }
            RegistryEntry::Enterprise(_) => {}
            RegistryEntry::Facility(facility) => {
                self.reference(key, "parent", "facility", facility.parent.as_deref());
                self.reference(key, "enterprise", "enterprise", facility.enterprise.as_deref());
                self.reference(key, "district", "district", facility.district.as_deref());
                self.area(key, facility);
                self.position(key, facility);
                self.models(key, facility);
            }
            RegistryEntry::Device(device) => {
                self.reference(key, "facility", "facility", Some(&device.facility));
            }
            RegistryEntry::Threshold(threshold) => {
                self.scope(key, &threshold.scope);
                levels(threshold).into_iter().for_each(|what| self.error(key, what));
            }
        }
    }

    /// That a code is known among the districts, enterprises or facilities.
    fn reference(&mut self, key: &RegistryKey, field: &str, what: &str, code: Option<&str>) {
        let Some(code) = code else { return };
        let known = match what {
            "district" => self.known.districts.contains_key(code),
            "enterprise" => self.known.enterprises.contains(code),
            _ => self.known.facilities.contains_key(code),
        };
        if known {
            return;
        }
        let near = match what {
            _ if self.problems.len() >= HINTS => String::new(),
            "district" => hint(code, self.known.districts.keys().copied()),
            "enterprise" => hint(code, self.known.enterprises.iter().copied()),
            _ => hint(code, self.known.facilities.keys().copied()),
        };
        self.error(key, format!("{field}: unknown {what} {code}{near}: add the {what} or correct the code"));
    }

    fn area(&mut self, key: &RegistryKey, facility: &Facility) {
        match facility.heated_area {
            Some(area) if area.is_nan() || area < 0.0 => {
                self.error(key, format!("heated_area {area} m² is negative: correct it or leave it empty"));
            }
            Some(area) if area > GREATEST_AREA => self.error(
                key,
                format!("heated_area {area} m² is above 10 million m²: give square metres, not 万m² or a sum of facilities"),
            ),
            _ => {}
        }
    }

    fn position(&mut self, key: &RegistryKey, facility: &Facility) {
        let (longitude, latitude) = match (facility.longitude, facility.latitude) {
            (Some(longitude), Some(latitude)) => (longitude, latitude),
            (None, None) => return,
            (Some(_), None) => {
                return self.error(key, "has a longitude without latitude: give both or none".to_owned());
            }
            (None, Some(_)) => {
                return self.error(key, "has a latitude without longitude: give both or none".to_owned());
            }
        };
        let valid = longitude.abs() <= 180.0 && latitude.abs() <= 90.0;
        if !datum::in_china((longitude, latitude)) && datum::in_china((latitude, longitude)) {
            self.error(
                key,
                format!("longitude {longitude} and latitude {latitude} are swapped: exchange them"),
            );
        } else if !valid {
            self.error(
                key,
                format!(
                    "longitude {longitude}, latitude {latitude} is no place on earth: give degrees, WGS-84"
                ),
            );
        } else if !datum::in_china((longitude, latitude)) {
            self.add(
                key,
                Severity::Warning,
                format!("longitude {longitude}, latitude {latitude} is outside China: correct it unless that is meant"),
            );
        }
    }

    /// That the attributes which set models name settings, with values within their bounds.
    fn models(&mut self, key: &RegistryKey, facility: &Facility) {
        let settings = ModelSetting::in_force();
        for (name, value) in &facility.attributes {
            let Some((model, setting)) = name.split_once('.') else { continue };
            let of_model = settings.iter().filter(|known| known.model == model);
            if of_model.clone().next().is_none() {
                continue;
            }
            let Some(known) = of_model.clone().find(|known| known.setting == setting) else {
                let near = hint(setting, of_model.map(|known| known.setting.as_str()));
                self.error(key, format!("attribute {name}: {model} has no setting {setting}{near}"));
                continue;
            };
            match attribute::number(&facility.attributes, name) {
                Some(number) => {
                    if let Some(what) = known.beyond(number) {
                        self.error(key, format!("attribute {what}"));
                    }
                }
                None => self.error(key, format!("attribute {name} {value:?} is no number")),
            }
        }
    }

    fn scope(&mut self, key: &RegistryKey, scope: &str) {
        let kinds = FacilityKind::ALL.iter().map(|kind| kind.name());
        let known = self.known.devices.contains(scope)
            || self.known.facilities.contains_key(scope)
            || self.known.device_types.contains(scope)
            || kinds.clone().any(|kind| kind == scope);
        if !known {
            let near = if self.problems.len() < HINTS {
                let types = self.known.device_types.iter().chain(&self.known.devices).copied();
                hint(scope, kinds.chain(types).chain(self.known.facilities.keys().copied()))
            } else {
                String::new()
            };
            self.error(
                key,
                format!(
                    "unknown scope {scope}{near}: name a device, a facility, a device type or a facility kind"
                ),
            );
        }
    }
}

/// What is wrong with the levels of a threshold and its way back.
pub(crate) fn levels(threshold: &Threshold) -> Vec<String> {
    let mut problems = Vec::new();
    let levels: Vec<(u8, f64)> = [threshold.level1, threshold.level2, threshold.level3]
        .into_iter()
        .zip(1..)
        .filter_map(|(limit, level)| Some((level, limit?)))
        .collect();
    if levels.is_empty() {
        problems.push("has no level: give level1, level2 or level3, or delete the row".to_owned());
    }
    for pair in levels.windows(2) {
        let ((graver, first), (milder, second)) = (pair[0], pair[1]);
        let (ordered, than) = match threshold.side {
            Side::High => (first > second, "above"),
            Side::Low => (first < second, "below"),
        };
        if !ordered {
            let side = threshold.side.name();
            problems
                .push(format!("side {side}: level{graver} {first} must be {than} level{milder} {second}"));
        }
    }
    let deadband = threshold.deadband;
    if !(deadband >= 0.0 && deadband.is_finite()) {
        problems.push(format!("deadband {deadband} is negative: give the way back as a positive number"));
    }
    problems
}

/// Every circle of parents, once, beginning with its least code.
fn cycles<'e>(parents: &BTreeMap<&'e str, &'e str>) -> Vec<Vec<&'e str>> {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut cycles = Vec::new();
    for start in parents.keys() {
        let (mut path, mut on_path, mut at) = (Vec::new(), BTreeSet::new(), *start);
        while !done.contains(at) && on_path.insert(at) {
            path.push(at);
            match parents.get(at) {
                Some(parent) => at = parent,
                None => break,
            }
        }
        // The path ends on itself: what lies before is a tail that leads into the circle.
        if parents.contains_key(at)
            && !done.contains(at)
            && let Some(first) = path.iter().position(|code| *code == at)
        {
            let mut cycle = path.split_off(first);
            done.extend(&cycle);
            let least = cycle.iter().enumerate().min_by_key(|(_, code)| **code).map_or(0, |(place, _)| place);
            cycle.rotate_left(least);
            cycles.push(cycle);
        }
        done.extend(path);
    }
    cycles
}
