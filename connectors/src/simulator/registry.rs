//! The registry of a simulated city: a plan in, registry entries out, parents before children.

use schemas::{
    Attributes, Catalogue, Code, Device, District, Enterprise, Facility, FacilityKind, RegistryEntry, Side,
    Threshold, registry::attribute,
};

use super::{
    layout::{self, CITY, DEVICE_TYPES, DEVICES_PER_TRANSFORMER, DISTRICTS, Layout, POSITIONS, Site},
    plan::Plan,
};

/// Every entry of a plan's registry: districts, enterprises, facilities, devices and thresholds.
#[must_use]
pub fn registry(plan: &Plan) -> Vec<RegistryEntry> {
    let layout = Layout::new(plan);
    let mut entries = Vec::new();
    districts(&layout, &mut entries);
    sources(&layout, &mut entries);
    stations(&layout, &mut entries);
    households(&layout, &mut entries);
    clean_devices(&layout, &mut entries);
    entries.extend(thresholds().into_iter().map(RegistryEntry::Threshold));
    entries
}

fn attributes<const N: usize>(pairs: [(&str, String); N]) -> Attributes {
    pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// Interval, offline delay and arrival delay of an object that reports every `interval` minutes and whose reports
/// may wait `held` minutes before they are sent.
fn pace(interval: u32, held: u32) -> [(&'static str, String); 3] {
    [
        (attribute::INTERVAL, (interval * 60).to_string()),
        (attribute::OFFLINE_AFTER, (900.max(3 * interval * 60) + held * 60).to_string()),
        (attribute::ARRIVES_WITHIN, (300 + held * 60).to_string()),
    ]
}

struct Standing<'a> {
    parent: Option<Code>,
    enterprise: Option<Code>,
    site: Site,
    name: String,
    area: Option<f64>,
    attributes: &'a [(&'static str, String)],
}

fn facility(code: Code, kind: FacilityKind, place: Standing<'_>) -> RegistryEntry {
    RegistryEntry::Facility(Facility {
        code,
        kind,
        name: place.name,
        parent: place.parent,
        enterprise: place.enterprise,
        district: Some(DISTRICTS[place.site.district].0.into()),
        longitude: Some(place.site.longitude),
        latitude: Some(place.site.latitude),
        heated_area: place.area,
        attributes: place.attributes.iter().map(|(n, v)| ((*n).into(), v.into())).collect(),
    })
}

fn districts(layout: &Layout, entries: &mut Vec<RegistryEntry>) {
    let district = |code: &str, name: &str, parent: Option<&str>| {
        RegistryEntry::District(District {
            code: code.into(),
            name: name.to_owned(),
            parent: parent.map(Code::from),
        })
    };
    entries.push(district(CITY.0, CITY.1, None));
    for index in layout.districts() {
        entries.push(district(DISTRICTS[index].0, DISTRICTS[index].1, Some(CITY.0)));
    }
    for index in 0..layout.enterprises {
        entries.push(RegistryEntry::Enterprise(Enterprise {
            code: layout::enterprise_code(index),
            name: format!("第{}热力公司", index + 1),
        }));
    }
    for district in layout.districts() {
        let (_, name, longitude, latitude) = DISTRICTS[district];
        entries.push(facility(
            layout::weather_code(district),
            FacilityKind::WeatherStation,
            Standing {
                parent: None,
                enterprise: None,
                site: Site { longitude, latitude, district },
                name: format!("{name}气象站"),
                area: None,
                attributes: &pace(layout.plan.intervals.weather, 0),
            },
        ));
    }
}

fn sources(layout: &Layout, entries: &mut Vec<RegistryEntry>) {
    let size = layout.plan.size;
    let times = pace(layout.plan.intervals.source, 0);
    for plant in 0..size.plants {
        let first = (0..size.branches).find(|b| layout.plant_of(*b) == plant).unwrap_or(0);
        entries.push(facility(
            layout::plant_code(plant),
            FacilityKind::Plant,
            Standing {
                parent: None,
                enterprise: Some(layout::enterprise_code(layout.enterprise_of_plant(plant))),
                site: layout.source_site(first),
                name: format!("{}号热电厂", plant + 1),
                area: None,
                attributes: &times,
            },
        ));
    }
    let mut areas = vec![0.0; layout.sources];
    for station in 0..size.stations {
        areas[layout.source_of(station)] += layout.station_area(station);
    }
    for (source, area) in areas.iter().enumerate() {
        let branch = source < size.branches;
        let load = Layout::design_load(*area).to_string();
        let attributes: Vec<_> = times.iter().cloned().chain([(attribute::DESIGN_LOAD, load)]).collect();
        entries.push(facility(
            layout::source_code(layout, source),
            if branch { FacilityKind::PlantBranch } else { FacilityKind::BoilerHouse },
            Standing {
                parent: branch.then(|| layout::plant_code(layout.plant_of(source))),
                enterprise: Some(layout::enterprise_code(layout.enterprise_of(source))),
                site: layout.source_site(source),
                name: if branch {
                    format!("{}号支线", source + 1)
                } else {
                    format!("{}号锅炉房", source + 1 - size.branches)
                },
                area: None,
                attributes: &attributes,
            },
        ));
    }
}

fn stations(layout: &Layout, entries: &mut Vec<RegistryEntry>) {
    for station in 0..layout.plan.size.stations {
        let source = layout.source_of(station);
        let area = layout.station_area(station);
        let load = Layout::design_load(area).to_string();
        let times = pace(layout.plan.intervals.station, 0);
        let design = [(attribute::DESIGN_LOAD, load), ("design_temp", layout::DESIGN_OUTDOOR.to_string())];
        let attributes: Vec<_> = times.into_iter().chain(design).collect();
        let site = layout.station_site(station);
        let enterprise = Some(layout::enterprise_code(layout.enterprise_of(source)));
        entries.push(facility(
            layout::station_code(station),
            FacilityKind::Station,
            Standing {
                parent: Some(layout::source_code(layout, source)),
                enterprise: enterprise.clone(),
                site,
                name: format!("{}号换热站", station + 1),
                area: Some(area),
                attributes: &attributes,
            },
        ));
        for number in 0..layout.buildings_per_station {
            let building = station * layout.buildings_per_station + number;
            let built = 1985 + layout.dice(3, building).below(5, 38);
            entries.push(facility(
                layout::building_code(building),
                FacilityKind::Building,
                Standing {
                    parent: Some(layout::station_code(station)),
                    enterprise: enterprise.clone(),
                    site,
                    name: format!("{}号换热站{}号楼", station + 1, number + 1),
                    area: Some(layout.building_area(building)),
                    attributes: &[("built", built.to_string())],
                },
            ));
        }
    }
}

fn households(layout: &Layout, entries: &mut Vec<RegistryEntry>) {
    let intervals = layout.plan.intervals;
    let held = if intervals.room_upload > intervals.room { intervals.room_upload } else { 0 };
    for household in 0..layout.households {
        let building = layout.building_of(household);
        let station = layout.station_of(building);
        let area = layout.dice(4, household).between(0, 58.0, 126.0).round();
        let code = layout::household_code(household);
        entries.push(facility(
            code.clone(),
            FacilityKind::Household,
            Standing {
                parent: Some(layout::building_code(building)),
                enterprise: Some(layout::enterprise_code(layout.enterprise_of(layout.source_of(station)))),
                site: layout.station_site(station),
                name: format!("{}号住户", household + 1),
                area: Some(area),
                attributes: &[
                    ("position", POSITIONS[layout.position(household)].0.to_owned()),
                    (attribute::STANDARD_TEMP, "18".to_owned()),
                ],
            },
        ));
        for room in layout.rooms_of(household) {
            entries.push(RegistryEntry::Device(Device {
                code: layout::room_code(room),
                facility: code.clone(),
                kind: "room_sensor".into(),
                model: "RT-10".to_owned(),
                maker: "北方仪表".to_owned(),
                installed: "2023-09-15".to_owned(),
                attributes: attributes(pace(intervals.room, held)),
            }));
        }
    }
}

fn clean_devices(layout: &Layout, entries: &mut Vec<RegistryEntry>) {
    for clean in 0..layout.plan.size.clean_devices {
        let code = layout::clean_code(clean);
        entries.push(facility(
            code.clone(),
            FacilityKind::CleanDevice,
            Standing {
                parent: None,
                enterprise: None,
                site: layout.clean_site(clean),
                name: format!("{}号清洁取暖户", clean + 1),
                area: Some(layout.dice(5, clean).between(0, 70.0, 130.0).round()),
                attributes: &[(attribute::STANDARD_TEMP, "18".to_owned())],
            },
        ));
        let mut attributes = attributes(pace(layout.plan.intervals.clean_device, 0));
        let transformer = layout::transformer_code(clean / DEVICES_PER_TRANSFORMER);
        attributes.insert("transformer".into(), transformer.to_string().into());
        entries.push(RegistryEntry::Device(Device {
            code: layout::device_code(clean),
            facility: code,
            kind: DEVICE_TYPES[layout.device_type(clean)].0.into(),
            model: "CH-9".to_owned(),
            maker: "雪国能源".to_owned(),
            installed: "2022-10-01".to_owned(),
            attributes,
        }));
    }
}

/// One limit: scope, metric, side, the three levels from the gravest, deadband, delay (s), advice.
type Limit = (&'static str, &'static str, Side, [Option<f64>; 3], f64, u32, &'static str);

/// The limits a healthy city stays within and the simulated faults cross.
fn thresholds() -> Vec<Threshold> {
    use Side::{High, Low};
    let levels = |gravest, middle, mildest| [Some(gravest), Some(middle), Some(mildest)];
    let state = [Some(1.0), None, None];
    let limits: [Limit; 9] = [
        (
            "station",
            "secondary_supply_pressure",
            High,
            levels(0.75, 0.68, 0.60),
            0.02,
            120,
            "检查定压和安全阀",
        ),
        (
            "station",
            "secondary_return_pressure",
            Low,
            levels(0.15, 0.20, 0.26),
            0.01,
            120,
            "检查补水定压和管网泄漏",
        ),
        ("station", "secondary_supply_temp", High, levels(75.0, 70.0, 66.0), 1.0, 300, "检查一次调节阀"),
        ("station", "makeup_flow", High, levels(8.0, 4.0, 1.5), 0.2, 300, "巡线查找二次网泄漏"),
        ("station", "circulation_pump_fault", High, state, 0.0, 0, "切换备用循环泵"),
        ("station", "power_lost", High, state, 0.0, 0, "检查供电"),
        ("room_sensor", "room_temp", Low, levels(14.0, 16.0, 17.5), 0.3, 1_800, "检查入户供热"),
        ("air_source_heat_pump", "voltage", Low, levels(180.0, 190.0, 198.0), 2.0, 300, "检查台区电压"),
        ("air_source_heat_pump", "voltage", High, levels(250.0, 242.0, 236.0), 1.0, 300, "检查台区电压"),
    ];
    limits
        .into_iter()
        .filter_map(|(scope, metric, side, [level1, level2, level3], deadband, delay, advice)| {
            Some(Threshold {
                scope: scope.into(),
                metric: Catalogue::in_force().id(metric)?,
                side,
                level1,
                level2,
                level3,
                deadband,
                on_delay: delay,
                off_delay: delay,
                enabled: true,
                advice: advice.to_owned(),
                rule: "".into(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::plan::Size;
    use std::collections::BTreeSet;

    #[test]
    fn parents_come_first_and_everything_is_named_once() {
        let plan = Plan::of(Size::of_stations(45));
        let (mut keys, mut facilities, mut districts) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for entry in registry(&plan) {
            assert!(keys.insert(entry.key()), "{:?}", entry.key());
            match entry {
                RegistryEntry::District(d) => {
                    assert!(d.parent.is_none_or(|p| districts.contains(&p)));
                    districts.insert(d.code);
                }
                RegistryEntry::Facility(f) => {
                    assert!(f.parent.is_none_or(|p| facilities.contains(&p)), "{}", f.code);
                    assert!(f.district.is_some_and(|d| districts.contains(&d)));
                    facilities.insert(f.code);
                }
                RegistryEntry::Device(d) => assert!(facilities.contains(&d.facility)),
                _ => {}
            }
        }
        assert_eq!(thresholds().len(), 9);
    }

    #[test]
    fn the_registry_passes_every_check_and_survives_its_file_form() {
        let directory = tempfile::tempdir().expect("directory");
        let registry = schemas::registry_files::Registry::new(registry(&Plan::of(Size::of_stations(25))));
        schemas::registry_files::write(directory.path(), &registry).expect("write");
        let read = schemas::registry_files::load(directory.path()).expect("good registry");
        assert_eq!(schemas::registry_files::diff(&registry, &read), []);
    }

    #[test]
    fn changchun_has_the_counts_of_the_design() {
        let entries = registry(&Plan::of(Size::changchun()));
        let of = |kind| {
            entries.iter().filter(|e| matches!(e, RegistryEntry::Facility(f) if f.kind == kind)).count()
        };
        assert_eq!(of(FacilityKind::Plant), 6);
        assert_eq!(of(FacilityKind::PlantBranch), 27);
        assert_eq!(of(FacilityKind::BoilerHouse), 162);
        assert_eq!(of(FacilityKind::Station), 3_500);
        assert_eq!(of(FacilityKind::CleanDevice), 110_000);
        let devices = |kind: &str| {
            entries.iter().filter(|e| matches!(e, RegistryEntry::Device(d) if d.kind == kind)).count()
        };
        assert_eq!(devices("room_sensor"), 120_000);
    }
}
