//! The figures of the product, measured on the services of `make up` (run by `make bench`).
//!
//! Enters: simulated districts. Leaves: a table, and `target/bench/bench.json`: a list of {name, unit, min, median, max,
//! runs}. Each figure is of at least three runs unless its line says otherwise; names are kept over time.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // A bench panics when it cannot measure.

mod connectors;
mod core;
mod latency;
mod load;
mod memory;
mod probe;
mod profile;
mod recovery;
mod reference;
mod scale;
mod size;
mod station_year;
mod whole_path;

use std::{
    borrow::Cow,
    fs,
    path::{Path, PathBuf},
};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// One figure.
struct Figure {
    name: Cow<'static, str>,
    unit: &'static str,
    runs: Vec<f64>,
}

impl Figure {
    /// A figure of these runs.
    fn new(name: impl Into<Cow<'static, str>>, unit: &'static str, runs: Vec<f64>) -> Figure {
        Figure { name: name.into(), unit, runs }
    }

    /// A figure of what was found in each run.
    fn of<R>(name: &'static str, unit: &'static str, found: &[R], value: impl Fn(&R) -> f64) -> Figure {
        Figure::new(name, unit, found.iter().map(value).collect())
    }

    /// The least, the median and the greatest.
    fn spread(&self) -> [f64; 3] {
        let mut sorted = self.runs.clone();
        sorted.sort_by(f64::total_cmp);
        [sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1]]
    }

    fn print(&self) {
        let ([min, median, max], Figure { name, unit, runs }) = (self.spread(), self);
        println!("{name:<48} {min:>14.3} {median:>14.3} {max:>14.3}  {unit:<16} {}", runs.len());
    }
}

/// A size that the environment may change.
fn setting(variable: &str, usual: usize) -> usize {
    let given = std::env::var(variable).ok();
    given.map_or(usual, |text| text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

/// How often everything is measured.
fn runs() -> usize {
    setting("NUANLIU_BENCH_RUNS", 3)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|name| name == reference::job::NAME) {
        return reference::job::main(&arguments[1..]);
    }
    let wanted: Vec<&String> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if wanted.iter().any(|name| *name == "profile") {
        return runtime.block_on(profile::print());
    }
    // A figure names its group, and a group may be named in part.
    let is_wanted = |group: &str| {
        wanted.is_empty() || wanted.iter().any(|name| group.contains(name.as_str()) || name.contains(group))
    };
    let mut measured = Vec::new();
    let mut measure = |group: &str, figures: &mut dyn FnMut() -> Vec<Figure>| {
        if is_wanted(group) {
            let figures = figures();
            file(&figures);
            measured.extend(figures);
        }
    };
    measure("reference", &mut || runtime.block_on(reference::measure()));
    measure("whole_path", &mut || runtime.block_on(whole_path::measure()));
    measure("malformed", &mut || runtime.block_on(whole_path::malformed()));
    measure("station_year", &mut || runtime.block_on(station_year::measure()));
    measure("core", &mut || core::measure());
    measure("size", &mut || runtime.block_on(size::measure()));
    measure("latency", &mut || runtime.block_on(latency::measure()));
    measure("connectors_http", &mut || runtime.block_on(connectors::http()));
    measure("connectors_mqtt", &mut || runtime.block_on(connectors::mqtt()));
    measure("memory", &mut || runtime.block_on(memory::measure()));
    measure("checkpoint_ratio", &mut || runtime.block_on(recovery::throughput()));
    measure("recovery", &mut || runtime.block_on(recovery::measure()));
    measure("checkpoint_dirty", &mut || runtime.block_on(recovery::dirty()));
    println!("{:<48} {:>14} {:>14} {:>14}  {:<16} runs", "figure", "min", "median", "max", "unit");
    measured.iter().for_each(Figure::print);
    let median =
        |figure: &serde_json::Value| Some((figure["name"].as_str()?.to_owned(), figure["median"].as_f64()?));
    scale::print(&filed().iter().filter_map(median).collect());
}

/// Files figures; those that were not measured now stay as they are.
fn file(figures: &[Figure]) {
    let mut filed = filed();
    for figure in figures {
        let ([min, median, max], Figure { name, unit, runs }) = (figure.spread(), figure);
        filed.retain(|other| other["name"] != name.as_ref());
        filed.push(serde_json::json!(
            {"name": name, "unit": unit, "min": min, "median": median, "max": max, "runs": runs.len()}
        ));
    }
    fs::create_dir_all(directory()).unwrap();
    fs::write(directory().join("bench.json"), serde_json::to_vec_pretty(&filed).unwrap()).unwrap();
}

/// The figures that are filed.
fn filed() -> Vec<serde_json::Value> {
    let text = fs::read(directory().join("bench.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("target/bench")
}
