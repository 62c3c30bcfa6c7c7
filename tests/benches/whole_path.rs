//! The whole path: Kafka to readings, KPIs and alarms in ClickHouse, broker and ClickHouse beside it on the same cores.

use std::time::{Duration, Instant};

use connectors::simulator::{Plan, Size};
use tests::{Site, until};

use crate::{
    Figure, load,
    probe::{cpu_seconds, memory_mb, metric, service_cpu_seconds, stored},
    runs, setting,
};

/// The first sets of tests, KPIs and rules on two workers.
pub const USUAL: &str = "clock = \"data\"\nworkers = 2\n";
const LIMIT: Duration = Duration::from_secs(1800);

/// What it took to bring a backlog through.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub readings: f64,
    pub seconds: f64,
    pub cpu_seconds: f64,
    pub broker_cpu_seconds: f64,
    pub store_cpu_seconds: f64,
    pub memory_mb: f64,
}

impl Outcome {
    pub fn rate(&self) -> f64 {
        self.readings / self.seconds
    }

    pub fn cpu_per_million(&self) -> f64 {
        self.cpu_seconds / self.readings * 1e6
    }

    fn broker_cpu_per_million(&self) -> f64 {
        self.broker_cpu_seconds / self.readings * 1e6
    }

    fn store_cpu_per_million(&self) -> f64 {
        self.store_cpu_seconds / self.readings * 1e6
    }
}

/// Runs the product from its start until everything on the topics of `source` is with every sink of a site beside it.
pub async fn run(source: &Site, configuration: &str) -> Outcome {
    let site = source.beside("path", configuration);
    site.nuanliu(&["migrate"]);
    let services = ["kafka", "clickhouse"];
    let before = services.map(service_cpu_seconds);
    let begun = Instant::now();
    let process = site.start(&["run"]);
    until("the first readings", LIMIT, async || {
        metric(&site.metrics, "nuanliu_readings_total").await.is_some_and(|readings| readings > 0.0)
    })
    .await;
    stored(&site.metrics, LIMIT).await;
    let seconds = begun.elapsed().as_secs_f64();
    let outcome = Outcome {
        readings: metric(&site.metrics, "nuanliu_readings_total").await.unwrap(),
        seconds,
        cpu_seconds: cpu_seconds(&process),
        broker_cpu_seconds: service_cpu_seconds(services[0]) - before[0],
        store_cpu_seconds: service_cpu_seconds(services[1]) - before[1],
        memory_mb: memory_mb(&process, "VmHWM"),
    };
    eprintln!("{}: {outcome:?}", site.name);
    assert_eq!(process.terminate(Duration::from_secs(60)), 0);
    drop_database(&site).await;
    outcome
}

/// Gives the disk back.
pub async fn drop_database(site: &Site) {
    site.query(&format!("DROP DATABASE {}", site.name)).await;
}

/// 120 stations with their rooms and devices for six hours: about 12 million readings.
fn plan() -> Plan {
    Plan { hours: 6, ..Plan::of(Size::of_stations(120)) }
}

pub async fn measure() -> Vec<Figure> {
    let site = Site::new("whole_path", "");
    let minutes = setting("NUANLIU_BENCH_WHOLE_PATH_MINUTES", 360);
    site.nuanliu(&["migrate"]);
    load::simulated(&site, &plan(), minutes, None).await;
    let mut outcomes = Vec::new();
    for _ in 0..runs() {
        outcomes.push(run(&site, USUAL).await);
    }
    load::delete_topics(&site).await;
    drop_database(&site).await;
    vec![
        Figure::of("whole_path_readings_per_s", "readings/s", &outcomes, Outcome::rate),
        Figure::of("whole_path_cpu_s_per_million", "CPU s", &outcomes, Outcome::cpu_per_million),
        Figure::of(
            "whole_path_broker_cpu_s_per_million",
            "CPU s",
            &outcomes,
            Outcome::broker_cpu_per_million,
        ),
        Figure::of("whole_path_store_cpu_s_per_million", "CPU s", &outcomes, Outcome::store_cpu_per_million),
        Figure::of("whole_path_memory_mb", "MB", &outcomes, |outcome| outcome.memory_mb),
    ]
}

/// The same when part of the input is malformed: every such record leaves as a reject with its bytes.
pub async fn malformed() -> Vec<Figure> {
    let minutes = setting("NUANLIU_BENCH_WHOLE_PATH_MINUTES", 360) / 4;
    let mut figures = Vec::new();
    for (every, name) in
        [(100, "malformed_1_percent_records_per_s"), (1, "malformed_50_percent_records_per_s")]
    {
        let site = Site::new("malformed", "");
        site.nuanliu(&["migrate"]);
        let records = load::simulated(&site, &plan(), minutes, Some(every)).await;
        let mut rates = Vec::new();
        for _ in 0..runs() {
            rates.push(records as f64 / run(&site, USUAL).await.seconds);
        }
        load::delete_topics(&site).await;
        drop_database(&site).await;
        figures.push(Figure::new(name, "records/s", rates));
    }
    figures
}
