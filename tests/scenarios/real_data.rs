//! The real records of three substations through the whole pipeline: nothing lost, marked where they are wrong, and
//! every KPI as a batch computation has it.
//!
//! The records are not ours to ship (GPL-3.0): without them, next to the checkout or where `NUANLIU_XAI4HEAT` says, there
//! is nothing to run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::tz::TimeZone;
use schemas::{Report, Topic};
use tests::{
    Site, consume,
    oracles::kpis::{self, Key, Measured, Reading, Terms, Value},
};

/// The stations and their heated areas, m².
const STATIONS: [(&str, f64); 3] = [("XAI-L4", 9_600.0), ("XAI-L8", 5_200.0), ("XAI-L12", 6_100.0)];
const METRICS: [&str; 8] = [
    "outdoor_temp",
    "secondary_supply_setpoint",
    "primary_supply_temp",
    "primary_return_temp",
    "secondary_supply_temp",
    "secondary_return_temp",
    "heat_total",
    "heat_power",
];
/// Windows stay open for longer than the longest silence in the records, and an epoch spans less than that.
const CONFIG: &str = "clock = \"data\"\nrecords_per_partition = 1000\n---\n\
                      [rules]\ntime_zone = \"Europe/Belgrade\"\nlateness_hours = 1440\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The three files, where they are.
fn records() -> Option<Vec<PathBuf>> {
    let beside = || root().join("../shared/data/xai4heat");
    let directory = std::env::var_os("NUANLIU_XAI4HEAT").map_or_else(beside, PathBuf::from);
    let files: Vec<PathBuf> = ["L4", "L8", "L12"].map(|n| directory.join(format!("scada_{n}.csv.gz"))).into();
    files.iter().all(|file| file.exists()).then_some(files)
}

#[tokio::test(flavor = "multi_thread")]
async fn real_records_are_kept_marked_and_counted_right() {
    let Some(files) = records() else {
        eprintln!(
            "skipped: set NUANLIU_XAI4HEAT to the directory of scada_L4.csv.gz, scada_L8.csv.gz, scada_L12.csv.gz"
        );
        return;
    };
    let site = Site::new("real", CONFIG);
    let example = root().join("deploy/examples/xai4heat");
    let registry = example.join("registry");
    site.nuanliu(&["migrate"]);
    site.nuanliu(&["registry", "load", registry.to_str().unwrap()]);
    let mapping = example.join("xai4heat.toml");
    let mut arguments = vec!["replay", "--mapping", mapping.to_str().unwrap()];
    arguments.extend(files.iter().map(|file| file.to_str().unwrap()));
    site.nuanliu(&arguments);

    let reports = consume::<Report>(&site.kafka(), Topic::Reports);
    let accepted: u64 = reports.iter().map(|record| record.value.readings.len() as u64).sum();
    let written: u64 = files.iter().map(|file| cells(file, |_| true)).sum();
    assert_eq!(accepted, written, "readings on the topic against cells of the files");
    drop(reports);

    let mut process = site.start(&["run"]);
    site.stored(accepted, &mut process, Duration::from_secs(900)).await;
    assert_eq!(process.terminate(Duration::from_secs(60)), 0);

    marks_are_right(&site, &files).await;
    kpis_agree(&site).await;
}

/// Cells of a file, but for the time.
fn cells(file: &Path, which: impl Fn(&str) -> bool) -> u64 {
    rows(file).map(|row| row.iter().skip(1).filter(|cell| which(cell)).count() as u64).sum()
}

fn rows(file: &Path) -> impl Iterator<Item = csv::StringRecord> {
    let reader = csv::Reader::from_reader(flate2::read::MultiGzDecoder::new(File::open(file).unwrap()));
    reader.into_records().map(Result::unwrap)
}

/// The range test against a comparison with the catalogue's limits, and the other kinds of marks that these records are
/// known to deserve.
async fn marks_are_right(site: &Site, files: &[PathBuf]) {
    let catalogue = schemas::Catalogue::in_force();
    for code in METRICS {
        let metric = catalogue.metric(catalogue.id(code).unwrap());
        let sql = format!(
            "SELECT countIf((value < {least} OR value > {greatest}) != has(failed, 'range')), \
             countIf(has(failed, 'range') AND flag != 4), countIf(length(failed) = 0 AND flag != 1), count() \
             FROM readings FINAL WHERE metric = '{code}'",
            least = metric.min,
            greatest = metric.max,
        );
        let counts = &site.query(&sql).await[0];
        assert_eq!(
            counts[..3],
            ["0", "0", "0"],
            "{code}: range mismatches, range not failed, unmarked not good"
        );
        assert_ne!(counts[3], "0", "{code}");
    }
    let of_files = |text: &str| files.iter().map(|file| cells(file, |cell| cell == text)).sum::<u64>();
    let unmeasured = "SELECT sum(readings) FROM rejects FINAL WHERE reason = 'not_measured'";
    assert_eq!(site.number(unmeasured).await as u64, of_files(""), "empty cells are rejects");
    let kept = site.number("SELECT count() FROM readings FINAL WHERE value = -39.9").await;
    assert_eq!(kept as u64, of_files("-39.9"), "sentinels are kept");
    let passed =
        "SELECT count() FROM readings FINAL WHERE value = -39.9 AND flag < 3 AND metric != 'outdoor_temp'";
    assert_eq!(site.number(passed).await, 0.0, "sentinels of water temperatures are never good");
    for test in ["flat_line", "counter_fall"] {
        let sql = format!("SELECT count() FROM readings FINAL WHERE has(failed, '{test}')");
        assert!(site.number(&sql).await > 100.0, "{test} is found in the records");
    }
}

/// Every window that has ended, of every station and of the city.
async fn kpis_agree(site: &Site) {
    let zone = TimeZone::get("Europe/Belgrade").unwrap();
    // Before the first arrival there was no clock that could have missed anything.
    let span = "SELECT toUnixTimestamp64Milli(min(received_at)), toUnixTimestamp64Milli(max(received_at)) FROM readings";
    let span = &site.query(span).await[0];
    let [first, last]: [i64; 2] = [0, 1].map(|n: usize| span[n].parse().unwrap());
    let span = first..last - 25 * 3_600_000;
    let mut city: BTreeMap<Key, f64> = BTreeMap::new();
    let (mut compared, mut differences) = (0, Vec::new());
    for (station, area) in STATIONS {
        let terms = Terms { interval: 3_600_000, area, dated: 720 * 3_600_000, zone: zone.clone() };
        let expected = kpis::kpis(&measured(site, station).await, &terms);
        for (key, value) in expected.iter().filter(|((kpi, ..), _)| *kpi == "heat_supplied") {
            *city.entry(*key).or_default() += value.value;
        }
        compared += compare(site, ("facility", station), &expected, &span, &mut differences).await;
    }
    let city = city.into_iter().map(|(key, value)| (key, Value { value, coverage: None })).collect();
    compared += compare(site, ("city", "700100"), &city, &span, &mut differences).await;
    let shown = differences.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{} of {compared} values differ:\n{shown}", differences.len());
    assert!(compared > 300_000, "{compared} values were compared");
}

async fn measured(site: &Site, station: &str) -> Measured {
    let mut measured = Measured::new();
    for metric in METRICS {
        let sql = format!(
            "SELECT toUnixTimestamp64Milli(observed_at), value, flag FROM readings FINAL \
             WHERE facility = '{station}' AND metric = '{metric}' ORDER BY observed_at"
        );
        let reading = |row: Vec<String>| Reading {
            at: row[0].parse().unwrap(),
            value: row[1].parse().unwrap(),
            usable: row[2] == "1" || row[2] == "2",
        };
        measured.insert(metric, site.query(&sql).await.into_iter().map(reading).collect());
    }
    measured
}

/// Compares what the table says of a scope with what it should, in windows that start in a span; gives how many values were compared.
async fn compare(
    site: &Site,
    (kind, scope): (&str, &str),
    expected: &BTreeMap<Key, Value>,
    span: &Range<i64>,
    differences: &mut Vec<String>,
) -> usize {
    let mut found: BTreeMap<(String, String, i64), (Option<f64>, f64)> = BTreeMap::new();
    let sql = format!(
        "SELECT kpi, period, toUnixTimestamp(window_start) * 1000, value, coverage FROM kpis FINAL \
         WHERE scope_kind = '{kind}' AND scope = '{scope}'"
    );
    for row in site.query(&sql).await {
        let key = (row[0].clone(), row[1].clone(), row[2].parse().unwrap());
        found.insert(key, (row[3].parse().ok(), row[4].parse().unwrap()));
    }
    let ended = expected.iter().filter(|((_, _, start), _)| span.contains(start));
    let mut compared = 0;
    for (&(kpi, period, start), expected) in ended {
        compared += 1;
        let (value, coverage) =
            found.remove(&(kpi.to_owned(), period.to_owned(), start)).unwrap_or((None, 0.0));
        // Half of the last decimal, and a little for ties and for fixed point.
        let decimals = [("heat_supplied", 3), ("degree_days", 2)].into_iter().find(|(code, _)| *code == kpi);
        let half = 0.5 * 10f64.powi(-decimals.map_or(1, |(_, decimals)| decimals)) + 1e-5;
        let covered = expected.coverage.is_none_or(|share| (share.min(1.0) - coverage).abs() <= 0.005 + 1e-5);
        if value.is_none_or(|value| (value - expected.value).abs() > half) || !covered {
            let at = schemas::time::rfc3339(start);
            differences
                .push(format!("{scope} {kpi} {period} {at}: {value:?} ({coverage}), expected {expected:?}"));
        }
    }
    // What the definitions give no value for has none in the table either.
    let codes: BTreeSet<&str> = expected.keys().map(|(kpi, ..)| *kpi).collect();
    let covers = |kpi: &str| kpi != "completeness" && codes.contains(kpi);
    for ((kpi, period, start), (value, _)) in found {
        if covers(&kpi) && span.contains(&start) && value.is_some() {
            let at = schemas::time::rfc3339(start);
            differences.push(format!("{scope} {kpi} {period} {at}: {value:?}, expected nothing"));
        }
    }
    compared
}
