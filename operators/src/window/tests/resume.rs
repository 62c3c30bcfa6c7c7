//! The windows go on after a restart as if nothing had happened.

use proptest::prelude::*;

use super::*;
use crate::{
    Repeated,
    durable::{
        Durable, GLOBAL, RestoreError, Saved, compact, holder,
        restarts::{hex, unhex, with},
        shard,
    },
    reason::Reasons,
    season::Seasons,
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

/// Hours stay open for two hours and days for nine, so that many close.
fn short() -> Calendar {
    let calendar = Calendar::new(TimeZone::fixed(jiff::tz::offset(8)), 2 * HOUR, 10 * MINUTE);
    calendar.with_day_lateness(9 * HOUR)
}

/// The same with every longer window; those of the season turn in the days of the tests.
fn with_longer() -> Calendar {
    let periods: Vec<Period> = ladder::LADDER.iter().map(|rung| rung.period).collect();
    let zone = TimeZone::fixed(jiff::tz::offset(8));
    short().with_longer(&periods, Seasons::new(zone, "10-20..01-15".parse().ok()))
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
            reports: self.reports.iter().filter(|r| mine(&r.object.facility)).collect(),
            repeated: self.repeated.iter().filter(|r| mine(&r.object.facility)).cloned().collect(),
            ..CheckedEpoch::default()
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
    profile.facility.attributes.insert("interval".into(), interval.to_string().into());
    if dice.one_in(3) {
        profile.facility.attributes.insert("standard_temp".into(), (18 + dice.below(2)).to_string().into());
    }
    if dice.one_in(4) {
        profile.facility.attributes.remove("interval");
        return profile;
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
    let mut sent: Vec<CheckedReport> = Vec::new();
    let mut clock = START + dice.below(120) as Millis * MINUTE;
    (0..count)
        .map(|_| {
            clock += match dice.below(12) {
                0 => 0,
                1 => dice.below(200) as Millis * MINUTE,
                2 => dice.below(14) as Millis * HOUR,
                _ => dice.below(12) as Millis * MINUTE,
            };
            // A clock that goes back stands still.
            let back = if dice.one_in(9) { dice.below(90) as Millis * MINUTE } else { 0 };
            let mut input = Input { clock: clock - back, ..Input::default() };
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
                let mut report = random_report(dice, code, clock);
                if !sent.is_empty() && dice.one_in(3) {
                    let about = &sent[sent.len() - 1 - dice.below(sent.len().min(20) as u64) as usize];
                    (report.object, report.observed_at) = (about.object.clone(), about.observed_at);
                }
                sent.push(report.clone());
                input.reports.push(report);
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
    cold: Rc<MemoryTier>,
    scopes: Scopes,
    /// Sections of the checkpoint under way.
    under_way: Saved,
}

impl Workers {
    fn new(count: usize) -> Workers {
        Workers::by(count, &short())
    }

    fn by(count: usize, calendar: &Calendar) -> Workers {
        Workers::beside(MemoryTier::keeping(), count, calendar)
    }

    fn beside(cold: Rc<MemoryTier>, count: usize, calendar: &Calendar) -> Workers {
        let window = |_| {
            let window = Window::new(calendar.clone()).with_cold(Rc::clone(&cold) as Rc<dyn ColdTier>);
            // A few facilities an epoch, so that some of them hold more than others.
            Window { slice: 2, ..window }
        };
        let windows = (0..count).map(window).collect();
        Workers { windows, cold, scopes: Scopes::new(), under_way: Saved::default() }
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
            all.reasons.extend(one.reasons);
            all.hours.extend(one.hours);
            all.profiles.extend(one.profiles);
            all.too_late.unite(&one.too_late);
            all.unregistered += one.unregistered;
        }
        assert!(self.windows.iter().all(|window| window.entries() == window.footprint().1));
        assert_eq!(self.cold.failure(), None);
        all.facility.sort_by_key(|w| (w.scope.code.clone(), w.period, w.window_start));
        all.hours.sort_by_key(|hour| (hour.facility.clone(), hour.hour));
        all.profiles.sort_by_key(|change| change.facility.clone());
        let mut reasons = Reasons::default();
        all.reasons.drain(..).for_each(|(key, reason)| reasons.add(key, reason));
        all.reasons = reasons.take().collect::<BTreeMap<_, _>>().into_iter().collect();
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
        Workers::restore_form(MemoryTier::keeping(), (count, &short()), Window::FORM, chains)
    }

    fn restore_form(
        cold: Rc<MemoryTier>,
        (count, calendar): (usize, &Calendar),
        form: u16,
        chains: &BTreeMap<u16, Vec<Vec<u8>>>,
    ) -> Workers {
        let mut workers = Workers::beside(cold, count, calendar);
        for (shard, chain) in chains {
            for (worker, window) in workers.windows.iter_mut().enumerate() {
                for section in chain {
                    if *shard == GLOBAL || holder(*shard, count) == worker {
                        window.restore(*shard, form, section).unwrap();
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
fn crashes(seed: u64, calendar: &Calendar) {
    let mut dice = Dice(seed);
    let epochs = random_epochs(&mut dice, 70);
    let mut whole = Workers::by(1, calendar);
    let expected: Vec<(WindowedEpoch, Scopes)> = epochs
        .iter()
        .enumerate()
        .map(|(n, input)| (whole.apply(n as Epoch, input), whole.scopes.clone()))
        .collect();
    let mut workers = Workers::by(1 + dice.below(3) as usize, calendar);
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
        let only = |of: &WindowedEpoch, than: &WindowedEpoch| {
            of.facility.iter().filter(|w| !than.facility.contains(w)).take(3).cloned().collect::<Vec<_>>()
        };
        let (first, second) = (only(&told, &expected[next].0), only(&expected[next].0, &told));
        assert_eq!(first, second, "epoch {next}");
        assert_eq!(told.contributions, expected[next].0.contributions, "epoch {next}");
        assert_eq!(told.reasons, expected[next].0.reasons, "epoch {next}");
        assert_eq!(told.hours, expected[next].0.hours, "epoch {next}");
        assert_eq!(told, expected[next].0, "epoch {next}");
        assert_eq!(workers.scopes, expected[next].1, "scopes after epoch {next}");
        let open = |(_, period, start): &(_, Period, Millis)| !told.horizon.is_closed(*period, *start);
        assert!(workers.scopes.keys().all(open), "what is closed has been retracted");
        if dice.one_in(5) && next > 10 {
            workers.windows.iter_mut().for_each(Durable::begin);
            begun = Some(next);
        }
        if begun.is_some() && dice.one_in(2) && workers.save(dice.below(4) as usize) {
            add(&mut chains, std::mem::take(&mut workers.under_way));
            at = begun.take();
        }
        next += 1;
        let Some(epoch) = at.filter(|_| crashes_left > 0 && dice.one_in(8)) else { continue };
        crashes_left -= 1;
        if dice.one_in(2) {
            chains = compacted(&chains);
        }
        // What was sealed since is not there any more.
        let (cold, count) = (workers.cold.restored(epoch as Epoch), 1 + dice.below(3) as usize);
        workers = Workers::restore_form(cold, (count, calendar), Window::FORM, &chains);
        let again =
            Input { clock: epochs[epoch].clock, profiles: registries[epoch].clone(), ..Input::default() };
        let told = workers.apply(epoch as Epoch, &again);
        assert_eq!((&told.facility, &told.hours), (&vec![], &vec![]), "what they say has been said");
        assert_eq!((told.clock, told.horizon), (expected[epoch].0.clock, expected[epoch].0.horizon));
        assert_eq!(workers.scopes, expected[epoch].1, "scopes after the restart in epoch {epoch}");
        (begun, next) = (None, epoch + 1);
        // Saved at once, nothing has changed but what all know; touched, it is what was restored.
        assert!(saved_anew(&mut workers).into_keys().all(|shard| shard == GLOBAL), "epoch {epoch}");
        workers.windows.iter_mut().for_each(touch_all);
        let anew = saved_anew(&mut workers);
        assert_eq!(compacted(&anew), compacted(&chains), "the state of epoch {epoch}");
        add_chains(&mut chains, anew);
    }
}

fn saved_anew(workers: &mut Workers) -> BTreeMap<u16, Vec<Vec<u8>>> {
    workers.windows.iter_mut().for_each(Durable::begin);
    while !workers.save(3) {}
    let mut anew = BTreeMap::new();
    add(&mut anew, std::mem::take(&mut workers.under_way));
    anew
}

fn touch_all(window: &mut Window) {
    for number in 0..window.sites.end() {
        let _touched = window.sites.get_mut(number);
    }
}

fn add_chains(chains: &mut BTreeMap<u16, Vec<Vec<u8>>>, more: BTreeMap<u16, Vec<Vec<u8>>>) {
    for (shard, mut sections) in more {
        chains.entry(shard).or_default().append(&mut sections);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_restart_changes_nothing(seed in any::<u64>()) {
        crashes(seed, &short());
    }

    #[test]
    fn a_restart_changes_nothing_of_longer_windows(seed in any::<u64>()) {
        crashes(seed, &with_longer());
    }
}

/// The windows of facilities that were told last.
type Known = BTreeMap<(Code, Period, Millis), Facts>;

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_longer_window_is_the_sum_of_its_days(seed in any::<u64>()) {
        let (calendar, mut known, mut seen) = (with_longer(), Known::new(), BTreeSet::new());
        let mut window = Window::new(calendar.clone());
        let summed = |facts: &Facts| facts.only(derive::SUMS);
        for (epoch, input) in (1..).zip(random_epochs(&mut Dice(seed), 70)) {
            let told = window.apply(&input.of(epoch, 0, 1));
            for change in input.profiles.iter().filter(|change| change.profile.is_none()) {
                known.retain(|(facility, ..), _| *facility != change.facility);
            }
            let gone = |code: &Code| input.profiles.iter().any(|c| c.facility == *code && c.profile.is_none());
            for told in told.facility.into_iter().filter(|told| !gone(&told.scope.code)) {
                known.insert((told.scope.code, told.period, told.window_start), told.after);
            }
            let mut sums = Known::new();
            for ((facility, _, start), facts) in known.iter().filter(|((_, period, _), _)| *period == Period::Day) {
                for (period, (from, _)) in calendar.longer(*start, "10-20..01-15".parse().ok()) {
                    sums.entry((facility.clone(), period, from)).or_default().add_all(&summed(facts), 1);
                }
            }
            let longer = known.iter().filter(|((_, period, _), _)| ladder::rung(*period).is_some());
            for (key, facts) in longer {
                seen.insert(key.1);
                prop_assert_eq!(&summed(facts), &sums.remove(key).unwrap_or_default(), "{:?}", key);
            }
            prop_assert!(sums.values().all(Facts::is_zero), "every day is in its windows: {:?}", sums.keys());
        }
        prop_assert_eq!(seen.len(), ladder::LADDER.len());
    }
}

/// A flow and a temperature whose product is out of all proportion: the sums of their scopes must not leave 64 bits.
#[test]
fn absurd_products_are_retracted_too() {
    crashes(7_094_602_468_830_553_118, &short());
}

/// A station with a doubtful reading that has moved, at the end of epoch 3: what epoch it is, what comes then.
fn small() -> (Vec<Input>, Input, Input) {
    let enterprise = |code| vec![scope(ScopeKind::Enterprise, code)];
    let station = |above| register(facility("ST-1", FacilityKind::Station, 100.0, above));
    let at = |minute: i64| START + minute * MINUTE;
    let heat = |minute, value| good("ST-1", at(minute), "heat_total", value);
    let doubtful = report("ST-1", "", at(71), &[("outdoor_temp", -7.3, Flag::Suspect, Change::New)]);
    let epochs = vec![
        Input { clock: at(0), profiles: vec![station(enterprise("E-1"))], ..Input::default() },
        Input { clock: at(75), reports: vec![heat(50, 1.5), heat(70, 2.5), doubtful], ..Input::default() },
        Input { clock: at(76), profiles: vec![station(enterprise("E-2"))], ..Input::default() },
    ];
    let again = Input { clock: at(76), profiles: vec![station(enterprise("E-2"))], ..Input::default() };
    let fine = report("ST-1", "", at(71), &[("outdoor_temp", -7.3, Flag::Good, Change::Remarked)]);
    let then =
        Input { clock: at(500), reports: vec![heat(60, 2.25), heat(130, 4.0), fine], ..Input::default() };
    (epochs, again, then)
}

/// The sections of that state by shard, as form 5 writes them.
const FORM_5: [(u16, &str); 2] = [
    (
        203,
        "050000000453542d3174010000010080f0d7a6a163808bc6a9a1630000000000000000c0f2dfaaa163c0a90700000000\
         00000000000ce080be920100e0bf948b010003000100808bc6a9a163000000000000f83f80c9d8aaa16380be92018827\
         000000000000044007e080be9201d00f020301c0f2dfaaa1630c6f7574646f6f725f74656d7000010101020a68656174\
         5f746f74616c01b0e939b2e9390c6f7574646f6f725f74656d7001b2e939b2e939ffffffffffffffffff010280f0d7a6\
         a16301f3818080908080ff010f8094ebdc03809f498094ebdc03809f49a09c01c0a90780bab70380bab7037802020202\
         020280dddb01010080aa8faaa16301f38180809098c0ff01128094ebdc03809f498094ebdc03809f49a09c01c0a907c0\
         c85002c0c850c0a907c0c85018040404020404a0a42800000180a09c8ba16301f38180809098c0ff011280a8d6b90780\
         be920180a8d6b90780be9201a09c0180d30ec082880402c0c850c0a907c0828804900106060604060680aa8faaa16300",
    ),
    (256, "050000000474696d65140000000180c284aba16380b6a0a3a16380a09c8ba163"),
];

/// The same as form 4 wrote them.
const FORM_4: [(u16, &str); 2] = [
    (
        203,
        "050000000453542d316b010000010080f0d7a6a163808bc6a9a1630000000000000000c0f2dfaaa163c0a90700000000\
         00000000000ce080be920100e0bf948b010003000100808bc6a9a163000000000000f83f80c9d8aaa16380be92018827\
         000000000000044007e080be9201d00f020301c0f2dfaaa1630c6f7574646f6f725f74656d7000010101020a68656174\
         5f746f74616c01b0e939b2e9390c6f7574646f6f725f74656d7001b2e939b2e9390280f0d7a6a16301f3818080908080\
         ff010f8094ebdc03809f498094ebdc03809f49a09c01c0a90780bab70380bab7037802020202020280dddb01010080aa\
         8faaa16301f38180809098c0ff01128094ebdc03809f498094ebdc03809f49a09c01c0a907c0c85002c0c850c0a907c0\
         c85018040404020404a0a42800000180a09c8ba16301f38180809098c0ff011280a8d6b90780be920180a8d6b90780be\
         9201a09c0180d30ec082880402c0c850c0a907c082880490010606060406060080aa8faaa16300",
    ),
    (256, "050000000474696d65140000000180c284aba16380b6a0a3a16380a09c8ba163"),
];

/// The same as form 3 wrote them.
const FORM_3: [(u16, &str); 2] = [
    (
        203,
        "050000000453542d316f010000010080f0d7a6a163808bc6a9a1630000000000000000c0f2dfaaa163c0a90700000000\
         00000000000ce080be920100e0bf948b010003000100808bc6a9a163000000000000f83f80c9d8aaa16380be92018827\
         000000000000044007e080be9201d00f020301c0f2dfaaa1630c6f7574646f6f725f74656d7000010101020a68656174\
         5f746f74616c01b0e939b2e9390c6f7574646f6f725f74656d7001b2e939b2e9390280f0d7a6a16301f3818080908080\
         ff31118094ebdc03809f498094ebdc03809f49a09c01c0a90780bab70380bab70378020202020202020280dddb010100\
         80aa8faaa16301f38180809098c0ff11138094ebdc03809f498094ebdc03809f49a09c01c0a907c0c85002c0c850c0a9\
         07c0c8501804040402040402a0a42800000180a09c8ba16301f38180809098c0ff111380a8d6b90780be920180a8d6b9\
         0780be9201a09c0180d30ec082880402c0c850c0a907c08288049001060606040606040080aa8faaa163001200000000\
         0453542d310503452d310180a09c8ba163020000000112000000000453542d310503452d310080aa8faaa16302000000\
         0112000000000453542d310503452d310080f0d7a6a1630200000001",
    ),
    (256, "050000000474696d65140000000180c284aba16380b6a0a3a16380a09c8ba163"),
];

/// The same as form 2 wrote them.
const FORM_2: [(u16, &str); 2] = [
    (
        203,
        "050000000453542d316e010000010080f0d7a6a163808bc6a9a1630000000000000000c0f2dfaaa163c0a90700000000\
         00000000000ce080be920100e0bf948b010003000100808bc6a9a163000000000000f83f80c9d8aaa16380be92018827\
         000000000000044007e080be9201d00f020301c0f2dfaaa1630c6f7574646f6f725f74656d7000010101020a68656174\
         5f746f74616c01b0e939b2e9390c6f7574646f6f725f74656d7001b2e939b2e9390280f0d7a6a16301f3818080908080\
         ff31118094ebdc03809f498094ebdc03809f49a09c01c0a90780bab70380bab70378020202020202020280dddb010100\
         80aa8faaa16301f38180809098c0ff11138094ebdc03809f498094ebdc03809f49a09c01c0a907c0c85002c0c850c0a9\
         07c0c8501804040402040402a0a42800000180a09c8ba16301f38180809098c0ff111380a8d6b90780be920180a8d6b9\
         0780be9201a09c0180d30ec082880402c0c850c0a907c08288049001060606040606040080aa8faaa163120000000004\
         53542d310503452d310180a09c8ba163020000000112000000000453542d310503452d310080aa8faaa1630200000001\
         12000000000453542d310503452d310080f0d7a6a1630200000001",
    ),
    (256, "050000000474696d65140000000180c284aba16380b6a0a3a16380a09c8ba163"),
];

/// The same as form 1 wrote them.
const FORM_1: [(u16, &str); 2] = [
    (
        203,
        "050000000453542d3132010000010080f0d7a6a163808bc6a9a1630000000000000000c0f2dfaaa163c0a90700000000\
         00000000000ce080be920100e0bf948b010003000100808bc6a9a163000000000000f83f80c9d8aaa16380be92018827\
         000000000000044007e080be9201d00f020301c0f2dfaaa1630c6f7574646f6f725f74656d700001010280f0d7a6a163\
         f3818080908080ff31118094ebdc03809f498094ebdc03809f49a09c01c0a90780bab70380bab7037802020202020202\
         0280dddb010180aa8faaa163f38180809080c0ff11118094ebdc03809f498094ebdc03809f49a09c01c0a907c0c850c0\
         a907c0c8501804040402040402a0a428000180a09c8ba163f38180809080c0ff111180a8d6b90780be920180a8d6b907\
         80be9201a09c0180d30ec0828804c0a907c082880490010606060406060412000000000453542d310503452d310180a0\
         9c8ba163020000000112000000000453542d310503452d310080aa8faaa163020000000112000000000453542d310503\
         452d310080f0d7a6a1630200000001",
    ),
    (256, "050000000474696d65140000000180c284aba16380b6a0a3a16380a09c8ba163"),
];

#[test]
fn form_5_is_read_and_written() {
    let (epochs, again, then) = small();
    let mut whole = Workers::new(1);
    epochs.iter().zip(1..).for_each(|(input, epoch)| drop(whole.apply(epoch, input)));
    let scopes = whole.scopes.clone();
    whole.windows[0].begin();
    while !whole.save(1) {}
    let sections: Vec<_> = std::mem::take(&mut whole.under_way).into_sections().into_iter().collect();
    let written: Vec<_> = sections.iter().map(|(shard, section)| (*shard, hex(section))).collect();
    assert_eq!(written, FORM_5.map(|(shard, section)| (shard, section.to_owned())));
    let chains = FORM_5.iter().map(|(shard, section)| (*shard, vec![unhex(section)])).collect();
    let mut back = Workers::restore(2, &chains);
    back.apply(3, &again);
    assert_eq!(back.scopes, scopes);
    assert_eq!(back.apply(4, &then), whole.apply(4, &then));
}

#[rstest::rstest]
#[case::with_holes(4, &FORM_4)]
#[case::with_changes_counted_and_a_scope_that_was_left(3, &FORM_3)]
#[case::without_longer_windows(2, &FORM_2)]
fn former_forms_are_read(#[case] form: u16, #[case] sections: &[(u16, &str)]) {
    let (epochs, again, then) = small();
    let mut whole = Workers::new(1);
    epochs.iter().zip(1..).for_each(|(input, epoch)| drop(whole.apply(epoch, input)));
    let chains = sections.iter().map(|(shard, section)| (*shard, vec![unhex(section)])).collect();
    let mut back = Workers::restore_form(MemoryTier::keeping(), (2, &short()), form, &chains);
    back.apply(3, &again);
    assert_eq!(back.apply(4, &then), whole.apply(4, &then));
    assert_eq!(back.scopes, whole.scopes);
}

#[test]
fn form_1_is_read() {
    let (epochs, again, then) = small();
    let mut whole = Workers::new(1);
    epochs.iter().zip(1..).for_each(|(input, epoch)| drop(whole.apply(epoch, input)));
    let chains = FORM_1.iter().map(|(shard, section)| (*shard, vec![unhex(section)])).collect();
    let mut back = Workers::restore_form(MemoryTier::keeping(), (2, &short()), 1, &chains);
    back.apply(3, &again);
    let ends = |told: WindowedEpoch| {
        let windows = told.facility.into_iter();
        windows.map(|told| (told.period, told.window_start, told.after)).collect::<Vec<_>>()
    };
    assert_eq!(ends(back.apply(4, &then)), ends(whole.apply(4, &then)));
    assert_eq!(back.scopes, whole.scopes);
}

/// An earlier version has forgotten the hours of an open day: what comes for them is too late, as it was then.
#[test]
fn what_an_earlier_version_forgot_is_not_made_up() {
    let (_, again, _) = small();
    let chains = FORM_4.iter().map(|(shard, section)| (*shard, vec![unhex(section)])).collect();
    let mut back = Workers::restore_form(MemoryTier::keeping(), (1, &short()), 4, &chains);
    back.apply(3, &again);
    let mut late = |epoch, minute: i64| {
        let reports = vec![good("ST-1", START + minute * MINUTE, "heat_total", 1.0)];
        back.apply(epoch, &Input { clock: START + 77 * MINUTE, reports, ..Input::default() })
            .too_late
            .readings()
    };
    assert_eq!([late(4, -150), late(5, -30)], [1, 0]);
}

/// What the station of [`small`] seals of its first hours, in form 5.
const SEALED: &str = concat!(
    "ffffffffffffffffff010580f0d7a6a16301f3818080908080ff010f80dea0cb05809f4980dea0cb05809f49a09c01c0a907",
    "80bab70380bab7037802020202020280dddb01010080aa8faaa16301f38180809098c0ff011280bcc1960b80bab70380bcc1",
    "960b80bab703a09c0180f92b80bab7030280bab703c0a90780bab7037806060606060680dddb01010080e4c6ada16301f381",
    "8080909880ff011180cab5ee01809f4980cab5ee01809f49a09c01c0a90780bab7030280bab70380bab70378020202020202",
    "80dddb010100809efeb0a1630180808080909880030580bab7030280bab70380bab7037880dddb01010080d8b5b4a1630180",
    "808080909880030580bab7030280bab70380bab7037880dddb010100010001808bc6a9a16300000000000000000011e0809f",
    "490000e0bff54100e080e7a803000200808bc6a9a163000000000000f83f030fe0809f49dc0b81f4e0809bee02b81709c0f2",
    "dfaaa1633333333333331dc0010000"
);

#[test]
fn what_is_sealed_is_written_and_read_in_form_5() {
    let (epochs, _, then) = small();
    let mut workers = Workers::new(1);
    epochs.iter().zip(1..).for_each(|(input, epoch)| drop(workers.apply(epoch, input)));
    workers.apply(4, &then);
    workers.apply(5, &Input { clock: then.clock + 1, ..Input::default() });
    let mut records = Vec::new();
    workers.cold.find(Window::STATE, "ST-1", Millis::MIN, &mut |found| {
        records.push((found.form, hex(found.record)));
        true
    });
    assert_eq!(records, [(Window::FORM, SEALED.to_owned())]);
    assert_eq!(sealed::written_anew(&unhex(SEALED)), unhex(SEALED));
}

#[test]
fn what_cannot_be_read_is_refused() {
    let mut window = Window::new(short());
    let newer = window.restore(7, Window::FORM + 1, &[]).unwrap_err();
    assert!(matches!(newer, RestoreError::UnknownForm { state: "window", found: 6, known: 5 }), "{newer}");
    for (shard, section) in FORM_5 {
        let whole = unhex(section);
        for length in 1..whole.len() {
            let mut window = Window::new(short());
            let cut = window.restore(shard, Window::FORM, &whole[..length]);
            // Between two entries a cut cannot be seen: that is what checksums are for.
            let between = compact("window", &[&whole[..length]]).is_ok();
            assert_eq!(cut.is_ok(), between, "{shard}, {length} bytes of {}", whole.len());
        }
    }
}

#[rstest::rstest]
#[case::of_a_doubt("outdoor_temp", "outdoor_cold")]
#[case::that_was_reported("heat_total", "heat_totem")]
fn a_metric_that_the_catalogue_lacks_is_refused(#[case] metric: &str, #[case] instead: &str) {
    let section = with(&unhex(FORM_5[0].1), metric.as_bytes(), instead.as_bytes());
    let refused = Window::new(short()).restore(FORM_5[0].0, Window::FORM, &section);
    assert_eq!(refused, Err(RestoreError::UnknownMetric { state: "window", metric: instead.to_owned() }));
}

#[test]
fn nothing_restored_is_a_beginning() {
    let (epochs, ..) = small();
    let mut window = Window::new(short());
    assert_eq!(window.apply(&epochs[0].of(1, 0, 1)), Workers::new(1).apply(1, &epochs[0]));
    assert_eq!(window.entries(), 1, "the station itself is expected");
}

/// Other room temperatures after a restart hold for everything that is open, and late data takes back what was put.
#[test]
fn other_room_temperatures_measure_open_windows_anew() {
    let first = RoomLimits::UNNAMED;
    let other = RoomLimits { standard: 21.0, over_high: 19.0 };
    let household = || vec![register(facility("HH-1", FacilityKind::Household, 80.0, vec![city()]))];
    let room = |minute: i64| good("HH-1", START + minute * MINUTE, "room_temp", 20.0);
    let later = Input { clock: START + 61 * MINUTE, ..Input::default() };
    let late = Input { clock: START + 62 * MINUTE, reports: vec![room(30)], ..Input::default() };
    let measured =
        |window: &mut Window, scopes: &mut Scopes, chains: &mut Vec<(u16, Vec<u8>)>, epoch, input: &Input| {
            accumulate(scopes, &window.apply(&input.of(epoch, 0, 1)).contributions);
            window.begin();
            let mut saved = Saved::default();
            while !window.save(1, &mut saved) {}
            chains.extend(saved.into_sections());
        };
    let mut chains = Vec::new();
    for (run, rooms) in [first, other, other, first].into_iter().enumerate() {
        let (mut window, mut scopes) = (Window::with_rooms(short(), rooms), Scopes::new());
        chains.iter().for_each(|(shard, section): &(u16, Vec<u8>)| {
            window.restore(*shard, Window::FORM, section).unwrap();
        });
        let mut epochs = vec![Input { clock: START + HOUR, profiles: household(), ..Input::default() }];
        match run {
            0 => epochs[0].reports = (0..60).filter(|minute| *minute != 30).map(room).collect(),
            1 => epochs.extend([later.clone(), late.clone()]),
            _ => epochs.push(Input { clock: START + 62 * MINUTE, ..Input::default() }),
        }
        for (epoch, input) in epochs.iter().enumerate() {
            measured(&mut window, &mut scopes, &mut chains, epoch as Epoch, input);
        }
        let hour = &scopes[&(city(), Period::Hour, START)];
        let told = [Component::RoomCompliant, Component::RoomOverHigh].map(|of| hour.get(of) / MINUTE);
        assert_eq!(told, if rooms == first { [59, 0] } else { [0, 59] }, "start {run}");
    }
}

/// A silent facility is not saved again when nothing about it changes.
#[test]
fn only_what_changed_is_saved() {
    let mut workers = Workers::new(1);
    let mut quiet = facility("ST-2", FacilityKind::Station, 1.0, vec![city()]);
    quiet.facility.attributes.clear();
    let busy = facility("ST-1", FacilityKind::Station, 1.0, vec![city()]);
    let profiles = vec![register(busy), register(quiet)];
    workers.apply(1, &Input { clock: START, profiles, ..Input::default() });
    let mut saved = |clock: Millis, reports: Vec<CheckedReport>| {
        workers.apply(2, &Input { clock, reports, ..Input::default() });
        workers.windows[0].begin();
        while !workers.save(1) {}
        let sections = std::mem::take(&mut workers.under_way).into_sections();
        sections.into_keys().collect::<Vec<_>>()
    };
    let (one, two) = (shard("ST-1"), shard("ST-2"));
    let shards = |list: &[u16]| list.iter().copied().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
    assert_eq!(saved(START + 1, vec![]), shards(&[one, two, GLOBAL]));
    assert_eq!(saved(START + 2, vec![]), shards(&[GLOBAL]));
    assert_eq!(saved(START + MINUTE, vec![good("ST-1", START, "heat_power", 1.0)]), shards(&[one, GLOBAL]));
    // Hours end, settle and close in between; a report that comes too late is counted.
    assert_eq!(saved(START + 9 * HOUR, vec![]), shards(&[one, GLOBAL]));
    assert_eq!(
        saved(START + 10 * HOUR, vec![good("ST-2", START, "heat_power", 1.0)]),
        shards(&[one, two, GLOBAL])
    );
}
