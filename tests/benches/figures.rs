//! The figures of the product, measured on the services of `make up` (run by `make bench`).
//!
//! Enters: simulated districts. Leaves: a table, and `target/bench/bench.json`: a list of {name, unit, min, median, max,
//! runs}. Each figure is of at least three runs unless its line says otherwise; names are kept over time.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // A bench panics when it cannot measure.

mod latency;
mod memory;
mod probe;
mod recovery;
mod whole_path;

use std::{fs, path::Path};

/// One figure.
struct Figure {
    name: &'static str,
    unit: &'static str,
    runs: Vec<f64>,
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str()));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut figures = Vec::new();
    if is_wanted("whole_path") {
        figures.extend(runtime.block_on(whole_path::measure()));
    }
    if is_wanted("latency") {
        figures.extend(runtime.block_on(latency::measure()));
    }
    if is_wanted("memory") {
        figures.extend(runtime.block_on(memory::measure()));
    }
    if is_wanted("checkpoint_ratio") {
        figures.extend(runtime.block_on(recovery::throughput()));
    }
    if is_wanted("recovery") {
        figures.extend(runtime.block_on(recovery::measure()));
    }
    report(&figures);
}

fn report(figures: &[Figure]) {
    println!("{:<34} {:>12} {:>12} {:>12}  {:<14} runs", "figure", "min", "median", "max", "unit");
    let mut list = Vec::new();
    for Figure { name, unit, runs } in figures {
        let mut sorted = runs.clone();
        sorted.sort_by(f64::total_cmp);
        let (min, median, max) = (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
        println!("{name:<34} {min:>12.3} {median:>12.3} {max:>12.3}  {unit:<14} {}", runs.len());
        list.push(serde_json::json!(
            {"name": name, "unit": unit, "min": min, "median": median, "max": max, "runs": runs.len()}
        ));
    }
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("target/bench");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("bench.json"), serde_json::to_vec_pretty(&list).unwrap()).unwrap();
}
