//! The whole path: Kafka to readings, KPIs and alarms in ClickHouse, broker and ClickHouse beside it on the same cores.

use std::time::{Duration, Instant};

use crate::{
    Figure,
    probe::{cpu_seconds, delivered, metric, site},
};

/// 120 stations with their rooms and devices for six hours: about 12 million readings.
const LOAD: &[&str] = &["simulate", "--stations", "120", "--hours", "6"];
const RUNS: usize = 3;

pub async fn measure() -> Vec<Figure> {
    let (mut rates, mut cpu) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let (site, address) = site("whole_path", "clock = \"data\"\nworkers = 2\n");
        site.nuanliu(&["migrate"]);
        site.nuanliu(LOAD);
        let begun = Instant::now();
        let process = site.start(&["run"]);
        delivered(&address, Duration::from_secs(600)).await;
        let seconds = begun.elapsed().as_secs_f64();
        let readings = metric(&address, "nuanliu_readings_total").await.unwrap();
        let used = cpu_seconds(&process);
        eprintln!("whole path, run {}: {readings} readings in {seconds:.1} s, {used:.1} CPU s", run + 1);
        rates.push(readings / seconds);
        cpu.push(used / readings * 1e6);
        assert_eq!(process.terminate(Duration::from_secs(60)), 0);
    }
    vec![
        Figure { name: "whole_path_readings_per_s", unit: "readings/s", runs: rates },
        Figure { name: "whole_path_cpu_s_per_million", unit: "CPU s", runs: cpu },
    ]
}
