//! Alarms that are saved while they go on, lost and restored on other workers, against a run that nothing interrupts.

use std::{cell::Cell, collections::BTreeMap, rc::Rc, sync::Arc};

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use schemas::{
    AlarmTransition, Catalogue, Code, Device, Facility, FacilityKind, Flag, Millis, Side, TestSet, Threshold,
    Transition,
    time::{HOUR, MINUTE},
};

use super::{Alarms, alarms::AlarmSettings, transition::sort};
use crate::{
    Change, Checked, CheckedEpoch, Heard, Object, Profile, ProfileChange, Stage,
    durable::{
        self, Durable, RestoreError, Saved,
        restarts::{hex, unhex, with},
    },
    flow::{Carrier, whole::CheckedReport},
};

const START: Millis = 1_700_000_000_000;
const FACILITIES: u8 = 6;
/// Entries saved between two epochs.
const SLICE: usize = 3;

/// One report as it is made up.
#[derive(Clone, Debug)]
struct Sent {
    facility: u8,
    device: bool,
    /// Minutes before the clock of its epoch at which it was measured, and received.
    measured: i64,
    received: i64,
    temperature: f64,
    fault: bool,
    north: Option<f64>,
    flag: Flag,
    change: Change,
}

/// One epoch as it is made up, and what happens to the process after it.
#[derive(Clone, Debug)]
struct Made {
    minutes: i64,
    /// Facility and the variant of its profile; `None` when it is no longer registered.
    registry: BTreeMap<u8, Option<u8>>,
    sent: Vec<Sent>,
    begin: bool,
    /// The process is lost; how many workers there are afterwards.
    lost: Option<usize>,
}

fn sent() -> impl Strategy<Value = Sent> {
    let minutes = || prop_oneof![4 => Just(0), 2 => 1..8_i64, 1 => 8..100_i64];
    let temperature = prop::sample::select(vec![20.0, 39.5, 50.0, 59.5, 60.0, 62.0, 66.0, 71.0, 78.0, 85.0]);
    let north = prop::option::weighted(0.4, prop::sample::select(vec![43.9, 43.91, 43.95, 43.951]));
    let flag = prop_oneof![6 => Just(Flag::Good), 1 => Just(Flag::Suspect), 1 => Just(Flag::Fail)];
    let change =
        prop_oneof![6 => Just(Change::New), 1 => Just(Change::Remarked), 1 => Just(Change::Corrected)];
    let who = (0..FACILITIES, any::<bool>());
    (who, minutes(), minutes(), temperature, any::<bool>(), north, flag, change).prop_map(
        |((facility, device), measured, received, temperature, fault, north, flag, change)| Sent {
            facility,
            device,
            measured,
            received,
            temperature,
            fault,
            north,
            flag,
            change,
        },
    )
}

fn made() -> impl Strategy<Value = Made> {
    let minutes = prop_oneof![8 => 0..6_i64, 1 => 6..30_i64, 1 => 30..200_i64];
    let variant = prop_oneof![7 => (0..30_u8).prop_map(Some), 1 => Just(None)];
    let changes = prop_oneof![2 => Just(0), 1 => 1..3_usize];
    let registry =
        changes.prop_flat_map(move |n| prop::collection::btree_map(0..FACILITIES, variant.clone(), n));
    let sent = prop::collection::vec(sent(), 0..10);
    let lost = prop::option::weighted(0.12, 1..4_usize);
    (minutes, registry, sent, prop::bool::weighted(0.3), lost)
        .prop_map(|(minutes, registry, sent, begin, lost)| Made { minutes, registry, sent, begin, lost })
}

fn code(facility: u8) -> Code {
    Code::from(format!("ST-{facility}"))
}

fn threshold(scope: &str, metric: &str, side: Side, levels: [Option<f64>; 3]) -> Arc<Threshold> {
    Arc::new(Threshold {
        scope: scope.into(),
        metric: Catalogue::in_force().id(metric).unwrap(),
        side,
        level1: levels[0],
        level2: levels[1],
        level3: levels[2],
        deadband: 0.5,
        on_delay: 60,
        off_delay: 120,
        enabled: true,
        advice: String::new(),
        rule: "".into(),
    })
}

fn profile(facility: u8, variant: u8) -> Profile {
    let own = code(facility);
    let temperature = "secondary_supply_temp";
    let hot = |scope: &str, level3| {
        threshold(scope, temperature, Side::High, [Some(80.0), Some(70.0), Some(level3)])
    };
    let cold = threshold("station", temperature, Side::Low, [Some(25.0), None, Some(40.0)]);
    let fault = threshold("station", "circulation_pump_fault", Side::High, [None, Some(1.0), None]);
    let off = Arc::new(Threshold { enabled: false, ..(*hot(&own, 60.0)).clone() });
    let slow = Arc::new(Threshold { on_delay: 600, rule: "slow".into(), ..(*hot("station", 55.0)).clone() });
    let thresholds = match variant % 6 {
        0 => vec![hot("station", 60.0), fault],
        1 => vec![hot(&own, 65.0), hot("station", 60.0), cold],
        2 => vec![hot("station", 60.0), off, cold, fault],
        3 => vec![],
        5 => vec![hot("station", 60.0), slow, cold],
        _ => vec![hot("meter", 55.0), cold, hot("station", 60.0), fault],
    };
    let silent = ["600", "1200", "5400"][usize::from(variant % 3)];
    let device = Device {
        code: "M-1".into(),
        facility: own.clone(),
        kind: "meter".into(),
        model: String::new(),
        maker: String::new(),
        installed: String::new(),
        attributes: [].into(),
    };
    Profile {
        facility: Facility {
            code: own,
            kind: FacilityKind::Station,
            name: "站".into(),
            parent: None,
            enterprise: None,
            district: None,
            longitude: Some(125.3),
            latitude: [Some(43.9), Some(43.95), None][usize::from(variant / 7 % 3)],
            heated_area: None,
            attributes: match variant / 3 % 4 {
                // Heating stops by plan 107 min after the start.
                2 => [
                    ("heating_season".into(), "10-20..11-14".into()),
                    ("offline_after".into(), silent.into()),
                ]
                .into(),
                _ => [("offline_after".into(), silent.into())].into(),
            },
        },
        devices: variant.is_multiple_of(2).then(|| (device.code.clone(), device)).into_iter().collect(),
        scopes: Arc::default(),
        thresholds: thresholds.into(),
        households_below: if variant.is_multiple_of(4) { 700 } else { 900 },
        area_below: 80_000.0,
    }
}

fn change(facility: u8, variant: Option<u8>) -> ProfileChange {
    let profile = variant.map(|variant| Arc::new(profile(facility, variant)));
    ProfileChange { facility: code(facility), profile }
}

fn report(sent: &Sent, clock: Millis) -> CheckedReport {
    let id = |code| Catalogue::in_force().id(code).unwrap();
    let reading = |code, value| Checked {
        metric: id(code),
        value,
        flag: sent.flag,
        failed: TestSet::EMPTY,
        change: sent.change,
    };
    let mut readings = vec![
        reading("secondary_supply_temp", sent.temperature),
        reading("circulation_pump_fault", f64::from(u8::from(sent.fault))),
    ];
    if let Some(north) = sent.north {
        readings.extend([reading("latitude", north), reading("longitude", 125.3)]);
    }
    let device = if sent.device { "M-1" } else { "" };
    CheckedReport {
        object: Rc::new(Object { facility: code(sent.facility), device: device.into() }),
        observed_at: clock - sent.measured * MINUTE,
        received_at: clock - sent.received * MINUTE,
        carrier: Carrier { partition: 0, offset: sent.measured, redriven: false },
        readings,
    }
}

fn heard(sent: &Sent, clock: Millis) -> Heard {
    let CheckedReport { object, received_at, carrier, .. } = report(sent, clock);
    let observed_at = received_at + 900_000 * MINUTE;
    Heard { object, observed_at, received_at, carrier, misdated: true }
}

/// The share of one worker in an epoch.
fn share(number: usize, clock: Millis, made: &Made, worker: usize, workers: usize) -> CheckedEpoch {
    let ours = |facility: u8| durable::holder(durable::shard(&code(facility)), workers) == worker;
    // The reports of a device at a temperature are misdated.
    let misdated = |sent: &Sent| sent.device && sent.temperature == 20.0;
    let sent = |wrong| made.sent.iter().filter(move |s| ours(s.facility) && misdated(s) == wrong);
    let registry = made.registry.iter().filter(|(facility, _)| ours(**facility));
    CheckedEpoch {
        epoch: number as u64 + 1,
        clock,
        profiles: registry.map(|(facility, variant)| change(*facility, *variant)).collect(),
        reports: sent(false).map(|s| report(s, clock)).collect(),
        heard: sent(true).map(|s| heard(s, clock)).collect(),
        ..CheckedEpoch::default()
    }
}

fn stages(workers: usize) -> Vec<Alarms> {
    (0..workers).map(|_| Alarms::new(AlarmSettings { horizon: HOUR, ..AlarmSettings::default() })).collect()
}

fn apply(stages: &mut [Alarms], number: usize, clock: Millis, made: &Made) -> (Vec<AlarmTransition>, u64) {
    let workers = stages.len();
    let (mut transitions, mut too_late) = (Vec::new(), 0);
    for (worker, stage) in stages.iter_mut().enumerate() {
        let output = stage.apply(&share(number, clock, made, worker, workers));
        transitions.extend(output.transitions);
        too_late += output.too_late;
    }
    sort(&mut transitions);
    (transitions, too_late)
}

/// What was saved: the sections of each shard in their order, and after which epoch.
#[derive(Default)]
struct Checkpoints {
    chains: BTreeMap<u16, Vec<Vec<u8>>>,
    done: Option<usize>,
    /// The one under way: after which epoch, and what each worker saved of it.
    under_way: Option<(usize, Vec<(Saved, bool)>)>,
}

impl Checkpoints {
    fn begin(&mut self, stages: &mut [Alarms], number: usize) {
        stages.iter_mut().for_each(Alarms::begin);
        let saved = self.under_way.take().map(|(_, saved)| saved.into_iter().map(|(saved, _)| saved));
        let mut saved = saved.into_iter().flatten();
        let saved = stages.iter().map(|_| (saved.next().unwrap_or_default(), false)).collect();
        self.under_way = Some((number, saved));
    }

    fn save(&mut self, stages: &mut [Alarms]) {
        let Some((number, saved)) = &mut self.under_way else { return };
        for (stage, (saved, all)) in stages.iter_mut().zip(saved.iter_mut()) {
            *all = stage.save(SLICE, saved);
        }
        if !saved.iter().all(|(_, all)| *all) {
            return;
        }
        self.done = Some(*number);
        let saved = self.under_way.take().into_iter().flat_map(|(_, saved)| saved);
        for (shard, section) in saved.flat_map(|(saved, _)| saved.into_sections()) {
            self.chains.entry(shard).or_default().push(section);
        }
    }

    /// New stages from what was saved; every other time the chains are compacted before.
    fn restore(&mut self, workers: usize) -> Vec<Alarms> {
        self.under_way = None;
        let mut stages = stages(workers);
        for (shard, chain) in &mut self.chains {
            if shard.is_multiple_of(2) {
                *chain = vec![durable::compact(Alarms::STATE, chain).unwrap()];
            }
            for section in chain.iter() {
                let stage = &mut stages[durable::holder(*shard, workers)];
                stage.restore(*shard, Alarms::FORM, section).unwrap();
            }
        }
        stages
    }
}

/// How much of what matters happened in all runs.
#[derive(Default)]
struct Seen {
    restored: Cell<usize>,
    /// Transitions of episodes after a restart that were raised before it.
    went_on: Cell<usize>,
    retracted: Cell<usize>,
    silent: Cell<usize>,
    moved: Cell<usize>,
    too_late: Cell<usize>,
}

fn count(cell: &Cell<usize>, by: usize) {
    cell.set(cell.get() + by);
}

fn compare(run: &[Made], first: usize, seen: &Seen) {
    let mut clocks = Vec::new();
    run.iter().fold(START, |clock, made| {
        clocks.push(clock + made.minutes * MINUTE);
        clock + made.minutes * MINUTE
    });
    let mut whole = stages(1);
    let all = run.iter().enumerate().map(|(number, made)| apply(&mut whole, number, clocks[number], made));
    let all: Vec<_> = all.collect();

    let mut torn = stages(first);
    let mut checkpoints = Checkpoints::default();
    let (mut number, mut losses, mut from) = (0, Vec::new(), None);
    while number < run.len() {
        let made = &run[number];
        let told = apply(&mut torn, number, clocks[number], made);
        assert_eq!(told, all[number], "epoch {number}, restored {from:?}");
        if let Some(from) = from {
            observe(&told, clocks[from], seen);
        }
        if made.begin {
            checkpoints.begin(&mut torn, number);
        }
        checkpoints.save(&mut torn);
        number += 1;
        let Some(workers) = made.lost.filter(|_| !losses.contains(&number)) else { continue };
        losses.push(number);
        torn = checkpoints.restore(workers);
        from = checkpoints.done;
        number = from.map_or(0, |done| {
            let mut registry = BTreeMap::new();
            run[..=done].iter().for_each(|made| registry.extend(made.registry.clone()));
            registry.retain(|_, variant| variant.is_some());
            let again = Made { minutes: 0, registry, sent: Vec::new(), begin: false, lost: None };
            let told = apply(&mut torn, done, clocks[done], &again);
            assert_eq!(told, (Vec::new(), 0), "nothing is told by the epoch {done} that was restored");
            count(&seen.restored, 1);
            done + 1
        });
    }
}

fn observe((transitions, too_late): &(Vec<AlarmTransition>, u64), restored_at: Millis, seen: &Seen) {
    for t in transitions.iter().filter(|t| t.sequence > 1 && t.raised_at <= restored_at) {
        count(&seen.went_on, 1);
        count(&seen.retracted, usize::from(t.transition == Transition::Retracted));
        count(&seen.silent, usize::from(t.rule == "communication_lost"));
        count(&seen.moved, usize::from(t.rule == "device_moved"));
    }
    count(&seen.too_late, *too_late as usize);
}

#[test]
fn restored_alarms_go_on_as_if_nothing_had_happened() {
    let seen = Seen::default();
    let mut runner = TestRunner::new(Config { cases: 250, failure_persistence: None, ..Config::default() });
    let runs = (prop::collection::vec(made(), 1..60), 1..4_usize);
    let result = runner.run(&runs, |(run, first)| {
        compare(&run, first, &seen);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let seen = [seen.restored, seen.went_on, seen.retracted, seen.silent, seen.moved, seen.too_late];
    let seen = seen.map(Cell::into_inner);
    assert!(seen.iter().zip([150, 600, 30, 30, 15, 30]).all(|(n, least)| *n > least), "{seen:?}");
}

#[test]
fn another_form_is_refused() {
    let form = Alarms::FORM + 1;
    let error = Alarms::default().restore(0, form, &[]).unwrap_err();
    assert_eq!(error, RestoreError::UnknownForm { state: "alarm", found: form, known: Alarms::FORM });
    let error = Alarms::default().restore(0, Alarms::FORM, &[1, 0, 0]).unwrap_err();
    assert!(error.to_string().contains("the saved state of alarm cannot be read"), "{error}");
}

/// What the epochs of the example tell: an episode that stands, a rule that left after telling, a device that moved, a
/// silence that ended, a reading that was taken back.
fn example() -> Vec<Made> {
    let made = |minutes, variant: Option<u8>, sent| Made {
        minutes,
        registry: variant.into_iter().map(|variant| (1, Some(variant))).collect(),
        sent,
        begin: false,
        lost: None,
    };
    let sent = |device, temperature, north| Sent {
        facility: 1,
        device,
        measured: 0,
        received: 0,
        temperature,
        fault: false,
        north,
        flag: Flag::Good,
        change: Change::New,
    };
    let unusable = Sent { flag: Flag::Fail, change: Change::Remarked, ..sent(false, 20.0, None) };
    let late = Sent { measured: 3, ..sent(false, 50.0, None) };
    vec![
        made(1, Some(4), vec![sent(false, 20.0, None), sent(true, 56.0, Some(43.95))]),
        made(2, None, vec![sent(false, 20.5, None), sent(true, 57.25, Some(43.95))]),
        made(30, None, vec![sent(false, 20.0, None), sent(true, 71.0, Some(43.95))]),
        made(0, Some(0), vec![unusable]),
        // From here on after the restart.
        made(1, Some(4), vec![late, sent(false, 19.0, None)]),
        made(1, Some(3), vec![sent(true, 50.0, Some(43.9))]),
        made(100, Some(4), vec![]),
    ]
}

/// A section as form 2 wrote it.
const FORM_2: &str = "\
    090000000453542d31034d2d313c020000c0f99c80fa62c0f99c80fa620101c0c9b2fef962c09cc1fef96200000104c0f99c\
    80fa6202c09cc1fef962c0dad3fff96201c0f99c80fa6200000000000034400000000000003e400000000000003e40c0f99c\
    80fa620303000300000000c0c9b2fef9620000000000b8b540c0f99c80fa6280dddb01f0560000000000b8b5400be080d30e\
    00e0808acd01000300000101000102030100c0c9b2fef962c09cc1fef962000000000000b8b5400000000000b8b540000000\
    0000b8b540c0c9b2fef9620202c0c9b2fef962c09cc1fef962000000000000b8b5400000000000b8b5400000000000b8b540\
    c0c9b2fef96202020100c09cc1fef96201c0c9b2fef962c09cc1fef962000000000000b8b5400000000000b8b54000000000\
    00b8b540c0c9b2fef962020200e08c7e9dc0c9b2fef9620000000000004c40c0f99c80fa6280dddb018c0b0000000000c051\
    4013e180d30e0000000000a04c40e0808acd0192020301000201000102010000c0f99c80fa62c0f99c80fa62000000000000\
    c051400000000000c051400000000000c05140c0f99c80fa620202c0f99c80fa62c0f99c80fa62000000000000c051400000\
    000000c051400000000000c05140c0f99c80fa6202020105c0f99c80fa6203c0c9b2fef96280f3b9fef96200000000000000\
    4c400000000000c051400000000000c05140c0f99c80fa6202020302000000842a0339c0c9b2fef9620000000000000000c0\
    f99c80fa6280dddb010000000000000000000be080d30e00e0808acd01000300000101000000060000000453542d31000601\
    0000c0f99c80fa62c0f99c80fa620101c0c9b2fef962c09cc1fef96200000104c0f99c80fa6202c09cc1fef962c0dad3fff9\
    6201c0f99c80fa6200000000000034400000000000003e400000000000003e40c0f99c80fa6202020002e08c7e9dc0c9b2fe\
    f9620000000000003440c09cc1fef96280d30e9a03000000000080344005e080d30e0a020180dddb01020100000002000001\
    04c0f99c80fa6202c0c9b2fef96280f3b9fef96201c0f99c80fa620000000000003440000000000080344000000000000034\
    40c0c9b2fef962010103842a0339c0c9b2fef9620000000000000000c09cc1fef96280d30e00000000000000000005e080d3\
    0e00020080dddb010101000000";

/// The same as form 1 wrote it.
const FORM_1: &str = "\
    090000000453542d31034d2d312c020000c0c9b2fef962c0f99c80fa620104c0f99c80fa6202c09cc1fef962c0dad3fff962\
    01c0f99c80fa6200000000000034400000000000003e400000000000003e40c0f99c80fa620303000300000000c0c9b2fef9\
    620000000000b8b540c0f99c80fa6280dddb01f0560000000000b8b5400be080d30e00e0808acd0100030000010100010203\
    0100c0c9b2fef962c09cc1fef962000000000000b8b5400000000000b8b5400000000000b8b540c0c9b2fef9620202c0c9b2\
    fef962c09cc1fef962000000000000b8b5400000000000b8b5400000000000b8b540c0c9b2fef96202020100c09cc1fef962\
    01c0c9b2fef962c09cc1fef962000000000000b8b5400000000000b8b5400000000000b8b540c0c9b2fef962020200e08c7e\
    9dc0c9b2fef9620000000000004c40c0f99c80fa6280dddb018c0b0000000000c0514013e180d30e0000000000a04c40e080\
    8acd0192020301000201000102010000c0f99c80fa62c0f99c80fa62000000000000c051400000000000c051400000000000\
    c05140c0f99c80fa620202c0f99c80fa62c0f99c80fa62000000000000c051400000000000c051400000000000c05140c0f9\
    9c80fa6202020105c0f99c80fa6203c0c9b2fef96280f3b9fef962000000000000004c400000000000c051400000000000c0\
    5140c0f99c80fa6202020302000000842a0339c0c9b2fef9620000000000000000c0f99c80fa6280dddb0100000000000000\
    00000be080d30e00e0808acd01000300000101000000060000000453542d3100f6000000c0c9b2fef962c0f99c80fa620104\
    c0f99c80fa6202c09cc1fef962c0dad3fff96201c0f99c80fa6200000000000034400000000000003e400000000000003e40\
    c0f99c80fa6202020002e08c7e9dc0c9b2fef9620000000000003440c09cc1fef96280d30e9a03000000000080344005e080\
    d30e0a020180dddb0102010000000200000104c0f99c80fa6202c0c9b2fef96280f3b9fef96201c0f99c80fa620000000000\
    00344000000000008034400000000000003440c0c9b2fef962010103842a0339c0c9b2fef9620000000000000000c09cc1fe\
    f96280d30e00000000000000000005e080d30e00020080dddb010101000000";

/// The same as form 3 writes it.
const FORM_3: &str = "\
    090000000453542d31034d2d3142020000c0f99c80fa62c0f99c80fa620101c0c9b2fef962c09cc1fef96200000104c0f9\
    9c80fa6202c09cc1fef962c0dad3fff96201c0f99c80fa6200000000000034400000000000003e400000000000003e40c0\
    f99c80fa620303000300000000c0c9b2fef9620000000000b8b540c0f99c80fa6280dddb01f0560000000000b8b5400be0\
    80d30e00e0808acd01000300000101000102030100c0c9b2fef962c09cc1fef962000000000000b8b5400000000000b8b5\
    400000000000b8b540c0c9b2fef9620202c0c9b2fef962c09cc1fef962000000000000b8b5400000000000b8b540000000\
    0000b8b540c0c9b2fef96202020100c09cc1fef96201c0c9b2fef962c09cc1fef962000000000000b8b5400000000000b8\
    b5400000000000b8b540c0c9b2fef962020200e08c7e9dc0c9b2fef9620000000000004c40c0f99c80fa6280dddb018c0b\
    0000000000c0514013e180d30e0000000000a04c40e0808acd0192020301000201000202010000c0f99c80fa62c0f99c80\
    fa62000000000000c051400000000000c051400000000000c05140c0f99c80fa620202c0f99c80fa62c0f99c80fa620000\
    00000000c051400000000000c051400000000000c05140c0f99c80fa620202c0f99c80fa620105c0f99c80fa6203c0c9b2\
    fef96280f3b9fef962000000000000004c400000000000c051400000000000c05140c0f99c80fa6202020302000000842a\
    0339c0c9b2fef9620000000000000000c0f99c80fa6280dddb010000000000000000000be080d30e00e0808acd01000300\
    000101000000060000000453542d310006010000c0f99c80fa62c0f99c80fa620101c0c9b2fef962c09cc1fef962000001\
    04c0f99c80fa6202c09cc1fef962c0dad3fff96201c0f99c80fa6200000000000034400000000000003e40000000000000\
    3e40c0f99c80fa6202020002e08c7e9dc0c9b2fef9620000000000003440c09cc1fef96280d30e9a030000000000803440\
    05e080d30e0a020180dddb0102010000000200000104c0f99c80fa6202c0c9b2fef96280f3b9fef96201c0f99c80fa6200\
    0000000000344000000000008034400000000000003440c0c9b2fef962010103842a0339c0c9b2fef96200000000000000\
    00c09cc1fef96280d30e00000000000000000005e080d30e00020080dddb010101000000";

#[rstest::rstest]
#[case(1, FORM_1)]
#[case(2, FORM_2)]
#[case(3, FORM_3)]
#[case::which_differs_from_3_in_named_rules_alone(4, FORM_3)]
fn a_section_of_each_form_goes_on(#[case] form: u16, #[case] written: &str) {
    let run = example();
    let clocks: Vec<Millis> = run
        .iter()
        .scan(START, |clock, made| {
            *clock += made.minutes * MINUTE;
            Some(*clock)
        })
        .collect();
    let mut whole = stages(1);
    let told: Vec<_> = (0..run.len())
        .map(|number| {
            let told = apply(&mut whole, number, clocks[number], &run[number]);
            if number == 3 {
                whole[0].begin();
                let mut saved = Saved::default();
                assert!(whole[0].save(usize::MAX, &mut saved));
                let section = saved.into_sections().remove(&durable::shard(&code(1))).unwrap();
                assert_eq!(
                    hex(&section),
                    FORM_3,
                    "if the form has changed on purpose, it needs a new number"
                );
            }
            told
        })
        .collect();
    let mut restored = stages(1);
    restored[0].restore(durable::shard(&code(1)), form, &unhex(written)).unwrap();
    let again = Made { sent: Vec::new(), ..run[3].clone() };
    assert_eq!(apply(&mut restored, 3, clocks[3], &again), (Vec::new(), 0));
    for number in 4..run.len() {
        let now = apply(&mut restored, number, clocks[number], &run[number]);
        assert_eq!(now, told[number]);
        assert!(!now.0.is_empty(), "epoch {number} tells something");
    }
}

#[test]
fn a_metric_that_the_catalogue_lacks_is_refused_by_what_is_known_of_it() {
    let hash = schemas::metric::hash("secondary_supply_temp").to_le_bytes();
    let section = with(&unhex(FORM_3), &hash, &[1, 2, 3, 4]);
    let refused = stages(1)[0].restore(durable::shard(&code(1)), 3, &section).unwrap_err().to_string();
    let start =
        "the saved state of alarm holds metric with the hash 04030201 (its code is not written here), which";
    assert!(refused.starts_with(start), "{refused}");
}
