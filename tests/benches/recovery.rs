//! What checkpoints cost and give: pauses, bytes, throughput against none, and the time to the first new epoch.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use connectors::simulator::{self, Plan, Simulator, Size};
use tests::{Site, until};

use crate::{
    Figure, load,
    probe::{cpu_seconds, delivered, memory_mb, metric, site},
    reference::hash,
    setting,
    whole_path::drop_database,
};

/// Stations with their rooms and devices, simulated minutes, and what figures of that size are called.
const SIZES: [(usize, usize, &str); 4] =
    [(24, 60, "10k"), (240, 60, "100k"), (2_400, 60, "1m"), (12_000, 20, "5m")];
/// About 12 million readings.
const LOAD: &[&str] = &["simulate", "--stations", "120", "--hours", "6"];
const RUNS: usize = 3;

/// A site that takes a checkpoint every so many epochs.
fn checkpointed(name: &str, every: u64) -> (Site, String) {
    site(name, &format!("clock = \"data\"\nworkers = 2\n---\n[checkpoint]\nevery_epochs = {every}\n"))
}

/// What a restart takes, and what there is to restore, by size; `NUANLIU_BENCH_LONG=1` adds five million sensors.
pub async fn measure() -> Vec<Figure> {
    let mut figures = Vec::new();
    let long = setting("NUANLIU_BENCH_LONG", 0) > 0;
    for (stations, minutes, size) in &SIZES[..if long { 4 } else { 3 }] {
        let found = recovery(*stations, *minutes, size).await;
        let mut figure = |name, unit, value| figures.push(Figure::new(name, unit, vec![value]));
        figure(format!("recovery_{size}_sensors_s"), "s", found.seconds);
        figure(format!("checkpoint_{size}_sensors_mb"), "MB", found.megabytes);
        figures.extend(found.held);
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
        Figure::new("checkpoint_throughput_ratio", "with/without", rates),
        Figure::new("checkpoint_cpu_ratio", "with/without", cpu),
    ]
}

/// What one size comes to.
struct Recovery {
    /// From the start after a SIGKILL to the first new epoch with every sink.
    seconds: f64,
    /// All files of the checkpoints.
    megabytes: f64,
    /// See [`held`].
    held: Vec<Figure>,
}

async fn recovery(stations: usize, minutes: usize, size: &str) -> Recovery {
    let (site, address) = checkpointed("recovery", 4);
    site.nuanliu(&["migrate"]);
    let plan = Plan { hours: 1, ..Plan::of(Size::of_stations(stations)) };
    load::simulated(&site, &plan, minutes, None).await;
    let process = site.start(&["run"]);
    delivered(&address, Duration::from_secs(1800)).await;
    let directory = site.path("state/checkpoints");
    let before = complete(&address, &directory).await;
    let held = held(&address, &format!("{size}_sensors")).await;
    let series = metric(&address, "nuanliu_state_entries").await.unwrap();
    let memory = memory_mb(&process, "VmHWM");
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
    eprintln!(
        "{stations} stations, {series} state entries, at most {memory:.0} MB: new epoch after {seconds:.2} s"
    );
    drop(process);
    load::delete_topics(&site).await;
    drop_database(&site).await;
    Recovery { seconds, megabytes: bytes as f64 / 1e6, held }
}

/// How much a checkpoint writes when 1, 10 and 100 of a hundred facilities have reported since the one before, over
/// five minutes within an hour, with 100,000 sensors. Nothing is compacted meanwhile.
pub async fn dirty() -> Vec<Figure> {
    let extra = "clock = \"data\"\nworkers = 2\n---\n[checkpoint]\nevery_epochs = 4\ncompact_after = 1000\n";
    let (site, address) = site("dirty", extra);
    site.nuanliu(&["migrate"]);
    let plan = Plan { hours: 24, ..Plan::of(Size::of_stations(240)) };
    simulator::load_registry(&plan, &site.publisher()).await.unwrap();
    let mut simulator = Simulator::new(&plan, Vec::new()).unwrap();
    // Into the second hour: the end of the first one is a change of every facility.
    load::reports(&site, &mut simulator, 62, None, |_| true);
    let process = site.start(&["run"]);
    let directory = site.path("state/checkpoints");
    let mut figures = Vec::new();
    for percent in [1, 10, 100] {
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            delivered(&address, Duration::from_secs(600)).await;
            complete(&address, &directory).await;
            let written = parts(&directory);
            load::reports(&site, &mut simulator, 5, None, |facility| hash(facility) % 100 < percent);
            delivered(&address, Duration::from_secs(600)).await;
            complete(&address, &directory).await;
            let new = parts(&directory).into_iter().filter(|(name, _)| !written.contains_key(name));
            runs.push(new.map(|(_, bytes)| bytes as f64 / 1e6).sum());
        }
        figures.push(Figure::new(format!("checkpoint_{percent}_percent_dirty_mb"), "MB", runs));
    }
    drop(process);
    load::delete_topics(&site).await;
    drop_database(&site).await;
    figures
}

/// Parts of checkpoints and their sizes.
fn parts(directory: &Path) -> BTreeMap<String, u64> {
    let files = directory.read_dir().unwrap().map(|entry| entry.unwrap());
    let files = files.map(|file| (file.file_name().into_string().unwrap(), file.metadata().unwrap().len()));
    files.filter(|(name, _)| name.starts_with("part")).collect()
}

/// Waits for a checkpoint that holds everything bound so far; gives the epoch that was bound last then.
async fn complete(address: &str, directory: &Path) -> f64 {
    let bound = metric(address, "nuanliu_epoch_bound").await.unwrap();
    until("a checkpoint of everything", Duration::from_secs(300), async || newest(directory) >= bound).await;
    metric(address, "nuanliu_epoch_bound").await.unwrap()
}

/// The epoch of the newest manifest, 0 when there is none.
fn newest(directory: &Path) -> f64 {
    let names = directory.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let epochs =
        names.filter_map(|name| name.strip_prefix("MANIFEST-")?.split('-').next()?.parse::<f64>().ok());
    epochs.fold(0.0, f64::max)
}

/// How long checkpoints held an operator in one go: by the clock, and what of it was work and not waiting for a core.
pub async fn held(address: &str, when: &str) -> Vec<Figure> {
    let text = reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
    let figures = |(what, unit): (&str, &'static str)| {
        let shares = ["p50", "p99", "max"]
            .into_iter()
            .zip(spread(&text, &format!("nuanliu_checkpoint_{what}_seconds")));
        let name = |share| format!("checkpoint_{what}_{when}_{share}_ms");
        shares.map(|(share, bound)| Figure::new(name(share), unit, vec![bound])).collect::<Vec<_>>()
    };
    [("pause", "ms"), ("work", "CPU ms")].into_iter().flat_map(figures).collect()
}

/// The bounds of the buckets of a histogram that hold the median, the one of which 1 in 100 is longer, and the longest,
/// ms.
fn spread(text: &str, name: &str) -> [f64; 3] {
    let mut buckets: Vec<(f64, f64)> = Vec::new();
    let bucket = format!("{name}_bucket{{le=\"");
    for line in text.lines().filter_map(|line| line.strip_prefix(&bucket)) {
        let (bound, count) = line.split_once("\"} ").unwrap();
        buckets.push((bound.parse().unwrap_or(f64::INFINITY), count.parse().unwrap()));
    }
    eprintln!("{name}, cumulative: {buckets:?}");
    let all = buckets.last().map_or(0.0, |bucket| bucket.1);
    [0.5, 0.99, 1.0].map(|share| {
        buckets.iter().find(|bucket| bucket.1 >= share * all).map_or(0.0, |bucket| bucket.0 * 1e3)
    })
}
