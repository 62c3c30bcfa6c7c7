//! Looks at a running process of the product from outside: its metrics, CPU time and memory.

use std::{fs, time::Duration};

use tests::{Process, Site, until};

/// Clock ticks per second of `/proc/PID/stat` on Linux.
const TICKS: f64 = 100.0;

/// CPU seconds that a process has used.
pub fn cpu_seconds(process: &Process) -> f64 {
    cpu_seconds_of(process.id())
}

/// The same by its id.
pub fn cpu_seconds_of(id: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS
}

/// CPU seconds that a service of `make up` has used, such as `kafka`.
pub fn service_cpu_seconds(name: &str) -> f64 {
    let directory = std::env::var("NUANLIU_DEV_DIR").unwrap();
    let record = fs::read(format!("{directory}/run/{name}.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    cpu_seconds_of(record["pid"].as_u64().unwrap() as u32)
}

/// A line of `/proc/PID/status` such as `VmRSS`, in MB.
pub fn memory_mb(process: &Process, line: &str) -> f64 {
    memory_mb_of(process.id(), line)
}

/// The same by its id.
pub fn memory_mb_of(id: u32, line: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with(line)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// The sum of a metric over its labels.
pub async fn metric(address: &str, name: &str) -> Option<f64> {
    let text = reqwest::get(format!("http://{address}/metrics")).await.ok()?.text().await.ok()?;
    let of = |line: &&str| line.starts_with(name) && line[name.len()..].starts_with([' ', '{']);
    Some(text.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

/// Waits until everything on the topics is with every sink.
pub async fn delivered(address: &str, limit: Duration) {
    let mut bound = None;
    until("delivery of everything", limit, async || {
        let Some(lag) = metric(address, "nuanliu_lag_records").await else { return false };
        let (Some(now), Some(done)) =
            (metric(address, "nuanliu_epoch_bound").await, metric(address, "nuanliu_epoch_delivered").await)
        else {
            return false;
        };
        if lag > 0.0 || now == 0.0 {
            bound = None;
            return false;
        }
        done >= *bound.get_or_insert(now)
    })
    .await;
}

/// The same, and until nothing waits on disk for ClickHouse.
pub async fn stored(address: &str, limit: Duration) {
    delivered(address, limit).await;
    until("an empty spool", limit, async || metric(address, "nuanliu_spool_blocks").await == Some(0.0)).await;
}

/// A site, and the address at which its `nuanliu run` serves metrics.
pub fn site(name: &str, extra: &str) -> (Site, String) {
    let site = Site::new(name, extra);
    let address = site.metrics.clone();
    (site, address)
}
