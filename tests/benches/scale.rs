//! The model of `SCALE.md`, from the figures in `target/bench/bench.json`.
//!
//! Enters: medians by name. Leaves: a table on the standard output. Guarantees: every coefficient is a figure that a bench
//! of this directory measured.

use std::collections::BTreeMap;

/// Readings a second and series of Changchun, and how many such cities a province has.
const CITY_READINGS_PER_S: f64 = 23_500.0;
const CITY_SENSORS: f64 = 1_000_000.0;
const CITIES: f64 = 20.0;
/// Station reports of three seasons, and of the year that `station_year` replays.
const SEASONS_REPORTS: f64 = 2.7e9;
const YEAR_REPORTS: f64 = 525_600.0;
const YEAR_READINGS: f64 = 10.0 * YEAR_REPORTS;
/// How much of a machine may be busy, so that it catches up after an hour without one of its sinks.
const BUSY: f64 = 0.6;
const CORES: f64 = 16.0;

/// Prints what the figures mean; says which are missing.
pub fn print(medians: &BTreeMap<String, f64>) {
    match table(&|name| medians.get(name).copied().ok_or_else(|| name.to_owned())) {
        Ok(rows) => rows.iter().for_each(|(what, value)| println!("| {what} | {value} |")),
        Err(name) => println!("scale: the figure {name} is not in target/bench/bench.json: measure it first"),
    }
}

type Rows = Vec<(String, String)>;

fn table(figure: &dyn Fn(&str) -> Result<f64, String>) -> Result<Rows, String> {
    let ours = figure("whole_path_cpu_s_per_million")?;
    let broker = figure("whole_path_broker_cpu_s_per_million")?;
    let store = figure("whole_path_store_cpu_s_per_million")?;
    let live = ["live_cpu_s_per_million", "live_broker_cpu_s_per_million", "live_store_cpu_s_per_million"];
    let [live_ours, live_broker, live_store] = live.map(figure);
    let (live_ours, live_broker, live_store) = (live_ours?, live_broker?, live_store?);
    let live = live_ours + live_broker + live_store;
    let two = figure("core_two_workers_ratio")?;
    let year = figure("station_year_cpu_s")? + (broker + store) * YEAR_READINGS / 1e6;
    let mb = figure("memory_1m_sensors_mb")?;
    // What the second worker does not bring is taken as work that only one can do.
    let alone = (2.0 / two - 1.0).max(0.0);
    let gain = |workers: f64| 1.0 / (alone + (1.0 - alone) / workers);
    let cores = |readings: f64| readings * live / 1e6;
    let one_process = gain(CORES) / CORES;
    let province = CITIES * CITY_READINGS_PER_S;
    let seasons = SEASONS_REPORTS / YEAR_REPORTS * year / 3600.0;
    let row = |what: &str, value: String| (what.to_owned(), value);
    Ok(vec![
        row(
            "CPU s per million readings that wait on Kafka: ours + broker + store",
            format!("{ours:.2} + {broker:.2} + {store:.2} = {:.2}", ours + broker + store),
        ),
        row(
            "CPU s per million readings that come as they are measured",
            format!("{live_ours:.2} + {live_broker:.2} + {live_store:.2} = {live:.2}"),
        ),
        row(
            "one city at its 23,500 readings/s",
            format!("{:.3} cores, {:.0} MB", cores(CITY_READINGS_PER_S), mb * CITY_SENSORS / 1e6),
        ),
        row(
            "work that only one worker can do (second worker brings a factor of ...)",
            format!("{:.1} % ({two:.2})", alone * 100.0),
        ),
        row(
            "16 cores, a process per city, 60 % busy",
            format!(
                "{:.2} M readings/s = {:.0} cities",
                CORES * BUSY / live,
                CORES * BUSY / live * 1e6 / CITY_READINGS_PER_S
            ),
        ),
        row(
            "16 cores, one process for one huge city, 60 % busy",
            format!("{:.2} M readings/s", CORES * BUSY * one_process / live),
        ),
        row(
            "a province of 20 cities, 470,000 readings/s",
            format!(
                "{:.1} cores busy, {:.0} cores to have, {:.1} GB",
                cores(province),
                (cores(province) / BUSY).ceil(),
                CITIES * mb * CITY_SENSORS / 1e9
            ),
        ),
        row("a station-year: ours + broker + store", format!("{year:.2} CPU s")),
        row(
            "three seasons of 3,500 stations (2.7 billion reports) on 16 cores",
            format!("{:.1} h", seasons / CORES),
        ),
        row(
            "the same for a province, on three machines of 16 cores",
            format!("{:.1} h", CITIES * seasons / CORES / 3.0),
        ),
    ])
}
