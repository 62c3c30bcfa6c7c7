//! What checkpoints cost and give: pauses, bytes, throughput against none, and the time to the first new epoch.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use tests::{Site, until};

use crate::{
    Figure,
    probe::{cpu_seconds, delivered, metric, site},
};

/// Stations with their rooms and devices for an hour, and what the figures of that size are called.
const SIZES: &[(&str, [&str; 3])] = &[
    ("24", ["recovery_10k_sensors_s", "checkpoint_10k_sensors_mb", "checkpoint_pause_10k_sensors_ms"]),
    ("240", ["recovery_100k_sensors_s", "checkpoint_100k_sensors_mb", "checkpoint_pause_100k_sensors_ms"]),
    ("2400", ["recovery_1m_sensors_s", "checkpoint_1m_sensors_mb", "checkpoint_pause_1m_sensors_ms"]),
];
/// About 12 million readings.
const LOAD: &[&str] = &["simulate", "--stations", "120", "--hours", "6"];
const RUNS: usize = 3;

/// A site that takes a checkpoint every so many epochs.
fn checkpointed(name: &str, every: u64) -> (Site, String) {
    site(name, &format!("clock = \"data\"\nworkers = 2\n---\n[checkpoint]\nevery_epochs = {every}\n"))
}

/// What a restart takes, and what there is to restore, by size.
pub async fn measure() -> Vec<Figure> {
    let mut figures = Vec::new();
    for (stations, names) in SIZES {
        let values = recovery(stations).await;
        figures.extend(names.iter().zip(["s", "MB", "ms"]).zip(values).map(|((name, unit), value)| {
            let runs = vec![value];
            Figure { name, unit, runs }
        }));
    }
    figures
}

/// Throughput and CPU with checkpoints against none, alternating.
pub async fn throughput() -> Vec<Figure> {
    let (mut rates, mut cpu) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let mut both = Vec::new();
        // In a backlog an epoch takes most of a second, so twelve of them are about ten.
        for every in [12, 4_000_000] {
            let (site, address) = checkpointed("throughput", every);
            site.nuanliu(&["migrate"]);
            site.nuanliu(LOAD);
            let begun = Instant::now();
            let process = site.start(&["run"]);
            delivered(&address, Duration::from_secs(600)).await;
            let readings = metric(&address, "nuanliu_readings_total").await.unwrap();
            both.push((readings / begun.elapsed().as_secs_f64(), cpu_seconds(&process) / readings * 1e6));
            eprintln!("run {}, a checkpoint every {every} epochs: {:?}", run + 1, both.last().unwrap());
            assert_eq!(process.terminate(Duration::from_secs(60)), 0);
        }
        rates.push(both[0].0 / both[1].0);
        cpu.push(both[0].1 / both[1].1);
    }
    vec![
        Figure { name: "checkpoint_throughput_ratio", unit: "with/without", runs: rates },
        Figure { name: "checkpoint_cpu_ratio", unit: "with/without", runs: cpu },
    ]
}

/// Seconds from the start after a SIGKILL to the first new epoch with every sink, MB of the newest checkpoint, and the
/// longest pause in ms (the upper bound of its bucket).
async fn recovery(stations: &str) -> [f64; 3] {
    let (site, address) = checkpointed("recovery", 4);
    site.nuanliu(&["migrate"]);
    site.nuanliu(&["simulate", "--stations", stations, "--hours", "1"]);
    let process = site.start(&["run"]);
    delivered(&address, Duration::from_secs(900)).await;
    let bound = metric(&address, "nuanliu_epoch_bound").await.unwrap();
    let directory = site.path("state/checkpoints");
    until("a checkpoint of everything", Duration::from_secs(120), async || newest(&directory) >= bound).await;
    let before = metric(&address, "nuanliu_epoch_bound").await.unwrap();
    let pause = longest_pause(&address).await;
    let series = metric(&address, "nuanliu_state_entries").await.unwrap();
    process.kill();
    let bytes: u64 =
        directory.read_dir().unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();

    let begun = Instant::now();
    let mut process = site.start(&["run"]);
    until("a new epoch", Duration::from_secs(300), async || {
        process.must_run();
        metric(&address, "nuanliu_epoch_delivered").await.is_some_and(|epoch| epoch > before)
    })
    .await;
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("{stations} stations, {series} state entries: new epoch after {seconds:.2} s, {bytes} bytes");
    [seconds, bytes as f64 / 1e6, pause]
}

/// The epoch of the newest manifest, 0 when there is none.
fn newest(directory: &Path) -> f64 {
    let names = directory.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let epochs =
        names.filter_map(|name| name.strip_prefix("MANIFEST-")?.split('-').next()?.parse::<f64>().ok());
    epochs.fold(0.0, f64::max)
}

/// The bound of the highest bucket of pauses that is not empty, ms.
async fn longest_pause(address: &str) -> f64 {
    let text = reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
    let mut buckets: Vec<(f64, f64)> = Vec::new();
    for line in text.lines().filter_map(|l| l.strip_prefix("nuanliu_checkpoint_pause_seconds_bucket{le=\"")) {
        let (bound, count) = line.split_once("\"} ").unwrap();
        buckets.push((bound.parse().unwrap_or(f64::INFINITY), count.parse().unwrap()));
    }
    eprintln!("pauses, cumulative by seconds: {buckets:?}");
    let all = buckets.last().map_or(0.0, |bucket| bucket.1);
    buckets.iter().find(|bucket| bucket.1 >= all).map_or(0.0, |bucket| bucket.0 * 1e3)
}
