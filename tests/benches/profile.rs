//! Where the time of the whole path goes (run by `make profile`): by operator and by module.
//!
//! Enters: samples of a running process with their stacks, from `perf`. Leaves: two tables on the standard output, in CPU
//! seconds per million readings. Guarantees: every sample is in one row of each table. The binary must have been built
//! with frame pointers and full symbol names, as `deploy/dev/profile` does.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use connectors::simulator::{Plan, Size};
use tests::{Site, until};

use crate::{
    load,
    probe::{cpu_seconds, delivered, metric},
    setting,
    whole_path::{USUAL, drop_database},
};

/// What several stages go through: a sample there is of the stage that is within, where there is one.
const COMMON: [&str; 3] = ["operators::flow", "operators::stage", "operators::durable"];

/// Rows of a table; the rest is one row.
const ROWS: usize = 30;

pub async fn print() {
    let site = Site::new("profile", USUAL);
    site.nuanliu(&["migrate"]);
    let plan = Plan { hours: 6, ..Plan::of(Size::of_stations(120)) };
    load::simulated(&site, &plan, setting("NUANLIU_BENCH_WHOLE_PATH_MINUTES", 360), None).await;
    let process = site.start(&["run"]);
    // Threads that come while `perf` attaches are not sampled: it begins once the workers are there.
    until("readings flow", Duration::from_secs(60), async || {
        metric(&site.metrics, "nuanliu_readings_total").await.is_some_and(|readings| readings > 0.0)
    })
    .await;
    let samples = site.path("perf.data");
    let mut perf = record(&samples, process.id());
    delivered(&site.metrics, Duration::from_secs(1800)).await;
    let readings = metric(&site.metrics, "nuanliu_readings_total").await.unwrap();
    let seconds = cpu_seconds(&process);
    drop(process);
    perf.wait().unwrap();
    load::delete_topics(&site).await;
    drop_database(&site).await;
    let samples = read(&samples);
    println!("{readings} readings, {seconds:.1} CPU s, {} samples\n", samples.len());
    let per_million = seconds / readings * 1e6;
    table("thread, operator", per_million, samples.iter().map(Sample::operator));
    table("thread, module of the innermost frame", per_million, samples.iter().map(Sample::module));
}

/// Samples a process until it ends.
fn record(to: &Path, process: u32) -> Child {
    let mut perf = Command::new("perf");
    perf.args(["record", "--quiet", "--freq", "499", "--call-graph", "fp", "--output"]).arg(to);
    perf.args(["--pid", &process.to_string()]).stderr(Stdio::inherit());
    perf.spawn().unwrap_or_else(|error| panic!("perf cannot be started: {error}: install linux-perf"))
}

/// One sample: its thread, and the functions from the innermost to the outermost.
#[derive(Default)]
struct Sample {
    thread: String,
    frames: Vec<String>,
}

impl Sample {
    /// The operator in which it was taken; outside the workers only the thread.
    fn operator(&self) -> String {
        if !self.thread.starts_with("worker") {
            return self.thread.clone();
        }
        let flow = self.frames.iter().rev().find_map(|frame| path_of(frame, &["pipeline::flow"]));
        let stages = || self.frames.iter().rev().filter_map(|frame| path_of(frame, &["operators"]));
        let stage = stages().find(|stage| !COMMON.contains(&stage.as_str())).or_else(|| stages().next());
        let operator = match (flow, stage) {
            // One shell runs several stages.
            (Some(flow), Some(stage)) if flow.ends_with("::stages") => stage,
            (Some(flow), _) => flow,
            (None, Some(stage)) => stage,
            (None, None) => {
                let outer = ["differential_dataflow", "timely"];
                let found = outer.iter().find(|name| self.frames.iter().any(|frame| frame.contains(*name)));
                (*found.unwrap_or(&"other")).to_owned()
            }
        };
        format!("{}: {operator}", self.thread)
    }

    /// The module of the innermost frame.
    fn module(&self) -> String {
        let known =
            ["pipeline", "operators", "schemas", "sinks", "connectors", "timely", "differential_dataflow"];
        let inner = self.frames.first().map_or("?", String::as_str);
        let module = path_of(inner, &known).unwrap_or_else(|| plain(inner));
        format!("{}: {module}", self.thread)
    }
}

/// The first of these paths in a symbol, with one more segment.
fn path_of(symbol: &str, paths: &[&str]) -> Option<String> {
    // Others have modules of these names: a path begins where no other goes on.
    let begin = |path: &&str| {
        let whole =
            |at: &usize| !symbol[..*at].ends_with(|letter: char| letter == ':' || letter.is_alphanumeric());
        let at = symbol.match_indices(&format!("{path}::")).map(|(at, _)| at).find(whole)?;
        Some((at, path.len()))
    };
    let (at, length) = paths.iter().filter_map(begin).min()?;
    let rest = &symbol[at + length + 2..];
    let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
    Some(symbol[at..at + length + 2 + end].to_owned())
}

/// A symbol of another library without its parameters.
fn plain(symbol: &str) -> String {
    symbol.split(['<', '(', '+']).find(|part| !part.is_empty()).unwrap_or("?").trim().to_owned()
}

/// What a thread is called in the tables.
fn group(thread: &str) -> String {
    let groups = [("timely", "worker"), ("rdk", "librdkafka"), ("tokio", "tokio")];
    let known = groups.iter().find(|(begin, _)| thread.starts_with(begin));
    known.map_or(thread, |(_, name)| name).to_owned()
}

fn read(path: &Path) -> Vec<Sample> {
    let output = Command::new("perf")
        .args(["script", "--no-inline", "--fields", "comm,ip,sym", "--input"])
        .arg(path)
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let mut samples: Vec<Sample> = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if line.starts_with('\t') || line.starts_with("  ") {
            let (address, symbol) = line.trim().split_once(' ').unwrap_or((line, "?"));
            let symbol = if address.starts_with("ffff") { "kernel" } else { symbol.trim() };
            // The same crate in another build has another hash.
            let symbol = without_hashes(symbol);
            samples.last_mut().into_iter().for_each(|sample| sample.frames.push(symbol.clone()));
        } else if !line.trim().is_empty() {
            samples.push(Sample { thread: group(line.trim()), frames: Vec::new() });
        }
    }
    samples
}

/// A symbol without the `[0123abcd]` behind the names of crates.
fn without_hashes(symbol: &str) -> String {
    let mut plain = String::with_capacity(symbol.len());
    let mut rest = symbol;
    while let Some((before, after)) = rest.split_once('[') {
        plain.push_str(before);
        match after.split_once(']') {
            Some((inside, after)) if inside.chars().all(|letter| letter.is_ascii_hexdigit()) => rest = after,
            _ => {
                plain.push('[');
                rest = after;
            }
        }
    }
    plain + rest
}

fn table(head: &str, total: f64, rows: impl Iterator<Item = String>) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    rows.for_each(|row| *counts.entry(row).or_default() += 1);
    let all: usize = counts.values().sum();
    let mut sorted: Vec<(String, usize)> = counts.into_iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let rest: usize = sorted.iter().skip(ROWS).map(|(_, count)| count).sum();
    sorted.truncate(ROWS);
    sorted.push(("everything else".to_owned(), rest));
    println!("{:>18} {:>7}  {head}", "CPU s per million", "share");
    for (name, count) in sorted.into_iter().filter(|(_, count)| *count > 0) {
        let share = count as f64 / all as f64;
        println!("{:>18.4} {:>6.1}%  {name}", share * total, share * 100.0);
    }
    println!();
}
