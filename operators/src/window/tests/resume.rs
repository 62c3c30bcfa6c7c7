//! The windows go on after a restart as if nothing had happened.

use proptest::prelude::*;

use super::*;
use crate::{
    Repeated,
    durable::{Durable, GLOBAL, Saved, compact, holder, shard},
};

const FACILITIES: [(&str, FacilityKind); 7] = [
    ("ST-1", FacilityKind::Station),
    ("ST-2", FacilityKind::Station),
    ("P-1", FacilityKind::Plant),
    ("HH-1", FacilityKind::Household),
    ("HH-2", FacilityKind::Household),
    ("CD-1", FacilityKind::CleanDevice),
    ("W-1", FacilityKind::WeatherStation),
];
const METRICS: [&str; 7] = [
    "heat_power",
    "heat_total",
    "secondary_supply_temp",
    "secondary_flow",
    "outdoor_temp",
    "room_temp",
    "energy_total",
];

/// Windows stay open for two hours, so that many close.
fn short() -> Calendar {
    Calendar::new(TimeZone::fixed(jiff::tz::offset(8)), 2 * HOUR, 10 * MINUTE)
}

/// The same for every worker: an epoch before it is divided.
#[derive(Clone, Default)]
struct Input {
    clock: Millis,
    profiles: Vec<ProfileChange>,
    reports: Vec<CheckedReport>,
    repeated: Vec<Repeated>,
}

impl Input {
    fn of(&self, epoch: Epoch, worker: usize, workers: usize) -> CheckedEpoch {
        let mine = |facility: &Code| holder(shard(facility), workers) == worker;
        CheckedEpoch {
            epoch,
            clock: self.clock,
            profiles: self.profiles.iter().filter(|change| mine(&change.facility)).cloned().collect(),
            reports: self.reports.iter().filter(|r| mine(&r.object.facility)).cloned().collect(),
            repeated: self.repeated.iter().filter(|r| mine(&r.object.facility)).cloned().collect(),
            rejects: Vec::new(),
        }
    }
}

fn random_profile(dice: &mut Dice, facility_number: usize) -> Profile {
    let (code, mut kind) = FACILITIES[facility_number];
    if dice.one_in(12) {
        kind = FACILITIES[dice.below(7) as usize].1;
    }
    let mut scopes = vec![city()];
    for enterprise in ["E-1", "E-2", "E-3"] {
        if dice.one_in(3) {
            scopes.push(scope(ScopeKind::Enterprise, enterprise));
        }
    }
    scopes.sort();
    let mut profile = facility(code, kind, 100.0 * (1 + dice.below(3)) as f64, scopes);
    let interval = [60, 600][dice.below(2) as usize];
    profile.facility.attributes.insert("interval".to_owned(), interval.to_string());
    if dice.one_in(3) {
        profile.facility.attributes.insert("standard_temp".to_owned(), (18 + dice.below(2)).to_string());
    }
    if dice.one_in(2) { with_device(profile, &format!("{code}-R"), interval) } else { profile }
}

fn random_report(dice: &mut Dice, code: &str, clock: Millis) -> CheckedReport {
    let delay = match dice.below(6) {
        0 => dice.below(240) as Millis,
        1 => dice.below(70) as Millis,
        _ => dice.below(3) as Millis,
    };
    let at = clock - delay * MINUTE - if dice.one_in(3) { dice.below(60_000) as Millis } else { 0 };
    let device = if dice.one_in(2) { format!("{code}-R") } else { String::new() };
    let mut readings = Vec::new();
    for metric in METRICS {
        if dice.one_in(2) {
            let flag = [Flag::Good, Flag::Good, Flag::Suspect, Flag::Fail][dice.below(4) as usize];
            let change = [Change::New, Change::New, Change::New, Change::Remarked, Change::Corrected]
                [dice.below(5) as usize];
            let value =
                if dice.one_in(9) { dice.below(1 << 40) as f64 / 7.0 } else { dice.below(400) as f64 / 10.0 };
            readings.push((metric, value, flag, change));
        }
    }
    report(code, &device, at, &readings)
}

fn random_epochs(dice: &mut Dice, count: usize) -> Vec<Input> {
    let mut registered = BTreeSet::new();
    let mut clock = START + dice.below(120) as Millis * MINUTE;
    (0..count)
        .map(|_| {
            clock += match dice.below(12) {
                0 => 0,
                1 => dice.below(200) as Millis * MINUTE,
                2 => dice.below(14) as Millis * HOUR,
                _ => dice.below(12) as Millis * MINUTE,
            };
            let mut input = Input { clock, ..Input::default() };
            for (number, (code, _)) in FACILITIES.iter().enumerate() {
                let facility = Code::from(*code);
                if !registered.contains(&number) && dice.one_in(4) {
                    registered.insert(number);
                } else if !registered.contains(&number) || !dice.one_in(10) {
                    continue;
                } else if dice.one_in(4) {
                    registered.remove(&number);
                    input.profiles.push(ProfileChange { facility, profile: None });
                    continue;
                }
                input.profiles.push(register(random_profile(dice, number)));
            }
            input.profiles.sort_by(|a, b| a.facility.cmp(&b.facility));
            for _ in 0..dice.below(8) {
                let code = FACILITIES[dice.below(7) as usize].0;
                input.reports.push(random_report(dice, code, clock));
                if dice.one_in(5) {
                    let report = input.reports.last().unwrap();
                    let (object, observed_at) = (report.object.clone(), report.observed_at);
                    input.repeated.push(Repeated { object, observed_at, readings: 1 });
                }
            }
            input
        })
        .collect()
}

type Scopes = BTreeMap<(Scope, Period, Millis), Facts>;

/// Adds as the roll-up does.
fn accumulate(scopes: &mut Scopes, contributions: &[((Scope, Period, Millis), Facts)]) {
    for (key, facts) in contributions {
        let sum = scopes.entry(key.clone()).or_default();
        sum.add_all(facts, 1);
        if sum.is_zero() {
            scopes.remove(key);
        }
    }
}

/// The workers of one process.
struct Workers {
    windows: Vec<Window>,
    scopes: Scopes,
    /// Sections of the checkpoint under way.
    under_way: Saved,
}

impl Workers {
    fn new(count: usize) -> Workers {
        let windows = (0..count).map(|_| Window::new(short())).collect();
        Workers { windows, scopes: Scopes::new(), under_way: Saved::default() }
    }

    /// Applies an epoch; the outputs of all workers as if there were one.
    fn apply(&mut self, epoch: Epoch, input: &Input) -> WindowedEpoch {
        let workers = self.windows.len();
        let mut told =
            self.windows.iter_mut().enumerate().map(|(n, w)| w.apply(&input.of(epoch, n, workers)));
        let mut all = told.next().unwrap();
        for one in told {
            assert_eq!((all.epoch, all.clock, all.horizon), (one.epoch, one.clock, one.horizon));
            all.facility.extend(one.facility);
            all.contributions.extend(one.contributions);
            all.hours.extend(one.hours);
            all.too_late += one.too_late;
            all.unregistered += one.unregistered;
        }
        all.facility.sort_by_key(|w| (w.scope.code.clone(), w.period, w.window_start));
        all.hours.sort_by_key(|hour| (hour.facility.clone(), hour.hour));
        let mut sums = Scopes::new();
        accumulate(&mut sums, &all.contributions);
        accumulate(&mut self.scopes, &all.contributions);
        all.contributions = sums.into_iter().collect();
        all
    }

    /// Saves a little more; answers whether that was all.
    fn save(&mut self, entries: usize) -> bool {
        let workers = self.windows.len();
        let mut all = true;
        for (worker, window) in self.windows.iter_mut().enumerate() {
            let mut saved = Saved::default();
            all &= window.save(entries, &mut saved);
            for shard in saved.clone().into_sections().into_keys() {
                assert!(shard == GLOBAL || holder(shard, workers) == worker, "it holds what it saves");
            }
            self.under_way.append(&mut saved);
        }
        all
    }

    fn restore(count: usize, chains: &BTreeMap<u16, Vec<Vec<u8>>>) -> Workers {
        let mut workers = Workers::new(count);
        for (shard, chain) in chains {
            for (worker, window) in workers.windows.iter_mut().enumerate() {
                for section in chain {
                    if *shard == GLOBAL || holder(*shard, count) == worker {
                        window.restore(*shard, Window::FORM, section).unwrap();
                    }
                }
            }
        }
        workers
    }
}

fn add(chains: &mut BTreeMap<u16, Vec<Vec<u8>>>, saved: Saved) {
    for (shard, section) in saved.into_sections() {
        chains.entry(shard).or_default().push(section);
    }
}

fn compacted(chains: &BTreeMap<u16, Vec<Vec<u8>>>) -> BTreeMap<u16, Vec<Vec<u8>>> {
    let compacted = chains.iter().map(|(shard, chain)| (*shard, compact("window", chain).unwrap()));
    compacted.filter(|(_, section)| !section.is_empty()).map(|(shard, s)| (shard, vec![s])).collect()
}

/// Applies epochs with checkpoints and crashes in between, against a run without either.
fn crashes(seed: u64) {
    let mut dice = Dice(seed);
    let epochs = random_epochs(&mut dice, 70);
    let mut whole = Workers::new(1);
    let expected: Vec<(WindowedEpoch, Scopes)> = epochs
        .iter()
        .enumerate()
        .map(|(n, input)| (whole.apply(n as Epoch, input), whole.scopes.clone()))
        .collect();
    let mut workers = Workers::new(1 + dice.below(3) as usize);
    let mut registry: BTreeMap<Code, ProfileChange> = BTreeMap::new();
    let mut registries: Vec<Vec<ProfileChange>> = Vec::new();
    for input in &epochs {
        for change in &input.profiles {
            registry.insert(change.facility.clone(), change.clone());
        }
        registries.push(registry.values().filter(|change| change.profile.is_some()).cloned().collect());
    }
    let (mut chains, mut at) = (BTreeMap::new(), None);
    let (mut begun, mut next, mut crashes_left) = (None, 0, 6);
    while next < epochs.len() {
        let told = workers.apply(next as Epoch, &epochs[next]);
        assert_eq!(told, expected[next].0, "epoch {next}");
        assert_eq!(workers.scopes, expected[next].1, "scopes after epoch {next}");
        if dice.one_in(5) && next > 10 {
            workers.windows.iter_mut().for_each(Durable::begin);
            begun = Some(next);
        }
        if begun.is_some() && workers.save(dice.below(4) as usize) {
            add(&mut chains, std::mem::take(&mut workers.under_way));
            at = begun.take();
        }
        next += 1;
        let Some(epoch) = at.filter(|_| crashes_left > 0 && dice.one_in(8)) else { continue };
        crashes_left -= 1;
        if dice.one_in(2) {
            chains = compacted(&chains);
        }
        workers = Workers::restore(1 + dice.below(3) as usize, &chains);
        let again =
            Input { clock: epochs[epoch].clock, profiles: registries[epoch].clone(), ..Input::default() };
        let told = workers.apply(epoch as Epoch, &again);
        assert_eq!((&told.facility, &told.hours), (&vec![], &vec![]), "what they say has been said");
        assert_eq!((told.clock, told.horizon), (expected[epoch].0.clock, expected[epoch].0.horizon));
        assert_eq!(workers.scopes, expected[epoch].1, "scopes after the restart in epoch {epoch}");
        (begun, next) = (None, epoch + 1);
        // Saved at once, it is what was restored.
        workers.windows.iter_mut().for_each(Durable::begin);
        while !workers.save(3) {}
        let mut anew = BTreeMap::new();
        add(&mut anew, std::mem::take(&mut workers.under_way));
        assert_eq!(compacted(&anew), compacted(&chains), "the state of epoch {epoch}");
        add_chains(&mut chains, anew);
    }
}

fn add_chains(chains: &mut BTreeMap<u16, Vec<Vec<u8>>>, more: BTreeMap<u16, Vec<Vec<u8>>>) {
    for (shard, mut sections) in more {
        chains.entry(shard).or_default().append(&mut sections);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_restart_changes_nothing(seed in any::<u64>()) {
        crashes(seed);
    }
}
