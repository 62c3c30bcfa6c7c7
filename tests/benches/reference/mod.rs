//! The reference job against Flink: one topic, one broker, the same rows, alternating.
//!
//! Enters: a topic of `NUANLIU_BENCH_REFERENCE_READINGS` readings. Leaves: ratios within each round, and the figures of
//! both sides. Guarantees: every pass gives the same rows and checksum, or the bench fails.

mod flink;
mod flow;
pub mod job;
mod rules;
mod series;
mod stage;

use std::process::Command;

use tests::Site;

use self::flink::{Flink, Variant};
pub use self::rules::hash;
use crate::{Figure, load::delete_topics, runs, setting};

/// Sixteen minutes of the 600,000 series: two or three of Flink's checkpoints.
const READINGS: usize = 96_000_000;
const WORKERS: usize = 2;
/// Passes after which Flink counts as warm, each over a quarter of the topic.
const WARMING: usize = 4;

/// What one window length gives: its seconds, and the names of the figures.
struct Windows {
    seconds: u32,
    keyed: [&'static str; 4],
    unkept: [&'static str; 4],
    ours: [&'static str; 2],
}

const WINDOWS: [Windows; 2] = [
    Windows {
        seconds: 60,
        keyed: [
            "reference_cpu_ratio",
            "reference_throughput_ratio",
            "reference_flink_cpu_s_per_million",
            "reference_flink_readings_per_s",
        ],
        unkept: [
            "reference_unkept_cpu_ratio",
            "reference_unkept_throughput_ratio",
            "reference_flink_unkept_cpu_s_per_million",
            "reference_flink_unkept_readings_per_s",
        ],
        ours: ["reference_cpu_s_per_million", "reference_readings_per_s"],
    },
    Windows {
        seconds: 600,
        keyed: [
            "reference_10min_cpu_ratio",
            "reference_10min_throughput_ratio",
            "reference_10min_flink_cpu_s_per_million",
            "reference_10min_flink_readings_per_s",
        ],
        unkept: [
            "reference_10min_unkept_cpu_ratio",
            "reference_10min_unkept_throughput_ratio",
            "reference_10min_flink_unkept_cpu_s_per_million",
            "reference_10min_flink_unkept_readings_per_s",
        ],
        ours: ["reference_10min_cpu_s_per_million", "reference_10min_readings_per_s"],
    },
];

/// What a pass over the topic comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Pass {
    /// Readings, rows, checksum and failed tests: equal for every pass.
    result: (u64, u64, String, [u64; 4]),
    seconds: f64,
    cpu_seconds: f64,
}

impl Pass {
    fn read(who: &str, line: &str) -> Pass {
        let line = line.trim();
        eprintln!("{who}: {line}");
        let json: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{who}: {e}: {line:?}"));
        assert_eq!(json["late"], 0, "{who}");
        let number = |name: &str| json[name].as_u64().unwrap();
        let failed = serde_json::from_value(json["failed"].clone()).unwrap();
        let checksum = json["checksum"].as_str().unwrap().to_owned();
        let result = (number("readings"), number("rows"), checksum, failed);
        let time = |name: &str| json[name].as_f64().unwrap();
        Pass { result, seconds: time("seconds"), cpu_seconds: time("cpu_seconds") }
    }

    fn cpu_per_million(&self) -> f64 {
        self.cpu_seconds / self.result.0 as f64 * 1e6
    }

    fn rate(&self) -> f64 {
        self.result.0 as f64 / self.seconds
    }
}

pub async fn measure() -> Vec<Figure> {
    let site = Site::new("reference", "");
    let kafka = site.kafka();
    series::fill(&kafka, setting("NUANLIU_BENCH_REFERENCE_READINGS", READINGS) / rules::METRICS).await;
    let mut flinks = [Variant::Keyed, Variant::Unkept].map(|variant| Flink::start(&kafka, variant));
    for _ in 0..WARMING {
        for windows in &WINDOWS {
            flinks.iter_mut().for_each(|flink| drop(flink.pass(windows.seconds, WORKERS, 0.25)));
        }
    }
    let mut figures: Vec<Figure> = WINDOWS.iter().flat_map(|w| compare(&site, &mut flinks, w)).collect();
    figures.push(scaling(&site));
    drop(flinks);
    delete_topics(&site).await;
    figures
}

/// Rounds of Flink with state, us, and Flink without state.
fn compare(site: &Site, [keyed, unkept]: &mut [Flink; 2], windows: &Windows) -> Vec<Figure> {
    let rounds: Vec<[Pass; 3]> = (0..runs())
        .map(|_| {
            let keyed = keyed.pass(windows.seconds, WORKERS, 1.0);
            let ours = ours(site, windows.seconds, WORKERS);
            let unkept = unkept.pass(windows.seconds, WORKERS, 1.0);
            assert_eq!(ours.result, keyed.result);
            assert_eq!(ours.result, unkept.result);
            [keyed, ours, unkept]
        })
        .collect();
    let figure = |name, unit, of: &dyn Fn(&[Pass; 3]) -> f64| Figure::of(name, unit, &rounds, of);
    let mut figures = vec![
        figure(windows.ours[0], "CPU s", &|round| round[1].cpu_per_million()),
        figure(windows.ours[1], "readings/s", &|round| round[1].rate()),
    ];
    for (at, names) in [(0, windows.keyed), (2, windows.unkept)] {
        let cpu = |round: &[Pass; 3]| round[at].cpu_per_million() / round[1].cpu_per_million();
        figures.push(figure(names[0], "flink : ours", &cpu));
        figures.push(figure(names[1], "ours : flink", &|round| round[1].rate() / round[at].rate()));
        figures.push(figure(names[2], "CPU s", &|round| round[at].cpu_per_million()));
        figures.push(figure(names[3], "readings/s", &|round| round[at].rate()));
    }
    figures
}

/// Throughput of two workers against one.
fn scaling(site: &Site) -> Figure {
    let gain = |_| {
        let [one, two] = [1, 2].map(|workers| ours(site, WINDOWS[0].seconds, workers));
        assert_eq!(one.result, two.result);
        two.rate() / one.rate()
    };
    Figure::new("reference_two_workers_ratio", "2 : 1 workers", (0..runs()).map(gain).collect())
}

/// One pass of our side, in a process of its own with a fresh state.
fn ours(site: &Site, window_seconds: u32, workers: usize) -> Pass {
    let state = tempfile::tempdir().unwrap();
    let kafka = site.kafka();
    let mut command = command();
    command.args([job::NAME, &kafka.brokers, &kafka.prefix]);
    command.args([window_seconds.to_string(), workers.to_string()]).arg(state.path());
    let output = command.stderr(std::process::Stdio::inherit()).output().unwrap();
    Pass::read("ours", &String::from_utf8(output.stdout).unwrap())
}

/// This program, under what `NUANLIU_BENCH_UNDER` says, such as `perf record -g -o job.data`.
fn command() -> Command {
    let program = std::env::current_exe().unwrap();
    let under = std::env::var("NUANLIU_BENCH_UNDER").unwrap_or_default();
    let mut words = under.split_whitespace();
    let Some(first) = words.next() else { return Command::new(program) };
    let mut command = Command::new(first);
    command.args(words).arg(program);
    command
}
