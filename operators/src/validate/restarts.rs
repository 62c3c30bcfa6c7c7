//! Validation that is interrupted says what it says without interruption.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use schemas::{Millis, Reason, time::MINUTE};

use super::{
    Memory, Validate,
    tests::{START, batches, few, id, minutes, registered, report},
};
use crate::{
    CheckedEpoch, Durable, Observations, ObservedEpoch, Profile, ProfileChange, Stage,
    durable::{
        RestoreError, Saved,
        restarts::{Divided, Event, Told, events, hex, never_show, unhex},
        shard,
    },
    flow::whole::Observation,
};

fn share(batch: &Observations, holds: &dyn Fn(&str) -> bool) -> Observations {
    batch.iter().filter(|report| holds(report.facility)).map(Observation::from).collect()
}

impl Divided for ObservedEpoch {
    fn share(&self, holds: &dyn Fn(&str) -> bool) -> ObservedEpoch {
        ObservedEpoch {
            epoch: self.epoch,
            clock: self.clock,
            believed: self.believed.clone(),
            profiles: self.profiles.iter().filter(|change| holds(&change.facility)).cloned().collect(),
            observations: self.observations.iter().map(|batch| share(batch, holds)).collect(),
            ..ObservedEpoch::default()
        }
    }

    fn profiles(&self) -> &[ProfileChange] {
        &self.profiles
    }

    fn again(&self, profiles: Vec<ProfileChange>) -> ObservedEpoch {
        ObservedEpoch { epoch: self.epoch, clock: self.clock, profiles, ..ObservedEpoch::default() }
    }
}

fn told(output: &CheckedEpoch) -> Told {
    let mut told = Told::new();
    told.extend(output.reports.iter().map(|r| (r.object.facility.to_string(), format!("{r:?}"))));
    told.extend(output.repeated.iter().map(|r| (r.object.facility.to_string(), format!("{r:?}"))));
    // The raw bytes of a reject name the facility first.
    let facility =
        |raw: &[u8]| serde_json::from_slice::<serde_json::Value>(raw).unwrap()["facility"].to_string();
    told.extend(output.rejects.iter().map(|r| (facility(&r.raw), format!("{r:?}"))));
    told
}

const MEMORY: Memory = few(60 * MINUTE, 6);

fn stage() -> Validate {
    Validate::new("heating.reports", MEMORY)
}

/// A registry entry: whether there is one, its limit, its lateness and its devices.
fn change(facility: u8, (fate, limit, devices): (u8, u8, u8)) -> ProfileChange {
    let attributes = match limit {
        0 => String::new(),
        1 => "room_temp_max=22 arrives_within=120".to_owned(),
        _ => "heat_total_max=1500 room_temp_min=19".to_owned(),
    };
    let one = registered(&attributes, if limit == 2 { "room_temp_max=24" } else { "" });
    let mut profile = Profile::clone(one.profile.as_ref().unwrap());
    let code = format!("ST-{facility}");
    profile.facility.code = code.as_str().into();
    let pump = profile.devices.remove("D-1").unwrap();
    let named = |name: &str| (name.into(), schemas::Device { code: name.into(), ..pump.clone() });
    profile.devices = ["D-1", "D-2"][..usize::from(devices)].iter().map(|name| named(name)).collect();
    let profile = (fate > 0).then(|| Arc::new(profile));
    ProfileChange { facility: code.into(), profile }
}

fn observation() -> impl Strategy<Value = Observation> {
    let ages = prop_oneof![6 => 0..3_i64, 3 => 0..12_i64, 1 => 0..100_i64];
    let values = prop_oneof![
        5 => Just(20.0), 3 => Just(20.1), 2 => Just(26.0), 1 => Just(-60.0), 1 => Just(0.123), 1 => Just(1e6)
    ];
    (0..6_u8, 0..4_u8, ages, 0..4_i64, values, 0..8_u8).prop_map(
        |(facility, device, age, delay, value, metrics)| {
            let codes = ["room_temp", "heat_total", "makeup_flow"];
            let chosen = codes.iter().enumerate().filter(|(n, _)| metrics >> n & 1 == 1);
            let readings: Vec<_> =
                chosen.map(|(n, code)| (*code, value + 1000.0 * f64::from(u8::from(n == 1)))).collect();
            Observation {
                facility: format!("ST-{facility}").into(),
                device: ["", "", "D-1", "D-2"][usize::from(device)].into(),
                offset: 7,
                ..report(-age * MINUTE, delay * MINUTE / 2, &readings)
            }
        },
    )
}

/// Epochs: how far the clock moves in minutes, what the registry changes, what is reported before the clock.
fn epochs() -> impl Strategy<Value = Vec<ObservedEpoch>> {
    let minutes = prop_oneof![12 => 0..3_i64, 2 => Just(20_i64), 1 => Just(70_i64)];
    let entry = (0..5_u8, 0..3_u8, 0..3_u8);
    let changes = prop::collection::btree_map(0..6_u8, entry, 0..2);
    let epoch = (minutes, changes, prop::collection::vec(observation(), 0..12));
    prop::collection::vec(epoch, 1..40).prop_map(|epochs| {
        let first: BTreeMap<u8, _> =
            (0..6).map(|facility| (facility, (1, facility % 3, facility % 3))).collect();
        let (mut clock, mut number) = (START, 0);
        let epochs = std::iter::once((0, first, Vec::new())).chain(epochs);
        epochs
            .map(|(minutes, changes, mut observations)| {
                clock += minutes * MINUTE;
                number += 1;
                for report in &mut observations {
                    report.observed_at += clock;
                    report.received_at += clock;
                }
                let profiles = changes.into_iter().map(|(facility, entry)| change(facility, entry)).collect();
                let observations = batches(&observations);
                ObservedEpoch { epoch: number, clock, profiles, observations, ..ObservedEpoch::default() }
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn interruptions_never_show(epochs in epochs(), events in events()) {
        never_show(&stage, &epochs, &events, told);
    }
}

/// Reports every minute, of which one at a time is saved ahead of its change.
#[test]
fn a_slow_checkpoint_is_the_state_at_its_beginning() {
    let epoch = |minute: i64| ObservedEpoch {
        epoch: minute as u64,
        clock: START + minute * MINUTE,
        believed: Vec::new(),
        profiles: if minute == 0 { (0..6).map(|n| change(n, (1, 0, 2))).collect() } else { Vec::new() },
        observations: vec![
            (0..6)
                .map(|n| Observation {
                    facility: format!("ST-{n}").into(),
                    ..report(START + minute * MINUTE, 0, &[("room_temp", 20.0 + (minute % 3) as f64 * 4.0)])
                })
                .collect(),
        ],
        ..ObservedEpoch::default()
    };
    let epochs: Vec<_> = (0..20).map(epoch).collect();
    let mut events = vec![Event::Quiet, Event::Quiet, Event::Quiet, Event::Begin];
    events.extend(vec![Event::Save(1); 8]);
    events.extend([
        Event::Crash(3),
        Event::Quiet,
        Event::Begin,
        Event::Save(9),
        Event::Quiet,
        Event::Crash(2),
    ]);
    never_show(&stage, &epochs, &events, told);
}

#[test]
fn forms_of_other_versions_are_refused() {
    for form in [0, Validate::FORM + 1] {
        let error = stage().restore(3, form, &[]).unwrap_err();
        assert_eq!(
            error,
            RestoreError::UnknownForm { state: "validate", found: form, known: Validate::FORM }
        );
    }
}

/// Saves everything and gives the sections.
fn sections(stage: &mut Validate) -> BTreeMap<u16, Vec<u8>> {
    let mut saved = Saved::default();
    stage.begin();
    assert!(stage.save(usize::MAX, &mut saved));
    saved.into_sections()
}

/// A room temperature that jumps out of its range, beside a counter.
fn some_reports() -> ObservedEpoch {
    let at = |minute: i64, value: f64, total: f64| {
        report(START + minute * MINUTE, 1500, &[("room_temp", value), ("heat_total", total)])
    };
    ObservedEpoch {
        epoch: 9,
        clock: START + 12 * MINUTE,
        believed: Vec::new(),
        profiles: vec![registered("", "")],
        observations: batches(&[at(0, 20.0, 1e6), at(10, 60.5, 1000.25), at(11, 20.3, 1000.5)]),
        ..ObservedEpoch::default()
    }
}

#[test]
fn a_section_that_does_not_fit_together_is_refused() {
    let mut saving = stage();
    saving.apply(&some_reports());
    for (shard, section) in sections(&mut saving) {
        let cut = &section[..section.len() - 1];
        assert!(matches!(stage().restore(shard, 1, cut), Err(RestoreError::Unreadable { .. })));
        let mut other = Saved::default();
        other.put(shard, "facility", Some(&(vec![("device", 0_u8)], 1)));
        for section in other.into_sections().into_values() {
            assert!(matches!(stage().restore(shard, 1, &section), Err(RestoreError::Unreadable { .. })));
        }
    }
}

/// Whether a silent object has forgotten depends on when it was last looked for.
#[test]
fn a_silence_that_spans_a_restart_is_as_long_as_it_was() {
    let quiet = |minute: Millis| ObservedEpoch { clock: START + minute * MINUTE, ..ObservedEpoch::default() };
    let again = |minute: Millis| ObservedEpoch {
        observations: batches(&[report(START, 1500, &[("room_temp", 20.0)])]),
        ..quiet(minute)
    };
    let epochs = [some_reports(), quiet(71), quiet(73), quiet(74), again(75), again(87), again(88)];
    let events = [Event::Quiet, Event::Quiet, Event::Begin, Event::Save(9), Event::Quiet, Event::Crash(1)];
    never_show(&stage, &epochs, &events, told);
}

#[test]
fn what_is_no_longer_registered_is_not_restored() {
    let mut saving = stage();
    saving.apply(&some_reports());
    let mut restored = stage();
    for (shard, section) in sections(&mut saving) {
        restored.restore(shard, 1, &section).unwrap();
    }
    restored.apply(&some_reports().again(vec![change(2, (1, 0, 0))]));
    let said = told(&restored.apply(&some_reports()));
    assert_eq!(said, told(&stage().apply(&some_reports())), "as if it had never been there");
}

#[test]
fn a_smaller_memory_holds_from_the_next_report_on() {
    let rises: Vec<_> = (0..10).map(|n| (n * 5, 20.0 + 0.1 * n as f64)).collect();
    let epoch = |clock: i64, observations: Vec<_>| ObservedEpoch {
        clock: START + clock * MINUTE,
        profiles: if clock == 0 { vec![registered("", "")] } else { Vec::new() },
        observations: batches(&observations),
        ..ObservedEpoch::default()
    };
    let mut large = Validate::new("heating.reports", few(MEMORY.lateness, 63));
    large.apply(&epoch(0, minutes("room_temp", &rises)));
    let mut small = Validate::new("heating.reports", few(MEMORY.lateness, 3));
    for (shard, section) in sections(&mut large) {
        small.restore(shard, 1, &section).unwrap();
    }
    assert_eq!(told(&small.apply(&epoch(0, Vec::new()))), []);
    // The tenth reading is one of three that are remembered now, the seventh is not any more.
    let output = small.apply(&epoch(1, minutes("room_temp", &[(50, 21.0), rises[9], rises[6]])));
    let rejected: Vec<_> = output.rejects.iter().map(|reject| reject.reason).collect();
    assert_eq!((output.reports.len(), rejected), (2, vec![Reason::Duplicate]));
}

/// A stage with the station `ST-1` and one report of one value, as another version may have written it.
fn written(metric: &str, decimals: u8, value: i16) -> Result<Validate, RestoreError> {
    let rows = (0_u32, START, vec![(0_u32, 1500_i32)]);
    let values = (0_u32, 0_i64, vec![value]);
    let column = (metric, decimals, None::<u8>, values, Vec::<u16>::new());
    let place = (vec![("", rows, vec![column], Millis::MIN, START)],);
    let mut saved = Saved::default();
    saved.put(shard("ST-1"), "ST-1", Some(&place));
    let mut stage = stage();
    for (shard, section) in saved.into_sections() {
        stage.restore(shard, 1, &section)?;
    }
    let again =
        ObservedEpoch { clock: START, profiles: vec![registered("", "")], ..ObservedEpoch::default() };
    assert_eq!(told(&stage.apply(&again)), []);
    Ok(stage)
}

#[test]
fn values_are_read_with_the_decimals_they_were_written_with() {
    let mut stage = written("room_temp", 3, 20_100).unwrap();
    let same = report(START, 1500, &[("room_temp", 20.1)]);
    let output = stage.apply(&ObservedEpoch { observations: batches(&[same]), ..ObservedEpoch::default() });
    assert_eq!(output.rejects[0].reason, Reason::Duplicate);
    // Its tests begin anew, as that version had none for it.
    let next = minutes("room_temp", &[(10, 90.0), (20, 27.0), (30, 20.0)]);
    let output = stage.apply(&ObservedEpoch { observations: batches(&next), ..ObservedEpoch::default() });
    let spikes = told(&output).iter().filter(|(_, said)| said.contains("Remarked")).count();
    assert_eq!(spikes, 1, "{output:?}");
}

#[test]
fn a_metric_that_is_gone_from_the_catalogue_is_refused() {
    assert_eq!(written("room_temp", 1, 3).unwrap().entries(), 1);
    assert_eq!(
        written("room_smell", 1, 3).err().unwrap().to_string(),
        "the saved state of validate holds metric room_smell, which the catalogues do not have: put its row back into \
         metrics.csv of catalogue.directory, or go back to a checkpoint from before it came with \
         `nuanliu run --from EPOCH` (nuanliu checkpoints list)"
    );
}

#[test]
fn an_hour_of_a_station_takes_few_bytes() {
    let mut stage = Validate::new("heating.reports", Memory::default());
    let codes = [
        ("secondary_supply_temp", 45.0, 0.1),
        ("secondary_return_temp", 38.0, 0.1),
        ("primary_supply_temp", 85.0, 0.1),
        ("secondary_supply_pressure", 0.45, 0.01),
        ("primary_flow", 32.0, 0.1),
        ("heat_total", 51_230.0, 0.042),
    ];
    let reports = (0..63_i64).map(|n| {
        let value = |m: usize, (code, base, step): (&'static str, f64, f64)| {
            let steps = if code == "heat_total" { n } else { (n * 7 + m as i64 * 3) % 11 };
            (code, ((base + step * steps as f64) * 1000.0).round() / 1000.0)
        };
        let readings: Vec<_> = codes.iter().enumerate().map(|(m, metric)| value(m, *metric)).collect();
        report(START + n * MINUTE, 900 + (n * 37) % 700, &readings)
    });
    let epoch = ObservedEpoch {
        clock: START,
        profiles: vec![registered("", "")],
        observations: vec![reports.collect()],
        ..ObservedEpoch::default()
    };
    stage.apply(&epoch);
    let bytes: usize = sections(&mut stage).values().map(Vec::len).sum();
    println!("{} bytes per series of 63 reports", bytes / stage.entries());
    assert!(bytes / stage.entries() < 260, "{bytes} bytes for {} series", stage.entries());
}

/// What form 2 looks like, written down: whoever changes the form must read this one as before.
#[test]
fn form_2_is_read_and_written() {
    let mut saving = stage();
    saving.apply(&some_reports());
    let written: Vec<_> =
        sections(&mut saving).into_iter().map(|(shard, bytes)| (shard, hex(&bytes))).collect();
    let written: Vec<_> = written.iter().map(|(shard, section)| (*shard, section.as_str())).collect();
    assert_eq!(written, FORM_2, "the form has changed: raise FORM and keep reading this one");
    assert_eq!(goes_on(2, FORM_2), told(&saving.apply(&some_more_reports())));
    assert_eq!(id("room_temp").metric().decimals, 1, "the golden section counts tenths");
}

/// The same readings were written with other bases when a cell had 2 bytes at least.
#[test]
fn form_1_is_read() {
    let said = goes_on(1, FORM_1);
    assert!(said.iter().any(|(_, said)| said.contains("1000.3")), "{said:?}");
    assert_eq!(said, goes_on(1, FORM_1_OF_WIDE_CELLS));
}

/// What a stage says of further reports that is restored from a written state.
fn goes_on(form: u16, written: &[(u16, &str)]) -> Told {
    let mut restored = stage();
    for (shard, section) in written {
        restored.restore(*shard, form, &unhex(section)).unwrap();
    }
    let nothing = told(&restored.apply(&some_reports().again(vec![registered("", "")])));
    assert_eq!(nothing, []);
    assert_eq!(restored.entries(), 2);
    let said = told(&restored.apply(&some_more_reports()));
    assert!(said.iter().any(|(_, said)| said.contains("Superseded")), "{said:?}");
    said
}

fn some_more_reports() -> ObservedEpoch {
    ObservedEpoch {
        epoch: 10,
        clock: START + 20 * MINUTE,
        believed: Vec::new(),
        profiles: Vec::new(),
        observations: batches(&[
            report(START, 1500, &[("room_temp", 20.0)]),
            report(START + 10 * MINUTE, 1500, &[("room_temp", 21.0), ("heat_total", 1000.3)]),
            report(START + 12 * MINUTE, 1500, &[("room_temp", 29.0), ("heat_total", 1001.0)]),
        ]),
        ..ObservedEpoch::default()
    }
}

const FORM_1: &[(u16, &str)] = &[
    (
        203,
        concat!(
            "050000000453542d31a300000001000080c093c2a1630300b817c0cf24b817a0a428b8170209726f6f6d5f74656d70010100",
            "0180c093c2a163000000000000344080c093c2a1630000000000003440000000000000344000a40603930396038d03030082",
            "40000a686561745f746f74616c0301000280dfdcc2a1630000000000428f400001ba9aa8dd0303c68daedc03c58daedc03d1",
            "89aedc030300800100ffffffffffffffffff0180b2ebc2a163",
        ),
    ),
    (256, "060000000573776570740700000080b2ebc2a163"),
];

const FORM_1_OF_WIDE_CELLS: &[(u16, &str)] = &[
    (
        203,
        concat!(
            "050000000453542d31a200000001000080c093c2a1630300b817c0cf24b817a0a428b8170209726f6f6d5f74656d70010100",
            "0180c093c2a163000000000000344080c093c2a163000000000000344000000000000034400000039003ba09960303008240",
            "000a686561745f746f74616c0301000280dfdcc2a1630000000000428f400001ba9aa8dd0303c68daedc03c58daedc03d189",
            "aedc030300800100ffffffffffffffffff0180b2ebc2a163",
        ),
    ),
    (256, "060000000573776570740700000080b2ebc2a163"),
];

const FORM_2: &[(u16, &str)] = &[
    (
        203,
        concat!(
            "050000000453542d31bf00000001000080c093c2a1630300b817c0cf24b817a0a428b8170209726f6f6d5f74656d70010100",
            "0180c093c2a163000000000000344080c093c2a1630000000000003440000000000000344000a40603930396038d03030082",
            "40000a686561745f746f74616c0301000380c093c2a1630000000080842e410180dfdcc2a16380dfdcc2a163000000000042",
            "8f40ffffffff0f01ba9aa8dd0303c68daedc03c58daedc03d189aedc030300c08002c08002ffffffffffffffffff0180b2eb",
            "c2a163",
        ),
    ),
    (256, "060000000573776570740700000080b2ebc2a163"),
];
