//! Resident memory: idle, and with a million sensors, at rest after an hour of theirs and at most while that is worked off.

use std::time::{Duration, Instant};

use tests::Process;

use crate::{
    Figure,
    load::delete_topics,
    probe::{delivered, memory_mb, metric, site, stored},
    whole_path::drop_database,
};

/// 1,370 stations, 34,000 rooms, 34,000 devices: a million series (facility, device, metric).
const MILLION: &[&str] = &["simulate", "--stations", "2400", "--hours", "1"];

/// Longer than the heap keeps what was given back to it.
const KEPT: Duration = Duration::from_secs(15);

pub async fn measure() -> Vec<Figure> {
    let idle = idle().await;
    let [rest, peak] = million().await;
    vec![
        Figure::new("memory_idle_mb", "MB", vec![idle]),
        Figure::new("memory_1m_sensors_mb", "MB", vec![rest]),
        Figure::new("memory_1m_sensors_peak_mb", "MB", vec![peak]),
    ]
}

async fn idle() -> f64 {
    let (site, address) = site("idle", "workers = 2\n");
    site.nuanliu(&["migrate"]);
    let process = site.start(&["run"]);
    delivered(&address, Duration::from_secs(60)).await;
    memory_mb(&process, "VmRSS")
}

/// At rest and at most, for a million series.
async fn million() -> [f64; 2] {
    let (site, address) = site("million", "clock = \"data\"\nworkers = 2\n");
    site.nuanliu(&["migrate"]);
    site.nuanliu(MILLION);
    let process = site.start(&["run"]);
    stored(&address, Duration::from_secs(900)).await;
    let (rest, peak) = (at_rest(&process).await, memory_mb(&process, "VmHWM"));
    let series = site.number("SELECT uniqExact(facility, device, metric) FROM readings").await;
    let entries = metric(&address, "nuanliu_state_entries").await.unwrap();
    eprintln!("memory: {series} series, {entries} state entries, {rest:.0} MB at rest, at most {peak:.0} MB");
    drop(process);
    delete_topics(&site).await;
    drop_database(&site).await;
    [rest, peak].map(|memory| memory / series * 1e6)
}

/// What is resident when it has not fallen any more for as long as the heap keeps pages.
async fn at_rest(process: &Process) -> f64 {
    let (mut least, mut since) = (f64::INFINITY, Instant::now());
    while since.elapsed() < KEPT {
        let now = memory_mb(process, "VmRSS");
        if now < least * 0.99 {
            (least, since) = (now, Instant::now());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    memory_mb(process, "VmRSS")
}
