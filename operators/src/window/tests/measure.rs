//! Speed and size, on demand: `cargo test --release -p operators --lib measure -- --ignored --nocapture`.

use std::time::Instant;

use super::*;
use crate::durable::{Durable, Saved};

const METRICS: [&str; 10] = [
    "primary_supply_temp",
    "primary_return_temp",
    "secondary_supply_temp",
    "secondary_return_temp",
    "primary_flow",
    "secondary_flow",
    "heat_power",
    "heat_total",
    "energy_total",
    "outdoor_temp",
];

fn measure(name: &str, facilities: usize, hours: i64, profile: impl Fn(usize) -> Profile, metrics: &[&str]) {
    let tier = MemoryTier::shared();
    let mut run = Window::new(Calendar::default()).with_cold(tier.clone());
    let mut epoch = CheckedEpoch { epoch: 1, clock: START, ..CheckedEpoch::default() };
    let profiles: Vec<Profile> = (0..facilities).map(profile).collect();
    let device = |n: usize| profiles[n].devices.keys().next().map_or("", |code| code.as_str());
    epoch.profiles = profiles.iter().cloned().map(register).collect();
    run.apply(&epoch);
    let template: Vec<CheckedReport> = (0..facilities)
        .map(|n| {
            let readings: Vec<_> = metrics.iter().map(|m| (*m, 50.0, Flag::Good, Change::New)).collect();
            report(&profiles[n].facility.code, device(n), START, &readings)
        })
        .collect();
    let (mut readings, mut seconds, mut longest) = (0, 0.0, 0.0f64);
    for minute in 0..hours * 60 {
        let at = START + minute * MINUTE;
        let reports = template.iter().enumerate().map(|(n, report)| {
            let mut report = report.clone();
            report.observed_at = at + (n as i64 * 37) % 60_000;
            for (k, reading) in report.readings.iter_mut().enumerate() {
                let swing = ((minute * 7 + n as i64 * 13 + k as i64 * 5) % 40) as f64 / 10.0;
                reading.value =
                    if reading.metric.code().ends_with("_total") { minute as f64 } else { 50.0 + swing };
            }
            report
        });
        epoch = CheckedEpoch {
            epoch: 2,
            clock: at + MINUTE,
            reports: reports.collect(),
            ..CheckedEpoch::default()
        };
        let start = Instant::now();
        let told = run.apply(&epoch);
        let took = start.elapsed().as_secs_f64();
        assert_eq!(told.too_late.readings() + told.unregistered, 0);
        seconds += took;
        longest = longest.max(took);
        readings += facilities * metrics.len();
    }
    let (bytes, series) = run.footprint();
    let start = Instant::now();
    let mut saved = Saved::default();
    run.begin();
    while !run.save(usize::MAX, &mut saved) {}
    eprintln!(
        "{name}: saved {} bytes per facility, {} per series with {hours} hours of points, {:.1} µs per facility",
        saved.bytes() / facilities,
        saved.bytes() / series,
        start.elapsed().as_secs_f64() * 1e6 / facilities as f64,
    );
    eprintln!(
        "{name}: {:.2} million readings/s, {:.0} ns per report, longest epoch {:.0} ms, {} bytes per facility, {} per series",
        readings as f64 / seconds / 1e6,
        seconds * 1e9 / (readings / metrics.len()) as f64,
        longest * 1e3,
        bytes / facilities,
        bytes / series,
    );
    let (records, bytes) = tier.footprint();
    if let Some(each) = bytes.checked_div(records) {
        eprintln!("{name}: {each} bytes sealed per facility and hour");
    }
    // One late report each, further and further back; a facility is asked once.
    for (n, back) in (7..hours).step_by(8).enumerate() {
        let some: Vec<CheckedReport> = (0..100)
            .map(|number| {
                let mut report = template[(n * 100 + number) % facilities].clone();
                report.observed_at = START + (hours - back) * HOUR + 1_234;
                report
            })
            .collect();
        let count = some.len();
        epoch = CheckedEpoch {
            epoch: 3,
            clock: START + hours * HOUR,
            reports: some.into_iter().collect(),
            ..CheckedEpoch::default()
        };
        let start = Instant::now();
        let told = run.apply(&epoch);
        let took = start.elapsed().as_secs_f64() * 1e6 / count as f64;
        assert_eq!(told.too_late, TooLate::default());
        eprintln!("{name}: {took:.0} µs for a report of {back} h ago, {} windows told", told.facility.len());
    }
}

#[test]
#[ignore = "a measurement"]
fn stations_and_rooms() {
    measured(2_000, 10_000, 9);
}

#[test]
#[ignore = "a measurement"]
fn late_by_hours() {
    measured(200, 1_000, 40);
}

#[test]
#[ignore = "a measurement"]
fn saved_bytes() {
    [1, 2, 9].into_iter().for_each(|hours| measured(100, 100, hours));
}

fn measured(stations: usize, rooms: usize, hours: i64) {
    let above = |n: usize| {
        vec![city(), scope(ScopeKind::Enterprise, &format!("E-{}", n % 70)), scope(ScopeKind::District, "D")]
    };
    let station = |n: usize| facility(&format!("ST-{n:05}"), FacilityKind::Station, 1e4, above(n));
    measure("stations, 10 metrics", stations, hours, station, &METRICS);
    let room = |n: usize| {
        with_device(
            facility(&format!("HH-{n:06}"), FacilityKind::Household, 80.0, above(n)),
            &format!("RS-{n:06}"),
            60,
        )
    };
    measure("rooms, a report a minute", rooms, hours, room, &["room_temp", "room_humidity"]);
}
