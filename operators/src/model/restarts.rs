//! A model that is interrupted says what it says without interruption.

use std::collections::BTreeMap;

use proptest::prelude::*;
use schemas::{FacilityKind, Transition, time::HOUR};

use super::{
    Judge, ModelledEpoch, Settings, Terms,
    energy_signature::{EnergySignature, MODEL},
    tests::{START, StationHour, profile},
};
use crate::{
    Durable, Profile, ProfileChange, Stage,
    durable::{
        RestoreError, Saved,
        restarts::{Divided, Event, Told, events, hex, never_show, unhex},
    },
    window::WindowedEpoch,
};

type Supply = Judge<EnergySignature>;

impl Divided for WindowedEpoch {
    fn share(&self, holds: &dyn Fn(&str) -> bool) -> WindowedEpoch {
        WindowedEpoch {
            epoch: self.epoch,
            clock: self.clock,
            profiles: self.profiles.iter().filter(|change| holds(&change.facility)).cloned().collect(),
            hours: self.hours.iter().filter(|hour| holds(&hour.facility)).cloned().collect(),
            ..WindowedEpoch::default()
        }
    }

    fn profiles(&self) -> &[ProfileChange] {
        &self.profiles
    }

    fn again(&self, profiles: Vec<ProfileChange>) -> WindowedEpoch {
        WindowedEpoch { epoch: self.epoch, clock: self.clock, profiles, ..WindowedEpoch::default() }
    }
}

fn told(output: &ModelledEpoch) -> Told {
    let mut told = Told::new();
    told.extend(output.estimates.iter().map(|e| (e.facility.to_string(), format!("{e:?}"))));
    told.extend(output.transitions.iter().map(|t| (t.facility.to_string(), format!("{t:?}"))));
    told.extend((0..output.too_late).map(|_| (String::new(), "too late".to_owned())));
    told
}

fn with(horizon: i64, values: &[(&str, f64)]) -> Supply {
    let settings = values.iter().fold(Settings::of(MODEL), |all, (name, value)| all.with(name, *value));
    Supply::with(Terms { horizon, ..Terms::default() }, settings)
}

/// Learns soon, so that short histories have alarms.
fn stage() -> Supply {
    with(8 * HOUR, &[("least_hours", 4.0), ("most_hours", 30.0)])
}

/// What the registry says of a station: gone, a kind of its own, or a station of this design.
fn change(station: u8, what: u8) -> ProfileChange {
    let mut change = profile(&format!("ST-{station}"), (what > 2).then_some(f64::from(what) * 700.0));
    if what == 1 {
        let mut other = Profile::clone(change.profile.as_ref().unwrap());
        other.facility.kind = FacilityKind::BoilerHouse;
        change.profile = Some(other.into());
    }
    ProfileChange { profile: change.profile.filter(|_| what > 0), ..change }
}

/// An hour at which a station supplies this share of what the weather asks for; 9 stands for nothing measured.
fn hour(station: u8, number: i64, tenths: u8) -> StationHour {
    let outdoor = -12.0 + ((number * 7 + i64::from(station)) % 13) as f64;
    let heat = 75.0 * (18.0 - outdoor) * f64::from(tenths) / 10.0;
    StationHour {
        facility: format!("ST-{station}").into(),
        hour: START + number * HOUR,
        heat_kw: (tenths != 9).then_some(heat),
        coverage: if tenths == 11 { 0.4 } else { 1.0 },
        outdoor_temp: (number % 17 != 5).then_some(outdoor),
        setpoint: None,
    }
}

/// Epochs of an hour each: some stretches with other shares, corrected hours, changes of the registry.
fn epochs() -> impl Strategy<Value = Vec<WindowedEpoch>> {
    let tenths = || prop_oneof![6 => Just(10_u8), 2 => Just(6), 2 => Just(17), 1 => Just(3), 1 => Just(9), 1 => Just(11)];
    let stretch = (1..7_usize, prop::collection::vec(tenths(), 4));
    let late = (0..4_u8, 1..12_i64, tenths());
    let beside =
        (prop::collection::vec(late, 0..2), prop::collection::btree_map(0..4_u8, 0..5_u8, 0..2), 0..6_u8);
    (prop::collection::vec(stretch, 1..10), prop::collection::vec(beside, 60)).prop_map(
        |(stretches, beside)| {
            let shares = stretches.into_iter().flat_map(|(hours, shares)| std::iter::repeat_n(shares, hours));
            let calm = std::iter::repeat_n(vec![10; 4], 6);
            let all = calm.chain(shares).zip(beside).enumerate();
            all.map(|(number, (shares, (late, changes, rare)))| {
                let number = number as i64;
                let now = (0..4_u8).map(|station| hour(station, number, shares[usize::from(station)]));
                let late = late.into_iter().map(|(station, age, tenths)| hour(station, number - age, tenths));
                let first = (0..4).map(|station| (station, 2)).collect();
                let changes = if number == 0 {
                    first
                } else if rare == 0 {
                    changes
                } else {
                    BTreeMap::new()
                };
                WindowedEpoch {
                    epoch: number as u64,
                    clock: START + (number + 2) * HOUR,
                    profiles: changes.into_iter().map(|(station, what)| change(station, what)).collect(),
                    hours: now.chain(late).map(|hour| hour.closed()).collect(),
                    ..WindowedEpoch::default()
                }
            })
            .collect()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn interruptions_never_show(epochs in epochs(), events in events()) {
        never_show(&stage, &epochs, &events, told);
    }
}

/// Six good hours, then too little until hour 14, which good hours end.
fn an_alarm() -> Vec<WindowedEpoch> {
    let epoch = |number: i64| WindowedEpoch {
        epoch: number as u64,
        clock: START + (number + 2) * HOUR,
        profiles: if number == 0 { (0..4).map(|station| change(station, 2)).collect() } else { Vec::new() },
        hours: (0..4)
            .map(|station| hour(station, number, if (6..14).contains(&number) { 5 } else { 10 }).closed())
            .collect(),
        ..WindowedEpoch::default()
    };
    (0..20).map(epoch).collect()
}

#[test]
fn an_alarm_that_stands_is_cleared_after_restarts() {
    let mut whole = stage();
    let names = |output: &ModelledEpoch| {
        output.transitions.iter().map(|t| t.transition.name()).collect::<std::collections::BTreeSet<_>>()
    };
    let seen: Vec<_> = an_alarm().iter().map(|epoch| names(&whole.apply(epoch))).collect();
    assert!(seen[8].contains("raised") && seen[15].contains("cleared"), "{seen:?}");
    let mut events = vec![Event::Quiet; 7];
    for workers in [3, 1, 2] {
        events.extend([Event::Begin, Event::Save(1), Event::Save(1), Event::Save(9), Event::Crash(workers)]);
    }
    never_show(&stage, &an_alarm(), &events, told);
}

/// Nights without heat become a habit, by which the hours after a restart are judged.
#[test]
fn a_habit_outlives_the_process() {
    let patient = || Supply::new(Terms::default());
    let epoch = |number: i64| WindowedEpoch {
        epoch: number as u64,
        clock: START + (number + 2) * HOUR,
        profiles: if number == 0 { vec![change(1, 2)] } else { Vec::new() },
        hours: vec![hour(1, number, if number % 24 < 6 { 2 } else { 10 }).closed()],
        ..WindowedEpoch::default()
    };
    let epochs: Vec<_> = (0..8 * 24).map(epoch).collect();
    let mut events = vec![Event::Quiet; 7 * 24];
    events.extend([Event::Begin, Event::Save(9), Event::Crash(2)]);
    never_show(&patient, &epochs, &events, told);
}

#[test]
fn forms_of_other_versions_are_refused() {
    for form in [0, Supply::FORM + 1] {
        let error = stage().restore(3, form, &[]).unwrap_err();
        assert_eq!(error, RestoreError::UnknownForm { state: "supply", found: form, known: Supply::FORM });
    }
}

/// Remembers few hours, so that its state can be written down.
fn forgetful() -> Supply {
    with(48 * HOUR, &[("least_hours", 4.0), ("most_hours", 5.0)])
}

/// Saves everything and gives the sections.
fn sections(stage: &mut Supply) -> BTreeMap<u16, Vec<u8>> {
    let mut saved = Saved::default();
    stage.begin();
    assert!(stage.save(usize::MAX, &mut saved));
    saved.into_sections()
}

#[test]
fn a_station_that_is_gone_is_not_restored() {
    let mut saving = stage();
    an_alarm()[..10].iter().for_each(|epoch| drop(saving.apply(epoch)));
    let mut restored = stage();
    for (shard, section) in sections(&mut saving) {
        restored.restore(shard, Supply::FORM, &section).unwrap();
    }
    let others = an_alarm()[9].again(vec![change(1, 2)]);
    assert_eq!(told(&restored.apply(&others)), []);
    assert_eq!(restored.entries(), 10, "the hours of one station");
    let back = an_alarm()[9].again(vec![change(2, 2)]);
    assert_eq!(told(&restored.apply(&back)), []);
    assert_eq!(restored.entries(), 10, "nothing of the one that came later");
}

#[test]
fn a_season_of_a_station_takes_few_bytes() {
    let mut stage = Supply::new(Terms::default());
    let first = WindowedEpoch { profiles: vec![change(1, 2)], ..WindowedEpoch::default() };
    stage.apply(&first);
    for number in 0..40 * 24 {
        stage.apply(&WindowedEpoch { hours: vec![hour(1, number, 10).closed()], ..WindowedEpoch::default() });
    }
    let bytes: usize = sections(&mut stage).values().map(Vec::len).sum();
    println!("{bytes} bytes for a station with {} hours", stage.entries());
    assert!(bytes < 13 * stage.entries() + 600, "{bytes} bytes for {} hours", stage.entries());
}

/// What the form looks like, written down: whoever changes it must read this one as before.
#[test]
fn state_of_form_3_is_read() {
    let epochs = of_one_station();
    let mut saving = forgetful();
    epochs[..9].iter().for_each(|epoch| drop(saving.apply(epoch)));
    let written: Vec<_> =
        sections(&mut saving).into_iter().map(|(shard, bytes)| (shard, hex(&bytes))).collect();
    assert_eq!(
        written,
        [(FORM_3.0, FORM_3.1.to_owned())],
        "the form has changed: raise FORM and keep reading this one"
    );
    goes_on(3, FORM_3, saving);
}

/// A restart with an earlier form changes nothing.
#[test]
fn state_of_form_2_is_read() {
    let mut saving = forgetful();
    of_one_station()[..9].iter().for_each(|epoch| drop(saving.apply(epoch)));
    goes_on(2, FORM_2, saving);
}

fn of_one_station() -> Vec<WindowedEpoch> {
    an_alarm().iter().map(|epoch| epoch.share(&|station| station == "ST-1")).collect()
}

/// What was saved after nine epochs goes on like the model that was not interrupted.
fn goes_on(form: u16, (shard, section): (u16, &str), mut uninterrupted: Supply) {
    let epochs = of_one_station();
    let mut restored = forgetful();
    restored.restore(shard, form, &unhex(section)).unwrap();
    assert_eq!(told(&restored.apply(&epochs[8].again(vec![change(1, 2)]))), []);
    let mut transitions = 0;
    for epoch in &epochs[9..] {
        let output = restored.apply(epoch);
        transitions += output.transitions.len();
        assert_eq!(told(&output), told(&uninterrupted.apply(epoch)));
    }
    assert!(transitions > 0, "the alarm that stood is cleared");
}

#[test]
fn a_rule_that_the_model_does_not_have_is_refused() {
    let hex_of = |code: &str| code.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let section = FORM_3.1.replace(&hex_of("under_supply"), &hex_of("under_suppli"));
    let error = forgetful().restore(FORM_3.0, 3, &unhex(&section)).unwrap_err().to_string();
    assert!(error.contains("supply") && error.contains("earlier checkpoint"), "{error}");
}

const FORM_3: (u16, &str) = (
    203,
    concat!(
        "050000000453542d31bd01000009b0e93900f00745000030c10001b2e9390040ce44000080c00001b4e93900400345000020",
        "c10001b6e93900e0c444000040c00001b8e9390020fd44000010c10002bae9390080bb440000c07f0001bce93900c0734400",
        "0000c10002bee93900203244000080bf0002c0e93900606a440000e0c00002e0e839000000803f0000803f0000803f000080",
        "3f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f00",
        "00803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000ffffffff0f00000001b6e9390101f8ffff",
        "ffff1f7c400200000000c0524000000000000028409a999999997941400000000000000000040000803f0000803f0000803f",
        "0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000",
        "803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f00010c756e6465725f737570706c7903",
        "0000010080facac5a163018086dcbea16380facac5a163000000000000004940000000000000494000000000000049408086",
        "dcbea163010100",
    ),
);

const FORM_2: (u16, &str) = (
    203,
    concat!(
        "050000000453542d31b901000009b0e93900f00745000030c10001b2e9390040ce44000080c00001b4e93900400345000020",
        "c10001b6e93900e0c444000040c00001b8e9390020fd44000010c10002bae9390080bb440000c07f0001bce93900c0734400",
        "0000c10002bee93900203244000080bf0002c0e93900606a440000e0c00002e0e839000000803f0000803f0000803f000080",
        "3f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f00",
        "00803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000ffffffff0f00000000000001b6e9390101",
        "f8ffffffff1f7c400200000000c0524000000000000028409a999999997941400000000000000000040000803f0000803f00",
        "00803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f000080",
        "3f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f030000010080facac5a1630180",
        "86dcbea16380facac5a163000000000000004940000000000000494000000000000049408086dcbea1630101000100000001",
        "000000",
    ),
);

/// As form 1 wrote the station of [`an_alarm`] after nine hours: learnt at the fourth, under-supply since the seventh.
const FORM_1: (u16, &str) = (
    203,
    concat!(
        "050000000453542d319c01000005b8e9390020fd44000010c100bae9390080bb440000c07f00bce93900c07344000000c101",
        "bee93900203244000080bf01c0e93900606a440000e0c001010101f8ffffffff1f7c400200000000c0524000000000000028",
        "409a999999997941400000000000000000040000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f",
        "0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000803f0000",
        "803f0000803f0000803f0000803f058092edb7a163000000000000594080facac5a16380bab703e80700000000000049400e",
        "e080f4ee06e707e0ffb9b703000004010002030001030301008086dcbea16380facac5a16300000000000000494000000000",
        "0000494000000000000049408086dcbea16301018086dcbea16380facac5a163000000000000004940000000000000494000",
        "000000000049408086dcbea1630101010080facac5a163018086dcbea16380facac5a1630000000000000049400000000000",
        "00494000000000000049408086dcbea16301010001000000",
    ),
);

/// What was learnt and what stands outlives the update: the alarm that form 1 told is cleared once, and not raised again.
#[test]
fn state_of_form_1_goes_on() {
    let epochs = of_one_station();
    let mut restored = forgetful();
    restored.restore(FORM_1.0, 1, &unhex(FORM_1.1)).unwrap();
    assert_eq!(told(&restored.apply(&epochs[8].again(vec![change(1, 2)]))), []);
    let outputs: Vec<_> = epochs[9..].iter().map(|epoch| restored.apply(epoch)).collect();
    let versions = outputs.iter().flat_map(|output| &output.estimates).map(|e| e.learnt);
    assert!(versions.clone().count() > 0 && versions.clone().all(|version| version >= 1));
    let transitions: Vec<_> = outputs
        .iter()
        .flat_map(|output| &output.transitions)
        .map(|t| (t.rule.as_str(), t.transition, t.sequence))
        .collect();
    assert_eq!(transitions.first(), Some(&("under_supply", Transition::Cleared, 2)), "{transitions:?}");
}
