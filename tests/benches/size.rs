//! What it costs against size: objects, rules, workers and processes, each over the same way as `whole_path`.
//!
//! `NUANLIU_BENCH_LONG=1` adds a million and five million sensors.

use std::{fs, net::TcpListener, time::Instant};

use connectors::{
    Outgoing,
    simulator::{Plan, Size},
};
use schemas::{Catalogue, MetricKind, RegistryEntry, Side, Threshold};
use tests::Site;

use crate::{
    Figure, load,
    probe::{cpu_seconds, memory_mb, metric, stored},
    runs, setting,
    whole_path::{self, Outcome, USUAL},
};

/// Stations, simulated minutes, and what the figures of that size are called. With its rooms and devices a station has
/// about 400 series.
const SENSORS: [(usize, usize, [&str; 2]); 4] = [
    (24, 600, ["size_10k_sensors_cpu_s_per_million", "size_10k_sensors_memory_mb"]),
    (240, 60, ["size_100k_sensors_cpu_s_per_million", "size_100k_sensors_memory_mb"]),
    (2_400, 12, ["size_1m_sensors_cpu_s_per_million", "size_1m_sensors_memory_mb"]),
    (12_000, 6, ["size_5m_sensors_cpu_s_per_million", "size_5m_sensors_memory_mb"]),
];
const RULES: [(usize, &str); 3] = [
    (1, "size_1_rule_cpu_s_per_million"),
    (100, "size_100_rules_cpu_s_per_million"),
    (1_000, "size_1000_rules_cpu_s_per_million"),
];

pub async fn measure() -> Vec<Figure> {
    let mut figures = Vec::new();
    let long = setting("NUANLIU_BENCH_LONG", 0) > 0;
    for (stations, minutes, names) in &SENSORS[..if long { 4 } else { 2 }] {
        let site = loaded(*stations, *minutes).await;
        let outcomes = repeated(&site, USUAL).await;
        figures.push(Figure::of(names[0], "CPU s", &outcomes, Outcome::cpu_per_million));
        figures.push(Figure::of(names[1], "MB", &outcomes, |outcome| outcome.memory_mb));
        away(&site).await;
    }
    figures.extend(rules().await);
    figures.extend(workers().await);
    figures
}

async fn loaded(stations: usize, minutes: usize) -> Site {
    let site = Site::new("size", "");
    site.nuanliu(&["migrate"]);
    let plan = Plan { hours: 24, ..Plan::of(Size::of_stations(stations)) };
    load::simulated(&site, &plan, minutes, None).await;
    site
}

async fn away(site: &Site) {
    load::delete_topics(site).await;
    whole_path::drop_database(site).await;
}

async fn repeated(site: &Site, configuration: &str) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for _ in 0..runs() {
        outcomes.push(whole_path::run(site, configuration).await);
    }
    outcomes
}

/// More rules: thresholds of single stations and devices, over those that ship with the product.
async fn rules() -> Vec<Figure> {
    let mut figures = Vec::new();
    for (rules, name) in RULES {
        let site = loaded(24, 300).await;
        site.publish(&thresholds(rules)).await;
        figures.push(Figure::of(name, "CPU s", &repeated(&site, USUAL).await, Outcome::cpu_per_million));
        away(&site).await;
    }
    figures
}

fn thresholds(count: usize) -> Vec<Outgoing> {
    let gauges = Catalogue::in_force().iter().filter(|(_, metric)| metric.kind == MetricKind::Gauge);
    let gauges: Vec<_> = gauges.map(|(id, _)| id).collect();
    let threshold = |number: usize| {
        let high = (number / 24).is_multiple_of(2);
        RegistryEntry::Threshold(Threshold {
            scope: format!("ST-{:04}", number % 24 + 1).into(),
            metric: gauges[number / 48 % gauges.len()],
            side: if high { Side::High } else { Side::Low },
            level1: Some(if high { 1e9 } else { -1e9 }),
            level2: None,
            level3: None,
            deadband: 1.0,
            on_delay: 60,
            off_delay: 60,
            enabled: true,
            advice: String::new(),
            rule: "".into(),
        })
    };
    let entry = |entry: RegistryEntry| Outgoing::RegistryEntry(entry.key(), Some(Box::new(entry)));
    (0..count).map(threshold).map(entry).collect()
}

/// One worker, two, and two processes with one each, in turn on the same topics.
async fn workers() -> Vec<Figure> {
    let site = loaded(120, setting("NUANLIU_BENCH_WHOLE_PATH_MINUTES", 360) / 2).await;
    let (mut two, mut processes) = (Vec::new(), Vec::new());
    for _ in 0..runs() {
        let alone = whole_path::run(&site, &USUAL.replace("workers = 2", "workers = 1")).await;
        let together = whole_path::run(&site, USUAL).await;
        two.push(together.rate() / alone.rate());
        processes.push(two_processes(&site).await.rate() / together.rate());
    }
    away(&site).await;
    vec![
        Figure::new("size_two_workers_ratio", "2 : 1 workers", two),
        Figure::new("size_two_processes_ratio", "processes : threads", processes),
    ]
}

/// The same as two processes with a worker each.
async fn two_processes(source: &Site) -> Outcome {
    let site = source.beside("processes", &USUAL.replace("workers = 2", "workers = 1"));
    site.nuanliu(&["migrate"]);
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [one, two, metrics] = listeners.map(|listener| listener.local_addr().unwrap().to_string());
    let (hosts, second) = (site.path("hosts"), site.path("second.toml"));
    fs::write(&hosts, format!("{one}\n{two}\n")).unwrap();
    fs::write(&second, fs::read_to_string(site.config()).unwrap().replace(&site.metrics, &metrics)).unwrap();
    let hosts = hosts.to_str().unwrap();
    let begun = Instant::now();
    let first = site.start(&["run", "-n", "2", "-p", "0", "-h", hosts]);
    let other = site.start_on(&second, &["run", "-n", "2", "-p", "1", "-h", hosts]);
    stored(&site.metrics, std::time::Duration::from_secs(600)).await;
    let of_both = [&site.metrics, &metrics];
    let mut readings = 0.0;
    for address in of_both {
        readings += metric(address, "nuanliu_readings_total").await.unwrap();
    }
    let outcome = Outcome {
        readings,
        seconds: begun.elapsed().as_secs_f64(),
        cpu_seconds: cpu_seconds(&first) + cpu_seconds(&other),
        broker_cpu_seconds: 0.0,
        store_cpu_seconds: 0.0,
        memory_mb: memory_mb(&first, "VmHWM") + memory_mb(&other, "VmHWM"),
    };
    eprintln!("{}, two processes: {outcome:?}", site.name);
    drop((first, other));
    whole_path::drop_database(&site).await;
    outcome
}
