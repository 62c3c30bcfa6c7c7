//! The dataflow on one and three workers against a batch computation written separately.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use proptest::prelude::*;
use schemas::{
    Device, District, Enterprise, Facility, FacilityKind, MetricId, RegistryKey, Scope, ScopeKind, Side,
    Threshold, registry_files::catalogue_thresholds,
};
use timely::dataflow::{
    InputHandle, ProbeHandle,
    operators::{Input, Inspect, Probe},
};

use super::*;
use crate::{Profile, durable::bucket};

type Epochs = Vec<Vec<RegistryRecord>>;
type Seen = BTreeMap<Epoch, (Vec<ProfileChange>, Vec<Reject>)>;

/// What comes out in each epoch, sorted; `stride` epochs are put in before the dataflow works on them.
fn run(workers: usize, stride: usize, epochs: &Epochs) -> Seen {
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let (inside, epochs) = (seen.clone(), epochs.clone());
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let mut input = InputHandle::new();
        let probe = ProbeHandle::new();
        let (index, peers) = (worker.index(), worker.peers());
        worker.dataflow::<Epoch, _, _>(|scope| {
            let (profiles, rejects) = scope.input_from(&mut input).join_registry();
            let (a, b) = (inside.clone(), inside.clone());
            profiles
                .inspect_time(move |epoch, change| {
                    a.lock().unwrap().entry(*epoch).or_default().0.push(change.clone());
                })
                .probe_with(&probe);
            rejects
                .inspect_time(move |epoch, reject| {
                    b.lock().unwrap().entry(*epoch).or_default().1.push(reject.clone());
                })
                .probe_with(&probe);
        });
        for (epoch, records) in epochs.iter().enumerate() {
            // Records of one partition come from one worker, as in a real topic.
            for record in records.iter().filter(|record| record.2.0 as usize % peers == index) {
                input.send(record.clone());
            }
            input.advance_to(epoch as u64 + 1);
            while (epoch + 1).is_multiple_of(stride) && probe.less_than(input.time()) {
                worker.step();
            }
            let before = inside.lock().unwrap().keys().next_back().copied();
            assert!(before.is_none_or(|last| last <= epoch as u64 + 1));
        }
    })
    .unwrap();
    drop(guards);
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    for (changes, rejects) in seen.values_mut() {
        changes.sort_by(|a, b| a.facility.cmp(&b.facility));
        rejects.sort();
    }
    seen
}

/// The entries after each epoch.
fn states(epochs: &Epochs) -> Vec<BTreeMap<Code, RegistryEntry>> {
    let mut state = BTreeMap::new();
    let mut states = Vec::new();
    for records in epochs {
        let mut records = records.clone();
        records.sort_by_key(|record| record.2);
        for (key, entry, _) in records {
            match entry {
                Some(entry) if entry.key() == RegistryKey(key.clone()) => drop(state.insert(key, entry)),
                Some(_) => {}
                None => drop(state.remove(&key)),
            }
        }
        states.push(state.clone());
    }
    states
}

/// All profiles of a registry, computed from scratch by walking up from every facility.
fn oracle(entries: &BTreeMap<Code, RegistryEntry>) -> BTreeMap<Code, Profile> {
    let mut facilities: BTreeMap<Code, Facility> = BTreeMap::new();
    let mut districts: BTreeMap<Code, Option<Code>> = BTreeMap::new();
    let (mut enterprises, mut devices) = (BTreeSet::new(), Vec::new());
    let named = |t: &Threshold| (t.scope.clone(), t.metric, t.side, t.rule.clone());
    let mut rules: BTreeMap<(Code, MetricId, Side, Code), Threshold> =
        catalogue_thresholds().iter().map(|t| (named(t), t.clone())).collect();
    for entry in entries.values() {
        match entry.clone() {
            RegistryEntry::Facility(f) => drop(facilities.insert(f.code.clone(), f)),
            RegistryEntry::District(d) => drop(districts.insert(d.code, d.parent)),
            RegistryEntry::Enterprise(e) => drop(enterprises.insert(e.code)),
            RegistryEntry::Device(d) => devices.push(d),
            RegistryEntry::Threshold(t) => drop(rules.insert(named(&t), t)),
        }
    }
    let up =
        |code: &Code| facilities.get(code).and_then(|f| f.parent.clone()).filter(|parent| parent != code);
    let walk = |first: Option<Code>, next: &dyn Fn(&Code) -> Option<Code>, known: &dyn Fn(&Code) -> bool| {
        let (mut way, mut at) = (Vec::new(), first);
        while let Some(code) = at.filter(|code| known(code) && !way.contains(code)) {
            at = next(&code);
            way.push(code);
        }
        way
    };
    let above: BTreeMap<&Code, Vec<Code>> = facilities
        .keys()
        .map(|code| (code, walk(up(code), &up, &|code| facilities.contains_key(code))))
        .collect();
    let mut sums: BTreeMap<&Code, (u32, f64)> = BTreeMap::new();
    for (code, facility) in &facilities {
        if facility.kind == FacilityKind::Household {
            above[code].iter().for_each(|up| sums.entry(up).or_default().0 += 1);
        }
        if let Some(area) = facility.heated_area {
            let open = above[code].iter().take_while(|up| facilities[*up].heated_area.is_none());
            open.for_each(|up| sums.entry(up).or_default().1 += area);
        }
    }
    let profile = |facility: &Facility| {
        let code = &facility.code;
        let mut scopes: BTreeSet<Scope> = BTreeSet::new();
        for code in above[code].iter().chain([code]) {
            scopes.extend(facilities[code].kind.scope().map(|kind| Scope { kind, code: code.clone() }));
        }
        let enterprise = facility.enterprise.clone().filter(|code| enterprises.contains(code));
        scopes.extend(enterprise.map(|code| Scope { kind: ScopeKind::Enterprise, code }));
        let next = |code: &Code| districts[code].clone().filter(|parent| parent != code);
        for district in walk(facility.district.clone(), &next, &|code| districts.contains_key(code)) {
            let kind = if next(&district).is_none() { ScopeKind::City } else { ScopeKind::District };
            scopes.insert(Scope { kind, code: district });
        }
        let devices: schemas::SortedMap<Code, Device> =
            devices.iter().filter(|d| d.facility == *code).map(|d| (d.code.clone(), d.clone())).collect();
        let mut thresholds: Vec<Arc<Threshold>> = rules
            .values()
            .filter(|t| {
                t.scope == *code
                    || t.scope == facility.kind.name()
                    || devices.values().any(|d| t.scope == d.code || t.scope == d.kind)
            })
            .cloned()
            .map(Arc::new)
            .collect();
        thresholds.sort_by_key(|t| (t.metric, t.side, t.rule.clone(), t.scope.clone()));
        let (households, area) = sums.get(code).copied().unwrap_or_default();
        Profile {
            facility: facility.clone(),
            devices,
            scopes: scopes.into_iter().collect(),
            thresholds: thresholds.into(),
            households_below: households + u32::from(facility.kind == FacilityKind::Household),
            area_below: facility.heated_area.unwrap_or(area),
        }
    };
    facilities.values().map(|facility| (facility.code.clone(), profile(facility))).collect()
}

/// What the oracle's profiles say must change in each epoch.
fn expected(epochs: &Epochs) -> BTreeMap<Epoch, Vec<ProfileChange>> {
    let mut before = BTreeMap::new();
    let mut expected = BTreeMap::new();
    for (epoch, state) in states(epochs).iter().enumerate() {
        let after = oracle(state);
        let codes: BTreeSet<&Code> = before.keys().chain(after.keys()).collect();
        let changes: Vec<ProfileChange> = codes
            .into_iter()
            .filter(|code| before.get(*code) != after.get(*code))
            .map(|code| ProfileChange {
                facility: code.clone(),
                profile: after.get(code).cloned().map(Arc::new),
            })
            .collect();
        if !changes.is_empty() {
            expected.insert(epoch as u64, changes);
        }
        before = after;
    }
    expected
}

fn agrees(epochs: &Epochs) -> Seen {
    let one = run(1, 1, epochs);
    let three = run(3, 1, epochs);
    assert_eq!(one, three, "one worker and three differ");
    for (workers, stride) in [(1, 3), (3, 100)] {
        assert_eq!(
            one,
            run(workers, stride, epochs),
            "{workers} workers and {stride} epochs at one go differ"
        );
    }
    let changes: BTreeMap<Epoch, Vec<ProfileChange>> = one
        .iter()
        .filter(|(_, seen)| !seen.0.is_empty())
        .map(|(epoch, seen)| (*epoch, seen.0.clone()))
        .collect();
    assert_eq!(changes, expected(epochs));
    one
}

fn facility(code: &str, kind: FacilityKind, parent: Option<&str>, area: Option<f64>) -> Facility {
    Facility {
        code: code.into(),
        kind,
        name: code.to_owned(),
        parent: parent.map(Code::from),
        enterprise: Some("E1".into()),
        district: Some("220102".into()),
        longitude: None,
        latitude: None,
        heated_area: area,
        attributes: [].into(),
    }
}

fn district(code: &str, parent: Option<&str>) -> RegistryEntry {
    RegistryEntry::District(District {
        code: code.into(),
        name: code.to_owned(),
        parent: parent.map(Code::from),
    })
}

fn enterprise(code: &str) -> RegistryEntry {
    RegistryEntry::Enterprise(Enterprise { code: code.into(), name: code.to_owned() })
}

fn device(code: &str, facility: &str, kind: &str) -> RegistryEntry {
    RegistryEntry::Device(Device {
        code: code.into(),
        facility: facility.into(),
        kind: kind.into(),
        model: String::new(),
        maker: String::new(),
        installed: String::new(),
        attributes: [].into(),
    })
}

pub(super) fn threshold(scope: &str, metric: &str, level: f64) -> RegistryEntry {
    RegistryEntry::Threshold(Threshold {
        scope: scope.into(),
        metric: schemas::Catalogue::in_force().id(metric).unwrap(),
        side: Side::High,
        level1: Some(level),
        level2: None,
        level3: None,
        deadband: 0.0,
        on_delay: 0,
        off_delay: 0,
        enabled: true,
        advice: String::new(),
        rule: "".into(),
    })
}

/// Upserts with running offsets, spread over three partitions by their key as a producer does.
fn epochs(entries: Vec<Vec<Result<RegistryEntry, &str>>>) -> Epochs {
    let mut offset = 0;
    let mut record = |entry: Result<RegistryEntry, &str>| {
        offset += 1;
        let (key, entry) = match entry {
            Ok(entry) => (entry.key().0, Some(entry)),
            Err(key) => (Code::from(key), None),
        };
        let partition = (bucket(&key) % 3) as i32;
        (key, entry, (partition, offset))
    };
    entries.into_iter().map(|epoch| epoch.into_iter().map(&mut record).collect()).collect()
}

fn codes(profile: &ProfileChange) -> Vec<String> {
    let scopes = &profile.profile.as_ref().unwrap().scopes;
    scopes.iter().map(|scope| format!("{}:{}", scope.kind.name(), scope.code)).collect()
}

#[test]
fn a_district_is_joined_moved_and_taken_apart() {
    use FacilityKind::{Building, Household, Plant, Station};
    let f = |code, kind, parent, area| Ok(RegistryEntry::Facility(facility(code, kind, parent, area)));
    let epochs = epochs(vec![
        // Children before parents, devices before their facility.
        vec![Ok(device("D1", "H1", "room_sensor")), f("H1", Household, Some("B1"), Some(80.0))],
        vec![f("H2", Household, Some("B1"), Some(90.5)), f("B1", Building, Some("S1"), None)],
        vec![
            Ok(enterprise("E1")),
            Ok(district("220102", Some("220100"))),
            Ok(district("220100", None)),
            f("S1", Station, Some("P1"), None),
            f("P1", Plant, None, Some(1000.0)),
            f("S2", Station, Some("P1"), None),
        ],
        vec![f("B1", Building, Some("S2"), None)],
        vec![Ok(threshold("household", "room_temp", 30.0)), Ok(threshold("D1", "room_temp", 29.0))],
        vec![Err("threshold/household/room_temp/high"), Err("device/D1"), Err("facility/H2")],
        vec![],
        vec![Err("facility/S2"), Err("enterprise/E1")],
        vec![f("S2", Station, Some("P1"), Some(5.0))],
    ]);
    let seen = agrees(&epochs);
    let of = |epoch: u64, code: &str| {
        seen[&epoch]
            .0
            .iter()
            .find(|change| change.facility == code)
            .unwrap_or_else(|| panic!("{code} did not change"))
    };
    assert_eq!(
        codes(of(2, "H1")),
        ["building:B1", "station:S1", "source:P1", "enterprise:E1", "district:220102", "city:220100"]
    );
    let station = of(2, "S1").profile.clone().unwrap();
    assert_eq!((station.households_below, station.area_below), (2, 170.5));
    assert_eq!(of(2, "P1").profile.as_ref().unwrap().area_below, 1000.0);
    assert_eq!(of(3, "S1").profile.as_ref().unwrap().households_below, 0);
    assert_eq!(of(3, "S2").profile.as_ref().unwrap().area_below, 170.5);
    assert!(of(0, "H1").profile.as_ref().unwrap().devices.contains_key("D1"));
    assert!(!seen.contains_key(&6), "an empty epoch changes nothing");
    assert_eq!(codes(of(7, "H1")), ["building:B1", "district:220102", "city:220100"]);
    assert!(seen.values().all(|(_, rejects)| rejects.is_empty()));
}

#[test]
fn the_last_record_of_an_epoch_counts_and_repeats_change_nothing() {
    let f = |area| Ok(RegistryEntry::Facility(facility("S1", FacilityKind::Station, None, Some(area))));
    let epochs = epochs(vec![vec![f(1.0), f(2.0)], vec![f(2.0)], vec![f(3.0), Err("facility/S1"), f(2.0)]]);
    let seen = agrees(&epochs);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[&0].0[0].profile.as_ref().unwrap().area_below, 2.0);
}

#[test]
fn circles_and_contradictions_are_rejected_and_the_rest_is_used() {
    let f = |code, parent: &'static str| {
        Ok(RegistryEntry::Facility(facility(code, FacilityKind::Station, Some(parent), None)))
    };
    let mut epochs = epochs(vec![
        vec![f("A", "B"), f("B", "C"), f("C", "A"), f("X", "A"), f("Y", "Y")],
        vec![f("C", "Z")],
        vec![f("C", "B"), Ok(district("220100", Some("220102"))), Ok(district("220102", Some("220100")))],
    ]);
    epochs[1].push(("facility/Q".into(), Some(enterprise("E1")), (0, 99)));
    let seen = agrees(&epochs);
    let details =
        |epoch: u64| -> Vec<&str> { seen[&epoch].1.iter().map(|reject| reject.detail.as_str()).collect() };
    assert_eq!(
        details(0),
        [
            "the parents of facility A form a circle: A -> B -> C -> A: correct one parent",
            "facility Y is its own parent: the parent is left out"
        ]
    );
    assert_eq!(
        details(1),
        ["the entry under key facility/Q says it is enterprise/E1: write it under its own key"]
    );
    assert_eq!(
        details(2),
        [
            "the parents of district 220100 form a circle: 220100 -> 220102 -> 220100: correct one parent",
            "the parents of facility B form a circle: B -> C -> B: correct one parent"
        ]
    );
    assert_eq!(seen[&0].1[0].reason, Reason::RegistryConflict);
    assert_eq!(seen[&0].1[0].origin, "registry:facility/A");
}

/// An upsert or tombstone over few codes, so that they meet.
fn any_record() -> impl Strategy<Value = Result<RegistryEntry, &'static str>> {
    const FACILITIES: [&str; 6] = ["A", "B", "C", "D", "E", "F"];
    const KINDS: [FacilityKind; 4] =
        [FacilityKind::Plant, FacilityKind::Station, FacilityKind::Building, FacilityKind::Household];
    let code = prop::sample::select(&FACILITIES[..]);
    let number = prop::sample::select(&["220100", "220102", "220103"][..]);
    prop_oneof![
        8 => (code.clone(), prop::sample::select(&KINDS[..]), prop::option::of(code.clone()),
              prop::option::of(0..50u32), prop::option::of(number.clone()))
            .prop_map(|(code, kind, parent, area, district)| {
                // Of several codes only a later one may be the parent of an earlier household, so that no
                // household stands in a circle, where sums have no meaning.
                let parent = parent.filter(|parent| *parent > code);
                let mut facility = facility(code, kind, parent, area.map(|area| f64::from(area) / 2.0));
                facility.district = district.map(Code::from);
                Ok(RegistryEntry::Facility(facility))
            }),
        2 => prop::sample::select(&["facility/A", "facility/B", "facility/C", "facility/D", "device/1", "enterprise/E1",
                "district/220100", "threshold/station/ph/high", "threshold/A/ph/high"][..]).prop_map(Err),
        2 => (prop::sample::select(&["1", "2"][..]), code.clone(), prop::sample::select(&["room_sensor", "heat_meter"][..]))
            .prop_map(|(code, facility, kind)| Ok(device(code, facility, kind))),
        2 => (prop::sample::select(&["station", "A", "1", "heat_meter"][..]), 8..10u32)
            .prop_map(|(scope, level)| Ok(threshold(scope, "ph", f64::from(level)))),
        2 => (number.clone(), prop::option::of(number)).prop_map(|(code, parent)| Ok(district(code, parent))),
        1 => Just(Ok(enterprise("E1"))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn any_history_gives_the_profiles_of_its_entries(
        history in prop::collection::vec(prop::collection::vec(any_record(), 0..8), 1..8),
    ) {
        agrees(&epochs(history));
    }
}

/// Resident memory of this process in bytes, where the system tells.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

#[test]
#[ignore = "measures memory and time of a city's registry; run it alone"]
fn a_city_fits() {
    const HOUSEHOLDS: usize = 200_000;
    let workers = 1;
    let started = std::time::Instant::now();
    let before = resident();
    timely::execute(timely::Config::process(workers), move |worker| {
        let mut input = InputHandle::new();
        let probe = ProbeHandle::new();
        let held: Arc<Mutex<BTreeMap<Code, ProfileChange>>> = Arc::default();
        let inside = held.clone();
        worker.dataflow::<Epoch, _, _>(|scope| {
            let (profiles, _) = scope.input_from(&mut input).join_registry();
            profiles
                .inspect(move |change| {
                    drop(inside.lock().unwrap().insert(change.facility.clone(), change.clone()));
                })
                .probe_with(&probe);
        });
        let mut sent = 0;
        let mut send = |entry: RegistryEntry, input: &mut InputHandle<_, _>| {
            sent += 1;
            input.send((entry.key().0, Some(entry), (0, sent)));
        };
        send(enterprise("E1"), &mut input);
        send(district("220100", None), &mut input);
        send(district("220102", Some("220100")), &mut input);
        send(RegistryEntry::Facility(facility("P1", FacilityKind::Plant, None, None)), &mut input);
        for station in 0..3_500 {
            let code = format!("ST-{station:05}");
            let entry = facility(&code, FacilityKind::Station, Some("P1"), None);
            send(RegistryEntry::Facility(entry), &mut input);
        }
        for building in 0..8_000 {
            let (code, parent) = (format!("B-{building:06}"), format!("ST-{:05}", building % 3_500));
            send(
                RegistryEntry::Facility(facility(&code, FacilityKind::Building, Some(&parent), None)),
                &mut input,
            );
        }
        for household in 0..HOUSEHOLDS {
            let (code, parent) = (format!("H-{household:07}"), format!("B-{:06}", household % 8_000));
            let mut entry = facility(&code, FacilityKind::Household, Some(&parent), Some(80.0));
            entry.attributes.insert("interval".into(), "600".into());
            send(RegistryEntry::Facility(entry), &mut input);
        }
        let step = |epoch: Epoch, input: &mut InputHandle<_, _>, worker: &mut timely::worker::Worker| {
            input.advance_to(epoch);
            while probe.less_than(input.time()) {
                worker.step();
            }
        };
        step(1, &mut input, worker);
        let loaded = started.elapsed();
        let used = resident() - before;
        let profiles = held.lock().unwrap();
        let kept: usize = profiles.values().filter(|change| change.profile.is_some()).count();
        assert_eq!(profiles["P1"].profile.as_ref().unwrap().households_below, HOUSEHOLDS as u32);
        drop(profiles);
        println!("{kept} profiles: {} MB, {} B each, loaded in {loaded:?}", used >> 20, used / kept);
        let moved = std::time::Instant::now();
        input.send((
            "facility/B-000001".into(),
            Some(RegistryEntry::Facility(facility(
                "B-000001",
                FacilityKind::Building,
                Some("ST-00777"),
                None,
            ))),
            (0, 9_999_999),
        ));
        step(2, &mut input, worker);
        println!("a building moved in {:?}", moved.elapsed());
        let changed = std::time::Instant::now();
        input.send((
            "threshold/household/room_temp/high".into(),
            Some(threshold("household", "room_temp", 30.0)),
            (0, 10_000_000),
        ));
        step(3, &mut input, worker);
        println!("a threshold of every household changed in {:?}", changed.elapsed());
        let idle = std::time::Instant::now();
        for epoch in 4..1004 {
            step(epoch, &mut input, worker);
        }
        println!("an idle epoch takes {:?}", idle.elapsed() / 1000);
    })
    .unwrap();
}
