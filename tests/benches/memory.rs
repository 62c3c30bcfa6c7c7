//! Resident memory: idle, and with a million sensors.

use std::time::Duration;

use crate::{
    Figure,
    load::delete_topics,
    probe::{delivered, memory_mb, metric, site},
    whole_path::drop_database,
};

/// 1,370 stations, 34,000 rooms, 34,000 devices: a million series (facility, device, metric).
const MILLION: &[&str] = &["simulate", "--stations", "2400", "--hours", "1"];

pub async fn measure() -> Vec<Figure> {
    vec![
        Figure::new("memory_idle_mb", "MB", vec![idle().await]),
        Figure::new("memory_1m_sensors_mb", "MB", vec![million().await]),
    ]
}

async fn idle() -> f64 {
    let (site, address) = site("idle", "workers = 2\n");
    site.nuanliu(&["migrate"]);
    let process = site.start(&["run"]);
    delivered(&address, Duration::from_secs(60)).await;
    memory_mb(&process, "VmRSS")
}

async fn million() -> f64 {
    let (site, address) = site("million", "clock = \"data\"\nworkers = 2\n");
    site.nuanliu(&["migrate"]);
    site.nuanliu(MILLION);
    let process = site.start(&["run"]);
    delivered(&address, Duration::from_secs(900)).await;
    let series = site.number("SELECT uniqExact(facility, device, metric) FROM readings").await;
    let entries = metric(&address, "nuanliu_state_entries").await.unwrap();
    let (now, peak) = (memory_mb(&process, "VmRSS"), memory_mb(&process, "VmHWM"));
    eprintln!("memory: {series} series, {entries} state entries, {now:.0} MB, at most {peak:.0} MB");
    drop(process);
    delete_topics(&site).await;
    drop_database(&site).await;
    now / series * 1e6
}
