//! Speed and size, on demand: `cargo test --release -p operators --lib validate::measure -- --ignored --nocapture`.

use std::{sync::Arc, time::Instant};

use schemas::{FacilityKind, Millis, time::MINUTE};

use super::{
    Memory, Validate,
    tests::{START, apply, id, registered, report, stage},
};
use crate::{
    flow::{Observation, Observations, Observed, ObservedEpoch},
    profile::{Profile, ProfileChange},
    stage::Stage,
};

const STATION: [&str; 10] = [
    "primary_supply_temp",
    "primary_return_temp",
    "secondary_supply_temp",
    "secondary_return_temp",
    "secondary_supply_pressure",
    "primary_flow",
    "secondary_flow",
    "heat_power",
    "heat_total",
    "outdoor_temp",
];

fn measure(name: &str, (facilities, kind): (usize, FacilityKind), metrics: &[&str], minutes: i64) {
    let code = |n: usize| format!("ST-{n:06}");
    let one = registered("", "");
    let of = |n: usize| {
        let mut profile = Profile::clone(one.profile.as_ref().unwrap());
        profile.facility.code = code(n).into();
        profile.facility.kind = kind;
        ProfileChange { facility: code(n).into(), profile: Some(Arc::new(profile)) }
    };
    let mut stage = Validate::new("heating.reports", Memory::default());
    let profiles = (0..facilities).map(of).collect();
    stage.apply(&ObservedEpoch { clock: START, profiles, ..ObservedEpoch::default() });
    let metrics: Vec<_> = metrics.iter().map(|code| (id(code), code.ends_with("_total"))).collect();
    let (mut readings, mut seconds) = (0, 0.0);
    for minute in 0..minutes {
        let mut observations = Observations::of(0);
        for n in 0..facilities {
            let observed_at = START + minute * MINUTE + (n as Millis * 37) % 60_000;
            for (k, (metric, counter)) in metrics.iter().enumerate() {
                let swing = ((minute * 7 + n as i64 * 13 + k as i64 * 5) % 13) as f64;
                let tenths = if *counter { 10_000.0 + minute as f64 } else { 180.0 + swing };
                let value = if metric.code().ends_with("pressure") { tenths / 1000.0 } else { tenths / 10.0 };
                observations.add(Observed { metric: *metric, value, normal: true });
            }
            observations.close(&Observation {
                facility: &code(n),
                device: "",
                observed_at,
                received_at: observed_at + 1200,
                sequence: None,
                partition: 0,
                offset: minute * facilities as i64 + n as i64,
                redriven: false,
                readings: &[],
            });
        }
        let clock = START + (minute + 1) * MINUTE;
        let epoch = ObservedEpoch { clock, observations: vec![observations], ..ObservedEpoch::default() };
        let start = Instant::now();
        let checked = stage.apply(&epoch);
        // The first reports make the room that the later ones use.
        if minute >= minutes / 2 {
            seconds += start.elapsed().as_secs_f64();
            readings += checked.reports.readings().len();
        }
        assert_eq!(checked.rejects.len(), 0);
    }
    eprintln!(
        "{name}: {:.0} ns per reading, {:.0} ns per report, {} bytes per series",
        seconds * 1e9 / readings as f64,
        seconds * 1e9 / (readings / metrics.len()) as f64,
        stage.heap_bytes() / stage.entries(),
    );
}

/// As long as each remembers.
fn stations_and_rooms(facilities: usize) {
    let (station, room) = ((facilities, FacilityKind::Station), (facilities, FacilityKind::Household));
    measure(&format!("{facilities} stations, 10 metrics"), station, &STATION, 430);
    measure(&format!("{facilities} rooms, 2 metrics"), room, &["room_temp", "room_humidity"], 140);
}

/// Six hours of a station that arrive at once, behind a report of now: what each of them costs.
#[test]
#[ignore = "a measurement"]
fn a_burst() {
    let codes: Vec<&str> =
        STATION.into_iter().chain(["energy_total", "makeup_total", "makeup_flow"]).collect();
    let of = |minute: i64| {
        let swing = ((minute * 7) % 13) as f64 / 10.0;
        let value = |code: &str| match code {
            code if code.ends_with("_total") => 1000.0 + minute as f64 / 10.0,
            code if code.ends_with("pressure") => 0.4 + swing / 100.0,
            _ => 40.0 + swing,
        };
        let readings: Vec<_> = codes.iter().map(|code| (*code, value(code))).collect();
        report(START + minute * MINUTE, (400 - minute) * MINUTE, &readings)
    };
    let oldest_first: Vec<_> = (0..360).collect();
    let newest_first = oldest_first.iter().rev().copied().collect();
    let mixed = oldest_first.iter().map(|n| n * 127 % 360).collect();
    let orders = [("oldest first", oldest_first), ("newest first", newest_first), ("mixed", mixed)];
    for (order, places) in orders {
        let mut stage = stage(Memory::default());
        apply(&mut stage, Vec::new(), vec![of(400)]);
        let late: Vec<_> = places.into_iter().map(of).collect();
        let start = Instant::now();
        let output = apply(&mut stage, Vec::new(), late);
        let micros = start.elapsed().as_secs_f64() * 1e6 / 360.0;
        eprintln!("{order}: {micros:.0} us per late report of {} readings", codes.len());
        assert!(output.rejects.is_empty() && output.reports.len() >= 360);
    }
}

#[test]
#[ignore = "a measurement"]
fn a_few() {
    stations_and_rooms(50);
}

#[test]
#[ignore = "a measurement"]
fn many() {
    stations_and_rooms(5_000);
}
