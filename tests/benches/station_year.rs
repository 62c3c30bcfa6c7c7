//! The replay of a year of one station: a report of ten readings every minute, through the whole path.

use std::time::Duration;

use schemas::{Millis, RawReading, RawValue, Report, time::MINUTE};
use tests::{
    Site,
    district::{self, MIDNIGHT},
};

use crate::{
    Figure,
    load::{self, Loader},
    runs, setting,
    whole_path::{self, USUAL},
};

/// Minutes of a year.
const REPORTS: usize = 525_600;

/// What a station measures, about which value and how far it swings in a day. The last one counts up.
const METRICS: [(&str, f64, f64); 10] = [
    ("primary_supply_temp", 85.0, 6.0),
    ("primary_return_temp", 45.0, 3.0),
    ("secondary_supply_temp", 45.0, 4.0),
    ("secondary_return_temp", 38.0, 3.0),
    ("primary_supply_pressure", 0.9, 0.05),
    ("secondary_supply_pressure", 0.45, 0.02),
    ("secondary_return_pressure", 0.3, 0.02),
    ("secondary_flow", 220.0, 20.0),
    ("heat_power", 1_800.0, 200.0),
    ("heat_total", 0.0, 0.1),
];

pub async fn measure() -> Vec<Figure> {
    let site = Site::new("station_year", "");
    site.nuanliu(&["migrate"]);
    site.publish(&district::registry(1)).await;
    let mut loader = Loader::new(&site.kafka(), Duration::from_millis(20));
    let reports = setting("NUANLIU_BENCH_STATION_REPORTS", REPORTS);
    (0..reports).for_each(|minute| loader.report(&report(minute)));
    loader.flush();
    let (mut seconds, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..runs() {
        let outcome = whole_path::run(&site, USUAL).await;
        seconds.push(outcome.seconds);
        cpu.push(outcome.cpu_seconds);
    }
    load::delete_topics(&site).await;
    whole_path::drop_database(&site).await;
    vec![Figure::new("station_year_s", "s", seconds), Figure::new("station_year_cpu_s", "CPU s", cpu)]
}

fn report(minute: usize) -> Report {
    let observed_at = MIDNIGHT + minute as Millis * MINUTE;
    let mut noise = minute as u64;
    let readings = METRICS.map(|(metric, about, swing)| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = (noise >> 40) as f64 / f64::from(1 << 24) - 0.5;
        let day = (minute as f64 / 1440.0 * std::f64::consts::TAU).sin();
        let value =
            if metric == "heat_total" { swing * minute as f64 } else { about + swing * (day + 0.1 * share) };
        RawReading { metric: metric.into(), value: RawValue::Number((value * 1000.0).round() / 1000.0) }
    });
    let report = district::report(1, observed_at, observed_at + 1_500, &[]);
    Report { readings: readings.into_iter().collect(), ..report }
}
